"""SELinux contexts of installed files: rules kept by ``semanage``, labels set by ``restorecon``.

A rule is stored before the files are in place, so it is first written down, as a record that goes through JSON, what
the host had under the same specification: the record is all that undoing needs, also after a crash. The programs are
run directly, never through a shell.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from agent.appspec.model import SelinuxContext
from agent.errors import InstallError
from agent.filesystem.directories import Directories, by_descriptor

_log = logging.getLogger(__name__)

Rule = dict[str, object]

# Ample for adding a rule to a large policy on a slow disk; a semanage that waits for a lock would wait for ever.
_LIMIT_SECONDS = 60.0
_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin")
_PATHS_PER_RUN = 500
_LABEL = "security.selinux"
_ENABLED_FILE = "/sys/fs/selinux/enforce"
_NO_CONTEXT = "<<none>>"

# One line of "semanage fcontext -l -C -n": the specification, for which kind of object it holds, the context.
_LINE = re.compile(r"^(?P<spec>/.*?)\s+all files\s+(?P<context><<None>>|[^\s:]+:[^\s:]+:[^\s:]+(?::.*?)?)\s*$")

# Regular expressions in a specification are PCRE; semanage refuses spaces, also escaped ones.
_SPECIAL = re.compile(r"[.^$?*+|\[\](){}\\]")
_SPACE = re.compile(r"\s")


def missing_tools() -> list[str]:
    """Name the programs that setting a context needs and this host lacks."""
    return [name for name in ("semanage", "restorecon") if _find(name) is None]


def is_enabled() -> bool:
    """Tell whether the kernel runs with SELinux: its file system is mounted only then (selinux(8))."""
    return os.path.exists(_ENABLED_FILE)


def specification(path: str) -> str:
    """Return the regular expression that a rule for exactly this path has."""
    escaped = _SPECIAL.sub(lambda found: f"\\{found.group()}", path)
    return _SPACE.sub("[[:space:]]", escaped)


def plan_rules(desired: Iterable[tuple[str, SelinuxContext]]) -> list[Rule]:
    """Write down the rules to add for real paths, with what each would replace; nothing is changed yet.

    The records are JSON-able, for the journal. Raises InstallError where ``semanage`` is missing or fails.
    """
    pairs = list(desired)
    existing = local_rules() if pairs else {}
    return [_record(path, context, existing) for path, context in pairs]


def _record(path: str, context: SelinuxContext, existing: Mapping[str, Mapping[str, str | None]]) -> Rule:
    spec = specification(path)
    before = existing.get(spec)
    return {
        "path": path,
        "spec": spec,
        "context": {"user": context.user, "type": context.type, "range": context.range},
        "before": None if before is None else dict(before),
        "label": _label(path),
    }


def add_rule(rule: Rule) -> None:
    """Store a rule; one that exists under the same specification is changed. Raises InstallError."""
    _store("-a" if rule["before"] is None else "-m", str(rule["spec"]), _context(rule["context"]))


def undo_rule(rule: Rule, directories: Directories) -> None:
    """Take a rule back, to what was there before, and give the object at its path its former label.

    May be repeated, and holds too where the rule was never stored. Where the tools are gone by now this is
    logged, because no repetition would help. Raises InstallError where ``semanage`` fails.
    """
    spec, path = str(rule["spec"]), str(rule["path"])
    if _find("semanage") is None:
        _log.warning("The SELinux rule for %s cannot be taken back: semanage is not on this host any more", path)
        return
    found = local_rules().get(spec)
    before = None if rule["before"] is None else _context(rule["before"])
    if found is not None and before is None:
        _semanage("-d", spec)
    elif before is not None and found != before:
        _store("-a" if found is None else "-m", spec, before)
    _restore_label(path, rule["label"], directories)


def remove_rule(entry: str) -> bool:
    """Remove the rule that a line of a clean-up list names; tell whether it is gone. Never raises InstallError.

    The line holds our specification or, when an official agent wrote it, the plain path, which it used as one. A
    rule that cannot be removed is logged: it must not block the deployments that follow.
    """
    try:
        found = local_rules()
        for spec in dict.fromkeys([entry, specification(entry)]):
            if spec in found:
                _semanage("-d", spec)
    except InstallError as error:
        _log.warning("The SELinux rule for %s stays: %s", entry, error)
        return False
    return True


def relabel(paths: Sequence[str]) -> None:
    """Set the labels of these paths to what the rules say, user, role and range too. Raises InstallError."""
    for start in range(0, len(paths), _PATHS_PER_RUN):
        _run("restorecon", ["-F", *paths[start : start + _PATHS_PER_RUN]])


def label_new(target: int | str, context: SelinuxContext) -> None:
    """Give a new object, before it has its name, the label that its rule asks for; what that leaves out stays.

    ``relabel`` sees to the rest where the policy wants more. Nothing is done where there are no labels. Raises OSError.
    """
    try:
        user, role, _, *level = os.getxattr(target, _LABEL).rstrip(b"\0").decode("ascii").split(":", 3)
    except (OSError, ValueError):
        return
    desired = [context.user or user, role, context.type, *([context.range] if context.range else level)]
    os.setxattr(target, _LABEL, ":".join(desired).encode("ascii"))


def local_rules() -> dict[str, dict[str, str | None]]:
    """Return this host's rules for all kinds of objects: specification -> user, type, range. Raises InstallError."""
    return parse_rules(_run("semanage", ["fcontext", "-l", "-C", "-n"]))


