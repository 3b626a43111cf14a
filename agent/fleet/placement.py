"""The installed agent's files and links outside its versions: unit, first configuration, commands, manual."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable

from agent.filesystem.durable import make_directory, write_durably
from agent.filesystem.reasons import place_and_reason
from agent.fleet import manifest, places, versions
from agent.fleet.errors import FleetError
from agent.fleet.manifest import Manifest
from agent.fleet.places import Places
from agent.fleet.service_manager import ServiceManager

Tell = Callable[[str], None]

RESTART_STEPS_SINCE = 254
"""The version of systemd that knows RestartSteps."""

_CONFIG_TEXT = """\
---
# Written once by "codedeploy-agent install", and yours from then on.
# "codedeploy-agent settings" shows every setting and what it means.
:log_dir: /var/log/aws/codedeploy-agent
:wait_between_runs: 1
"""


def first_config(host: Places, *, text: bytes | None, proxy: str | None, tell: Tell) -> bytes | None:
    """The configuration that a host without one gets: ``text``, or a few lines; None where it has one already.

    A configuration counts at either of the two places where the agent looks for it.
    """
    there = [path for path in (places.CONFIG, places.OLD_CONFIG) if host.holder(path)]
    if there:
        if text is not None or proxy is not None:
            tell(f"{there[0]} is there already and stays as it is.")
        return None
    if text is not None:
        return text
    if proxy and any(character in proxy for character in "'\n\r"):
        raise FleetError("--proxy has a quote or a line end in it.", remedy="Percent-encode it.")
    return (_CONFIG_TEXT + (f":proxy_uri: '{proxy}'\n" if proxy else "")).encode()


def bin_directory_of(before: Manifest | None) -> str:
    """Where an installation has its links for the PATH; the usual directory where there is none."""
    commands = set(before.links) - set(places.SHARED) if before else set()
    directories = {os.path.dirname(link) for link in commands} - {places.BIN}
    return min(directories, default="/usr/local/bin")


class Placement:
    """Puts one version's files and links in place; ``before`` is the installation that is replaced."""

    def __init__(
        self, host: Places, before: Manifest | None, manager: ServiceManager, *, bin_directory: str, tell: Tell
    ) -> None:
        self._host = host
        self._before = before or Manifest("")
        self._manager = manager
        self._bin_directory = bin_directory
        self._tell = tell

    def _links(self) -> dict[str, str]:
        links = {f"{places.BIN}/{program}": f"{places.CURRENT}/bin/{program}" for program in places.PROGRAMS}
        links |= {f"{self._bin_directory}/{program}": f"{places.BIN}/{program}" for program in places.PROGRAMS}
        return {link: self._host.link_target(link, path) for link, path in links.items()}

    def _shared_links(self, name: str) -> dict[str, str]:
        """Return the links to a version's manual and completions; what another package has there stays."""
        brought = versions.directory(self._host, name)
        links = {}
        for link, path in places.SHARED.items():
            target = self._host.link_target(link, f"{places.CURRENT}/{path}")
            if not os.path.isfile(os.path.join(brought, path)):
                continue  # versions before these pages have none
            if self._host.holder(link) and not _leads_to(self._host.at(link), target):
                self._tell(f"Warning: something else is at {link}, and stays there.")
            else:
                links[link] = target
        return links

    def check_bin_directory(self) -> None:
        """Refuse a directory for the commands that would make them lead to themselves. Raises FleetError."""
        directory = self._bin_directory
        if not os.path.isabs(directory) or f"{os.path.normpath(directory)}/".startswith(f"{places.HOME}/"):
            raise FleetError(
                f"--bin-directory is {directory}.",
                remedy=f"Name an absolute path outside {places.HOME}, such as /usr/bin.",
            )

    def refuse_strangers(self, *, taking_over: bool) -> None:
        """Stop before anything is replaced that somebody else has put where our links go. Raises FleetError.

        What an official agent has in its own directory goes away with it. A masked unit is an administrator's no.
        """
        if os.path.realpath(self._host.at(places.UNIT)) == os.devnull:
            raise FleetError(
                f"The service is masked: {places.UNIT} leads to {os.devnull}.",
                remedy=f"If it is to run here, use systemctl unmask {places.SERVICE} first.",
            )
        known = self._before.links
        strangers = [
            link
            for link, target in self._links().items()
            if self._host.holder(link)
            and not (link in known and _leads_to(self._host.at(link), known[link]))
            and not _leads_to(self._host.at(link), target)
            and not (taking_over and os.path.dirname(link) == places.BIN)
        ]
        if strangers:
            raise FleetError(
                f"Something else is where the agent's commands go: {', '.join(strangers)}.",
                remedy="Move it away, or choose another directory with --bin-directory.",
            )

    def choose(self, name: str, *, previous: str | None, config: bytes | None) -> bool:
        """Write files and links, and make a version the current one.

        Tells whether a running agent must be restarted for it. The manifest names everything before the first of it
        is made, so that a half installation can be removed too. Raises FleetError and OSError.
        """
        units = self._units(name)
        written = {**units, **({places.CONFIG: config} if config is not None else {})}
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in written.items()}
        if places.CONFIG in self._before.files:
            digests.setdefault(places.CONFIG, self._before.files[places.CONFIG])
        links, shared = self._links(), self._shared_links(name)
        directories = (*self._before.directories, *self._missing_directories(shared))
        after = Manifest(name, previous, digests, links | shared, tuple(dict.fromkeys(directories)))
        manifest.save(self._host, after.union(self._before))
        changed = versions.current(self._host) != name or any(self._differs(path, units[path]) for path in units)
        if changed:
            write_durably(self._host.at(places.RESTART_DUE), b"")
        for path, data in units.items():
            self._write(path, data)
        if config is not None:
            self._write(places.CONFIG, config, mode=0o600 if b"@" in config else 0o644)
        self._make_links(links)
        after = after._replace(links=links | self._make_shared_links(shared))
        versions.switch(self._host, name)
        self._remove_what_is_no_longer(after)
        self._before = after
        manifest.save(self._host, after)
        self._manager.reload()
        self._manager.enable()
        return changed

    def _units(self, name: str) -> dict[str, bytes]:
        desired = {places.UNIT: places.SERVICE}
        if self._manager.version() >= RESTART_STEPS_SINCE:
            desired[places.RESTART_STEPS] = "restart-steps.conf"
        units = {}
        for path, kept in desired.items():
            there = os.path.join(versions.directory(self._host, name), versions.SYSTEMD, kept)
            if os.path.exists(there):
                with open(there, "rb") as file:
                    units[path] = file.read()
        return units

    def _differs(self, path: str, data: bytes) -> bool:
        try:
            with open(self._host.at(path), "rb") as file:
                return file.read() != data
        except FileNotFoundError:
            return True

    def _write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file whole, if it is another one. What was changed by hand is saved beside it."""
        there = self._host.at(path)
        if not self._differs(path, data):
            return
        save_if_changed(self._host, path, self._before.files.get(path), self._tell)
        make_directory(os.path.dirname(there))
        write_durably(there, data, mode=mode)

    def _missing_directories(self, links: Iterable[str]) -> list[str]:
        """Return the directories that links still need, the outer ones first."""
        missing = set()
        for link in links:
            directory = os.path.dirname(link)
            while not self._host.holder(directory):
                missing.add(directory)
                directory = os.path.dirname(directory)
        return sorted(missing)

    def _make_shared_links(self, links: dict[str, str]) -> dict[str, str]:
        """Make the links that can be made, and return them; an agent works without its manual."""
        made = {}
        for link, target in links.items():
            try:
                self._make_links({link: target})
                made[link] = target
            except OSError as error:
                self._tell(f"Warning: {place_and_reason(error)}, so {link} is not there.")
        return made

    def _make_links(self, links: dict[str, str]) -> None:
        for path, target in links.items():
            link = self._host.at(path)
            if not _leads_to(link, target):
                make_directory(os.path.dirname(link))
                temporary = f"{link}.new~"
                if os.path.lexists(temporary):
                    os.unlink(temporary)
                os.symlink(target, temporary)
                os.rename(temporary, link)

    def _remove_what_is_no_longer(self, after: Manifest) -> None:
        before = after.union(self._before)
        for path in {*before.files, *before.links} - {*after.files, *after.links}:
            there = self._host.at(path)
            if path in before.links and not _leads_to(there, before.links[path]):
                continue  # somebody else's by now
            if path in before.files:
                save_if_changed(self._host, path, before.files[path], self._tell)
            if os.path.lexists(there):
                os.unlink(there)


def save_if_changed(host: Places, path: str, digest: str | None, tell: Tell) -> None:
    """Copy a file that is about to go, if it is not the one that was written: somebody has put work into it."""
    there = host.at(path)
    if not os.path.isfile(there):
        return
    with open(there, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    # A version's own, which an interrupted upgrade has put there, is nobody's work either.
    if found != digest and found not in versions.units(host):
        shutil.copy2(there, f"{there}.saved")
        tell(f"{path} was changed by hand: it goes, and is saved as {path}.saved. Use a drop-in.")


def _leads_to(link: str, target: str) -> bool:
    return os.path.islink(link) and os.readlink(link) == target
