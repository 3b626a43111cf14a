"""Speed and memory of the daemon, against the sandbox and a bare service on loopback.

    .venv/bin/python tests/bench/daemon.py                        everything here; about three minutes
    .venv/bin/python tests/bench/daemon.py --items memory,start

Each line is one figure, its target and whether that is met. Times are medians.

  memory    the idle supervisor's RSS and PSS, and PSS with its fork server, in MiB
  cpu       what it takes of one core at one poll a second, in per cent
  start     from the start of the process to its first poll
  delivery  from the answer of a poll to the first instruction of the hook, with a warm fork server
  seven     seven events of the small example, from CreateDeployment to Succeeded: from cold, warm, and the agent's CPU
"""

from __future__ import annotations

import argparse
import glob
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "helpers"))

from agent_fleet import Fleet  # noqa: E402 - found by the line above
from agent_host import AgentHost, deploy, revision, specification  # noqa: E402
from command_service import CommandService, command_service  # noqa: E402
from sandbox_server import running_sandbox  # noqa: E402

MIB = 1 << 20


class Figure(NamedTuple):
    """One measured figure; ``target`` is the most that it may be."""

    name: str
    value: float
    unit: str
    target: float

    def __str__(self) -> str:
        verdict = "met" if self.value <= self.target else "MISSED"
        return f"{self.name:<58} {self.value:>9.3f} {self.unit:<4} at most {self.target:<6g} {verdict}"


def memory(directory: Path, options: argparse.Namespace) -> Iterator[Figure]:
    with command_service() as service, idle(directory, service, wait=1) as host:
        time.sleep(3)
        found = psutil.Process(pid(host)).memory_full_info()
        yield Figure("idle supervisor, RSS", found.rss / MIB, "MiB", 36)
        yield Figure("idle supervisor, PSS", found.pss / MIB, "MiB", 27)
        place = revision(directory / "revision", {"BeforeInstall": "true"}, to=directory / "out")
        deploy(service, specification(place), ["DownloadBundle", "BeforeInstall"])
        time.sleep(1)
        found = sum(process.memory_full_info().pss for process in host.mine())
        yield Figure("supervisor and fork server, PSS", found / MIB, "MiB", 60)


def cpu(directory: Path, options: argparse.Namespace) -> Iterator[Figure]:
    with command_service() as service, idle(directory, service, wait=1) as host:
        time.sleep(3)
        before, polls = on_cpu(pid(host)), len(service.calls)
        time.sleep(options.seconds)
        used = (on_cpu(pid(host)) - before) / options.seconds
        polls = len(service.calls) - polls
        yield Figure(f"idle CPU, {polls} polls in {options.seconds} s", 100 * used, "%", 0.2)


def start(directory: Path, options: argparse.Namespace) -> Iterator[Figure]:
    taken = []
    for number in range(options.runs):
        with command_service() as service, AgentHost(directory / str(number), service.url) as host:
            began = time.monotonic()
            host.start()
            service.wait_for(lambda: service.of("PollHostCommand"), "the first poll")
            taken.append(time.monotonic() - began)
    yield Figure("start to first poll", statistics.median(taken), "s", 0.5)


def delivery(directory: Path, options: argparse.Namespace) -> Iterator[Figure]:
    stamp = directory / "stamp"
    place = revision(directory / "revision", {"BeforeInstall": f"date +%s.%N > {stamp}"}, to=directory / "out")
    taken = []
    with command_service() as service, AgentHost(directory / "host", service.url) as host:
        service.hold = 30
        host.start()
        deploy(service, specification(place), ["DownloadBundle"])
        for _ in range(2 * options.runs):
            time.sleep(0.5)
            began = time.time()
            service.completion(service.add("BeforeInstall", specification(place)))
            taken.append(float(stamp.read_text()) - began)
    yield Figure("delivery to the hook's first instruction", statistics.median(taken), "s", 0.06)


def seven(directory: Path, options: argparse.Namespace) -> Iterator[Figure]:
    example = PROJECT / "appspec-examples" / "static-site" / "version-1"
    walls, used = [], []
    with running_sandbox(directory) as sandbox:
        fleet = Fleet(sandbox, directory)
        with fleet.on_premises() as host:
            host.start()
            fleet.group()
            bundle = fleet.upload(aimed(example, directory / "example", directory / "site"))
            deployer = sandbox.client("codedeploy")
            for _ in range(1 + options.runs):
                began, cpu_before = time.monotonic(), cpu_of_all(host)
                made = sandbox.deploy(fleet.application, "group", bundle)
                while (found := deployer.get_deployment(deploymentId=made)["deploymentInfo"])["status"] != "Succeeded":
                    if found["status"] in ("Failed", "Stopped"):
                        raise SystemExit(f"{made} is {found['status']}: {host.log_text()}")
                    time.sleep(0.02)
                walls.append(time.monotonic() - began)
                time.sleep(0.5)  # the last worker ends
                used.append(cpu_of_all(host) - cpu_before)
    yield Figure("seven events of the small example, from cold", walls[0], "s", 1.2)
    yield Figure("the same, CPU", used[0], "s", 0.9)
    yield Figure("seven events with a warm fork server", statistics.median(walls[1:]), "s", 1.2)
    yield Figure("the same, CPU", statistics.median(used[1:]), "s", 0.5)


def aimed(example: Path, copy: Path, site: Path) -> Path:
    """A copy of an example that installs below a directory of ours."""
    for path in example.rglob("*"):
        target = copy / path.relative_to(example)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace("/srv/example", str(site)))
            target.chmod(path.stat().st_mode)
    return copy


class idle:  # noqa: N801 - used like a function
    """A host whose agent polls a service that has nothing for it and answers at once."""

    def __init__(self, directory: Path, service: CommandService, *, wait: float) -> None:
        service.hold = 0
        self.service = service
        self.host = AgentHost(directory / "host", service.url, wait_between_runs=wait)

    def __enter__(self) -> AgentHost:
        self.host.start()
        self.service.wait_for(lambda: self.service.of("PollHostCommand"), "the first poll")
        return self.host

    def __exit__(self, *_: object) -> None:
        self.host.kill_everything()


def pid(host: AgentHost) -> int:
    assert host.process is not None
    return host.process.pid


def cpu_of_all(host: AgentHost) -> float:
    """Seconds of CPU that the agent's processes have taken so far, those included that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in host.mine())


def on_cpu(process: int) -> float:
    """Seconds that all threads of a process were on a processor; finer than the ticks that ps shows."""
    total = 0
    for path in glob.glob(f"/proc/{process}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e9


ITEMS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Figure]]] = {
    "memory": memory,
    "cpu": cpu,
    "start": start,
    "delivery": delivery,
    "seven": seven,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default=",".join(ITEMS), help="which figures, with commas between them")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median counts")
    parser.add_argument("--seconds", type=int, default=60, help="how long an idle agent is looked at")
    options = parser.parse_args()
    os.umask(0o022)
    for name in options.items.split(","):
        with tempfile.TemporaryDirectory(prefix="codedeploy-bench-") as directory:
            for figure in ITEMS[name](Path(directory), options):
                print(figure, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
