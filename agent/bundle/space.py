"""Whether what an archive wants to write may be written and has room."""

from __future__ import annotations

import os

from agent.errors import BundleError
from agent.text.sizes import human

SIZE_SETTING = "archive_max_extraction_size"


_PASSED_BASE, _PASSED_FOR_ENTRY, _PASSED_FOR_BYTE = 4 << 20, 2048, 256
"""Bytes that an archive may make its reader read for nothing: at all, for each entry made, for each of its own bytes.

gzip makes at most 1032 bytes of one, bzip2 a million. Padding, long names and extended headers of real archives are far
below this."""


class Need:
    """What a whole archive says it needs: bytes of content, bytes on a disk of whole blocks, files and directories."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.size = 0
        self.room = 0
        self.entries = 0

    def add(self, size: int) -> None:
        self.size += size
        self.room += -(-size // self.block) * self.block
        self.entries += 1


class Space:
    """The room that is left: under the size limit, on the disk, and in the file system's table of files.

    Every entry is asked for before it is written, so a disk is never filled up by a revision that cannot fit. The
    file system itself is only asked again when the sum of what was taken says that it could be full.
    """

    def __init__(self, directory: int, *, archive: str, limit: int | None) -> None:
        self._directory = directory
        self._archive = archive
        self._limit = limit
        self.taken = 0
        self.passed = 0
        self._excess = 0
        self._look()

    def need(self) -> Need:
        """A sum to which the entries of an archive can be added."""
        return Need(self._block)

    def may_be_short_of(self, size: int) -> bool:
        """Whether that many bytes in all could be too many, so that it is worth while to count the entries."""
        return size > self._bytes or (self._limit is not None and size > self._limit)

    def require(self, need: Need) -> None:
        """Check what a whole archive says before the first byte is written. Raises BundleError."""
        self._check_limit(need.size)
        if need.room > self._bytes or need.entries > self._entries:
            self._look()
            self._refuse_if_short(need.room, need.entries)

    def take(self, size: int) -> None:
        """Ask for room for one entry of ``size`` bytes. Raises BundleError when there is none."""
        self.taken += size
        if self._limit is not None and self.taken + self._excess > self._limit:
            self._check_limit(self.taken + self._excess)
        blocks = -(-size // self._block) * self._block
        self._bytes -= blocks
        self._entries -= 1
        if self._bytes < 0 or self._entries < 0:
            self._look()
            self._refuse_if_short(blocks, 1)
            self._bytes -= blocks
            self._entries -= 1

    def pass_over(self, size: int, *, packed: int, entries: int) -> None:
        """Count bytes that were read and become nothing, in an archive of ``packed`` bytes that made ``entries``.

        What is more than entries usually need counts like content. Raises BundleError where that is too much, or more
        than any program makes.
        """
        self.passed += size
        self._excess = self.passed - _PASSED_FOR_ENTRY * entries
        if self._excess <= 0:
            self._excess = 0
            return
        self._check_limit(self.taken + self._excess)
        if self._excess > _PASSED_BASE + _PASSED_FOR_BYTE * packed:
            raise BundleError(
                f"{self._archive}: its {human(packed)} hold {human(self.passed)} of headers, names and padding that"
                " become no files.",
                remedy="No program packs files so: make the archive again and deploy the new one.",
            )

    def begin_again(self) -> None:
        """Forget what was passed over, for a second way through the archive."""
        self.passed = self._excess = 0

    def _look(self) -> None:
        state = os.fstatvfs(self._directory)
        # Root may use the blocks that the file system keeps back for it; others may not.
        blocks, files = (state.f_bfree, state.f_ffree) if os.geteuid() == 0 else (state.f_bavail, state.f_favail)
        self._block = state.f_frsize or 4096
        self._bytes = blocks * self._block
        # File systems without a fixed table of files (btrfs, overlays over some) say that it has no places at all.
        self._entries = files if state.f_files else 1 << 62

    def _check_limit(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise BundleError(
                f"{self._archive}: its content takes at least {human(size)}, "
                f"and {SIZE_SETTING} allows {human(self._limit)}.",
                remedy=f"Deploy a smaller bundle, or raise {SIZE_SETTING} in the agent's configuration.",
            )

    def _refuse_if_short(self, size: int, entries: int) -> None:
        if size > self._bytes:
            raise BundleError(
                f"{self._archive}: there is no room to unpack it: {human(size)} more are needed, "
                f"{human(self._bytes)} are free on the file system of the deployment directory.",
                remedy="Free some space there (older revisions count towards max_revisions) and deploy again.",
            )
        if entries > self._entries:
            raise BundleError(
                f"{self._archive}: there is no room to unpack it: {entries} more files and directories are needed, "
                f"and the file system of the deployment directory has room for {self._entries} (its inodes run out).",
                remedy="Remove files there that are no longer needed and deploy again.",
            )
