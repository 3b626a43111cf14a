"""Checks of disks and directories, and the repairs of modes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from agent.doctor.finding import Finding, SkipError, failed, passed, warned
from agent.doctor.subject import Subject
from agent.errors import UnsafePathError
from agent.filesystem.directories import Directories
from agent.filesystem.disk_use import existing_directory
from agent.filesystem.way import account
from agent.install.cleanup_list import SEMANAGE_PREFIX, CleanupFile
from agent.install.host import HostFiles, View
from agent.install.state import InstallState
from agent.install.transitions import Transitions
from agent.runtime.own_directories import ALL, check_own_directories
from agent.text.sizes import human

NO_SPACE = 64 * 1024 * 1024
"""Bytes with which hardly any revision fits beside the one that is installed."""

LITTLE_SPACE = 1024 * 1024 * 1024
NO_INODES = 1000
LITTLE_INODES = 0.05
"""The share of a file system's inodes below which a revision of many files may not fit."""

MOST_DIRECTORIES = 5000
"""Directories of one group that are looked at; more would take longer than a check may."""

_DISKS = ("root_dir", "log_dir")


def disk_space(subject: Subject) -> Finding:
    """See how much may still be written to the disks of revisions and logs."""
    texts, free = [], []
    for name, path, found in _file_systems(subject):
        free.append(found.f_bavail * found.f_frsize)
        texts.append(f"{human(free[-1])} are free for {name} ({path})")
    text = "; ".join(texts) + "."
    if min(free) >= LITTLE_SPACE:
        return passed(text)
    remedy = "Free space there, or lower max_revisions."
    return failed(text, remedy) if min(free) < NO_SPACE else warned(text, remedy)


def inodes(subject: Subject) -> Finding:
    """See how many files may still be made; file systems that count none have no limit."""
    rows = [(name, path, found) for name, path, found in _file_systems(subject) if found.f_files]
    if not rows:
        return passed("These file systems do not limit the number of files.")
    text = "; ".join(f"{found.f_favail} inodes are free for {name} ({path})" for name, path, found in rows) + "."
    remedy = "Remove directories with many small files there (df -i shows the use)."
    if any(found.f_favail < NO_INODES for _, _, found in rows):
        return failed(text, remedy)
    if any(found.f_favail < found.f_files * LITTLE_INODES for _, _, found in rows):
        return warned(text, remedy)
    return passed(text)


def read_only(subject: Subject) -> Finding:
    """See whether the agent's directories are on file systems that may be written to."""
    closed = [f"{name} ({path})" for name, path, found in _file_systems(subject, ALL) if found.f_flag & os.ST_RDONLY]
    if closed:
        return failed(
            f"The file system of {', '.join(closed)} is mounted read-only.",
            "See dmesg for an error of the disk, then remount it: mount -o remount,rw.",
        )
    return passed("root_dir, log_dir and pid_dir may be written to.")


def _file_systems(subject: Subject, names: tuple[str, ...] = _DISKS) -> Iterator[tuple[str, str, os.statvfs_result]]:
    for name in names:
        path = str(getattr(subject.settings, name))
        yield name, path, os.statvfs(existing_directory(path))


def own_directories(subject: Subject) -> Finding:
    """See whether another account could exchange a directory of the agent."""
    if subject.settings.unsafe_links == "follow":
        return warned("unsafe_links is follow: the agent does not look.", "Set unsafe_links: refuse.")
    check_own_directories(subject.settings)
    return passed("No other account owns a directory above root_dir, log_dir and pid_dir.")


def modes(subject: Subject) -> Finding:
    """See whether other accounts may write to the agent's directories, or read its records."""
    found = _too_open(subject)
    if not found:
        return passed("Other accounts may not write to the agent's directories, nor read its records.")
    listed = ", ".join(f"{path} ({mode:04o})" for path, mode, _ in found)
    text = f"The modes grant other accounts more than they need: {listed}."
    remedy = f"{_chmod(found)}, or use doctor --fix."
    serious = any(mode & 0o002 or path == subject.layout.state for path, mode, _ in found)
    return failed(text, remedy) if serious else warned(text, remedy)


