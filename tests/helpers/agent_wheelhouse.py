"""The agent of these sources, packed as for users, and hosts' disks with it on them: made once for all test processes.

They are kept beside the images of the hosts (host_images). The wheels come from where pip takes them on this machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from booted_host import BootedHost
from host_images import IMAGES, cache_directory
from host_lab import HostLab

PROJECT = Path(__file__).resolve().parents[2]
NEXT_VERSION = "99.0"
"""The version of the newer agent, for upgrades; its sources are otherwise the same."""
INSIDE = "/opt/wheelhouses"
"""Where hosts find the directory of all wheelhouses."""
SCRIPT_INSIDE = "/opt/codedeploy-agent.sh"
"""Where a host whose image has the user data's script has it, for cloud_config()."""

_SOURCES = ("agent", "systemd", "userdata", "pyproject.toml", "setup.py", "README.md", "LICENSE")
_PYTHONS = ("3.11", "3.13")  # of Debian 12 and 13
_AWSCLI = "awscli>=1.44"
_FOR_311 = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"]
for _abi in ("cp311", "abi3", "none"):
    _FOR_311 += ["--abi", _abi]
for _glibc in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
    _FOR_311 += ["--platform", f"{_glibc}_{os.uname().machine}"]
_FOR_311 += ["--platform", "any"]
_KEPT_FOR = 1800.0  # seconds for which what older sources made may still be needed by a test that runs


class Wheelhouse(NamedTuple):
    """One archive, in a directory that is bound to INSIDE on the hosts."""

    archive: Path
    sha256: str
    version: str

    @property
    def source(self) -> str:
        """Its path on the hosts."""
        return f"{INSIDE}/{self.archive.relative_to(_cache())}"


@cache
def wheelhouse(version: str | None = None) -> Wheelhouse:
    """Give the wheelhouse of these sources, or of the same under another version; about five seconds to make."""
    directory = _cache() / f"{_sources_stamp()}-{version or 'own'}"
    with _locked():
        if not directory.is_dir():
            _pack(directory, version)
            _remove_older()
    os.utime(directory)
    (archive,) = directory.glob("*.tar.gz")
    found = re.fullmatch(r"codedeploy-agent-(.+)-[^-]+\.tar\.gz", archive.name)
    assert found
    return Wheelhouse(archive, (directory / "sha256").read_text(), found[1])


def wheelhouses() -> Path:
    """The directory of all wheelhouses, to be bound to INSIDE: ``read_only={INSIDE: wheelhouses()}``."""
    return _cache()


@cache
def installed_layer(image: str) -> Path:
    """Give a layer for hosts of an image on which the agent is installed and enabled, and has never run.

    It is made as one bakes an image for a cloud: the user data's script runs in the root directory, without a network.
    """
    packed = wheelhouse()
    layer = _cache() / f"{_sources_stamp()}-layer-{IMAGES[image].stamp}"
    with _locked():
        if not layer.is_dir():
            _bake(image, packed, layer)
    os.utime(layer)
    return layer


@cache
def packages() -> Path:
    """Give a directory with the packages that a machine of the Vagrantfile takes from an index, for Debian 12.

    About sixty megabytes, fetched once.
    """
    # Apart, since they do not pin the same botocore.
    apart = [[*_sandbox_needs("dependencies"), *_sandbox_needs("requires"), "wheel"], [_AWSCLI]]
    directory = cache_directory() / f"packages-{_stamp_of(apart)}"
    with _locked():
        if not directory.is_dir():
            partial = directory.with_name(f"{directory.name}.new")
            shutil.rmtree(partial, ignore_errors=True)
            for requirements in apart:
                _run(
                    [
                        sys.executable,
                        "-m",
                        "pip",
                        "download",
                        "--quiet",
                        "--dest",
                        str(partial),
                        *_FOR_311,
                        *requirements,
                    ]
                )
            partial.rename(directory)
    return directory


@cache
def sandbox_layer(image: str) -> Path:
    """Give a layer for hosts of an image where the script for Vagrant finds the sandbox's packages installed.

    Not the sandbox itself, which is of these sources.
    """
    needs, wheels = _sandbox_needs("dependencies"), packages()
    layer = cache_directory() / f"sandbox-{_stamp_of([needs, wheels.name, IMAGES[image].stamp])}"
    with _locked():
        if not layer.is_dir():
            with HostLab() as lab:
                host = lab.create("bake", image)
                host.put("/opt/packages", wheels)
                for place, desired in (("/opt/sandbox", needs), ("/opt/awscli", [_AWSCLI])):
                    pip = [f"{place}/bin/pip", "install", "--quiet", "--no-index", "--find-links=/opt/packages"]
                    host.run_off(f"python3 -m venv {place} && {shlex.join([*pip, *desired])}")
                host.run_off("rm -r /opt/packages")
                _keep(host, layer)
    return layer


