from __future__ import annotations

import io
import os
import tarfile

import pytest

from agent.bundle.fetch import FetchOptions
from agent.deployment.spec import BundleType, S3Revision
from agent.network.credentials import Credentials
from agent.network.http import HttpClient
from agent.steps.execute import execute, is_noop
from agent.steps.traffic import note_managed, records_of
from agent.traffic.provider import BalancerAccess
from agent.traffic.record import Phase
from object_server import StoredObject, running_server
from revisions import hooks

HOOKS = ("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "ValidateService")
ALL = (*HOOKS, "BeforeAllowTraffic", "AfterAllowTraffic")
EVENTS = ("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "ValidateService")


class Moved:
    """A host whose balancer is two programs that write into the same journal as the scripts."""

    def __init__(self, bench):
        self.bench = bench
        self.journal = f"{bench.top}/journal"
        self.programs = {}
        for action in ("block", "allow"):
            self.programs[action] = f"{bench.top}/{action}"
            self.program(action, f"echo [{action}] >> {self.journal}")
        provider = {"type": "command", "name": "router", "command_seconds": 10, "status": None}
        provider |= {"drained": None, "healthy": None} | {name: [path] for name, path in self.programs.items()}
        self.settings(providers=[provider])

    def program(self, action, text):
        with open(self.programs[action], "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(self.programs[action], 0o755)

    def settings(self, **policy):
        self.policy = {**getattr(self, "policy", {}), **policy}
        control = {"groups": {"Group": self.policy}}
        self.bench.settings = self.bench.settings._replace(traffic_control=control)

    @property
    def host(self):
        return self.bench.host._replace(traffic=lambda policy: BalancerAccess())

    def revision(self, name, events=ALL, *, failing=""):
        scripts = {
            f"{event}.sh": f"#!/bin/sh\necho {name}:{event} >> {self.journal}\n{'exit 1' if event == failing else ''}\n"
            for event in events
        }
        return self.bench.revision(name, scripts, appspec=hooks(**{event: f"{event}.sh" for event in events}))

    def deploy(self, deployment, source, events=EVENTS, **fields):
        spec = self.bench.spec(deployment, source, **fields)
        outcome = None
        for event in events:
            outcome = execute(event, spec, self.host)
            if not outcome.succeeded:
                break
        return outcome

    def ran(self):
        if not os.path.exists(self.journal):
            return []
        with open(self.journal, encoding="utf-8") as file:
            lines = file.read().split()
        os.unlink(self.journal)
        return lines

    @property
    def record(self):
        return records_of(self.bench.layout).read("Group")


def _back(name):
    return [f"{name}:BeforeAllowTraffic", "[allow]", f"{name}:AfterAllowTraffic"]


@pytest.fixture
def moved(bench):
    return Moved(bench)


def test_scripts_and_moves_come_in_the_order_of_the_service(moved):
    assert moved.deploy("d-1", moved.revision("one")).succeeded
    assert moved.ran() == ["[block]", "one:ValidateService", *_back("one")]
    assert moved.deploy("d-2", moved.revision("two")).succeeded
    assert moved.ran() == [
        "one:BeforeBlockTraffic",
        "[block]",
        "one:AfterBlockTraffic",
        "one:ApplicationStop",
        "two:ValidateService",
        *_back("two"),
    ]


def test_a_revision_without_scripts_is_moved_all_the_same(moved):
    source = moved.revision("one", ())
    spec = moved.bench.spec("d-1", source)
    assert not is_noop("ApplicationStop", spec, moved.host)
    assert moved.deploy("d-1", source).succeeded
    assert not is_noop("ValidateService", spec, moved.host)
    assert is_noop("AfterInstall", spec, moved.host)
    assert moved.ran() == ["[block]", "[allow]"]


def test_the_places_where_it_happens_can_be_chosen(moved):
    moved.settings(block_before="Install", allow_after="Install")
    assert moved.deploy("d-1", moved.revision("one")).succeeded
    assert moved.ran() == [
        "one:BeforeBlockTraffic",
        "[block]",
        "one:AfterBlockTraffic",
        "one:BeforeAllowTraffic",
        "[allow]",
        "one:AfterAllowTraffic",
        "one:ValidateService",
    ]


def test_a_failure_before_the_host_is_out_leaves_it_in(moved):
    assert moved.deploy("d-1", moved.revision("one", failing="BeforeBlockTraffic")).succeeded
    moved.ran()
    outcome = moved.deploy("d-2", moved.revision("two"))
    assert not outcome.succeeded
    assert moved.ran() == ["one:BeforeBlockTraffic"]
    assert moved.record.phase is Phase.FINALIZED


def test_a_failed_validation_keeps_the_host_out_with_the_reason(moved):
    outcome = moved.deploy("d-1", moved.revision("one", failing="ValidateService"))
    assert not outcome.succeeded
    assert moved.ran() == ["[block]", "one:ValidateService"]
    assert moved.record.phase is Phase.OUT
    assert moved.record.kept.startswith("ValidateService of d-1 failed")


def test_an_application_stop_that_fails_and_is_ignored_is_made_good_by_the_next_event(moved):
    moved.settings(on_failure="put_back")
    assert moved.deploy("d-1", moved.revision("one", ("ApplicationStop",), failing="ApplicationStop")).succeeded
    moved.ran()
    source = moved.revision("two")
    assert not moved.deploy("d-2", source, ("ApplicationStop",)).succeeded
    assert moved.ran() == ["[block]", "one:ApplicationStop", "[allow]"]
    assert moved.deploy("d-2", source, EVENTS[1:]).succeeded
    assert moved.ran() == ["[block]", "two:ValidateService", *_back("two")]


def test_a_balancer_that_refuses_fails_application_stop_and_names_itself(moved):
    moved.program("block", "echo locked; exit 1")
    outcome = moved.deploy("d-1", moved.revision("one"))
    assert not outcome.succeeded
    assert "router" in outcome.message
    assert "locked" in outcome.message
    assert moved.ran() == ["[allow]"]


def test_after_a_defect_of_the_agent_the_host_is_looked_after_too(moved):
    source = moved.revision("one", ())
    assert moved.deploy("d-1", source, ("ApplicationStop",)).succeeded
    (member,) = moved.record.members
    strange = member._replace(provider={**member.provider, "status": 5})
    records_of(moved.bench.layout).write(moved.record._replace(members=(strange,)))
    with pytest.raises(TypeError):
        moved.deploy("d-1", source, ("DownloadBundle",))
    assert moved.record.phase is Phase.OUT
    assert moved.record.kept.startswith("DownloadBundle of d-1 failed: ")


@pytest.mark.parametrize("fields", [{"deployment_type": "BLUE_GREEN"}, {"deployment_creator": "autoscaling"}])
def test_deployments_that_are_not_ours_to_move_are_left_alone(moved, fields):
    assert moved.deploy("d-1", moved.revision("one", ()), **fields).succeeded
    assert moved.ran() == []


def test_a_deployment_that_has_sent_before_block_traffic_is_left_alone(moved):
    source = moved.revision("one", ())
    note_managed("BeforeBlockTraffic", moved.bench.spec("d-1", source), moved.host)
    assert moved.deploy("d-1", source).succeeded
    assert moved.ran() == []
    assert moved.deploy("d-2", source).succeeded
    assert moved.ran() == ["[block]", "[allow]"]


@pytest.fixture
def server():
    with running_server() as found:
        yield found


def _bundle():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        text = b"version: 0.0\nos: linux\n"
        entry = tarfile.TarInfo("appspec.yml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return data.getvalue()


def _deploy_from_s3(moved, server):
    options = FetchOptions(HttpClient(), lambda: Credentials("A", "S"), "eu-west-1", s3_endpoint=server.url)
    spec = moved.bench.spec("d-1", revision=S3Revision("b", "site.tgz", BundleType.TGZ))
    host = moved.host._replace(remote=lambda: options)
    yield execute("ApplicationStop", spec, host)
    yield execute("DownloadBundle", spec, host)


def test_the_bundle_is_here_before_the_host_is_taken_out_and_fetched_once(moved, server):
    server.objects["/b/site.tgz"] = StoredObject(_bundle())
    directory = f"{moved.bench.layout.deployment('g', 'd-1')}"
    fetched = f"{moved.bench.layout.traffic}/bundles/d-1/bundle"
    moved.program("block", f"[ -s {fetched} ] && [ ! -e {directory}/deployment-archive ]")
    steps = _deploy_from_s3(moved, server)
    assert next(steps).succeeded
    asked = len(server.requests)
    assert next(steps).message == "Succeeded: BundleSource=downloaded"
    assert len(server.requests) == asked
    assert os.path.exists(f"{directory}/deployment-archive/appspec.yml")
    assert os.path.exists(f"{directory}/.bundle-etag")
    assert not os.path.exists(f"{moved.bench.layout.traffic}/bundles/d-1")


def test_a_bundle_that_cannot_be_fetched_does_not_take_the_host_out(moved, server):
    assert not next(_deploy_from_s3(moved, server)).succeeded
    assert moved.ran() == []
    assert moved.record is None
