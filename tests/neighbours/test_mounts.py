"""Something is mounted over a directory while root deploys into it, as an account can do with FUSE.

Root mounts it here, since few machines let an account do so. The mount hides a directory of root's below a name of the
account's; the Install sees it, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

import neighbour_attacks as attacks
from neighbour_accounts import Program
from neighbour_host import TWO, Host, mount_over, own_mounts
from neighbour_rounds import Rounds, late, obstacle_at_the_end

Choose = Callable[[Sequence[int]], list[int]]

pytestmark = pytest.mark.needs("root", "users", "mount")


@pytest.mark.parametrize("name", ["app", "app/lib", "app/old"])
def test_what_is_mounted_over_a_destination_meanwhile_keeps_its_files(name: str, host: Host, choose: Choose) -> None:
    def prepare() -> Program:
        host.set_up_deployed()
        return host.deployment(TWO)

    source = host.roots + name.removeprefix("app")
    rounds = Rounds(host, prepare, lambda: mount_over(f"{host.home}/{name}", source), before=own_mounts)
    rounds.run(choose(rounds.steps()))


@pytest.mark.parametrize("failing", [False, True], ids=["", "while a failed Install is undone"])
def test_what_is_mounted_below_a_temporary_name_keeps_its_files(failing: bool, host: Host, choose: Choose) -> None:
    def prepare() -> Program:
        host.set_up_deployed()
        return host.deployment(TWO, to=[*host.mappings, ("last", late(host))])

    def mount() -> int:
        return sum(mount_over(path, host.roots) for path in attacks.temporaries(host.home))

    rounds = Rounds(host, prepare, mount, before=own_mounts)
    steps, at = rounds.steps_with_temporaries(), {}
    if failing:
        start, obstacle = obstacle_at_the_end(host, prepare)
        steps, at = [step for step in steps if step > start], {start: obstacle}
    rounds.run(choose(steps), at=at)
