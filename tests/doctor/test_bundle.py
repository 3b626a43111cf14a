"""A support bundle has what is needed to help, and no secret of this host."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import time
from pathlib import Path

import pytest

from agent.doctor.bundle import LARGEST_LOG, Member, SecretLeftError, tail, write_bundle
from agent.doctor.examination import examine
from agent.doctor.redaction import REMOVED
from agent.store.commands import CommandStore, SavedOutcome, new_record
from examined_host import BY_NAME, ExaminedHost

# One for each place, so that a test can say which one has come through; written in parts, for scanners of this text.
SECRETS = {
    "proxy": "proxy-pass-4711",
    "proxy in the environment": "environment-pass",
    "on-premises file": "onprem/secret+key",
    "unnamed in a log": "onprem/secret+key",
    "token in a log": "log-token-0815",
    "wire log": "0123456789abcdef-signature",
    "script": "script-password-1",
    "deployments log": "gh" + "p_deploymentslogtoken0123456789abcdef",
    "outcome": "outcome-db-password",
    "drop-in": "unit-environment-secret",
    "journal of an Install": "journal-api-key-1",
    "problem": "status-token-99",
    "access key": "AK" + "IAPLANTEDKEY00001",
    "drop-in of the configuration": "config-drop-in-pass",
    "private key": "MHcCAQEEIPlantedPrivateKey",
}


@pytest.fixture
def host(tmp_path: Path) -> ExaminedHost:
    """A host with a secret in each file that goes into a bundle."""
    host = ExaminedHost(tmp_path / "host", proxy_uri=f"http://user:{SECRETS['proxy']}@127.0.0.1:9")
    drop_in = host.config.with_suffix(".d") / "proxy.yml"
    drop_in.parent.mkdir()
    drop_in.write_text(f"# proxy_uri: http://me:{SECRETS['drop-in of the configuration']}@proxy.test:3128\n")
    host.variables["HTTPS_PROXY"] = f"http://user:{SECRETS['proxy in the environment']}@127.0.0.1:9"
    host.write_on_premises(SECRETS["access key"], SECRETS["on-premises file"])
    key = f"-----BEGIN RSA PRIVATE{' '}KEY-----\n{SECRETS['private key']}\n-----END RSA PRIVATE{' '}KEY-----\n"
    lines = f"The answer was {SECRETS['unnamed in a log']}, {SECRETS['proxy in the environment']}\n"
    host.log.write_text(f"{lines}x: session_token={SECRETS['token in a log']}\n{key}")
    wire = host.log.with_name("codedeploy-agent.aws_wire.log")
    wire.write_text(
        f"> GET https://b/k?X-Amz-Signature={SECRETS['wire log']}\n  Authorization: {SECRETS['wire log']}\n"
    )
    scripts = host.root / "g-1" / "d-1" / "logs" / "scripts.log"
    scripts.parent.mkdir(parents=True)
    scripts.write_text(f"2026-11-23 05:13:13 [stdout]export DB_PASSWORD={SECRETS['script']}\n")
    (scripts.parent.parent / ".history.jsonl").write_text('{"version": 1, "deployment": "d-1"}\n')
    deployments = host.root / "deployment-logs" / "codedeploy-agent-deployments.log"
    deployments.parent.mkdir()
    deployments.write_text(f"[d-1][stdout]clone with {SECRETS['deployments log']}\n")
    host.put("/etc/systemd/system/codedeploy-agent.service", "[Service]\nType=notify\n")
    host.put(
        "/etc/systemd/system/codedeploy-agent.service.d/override.conf",
        f"[Service]\nEnvironment=API_SECRET={SECRETS['drop-in']}\n",
    )
    plant_records(host)
    return host


def plant_records(host: ExaminedHost) -> None:
    log = f'{{"DbPassword": "{SECRETS["outcome"]}"}}'
    payload = json.dumps({"error_code": 5, "message": "failed", "log": log, "script_name": "x"})
    fields = {"command_identifier": "c-1", "host_identifier": "h", "execution_id": "e", "command_name": "Install"}
    outcome = SavedOutcome("Failed", payload, time.time(), "d-1", "g-1")
    CommandStore(host.subject.layout).add(new_record(fields, now=time.time()), outcome)
    (host.state / "install").mkdir()
    (host.state / "install" / "g-1.journal").write_text(f'{{"api_key": "{SECRETS["journal of an Install"]}"}}\n')
    problem = {"since": 1, "text": f"refused: token={SECRETS['problem']}"}
    (host.state / "status.json").write_text(json.dumps({"pid": 1, "problem": problem}))


def bundle(host: ExaminedHost, path: Path) -> tuple[list[Member], dict[str, str]]:
    """Write a bundle; return what was reported and what is in the archive."""
    subject = host.subject
    members = write_bundle(subject, examine(subject, [BY_NAME["configuration"], BY_NAME["polling"]]), str(path))
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
    return members, found


def test_no_secret_of_this_host_is_in_a_bundle(host: ExaminedHost, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    members, found = bundle(host, path)
    left = {place for place, secret in SECRETS.items() if any(secret in text for text in found.values())}
    assert not left
    removed = {member.name: member.removed for member in members}
    assert {name for name, text in found.items() if REMOVED in text} == {name for name, n in removed.items() if n}
    assert sum(removed.values()) >= len(SECRETS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_bundle_has_what_is_needed_to_help(host: ExaminedHost, tmp_path: Path) -> None:
    members, found = bundle(host, tmp_path / "bundle.tar.gz")
    assert [member.name for member in members] == list(found)
    key = os.path.basename(next(iter(CommandStore(host.subject.layout))).path)
    for name, text in {
        "doctor.json": '"configuration"',
        "versions.txt": "urllib3",
        "status.json": '"running": false',
        "settings.txt": "max_revisions",
        "deployments.json": "d-1",
        "logs/g-1/d-1/.history.jsonl": "d-1",
        f"configuration{host.config}": "root_dir",
        f"configuration{host.config.with_suffix('.d')}/proxy.yml": "# proxy_uri",
        f"configuration{host.on_premises}": "iam_user_arn",
        "systemd/etc/systemd/system/codedeploy-agent.service": "Type=notify",
        "systemd/etc/systemd/system/codedeploy-agent.service.d/override.conf": "Environment",
        "records/agent-state/status.json": "refused",
        "records/agent-state/install/g-1.journal": "api_key",
        f"records/agent-state/commands/{key}/outcome.json": "Failed",
        "logs/codedeploy-agent.log": "The answer was",
        "logs/codedeploy-agent.aws_wire.log": "X-Amz-Signature=",
        "logs/deployment-logs/codedeploy-agent-deployments.log": "clone with",
        "logs/g-1/d-1/logs/scripts.log": "export DB_PASSWORD",
    }.items():
        assert text in found[name], name


def test_a_bundle_never_takes_the_place_of_a_file(host: ExaminedHost, tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.write_text("mine")
    for taken in (path, tmp_path / "link"):
        if taken is not path:
            taken.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FileExistsError):
            write_bundle(host.subject, [], str(taken))
    assert path.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_no_bundle_is_left_where_the_second_search_finds_a_secret(host: ExaminedHost, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    host.write_config(proxy_uri="http://user:removed@127.0.0.1:9")  # which what takes its place holds too
    with pytest.raises(SecretLeftError, match="may still hold a secret"):
        write_bundle(host.subject, [], str(path))
    assert not path.exists()


def test_only_the_whole_lines_at_the_end_of_a_long_log_are_taken(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"password: " + b"x" * LARGEST_LOG + b"tail-of-the-secret\nlast line\n")
    assert tail(str(log), LARGEST_LOG).splitlines()[1:] == ["last line"]


def test_a_link_in_the_directory_of_logs_leads_to_no_other_file(host: ExaminedHost, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("of-somebody-else")
    host.log.unlink()
    host.log.symlink_to(private)
    _, found = bundle(host, tmp_path / "bundle.tar.gz")
    assert not any("of-somebody-else" in text for text in found.values())
