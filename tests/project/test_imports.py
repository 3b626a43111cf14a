"""What a process must not import on its way: each of these costs every start milliseconds, or the daemon its memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_host import revision

# Runs a program, or some code, in an interpreter of its own, and writes the names of all modules that it has imported.
RUN = """
import atexit, sys
note, program = sys.argv[1:3]
atexit.register(lambda: open(note, "w").write(" ".join(sys.modules)))
del sys.argv[:2]
exec(compile(open(program).read() if program[0] == "/" else program, program, "exec"))
"""

LIBRARIES = {"asn1crypto", "boto3", "botocore", "cryptography", "dateutil", "psutil", "requests", "rich", "structlog"}
LIBRARIES |= {"prometheus_client", "urllib3", "watchdog"}
STANDARD = {"asyncio", "bz2", "calendar", "concurrent", "ctypes", "dataclasses", "decimal", "email", "hashlib", "http"}
STANDARD |= {"importlib.metadata", "importlib.resources", "inspect", "lzma", "multiprocessing", "pathlib", "pickle"}
STANDARD |= {"platform", "random", "shutil", "socket", "ssl", "subprocess", "tempfile", "tomllib", "uuid", "xml"}
STANDARD |= {"zipfile"}
COSTLY = LIBRARIES | STANDARD
LOGS = {"agent.logs", "json", "logging", "threading", "traceback"}
ROOMS = {"agent.bundle", "agent.fleet", "agent.hooks", "agent.install", "agent.network", "agent.sandbox", "agent.trust"}
DAEMON = {"agent.bundle", "agent.install", "agent.sandbox", "agent.trust", "asn1crypto", "boto3", "botocore.session"}
DAEMON |= {"botocore.client", "botocore.loaders", "botocore.model", "cryptography", "multiprocessing", "psutil"}
DAEMON |= {"prometheus_client", "requests", "rich", "watchdog"}

NOT_IMPORTED = {
    "codedeploy-agent --version": COSTLY | LOGS | ROOMS | {"datetime", "yaml"},
    "codedeploy-agent help": COSTLY | LOGS | ROOMS | {"datetime", "yaml"},
    "codedeploy-agent deployments --help": COSTLY | {"agent.logs", "logging", "yaml"},
    "codedeploy-agent logs --help": COSTLY | {"agent.logs", "logging", "yaml"},
    "codedeploy-agent install --help": COSTLY | LOGS | {"yaml"},
    "codedeploy-agent register --help": COSTLY | LOGS | {"yaml"},
    "codedeploy-agent sandbox --help": COSTLY | LOGS | {"yaml"},
    "codedeploy-agent traffic --help": COSTLY - {"random"},
    "codedeploy-agent status --config-file agent.yml": COSTLY | {"agent.logs"} | ROOMS - {"agent.network"},
    "codedeploy-agent settings --config-file agent.yml": COSTLY | LOGS | ROOMS,
    "codedeploy-agent validate revision/appspec.yml": COSTLY | {"agent.logs", "json"} | ROOMS - {"agent.install"},
    "codedeploy-agent validate revision": COSTLY | {"agent.logs", "json"} | ROOMS - {"agent.install"},
    "codedeploy-local --help": COSTLY | ROOMS,
    "codedeploy-local -l revision -c agent.yml": COSTLY - {"ctypes"}
    | {"agent.fleet", "agent.network", "agent.sandbox", "agent.trust"},
    "import agent.cli.manual; agent.cli.manual.pages(); agent.cli.manual.parsers()": LIBRARIES | {"yaml"},
    "import agent.daemon.supervisor": DAEMON | {"agent.hooks", "yaml"},
    "import agent.daemon.startup_state": DAEMON | {"asyncio", "botocore", "structlog", "subprocess"},
    "import agent.identity.on_premises_file, agent.identity.credentials": {"yaml"},
    "import agent.service.client": DAEMON | {"asyncio", "structlog", "subprocess", "yaml"},
    "import agent.worker.process": DAEMON | {"asyncio", "structlog"},
    "import agent.worker.fork_server": DAEMON - {"agent.trust", "cryptography"}
    | {"agent.cli", "agent.daemon", "agent.local", "agent.traffic", "s3transfer", "tarfile"},
}
"""Each entry point, or a simple run of it, and the modules that it does without."""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory with a configuration file and a revision of one file and one script."""
    revision(tmp_path / "revision", {"AfterInstall": "true"}, to=tmp_path / "site")
    lines = [f"{name}: {tmp_path}/{name}" for name in ("root_dir", "log_dir", "pid_dir")]
    (tmp_path / "agent.yml").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("entry", NOT_IMPORTED)
def test_no_process_waits_for_modules_that_it_does_not_need(
    entry: str, host: Path, program: Callable[[str], str]
) -> None:
    name, *arguments = entry.split()
    words = [entry] if name == "import" else [program(name), *arguments]
    done = subprocess.run([sys.executable, "-c", RUN, host / "note", *words], cwd=host, capture_output=True, text=True)
    assert done.returncode == (3 if "status" in words else 0), done.stdout + done.stderr
    imported = set((host / "note").read_text().split())
    assert sorted(imported & NOT_IMPORTED[entry]) == []
