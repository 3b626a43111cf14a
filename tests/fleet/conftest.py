"""A host below a temporary directory, and wheelhouses for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.fleet.install import AgentInstallOptions, Installed, install
from agent.fleet.places import VERSIONS
from fleet_box import StandIns, digest, pip_wheel, wheelhouse_files, write_archive


class Stock:
    """Wheelhouses, and versions that were built of them: both are made once for all tests of a process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._built: dict[str, Path] = {}

    def source(self, version: str, *, said: str | None, build: str) -> tuple[str, str]:
        """Give the path of a wheelhouse and its SHA-256; nobody changes it."""
        path = self._directory / f"{version}{said or ''}{build}.tar.gz"
        if path.exists():
            return str(path), digest(path.read_bytes())
        files = wheelhouse_files(version, pip_wheel(), said=said)
        files["restart-steps.conf"] += f"# {build}\n".encode()
        return write_archive(path, files)

    def put(self, source: str, sha256: str, root: Path) -> None:
        """Have a version below a root directory as if it had been built there, unless something is in its place."""
        if source not in self._built:
            built = self._directory / f"root-{len(self._built)}"
            install(AgentInstallOptions(source, sha256, root=str(built)), tell=lambda sentence: None)
            self._built[source] = (built / "opt/codedeploy-agent/current").resolve()
        ready = self._built[source]
        place = root / VERSIONS.lstrip("/") / ready.name
        if place.exists():
            return
        shutil.copytree(ready, place, symlinks=True)
        for path in (place / "pyvenv.cfg", *(place / "bin").iterdir()):
            if not path.is_symlink():  # a virtual environment has its own path in these
                path.write_bytes(path.read_bytes().replace(bytes(ready), bytes(place)))


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A systemctl of version 257 that only notes what it is told; first on the PATH."""
    programs = StandIns(tmp_path / "programs")
    programs.add("systemctl", '[ "$1" = --version ] && echo "systemd 257 (257.9)"\nexit 0')
    monkeypatch.setenv("PATH", programs.path)
    return programs


class Box:
    """A root directory to install below."""

    def __init__(self, tmp_path: Path, stock: Stock) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.said: list[str] = []
        self._stock = stock

    def source(self, version: str = "9.1", *, said: str | None = None, build: str = "") -> tuple[str, str]:
        return self._stock.source(version, said=said, build=build)

    def install(self, version: str = "9.1", /, *, build: str = "", **options) -> Installed:
        """Install a version that is built already, except where one was begun here."""
        place, sha256 = self.source(version, build=build)
        self._stock.put(place, sha256, self.root)
        return install(AgentInstallOptions(place, sha256, root=str(self.root), **options), tell=self.said.append)

    def build(self, version: str = "9.1", /, *, said: str | None = None, build: str = "", **options) -> Installed:
        """Install a version with all that belongs to it, which takes a second or two."""
        place, sha256 = self.source(version, said=said, build=build)
        return install(AgentInstallOptions(place, sha256, root=str(self.root), **options), tell=self.said.append)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def tree(self) -> dict[str, str]:
        """Every path below the root but those in a version's directory, with type, mode and content or target."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.count("/") > 3 and "/versions/" in name:
                continue
            if path.is_symlink():
                found[name] = f"link {path.readlink()}"
            elif path.is_dir():
                found[name] = "directory"
            else:
                found[name] = f"{path.stat().st_mode:o} {path.read_bytes()!r}"
        return found


@pytest.fixture
def box(tmp_path: Path, stock: Stock, systemctl: StandIns) -> Box:
    return Box(tmp_path, stock)
