"""A helper process that makes a part of an archive's small files.

Nearly all of the time that an archive of many files takes goes into making them. One process reads the archive and
decides everything: names, directories, links, limits. What is left of a file then, its bytes and a path without links,
it gives to the other as long as that one keeps up, and makes the file itself when it does not.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from types import TracebackType

from agent.bundle.files import FileMaker, Owner
from agent.filesystem.helper_process import HelperProcess

# Length of the name, mode, user, group, time; the flags tell whether there is an owner and a time.
_HEAD = struct.Struct("=IIIIq??")

# What is larger is made by the process that reads it: there the copying counts, not the making.
_LARGEST = 128 * 1024
_LONGEST_NAME = 8192

_ROOM = 512 * 1024

# Names are kept until it is known that their files are there; from so many on that is asked for.
_MOST_NAMES = 4096

_IS_ALL_DONE = b"?"
_YES = b"!"

# No room at the moment, or a kernel set up with less room than one file takes.
_NOT_NOW = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE})


class HelperWriter:
    """Makes files beside this process; to be used as a context manager, which ends it when it is left early.

    Start it before any thread. What it could not do is raised by every method: an OSError whose
    ``filename`` is the path below the top, or ChildProcessError when it was killed.
    """

    def __init__(self, files: FileMaker) -> None:
        self._files = files
        self._given: set[bytes] = set()
        # Each message arrives whole, or is refused whole when there is no room.
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self._helper = HelperProcess(self._serve)

    def __enter__(self) -> HelperWriter:
        """Start. Raises OSError."""
        try:
            self._helper.__enter__()
        except BaseException:
            self._ours.close()
            raise
        finally:
            # Only the helper process holds it then, so that its end is the end of the connection.
            self._theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._helper.__exit__(kind, error, trace)
        self._ours.close()

    def give(self, name: bytes, data: bytes | memoryview, mode: int, owner: Owner | None, mtime: int | None) -> bool:
        """Have a file made that replaces an earlier file of its name, or tell that this cannot be taken on now.

        ``name`` is a path below the top in whose directories there is no link; no directory and no link has it.
        """
        if len(data) > _LARGEST or len(name) > _LONGEST_NAME or self._helper.is_alone:
            return False
        user, group = owner or (0, 0)
        try:
            head = _HEAD.pack(len(name), mode, user, group, mtime or 0, owner is not None, mtime is not None)
        except struct.error:
            return False  # no file can have such a time or owner; the system's answer to that is the same for all
        try:
            self._ours.sendmsg([head, name, data], (), socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in _NOT_NOW:
                return False
            self._ended()
        self._given.add(name)
        if len(self._given) >= _MOST_NAMES:
            self.wait_for_all()
        return True

    def wait_for(self, name: bytes) -> None:
        """See to it that a file that was given is there, before anything else happens to its name."""
        if name in self._given:
            self.wait_for_all()

    def finish(self) -> None:
        """Wait until all is done, and end it."""
        if not self._helper.is_alone:
            self._ours.shutdown(socket.SHUT_WR)
            self._helper.join()

    def wait_for_all(self) -> None:
        """See to it that every file that was given is there, before a directory is taken away."""
        if not self._given:
            return
        try:
            self._ours.sendall(_IS_ALL_DONE)
            answer = self._ours.recv(1)
        except OSError:
            answer = b""
        if answer != _YES:
            self._ended()
        self._given.clear()

    def _ended(self) -> None:
        self._helper.join()
        raise ChildProcessError("the process that makes a part of the files ended early")

    def _serve(self) -> None:
        """Make each file that arrives, in the helper process, until the connection ends."""
        connection = self._theirs
        # This process has its own copy of our end, which would hold the connection open after our death.
        self._ours.close()
        buffer = bytearray(_HEAD.size + _LONGEST_NAME + _LARGEST)
        while length := connection.recv_into(buffer):
            if length == len(_IS_ALL_DONE):
                connection.sendall(_YES)
            else:
                self._make(memoryview(buffer)[:length])

    def _make(self, message: memoryview) -> None:
        name_length, mode, user, group, mtime, has_owner, has_mtime = _HEAD.unpack_from(message)
        end = _HEAD.size + name_length
        name = bytes(message[_HEAD.size : end])
        try:
            directory, _, leaf = name.rpartition(b"/")
            self._files.enter(directory)
            self._files.write(
                self._create(leaf, mode),
                message[end:],
                mode,
                (user, group) if has_owner else None,
                mtime if has_mtime else None,
            )
        except OSError as error:
            error.filename, error.filename2 = os.fsdecode(name), None
            raise

    def _create(self, leaf: bytes, mode: int) -> int:
        try:
            return self._files.create(leaf, mode)
        except FileExistsError:
            os.unlink(leaf, dir_fd=self._files.descriptor)
            return self._files.create(leaf, mode)
