"""Install the agent on a host, upgrade it, or go back to the version before: the same steps each time.

What can fail without touching the host comes first: the wheelhouse is fetched, checked and built while the old agent,
or the official one, still runs. Each step may be repeated, so an interrupted installation is finished by the next.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import NamedTuple

from agent.filesystem.durable import make_directory, remove_if_there
from agent.fleet import manifest, official, places, versions
from agent.fleet.commands import run
from agent.fleet.errors import FleetError, OfficialAgentError, SourceError, SourceUsageError
from agent.fleet.host_lock import host_lock
from agent.fleet.placement import Placement, Tell, bin_directory_of, first_config
from agent.fleet.places import Places
from agent.fleet.service_manager import ServiceManager
from agent.fleet.wheelhouse import parse_sha256, stage


class AgentInstallOptions(NamedTuple):
    """What to install and how; see ``codedeploy-agent install --help``."""

    source: str | None = None
    sha256: str | None = None
    version: str | None = None
    root: str = "/"
    start: bool = True
    take_over: bool = False
    force: bool = False
    python: str | None = None
    bin_directory: str | None = None
    config: str | None = None
    proxy: str | None = None
    region: str | None = None


class Installed(NamedTuple):
    """What an installation came to; ``changed`` tells whether another version or unit is in use than before."""

    version: str
    previous: str | None
    changed: bool


def install(options: AgentInstallOptions, *, tell: Tell) -> Installed:
    """Install, upgrade or downgrade the agent; running it again changes nothing.

    ``tell`` is called with a sentence for each thing that a person should know. Raises FleetError; then the agent
    that was there before is still there, except where the message says otherwise.
    """
    host = Places(options.root)
    if host.is_host and os.geteuid() != 0:
        raise FleetError("Only root can install the agent on this host.", remedy="Use sudo.")
    with host_lock(host, tell):
        return _Installation(host, options, tell).run()


class _Installation:
    """One run, with what its steps share."""

    def __init__(self, host: Places, options: AgentInstallOptions, tell: Tell) -> None:
        self.host = host
        self.options = options
        self.tell = tell
        self.before = manifest.load(host)
        self.manager = ServiceManager(host)
        bin_directory = options.bin_directory or bin_directory_of(self.before)
        self.placement = Placement(host, self.before, self.manager, bin_directory=bin_directory, tell=tell)

    def run(self) -> Installed:
        official.finish_take_over(self.host)
        found = self._find_official()
        self.placement.check_bin_directory()
        name = self._obtain()
        self._check_config(name)
        config = first_config(self.host, text=self._read_config(), proxy=self.options.proxy, tell=self.tell)
        self.placement.refuse_strangers(taking_over=found is not None)
        changed = self._use(name, config) if found is None else self._take_over(found, name, config)
        previous = self._previous(name)
        return Installed(versions.version_in(name), versions.version_in(previous) if previous else None, changed)

    def _use(self, name: str, config: bytes | None) -> bool:
        """Put a version in place and start it; tell whether a running agent had to be restarted for it."""
        changed = self.placement.choose(name, previous=self._previous(name), config=config)
        self._start(name, changed)
        self._tidy(name)
        return changed

    def _take_over(self, found: official.Official, name: str, config: bytes | None) -> bool:
        """Put a version in the place of an official agent; whatever stops that half-way, it is said what runs now."""
        place = official.remove_package(self.host, found, self.manager, force=self.options.force, tell=self.tell)
        lost = "The official agent was removed already, so no agent runs on this host now."
        remedy = (
            f"Correct what the message names and repeat the installation. What the official agent had is in {place}."
        )
        try:
            official.clear_away(self.host, found, tell=self.tell)
            return self._use(name, config)
        except (FleetError, OSError) as error:
            raise FleetError(f"{error}\n{lost}", remedy=remedy) from error
        except KeyboardInterrupt:
            self.tell(f"{lost} {remedy}")
            raise

    def _find_official(self) -> official.Official | None:
        for path in official.updaters(self.host):
            self.tell(f"Warning: {path} seems to install or update the official agent by itself: remove or disable it.")
        ours = self.before.files if self.before else {}
        found = official.find_official(self.host, ours=ours)
        if found is not None and not self.options.take_over:
            raise OfficialAgentError(
                f"The official agent is installed: {found}.",
                remedy="With --take-over it is removed, and its configuration and deployments are kept.",
            )
        return found

    def _obtain(self) -> str:
        """Build the desired version, or find it among those that are there."""
        if self.options.source is None:
            return self._kept_version()
        if self.options.sha256 is None:
            raise SourceUsageError("--source needs --sha256.", remedy="build-wheelhouse prints it.")
        digest = parse_sha256(self.options.sha256)
        make_directory(self.host.at(places.VERSIONS))
        known = [name for name in versions.installed(self.host) if self._is_build_of(name, digest)]
        if known and not versions.works(self.host, known[0]):
            self.tell(f"Version {versions.version_in(known[0])} is there but does not run, and is built anew.")
            versions.spoil(self.host, known[0])
            known = []
        if known:
            self._check_version(versions.version_in(known[0]))
            return known[0]
        staging = os.path.join(self.host.at(places.VERSIONS), ".wheelhouse")
        shutil.rmtree(staging, ignore_errors=True)
        os.mkdir(staging, 0o700)
        try:
            wheelhouse = stage(self._fetch(staging, digest), sha256=digest, into=staging)
            self._check_version(wheelhouse.version)
            self.tell(f"Building version {wheelhouse.version} with {versions.describe_python()}.")
            return versions.build(self.host, wheelhouse, python=_interpreter(self.options.python))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(f"{staging}.download", ignore_errors=True)

    def _is_build_of(self, name: str, digest: str) -> bool:
        with open(os.path.join(versions.directory(self.host, name), ".complete"), encoding="ascii") as file:
            return file.read().strip() == digest

    def _fetch(self, staging: str, digest: str) -> str:
        source = self.options.source or ""
        if "://" not in source:
            return os.path.abspath(source)
        from agent.fleet.download import download  # a host that is given a file needs no library for it

        directory = f"{staging}.download"
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o700)
        path = os.path.join(directory, "wheelhouse.tar.gz")
        download(source, path, region=self.options.region, proxy=self.options.proxy)
        return path

    def _check_version(self, version: str) -> None:
        if self.options.version not in (None, version):
            raise SourceError(f"The wheelhouse holds version {version}, and {self.options.version} was asked for.")

    def _kept_version(self) -> str:
        there = versions.installed(self.host)
        fitting = [name for name in there if self.options.version in (name, versions.version_in(name))]
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(sorted(there)) or "none"
        error = SourceError if self.options.version else SourceUsageError
        raise error(
            f"Without --source, --version must name one of the versions that are there: {listed}.",
            remedy="A source is a wheelhouse: a directory, a .tar.gz, or an https:// or s3:// address of one.",
        )

    def _check_config(self, name: str) -> None:
        if self.options.config is not None:
            command = os.path.join(versions.directory(self.host, name), "bin", places.PROGRAMS[0])
            run([command, "settings", "--config-file", os.path.abspath(self.options.config)], purpose="use --config")

    def _read_config(self) -> bytes | None:
        if self.options.config is None:
            return None
        with open(self.options.config, "rb") as file:
            return file.read()

    def _start(self, name: str, changed: bool) -> None:
        if not self.options.start:
            return
        if not self.manager.running:
            self.tell("There is no running systemd here: the agent was not started.")
            return
        try:
            if changed or self.host.holder(places.RESTART_DUE):
                self.manager.restart()
            else:
                self.manager.start()
            remove_if_there(self.host.at(places.RESTART_DUE))
        except FleetError as error:
            raise self._gone_back(name, error) from error

    def _gone_back(self, name: str, error: FleetError) -> FleetError:
        """Start the version before again, if there is one and it is not the one that failed."""
        old = self.before.name if self.before else None
        if old in (None, name) or not versions.is_complete(self.host, str(old)):
            return error
        self.tell(f"Version {versions.version_in(name)} does not start; going back to {versions.version_in(str(old))}.")
        self.placement.choose(str(old), previous=self._previous(str(old)), config=None)
        self.manager.restart()
        remove_if_there(self.host.at(places.RESTART_DUE))
        return FleetError(f"{error.message}\nThe version before is in use again.", remedy=error.remedy)

    def _previous(self, name: str) -> str | None:
        if self.before is None or self.before.name == name:
            return self.before.previous if self.before else None
        return self.before.name

    def _tidy(self, name: str) -> None:
        keep = {name, self._previous(name) or name}
        for gone in versions.prune(self.host, keep):
            self.tell(f"Removed the old version {versions.version_in(gone)}.")


def _interpreter(named: str | None) -> str:
    """The Python to build with: the named one, or ours, but never that of a virtual environment, which may go away."""
    if named is not None:
        return os.path.abspath(named) if "/" in named else named
    return str(getattr(sys, "_base_executable", sys.executable))
