"""What one command believes of another is on the disk before anybody is told of it; by the order of system calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.filesystem.durable import temporary_name
from agent.store.commands import CommandDirectory
from agent_host import revision, specification
from command_service import CommandService, command_service
from install_trace import Call
from object_server import StoredObject, running_server
from worker_runs import Story, WorkerHost, run_traced

pytestmark = pytest.mark.needs("tracing")

ACKNOWLEDGED, REPORTED = "PutHostCommandAcknowledgement", "PutHostCommandComplete"
STARTS = ("clone", "clone3", "fork", "vfork")
GROUP, DEPLOYMENT = "group-1", "d-1"


class Deployment:
    """A deployment of a small revision, whose commands are run one by one."""

    def __init__(self, directory: Path, service: CommandService, **settings: Any) -> None:
        self.host = WorkerHost(str(directory / "host"), service, **settings)
        self.service = service
        self.specification = specification(
            revision(directory / "revision", {"AfterInstall": ":"}, to=directory / "out")
        )
        self.layout = self.host.layout
        self.directory = self.layout.deployment(GROUP, DEPLOYMENT)

    def run(self, event: str) -> tuple[CommandDirectory, Story]:
        """Run a command; give where its files were, and what its worker did."""
        command = self.host.take_on(event, self.specification)
        story = Story(self.host.work(command, watched=True))
        assert self.service.of(REPORTED)[-1]["CommandStatus"] == "Succeeded", self.service.of(REPORTED)[-1]
        return command, story

    def undisturbed(self, *events: str) -> None:
        for event in events:
            self.host.work(self.host.take_on(event, self.specification))


@pytest.fixture
def service() -> Iterator[CommandService]:
    with command_service() as running:
        yield running


@pytest.fixture
def deployment(tmp_path: Path, service: CommandService) -> Deployment:
    return Deployment(tmp_path, service)


ADD = """
import sys
from agent.store.commands import CommandStore, SavedOutcome, new_record
from agent.store.layout import Layout
fields = dict.fromkeys(("command_identifier", "host_identifier", "execution_id", "command_name"), "x")
store = CommandStore(Layout(sys.argv[1]))
outcome = SavedOutcome("Failed", "", 1.0) if sys.argv[2] else None
print(store.add(new_record(fields, now=1.0), outcome).path)
"""


@pytest.mark.parametrize("outcome", ["", "with its outcome"])
def test_a_command_that_was_taken_on_is_known_after_a_power_cut(tmp_path: Path, outcome: str) -> None:
    story = Story(run_traced([sys.executable, "-P", "-c", ADD, str(tmp_path), outcome], log=f"{tmp_path}.calls"))
    told = story.first(lambda call: call.name == "write" and call.arguments.startswith("1<"), named="answer")
    path = story.calls[told].texts[-1].strip()
    named = story.renamed(path)
    made = story.calls[named].changed[0]
    for name in ("record.json", *(["outcome.json"] if outcome else [])):
        assert story.durable(f"{made}/{name}") < named
    assert story.synced(os.path.dirname(path), after=named) < told


def test_a_command_that_may_have_been_acknowledged_is_not_begun_again_after_a_power_cut(deployment: Deployment) -> None:
    command, story = deployment.run("DownloadBundle")
    sent = story.sent(ACKNOWLEDGED)
    assert story.durable(f"{command.path}/progress.json", before=sent) < sent


@pytest.mark.parametrize("event", ["DownloadBundle", "Install", "AfterInstall"])
def test_another_agent_knows_after_a_power_cut_what_was_begun(deployment: Deployment, event: str) -> None:
    events = ["DownloadBundle", "Install", "AfterInstall"]
    deployment.undisturbed(*events[: events.index(event)])
    _, story = deployment.run(event)
    tracked = story.durable(deployment.layout.tracking(DEPLOYMENT))
    assert story.sent(ACKNOWLEDGED) < tracked
    assert tracked < story.first(lambda call: _begins(call, deployment), after=story.sent(ACKNOWLEDGED))


def _begins(call: Call, deployment: Deployment) -> bool:
    """Whether a call is of the command's own work: it writes below the deployment or the host, or starts a script."""
    places = (f"{deployment.directory}/", f"{deployment.layout.instructions}/", f"{deployment.host.directory}/out/")
    changes = call.name not in ("close", "fsync") and any(path.startswith(places) for path in call.changed)
    return changes or call.name in STARTS


def test_a_revision_that_was_reported_is_whole_after_a_power_cut(deployment: Deployment) -> None:
    command, story = deployment.run("DownloadBundle")
    named = story.renamed(deployment.layout.archive(deployment.directory))
    staging = story.calls[named].changed[0]
    synced = story.last(lambda call: call.name == "syncfs", before=named, named="sync of the file system")
    changed = story.last(
        lambda call: call.name not in ("syncfs", "close") and any(path.startswith(staging) for path in call.changed),
        before=named,
    )
    assert changed < synced
    in_place = story.synced(deployment.directory, after=named)
    pointer = story.durable(deployment.layout.most_recent(GROUP))
    outcome = story.durable(f"{command.path}/outcome.json")
    assert in_place < story.renamed(deployment.layout.most_recent(GROUP)) < pointer < outcome


