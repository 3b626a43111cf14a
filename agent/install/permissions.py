"""Which permissions entry applies to which installed object.

``resolve`` is pure: it is told what is installed and asks its caller about the host. The rules are the official
agent's: an entry for an installed file is for that file; an entry for a directory is for what this deployment installs
below it, never for the directory itself and never for what others put there.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from agent.appspec.model import Permission, located, place_of
from agent.appspec.patterns import matcher
from agent.install import acl as acls
from agent.install.attributes import Attributes, apply_attributes
from agent.install.host import DIRECTORY, LINK
from agent.install.options import InstallOptions
from agent.install.owners import OwnerLookup, OwnerRights
from agent.text.report import Placed

__all__ = ["Attributes", "Resolution", "apply_attributes", "preflight", "resolve"]

_EVERYTHING = "**"
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
_UNCONFINED_TYPES = frozenset({"unconfined_t", "kernel_t", "init_t"})

# Entries in the thousands can be wrong in the same way; nobody reads on after these.
_MOST_PROBLEMS = 100


class Resolution:
    """What the permissions of an AppSpec come to.

    ``settings`` are the entries with their installed paths in the official agent's order, links not followed.
    ``attributes`` is what each object gets, links followed; ``foreign`` those of its paths that this deployment does
    not install, because an installed link leads there. With ``problems`` nothing of it may be used.
    """

    __slots__ = ("attributes", "foreign", "problems", "settings", "warnings")

    def __init__(self) -> None:
        self.settings: list[tuple[str, Attributes]] = []
        self.attributes: dict[str, Attributes] = {}
        self.foreign: list[str] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []


def resolve(
    permissions: Sequence[Permission],
    installed: Mapping[str, str],
    *,
    expand: Callable[[str], str],
    kind_on_host: Callable[[str], str | None],
    target_of: Callable[[str], str | None],
    owners: OwnerLookup,
    filename: str,
    options: InstallOptions,
) -> Resolution:
    """Work out which entry applies to which object, with every problem, and change nothing.

    ``installed`` gives the kind (``host.FILE``, ``DIRECTORY``, ``LINK``) of all that this deployment installs, by
    absolute path in the order of installation. ``expand`` makes an object's path absolute in the same manner;
    ``kind_on_host`` tells what will be at a path after the Install, links followed; ``target_of`` where an installed
    link will lead, as a key of ``installed`` if it is installed too, else as a real path, or None where there will be
    nothing.
    """
    resolver = _Resolver(installed, owners, filename, options)
    for permission in permissions:
        resolver.add(permission, expand(permission.object), kind_on_host)
        if len(resolver.result.problems) >= _MOST_PROBLEMS:
            resolver.result.problems.append(f"{filename}: there may be more; these are the first {_MOST_PROBLEMS}.")
            return resolver.result
    resolver.follow_links(target_of)
    return resolver.result


class _Resolver:
    """Takes entry by entry and remembers which object was claimed by which."""

    def __init__(
        self, installed: Mapping[str, str], owners: OwnerLookup, filename: str, options: InstallOptions
    ) -> None:
        self.result = Resolution()
        self._installed = installed
        self._tree = _Tree(installed)
        self._owners = owners
        self._filename = filename
        self._options = options
        self._claims: dict[str, Permission] = {}

    def add(self, permission: Permission, path: str, kind_on_host: Callable[[str], str | None]) -> None:
        """Add one entry whose object is at a path."""
        self._check_settings(permission)
        targets = self._targets(permission, path, kind_on_host)
        if not targets:
            return  # an entry without effect cannot fail, whatever it sets
        attributes = self._attributes(permission)
        if attributes.acl is not None and attributes.acl.default:
            self._check_default_acl(permission, targets)
        self._claim(permission, attributes, targets)

    def _targets(self, permission: Permission, path: str, kind_on_host: Callable[[str], str | None]) -> Sequence[str]:
        kind = self._installed.get(path)
        if kind is not None and kind != DIRECTORY:
            targets = [path] if "file" in permission.types else []
            if targets:
                self._check_file_object(permission)
        elif kind == DIRECTORY or kind_on_host(path) == DIRECTORY:
            targets = self._tree.matches(permission, path)
        else:
            found = "what is there is not installed by this deployment" if kind_on_host(path) else "nothing is there"
            self._warn(
                permission,
                "object",
                f"the object {path} is neither an installed file nor a directory ({found}); it has no effect",
            )
            return []
        if not targets:
            text = f"nothing that is installed at or below {path} matches; it has no effect"
            if kind is None:
                text += f". {path} is a directory of the host: permissions are for what a deployment installs in it"
                text += ", and a script can change the directory itself"
            self._warn(permission, "object", text)
        return targets

    def _attributes(self, permission: Permission) -> Attributes:
        uid = gid = acl = None
        if permission.owner is not None and (uid := self._owners.user(permission.owner)) is None:
            self._unknown(permission, "owner", f"user named {permission.owner!r}")
        if permission.group is not None and (gid := self._owners.group(permission.group)) is None:
            self._unknown(permission, "group", f"group named {permission.group!r}")
        if permission.acls:
            acl, problems, warnings = acls.resolve_acl(permission.acls, self._owners)
            for entry, text in problems:
                self._fail(permission, "acls", text, place=entry.place)
            for entry, text in warnings:
                self._warn(permission, "acls", text, place=entry.place)
        return Attributes(permission, uid, gid, acl)

    def _check_settings(self, permission: Permission) -> None:
        options, context = self._options, permission.context
        if options.reject_unsafe_permissions and permission.mode is not None and permission.mode & _SET_ID_BITS:
            self._fail(
                permission,
                "mode",
                f"the mode {permission.mode:04o} sets the setuid or setgid bit, and the agent's setting"
                " reject_unsafe_permissions_in_bundle is on",
            )
        if options.reject_unconfined_selinux and context is not None and context.type in _UNCONFINED_TYPES:
            self._fail(
                permission,
                "context",
                f"the context type {context.type} is unconfined, and the agent's setting"
                " reject_unconfined_selinux_in_bundle is on",
            )

    def _check_file_object(self, permission: Permission) -> None:
        if permission.pattern != _EVERYTHING:
            self._fail(
                permission,
                "pattern",
                f"the object {permission.object} is a file, so the pattern {permission.pattern!r} has nothing to choose"
                " from; remove it, or name the directory as the object",
            )
        if permission.exclude:
            self._fail(
                permission,
                "except",
                f"the object {permission.object} is a file, so except {list(permission.exclude)!r} has nothing to leave"
                " out; remove it, or name the directory as the object",
            )

    def _check_default_acl(self, permission: Permission, targets: Sequence[str]) -> None:
        files = [path for path in targets if self._installed[path] != DIRECTORY]
        if files:
            self._fail(
                permission,
                "acls",
                f"default ACL entries are for directories only, and the entry applies to {_several(files)}; add"
                " type: [directory], and give the files an entry of their own",
            )

    def _claim(self, permission: Permission, attributes: Attributes, targets: Sequence[str]) -> None:
        claims, settings = self._claims, self.result.settings
        clashes: dict[int, list[str]] = {}
        for path in targets:
            earlier = claims.setdefault(path, permission)
            if earlier is permission:
                settings.append((path, attributes))
            else:
                clashes.setdefault(earlier.line, []).append(path)
        for line, paths in clashes.items():
            self._fail(
                permission,
                "object",
                f"the permissions of {_several(paths)} are set by the entry at line {line} already; let type, pattern"
                " or except keep the two apart",
            )

    def follow_links(self, target_of: Callable[[str], str | None]) -> None:
        """Turn the settings into attributes: what is set on a link reaches what it leads to, as chmod(2) does it."""
        chains: dict[str, list[Attributes]] = {}
        for path, attributes in self.result.settings:
            if self._installed[path] == LINK:
                target = self._followed(path, attributes.permission, target_of)
                if target is None:
                    continue
                path = target
            chain = chains.setdefault(path, [])
            if not chain or chain[-1] is not attributes:
                chain.append(attributes)
        self.result.attributes = {path: _chained(chain) for path, chain in chains.items()}
        self.result.foreign = [path for path in chains if path not in self._installed]

    def _followed(self, path: str, permission: Permission, target_of: Callable[[str], str | None]) -> str | None:
        if self._options.reject_symlink_permission_targets:
            self._fail(
                permission,
                "object",
                f"{path} is a symbolic link, and the agent's setting reject_symlink_permission_targets is on",
            )
            return None
        target = target_of(path)
        if target is None:
            self._fail(
                permission,
                "object",
                f"{path} is a symbolic link that will lead to nothing, so that nothing can get its permissions; add"
                " what it leads to, or leave the link out with except, pattern or type",
            )
        elif target not in self._installed:
            self._warn(
                permission, "object", f"{path} is a symbolic link: {target}, not part of this deployment, is changed"
            )
        return target

    def _unknown(self, permission: Permission, key: str, what: str) -> None:
        text = f"this host has no {what}; create it in a BeforeInstall script, or correct the name"
        self._fail(permission, key, text)

    def _fail(self, permission: Permission, key: str, text: str, *, place: Placed | None = None) -> None:
        self.result.problems.append(f"{self._at(permission, key, place)}: {text}.")

    def _warn(self, permission: Permission, key: str, text: str, *, place: Placed | None = None) -> None:
        self.result.warnings.append(f"{self._at(permission, key, place)}: {text}.")

    def _at(self, permission: Permission, key: str, place: Placed | None = None) -> str:
        return located(self._filename, place or place_of(permission, key))


def _chained(chain: list[Attributes]) -> Attributes:
    last = chain[-1]
    for step in reversed(chain[:-1]):
        last = step._replace(then=last)
    return last


def _several(paths: Sequence[str]) -> str:
    rest = len(paths) - 1
    return paths[0] if not rest else f"{paths[0]} and {rest} more"


class _Tree:
    """The installed objects by directory and by path prefix, each order made when it is first asked for."""

    def __init__(self, installed: Mapping[str, str]) -> None:
        self._installed = installed
        self._sorted: list[str] = []
        self._rank: dict[str, int] = {}
        self._children: dict[str, dict[str, str]] = {}

    def matches(self, permission: Permission, directory: str) -> list[str]:
        """Return the paths below a directory that an entry is for: files, then directories, each in install order."""
        if permission.pattern == _EVERYTHING:
            found = self._below(directory)
        else:
            found = self._matching_children(permission.pattern, directory)
        if permission.exclude:
            found = self._without(permission.exclude, directory, found)
        kinds = [(path, self._installed[path]) for path in found]
        files = [path for path, kind in kinds if kind != DIRECTORY] if "file" in permission.types else []
        directories = [path for path, kind in kinds if kind == DIRECTORY] if "directory" in permission.types else []
        return files + directories

    def _below(self, directory: str) -> list[str]:
        if directory == "/":
            return [path for path in self._installed if path != "/"]
        if not self._rank:
            self._rank = {path: number for number, path in enumerate(self._installed)}
            self._sorted = sorted(self._installed)
        # "0" is the character after "/".
        start, end = bisect_left(self._sorted, f"{directory}/"), bisect_left(self._sorted, f"{directory}0")
        return sorted(self._sorted[start:end], key=self._rank.__getitem__)

    def _matching_children(self, pattern: str, directory: str) -> list[str]:
        if not self._children:
            for path in self._installed:
                parent, name = os.path.split(path)
                self._children.setdefault(parent, {})[name] = path
        children = self._children.get(directory, {})
        if "*" not in pattern:
            return [children[pattern]] if pattern in children else []
        matches = matcher(pattern)
        return [path for name, path in children.items() if matches(name)]

    def _without(self, exclude: Sequence[str], directory: str, paths: Sequence[str]) -> list[str]:
        """Leave out direct children by their name; what is deeper stays, also below an excluded directory."""
        left_out = {path for pattern in exclude for path in self._matching_children(pattern, directory)}
        return [path for path in paths if path not in left_out]


def preflight(resolution: Resolution, *, filename: str) -> tuple[list[str], list[str]]:
    """Look whether this process and this host can do what is asked for; give problems and warnings.

    Checked are the right to give files away, ACLs on the file systems concerned, and the SELinux programs. Raises
    OSError where the host cannot be read.
    """
    from agent.install import selinux  # seldom needed, and a small deployment counts its milliseconds

    problems: dict[str, None] = {}
    warnings = []
    rights = OwnerRights()
    keeps_acls: dict[str, bool] = {}
    for path, attributes in resolution.attributes.items():
        for step in attributes.steps():
            if not rights.may_give(step.uid, step.gid):
                given = place_of(step.permission, "owner" if step.permission.owner is not None else "group")
                problems[f"{located(filename, given)}: {_forbidden(step.permission)}"] = None
            if step.acl is not None and not _supported(path, keeps_acls):
                listed = located(filename, place_of(step.permission, "acls"))
                text = f"the file system of {os.path.dirname(path)} keeps no ACLs"
                problems[f"{listed}: {text}; take acls out, or mount one with POSIX ACLs there."] = None
    labelled = [path for path, attributes in resolution.attributes.items() if attributes.context is not None]
    if labelled and (missing := selinux.missing_tools()):
        problems[
            f"{_several(labelled)}: an SELinux context is to be set, but this host lacks {' and '.join(missing)};"
            " install policycoreutils and its Python utilities, or take context from the AppSpec."
        ] = None
    elif labelled and not selinux.is_enabled():
        warnings.append("SELinux is not enabled: the contexts are stored as rules but have no effect until it is.")
    return list(problems), warnings


def _forbidden(permission: Permission) -> str:
    return (
        f"the owner {permission.owner or ''}:{permission.group or ''} is asked for, but this process (user"
        f" {os.geteuid()}) may not give files away; run it as root, or take owner and group out."
    )


def _supported(path: str, known: dict[str, bool]) -> bool:
    """Tell whether ACLs are kept where a path is, asking once for each directory."""
    directory = os.path.dirname(path)
    if directory not in known:
        known[directory] = acls.supported(path)
    return known[directory]
