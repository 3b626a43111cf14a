"""A sandbox that serves TLS: the AWS CLI and our agent trust its certificate authority and nobody else."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent_fleet import Fleet
from agent_host import AGENT
from sandbox_server import AWS, SandboxServer, running_sandbox


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with running_sandbox(tmp_path_factory.mktemp("tls"), "--tls") as running:
        yield running


def shell(sandbox: SandboxServer, script: str, *, cwd: Path | None = None) -> str:
    """Run a script after ``env.sh``, in an environment that knows no AWS settings."""
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(("AWS_", "SSL_"))}
    clean["PATH"] = f"{AWS.parent}:{clean['PATH']}"
    command = ["sh", "-ec", f". {sandbox.directory}/env.sh; {script}"]
    done = subprocess.run(command, env=clean, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_cli_and_the_agent_deploy_over_tls(secure: SandboxServer, tmp_path: Path) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    fleet = Fleet(secure, tmp_path)
    source = fleet.revision("v1", {})
    (source / "app" / "large.bin").write_bytes(os.urandom(9 << 20))
    shell(secure, "aws deploy register --instance-name tls-1 --tags Key=Role,Value=tls", cwd=secure.directory)
    with contextlib.closing(_Agent(secure)):
        shell(
            secure,
            f"""
            aws s3 mb s3://tls-bundles
            aws deploy create-application --application-name tls
            aws deploy create-deployment-group --application-name tls --deployment-group-name hosts \\
                --on-premises-instance-tag-filters Key=Role,Value=tls,Type=KEY_AND_VALUE \\
                --service-role-arn arn:aws:iam::123456789012:role/any
            aws deploy push --application-name tls --s3-location s3://tls-bundles/v1.zip --source {source}
            id=$(aws deploy create-deployment --application-name tls --deployment-group-name hosts --output text \\
                --s3-location bucket=tls-bundles,key=v1.zip,bundleType=zip)
            aws deploy wait deployment-successful --deployment-id $id
            """,
        )
    assert (fleet.site / "large.bin").read_bytes() == (source / "app" / "large.bin").read_bytes()


class _Agent:
    """Our agent, with the settings that the sandbox wrote and without anything in its environment."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self._process = subprocess.Popen(
            [AGENT, "start", "--config-file", str(sandbox.directory / "codedeployagent.yml")],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def test_env_sh_names_the_ca_for_the_cli_and_for_the_official_agent(secure: SandboxServer) -> None:
    bundle = str(secure.directory / "ca.pem")
    assert secure.ca_bundle == bundle
    assert shell(secure, 'printf "%s " "$AWS_CA_BUNDLE" "$SSL_CERT_FILE"').split() == [bundle, bundle]


def test_the_certificate_is_for_the_names_of_this_machine_and_passes_strict_checks(secure: SandboxServer) -> None:
    where = urlsplit(secure.url)
    assert where.hostname is not None
    trust = ssl.create_default_context(cafile=secure.ca_bundle)
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("127.0.0.1", "localhost", socket.gethostname()):
        with (
            socket.create_connection((where.hostname, where.port), timeout=60) as plain,
            trust.wrap_socket(plain, server_hostname=name) as protected,
        ):
            assert protected.version() in ("TLSv1.2", "TLSv1.3")
    with (
        socket.create_connection((where.hostname, where.port), timeout=60) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_client_that_never_begins_tls_keeps_nobody_waiting(secure: SandboxServer) -> None:
    where = urlsplit(secure.url)
    with (
        socket.create_connection((where.hostname, where.port)) as silent,
        socket.create_connection((where.hostname, where.port)) as wrong,
    ):
        wrong.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secure.client("codedeploy").list_applications()["applications"] is not None
        assert silent.fileno() > 0
    assert "Traceback" not in (secure.directory / "log").read_text()
