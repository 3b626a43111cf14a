from __future__ import annotations

import os
import shutil
import tempfile

import pytest

from agent.config.settings import Settings
from agent.deployment.spec import BundleType, DeploymentSpecification, LocalRevision
from agent.runtime.host import Host, Observer, layout_of
from revisions import write_revision


class Recorder(Observer):
    """Remembers what it was told."""

    def __init__(self):
        self.headers, self.lines, self.steps, self.notices = [], [], [], []

    def header(self, text):
        self.headers.append(text)

    def output(self, stream, data):
        self.lines.append((stream, data))

    def progress(self, done, total, unit):
        self.steps.append((done, total, unit))

    def notice(self, text):
        self.notices.append(text)


class Workbench:
    """A root directory, and deployments of revisions that tests write."""

    def __init__(self, top):
        self.top = str(top)
        self.destination = f"{top}/dest"
        self.settings = Settings(root_dir=f"{top}/root", log_dir=f"{top}/log")
        self.observer = Recorder()

    @property
    def host(self):
        return Host(self.settings, layout_of(self.settings), self.top, observer=self.observer)

    @property
    def layout(self):
        return self.host.layout

    def revision(self, name, files, *, appspec=""):
        return write_revision(f"{self.top}/{name}", files, appspec=appspec)

    def spec(self, deployment, source="", **fields):
        values = {
            "deployment_id": deployment,
            "deployment_group_id": "g",
            "deployment_group_name": "Group",
            "application_name": "App",
            "revision": LocalRevision(source, BundleType.DIRECTORY),
            **fields,
        }
        return DeploymentSpecification(**values)

    def unpacked(self, deployment, files, *, appspec=""):
        """A revision as an earlier command of a deployment has left it."""
        directory = self.layout.deployment("g", deployment)
        write_revision(self.layout.archive(directory), files, appspec=appspec)
        return directory

    def point(self, path, deployment):
        os.makedirs(self.layout.instructions, exist_ok=True)
        with open(path, "w") as file:
            file.write(deployment)


@pytest.fixture
def bench(tmp_path):
    return Workbench(tmp_path)


@pytest.fixture
def open_bench():
    """A workbench that every account may reach; pytest's own directories are closed to others."""
    top = tempfile.mkdtemp(prefix="worker-test-")
    os.chmod(top, 0o755)
    yield Workbench(top)
    shutil.rmtree(top)
