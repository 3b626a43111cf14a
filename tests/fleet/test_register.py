"""Registering a host and taking it out again, against a service that answers over the wire."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from agent.filesystem.durable import temporary_name
from agent.fleet.api import ApiOptions
from agent.fleet.checks import Tag
from agent.fleet.errors import RegistrationError
from agent.fleet.register import DeregisterOptions, RegisterOptions, deregister, register
from sandbox_server import SandboxServer, running_sandbox
from wire_server import Answer, Request, running_server


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    with running_sandbox(tmp_path_factory.mktemp("register")) as running:
        yield running


class Operator:
    """Somebody who registers one host, whose file lies at ``path``."""

    def __init__(self, sandbox: SandboxServer, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.sandbox = sandbox
        self.said: list[str] = []

    def register(self, **options) -> None:
        options.setdefault("instance_name", self.name)
        if not {"user_arn", "session_arn"} & set(options):
            options["create_user"] = True
        options.setdefault("path", str(self.path))
        register(RegisterOptions(api=ApiOptions(self.sandbox.region), **options), tell=self.said.append)

    def deregister(self, **options) -> None:
        deregister(DeregisterOptions(str(self.path), ApiOptions(self.sandbox.region), **options), tell=self.said.append)

    def file(self) -> dict[str, str]:
        return dict(yaml.safe_load(self.path.read_text()))

    def known(self) -> dict[str, object] | None:
        service = self.sandbox.client("codedeploy")
        try:
            found = service.get_on_premises_instance(instanceName=self.name)["instanceInfo"]
        except service.exceptions.InstanceNotRegisteredException:
            return None
        return None if found.get("deregisterTime") else dict(found)

    def users(self) -> list[str]:
        return [user["UserName"] for user in self.sandbox.client("iam").list_users()["Users"]]


@pytest.fixture
def host(sandbox, tmp_path, monkeypatch, request) -> Operator:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in sandbox.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return Operator(
        sandbox, f"host-{abs(hash(request.node.name)) % 10**9}", tmp_path / "etc" / "codedeploy.onpremises.yml"
    )


def test_a_new_user_a_file_for_root_only_and_tags(host) -> None:
    host.register(tags=[Tag("Fleet", "web")])
    file = host.file()
    assert sorted(file) == ["aws_access_key_id", "aws_secret_access_key", "iam_user_arn", "region"]
    assert host.path.stat().st_mode & 0o777 == 0o600
    known = host.known()
    assert known is not None
    assert known["iamUserArn"] == file["iam_user_arn"]
    assert known["tags"] == [{"Key": "Fleet", "Value": "web"}]
    assert f":user/AWS/CodeDeploy/{host.name}" in file["iam_user_arn"]
    keys = {"AccessKeyId": file["aws_access_key_id"], "SecretAccessKey": file["aws_secret_access_key"]}
    assert host.sandbox.client("sts", keys=keys).get_caller_identity()["Arn"] == file["iam_user_arn"]


def test_nothing_that_is_said_holds_a_secret(host) -> None:
    host.register()
    secret = host.file()["aws_secret_access_key"]
    assert host.said
    assert not any(secret in sentence for sentence in host.said)
    assert secret not in repr(RegisterOptions("x", "y", ApiOptions(), secret_key=secret))


def test_the_new_user_reads_only_the_buckets_that_are_named(host) -> None:
    host.register(buckets=["releases"])
    policy = host.sandbox.client("iam").get_user_policy(UserName=host.name, PolicyName="codedeploy-agent")
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == ["arn:aws:s3:::releases", "arn:aws:s3:::releases/*"]


def test_the_agent_reads_what_register_wrote(host) -> None:
    from agent.identity.on_premises_file import load_on_premises

    host.register()
    read = load_on_premises(str(host.path))
    assert read is not None
    assert (read.arn, read.region) == (host.file()["iam_user_arn"], host.sandbox.region)


def test_deregistering_leaves_nothing(host) -> None:
    host.register(tags=[Tag("Fleet", "web")])
    host.deregister()
    assert host.known() is None
    assert host.name not in host.users()
    assert not host.path.exists()
    host.deregister(instance_name=host.name)
    assert f"{host.name} is not registered." in host.said


def test_registering_twice_adds_tags_and_makes_no_second_key(host) -> None:
    host.register()
    first = host.file()
    host.register(tags=[Tag("Fleet", "db")])
    known = host.known()
    assert known is not None
    assert known["tags"] == [{"Key": "Fleet", "Value": "db"}]
    assert host.file() == first


OTHER = """\
"iam_user_arn": "arn:aws:iam::123456789012:user/other"
region: us-east-1
aws_access_key_id: AKIAOTHER
aws_secret_access_key: the-only-copy
"""


def test_another_registration_is_not_overwritten_unasked(host) -> None:
    host.path.parent.mkdir()
    host.path.write_text(OTHER)
    with pytest.raises(RegistrationError, match="as arn:aws:iam::123456789012:user/other already"):
        host.register()
    assert "user/other" in host.path.read_text()
    assert host.name not in host.users()
    host.register(force=True)
    assert host.file()["iam_user_arn"].endswith(host.name)
    assert any("user/other stays registered, and its key valid" in said for said in host.said)


def test_a_file_that_nobody_understands_is_not_overwritten(host) -> None:
    host.path.parent.mkdir()
    host.path.write_text("iam_user_arn: [")
    with pytest.raises(RegistrationError, match="Move it away"):
        host.register(force=True)
    assert host.name not in host.users()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_neither_user_nor_registration(host, program, monkeypatch, number: int) -> None:
    tagging, ended = threading.Event(), threading.Event()

    def relay(request: Request) -> Answer:
        if not is_call(request, "AddTagsToOnPremisesInstances"):
            return relayed(host, request)
        tagging.set()
        ended.wait()
        return Answer(hang_up=True)

    command = [program("codedeploy-agent"), "register", "--create-iam-user", "--instance-name", host.name]
    command += ["--tag", "Fleet=web", "--file", str(host.path)]
    with behind(relay, monkeypatch), subprocess.Popen(command) as process:
        try:
            assert tagging.wait(60), "no call has come"
            process.send_signal(number)
            assert process.wait() == 128 + number
        finally:
            process.kill()
            ended.set()
    assert host.known() is None
    assert host.name not in host.users()
    assert not host.path.exists()


def test_a_name_that_another_host_has_is_not_taken(host, tmp_path) -> None:
    host.register()
    with pytest.raises(RegistrationError, match="whose key is not known here"):
        host.register(path=str(tmp_path / "other.yml"), force=True)
    with pytest.raises(RegistrationError, match="is registered for"):
        host.register(
            path=str(tmp_path / "other.yml"),
            user_arn="arn:aws:iam::123456789012:user/somebody",
            access_key="AKIAEXAMPLE",
            secret_key="s",
        )
    assert not (tmp_path / "other.yml").exists()


def test_a_user_of_ones_own_is_used_and_stays(host) -> None:
    iam = host.sandbox.client("iam")
    arn = iam.create_user(UserName=host.name)["User"]["Arn"]
    key = iam.create_access_key(UserName=host.name)["AccessKey"]
    host.register(user_arn=arn, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
    assert host.file()["aws_access_key_id"] == key["AccessKeyId"]
    host.deregister()
    assert host.name in host.users(), "we did not make it, so we do not remove it"
    assert not host.path.exists()


def test_a_session_is_registered_with_the_file_that_holds_its_credentials(host) -> None:
    arn = f"arn:aws:sts::{host.sandbox.account}:assumed-role/hosts/{host.name}"
    host.register(session_arn=arn, credentials_file="/run/credentials")
    assert host.file() == {
        "region": host.sandbox.region,
        "iam_session_arn": arn,
        "aws_credentials_file": "/run/credentials",
    }
    known = host.known()
    assert known is not None
    assert known["iamSessionArn"] == arn


def test_a_file_that_cannot_be_written_leaves_neither_user_nor_registration(host) -> None:
    Path(temporary_name(str(host.path))).mkdir(parents=True)
    with pytest.raises(RegistrationError, match="cannot be written"):
        host.register(tags=[Tag("Fleet", "web")])
    assert any(said.startswith("Registered") for said in host.said)
    assert host.known() is None
    assert host.name not in host.users()


def test_a_place_where_no_file_can_be_is_found_before_anybody_is_asked(host, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    host.path.parent.write_text("a file where the directory should be")
    with pytest.raises(RegistrationError, match="is not a directory"):
        host.register()


@contextmanager
def losing(host: Operator, monkeypatch: pytest.MonkeyPatch, call: str, *, arrives: bool, tries: int) -> Iterator[None]:
    """Let the answers of one call be lost on their way, or the call itself."""

    def relay(request: Request) -> Answer:
        if not is_call(request, call):
            return relayed(host, request)
        return Answer(hang_up=True) if not arrives else relayed(host, request)._replace(hang_up=True)

    with behind(relay, monkeypatch):
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(tries))
        yield


@contextmanager
def behind(relay: Callable[[Request], Answer], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the requests of this process and of those that it starts answered by a relay."""
    with running_server() as server, monkeypatch.context() as patch:
        server.otherwise = relay
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        yield


