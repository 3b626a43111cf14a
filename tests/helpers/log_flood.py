"""A process that writes numbered lines to a log at some rate and rotates it every so often, for tests of readers.

``log_flood.py PATH rename|copy LINES_A_SECOND SECONDS BETWEEN_ROTATIONS``; it prints how many lines it has written.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

KEPT = 40
"""Older files: a reader that is late by more rotations than that has to lose lines."""


def rotate(path: str, *, by_copy: bool) -> None:
    """Put the log aside, under the names that Ruby's logger or logrotate gives."""
    for number in range(KEPT, -1, -1):
        if os.path.exists(f"{path}.{number}"):
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
    if by_copy:
        shutil.copyfile(path, f"{path}.0")
        os.truncate(path, 0)
    else:
        os.rename(path, f"{path}.0")


def main(path: str, way: str, rate: int, seconds: float, every: float) -> int:
    """Write the lines in blocks, as a busy process does; return their number."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    written, began, rotated = 0, time.monotonic(), time.monotonic()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    while (now := time.monotonic()) < began + seconds:
        until = int((now - began) * rate)
        block = b"".join(b"%b INFO  [flood(1)]: %d\n" % (stamp.encode(), number) for number in range(written, until))
        written = max(written, until)
        os.write(descriptor, block)
        if now - rotated >= every:
            rotated = now
            rotate(path, by_copy=way == "copy")
            if way == "rename":
                os.close(descriptor)
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        time.sleep(0.002)
    os.close(descriptor)
    return written


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))
