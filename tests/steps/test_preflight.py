"""What cannot succeed on this host is found before a script changes it; what a script can put right does no harm."""

from __future__ import annotations

import logging
import os

import pytest

from agent.steps.execute import execute
from revisions import content, hooks, write_revision

MARK = "#!/bin/sh\ntouch {top}/mark\n"
BUILD = '#!/bin/sh\ncd "$(dirname "$0")"\nmkdir dist\necho built > dist/index.html\n'


class Service:
    """One deployment as the service drives it, event by event."""

    def __init__(self, bench):
        self.bench = bench
        self.spec = None

    def revision(self, files=None, *, source="app", more="", **events):
        """Write a revision that installs one directory and runs the given scripts."""
        text = f"files:\n  - source: {source}\n    destination: {self.bench.destination}\n"
        files = {"app/index.html": "new\n", **(files or {})}
        directory = self.bench.revision("source", files, appspec=text + more + (hooks(**events) if events else ""))
        self.spec = self.bench.spec("d-1", directory)

    def run(self, *events):
        outcome = None
        for event in events:
            outcome = execute(event, self.spec, self.bench.host)
            if not outcome.succeeded:
                break
        return outcome

    def download(self):
        return self.run("DownloadBundle")

    def deploy(self):
        return self.run("DownloadBundle", "BeforeInstall", "Install", "AfterInstall")


@pytest.fixture
def service(bench):
    return Service(bench)


def owner(bench, name):
    return f"permissions:\n  - object: {bench.destination}\n    owner: {name}\n"


def test_a_source_that_is_missing_fails_before_a_script_changes_the_host(service, bench):
    for events in ({}, {"BeforeInstall": "mark.sh"}):
        service.revision({"mark.sh": MARK.format(top=bench.top)}, source="dist", **events)
        outcome = service.deploy()
        assert (outcome.succeeded, "'dist' is not in the revision" in outcome.message) == (False, True)
        assert not os.path.exists(f"{bench.top}/mark")


def test_a_source_that_a_script_builds_in_the_revision_is_waited_for(service, bench, caplog):
    service.revision({"build.sh": BUILD}, source="dist", BeforeInstall="build.sh")
    with caplog.at_level(logging.WARNING, logger="agent"):
        assert service.deploy().succeeded
    assert content(f"{bench.destination}/index.html") == "built\n"
    assert any("unless a BeforeInstall script" in text and "'dist'" in text for text in caplog.messages)


def test_a_file_in_the_way_fails_the_download_unless_a_script_may_remove_it(service, bench, caplog):
    write_revision(bench.destination, {"index.html": "foreign"}, appspec=None)
    service.revision()
    outcome = service.download()
    assert (outcome.succeeded, "did not install" in outcome.message) == (False, True)
    service.revision({"clear.sh": f"#!/bin/sh\nrm {bench.destination}/index.html\n"}, BeforeInstall="clear.sh")
    with caplog.at_level(logging.WARNING, logger="agent"):
        assert service.deploy().succeeded
    assert any(f"{bench.destination}/index.html" in text for text in caplog.messages)


def test_an_owner_that_this_host_lacks_fails_the_download_unless_a_script_may_create_it(service, bench):
    service.revision(more=owner(bench, "nobody-has-this-name"))
    outcome = service.download()
    assert (outcome.succeeded, "no user named 'nobody-has-this-name'" in outcome.message) == (False, True)
    service.revision({"a.sh": "#!/bin/sh\n"}, more=owner(bench, "nobody-has-this-name"), BeforeInstall="a.sh")
    assert service.download().succeeded


def test_what_a_setting_refuses_is_refused_before_a_script_runs(service, bench):
    bench.settings = bench.settings._replace(reject_unsafe_permissions_in_bundle=True)
    mode = f"permissions:\n  - object: {bench.destination}\n    mode: 4755\n"
    service.revision({"a.sh": "#!/bin/sh\n"}, more=mode, BeforeInstall="a.sh")
    outcome = service.download()
    assert (outcome.succeeded, "reject_unsafe_permissions_in_bundle" in outcome.message) == (False, True)


def test_nothing_is_installed_into_the_agents_own_directories_whatever_scripts_do(service, bench):
    bench.destination = f"{bench.settings.root_dir}/agent-state/x"
    service.revision({"a.sh": "#!/bin/sh\n"}, BeforeInstall="a.sh")
    outcome = service.download()
    assert (outcome.succeeded, "keeps its own files" in outcome.message) == (False, True)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (None, "is not in the revision"),
        ("#!/bin/sh\r\necho\r\n", "Windows line end"),
    ],
)
def test_a_script_that_cannot_run_fails_the_download(service, script, text):
    for event in ("BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"):
        service.revision({"s.sh": script} if script else {}, **{event: "s.sh"})
        outcome = service.download()
        assert (outcome.succeeded, text in outcome.message) == (False, True), event


def test_a_script_that_an_earlier_one_writes_is_waited_for(service):
    service.revision(
        {"a.sh": '#!/bin/sh\nprintf "#!/bin/sh\\n" > ${0%/*}/b.sh; chmod +x ${0%/*}/b.sh\n'},
        BeforeInstall="a.sh",
        AfterInstall="b.sh",
    )
    assert service.deploy().succeeded


def test_a_script_that_this_deployment_does_not_run_does_not_fail_it(service):
    service.revision(ApplicationStop="s.sh", BeforeAllowTraffic="s.sh")
    assert service.deploy().succeeded


def test_the_first_script_needs_its_interpreter_and_its_user_and_later_ones_may_get_theirs(service):
    strange = "#!/opt/no-such-interpreter/bin/python\n"
    service.revision({"s.sh": strange}, BeforeInstall="s.sh")
    assert "which is not on this host" in service.download().message
    service.revision({"s.sh": strange}, AfterInstall="s.sh")
    assert service.download().succeeded
    runas = "hooks:\n  {}:\n    - location: s.sh\n      runas: nobody-has-this-name\n"
    service.revision({"s.sh": "#!/bin/sh\n"}, more=runas.format("BeforeInstall"))
    assert "a user that this host does not have" in service.download().message
    service.revision(
        {"s.sh": "#!/bin/sh\n"},
        more=runas.format("AfterInstall") + "  BeforeInstall:\n    - location: s.sh\n",
    )
    assert service.download().succeeded


def test_a_revision_that_fails_the_check_is_left_to_look_at(service, bench):
    service.revision(source="dist")
    assert not service.download().succeeded
    directory = bench.layout.deployment("g", "d-1")
    assert content(bench.layout.most_recent("g")) == directory
    assert os.path.exists(f"{bench.layout.archive(directory)}/app/index.html")


def test_the_host_is_not_judged_between_two_revisions(service, bench):
    """Until the next Install ends an interrupted one, what is in the way may be the agent's own."""
    write_revision(bench.destination, {"index.html": "half"}, appspec=None)
    os.makedirs(f"{bench.layout.state}/install")
    with open(f"{bench.layout.state}/install/g.journal", "wb"):
        pass
    service.revision()
    assert service.download().succeeded