def test_an_event_waits_for_the_disk_no_more_often_than_the_document_says(deployment: Deployment) -> None:
    deployment.undisturbed("DownloadBundle", "Install")
    command, story = deployment.run("AfterInstall")
    waits = [call.changed[0] for call in story.calls if call.name in ("fsync", "fdatasync", "syncfs")]
    layout = deployment.layout
    files = [f"{command.path}/progress.json", layout.tracking(DEPLOYMENT), f"{command.path}/outcome.json"]
    files.append(f"{layout.state}/finished/{command.key}.json")
    assert waits == [path for file in files for path in (temporary_name(file), os.path.dirname(file))]


@pytest.mark.parametrize("event", ["DownloadBundle", "Install", "AfterInstall"])
def test_a_result_is_on_the_disk_before_it_is_told(deployment: Deployment, event: str) -> None:
    events = ["DownloadBundle", "Install", "AfterInstall"]
    deployment.undisturbed(*events[: events.index(event)])
    command, story = deployment.run(event)
    assert story.durable(f"{command.path}/outcome.json") < story.sent(REPORTED)


def test_the_next_command_of_a_group_finds_the_result_of_this_one(deployment: Deployment) -> None:
    command, story = deployment.run("DownloadBundle")
    lock = deployment.layout.group_lock(GROUP)
    let_go = story.first(lambda call: call.name == "close" and lock in call.changed, named="end of the turn")
    assert story.durable(f"{command.path}/outcome.json") < let_go


def test_a_reported_command_disappears_as_a_whole_and_is_remembered(deployment: Deployment) -> None:
    command, story = deployment.run("DownloadBundle")
    gone = story.first(
        lambda call: call.name.startswith("rename") and call.changed[0] == command.path, named="end of the record"
    )
    remembered = f"{deployment.layout.state}/finished/{command.key}.json"
    assert story.sent(REPORTED) < story.durable(remembered) < gone
    removed = [path for call in story.calls if call.name in ("unlink", "unlinkat", "rmdir") for path in call.changed]
    assert not [path for path in removed if path.startswith(f"{command.path}/") and not path.endswith("~")]


def with_traffic(tmp_path: Path, service: CommandService, **settings: Any) -> Deployment:
    """A deployment whose host is taken out by programs."""
    provider: dict[str, Any] = {"type": "command", "name": "router", "command_seconds": 60}
    provider |= dict.fromkeys(("status", "drained", "healthy")) | {"block": ["/bin/true"], "allow": ["/bin/true"]}
    groups = {"Group": {"providers": [provider]}}
    return Deployment(tmp_path, service, traffic_control={"groups": groups}, **settings)


def record_of(deployment: Deployment, ending: str) -> str:
    (found,) = [name for name in os.listdir(deployment.layout.traffic) if name.endswith(ending)]
    return os.path.join(deployment.layout.traffic, found)


def test_what_is_taken_out_of_the_traffic_is_known_after_a_power_cut(tmp_path: Path, service: CommandService) -> None:
    deployment = with_traffic(tmp_path, service)
    _, story = deployment.run("ApplicationStop")
    record = record_of(deployment, ".json")
    called = story.first(lambda call: call.name in STARTS, named="call of the balancer")
    assert story.durable(record, before=called) < called
    assert called < story.durable(record) < story.sent(REPORTED)


def test_a_host_that_is_back_in_the_traffic_is_not_put_back_again(tmp_path: Path, service: CommandService) -> None:
    deployment = with_traffic(tmp_path, service)
    deployment.undisturbed("ApplicationStop", "DownloadBundle", "Install")
    record = record_of(deployment, ".json")
    _, story = deployment.run("ValidateService")
    called = story.first(lambda call: call.name in STARTS, named="call of the balancer")
    assert story.durable(record, before=called) < called
    removed = story.first(lambda call: call.name == "unlink" and record in call.changed, named="end of the record")
    assert story.durable(record_of(deployment, ".finalized")) < removed
    assert story.synced(deployment.layout.traffic, after=removed) < story.sent(REPORTED)


def test_a_bundle_that_was_fetched_ahead_is_whole_after_a_power_cut(tmp_path: Path, service: CommandService) -> None:
    with running_server() as server:
        server.objects["/b/site.tgz"] = StoredObject(b"any bytes")
        deployment = with_traffic(tmp_path, service, s3_endpoint_override=server.url)
        location = {"Bucket": "b", "Key": "site.tgz", "BundleType": "tgz"}
        deployment.specification["Revision"] = {"RevisionType": "S3", "S3Revision": location}
        _, story = deployment.run("ApplicationStop")
    directory = f"{deployment.layout.traffic}/bundles/{DEPLOYMENT}"
    fetched = story.renamed(f"{directory}/bundle")
    synced = story.first(lambda call: call.name == "syncfs", after=fetched, named="sync of the file system")
    assert synced < story.renamed(f"{directory}/facts")
    assert story.durable(f"{directory}/facts") < story.sent(REPORTED)