def close_directories(subject: Subject) -> list[str]:
    """Take from other accounts what the modes should not grant. Raises ConfigError, OSError."""
    check_own_directories(subject.settings)  # else the path may lead anywhere
    done = []
    for path, mode, granted in _too_open(subject):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode & granted)
        finally:
            os.close(descriptor)
        done.append(f"{path} had mode {mode:04o} and has {mode & granted:04o}.")
    return done


def _too_open(subject: Subject) -> list[tuple[str, int, int]]:
    """Return directories with their modes, and the largest modes that they should have."""
    settings, layout = subject.settings, subject.layout
    limits = dict.fromkeys((settings.root_dir, settings.log_dir, settings.pid_dir), 0o7755)
    for path in (layout.instructions, os.path.dirname(layout.tracking("any"))):
        limits[path] = 0o7000 | layout.modes.instructions
    limits[os.path.dirname(layout.deployments_log)] = 0o7000 | layout.modes.logs
    limits[layout.state] = 0o7700
    found = []
    for path, granted in limits.items():
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode) and mode & ~granted:
            found.append((path, mode, granted))
    return found


def _chmod(found: list[tuple[str, int, int]]) -> str:
    return "; ".join(f"chmod {mode & granted:04o} {path}" for path, mode, granted in found)


def log_directory(subject: Subject) -> Finding:
    """See whether the agent can write its log."""
    path = subject.settings.log_dir
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_directory = False
    if not is_directory:
        return failed(
            f"The directory {path} does not exist, so a running agent has no log.", "Make it, or use doctor --fix."
        )
    if not os.access(path, os.W_OK):
        return _not_ours(f"The user {account(os.geteuid())} cannot write to {path}.")
    return passed(f"{path} is there.")


def _not_ours(text: str) -> Finding:
    if os.geteuid() != 0:
        raise SkipError(f"{text} Ask as the user that runs the agent.")
    return failed(text, "See the check read-only, and lsattr -d for an immutable directory.")


def make_log_directory(subject: Subject) -> list[str]:
    """Make the directory of the agent's log. Raises ConfigError, OSError."""
    from agent.filesystem.durable import make_directory

    path = subject.settings.log_dir
    if os.path.isdir(path):
        return []
    check_own_directories(subject.settings, ("log_dir",))
    mode = 0o750 if subject.settings.restrict_log_dir_permissions else 0o755
    make_directory(path, mode=mode)
    return [f"{path} is made, with mode {mode:04o}."]


def destinations(subject: Subject) -> Finding:
    """See whether an account could lead the next Install to what it does not own."""
    if subject.settings.unsafe_links == "follow":
        raise SkipError("unsafe_links is follow: an Install goes where links lead.")
    groups, directories, unsafe = 0, 0, []
    for cleanup in _cleanup_lists(subject):
        paths = sorted({os.path.dirname(path) for path in cleanup.paths() if not path.startswith(SEMANAGE_PREFIX)})
        groups, directories = groups + 1, directories + len(paths)
        transitions = Transitions(cleanup.directories(), follow=False)
        with Directories(judge=transitions.judge) as opened:
            unsafe += list(_unsafe(paths[:MOST_DIRECTORIES], opened, transitions))
    if unsafe:
        more = f" {len(unsafe) - 1} more destinations are unsafe." if unsafe[1:] else ""
        return failed(f"{unsafe[0].message} The next Install there is refused.{more}", unsafe[0].remedy)
    return passed(f"The destinations of {groups} deployment groups ({directories} directories) are safe.")


def _cleanup_lists(subject: Subject) -> Iterator[CleanupFile]:
    state = InstallState(subject.settings.root_dir)
    directory = state.instructions_dir
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.endswith("-cleanup"):
            yield state.cleanup_file(name.removesuffix("-cleanup"))


def _unsafe(paths: list[str], opened: Directories, transitions: Transitions) -> Iterator[UnsafePathError]:
    view = View(HostFiles())
    for path in paths:
        try:
            for link in view.links(path):
                transitions.judge_link(link, os.stat(link.target))
            opened.open(view.resolve(path))
        except UnsafePathError as error:
            yield error
        except OSError:
            continue  # removed since, or on a disk that is away: an Install looks again
