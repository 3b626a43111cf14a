"""A host whose disks are images. A power cut keeps what was synced, and loses what only memory held.

The cut is a copy of the images: what the page cache of the file systems in them holds has not been written to them. The
copies are mounted in the place of the originals, and it is another boot. To be used in a process with mounts of its
own, as root.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from agent.daemon.orphans import take_over_tracked
from agent.store.commands import CommandDirectory, key_of
from agent_host import revision, specification
from command_service import HOST, CommandService
from guards import TOOL_PATH
from install_trace import Call, Fault
from worker_runs import WorkerHost

GROUP = "group-1"
EVENTS = ("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ValidateService")
MOUNTED = "conf"

# So that nothing but a sync writes to the image: no commit by the clock, and no tables made later.
_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-N", "32768", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
_OPTIONS = {"ext4": "loop,commit=3600", "xfs": "loop"}
_SIZE = 320 * 1024 * 1024  # XFS wants 300
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
Content = Mapping[str, str]


class PowerHost:
    """``disk`` holds the agent's root directory and the destination; ``conf`` in that is a file of ``other``."""

    def __init__(self, top: str, kind: str, service: CommandService) -> None:
        self.top = top
        self.service = service
        self._kind = kind
        for name in ("disk", "other"):
            os.makedirs(f"{top}/{name}")
            with open(f"{top}/{name}.img", "wb") as image:
                image.truncate(_SIZE)
            _system(*_MAKE[kind], f"{top}/{name}.img")
        self._mount(bind=False)
        os.makedirs(self.destination)
        for path in (f"{top}/other/{MOUNTED}", f"{self.destination}/{MOUNTED}"):
            with open(path, "w", encoding="ascii") as file:
                file.write("from before")
        _system("mount", "--bind", f"{top}/other/{MOUNTED}", f"{self.destination}/{MOUNTED}")
        self.host = WorkerHost(f"{top}/disk", service)
        self.sync()

    @property
    def destination(self) -> str:
        return f"{self.top}/disk/srv/app"

    def archive(self, deployment: str) -> str:
        """The unpacked revision of a deployment."""
        return self.host.layout.archive(self.host.layout.deployment(GROUP, deployment))

    def specification(self, deployment: str, files: Content) -> dict[str, Any]:
        """Make a revision with these files; it is not on the images."""
        directory = Path(self.top, f"revision-{deployment}")
        hooks = {"BeforeInstall": ":", "AfterInstall": ":"}
        revision(directory, hooks, files={**files, MOUNTED: deployment}, to=Path(self.destination))
        return specification(directory, deployment=deployment, group=GROUP)

    def run(self, event: str, desired: dict[str, Any]) -> str:
        """Do one command to its end; return its status."""
        command = self.host.take_on(event, desired)
        self.host.work(command)
        return self.status(command)

    def watch(self, event: str, desired: dict[str, Any]) -> list[Call]:
        """Do one command to its end; return the calls of its worker."""
        return self.host.work(self.host.take_on(event, desired), watched=True)

    def cut_within(self, event: str, desired: dict[str, Any], faults: Sequence[Fault]) -> CommandDirectory:
        """Begin a command, and cut the power when a fault kills its worker."""
        command = self.host.take_on(event, desired)
        self.host.work(command, faults=faults)
        self.cut()
        return command

    def status(self, command: CommandDirectory) -> str:
        """How the service was told that a command has ended; it must be one way only."""
        told = {
            body["CommandStatus"]
            for body in self.service.of("accepted")
            if key_of(body["HostCommandIdentifier"]) == command.key
        }
        return " and ".join(sorted(told))

    def cut(self) -> None:
        """Cut the power, and boot again: the supervisor brings to an end what was begun."""
        self._kill_all()
        self.save("cut")
        self.restore("cut")
        self.boot()

    def boot(self) -> None:
        """Do what a supervisor does at its start."""
        self.host.store.sweep()
        take_over_tracked(self.host.store, self.host.layout, host_identifier=HOST)
        self.host.run("agent.worker.recovery", given=json.dumps(self.host.settings._asdict()).encode())
        for command in self.host.store:
            self.host.work(command)

    def save(self, name: str) -> None:
        """Copy the images as they are now."""
        for disk in ("disk", "other"):
            _system("cp", "--sparse=always", f"{self.top}/{disk}.img", f"{self.top}/{disk}.{name}")

    def restore(self, name: str) -> None:
        """Mount copies of the images in their place, in a new boot."""
        self._unmount()
        for disk in ("disk", "other"):
            _system("cp", "--sparse=always", f"{self.top}/{disk}.{name}", f"{self.top}/{disk}.img")
        self._mount()

    def sync(self) -> None:
        """Write everything to the images."""
        for disk in ("disk", "other"):
            _system("sync", "-f", f"{self.top}/{disk}")

    def _mount(self, *, bind: bool = True) -> None:
        for disk in ("disk", "other"):
            _system("mount", "-o", _OPTIONS[self._kind], f"{self.top}/{disk}.img", f"{self.top}/{disk}")
        if bind:
            _system("mount", "--bind", f"{self.top}/other/{MOUNTED}", f"{self.destination}/{MOUNTED}")
        with open(f"{self.top}/boot", "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
        _system("mount", "--bind", f"{self.top}/boot", _BOOT_ID)

    def _unmount(self) -> None:
        for path in (_BOOT_ID, f"{self.destination}/{MOUNTED}", f"{self.top}/disk", f"{self.top}/other"):
            _system("umount", path)

    def _kill_all(self) -> None:
        """End what a killed worker has left: helper processes, a script and what watches it."""
        left = [one for one in psutil.process_iter() if one.pid != os.getpid() and self._is_ours(one)]
        for process in left:
            process.kill()
        psutil.wait_procs(left)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return any(self.top in word for word in process.cmdline())
        except psutil.Error:
            return False


def _system(*command: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, "PATH": TOOL_PATH})
