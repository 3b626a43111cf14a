"""The two logs of what scripts print, in the official agents' formats."""

from __future__ import annotations

import os
import time

from agent.filesystem.rotating import RotatingFile
from agent.store.layout import Layout

# What Ruby's strip takes away.
_SPACES = b" \t\n\v\f\r\0"


class ScriptLog:
    """``logs/scripts.log`` of one deployment: ``2026-11-23 05:13:13 [stdout]text`` and so on, in local time.

    Bytes go through as the script wrote them. A text without a line end gets one before the next entry (the
    official agent glues the two together), unless that goes on with the same line.
    """

    def __init__(self, layout: Layout, deployment: str) -> None:
        self._file = RotatingFile(
            layout.script_log(deployment), mode=layout.modes.log_file, directory_mode=layout.modes.logs
        )
        self._line_open = self._file.last_byte() not in (b"", b"\n")
        self._open_stream = ""
        self._second = -1
        self._stamp = b""

    def header(self, text: str) -> None:
        """Write ``LifecycleEvent - X`` or ``Script - X``."""
        self._entry(os.fsencode(text) + b"\n")

    def output(self, stream: str, data: bytes) -> None:
        """Write one line of "stdout" or "stderr" with its line end, or a piece of one that is very long."""
        if self._line_open and stream == self._open_stream:
            self._file.write(data)
        else:
            self._entry(b"[%b]%b" % (stream.encode(), data))
        self._line_open = data[-1:] != b"\n"
        self._open_stream = stream if self._line_open else ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _entry(self, data: bytes) -> None:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(now)).encode()
        self._file.write((b"\n" if self._line_open else b"") + self._stamp + data)
        self._line_open = False
        self._open_stream = ""


class DeploymentsLog:
    """The log of all deployments' scripts: ``[2026-11-23 05:13:13.985] [d-TEST00001][stdout]text``.

    Spaces at both ends of a text are cut off, as the official agent does.
    """

    def __init__(self, layout: Layout, deployment_id: str) -> None:
        self._file = RotatingFile(
            layout.deployments_log, mode=layout.modes.log_file, directory_mode=layout.modes.logs, opening=_opening
        )
        self._id = os.fsencode(deployment_id)
        self._second = -1
        self._stamp = b""

    def header(self, text: str) -> None:
        """Write ``LifecycleEvent - X`` or ``Script - X``."""
        self._entry(os.fsencode(text))

    def output(self, stream: str, data: bytes) -> None:
        """Write one line of "stdout" or "stderr"; each piece of a very long one becomes a line."""
        self._entry(b"[%b]%b" % (stream.encode(), data))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _entry(self, data: bytes) -> None:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime("[%Y-%m-%d %H:%M:%S", time.localtime(now)).encode()
        self._file.write(b"%b.%03d] [%b]%b\n" % (self._stamp, int(now % 1 * 1000), self._id, data.strip(_SPACES)))


def _opening() -> bytes:
    # Log shippers that were set up for the official agent know its files by this line.
    return time.strftime("# Logfile created on %Y-%m-%d %H:%M:%S %z by logger.rb/v1.5.0\n").encode()
