"""What an Install relies on after a power cut is on the disk before it relies on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.install.installer import recover
from agent.install.options import InstallOptions
from install_order import Order
from install_scene import SCENES, put
from install_stage import OLD, Stage
from install_trace import KILL, Call, changing, fault_at

MakeStage = Callable[[str], Stage]

pytestmark = [pytest.mark.needs("tracing"), pytest.mark.usefixtures("server")]

ROOT = pytest.mark.needs("root", "mount")
SCENE_NAMES = [pytest.param(name, marks=[ROOT] if scene.in_place else []) for name, scene in SCENES.items()]


def last_exchange(stage: Stage) -> Call:
    """The last call that puts a new object under its name."""
    committed = next(call for call in stage.calls if call.texts[-1:] == ("\ncommitted\n",)).number
    exchanges = [call for call in stage.calls if call.name.startswith("rename") and call.number < committed]
    return [call for call in exchanges if call.changed[1].startswith(stage.place.host)][-1]


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_an_install_is_on_the_disk_step_by_step(scene: str, make_stage: MakeStage) -> None:
    stage = make_stage(scene)
    order = Order(stage.calls, stage.place)
    assert order.state_files() == []
    assert order.install() == []


@pytest.mark.needs("root", "mount")
def test_every_file_system_that_is_changed_is_synced(make_stage: MakeStage) -> None:
    stage = make_stage("spread")
    other = f"{stage.place.host}/other"
    ending = stage.run("install", watched=True, other_file_system=other)
    assert ending.ok, ending.text
    assert Order(ending.calls, stage.place, file_systems=[stage.place.host, other]).install() == []


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_putting_the_host_back_is_on_the_disk_step_by_step(scene: str, make_stage: MakeStage) -> None:
    stage = make_stage(scene)
    ending = stage.run("install", faults=fault_at(stage.calls, last_exchange(stage), "error=EIO"))
    assert not ending.ok
    order = Order(ending.calls, stage.place)
    assert order.state_files() == []
    assert order.undoing() == []


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_a_recovery_that_goes_back_is_on_the_disk_step_by_step(scene: str, make_stage: MakeStage) -> None:
    stage = make_stage(scene)
    stage.run("install", faults=fault_at(stage.calls, last_exchange(stage), KILL))
    ending = stage.run("recover", watched=True)
    assert ending.ok, ending.text
    order = Order(ending.calls, stage.place)
    assert order.state_files() == []
    assert order.undoing() == []


@pytest.mark.parametrize("scene", SCENE_NAMES)
def test_a_recovery_that_goes_forward_is_on_the_disk_step_by_step(scene: str, make_stage: MakeStage) -> None:
    stage = make_stage(scene)
    committed = next(call for call in stage.calls if call.texts[-1:] == ("\ncommitted\n",)).number
    after = next(call for call in changing(stage.calls) if call.number > committed + 1)
    stage.run("install", faults=fault_at(stage.calls, after, KILL))
    ending = stage.run("recover", watched=True)
    assert ending.ok, ending.text
    order = Order(ending.calls, stage.place)
    assert order.state_files() == []
    assert order.finishing() == []


@pytest.mark.needs("root", "mount")
def test_a_file_that_was_written_in_place_is_synced_itself(make_stage: MakeStage) -> None:
    stage = make_stage("mounted")
    path = f"{stage.place.host}/app/mounted.conf"
    committed = next(call for call in stage.calls if call.texts[-1:] == ("\ncommitted\n",)).number
    calls = [call for call in changing(stage.calls) if path in call.changed and call.number < committed]
    assert calls[-1].name == "fsync"


@pytest.mark.needs("root", "mount")
def test_a_file_is_not_given_its_old_content_back_before_it_is_mounted_again(make_stage: MakeStage) -> None:
    stage = make_stage("mounted")
    stage.run("install", faults=fault_at(stage.calls, last_exchange(stage), KILL))
    (said,) = recover(stage.place.root, options=InstallOptions())
    assert f"Nothing is mounted on {stage.place.host}/app/mounted.conf" in said
    assert stage.has_journal()
    assert stage.run("recover").ok
    assert stage.finalized() == (OLD, [])


def test_a_journal_is_set_aside_durably(make_stage: MakeStage) -> None:
    stage = make_stage("retain")
    stage.run("install", faults=fault_at(stage.calls, last_exchange(stage), KILL))
    put(stage.place.cleanup_list, "/srv/of-another-agent\n")
    ending = stage.run("recover", watched=True)
    assert ending.ok, ending.text
    assert Order(ending.calls, stage.place).state_files() == []
    renamed = [call.changed for call in ending.calls if call.name == "rename"]
    assert renamed == [(stage.place.journal, f"{stage.place.journal}.set-aside")]
    assert not stage.has_journal()
