"""The steps of the walks: disturb one Install at one system call, and give everything that is wrong afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from install_box import official_instructions
from install_picture import identities, take
from install_scene import put
from install_stage import NEW, OLD, Stage
from install_trace import KILL, Call, Fault, changing, fault_at, faults_from

PARTLY = "parts of both revisions"


@dataclass(slots=True)
class Walk:
    """What a walk has found, for a test to assert and to print."""

    points: int = 0
    states: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, where: object, problems: Iterable[str]) -> None:
        self.points += 1
        found = list(problems)
        if found:
            self.problems.append("\n    ".join([f"at {where}", *found]))

    def report(self) -> str:
        """All that is wrong, cut to what a person reads."""
        shown = self.problems[:10]
        rest = len(self.problems) - len(shown)
        return "\n".join(
            [f"{len(self.problems)} of {self.points} points", *shown, *([f"and {rest} more"] if rest else [])]
        )


def kill_everywhere(stage: Stage, calls: Sequence[Call]) -> Walk:
    """Kill an Install at each of the calls, look, recover, and deploy again.

    A kill comes before its call. What a kill after it would leave is what one before the next call leaves, because
    all calls that can change anything are among them.
    """
    walk = Walk()
    for call in calls:
        before = _disturbed(stage)
        ending = stage.run("install", faults=fault_at(stage.calls, call, KILL))
        problems = _expect_kill(call, ending.killed, ending.calls)
        problems += stage.check_at_once()
        which, more = stage.check_recovered(before)
        walk.states.append(which)
        walk.note(call, [*problems, *more, *(stage.check_next(which) if which else [])])
    return walk


def deploy_over_kills(stage: Stage, calls: Sequence[Call]) -> Walk:
    """Kill an Install at each of the calls; then the next deployment comes without anybody recovering first."""
    walk = Walk()
    for call in calls:
        _disturbed(stage)
        stage.run("install", faults=fault_at(stage.calls, call, KILL))
        # Version 3 can be installed only once: it must fit one of the two.
        walk.note(call, stage.check_next_of_either())
    return walk


def kill_recoveries(stage: Stage, calls: Sequence[Call], most: int) -> Walk:
    """Kill an Install at each of the calls, then its recovery at no more than ``most`` of the calls that it makes."""
    walk = Walk()
    for turn, call in enumerate(calls):
        recovery = _recovery_of(stage, call)
        for inner in _spread(changing(recovery), most, turn):
            before = _disturbed(stage)
            stage.run("install", faults=fault_at(stage.calls, call, KILL))
            ending = stage.run("recover", faults=fault_at(recovery, inner, KILL))
            problems = _expect_kill(inner, ending.killed, ending.calls)
            problems += stage.check_at_once()
            which, more = stage.check_recovered(before)
            walk.note(f"{call}, then {inner}", [*problems, *more, *(stage.check_next(which) if which else [])])
    return walk


def _spread(calls: Sequence[Call], most: int, turn: int) -> Sequence[Call]:
    """At most so many of the calls, evenly spread; each turn takes others, until all have been taken."""
    step = -(-len(calls) // most) if calls else 1
    return calls[turn % step :: step]


def _recovery_of(stage: Stage, call: Call) -> list[Call]:
    """The calls of an undisturbed recovery after a kill."""
    _disturbed(stage)
    stage.run("install", faults=fault_at(stage.calls, call, KILL))
    ending = stage.run("recover", watched=True)
    return ending.calls


def kill_the_undoing(stage: Stage, error: Call, what: str, choose: Callable[[Sequence[Call]], Sequence[Call]]) -> Walk:
    """Let an Install fail at a call, and kill it at the calls chosen of those by which it puts the host back."""
    failure = fault_at(stage.calls, error, what)
    stage.reset()
    undone = stage.run("install", faults=failure).calls
    walk = Walk()
    # strace takes one kind of disturbance for each name.
    for inner in choose([call for call in changing(undone) if call.number > error.number and call.name != error.name]):
        before = _disturbed(stage)
        ending = stage.run("install", faults=[*failure, *fault_at(undone, inner, KILL)])
        problems = _expect_kill(inner, ending.killed, ending.calls)
        problems += stage.check_at_once()
        which, more = stage.check_recovered(before)
        walk.note(f"{error} fails, then {inner}", [*problems, *more, *(stage.check_next(which) if which else [])])
    return walk


def fail_everywhere(stage: Stage, calls: Sequence[Call], what: str, *, onwards: bool = False) -> Walk:
    """Let each of the calls fail, and with ``onwards`` everything after it; then the disk is well again."""
    walk = Walk()
    for call in calls:
        before = _disturbed(stage)
        faults = (faults_from if onwards else fault_at)(stage.calls, call, what)
        which, problems = _after_fault(stage, faults, before, lasting=onwards)
        walk.states.append(which)
        walk.note(call, [*problems, *(stage.check_next(which) if which else [])])
    return walk


def _after_fault(
    stage: Stage, faults: Sequence[Fault], before: dict[str, int], *, lasting: bool
) -> tuple[str, list[str]]:
    ending = stage.run("install", faults=faults)
    if ending.crashed or ending.killed:
        return "", [f"the Install ended without an explanation: {ending.text or 'killed'}"]
    if not any(call.injected for call in ending.calls):
        return "", ["the fault was never met"]
    problems = stage.check_at_once()
    if ending.ok:
        # What failed after the commit is left to the recovery.
        which, more = stage.check_recovered(before) if stage.has_journal() else stage.finalized()
        desired = NEW
    elif PARTLY in ending.text:
        which, more = stage.check_recovered(before)
        desired = ""
    else:
        problems += [f"said to be as before, but {line}" for line in stage.old.differences(stage.state())]
        which, more = stage.check_recovered(before) if lasting or stage.has_journal() else stage.finalized()
        desired = OLD
    if desired not in ("", which):
        more.append(f"the Install said {ending.text or 'that it succeeded'!r}, but the host is in the {which} state")
    return which, [*problems, *more, *stage.kept_identity(before, which)]


def fail_recoveries(stage: Stage, calls: Sequence[Call], what: str, most: int, *, onwards: bool = False) -> Walk:
    """As ``kill_recoveries``, but the call of the recovery fails, and with ``onwards`` everything after it."""
    walk = Walk()
    for turn, call in enumerate(calls):
        recovery = _recovery_of(stage, call)
        for inner in _spread(changing(recovery), most, turn):
            before = _disturbed(stage)
            stage.run("install", faults=fault_at(stage.calls, call, KILL))
            faults = (faults_from if onwards else fault_at)(recovery, inner, what)
            ending = stage.run("recover", faults=faults)
            problems = [f"the recovery crashed: {ending.text}"] if ending.crashed else []
            if ending.ok:
                problems += stage.finalized()[1]
            which, more = stage.check_recovered(before)
            walk.note(f"{call}, then {inner}", [*problems, *more, *(stage.check_next(which) if which else [])])
    return walk


def official_agent_next(stage: Stage, calls: Sequence[Call], *, same_paths: bool) -> Walk:
    """Kill an Install at each of the calls; then the official agent deploys, and only then does ours recover.

    It installs files of its own, or with ``same_paths`` files at exactly the paths of version 2.
    """
    walk = Walk()
    for call in calls:
        _disturbed(stage)
        stage.run("install", faults=fault_at(stage.calls, call, KILL))
        _deploy_officially(stage, same_paths=same_paths)
        files, listed = _without_temporary(stage), _read(stage.place.cleanup_list)
        ending = stage.run("recover")
        problems = [] if ending.ok else [f"the recovery failed: {ending.text}"]
        if _without_temporary(stage) != files:
            problems.append("the recovery has touched what the official agent installed")
        if _read(stage.place.cleanup_list) != listed or _read(stage.place.pointer) != b"another":
            problems.append("the recovery has changed the official agent's records")
        if stage.has_journal():
            problems.append("the journal is still open")
        walk.note(call, problems)
    return walk


def _without_temporary(stage: Stage) -> dict[str, object]:
    """The host without what only our own names tell apart: below odd names the official agent leaves some of them."""
    return {path: seen for path, seen in take(stage.place.host).items() if ".codedeploy-" not in path}


def _deploy_officially(stage: Stage, *, same_paths: bool) -> None:
    """Work off the clean-up list and install, with the order of writing of official agent 1.8.1."""
    place = stage.place
    listed = (_read(place.cleanup_list) or b"").split(b"\n")
    for line in reversed([os.fsdecode(line).strip() for line in listed if line.strip()]):
        try:
            if os.path.isdir(line) and not os.path.islink(line):
                os.rmdir(line)
            elif os.path.lexists(line):
                os.unlink(line)
        except OSError:
            continue  # a directory that is not empty stays
    made = []
    desired = sorted(stage.new.listed or ()) if same_paths else [f"{place.host}/app", f"{place.host}/app/official"]
    lines = [line for line in desired if line == line.strip() and "\n" not in line]
    for line in lines:
        if any(other.startswith(line + "/") for other in lines) or os.path.isdir(line):
            os.makedirs(line, exist_ok=True)
        elif not os.path.lexists(line):
            put(line, "the official agent's")
        made.append(line)
    content = _read_new_list(stage) if same_paths else "".join(f"{line}\n" for line in made).encode()
    os.makedirs(os.path.dirname(place.cleanup_list), exist_ok=True)
    with open(place.cleanup_list, "wb") as file:
        file.write(content)
    with open(place.instructions, "w", encoding="utf-8", errors="surrogateescape") as text:
        text.write(official_instructions(os.fsdecode(content).splitlines()))
    with open(place.pointer, "wb") as file:
        file.write(b"another")


def _read_new_list(stage: Stage) -> bytes:
    content = stage.new_list
    assert content is not None
    return content


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _disturbed(stage: Stage) -> dict[str, int]:
    """Prepare everything to be compared with, set the host up anew, and give the identities of what is there."""
    stage.prepare()
    return identities(stage.place.host)


def _expect_kill(call: Call, killed: bool, calls: Sequence[Call]) -> list[str]:
    if killed and calls and (calls[-1].number, calls[-1].name) == (call.number, call.name):
        return []
    return [f"the kill was to hit {call.name}, number {call.number}, and hit {calls[-1] if calls else 'nothing'}"]
