"""Small wheelhouses that really install, and recording stand-ins for the system's programs."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import io
import marshal
import os
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pip

PROJECT = Path(__file__).resolve().parents[2]
UNIT = (PROJECT / "systemd" / "codedeploy-agent.service").read_bytes()

_AGENT = """
import sys, time
def main():
    if "--version" in sys.argv:
        print("codedeploy-agent {said}")
    elif "settings" in sys.argv:
        return int("broken" in open(sys.argv[-1]).read())
    elif "sleep" in sys.argv:
        print("asleep", flush=True)
        time.sleep(60)
    return 0
"""
_ENTRY_POINTS = "[console_scripts]\ncodedeploy-agent = fake_agent:main\ncodedeploy-local = fake_agent:main\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(name: str, version: str, files: Mapping[str, str], *, requires: str = "") -> tuple[str, bytes]:
    """The file name and the bytes of a wheel of pure Python."""
    info = f"{name}-{version}.dist-info"
    requirement = f"Requires-Dist: {requires}\n" if requires else ""
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n{requirement}"
    content = {path: text.encode() for path, text in files.items() if not path.startswith("INFO/")}
    content |= {
        f"{info}/{path.removeprefix('INFO/')}": text.encode() for path, text in files.items() if "INFO/" in path
    }
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{path},sha256={_record(data)},{len(data)}" for path, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def _record(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@functools.cache
def pip_wheel() -> tuple[str, bytes]:
    """pip as it is installed here, packed so that it runs from its wheel.

    It is compiled, because Python compiles what lies in an archive anew at every start: that takes longer than all that
    pip does in a test. The largest part of a wheelhouse, so packed once.
    """
    directory = Path(pip.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(directory.rglob("*")):
            name = f"pip/{path.relative_to(directory)}"
            if path.suffix == ".py":
                archive.writestr(f"{name}c", _compiled(path))
            elif path.is_file() and path.suffix != ".pyc":
                archive.write(path, name)
    return f"pip-{pip.__version__}-py3-none-any.whl", buffer.getvalue()


def _compiled(path: Path) -> bytes:
    """A source as Python keeps it; the zeros say that it belongs to a source that nobody compares."""
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
    return importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + marshal.dumps(code)


def agent_wheel(version: str, *, said: str | None = None) -> tuple[str, bytes]:
    """A stand-in for the agent that installs, says its version, and brings a page of the manual and a completion."""
    share = f"codedeploy_host_agent-{version}.data/data/share"
    files = {
        "fake_agent.py": _AGENT.replace("{said}", said or version),
        "INFO/entry_points.txt": _ENTRY_POINTS,
        f"{share}/man/man8/codedeploy-agent.8": f"of version {version}\n",
        f"{share}/fish/vendor_completions.d/codedeploy-agent.fish": f"# of version {version}\n",
    }
    return wheel("codedeploy_host_agent", version, files, requires="leaf")


def wheelhouse_files(version: str, pip_file: tuple[str, bytes], *, said: str | None = None) -> dict[str, bytes]:
    """All files of a wheelhouse but the sums."""
    wheels = dict([agent_wheel(version, said=said), wheel("leaf", "1.0", {"leaf.py": "ONE = 1\n"})])
    requirements = "".join(
        f"{'-'.join(name.split('-')[:1]).replace('_', '-')}=={name.split('-')[1]} --hash=sha256:{digest(data)}\n"
        for name, data in wheels.items()
    )
    return {
        **wheels,
        pip_file[0]: pip_file[1],
        "requirements.txt": requirements.encode(),
        "codedeploy-agent.service": UNIT + f"# of version {version}\n".encode(),
        "restart-steps.conf": b"[Service]\nRestartSteps=8\n",
    }


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{digest(data)}  {name}\n" for name, data in files.items()).encode()


def write_directory(directory: Path, files: Mapping[str, bytes]) -> tuple[str, str]:
    """Write a wheelhouse as a directory; gives its path and its SHA-256."""
    directory.mkdir(parents=True)
    for name, data in {**files, "SHA256SUMS": sums(files)}.items():
        (directory / name).write_bytes(data)
    return str(directory), digest(sums(files))


def write_archive(path: Path, files: Mapping[str, bytes], *, top: str = "wheelhouse") -> tuple[str, str]:
    """Write a wheelhouse as a .tar.gz; gives its path and its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in {**files, "SHA256SUMS": sums(files)}.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path), digest(path.read_bytes())


class StandIns:
    """Programs that note how they were called, one line a call, and do what a piece of shell says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "calls.log"
        directory.mkdir(parents=True)
        self.log.touch()

    def add(self, name: str, body: str = "") -> None:
        path = self.directory / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\n{body}\n')
        path.chmod(0o755)

    def calls(self, name: str = "") -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(name)]

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.directory), os.path.dirname(sys.executable), "/usr/bin", "/bin"])
