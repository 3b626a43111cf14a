"""The program of ``on_event_command`` hears what it is to hear, and can do no harm to a deployment."""

from __future__ import annotations

import http.server
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agent import logs
from agent.config.settings import Settings
from agent.deployment.outcome import failure
from agent.deployment.spec import BundleType, DeploymentSpecification, S3Revision
from agent.errors import AgentError
from agent.runtime.host import layout_of
from agent.steps import event_log
from agent.store.history import History
from waiting import until

SPEC = DeploymentSpecification(
    "d-1", "g-1", "Web", "Shop", S3Revision("bucket", "web.tgz", BundleType.TGZ), deployment_creator="user"
)
RUNNING = Path(__file__).parents[2] / "docs/running.md"

Listen = Callable[..., Settings]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Has a program of this text hear of the deployment d-1."""

    def write(text: str, **settings: object) -> Settings:
        program = tmp_path / "program"
        program.write_text(text)
        program.chmod(0o755)
        tmp_path.chmod(0o755)
        own = {"root_dir": f"{tmp_path}/root", "log_dir": f"{tmp_path}/log", "on_event_command": str(program)}
        found = Settings(**{**own, **settings})  # type: ignore[arg-type]
        event_log.run_on_event(found)
        return found

    with logs.bound(deployment="d-1", group="g-1"):
        yield write
    event_log.run_on_event(Settings())


def log_of(tmp_path: Path) -> str:
    path = tmp_path / "log/codedeploy-agent.log"
    return path.read_text() if path.exists() else ""


def told(directory: Path, count: int) -> list[dict[str, object]]:
    """What was written to ``*.json``, by the order of time."""

    def found() -> list[dict[str, object]]:
        documents = [json.loads(path.read_text()) for path in directory.glob("*.json")]
        return documents if len(documents) == count else []

    documents = until(found, f"{count} calls of the program")
    return sorted(documents, key=lambda document: document["time"])


def test_a_program_hears_of_the_start_the_failure_and_the_end(listen: Listen, tmp_path: Path) -> None:
    settings = listen(
        f'#!/bin/sh\ncat >"{tmp_path}/$TRIGGER~" && mv "{tmp_path}/$TRIGGER~" "{tmp_path}/$TRIGGER.json"\n'
    )
    layout = layout_of(settings)
    event_log.deployment_began(SPEC, layout)
    History(layout).started(SPEC, "Install")
    event_log.ended("Install", failure(AgentError("No room.", remedy="Make some.")), seconds=1)
    event_log.deployment_ended("d-1", event="Install", succeeded=False)
    documents = told(tmp_path, 3)
    assert [one["trigger"] for one in documents] == ["InstanceStart", "LifecycleEventFailure", "InstanceFailure"]
    for one in documents:
        names = ("version", "deployment_id", "deployment_group_id", "application_name", "deployment_group_name")
        assert [one[name] for name in names] == [1, "d-1", "g-1", "Shop", "Web"]
        assert one["revision"]["key"] == "web.tgz"
    assert (documents[1]["lifecycle_event"], documents[1]["error_code"]) == ("Install", 5)
    assert documents[1]["message"] == "No room. Make some."


def test_a_success_is_told_and_a_deployment_without_a_program_tells_nobody(listen: Listen, tmp_path: Path) -> None:
    listen(f'#!/bin/sh\nenv >"{tmp_path}/env~"; mv "{tmp_path}/env~" "{tmp_path}/env"\n')
    event_log.deployment_ended("d-1", event="AfterAllowTraffic", succeeded=True)
    environment = until(lambda: (tmp_path / "env").exists() and (tmp_path / "env").read_text(), "the program")
    assert {"TRIGGER=InstanceSuccess", "DEPLOYMENT_ID=d-1", "LIFECYCLE_EVENT=AfterAllowTraffic"} <= set(
        environment.splitlines()
    )
    event_log.run_on_event(Settings())
    children = psutil.Process().children()
    event_log.deployment_ended("d-1", event="AfterAllowTraffic", succeeded=True)
    assert psutil.Process().children() == children


@pytest.mark.needs("root", "users")
def test_a_program_runs_as_the_account_that_the_settings_name(listen: Listen, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as place:  # other accounts do not come into pytest's directories
        os.chmod(place, 0o777)
        program = Path(place, "program")
        program.write_text(f'#!/bin/sh\nid -un >"{place}/name~"; mv "{place}/name~" "{place}/name"\n')
        program.chmod(0o755)
        listen("", on_event_user="nobody", on_event_command=str(program))
        event_log.deployment_ended("d-1", event="Install", succeeded=False)
        until(lambda: os.path.exists(f"{place}/name") or log_of(tmp_path), "the program")
        assert Path(place, "name").read_text() == "nobody\n"


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("#!/bin/sh\necho no such room; exit 3\n", {}, "ended with status 3: no such room"),
        ("#!/nowhere/sh\n", {}, "cannot be run: "),
        ("#!/bin/sh\n", {"on_event_user": "not-there"}, "there is no user not-there"),
    ],
)
def test_a_program_that_fails_is_warned_of(listen: Listen, tmp_path: Path, text: str, settings, says: str) -> None:
    listen(text, **settings)
    event_log.deployment_ended("d-1", event="Install", succeeded=False)
    line = until(lambda: re.search(".*on_event_command.*", log_of(tmp_path)), "the warning")[0]
    assert says in line
    assert "WARN" in line
    assert line.endswith("deployment=d-1 group=g-1")


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(listen: Listen, tmp_path: Path) -> None:
    listen(
        f"#!/bin/sh\n(setsid sleep 4321 & echo $! >{tmp_path}/child)\necho $$ >{tmp_path}/parent\nsleep 4321\n",
        on_event_timeout_seconds=1,
    )
    before = time.monotonic()
    event_log.deployment_ended("d-1", event="Install", succeeded=False)
    assert time.monotonic() - before < 1, "nobody waits for it"
    until(lambda: "has not ended after 1 s and is killed" in log_of(tmp_path), "the warning")
    pids = [int((tmp_path / name).read_text()) for name in ("child", "parent")]
    until(lambda: not any(map(psutil.pid_exists, pids)), "the end of all processes")


@pytest.mark.needs_tool("curl")
def test_the_webhook_of_the_documents_reaches_its_server(listen: Listen, tmp_path: Path) -> None:
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        script = re.search(r"```bash\n(#!/bin/sh\n.*?curl.*?)```", RUNNING.read_text(), re.DOTALL)[1]
        listen(script.replace("https://chat.example/hook", f"http://127.0.0.1:{server.server_port}/hook"))
        event_log.ended("Install", failure(AgentError('It says "no".')), seconds=1)
        until(lambda: bodies, "the request")
        server.shutdown()
        thread.join()
    assert json.loads(bodies[0])["message"] == 'It says "no".'
    assert not os.path.exists(tmp_path / "log")
