"""Whatever the disk refuses, an Install succeeds or leaves the host as it was, and says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from install_scene import SCENES
from install_stage import Stage
from install_trace import Call, changing
from install_walk import fail_everywhere, fail_recoveries

MakeStage = Callable[[str], Stage]
Sample = Callable[[Sequence[Call], int], list[Call]]
Finish = Callable[..., None]

pytestmark = [pytest.mark.needs("tracing"), pytest.mark.usefixtures("server")]

ROOT = pytest.mark.needs("root", "mount")
SCENE_NAMES = [pytest.param(name, marks=[ROOT] if scene.in_place else []) for name, scene in SCENES.items()]


@pytest.mark.parametrize("scene", SCENE_NAMES)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_an_install_that_meets_an_error_is_undone(
    scene: str, error: str, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    every = changing(stage.calls)
    walk = fail_everywhere(stage, sample(every, 40 if scene == "overwrite" else 15), f"error={error}")
    finish(f"{error} once ({scene})", walk, of=len(every))


@pytest.mark.parametrize("scene", SCENE_NAMES)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_stays_broken_is_put_right_once_it_works_again(
    scene: str, error: str, make_stage: MakeStage, sample: Sample, finish: Finish
) -> None:
    stage = make_stage(scene)
    every = changing(stage.calls)
    walk = fail_everywhere(stage, sample(every, 25 if scene == "overwrite" else 10), f"error={error}", onwards=True)
    finish(f"{error} from then on ({scene})", walk, of=len(every))


@pytest.mark.parametrize("scene", SCENE_NAMES)
@pytest.mark.parametrize("onwards", [False, True], ids=["once", "from then on"])
def test_a_recovery_that_meets_an_error_can_be_repeated(
    scene: str, onwards: bool, make_stage: MakeStage, sample: Sample, soak: bool, finish: Finish
) -> None:
    stage = make_stage(scene)
    calls = sample(changing(stage.calls), 5)
    most = 6 if soak else 3
    walk = fail_recoveries(stage, calls, "error=EIO", most, onwards=onwards)
    finish(f"EIO in the recovery, {'from then on' if onwards else 'once'} ({scene})", walk)
