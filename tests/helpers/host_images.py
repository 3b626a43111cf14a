"""Root directories of Debian releases that test hosts boot from, made once by debootstrap and kept outside the project.

They are kept in ``$CODEDEPLOY_TEST_IMAGES``, else below ``$XDG_CACHE_HOME``, else below /var/cache.
Packages come from ``$CODEDEPLOY_TEST_MIRROR``, else from the Debian mirror that this machine's apt uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    "acl",
    "ca-certificates",
    "dbus",
    "iproute2",
    "python3",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# debootstrap does not see that python3-cryptography wants one of those that provide the backend's interface.
CLOUD_INIT = ("cloud-init", "python3-cffi-backend")
# What gives an account that logs in a session of its own.
SESSIONS = ("dbus-user-session", "libpam-systemd")

_RECIPE = 1  # to be raised when _finish() does something else: images made before are then made anew
# The hosts have their network already, no sshd, and no locale but this one.
_CLOUD_INIT_SETTINGS = "network: {config: disabled}\nssh_genkeytypes: []\nlocale: C.UTF-8\n"
_APT = Path("/etc/apt")
# A name for each Debian release, and those that move from one release to the next.
_SUITES = {"bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}


class ImageError(Exception):
    """A root directory could not be made; the message ends with debootstrap's last lines."""


class Image(NamedTuple):
    """What is to be in a root directory."""

    release: str
    """Debian's name for the release, such as ``bookworm``."""
    variant: str = "plain"
    packages: tuple[str, ...] = PACKAGES

    @property
    def stamp(self) -> str:
        """A directory name that is another one as soon as the image would be another one."""
        recipe = json.dumps([_RECIPE, self.release, sorted(self.packages)])
        return f"{self.release}-{self.variant}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


IMAGES = {
    "debian12": Image("bookworm", packages=(*PACKAGES, "libfaketime")),
    "debian12-accounts": Image("bookworm", "accounts", (*PACKAGES, *SESSIONS, "fish", "tcsh")),
    "debian13": Image("trixie"),
    "debian12-haproxy": Image("bookworm", "haproxy", (*PACKAGES, "haproxy")),
    "debian12-cloud-init": Image("bookworm", "cloud-init", (*PACKAGES, *CLOUD_INIT)),
    "debian13-cloud-init": Image("trixie", "cloud-init", (*PACKAGES, *CLOUD_INIT)),
}


def image_directory(name: str | Image) -> Path:
    """Return the root directory of an image, after making it when it is not there yet.

    Processes that want the same one wait for the first. A directory under its final name is whole.
    """
    image = IMAGES[name] if isinstance(name, str) else name
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    final = cache / image.stamp
    with _locked(cache / f"{image.release}-{image.variant}.lock"):
        if not final.is_dir():
            _make(image, final)
            _remove_older(image, cache)
    return final


def cache_directory() -> Path:
    """Where the images are kept."""
    own = os.environ.get("CODEDEPLOY_TEST_IMAGES")
    if own:
        return Path(own).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "codedeploy-test-hosts"


class Mirror(NamedTuple):
    """Where Debian packages are fetched from."""

    address: str
    keyring: str = ""
    """The file with the keys that its releases are signed with, where apt names one."""

    @property
    def options(self) -> list[str]:
        """What debootstrap has to be told besides the address."""
        return [f"--keyring={self.keyring}"] if self.keyring.endswith((".gpg", ".pgp")) else []


class _Source(NamedTuple):
    address: str
    suites: set[str]
    signed_by: str


def mirror(apt: Path = _APT) -> Mirror:
    """Return the first Debian mirror that this machine's apt takes a whole release from.

    Raises ImageError on a machine that uses none, such as one of another distribution.
    """
    own = os.environ.get("CODEDEPLOY_TEST_MIRROR")
    if own:
        return Mirror(own)
    for source in _sources(apt):
        for address in _addresses(source.address) if source.suites & _SUITES else []:
            if address.startswith(("http://", "https://", "file:/")):
                return Mirror(address, source.signed_by if source.signed_by.startswith("/") else "")
    raise ImageError(f"The sources in {apt} name no Debian mirror. Set CODEDEPLOY_TEST_MIRROR to the address of one.")


def _addresses(address: str) -> list[str]:
    """Return an address, or those in the list that a "mirror+file:" address leads to, as on cloud images."""
    listed = address.removeprefix("mirror+file:")
    if listed == address:
        return [address]
    path = Path("/" + listed.lstrip("/"))
    lines = path.read_text().splitlines() if path.is_file() else []
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def _sources(apt: Path) -> Iterator[_Source]:
    """Yield each address that apt's files name, with the suites that are taken from it."""
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            yield from _one_line_sources(path.read_text())
    for path in sorted(parts.glob("*.sources")):
        yield from _deb822_sources(path.read_text())


def _one_line_sources(text: str) -> Iterator[_Source]:
    for line in text.splitlines():
        words = re.sub(r"\[.*?\]", "", line.split("#")[0]).split()
        if words[:1] == ["deb"] and len(words) >= 3:
            signed_by = re.search(r"\[[^]]*\bsigned-by=([^]\s,]+)", line)
            yield _Source(words[1], {words[2]}, signed_by[1] if signed_by else "")


def _deb822_sources(text: str) -> Iterator[_Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if not line[:1].isspace():
                key = line.partition(":")[0].lower()
                line = line.partition(":")[2]
            fields[key] = f"{fields.get(key, '')} {line.strip()}"
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").strip().lower() != "no":
            for address in fields.get("uris", "").split():
                signed_by = fields.get("signed-by", "").split()
                yield _Source(address, set(fields.get("suites", "").split()), signed_by[0] if signed_by else "")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(image: Image, final: Path) -> None:
    partial = final.with_name(final.name + ".partial")
    _remove(partial)
    log = final.with_name(final.name + ".log")
    # debootstrap mounts within the directory that it fills. In namespaces of its own, which end with this process, it
    # leaves no mount behind, whatever happens, for the next one's removal of a partial directory to run into.
    wrapped = shlex.split("setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc")
    source = mirror()
    desired = [f"--include={','.join(image.packages)}", image.release, str(partial), source.address]
    command = [*wrapped, "debootstrap", "--variant=minbase", *source.options, *desired]
    with open(log, "wb") as output:
        status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment())
    if status != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ImageError(f"{shlex.join(command)} ended with {status}:\n{last}\n(all of it is in {log})")
    _finish(partial)
    os.sync()  # a directory under its final name is whole, even after the machine's own power cut
    partial.rename(final)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **kept}


def _finish(root: Path) -> None:
    """Take away what belongs to the machine that made the image."""
    for name in ("etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    # Empty, not missing: each host then gets an id of its own, without systemd's first-boot presets.
    machine_id = root / "etc/machine-id"
    if machine_id.exists():
        machine_id.chmod(0o644)
        machine_id.write_bytes(b"")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    if (root / "etc/cloud").is_dir():
        (root / "etc/cloud/cloud.cfg.d/90-test-hosts.cfg").write_text(_CLOUD_INIT_SETTINGS)
    for path in [*(root / "var/cache/apt/archives").glob("*.deb"), *(root / "var/lib/apt/lists").glob("*_*")]:
        path.unlink()


def _remove_older(image: Image, cache: Path) -> None:
    """Remove what an earlier package list made, unless a host runs from it."""
    mounts = Path("/proc/self/mounts").read_text()
    for path in cache.glob(f"{image.release}-{image.variant}-*"):
        if path.is_dir() and path.name != image.stamp and str(path) not in mounts:
            _remove(path)


def _remove(path: Path) -> None:
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)
