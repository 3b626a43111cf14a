"""Whenever the agent is killed, the host is afterwards wholly old or wholly new, and the next deployment succeeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from install_scene import SCENES
from install_stage import NEW, OLD, Stage
from install_trace import KILL, Call, changing, fault_at
from install_walk import (
    deploy_over_kills,
    kill_everywhere,
    kill_recoveries,
    kill_the_undoing,
    official_agent_next,
)

MakeStage = Callable[[str], Stage]
Sample = Callable[[Sequence[Call], int], list[Call]]
Finish = Callable[..., None]

pytestmark = [pytest.mark.needs("tracing"), pytest.mark.usefixtures("server")]

ROOT = pytest.mark.needs("root", "mount")
SCENE_NAMES = [pytest.param(name, marks=[ROOT] if scene.in_place else []) for name, scene in SCENES.items()]
# What is mounted cannot be removed by the official agent: its deployment fails on it before ours comes to anything.
REMOVABLE = [name for name, scene in SCENES.items() if not scene.in_place]


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_a_killed_install_leaves_the_old_or_the_new_revision_whole(
    scene: str, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    every = changing(stage.calls)
    walk = kill_everywhere(stage, sample(every, 60 if scene == "overwrite" else 25))
    finish(f"killed at every call ({scene})", walk, of=len(every))
    # Once it counts as done it stays done: no later kill brings the old revision back.
    assert walk.states == sorted(walk.states, key=[OLD, NEW].index)
    assert {OLD, NEW} == set(walk.states)


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_the_next_deployment_succeeds_over_a_killed_install(
    scene: str, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    every = changing(stage.calls)
    finish(f"deployed over a kill ({scene})", deploy_over_kills(stage, sample(every, 8)), of=len(every))


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_a_recovery_that_is_killed_too_is_taken_up_again(
    scene: str, make_stage: MakeStage, sample: Sample, soak: bool, finish: Finish
) -> None:
    stage = make_stage(scene)
    calls = sample(changing(stage.calls), 6)
    # Every second kill after every first would be 25,000 in the largest scene; from call to call they shift.
    most = (15 if scene == "overwrite" else 1000) if soak else 4
    finish(f"killed again in the recovery ({scene})", kill_recoveries(stage, calls, most))


@pytest.mark.parametrize("scene", SCENE_NAMES)
@pytest.mark.parametrize("place", ["the first exchange", "the commit"])
def test_a_failed_install_that_is_killed_while_it_puts_the_host_back(
    scene: str, place: str, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    marks = [call for call in stage.calls if call.name == "fsync" and call.changed == (stage.place.journal,)]
    staged, committed = marks[:2]
    if place == "the commit":
        failing = committed
    else:
        failing = next(call for call in changing(stage.calls) if call.number > staged.number)
    walk = kill_the_undoing(stage, failing, "error=EIO", lambda calls: sample(calls, 10))
    finish(f"killed while undoing, after {place} failed ({scene})", walk)


@pytest.mark.parametrize("scene", REMOVABLE)
@pytest.mark.parametrize("same_paths", [False, True], ids=["other paths", "the same paths"])
def test_what_the_official_agent_installs_after_a_kill_is_not_touched(
    scene: str, same_paths: bool, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    every = changing(stage.calls)
    walk = official_agent_next(stage, sample(every, 12), same_paths=same_paths)
    finish(f"official agent next, {'same' if same_paths else 'other'} paths ({scene})", walk, of=len(every))


def test_a_journal_that_cannot_be_read_is_set_aside(make_stage: MakeStage) -> None:
    stage = make_stage("retain")
    last = changing(stage.calls)[-3]
    stage.run("install", faults=fault_at(stage.calls, last, KILL))
    with open(stage.place.journal, "r+b") as file:
        file.truncate(100)
    ending = stage.run("recover")
    assert ending.ok
    assert f"{stage.place.journal}.set-aside" in ending.text
    assert not stage.has_journal()
    assert stage.run("install", version="3").ok


def test_nothing_is_open_after_an_install_that_nobody_disturbed(make_stage: MakeStage) -> None:
    stage = make_stage("overwrite")
    assert stage.run("install").ok
    before = stage.state()
    ending = stage.run("recover")
    assert (ending.ok, ending.text) == (True, "")
    assert not before.differences(stage.state())