def parse_rules(listing: str) -> dict[str, dict[str, str | None]]:
    """Read what ``semanage fcontext -l -C`` prints; rules for one kind of object only are left out."""
    rules: dict[str, dict[str, str | None]] = {}
    for line in listing.split("\n"):
        found = _LINE.match(line)
        if found is None:
            continue
        parts = found["context"].split(":", 3)
        if len(parts) < 3:
            rules[found["spec"]] = {"user": None, "type": _NO_CONTEXT, "range": None}
        else:
            rules[found["spec"]] = {"user": parts[0], "type": parts[2], "range": parts[3] if parts[3:] else None}
    return rules


def _store(option: str, spec: str, context: Mapping[str, str | None]) -> None:
    arguments = [option]
    for letter, name in (("-s", "user"), ("-t", "type"), ("-r", "range")):
        value = context.get(name)
        if value is not None:
            arguments += [letter, value]
    _semanage(*arguments, spec)


def _semanage(*arguments: str) -> None:
    _run("semanage", ["fcontext", *arguments])


def _context(value: object) -> dict[str, str | None]:
    """Read a context back from a record that came through JSON."""
    table = value if isinstance(value, dict) else {}
    return {name: table.get(name) for name in ("user", "type", "range")}


def _find(name: str) -> str | None:
    """Find a program; an ordinary PATH leaves out the directories in which these lie."""
    for directory in [*os.get_exec_path(), *_SYSTEM_DIRECTORIES]:
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _run(name: str, arguments: Sequence[str]) -> str:
    """Run one of the programs and give what it prints. Raises InstallError if it is missing, fails or hangs."""
    import subprocess  # slow to import, and only hosts with SELinux need it

    program = _find(name)
    command = " ".join([name, *arguments[:12], *(["..."] if arguments[12:] else [])])
    if program is None:
        raise InstallError(
            f"An SELinux context is to be set, but this host has no program {name!r}.",
            remedy="Install it (policycoreutils-python-utils, policycoreutils), or take context from the AppSpec.",
        )
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # the kinds of objects are translated otherwise
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(
            f"The command {command!r} did not end within {_LIMIT_SECONDS:.0f} s and was stopped.",
            remedy="See whether another process holds the SELinux policy store.",
        ) from error
    except OSError as error:
        raise InstallError(f"The program {program} cannot be run: {error.strerror}.") from error
    if done.returncode != 0:
        said = os.fsdecode(done.stderr or done.stdout).strip()[-1000:] or "nothing"
        raise InstallError(
            f"The command {command!r} failed with status {done.returncode} and said: {said}",
            remedy="Correct the context in the permissions section of the AppSpec, or the host's SELinux policy.",
        )
    return os.fsdecode(done.stdout)


def _label(path: str) -> str | None:
    try:
        return os.getxattr(path, _LABEL, follow_symlinks=False).hex()
    except OSError:
        return None  # nothing there, or no labels: nothing to put back


def _restore_label(path: str, label: object, directories: Directories) -> None:
    if not isinstance(label, str) or _label(path) in (None, label):
        return
    try:
        with directories.pinned(path) as pinned:
            os.setxattr(by_descriptor(pinned), _LABEL, bytes.fromhex(label))
    except OSError as error:
        _log.warning("The former SELinux label of %s could not be set: %s", path, error.strerror)
