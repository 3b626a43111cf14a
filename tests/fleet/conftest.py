"""A host below a temporary folder, and wheelhouses for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.fleet.install import Installed, InstallOptions, install
from fleet_box import StandIns, digest, pip_wheel, wheelhouse_files, write_archive


@pytest.fixture(scope="session")
def pip_file() -> tuple[str, bytes]:
    """pip's wheel; packed once, as it is the largest part of a wheelhouse."""
    return pip_wheel()


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A systemctl of version 257 that only notes what it is told; first on the PATH."""
    programs = StandIns(tmp_path / "programs")
    programs.add("systemctl", '[ "$1" = --version ] && echo "systemd 257 (257.9)"\nexit 0')
    monkeypatch.setenv("PATH", programs.path)
    return programs


class Box:
    """A root folder to install below."""

    def __init__(self, tmp_path: Path, pip_file: tuple[str, bytes]) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.said: list[str] = []
        self._sources = tmp_path / "sources"
        self._pip = pip_file

    def source(self, version: str, *, said: str | None = None, build: str = "") -> tuple[str, str]:
        path = self._sources / f"{version}{said or ''}{build}.tar.gz"
        if path.exists():
            return str(path), digest(path.read_bytes())
        files = wheelhouse_files(version, self._pip, said=said)
        files["restart-steps.conf"] += f"# {build}\n".encode()
        return write_archive(path, files)

    def install(self, version: str = "9.1", /, *, said: str | None = None, build: str = "", **options) -> Installed:
        place, sha256 = self.source(version, said=said, build=build)
        return install(InstallOptions(place, sha256, root=str(self.root), **options), tell=self.said.append)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def tree(self) -> dict[str, str]:
        """Every path below the root but those in a version's folder, with type, mode and content or target."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.count("/") > 3 and "/versions/" in name:
                continue
            if path.is_symlink():
                found[name] = f"link {path.readlink()}"
            elif path.is_dir():
                found[name] = "folder"
            else:
                found[name] = f"{path.stat().st_mode:o} {path.read_bytes()!r}"
        return found


@pytest.fixture
def box(tmp_path: Path, pip_file: tuple[str, bytes], systemctl: StandIns) -> Box:
    return Box(tmp_path, pip_file)
