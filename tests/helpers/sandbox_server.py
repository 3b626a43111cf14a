"""A sandbox in a process of its own, driven over the wire as its users drive it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guards import AWS, require
from waiting import Guard, until

ROOT = Path(__file__).resolve().parents[2]
START = "import sys; from agent.cli.main import main; sys.exit(main())"


class SandboxServer:
    """A running sandbox; ``directory`` holds what it has written."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self.process = process
        self.description: dict[str, Any] = json.loads((directory / "sandbox.json").read_text())
        self.url: str = self.description["url"]
        self.region: str = self.description["region"]
        self.account: str = self.description["account"]
        self.signer_certificate: str = self.description["signer_certificate"]
        self.ca_bundle: str | None = self.description["ca_bundle"]
        self._clients: dict[str, Any] = {}

    def environment(self) -> dict[str, str]:
        """Give an environment in which AWS programs talk to this sandbox and to nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("AWS_")}
        return {
            **{name: value for name, value in kept.items() if not name.lower().endswith("_proxy")},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.description["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.description["secret_access_key"],
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.directory / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.directory / "no-credentials"),
            "AWS_PAGER": "",
            **({"AWS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {}),
        }

    def run_aws(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the real AWS command line; about a second each."""
        require("aws")
        command = [str(AWS), *arguments]
        environment = self.environment()
        return subprocess.run(
            command,
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def aws(self, *arguments: str, cwd: Path | None = None) -> Any:
        """Run the real AWS command line; give what it printed, parsed if it is JSON. It must succeed."""
        done = self.run_aws(*arguments, cwd=cwd)
        assert done.returncode == 0, f"aws {' '.join(arguments)}: {done.stdout}{done.stderr}"
        try:
            return json.loads(done.stdout) if done.stdout.strip() else {}
        except ValueError:
            return done.stdout

    def client(self, service: str, *, keys: Mapping[str, str] | None = None) -> Any:
        """Give a botocore client with the sandbox's key, or with ``keys`` as IAM or STS gave them."""
        if keys is None and service in self._clients:
            return self._clients[service]
        import botocore.config
        import botocore.session

        chosen = keys or {
            "AccessKeyId": self.description["access_key_id"],
            "SecretAccessKey": self.description["secret_access_key"],
        }
        made = botocore.session.Session().create_client(
            service,
            region_name=self.region,
            endpoint_url=self.url,
            verify=self.ca_bundle,
            aws_access_key_id=chosen["AccessKeyId"],
            aws_secret_access_key=chosen["SecretAccessKey"],
            aws_session_token=chosen.get("SessionToken"),
            config=botocore.config.Config(retries={"max_attempts": 0}, proxies={}, s3={"addressing_style": "path"}),
        )
        if keys is None:
            self._clients[service] = made
        return made

    # -- hosts

    def register_on_premises(self, name: str, tags: Mapping[str, str], *, directory: Path | None = None) -> Path:
        """Register a host under an IAM user of its own; give the path of its codedeploy.onpremises.yml."""
        iam = self.client("iam")
        arn = iam.create_user(UserName=name)["User"]["Arn"]
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self._register(name, tags, iamUserArn=arn)
        return self._write_on_premises(
            directory or self.directory / "hosts" / name,
            {
                "region": self.region,
                "iam_user_arn": arn,
                "aws_access_key_id": key["AccessKeyId"],
                "aws_secret_access_key": key["SecretAccessKey"],
            },
        )

    def register_session(self, name: str, tags: Mapping[str, str], *, directory: Path | None = None) -> Path:
        """Register a host under a role's session; give the path of its codedeploy.onpremises.yml.

        The credentials file lies beside it; ``renew_session`` writes it anew.
        """
        place = directory or self.directory / "hosts" / name
        place.mkdir(parents=True, exist_ok=True)
        arn = self.renew_session(name, place / "credentials")["AssumedRoleUser"]["Arn"]
        self._register(name, tags, iamSessionArn=arn)
        values = {
            "region": self.region,
            "iam_session_arn": arn,
            "aws_credentials_file": str(place / "credentials"),
        }
        return self._write_on_premises(place, values)

    def renew_session(self, name: str, path: Path, *, seconds: int = 3600) -> dict[str, Any]:
        """Assume the role of a host that works by sessions, and write the new credentials, atomically."""
        role = f"arn:aws:iam::{self.account}:role/hosts"
        assumed: dict[str, Any] = self.client("sts").assume_role(
            RoleArn=role, RoleSessionName=name, DurationSeconds=seconds
        )
        made = assumed["Credentials"]
        lines = [
            "[default]",
            f"aws_access_key_id = {made['AccessKeyId']}",
            f"aws_secret_access_key = {made['SecretAccessKey']}",
            f"aws_session_token = {made['SessionToken']}",
        ]
        new = path.with_name(path.name + ".new")
        new.touch(mode=0o600)
        new.write_text("\n".join(lines) + "\n")
        new.rename(path)
        return assumed

    def run_instance(
        self,
        tags: Mapping[str, str],
        *,
        role: str = "host-role",
        address: str | None = None,
        user_data: str = "",
        tokens: str = "required",
    ) -> str:
        """Start an EC2 instance that the metadata service speaks for (to clients at ``address``); give its id.

        With ``tokens`` "optional" it answers questions without a session token too.
        """
        started = self.client("ec2").run_instances(
            ImageId="ami-12c6146b",
            MinCount=1,
            MaxCount=1,
            UserData=user_data,
            TagSpecifications=[{"ResourceType": "instance", "Tags": _pairs(tags)}],
        )
        instance_id: str = started["Instances"][0]["InstanceId"]
        served = {"instance_id": instance_id, "role": role, "address": address, "tokens": tokens}
        self.control("PUT", "metadata", served)
        return instance_id

    def _register(self, name: str, tags: Mapping[str, str], **arn: str) -> None:
        deploy = self.client("codedeploy")
        deploy.register_on_premises_instance(instanceName=name, **arn)
        if tags:
            deploy.add_tags_to_on_premises_instances(instanceNames=[name], tags=_pairs(tags))

    def _write_on_premises(self, directory: Path, values: Mapping[str, str]) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "codedeploy.onpremises.yml"
        path.touch(mode=0o600)
        path.write_text("---\n" + "".join(f"{name}: {value}\n" for name, value in values.items()))
        return path

    # -- deployments

    def create_group(self, application: str, group: str, tags: Mapping[str, str], **settings: Any) -> None:
        """Add a group for on-premises hosts with all these tags, and its application if there is none."""
        deploy = self.client("codedeploy")
        if application not in deploy.list_applications()["applications"]:
            deploy.create_application(applicationName=application)
        if tags:
            sets = [[{"Key": key, "Value": value, "Type": "KEY_AND_VALUE"}] for key, value in tags.items()]
            settings["onPremisesTagSet"] = {"onPremisesTagSetList": sets}
        deploy.create_deployment_group(
            applicationName=application,
            deploymentGroupName=group,
            serviceRoleArn=f"arn:aws:iam::{self.account}:role/deployer",
            **{"deploymentConfigName": "CodeDeployDefault.AllAtOnce", **settings},
        )

    def upload(self, bucket: str, key: str, source: Path | bytes, *, bundle_type: str = "zip") -> dict[str, Any]:
        """Put a bundle (a directory is zipped) into a bucket, which is made if need be; give it as a revision."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=bucket)
        data = source if isinstance(source, bytes) else _zipped(source)
        etag = s3.put_object(Bucket=bucket, Key=key, Body=data)["ETag"].strip('"')
        place = {"bucket": bucket, "key": key, "bundleType": bundle_type, "eTag": etag}
        return {"revisionType": "S3", "s3Location": place}

    def deploy(self, application: str, group: str, revision: Mapping[str, Any] | None, **options: Any) -> str:
        """Create a deployment; give its id."""
        if revision is not None:
            options["revision"] = revision
        made = self.client("codedeploy").create_deployment(
            applicationName=application, deploymentGroupName=group, **options
        )
        identifier: str = made["deploymentId"]
        return identifier

    def wait(self, deployment_id: str) -> dict[str, Any]:
        """Wait until a deployment is over; give the API's description of it."""
        guard = Guard()
        while True:
            info: dict[str, Any] = self.client("codedeploy").get_deployment(deploymentId=deployment_id)[
                "deploymentInfo"
            ]
            if info["status"] in ("Succeeded", "Failed", "Stopped"):
                return info
            assert not guard.has_hung, f"{deployment_id} is still {info['status']}: {self.events(deployment_id)}"
            time.sleep(0.1)  # each question costs this process and the sandbox more than the agent that is waited for

    def targets(self, deployment_id: str) -> dict[str, dict[str, Any]]:
        """Give the targets of a deployment by their ids."""
        deploy = self.client("codedeploy")
        ids = deploy.list_deployment_targets(deploymentId=deployment_id)["targetIds"]
        if not ids:
            return {}
        found = deploy.batch_get_deployment_targets(deploymentId=deployment_id, targetIds=ids)["deploymentTargets"]
        return {one["instanceTarget"]["targetId"]: one["instanceTarget"] for one in found}

    def events(self, deployment_id: str) -> dict[str, dict[str, str]]:
        """Give the status of every event, by target."""
        return {
            name: {event["lifecycleEventName"]: event["status"] for event in target["lifecycleEvents"]}
            for name, target in self.targets(deployment_id).items()
        }

    # -- behind the scenes

    def journal(self, operation: str | None = None, *, after: int = 0) -> list[dict[str, Any]]:
        """Give the calls of hosts to the command service, in their order."""
        entries: list[dict[str, Any]] = self.control("GET", f"journal?after={after}")
        return [entry for entry in entries if operation in (None, entry["operation"])]

    def wait_for_poll(self, host_identifier: str) -> None:
        """Wait until a host's poll waits for a command."""
        until(lambda: host_identifier in self.control("GET", "waiting"), f"a poll of {host_identifier}")

    def set_limits(self, **limits: Any) -> None:
        """Change how long the service waits: poll, delivery, event, redelivery (seconds); noop_answer."""
        self.control("PUT", "limits", limits)

    def add_fault(self, operation: str, kind: str, **more: Any) -> None:
        """Let the next calls of an operation go wrong: see agent/sandbox/wire/faults.py."""
        self.control("POST", "faults", {"operation": operation, "kind": kind, **more})

    def control(self, method: str, name: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the sandbox's own interface."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{name}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.description['token']}"},
        )
        trust = ssl.create_default_context(cafile=self.ca_bundle)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            with opener.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {name}: {error.code} {error.read().decode()}") from error


@contextlib.contextmanager
def running_sandbox(directory: Path, *arguments: str) -> Iterator[SandboxServer]:
    """Run ``codedeploy-agent sandbox`` with its files in ``directory``/sandbox; it ends with the block.

    About two seconds to start, so share one where that is possible.
    """
    place = directory / "sandbox"
    place.mkdir(mode=0o700)
    log = place / "log"
    command = [sys.executable, "-c", START, "sandbox", "--directory", str(place), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT)
    try:
        started = (place / "sandbox.json").exists
        until(started, lambda: f"the sandbox to start: {log.read_text()}", alive=lambda: process.poll() is None)
        yield SandboxServer(place, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _zipped(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(directory.rglob("*")):
            archive.write(path, path.relative_to(directory))
    return buffer.getvalue()