def _sandbox_needs(what: str) -> list[str]:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        found = tomllib.load(file)
    if what == "requires":
        return list(found["build-system"]["requires"])
    return [*found["project"]["dependencies"], *found["project"]["optional-dependencies"]["sandbox"]]


def _stamp_of(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def _keep(host: BootedHost, layer: Path) -> None:
    """Copy what a host has that its image has not."""
    partial = layer.with_name(f"{layer.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    _run(["cp", "-a", str(host.written), str(partial)])
    partial.rename(layer)


def user_data(packed: Wheelhouse, **parameters: str) -> str:
    """The text of userdata/codedeploy-agent.sh with its parameters filled in as a user does: ``AGENT_CONFIG="..."``."""
    text = (PROJECT / "userdata" / "codedeploy-agent.sh").read_text()
    for name, value in {"AGENT_SOURCE": packed.source, "AGENT_SHA256": packed.sha256, **parameters}.items():
        line = re.compile(rf"^{name}=\$\{{{name}:-\w*\}}", re.MULTILINE)
        assert line.search(text), f"{name} is not a parameter of the script"
        text = line.sub(lambda _, name=name, value=value: f"{name}={shlex.quote(value)}", text)
    return text


def cloud_config(packed: Wheelhouse, **parameters: str) -> str:
    """The text of userdata/cloud-config.yaml filled in; hosts take the script from SCRIPT_INSIDE."""
    text = (PROJECT / "userdata" / "cloud-config.yaml").read_text()
    script = hashlib.sha256((PROJECT / "userdata" / "codedeploy-agent.sh").read_bytes()).hexdigest()
    own = {"AGENT_SCRIPT": SCRIPT_INSIDE, "AGENT_SCRIPT_SHA256": script}
    for name, value in {**own, "AGENT_SOURCE": packed.source, "AGENT_SHA256": packed.sha256, **parameters}.items():
        line = re.compile(rf"^( +)({name}=)(yes|no)?(?= |$)", re.MULTILINE)
        assert line.search(text), f"{name} is not a parameter of the cloud-config"
        quoted = shlex.quote(value)
        text = line.sub(lambda found, quoted=quoted: found[1] + found[2] + quoted.replace("\n", f"\n{found[1]}"), text)
    return text


def _cache() -> Path:
    return cache_directory() / "wheelhouses"


@cache
def _sources_stamp() -> str:
    """A name that is another one as soon as a wheelhouse of the sources would be another one."""
    digest = hashlib.sha256(repr((_PYTHONS, sys.version_info[:2])).encode())
    for path in sorted(path for name in _SOURCES for path in [PROJECT / name, *(PROJECT / name).rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def _locked() -> Iterator[None]:
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pack(directory: Path, version: str | None) -> None:
    work = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    for name in _SOURCES:
        source, copy = PROJECT / name, work / "sources" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    if version:
        (work / "sources/agent/__init__.py").write_text(f'"""Another version."""\n\n__version__ = "{version}"\n')
    pythons = [word for each in _PYTHONS for word in ("-p", each)]
    said = _run([str(work / "sources/userdata/build-wheelhouse"), "-o", str(work), *pythons])
    (work / "sha256").write_text(said.rpartition("AGENT_SHA256=")[2].strip())
    shutil.rmtree(work / "sources")
    work.rename(directory)


def _bake(image: str, packed: Wheelhouse, layer: Path) -> None:
    copy = "/var/tmp/wheelhouse.tar.gz"
    with HostLab() as lab:
        host = lab.create("bake", image)
        host.put(copy, packed.archive)
        host.put("/root/install", user_data(packed, AGENT_SOURCE=copy, AGENT_START="no"), mode=0o700)
        host.run_off(f"sh /root/install && rm /root/install {copy}")
        _keep(host, layer)


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _remove_older() -> None:
    mounts = Path("/proc/self/mounts").read_text()
    for path in _cache().iterdir():
        ours = path.name.startswith(_sources_stamp()) or str(path) in mounts
        if path.is_dir() and not ours and path.stat().st_mtime < time.time() - _KEPT_FOR:
            subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)
