"""Whose directories and links an Install goes through, and which of them it refuses.

The rule is that of systemd-tmpfiles: what one unprivileged account owns may lead only to what the same account owns.
Otherwise that account could lead root to a place where it may not write itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from agent.errors import InstallError, UnsafePathError
from agent.filesystem.directories import Directories
from agent.filesystem.kernel import Identity, identity
from agent.filesystem.way import account, trusted_owners
from agent.install.host import Link
from agent.install.plan import ADJUST, RESET, Plan


class Transitions:
    """Judges each step from a directory to one in it.

    ``own`` are the directories that this deployment group has installed, with their identity where it is known: they
    may lie in a directory of any account. With ``follow`` nothing is refused.
    """

    def __init__(self, own: Mapping[str, Identity | None], *, follow: bool) -> None:
        self.follow = follow
        self.own = own
        self._trusted = trusted_owners(os.geteuid())

    def judge(self, path: str, descriptor: int, above: os.stat_result, below: os.stat_result) -> None:
        """Raise UnsafePathError for an unsafe step into the directory ``path``."""
        if not self._is_own(path, descriptor):
            self._judge(os.path.dirname(path), above.st_uid, path, below.st_uid)

    def judge_link(self, link: Link, target: os.stat_result) -> None:
        """Raise UnsafePathError where a link leads to what its owner does not own."""
        self._judge(link.path, link.uid, link.target, target.st_uid, is_link=True)

    def judge_object(self, path: str, above: os.stat_result, status: os.stat_result) -> None:
        """Judge an object that is not part of the deployment, and that permissions reach through an installed link.

        Raises UnsafePathError where the owner of the directory could have put it there, InstallError for several names.
        """
        self._judge(os.path.dirname(path), above.st_uid, path, status.st_uid)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            raise InstallError(
                f"An installed link leads to {path}, which has {status.st_nlink} names: a permission that is set on one"
                " of them is set on all.",
                remedy="Let the link lead to a file with one name, or leave the link out of the permissions section.",
            )

    def _judge(self, path: str, owner: int, target: str, target_owner: int, *, is_link: bool = False) -> None:
        if self.follow or owner == target_owner or owner in self._trusted:
            return
        name = account(owner)
        # A link may lead to the host's own directories, which an account must not be given.
        ways = f"Give {path} to root (chown -h root), or {target} to {name}"
        if not is_link:
            ways = f"Give {target} to {name} (chown {owner}), or {path} to root"
        raise UnsafePathError(
            f"{path} belongs to {name} and leads to {target}, which belongs to {account(target_owner)}: {name} could"
            " lead the agent anywhere.",
            remedy=f"{ways}, or set unsafe_links: follow.",
        )

    def _is_own(self, path: str, descriptor: int) -> bool:
        if path not in self.own:
            return False
        known = self.own[path]
        return known is None or identity("", descriptor).is_same(known, same_boot=False)


def open_directories(plan: Plan, directories: Directories, transitions: Transitions) -> None:
    """Open all directories that hold a name of a plan, before anything is changed.

    Raises UnsafePathError where one account could lead the Install to what another owns, InstallError for a file with
    several names that permissions would reach, OSError where the host has changed since it was planned.
    """
    for operation in plan.operations:
        directories.open(operation.path[: operation.path.rfind("/")])
        if operation.kind == RESET:
            directories.open(operation.path)
        elif operation.kind == ADJUST:
            above = os.fstat(directories.open(os.path.dirname(operation.path)))
            transitions.judge_object(operation.path, above, directories.status(operation.path))
    for path in [*plan.stages, *plan.obsolete]:
        directories.open(os.path.dirname(path))
    for link in dict.fromkeys(plan.links):
        status = os.fstat(directories.open("/")) if link.target == "/" else directories.status(link.target)
        transitions.judge_link(link, status)
