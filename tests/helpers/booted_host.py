"""Hosts that really boot, with systemd as process 1, for tests of what happens to a whole machine.

A lab makes them (host_lab). A host is a container of systemd-nspawn on an overlay over an image (host_images), in the
network of its lab (host_network). It shares the kernel with the machine, and so the clock: never set it inside.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import testinfra.host

import host_leftovers
from host_network import HostNetwork
from testinfra_backend import BootedHostBackend
from waiting import TIMEOUT, Guard, until

_REBOOT_DESIRED = 133  # how systemd-nspawn ends when its host asked for a reboot
_ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_NSPAWN_ENVIRONMENT = {
    **_ENVIRONMENT,
    # As on the real releases, whatever this machine has: control groups of version 2, and a /tmp of its own choice.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    "UNIFIED_CGROUP_HIERARCHY": "1",  # what older versions call it
    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
}
# Puts itself into the control groups named before "--", then becomes the command after it.
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


class HostError(AssertionError):
    """A host did not do what the test asked of it."""


class Result(NamedTuple):
    """How a command ended inside a host."""

    status: int
    stdout: str
    stderr: str


class BootedHost:
    """One host of a lab, switched on or off."""

    def __init__(
        self,
        name: str,
        lower: Sequence[Path],
        *,
        lab: Path,
        network: HostNetwork,
        disk: str,
        read_only: Mapping[str, Path],
    ) -> None:
        """Mount the host's root directory and lay its cable, for HostLab.create(); ``lab`` is the lab's directory."""
        self.name = name
        self.machine = f"{lab.name}-{name}"
        self._network = network
        self._directory = lab / name
        self._cgroups = [parent / self.machine for parent in host_leftovers.cgroup_parents()]
        self._read_only = dict(read_only)
        self.lower = list(lower)
        """What the host's disk lies over, the topmost first; the image comes last."""
        self._process: subprocess.Popen[bytes] | None = None
        self.root = self._directory / "root"
        """The host's root directory as this machine sees it, also while the host is off. Without its mounts."""
        self._mount(lower, disk)
        self.address, self.mac = self._network.attach(self.machine)
        self.put("/etc/hostname", f"{name}\n")
        self.put("/etc/hosts", f"127.0.0.1 localhost\n{self.address} {name}\n")

    def _mount(self, lower: Sequence[Path], disk: str) -> None:
        space = self._directory / "disk"
        for path in (self.root, space):
            path.mkdir(parents=True)
        _outside("mount", "-t", "tmpfs", "-o", f"size={disk},mode=755", "test-host", str(space))
        (space / "upper").mkdir()
        (space / "work").mkdir()
        layers = ":".join(map(str, lower))
        options = f"lowerdir={layers},upperdir={space}/upper,workdir={space}/work"
        _outside("mount", "-t", "overlay", "-o", options, "test-host", str(self.root))

    # -- on and off

    def start(self, *, wait: bool = True) -> None:
        """Switch the host on; with ``wait``, until systemd says that it is running with no failed unit.

        To be called by a test's main thread: when that ends, hosts are told to power off.
        """
        assert not self.is_on, f"{self.name} is on already"
        for group in self._cgroups:
            host_leftovers.remove_cgroup(group)
            group.mkdir()
        binds = [f"--bind-ro={outside}:{inside}" for inside, outside in self._read_only.items()]
        namespace = f"/run/netns/{self.machine}"
        nspawn = [
            *("systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.machine}"),
            *(f"--hostname={self.name}", f"--network-namespace-path={namespace}"),
            *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            *("--capability=CAP_NET_ADMIN", "--console=pipe", *binds, "--boot"),
        ]
        # systemd-nspawn mounts /sys before it goes where --network-namespace-path leads: without nsenter the host would
        # see the machine's network devices there.
        joined = ["sh", "-c", _JOIN, "sh", *map(str, self._cgroups), "--", "nsenter", f"--net={namespace}", *nspawn]
        with open(self._directory / "console", "ab") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *joined],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=_NSPAWN_ENVIRONMENT,
            )
        if wait:
            self.wait_until_running()

    def wait_until_running(self) -> None:
        """Wait until the boot has ended, which it must without a failed unit."""
        guard = Guard()
        state = "not started"
        while state != "running":
            if guard.has_hung or state == "degraded" or not self.is_on:
                failed = self.run("systemctl --failed --no-legend", check=False).stdout if self._leader() else ""
                raise HostError(f"{self.name} did not boot: {state}\n{failed}{self.console()}")
            if self._leader():
                state = self.run("systemctl is-system-running", check=False).stdout.strip() or state
            if state != "running":
                time.sleep(0.05)

    def wait_until_off(self) -> bool:
        """Wait until the host has gone down by itself; tells whether it wants to be started again."""
        process = self._process
        assert process, f"{self.name} was never started"
        until(lambda: process.poll() is not None, f"the end of {self.name}")
        return process.returncode == _REBOOT_DESIRED

    def reboot(self) -> None:
        """Reboot in order, and wait until the host is up again."""
        self.run("systemctl reboot", check=False)  # may be ended by its own success
        if not self.wait_until_off():
            raise HostError(f"{self.name} went down without asking for a reboot\n{self.console()}")
        self.start()

    def poweroff(self) -> None:
        """Shut down in order; start() switches the host on again."""
        self.run("systemctl poweroff", check=False)
        if self.wait_until_off():
            raise HostError(f"{self.name} rebooted where it should have gone off")

    def power_cut(self, *, restore: bool = True) -> None:
        """End everything in the host at once; with ``restore``, boot it again from the same disk.

        What was written but not synced is kept, other than on a real machine: the kernel goes on.
        """
        os.kill(self.leader, signal.SIGKILL)
        self.wait_until_off()
        host_leftovers.kill_all(self._cgroups)
        if restore:
            self.start()

    def forget_process(self) -> None:
        """Collect the ended process of a host that was removed."""
        if self._process:
            self._process.wait()

    @property
    def written(self) -> Path:
        """The directory with what this host has that its image has not, which can be a layer of another; it is off."""
        assert not self.is_on, f"{self.name} is on"
        return self._directory / "disk" / "upper"

    def unplug(self) -> None:
        """Pull the network cable out."""
        self._network.set_cable(self.machine, plugged=False)

    def plug(self) -> None:
        """Put the network cable back."""
        self._network.set_cable(self.machine, plugged=True)

    def resize_disk(self, size: str) -> None:
        """Change how much may be written to the host's disk, as in tmpfs(5)."""
        _outside("mount", "-o", f"remount,size={size}", str(self._directory / "disk"))

    # -- inside

    def run(
        self, command: str | Sequence[str], *, stdin: bytes = b"", timeout: float = TIMEOUT, check: bool = True
    ) -> Result:
        """Run a shell command line, or a program with its arguments, as root inside the host.

        Raises HostError when it ends with another status than 0, unless ``check`` is off, and when it does not end in
        ``timeout`` seconds of a quiet machine.
        """
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *words]
        joined = ["sh", "-c", _JOIN, "sh", *map(str, self._command_groups()), "--", *inside]
        done = self._ended(joined, stdin, Guard(timeout))
        result = Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        if check and result.status != 0:
            raise HostError(f"{self.name}: {command} ended with {result.status}\n{result.stdout}{result.stderr}")
        return result

    def _ended(self, command: list[str], stdin: bytes, guard: Guard) -> subprocess.CompletedProcess[bytes]:
        pipe = subprocess.PIPE
        given: bytes | None = stdin
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=_ENVIRONMENT) as process:
            while True:
                try:
                    output, errors = process.communicate(given, timeout=1)
                    return subprocess.CompletedProcess(command, process.returncode, output, errors)
                except subprocess.TimeoutExpired as error:
                    given = None  # which is on its way
                    if guard.has_hung:
                        process.kill()
                        seen = (error.stdout or b"") + (error.stderr or b"")
                        raise HostError(f"{self.name}: {command} does not end\n{seen.decode()}") from None

    def put(self, path: str, content: str | bytes | Path, *, mode: int = 0o644) -> None:
        """Write a file there, or copy a file or a whole directory of this machine; the host may be off.

        Directories above it are made. A copied directory keeps its modes.
        """
        if isinstance(content, Path) and content.is_dir():
            script, arguments = 'mkdir -p "$1" && tar -x --no-same-owner -C "$1"', [path]
            data = subprocess.run(["tar", "-c", "-C", str(content), "."], check=True, capture_output=True).stdout
        else:
            script, arguments = 'mkdir -p "${1%/*}" && cat >"$1" && chmod "$2" "$1"', [path, f"{mode:o}"]
            data = content.read_bytes() if isinstance(content, Path) else _bytes(content)
        command = ["/bin/sh", "-c", script, "sh", *arguments]
        if self.is_on:
            self.run(command, stdin=data)
        else:
            self.run_off(command, stdin=data)

    def run_off(self, command: str | Sequence[str], *, stdin: bytes = b"") -> None:
        """Run a command in the root directory of a host that is off, as an image builder would: without its network."""
        assert not self.is_on, f"{self.name} is on: use run()"
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        _outside("unshare", "--net", "chroot", str(self.root), *words, stdin=stdin)

    @cached_property
    def testinfra(self) -> testinfra.host.Host:
        """The host as pytest-testinfra sees it."""
        backend = BootedHostBackend(self)
        found = testinfra.host.Host(backend)
        backend.set_host(found)
        return found

    # -- what it is like

    @property
    def is_on(self) -> bool:
        """Whether the host has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def leader(self) -> int:
        """This machine's process id of the host's process 1."""
        found = self._leader()
        if not found:
            raise HostError(f"{self.name} is off\n{self.console()}")
        return found

    @property
    def boot_id(self) -> str:
        """The kernel's name for this boot, which is another one after each start."""
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    def memory(self) -> int:
        """Bytes that all of the host's processes use together, each shared page counted once (PSS)."""
        total = 0
        for pid in host_leftovers.cgroup_processes(group / "payload" for group in self._cgroups):
            with suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total * 1024

    def journal(self) -> str:
        """The journal of all boots, also while the host is off."""
        directory = self.root / "var/log/journal"
        command = ["journalctl", "--no-pager", "--quiet", "--output=short-precise", f"--directory={directory}"]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", env=_ENVIRONMENT).stdout

    def console(self) -> str:
        """What systemd-nspawn and the host's console have said."""
        path = self._directory / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def _leader(self) -> int:
        """The host's process 1, or 0 while there is none."""
        if not self.is_on or self._process is None:
            return 0
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                status = Path(f"/proc/{child}/status").read_text()
                if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
                    return int(child)
        return 0

    def _command_groups(self) -> list[Path]:
        """Control groups for commands of the test, so that they belong to the host and go when it is killed."""
        groups = [group / "payload" / "test-commands" for group in self._cgroups]
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
        return groups


def _outside(*command: str, stdin: bytes = b"") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, env=_ENVIRONMENT)
    if done.returncode != 0:
        raise HostError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
