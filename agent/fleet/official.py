"""The official agent on a host: found, and on request replaced, with its state kept."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from agent.filesystem.durable import make_directory, remove_if_there, write_durably
from agent.fleet import places
from agent.fleet.commands import attempt, find, run
from agent.fleet.errors import FleetError, OfficialAgentError
from agent.fleet.places import Places
from agent.fleet.service_manager import ServiceManager

PACKAGE = "codedeploy-agent"
INIT_SCRIPT = "/etc/init.d/codedeploy-agent"
_UNITS = tuple(
    f"{directory}/{places.SERVICE}" for directory in ("/usr/lib/systemd/system", "/lib/systemd/system", places.UNITS)
)
_RC_LINKS = "/etc/rc*.d/[SK][0-9][0-9]codedeploy-agent"
_CRON = (
    "/etc/crontab",
    *(f"/etc/cron.{kind}/*" for kind in ("d", "hourly", "daily", "weekly", "monthly")),
    "/var/spool/cron/*",
    "/var/spool/cron/crontabs/*",
)
_BY_NAME = (
    "/etc/systemd/system/*codedeploy*.timer",
    "/usr/lib/systemd/system/*codedeploy*.timer",
    "/var/lib/amazon/ssm/packages/*CodeDeployAgent*",
)
_PLACE = rb"""^\s*["']?:?%s["']?:[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^"'\s#]+))"""


class Official(NamedTuple):
    """What there is of an official agent: the package manager and version, and files besides (unit, init script)."""

    package: str | None
    version: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        found = [f"the package {PACKAGE} {self.version} ({self.package})"] if self.package else []
        return ", ".join([*found, *self.files])


def find_official(host: Places, *, ours: Iterable[str]) -> Official | None:
    """Look for an official agent: its package, its unit, its init script; ``ours`` are files that we installed."""
    package, version = _package(host)
    seen: dict[str, str] = {}
    for path in (*_UNITS, INIT_SCRIPT):
        if path not in ours and os.path.lexists(host.at(path)):
            seen.setdefault(os.path.realpath(host.at(path)), path)
    if package is None and not seen:
        return None
    return Official(package, version, tuple(seen.values()))


def _package(host: Places) -> tuple[str | None, str]:
    query = find("dpkg-query")
    if query and os.path.isdir(host.at("/var/lib/dpkg")):
        admin = f"--admindir={host.at('/var/lib/dpkg')}"
        said = attempt([query, admin, "--show", "--showformat=${db:Status-Status} ${Version}", PACKAGE])
        status, _, version = said.output.partition(" ")
        if said.status == 0 and status not in ("not-installed", "config-files"):
            return "dpkg", version.strip()
    rpm = find("rpm")
    if rpm and (os.path.isdir(host.at("/var/lib/rpm")) or os.path.isdir(host.at("/usr/lib/sysimage/rpm"))):
        said = attempt([rpm, *_rpm_root(host), "--query", "--queryformat", "%{VERSION}-%{RELEASE}", PACKAGE])
        if said.status == 0:
            return "rpm", said.output.strip()
    return None, ""


def _rpm_root(host: Places) -> list[str]:
    return [] if host.is_host else ["--root", os.path.realpath(host.root)]


def updaters(host: Places) -> list[str]:
    """Files that look as if they install or update the official agent by themselves, now and then."""
    by_content = [
        path for pattern in _CRON for path in glob.glob(host.at(pattern)) if b"codedeploy" in _beginning(path)
    ]
    by_name = [path for pattern in _BY_NAME for path in glob.glob(host.at(pattern))]
    return ["/" + os.path.relpath(path, host.root) for path in sorted({*by_content, *by_name})]


def _beginning(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""


def remove_package(
    host: Places, official: Official, manager: ServiceManager, *, force: bool, tell: Callable[[str], None]
) -> str:
    """Stop the official agent, save its state and remove its package; give the backup's directory.

    The package's own scripts do not run, since some clean up behind themselves; clear_away() must follow. If this is
    stopped by an error or a signal, the official agent is started again. Raises OfficialAgentError while a deployment
    is in progress, unless ``force``.
    """
    busy = _in_progress(host)
    if busy and not force:
        raise OfficialAgentError(
            f"The official agent has deployments in progress: {', '.join(busy)}.",
            remedy="Wait for their end, or use --force if these are only stale files from a crash.",
        )
    ran = manager.is_active()
    manager.stop()
    _by_init_script(host, manager, "stop")
    try:
        backup = _back_up(host, official)
        tell(f"The official agent's state is saved in {backup}.")
        write_durably(host.at(places.TAKEOVER_OPEN), os.fsencode(backup))
        _remove_package(host, official, backup)
    except BaseException as error:
        if isinstance(error, FleetError):
            remove_if_there(host.at(places.TAKEOVER_OPEN))  # the package manager refused, so nothing is missing
        _start_again(host, manager, ran=ran, tell=tell)
        raise
    return backup


def _start_again(host: Places, manager: ServiceManager, *, ran: bool, tell: Callable[[str], None]) -> None:
    _by_init_script(host, manager, "start")
    try:
        if ran:
            manager.start()
            tell("The official agent is running again.")
    except FleetError as error:
        tell(f"The official agent was stopped, and does not start again: {error.message}")


def _by_init_script(host: Places, manager: ServiceManager, verb: str) -> None:
    if not manager.running and host.is_host and os.access(INIT_SCRIPT, os.X_OK):
        attempt([INIT_SCRIPT, verb])


def clear_away(host: Places, official: Official, *, tell: Callable[[str], None]) -> None:
    """Remove what is left of an official agent whose package is gone, and put its configuration and records back."""
    for path in (*official.files, *_rc_links(host)):
        if os.path.lexists(host.at(path)):
            os.unlink(host.at(path))  # a copy is in the backup
    finish_take_over(host)
    tell(f"Removed {official}.")


def _remove_package(host: Places, official: Official, backup: str) -> None:
    if official.package == "dpkg":
        _remove_with_dpkg(host, backup)
    elif official.package == "rpm":
        rpm = find("rpm") or "rpm"
        run([rpm, *_rpm_root(host), "--erase", "--noscripts", PACKAGE], purpose="remove the official package")


def finish_take_over(host: Places) -> None:
    """Put back what the package manager removed with the package, also after a take-over that was interrupted."""
    try:
        with open(host.at(places.TAKEOVER_OPEN), "rb") as file:
            backup = os.fsdecode(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return
    _put_back(host, backup)
    os.unlink(host.at(places.TAKEOVER_OPEN))


def root_dir(host: Places) -> str:
    """Where the host's configuration keeps deployments."""
    return place_in_config(host, "root_dir") or places.DEPLOYMENT_ROOT


def place_in_config(host: Places, setting: str) -> str | None:
    """A path that the configuration gives, read without YAML: a fresh host has no library for it yet."""
    for path in (places.CONFIG, places.OLD_CONFIG):
        match = re.search(_PLACE % setting.encode(), _beginning(host.at(path)), re.MULTILINE)
        if match:
            return os.path.join("/", os.fsdecode(match[1] or match[2] or match[3]))
    return None


def _in_progress(host: Places) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(host.at(root_dir(host)), "ongoing-deployment")))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _rc_links(host: Places) -> list[str]:
    return ["/" + os.path.relpath(path, host.root) for path in glob.glob(host.at(_RC_LINKS))]


def _kept(host: Places) -> tuple[str, ...]:
    """What a removal must not take away."""
    root = root_dir(host)
    return (
        places.SETTINGS_DIRECTORY,
        os.path.dirname(places.OLD_CONFIG),
        f"{root}/deployment-instructions",
        f"{root}/ongoing-deployment",
    )


def _back_up(host: Places, official: Official) -> str:
    """Copy what is small and precious; revisions are neither, and stay where they are."""
    backup = f"{places.TAKEOVER}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    os.makedirs(host.at(places.TAKEOVER), mode=0o700, exist_ok=True)
    os.makedirs(host.at(backup), mode=0o700, exist_ok=True)
    for path in (*_kept(host), places.BIN, *official.files, *_rc_links(host)):
        _copy(host.at(path), host.at(backup + path))
    return backup


def _copy(source: str, destination: str) -> None:
    """Copy a file, link or directory with modes, times and, as root, owners; what is not there is left out."""
    if not os.path.lexists(source):
        return
    os.makedirs(os.path.dirname(destination), exist_ok=True)
    if os.path.isdir(source) and not os.path.islink(source):
        os.makedirs(destination, exist_ok=True)
        for name in os.listdir(source):
            _copy(os.path.join(source, name), os.path.join(destination, name))
        shutil.copystat(source, destination)
    else:
        shutil.copy2(source, destination, follow_symlinks=False)
    if os.geteuid() == 0:
        information = os.lstat(source)
        os.chown(destination, information.st_uid, information.st_gid, follow_symlinks=False)


def _put_back(host: Places, backup: str) -> None:
    for path in _kept(host):
        saved = host.at(backup + path)
        for directory, _, names in os.walk(saved):
            for name in names:
                lost = os.path.join(host.at(path), os.path.relpath(os.path.join(directory, name), saved))
                if not os.path.lexists(lost):
                    make_directory(os.path.dirname(lost))  # for all to read, whatever the umask is
                    _copy(os.path.join(directory, name), lost)


def _remove_with_dpkg(host: Places, backup: str) -> None:
    """Remove the package without its scripts: dpkg has no option for that, so they are moved away first."""
    admin = host.at("/var/lib/dpkg")
    moved = []
    for script in ("prerm", "postrm"):
        path = os.path.join(admin, "info", f"{PACKAGE}.{script}")
        if os.path.lexists(path):
            saved = os.path.join(host.at(backup), f"{PACKAGE}.{script}")
            shutil.move(path, saved)
            moved.append((path, saved))
    root = [] if host.is_host else [f"--root={os.path.realpath(host.root)}"]
    try:
        run([find("dpkg") or "dpkg", *root, "--remove", PACKAGE], purpose="remove the official package")
    except BaseException:
        for path, saved in moved:
            shutil.move(saved, path)
        raise