def is_call(request: Request, call: str) -> bool:
    return call in request.headers.get("x-amz-target", "") or f"Action={call}&".encode() in request.body


def relayed(host: Operator, request: Request) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(host.sandbox.url).netloc)
    connection.request(request.method, request.target, request.body, request.headers)
    answer = connection.getresponse()
    kept = {name: value for name, value in answer.getheaders() if name.lower() in ("content-type", "date")}
    return Answer(answer.status, kept, answer.read())


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize("call", ["RegisterOnPremisesInstance", "CreateAccessKey", "AddTagsToOnPremisesInstances"])
def test_an_answer_that_is_lost_leaves_nothing(host, monkeypatch, call: str, tries: int) -> None:
    with losing(host, monkeypatch, call, arrives=True, tries=tries), pytest.raises(RegistrationError):
        host.register(tags=[Tag("Fleet", "web")])
    assert host.known() is None
    assert host.name not in host.users()
    assert not host.path.exists()


def test_a_user_whose_making_was_not_answered_is_removed_and_never_one_that_was_there(host, monkeypatch) -> None:
    with losing(host, monkeypatch, "CreateUser", arrives=True, tries=1), pytest.raises(RegistrationError):
        host.register()
    assert host.name not in host.users()
    host.sandbox.client("iam").create_user(UserName=host.name)
    with pytest.raises(RegistrationError, match=r"an IAM user .* already"):
        host.register()
    assert host.name in host.users()


