"""Tar archives: read the entries one after the other and hand each to the writer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agent.bundle.files import Owner
from agent.bundle.names import LONGEST_NAME, MAKE_IT_AGAIN, clean, entry_error, shown_name
from agent.bundle.owners import Owners
from agent.bundle.space import Space
from agent.bundle.streams import ArchiveFile, ByteStream
from agent.bundle.tar_headers import (
    BLOCK,
    DIRECTORY,
    DUMPED_DIRECTORY,
    HARD_LINK,
    ONLY_OF_ONE_ENTRY,
    REFUSED_TYPES,
    REGULAR,
    SPARSE,
    SYMLINK,
    VOLUME_LABEL,
    Header,
    HeaderError,
    apply_pax,
    checksum_is_right,
    parse,
    parse_pax,
)
from agent.bundle.tar_sparse import SparseFile, read_map
from agent.bundle.writer import TreeWriter
from agent.errors import BundleError

_ZEROS = bytes(BLOCK)

# Longer contents are not gathered in memory but go to the file as they come.
_SMALL = 128 * 1024

# An extended header longer than this describes no file that could be.
_METADATA_LIMIT = 1024 * 1024

# Entries that are believed of an archive before they are made, besides one for each of its bytes.
_ENTRIES_BELIEVED = 20_000


class TarReader:
    """Unpacks one tar stream.

    ``owners`` is None where owners are not applied; ``progress`` is called after each entry and within large ones.
    The rules for names are GNU tar's, which the official agent runs: leading slashes are dropped, a ``..`` is
    refused. ``reject_absolute`` refuses the slashes too.
    """

    def __init__(
        self,
        archive: ArchiveFile,
        stream: ByteStream,
        writer: TreeWriter,
        *,
        owners: Owners | None,
        reject_absolute: bool,
        progress: Callable[[], None],
    ) -> None:
        self._archive = archive
        self._stream = stream
        self._writer = writer
        self._owners = owners
        self._reject_absolute = reject_absolute
        self._progress = progress
        self._global: dict[str, bytes] = {}
        self._name = b""
        self._pass_over: Callable[[int], None] = partial(writer.pass_over, packed=archive.size)

    def unpack(self) -> None:
        """Write all entries. Raises BundleError, OSError."""
        while True:
            try:
                header, block = self._next_header()
            except HeaderError as error:
                raise self._archive.error(f"{self._place()} {error}", remedy=MAKE_IT_AGAIN) from error
            if header is None:
                break
            self._name = self._writer.current = header.name
            made = self._writer.made
            try:
                self._unpack_entry(header, block)
            except HeaderError as error:
                raise entry_error(self._archive.path, self._name, str(error)) from error
            if self._writer.made <= made:
                self._pass_over(BLOCK)  # it changed or replaced what an earlier entry had made
            self._progress()
        self._stream.drain(self._pass_over)

    def count(self, space: Space) -> None:
        """Read all headers without writing anything, as far as there is room for their files. Raises BundleError."""
        need, packed = space.need(), self._archive.size

        def pass_over(size: int) -> None:
            space.pass_over(size, packed=packed, entries=min(need.entries, _ENTRIES_BELIEVED + packed))

        self._pass_over = pass_over
        try:
            while True:
                header, block = self._next_header()
                if header is None:
                    space.begin_again()
                    return
                pass_over(BLOCK)
                self._name = header.name
                sparse = self._sparse_map(header, block)
                size = header.size if header.type not in (DIRECTORY, SYMLINK, HARD_LINK) else 0
                need.add(sparse.size if sparse else size)
                space.require(need)
                self._skip(size)
        except HeaderError as error:
            raise self._archive.error(f"{self._place()} {error}", remedy=MAKE_IT_AGAIN) from error

    def _place(self) -> str:
        return f"the entry after {shown_name(self._name)}" if self._name else "its first entry"

    def _next_header(self) -> tuple[Header | None, bytes]:
        """The next entry's header, with what long names and extended headers say about it; None at the end."""
        name = link = b""
        records: dict[str, bytes] | None = None
        while True:
            block = self._block(follows=bool(name or link or records))
            if block is None:
                return None, b""
            header = parse(block)
            kind = header.type
            if kind == b"L":
                name = self._long_name(header)
            elif kind == b"K":
                link = self._long_name(header)
            elif kind in (b"x", b"X"):
                records = parse_pax(self._metadata(header))
            elif kind == b"g":
                found = parse_pax(self._metadata(header))
                self._global |= {key: found[key] for key in found if not key.startswith(ONLY_OF_ONE_ENTRY)}
            elif kind == VOLUME_LABEL:
                self._pass_over(BLOCK)
                self._skip_content(header.size)
            else:
                break
        header.name = name or header.name
        header.link = link or header.link
        if records or self._global:
            apply_pax(header, {**self._global, **(records or {})})
        return header, block

    def _block(self, *, follows: bool) -> bytes | None:
        """The next header block, or None at the mark that ends an archive."""
        stream = self._stream
        if not stream.need(BLOCK):
            raise self._cut_short(follows=follows)
        block = stream.buffer[stream.position : stream.position + BLOCK]
        if block == _ZEROS and not follows:
            return None
        if not checksum_is_right(block):
            if not self._name:
                raise self._archive.error(
                    "it does not look like a tar archive: its first header has a wrong checksum",
                    remedy="Check the type that was given for the bundle, and that the bundle is whole.",
                )
            raise HeaderError("is not a tar header: its checksum is wrong")
        stream.position += BLOCK
        return block

    def _cut_short(self, *, follows: bool) -> BundleError:
        # Tar itself takes an archive without its end mark silently, and one that was cut short would lose files unseen.
        if follows or self._stream.position < len(self._stream.buffer):
            what = f"{self._place()} is cut short: the archive ends inside its header"
        else:
            what = f"it is cut short: {self._place()} and all others may be missing, and so is the mark that ends a tar"
        return self._archive.error(what, remedy=MAKE_IT_AGAIN)

    def _long_name(self, header: Header) -> bytes:
        if header.size > LONGEST_NAME + BLOCK:
            raise HeaderError(f"has a name or link of {header.size} bytes; {LONGEST_NAME} may be")
        return self._metadata(header).split(b"\0", 1)[0]

    def _metadata(self, header: Header) -> bytes:
        stream = self._stream
        if header.size > _METADATA_LIMIT:
            raise HeaderError(f"has an extended header of {header.size} bytes")
        padded = header.size + -header.size % BLOCK
        self._pass_over(BLOCK + padded)
        if not stream.need(padded):
            raise self._cut_short(follows=True)
        data = stream.buffer[stream.position : stream.position + header.size]
        stream.position += padded
        return data

    def _unpack_entry(self, header: Header, block: bytes) -> None:
        kind = header.type
        if kind in REFUSED_TYPES:
            raise HeaderError(f"{REFUSED_TYPES[kind]}, and a revision may hold only files, directories and links")
        sparse = self._sparse_map(header, block)
        name = self._clean(header.name)
        owner = self._owner(header)
        if kind == REGULAR and header.name[-1:] == b"/":
            if header.size:
                raise HeaderError(f"is a directory by its name and has {header.size} bytes of content")
            kind = DIRECTORY  # how the oldest tars write directories
        if not name and kind not in (DIRECTORY, DUMPED_DIRECTORY):
            raise HeaderError("has no name of its own, and is not a directory")
        if kind == DUMPED_DIRECTORY:
            self._skip_content(header.size)
        if kind in (DIRECTORY, DUMPED_DIRECTORY):
            self._writer.make_directory(name, header.mode, owner, header.mtime)
        elif kind == SYMLINK:
            self._writer.make_symlink(name, header.link, owner, header.mtime)
        elif kind == HARD_LINK:
            self._writer.make_hard_link(name, self._link_target(header.link))
        else:
            # POSIX: a type that one does not know is to be taken for an ordinary file.
            self._unpack_file(name, header, owner, sparse)

    def _sparse_map(self, header: Header, block: bytes) -> SparseFile | None:
        if header.type == SPARSE or (header.type == REGULAR and header.pax):
            return read_map(header, block, self._stream, self._pass_over)
        return None

    def _unpack_file(self, name: bytes, header: Header, owner: Owner | None, sparse: SparseFile | None) -> None:
        stream = self._stream
        size = header.size
        if sparse is None and size <= _SMALL:
            padded = size + -size % BLOCK
            if not stream.need(padded):
                raise self._content_missing()
            data = stream.buffer[stream.position : stream.position + size]
            stream.position += padded
            self._writer.write_file(name, data, header.mode, owner, header.mtime)
        else:
            self._unpack_large_file(name, header, owner, sparse)

    def _unpack_large_file(self, name: bytes, header: Header, owner: Owner | None, sparse: SparseFile | None) -> None:
        stream = self._stream
        size = header.size
        left = stream.left()
        if left is not None and size > left:
            raise self._content_missing()  # before a file is made that could never be filled

        def fill(descriptor: int) -> None:
            if sparse is not None:
                whole = sparse.write(stream, descriptor, self._progress)
            else:
                whole = stream.copy_to(descriptor, size, self._progress)
            if not whole or not stream.skip(-size % BLOCK):
                raise self._content_missing()

        room = sparse.size if sparse else size
        self._writer.fill_file(name, room, fill, header.mode, owner, header.mtime)

    def _skip_content(self, size: int) -> None:
        self._pass_over(size)
        self._skip(size)

    def _skip(self, size: int) -> None:
        if not self._stream.skip(size + -size % BLOCK):
            raise self._content_missing()

    def _clean(self, raw: bytes) -> bytes:
        name, led_out = clean(raw)
        if led_out:
            if b".." in raw.split(b"/"):
                raise HeaderError("has '..' in its name, which leads out of the directory of the revision")
            if self._reject_absolute:
                raise HeaderError("has an absolute name, which reject_path_traversal_in_bundle refuses")
        return name

    def _link_target(self, raw: bytes) -> bytes:
        """The name of a hard link's other end: as tar does, what stands after the last ``..``."""
        name, led_out = clean(raw)
        if led_out and b".." in raw.split(b"/"):
            if self._reject_absolute:
                raise HeaderError("is a hard link with '..', which reject_path_traversal_in_bundle refuses")
            parts = raw.split(b"/")
            name, _ = clean(b"/".join(parts[len(parts) - parts[::-1].index(b"..") :]))
        return name

    def _owner(self, header: Header) -> Owner | None:
        if self._owners is None:
            return None
        return self._owners.find(header.user, header.group, header.uid, header.gid)

    def _content_missing(self) -> BundleError:
        return entry_error(self._archive.path, self._name, "is cut short: the archive ends before its content does")
