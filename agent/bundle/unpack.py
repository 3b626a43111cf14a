"""From a local directory or archive to an unpacked revision, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from agent.bundle.compression import expected_size, open_tar_stream
from agent.bundle.directory import DirectoryReader
from agent.bundle.names import entry_error, shown_name
from agent.bundle.space import Space
from agent.bundle.staging import Staging
from agent.bundle.streams import CHUNK, ArchiveFile
from agent.bundle.writer import TreeWriter
from agent.errors import BundleError
from agent.filesystem.helper_process import is_worth_a_helper, is_worth_writing_ahead, written_ahead
from agent.filesystem.reasons import remedy_for

if TYPE_CHECKING:
    from agent.bundle.tar import TarReader

BUNDLE_TYPES = ("tar", "tgz", "zip", "directory")

# How many entries a tar has shows at its end only; this many bytes each is the guess before.
_USUAL_ENTRY = 4096

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Progress = Callable[[int, int], None]


class UnpackOptions(NamedTuple):
    """What an operator allows in a revision; each name is that of the setting without its ``_in_bundle``.

    ``max_size`` is in bytes, None for no limit. ``directory_mode`` is the mode of the unpacked revision's own
    directory. With ``exact_modes`` what is copied from a directory keeps its modes, whatever the umask. Without
    ``durably`` nothing waits for the disk, for a revision that is soon removed. The defaults are those of the official
    agent.
    """

    max_size: int | None = None
    reject_symlinks: bool = False
    reject_path_traversal: bool = False
    reject_unsafe_permissions: bool = False
    ignore_ownership: bool = False
    directory_mode: int = 0o755
    exact_modes: bool = False
    durably: bool = True


def unpack(
    source: str, bundle_type: str, destination: str, *, options: UnpackOptions, progress: Progress | None = None
) -> None:
    """Unpack an archive, or copy a directory, to ``destination``, replacing what is there.

    ``bundle_type`` is one of ``BUNDLE_TYPES``. The work is done in a hidden directory beside the destination, which
    takes its place by a rename at the very end. If anything fails nothing is left behind and an older destination
    stands. Nothing is ever written anywhere else, whatever the archive holds. The single top directory of an archive is
    left out when an entry in it has "appspec" in its name (the official agent's rule), also beside what macOS adds.
    ``progress`` gets the bytes of the source dealt with and their total, at most once for each 256 KiB.

    The revision gets its name when it is on the disk, with everything else that was written on its file system before.
    Raises BundleError, which names the archive, the entry, what is wrong and what to do.
    """
    if bundle_type not in BUNDLE_TYPES:
        raise BundleError(
            f"{source}: the bundle type {bundle_type!r} is not known.", remedy=f"Use one of {', '.join(BUNDLE_TYPES)}."
        )
    try:
        staging = Staging(destination)
    except OSError as error:
        raise BundleError(
            f"{source} cannot be unpacked: a directory beside {destination} cannot be made: {error.strerror}."
        ) from error
    with staging:
        _Unpacking(source, staging, options, progress).run(bundle_type)
        _keep(source, staging, options)


class _Unpacking:
    """One run: the writer below the staging directory, and the reader that feeds it."""

    def __init__(self, source: str, staging: Staging, options: UnpackOptions, progress: Progress | None) -> None:
        self._source = source
        self._staging = staging
        self._options = options
        self._progress = progress
        self._umask = _umask()
        self._space = Space(staging.descriptor, archive=source, limit=options.max_size)
        self._writer = TreeWriter(
            staging.descriptor,
            archive=source,
            space=self._space,
            umask=self._umask,
            reject_setuid=options.reject_unsafe_permissions,
            reject_links=options.reject_symlinks,
        )

    def run(self, bundle_type: str) -> None:
        try:
            if bundle_type == "directory":
                self._copy_directory()
            elif bundle_type == "zip":
                self._unpack_zip()
            else:
                self._unpack_tar(bundle_type)
            self._writer.finish()
            if bundle_type != "directory":
                self._staging.top = _single_top(self._staging.descriptor)
            if self._options.reject_path_traversal:
                self._refuse_links_that_lead_out()
        except OSError as error:
            raise self._explained(error) from error
        finally:
            self._writer.close()

    def _unpack_tar(self, bundle_type: str) -> None:
        archive = ArchiveFile(self._source)
        try:
            # A tar has no directory to ask. Only where its size gives reason to, it is read once more before.
            size = expected_size(archive)
            if self._space.may_be_short_of(size):
                self._read_tar(archive, bundle_type, _nothing, lambda reader: reader.count(self._space))
                archive.rewind()
            report = _reporter(self._progress, archive.size, lambda: archive.position)
            entries = size // _USUAL_ENTRY
            with self._written_ahead(size, entries), self._writer.helped(entries):
                self._read_tar(archive, bundle_type, report, lambda reader: reader.unpack())
            report()
        finally:
            archive.close()

    def _read_tar(
        self,
        archive: ArchiveFile,
        bundle_type: str,
        report: Callable[[], None],
        work: Callable[[TarReader], None],
    ) -> None:
        # Each kind of archive needs its own reader only, and imports cost start-up time.
        from agent.bundle.owners import Owners
        from agent.bundle.tar import TarReader

        apply_owners = os.geteuid() == 0 and not self._options.ignore_ownership
        stream = open_tar_stream(archive, bundle_type)
        try:
            reader = TarReader(
                archive,
                stream,
                self._writer,
                owners=Owners() if apply_owners else None,
                reject_absolute=self._options.reject_path_traversal,
                progress=report,
            )
            work(reader)
        finally:
            stream.close()

    def _unpack_zip(self) -> None:
        from agent.bundle.zip import ZipReader

        archive = ArchiveFile(self._source)
        try:
            report = _reporter(self._progress, archive.size, lambda: archive.position)
            reader = ZipReader(
                archive,
                self._writer,
                umask=self._umask,
                reject_traversal=self._options.reject_path_traversal,
                progress=report,
            )
            need = self._space.need()
            reader.count(need)
            self._space.require(need)
            with self._written_ahead(need.size, need.entries), self._writer.helped(need.entries):
                reader.unpack()
            archive.position = archive.size
            report()
        finally:
            archive.close()

    def _copy_directory(self) -> None:
        try:
            top = os.open(self._source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise BundleError(f"{self._source}: the directory cannot be opened: {error.strerror}.") from error
        try:
            reader = DirectoryReader(
                self._source,
                top,
                self._writer,
                umask=self._umask,
                forbidden=self._staging.identity,
                exact_modes=self._options.exact_modes,
            )
            need = self._space.need()
            reader.count(need)
            self._space.require(need)
            report = _reporter(self._progress, need.size, lambda: reader.copied)
            with self._written_ahead(need.size, need.entries):
                reader.copy(report)
            report()
        finally:
            os.close(top)

    @contextmanager
    def _written_ahead(self, size: int, entries: int) -> Iterator[None]:
        """Have the disk write while much is unpacked, so that the sync at the end finds less to do."""
        if not self._options.durably or not (is_worth_writing_ahead(size) or is_worth_a_helper(entries)):
            yield
            return
        with written_ahead([os.path.dirname(self._staging.destination)]):
            yield
            self._writer.current = b""  # what the disk could not write is no matter of the last entry

    def _refuse_links_that_lead_out(self) -> None:
        """Refuse symbolic links whose targets lie outside the revision: Install would copy what they point to."""
        top = os.fsencode(self._staging.top) + b"/" if self._staging.top else b""
        links = {name.removeprefix(top): target for name, target in self._writer.links.items()}
        for name, target in links.items():
            if self._writer.leads_out(name, links):
                what = f"is a symbolic link to {shown_name(target)}, which leads out of the revision"
                remedy = (
                    "The agent's setting reject_path_traversal_in_bundle refuses that: change the link or the setting."
                )
                raise entry_error(self._source, name, what, remedy=remedy)

    def _explained(self, error: OSError) -> BundleError:
        what = f"cannot be unpacked: {error.strerror or error}"
        remedy = remedy_for(error)
        if error.errno in _DISK_FULL:
            remedy = "Free some space on the file system of the deployment directory and deploy again."
        elif error.errno == errno.ENAMETOOLONG:
            remedy = "A name may have 255 bytes on most file systems, and a whole path 4096: shorten it."
        # A process that was killed may have been at any entry.
        if not self._writer.current or isinstance(error, ChildProcessError):
            return BundleError(f"{self._source} {what}.", remedy=remedy)
        return entry_error(self._source, self._writer.current, what, remedy=remedy)


def _keep(source: str, staging: Staging, options: UnpackOptions) -> None:
    try:
        staging.keep(options.directory_mode, durably=options.durably)
    except OSError as error:
        raise BundleError(
            f"{source} was unpacked, but cannot be put in its place at {staging.destination}: {error.strerror}.",
            remedy=remedy_for(error),
        ) from error


def _single_top(descriptor: int) -> str:
    """The only entry of the archive, if that is a directory in which some name has "appspec" in it; else "".

    What macOS puts beside it, for what other systems do not keep of a file, does not count.
    """
    with os.scandir(descriptor) as found:
        entries = (entry for entry in found if entry.name != "__MACOSX" and not entry.name.startswith("._"))
        first = next(entries, None)
        if first is None or next(entries, None) is not None or not first.is_dir(follow_symlinks=False):
            return ""
    top = os.open(first.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    try:
        return first.name if any("appspec" in name.lower() for name in os.listdir(top)) else ""
    finally:
        os.close(top)


def _reporter(progress: Progress | None, total: int, position: Callable[[], int]) -> Callable[[], None]:
    if progress is None:
        return _nothing
    told = -CHUNK

    def report() -> None:
        nonlocal told
        done = min(position(), total)
        if done - told >= CHUNK or (done == total and told != done):
            told = done
            progress(done, total)

    return report


def _nothing() -> None:
    pass


def _umask() -> int:
    # There is no call that only asks. The value between the two is the safe one, should a thread make a file then.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