def test_a_deregistration_that_was_cut_short_can_be_repeated_from_another_machine(host, monkeypatch) -> None:
    host.register(tags=[Tag("Fleet", "web")])
    host.path.unlink()
    lost = losing(host, monkeypatch, "DeregisterOnPremisesInstance", arrives=False, tries=1)
    with lost, pytest.raises(RegistrationError):
        host.deregister(instance_name=host.name)
    host.deregister(instance_name=host.name)
    assert host.known() is None
    assert host.name not in host.users()


@pytest.mark.needs("tracing")
@pytest.mark.parametrize("before", [None, OTHER])
def test_a_signal_after_the_file_was_written_puts_the_old_one_back(host, program, before: str | None) -> None:
    host.path.parent.mkdir()
    if before:
        host.path.write_text(before)
    # The second fsync is that of the directory: the new file has its name.
    strace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:signal=TERM:when=2"]
    command = [program("codedeploy-agent"), "register", "--create-iam-user", "--instance-name", host.name, "--force"]
    done = subprocess.run([*strace, *command, "--file", str(host.path)], capture_output=True, text=True)
    assert (done.returncode, "stopped by SIGTERM" in done.stderr) == (128 + signal.SIGTERM, True), done
    assert host.known() is None
    assert host.name not in host.users()
    assert (host.path.read_text() if before else host.path.exists()) == (before or False)


def test_a_service_that_refuses_leaves_no_user(host) -> None:
    with pytest.raises(RegistrationError, match="add_tags"):
        host.register(tags=[Tag(f"k{n}", "v") for n in range(11)])
    assert host.name not in host.users()
    assert host.known() is None
    assert not host.path.exists()


def test_what_aws_deploy_register_wrote_is_understood(host) -> None:
    host.path.parent.mkdir()
    done = host.sandbox.run_aws("deploy", "register", "--instance-name", host.name, cwd=host.path.parent)
    assert done.returncode == 0, done.stderr
    assert host.path.exists(), done.stdout + done.stderr
    host.register(tags=[Tag("Fleet", "web")])
    host.deregister()
    assert host.known() is None
    assert host.name not in host.users()
    assert not host.path.exists()


def test_aws_deploy_deregister_undoes_our_registration(host) -> None:
    host.register(tags=[Tag("Fleet", "web")])
    done = host.sandbox.run_aws("deploy", "deregister", "--instance-name", host.name)
    assert done.returncode == 0, done.stderr
    assert host.known() is None
    assert host.name not in host.users()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"instance_name": "i-0abc"}, "cannot be"),
        ({"instance_name": "a b"}, "cannot be"),
        ({"user_arn": "arn:aws:iam::1:user/x", "access_key": "A", "secret_key": "b"}, "not the ARN of an IAM user"),
        ({"user_arn": "arn:aws:iam::123456789012:user/x"}, "needs its access key"),
        ({"session_arn": "arn:aws:iam::123456789012:role/x", "credentials_file": "/x"}, "not the ARN of a session"),
        ({"session_arn": "arn:aws:sts::123456789012:assumed-role/r/s"}, "needs --credentials-file"),
        (
            {"session_arn": "arn:aws:sts::123456789012:assumed-role/r/s", "credentials_file": "relative"},
            "with an absolute path",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_is_found_before_anybody_is_asked(host, options, reason) -> None:
    with pytest.raises(RegistrationError, match=reason):
        host.register(**options)
    assert not host.path.exists()


def test_a_service_that_cannot_be_reached_is_explained(host, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RegistrationError, match="get_on_premises_instance failed"):
        host.register()


@pytest.mark.parametrize("options", [{"profile": "no-such-profile"}, {"endpoint_url": "no-url"}])
def test_a_client_that_cannot_be_set_up_is_an_error_with_what_to_correct(host, options) -> None:
    api = ApiOptions(host.sandbox.region, **options)
    with pytest.raises(RegistrationError, match=r"(profile|endpoint).*Correct --profile or --endpoint-url"):
        register(RegisterOptions(host.name, str(host.path), api, create_user=True), tell=host.said.append)


def test_a_region_that_nobody_names_is_asked_for(host, monkeypatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    host.sandbox.region, region = "", host.sandbox.region
    try:
        with pytest.raises(RegistrationError, match=r"region is missing\. Pass --region, set AWS_DEFAULT_REGION"):
            register(RegisterOptions(host.name, str(host.path), ApiOptions(), create_user=True), tell=host.said.append)
    finally:
        host.sandbox.region = region
