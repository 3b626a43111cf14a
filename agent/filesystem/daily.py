"""A log file that starts afresh each day, shared by several processes, with the older ones under dated names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress

from agent.filesystem.rotating import is_current, lock_shortly, open_log

LARGEST = 64 * 1024 * 1024
"""Bytes after which a file is put aside before its day is over, as the official 2.x does."""

DAYS_KEPT = 7
"""Days for which older files are kept, as both official agents keep them."""

FILES_KEPT = 16
"""Older files at most: a day that fills one file after the other must not fill the disk."""


class DailyFile:
    """Appends to a log that other processes append to and rotate as well.

    A full file, or yesterday's, is put aside as ``NAME.YYYYMMDD.log``, ``NAME.YYYYMMDD.1.log`` and so on (the local
    date of its last line; the names are those of the official 2.x). Before each write it is checked that the file
    still lies under its name, so that a rotation by another process or by logrotate is noticed at once. Not for
    several threads at the same time.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: int = 0o644,
        directory_mode: int = 0o755,
        largest: int = LARGEST,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._mode = mode
        self._directory_mode = directory_mode
        self._largest = largest
        self._clock = clock
        self._descriptor = -1
        self._day = ""
        self._limit = largest
        self._torn = False

    def append(self, line: bytes) -> None:
        """Write a line with its end in one go, rotating first where it is time.

        Raises OSError, and then the line, or a part of it, is missing; the next call tries afresh and begins on a
        line of its own.
        """
        self._open_current()
        data = b"\n" + line if self._torn else line
        written = os.write(self._descriptor, data)
        self._torn = written < len(data)
        if self._torn:
            # A disk takes a part of a line only when it is full; this finds out with what error.
            os.write(self._descriptor, data[written:])
            self._torn = False

    def close(self) -> None:
        """Close the file; a later line opens what lies under its name then."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):  # it is closed all the same
                os.close(descriptor)

    def _open_current(self) -> None:
        if self._descriptor >= 0 and not is_current(self.path, self._descriptor):
            self.close()
        if self._descriptor < 0:
            self._open()
        status = os.fstat(self._descriptor)
        today = _date(self._clock())
        yesterdays = today != self._day and status.st_size > 0 and _date(status.st_mtime) != today
        if yesterdays or status.st_size >= self._limit:
            self._rotate(today)
        self._day = today

    def _open(self) -> None:
        self._descriptor = open_log(self.path, mode=self._mode, directory_mode=self._directory_mode)
        self._limit = self._largest
        self._day = ""

    def _rotate(self, today: str) -> None:
        if not lock_shortly(self._descriptor):
            self._limit += self._largest  # somebody keeps the file locked: go on, and try again much later
            return
        if is_current(self.path, self._descriptor):
            os.rename(self.path, self._name_aside(_date(os.fstat(self._descriptor).st_mtime)))
            self._remove_old(today)
        self.close()
        self._open()

    def _name_aside(self, date: str) -> str:
        # Numbers only grow within a day, also past files that were removed, so that they tell the order.
        numbers = [number for day, number, _ in self._older() if day == date]
        stem, suffix = os.path.splitext(self.path)
        return f"{stem}.{date}.{max(numbers) + 1}{suffix}" if numbers else f"{stem}.{date}{suffix}"

    def _remove_old(self, today: str) -> None:
        older = self._older()
        oldest_kept = _days_before(today, DAYS_KEPT)
        expired = [name for date, _, name in older if date < oldest_kept]
        surplus = [name for _, _, name in older[:-FILES_KEPT]]
        for name in {*expired, *surplus}:
            try:
                os.unlink(name)
            except OSError:
                continue  # another process was faster, or the next rotation will do it

    def _older(self) -> list[tuple[str, int, str]]:
        """Date, number and path of each file put aside, oldest first."""
        directory, own = os.path.split(self.path)
        stem, suffix = os.path.splitext(own)
        pattern = re.compile(rf"{re.escape(stem)}\.(\d{{8}})(?:\.(\d{{1,9}}))?{re.escape(suffix)}")
        found = [(match, name) for name in os.listdir(directory or ".") if (match := pattern.fullmatch(name))]
        return sorted((match[1], int(match[2] or 0), os.path.join(directory, name)) for match, name in found)


def _date(moment: float) -> str:
    return time.strftime("%Y%m%d", time.localtime(moment))


def _days_before(date: str, days: int) -> str:
    # At noon no change to or from summer time makes another day of it; mktime takes days below 1 for what they mean.
    noon = (int(date[:4]), int(date[4:6]), int(date[6:]) - days, 12, 0, 0, 0, 0, -1)
    return _date(time.mktime(noon))
