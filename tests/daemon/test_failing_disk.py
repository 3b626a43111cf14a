"""Whatever becomes of the disk while a hook runs: its result is told once, as it was, and never another one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.config.settings import Settings
from agent.runtime.host import layout_of
from agent.store.commands import CommandStore
from agent_host import AgentHost, deploy, revision, specification
from command_service import CommandService
from failing_disk import FailingDisk

pytestmark = pytest.mark.needs("root", "mount", "disks")

ENDS = {"read-only": FailingDisk.turn_read_only, "dead": FailingDisk.die}


class Scene:
    """A hook that runs on a host whose root directory is on a disk of its own."""

    def __init__(self, service: CommandService, host: AgentHost, disk: FailingDisk, directory: Path) -> None:
        self.service = service
        self.host = host
        self.disk = disk
        self.runs = directory / "runs"
        self._go = directory / "go"
        script = f"echo run >> {self.runs}\nuntil [ -e {self._go} ]; do sleep 0.05; done"
        source = revision(directory / "revision", {"BeforeInstall": script}, to=directory / "out")
        host.start()
        deploy(service, specification(source), ["DownloadBundle"])
        self.command = service.add("BeforeInstall", specification(source))
        host.until(self.runs.exists, "the hook to run")
        disk.sync()

    def let_the_hook_end(self) -> None:
        self._go.touch()

    def repair(self) -> None:
        """Repair the disk while nothing of the agent runs, and start the agent again."""
        self.host.stop(signal.SIGKILL)
        self.host.until(lambda: not self.host.mine(), "the workers to end")
        self.disk.repair()
        self.host.start()

    def only_result(self) -> tuple[str, int]:
        """Wait until nothing is kept of the command; returns the one result that was told of it."""
        self.host.until(lambda: not list((self.host.state / "commands").iterdir()), "the command to be closed")
        (found,) = self.service.completions(self.command)
        return found["status"], found["error_code"]

    def kept(self) -> list[str]:
        """What is still kept outside of the root directory."""
        layout = layout_of(Settings(root_dir=str(self.host.root)))
        return [path.name for path in Path(layout.kept).glob("*")]


@pytest.fixture
def scene(service: CommandService, tmp_path: Path) -> Iterator[Scene]:
    with FailingDisk(tmp_path) as disk, AgentHost(tmp_path / "host", service.url, root_dir=disk.path / "root") as host:
        host.root = disk.path / "root"
        host.state = host.root / "agent-state"
        yield Scene(service, host, disk, tmp_path)


@pytest.mark.parametrize("end", ENDS)
def test_the_success_of_a_hook_is_reported_once_whatever_the_disk_takes(scene: Scene, end: str) -> None:
    ENDS[end](scene.disk)
    scene.let_the_hook_end()
    assert scene.service.completion(scene.command)["status"] == "Succeeded", scene.host.log_text()
    scene.repair()
    assert scene.only_result() == ("Succeeded", 0)
    assert scene.runs.read_text() == "run\n"
    assert scene.kept() == []


def test_an_outcome_that_only_memory_holds_is_reported_by_the_next_worker(scene: Scene) -> None:
    scene.service.faults["PutHostCommandComplete"] = lambda _: (500, {"__type": "ServerException"})
    scene.disk.turn_read_only()
    scene.let_the_hook_end()
    scene.service.wait_for(lambda: scene.service.of("PutHostCommandComplete", scene.command), "an attempt to report")
    (worker,) = scene.host.workers()
    worker.kill()
    psutil.wait_procs([worker])
    scene.service.faults.clear()
    assert scene.service.completion(scene.command)["status"] == "Succeeded", scene.host.log_text()
    scene.repair()
    assert scene.only_result() == ("Succeeded", 0)
    assert scene.kept() == []


def test_a_command_whose_record_the_disk_does_not_let_go_is_neither_run_nor_reported_again(scene: Scene) -> None:
    scene.disk.turn_read_only()
    scene.let_the_hook_end()
    scene.service.completion(scene.command)
    scene.host.stop(signal.SIGKILL)
    scene.host.until(lambda: not scene.host.mine(), "the worker to end")
    scene.host.start()  # it looks at every record that is there
    scene.host.until(lambda: scene.host.log_text().count("cannot be put away yet") > 1, "a second worker to try")
    scene.repair()
    assert scene.only_result() == ("Succeeded", 0)
    assert CommandStore(layout_of(Settings(root_dir=str(scene.host.root)))).finished(scene.command) is not None
