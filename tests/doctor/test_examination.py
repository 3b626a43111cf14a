"""One check that hangs or has a defect does not hide what the others find."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from agent.doctor.examination import document, examine, worst
from agent.doctor.finding import Check, Finding, Result, SkipError, failed, passed, warned
from agent.doctor.subject import Subject
from agent.errors import AgentError
from examined_host import ExaminedHost
from other_user import command_as
from stand_in_agent import running_agent


def check(number: int, run) -> Check:
    return Check(number, f"check-{number}", "It is so.", "Do `this`.", run)


def raising(error: Exception):
    def run(subject: Subject) -> Finding:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "result", "text", "remedy"),
    [
        (AgentError("It is broken.", remedy="Repair it."), Result.FAIL, "It is broken.", "Repair it."),
        (AgentError("It is broken."), Result.FAIL, "It is broken.", "Do this."),
        (SkipError("Not here."), Result.SKIP, "Not here.", ""),
        (OSError(5, "Input/output error", "/x"), Result.FAIL, "/x: Input/output error.", "The disk reports an error"),
        (ValueError("surprise"), Result.FAIL, "The check itself failed: ValueError: surprise.", "a defect"),
    ],
)
def test_whatever_a_check_raises_is_a_finding_of_this_check(
    host: ExaminedHost, error: Exception, result: Result, text: str, remedy: str
) -> None:
    checks = [check(1, raising(error)), check(2, lambda _: passed("Well."))]
    broken, other = examine(host.subject, checks)
    assert (broken.finding.result, broken.finding.text) == (result, text)
    assert remedy in broken.finding.remedy
    assert other.finding == passed("Well.")


def test_a_check_that_hangs_is_a_finding_and_holds_nobody_up(host: ExaminedHost) -> None:
    over = threading.Event()
    checks = [check(1, lambda _: passed(str(over.wait()))), check(2, lambda _: passed("Well."))]
    try:
        hangs, other = examine(host.subject, checks, limit=0.2)
    finally:
        over.set()
    assert (hangs.finding.result, hangs.finding.text) == (Result.FAIL, "The check did not end within 0.2 s.")
    assert other.finding.result in (Result.PASS, Result.FAIL)


def test_the_worst_result_counts_and_what_was_skipped_does_not(host: ExaminedHost) -> None:
    def results(*findings: Finding) -> Result:
        return worst(examine(host.subject, [check(n, lambda _, f=f: f) for n, f in enumerate(findings)]))

    skipped = Finding(Result.SKIP, "")
    assert results(passed("")) == results(skipped) == Result.PASS
    assert results(passed(""), warned("", ""), skipped) == Result.WARN
    assert results(failed("", ""), warned("", "")) == Result.FAIL


def test_the_document_counts_every_result(host: ExaminedHost) -> None:
    found = document(examine(host.subject, [check(1, lambda _: warned("a", "b"))]))
    assert found["counts"] == {"pass": 0, "warn": 1, "fail": 0, "skip": 0}
    assert found["checks"][0] | {"seconds": 0} == {
        "number": 1,
        "name": "check-1",
        "result": "warn",
        "finding": "a",
        "remedy": "b",
        "seconds": 0,
    }


def test_a_fact_is_found_out_once_and_its_error_is_raised_to_everybody(tmp_path: Path) -> None:
    subject = ExaminedHost(tmp_path / "host").subject
    calls = []

    def find() -> None:
        calls.append(1)
        raise AgentError("No.")

    for _ in range(2):
        with pytest.raises(AgentError, match="No"):
            subject.once("fact", find)
    assert calls == [1]


AS_ANOTHER = """
import json
from agent.doctor.examination import examine
from agent.doctor.subject import Subject
from agent.doctor.table import CHECKS
variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
rows = examine(Subject(sys.argv[1], environment=variables), CHECKS)
print(json.dumps({one.check.name: [one.finding.result.value, one.finding.text] for one in rows}))
"""


@pytest.mark.long
@pytest.mark.needs("users")
def test_another_user_is_told_what_only_root_sees() -> None:
    with tempfile.TemporaryDirectory(prefix="codedeploy-doctor-") as directory:
        os.chmod(directory, 0o755)
        closed = Path(directory) / "closed"
        logs, signer = closed / "log", closed / "signer.pem"
        host = ExaminedHost(Path(directory) / "host", log_dir=logs, deployment_signer_ca_file=signer)
        logs.mkdir(parents=True)
        signer.touch()
        closed.chmod(0o700)
        (host.state / "commands").mkdir(parents=True)
        host.state.chmod(0o700)
        with running_agent(host.directory / "pid"):
            command = command_as(12345, 12345, AS_ANOTHER, str(host.config))
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    agents_own = ("polling", "second-agent", "outcomes", "last-deployment")
    for name in ("identity", "signer", "log-directory", *agents_own):
        assert found[name][0] == "skip", found[name]
        assert found[name][1].startswith("Only root sees this: "), found[name]
    assert not [row for row in found.values() if "check itself failed" in row[1]]
