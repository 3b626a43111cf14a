"""What tests need of a machine, found out by trying it: a right that is there by name alone helps no test.

``@pytest.mark.needs("mount")`` and ``@pytest.mark.needs_tool("tar")`` ask before a test, ``require()`` asks within one.
Each probe runs once in a process, when the first test asks, and leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TOOL_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
AWS = Path(__file__).resolve().parents[2] / ".venv-aws/bin/aws"

_OTHER = 12345  # the number of a user and group other than the test's own
_GIVE_AWAY = (
    f"import os, sys; os.mkdir(sys.argv[1], 0o700); os.chown(sys.argv[1], {_OTHER}, {_OTHER}); os.listdir(sys.argv[1])"
)
_BECOME = f"import os; os.setgroups([]); os.setgid({_OTHER}); os.setuid({_OTHER})"
_DEVICE = "import os, sys; os.mknod(sys.argv[1], 0o20600, os.makedev(1, 3))"
_LABEL = "import os, sys; open(sys.argv[1], 'x').close(); os.setxattr(sys.argv[1], 'security.selinux', b'a:b:c:s0')"
# With Yama only a parent may trace, unless a process says that anybody may. The walks of an Install say it as well.
_TRACED = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1));"
    " print('ready', flush=True); sys.stdin.read()"
)
_CABLES = "ip link add one type veth peer name two && ip link add three type bridge && mount -t tmpfs none {}"
_LAYERS = (
    "cd {} && mkdir lower disk root && mount -t tmpfs none disk && mkdir disk/upper disk/work &&"
    " mount -t overlay -o lowerdir=lower,upperdir=disk/upper,workdir=disk/work none root"
)


class _LackingError(Exception):
    """The machine does not grant what was tried; the message says what it answered."""


def _run(*command: str) -> None:
    """Run a command of a probe; raises _LackingError with its last line where it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "PATH": TOOL_PATH}
        )
    except OSError as error:
        raise _LackingError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise _LackingError((done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()[-1])


def _python(program: str, *arguments: str) -> None:
    _run(sys.executable, "-ISc", program, *arguments)


def _root(directory: str) -> None:
    if os.geteuid() != 0:
        raise _LackingError(f"this is user number {os.geteuid()}")
    _python(_GIVE_AWAY, f"{directory}/given")


def _users(_: str) -> None:
    _python(_BECOME)


def _mount(directory: str) -> None:
    _run("unshare", "--mount", "mount", "-t", "tmpfs", "none", directory)


def _disks(directory: str) -> None:
    from failing_disk import FailingDisk  # it imports this file

    try:
        with FailingDisk(Path(directory)) as disk:
            disk.turn_read_only()
            disk.repair()
            disk.die()
    except (OSError, AssertionError) as error:
        raise _LackingError(str(error)) from error


def _images(directory: str) -> None:
    image = f"{directory}/image"
    with open(image, "wb") as file:
        file.truncate(8 * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", image)
    _run("unshare", "--mount", "mount", "-o", "loop", image, directory)


def _netns(directory: str) -> None:
    _run("unshare", "--mount", "--net", "sh", "-c", _CABLES.format(directory))


def _boot(directory: str) -> None:
    from host_leftovers import cgroup_parents  # tests of this file's own have no hosts

    _run("unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "sh", "-c", _LAYERS.format(directory))
    parents = cgroup_parents()
    if not parents:
        raise _LackingError("there is no hierarchy of control groups for systemd")
    for group in [parent / f"codedeploy-test-probe-{os.getpid()}" for parent in parents]:
        try:
            group.mkdir()
        except OSError as error:
            raise _LackingError(f"{error.strerror}: {group.parent}") from error
        group.rmdir()


def _mirror(_: str) -> None:
    from host_images import ImageError, mirror  # as above

    try:
        mirror()
    except ImageError as error:
        raise _LackingError(str(error)) from error


def _immutable(directory: str) -> None:
    path = f"{directory}/immutable"
    Path(path).touch()
    _run("chattr", "+i", path)
    _run("chattr", "-i", path)


def _tracing(directory: str) -> None:
    child = subprocess.Popen([sys.executable, "-ISc", _TRACED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    tracer = None
    try:
        command = ["strace", "-p", str(child.pid), "-o", f"{directory}/calls"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PATH": TOOL_PATH})
        assert tracer.stderr is not None
        said = tracer.stderr.readline().strip()
        if "attached" not in said:
            raise _LackingError(said)
    except OSError as error:
        raise _LackingError(f"strace: {error.strerror}") from error
    finally:
        child.kill()
        child.communicate()
        if tracer is not None:
            tracer.communicate()


def _devices(directory: str) -> None:
    _python(_DEVICE, f"{directory}/device")


def _labels(directory: str) -> None:
    _python(_LABEL, f"{directory}/labelled")


def _localhost(_: str) -> None:
    try:
        socket.getaddrinfo("localhost", None)
    except OSError as error:
        raise _LackingError(f"{error.strerror} (a line in /etc/hosts)") from error


def _processors(_: str) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        raise _LackingError("there is one")


def _aws(_: str) -> None:
    if not AWS.exists():
        raise _LackingError("there is none in .venv-aws (make setup)")


class Want(NamedTuple):
    """Something that a machine may lack."""

    meaning: str
    probe: Callable[[str], None]


WANTS = {
    "root": Want("root, who may give files away", _root),
    "users": Want("the right to become another user", _users),
    "mount": Want("mounts of one's own", _mount),
    "disks": Want("file systems on loop devices, and ext4's way to break one", _disks),
    "images": Want("file systems in images (loop devices)", _images),
    "netns": Want("network namespaces", _netns),
    "boot": Want("hosts that boot (overlays, control groups)", _boot),
    "mirror": Want("a mirror of Debian's packages", _mirror),
    "immutable": Want("immutable files", _immutable),
    "tracing": Want("strace of another process", _tracing),
    "devices": Want("the right to make devices", _devices),
    "labels": Want("the right to label files for SELinux", _labels),
    "localhost": Want("the name localhost", _localhost),
    "processors": Want("a second processor", _processors),
    "aws": Want("the AWS CLI", _aws),
}


@cache
def lacking(want: str) -> str:
    """Return why this machine does not grant something, or nothing where it does."""
    with tempfile.TemporaryDirectory(prefix="codedeploy-probe-") as directory:
        os.chmod(directory, 0o755)
        try:
            WANTS[want].probe(directory)
        except _LackingError as error:
            return f"needs {WANTS[want].meaning}: {str(error).replace(directory, '…')}"
    return ""


def lacking_tool(name: str) -> str:
    """Return that this machine lacks a program, or nothing where it is there."""
    return "" if shutil.which(name, path=TOOL_PATH) else f"needs the program {name!r}"


def require(*wants: str) -> None:
    """Go on with the test where the machine grants all of this."""
    unavailable_unless([lacking(want) for want in wants])


def unavailable_unless(reasons: Iterable[str]) -> None:
    """Skip the test for reasons, if there are any; fail it where CI=true promises that nothing is missing."""
    text = "; ".join(filter(None, reasons))
    if not text:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{text} (CI=true, so this is not skipped)", pytrace=False)
    pytest.skip(text)


def summary(reasons: Iterable[str]) -> list[str]:
    """Return what the tests skipped for these reasons needed, one line each, and what would run them."""
    counts: Counter[str] = Counter()
    total = 0
    for text in reasons:
        desired = {
            one.removeprefix("needs ").partition(": ")[0] for one in text.split("; ") if one.startswith("needs ")
        }
        counts.update(desired)
        total += bool(desired)
    if not total:
        return []
    lines = [f"{count:>6}  {want}" for want, count in sorted(counts.items(), key=lambda row: (-row[1], row[0]))]
    return [
        f"skipped for want of rights or programs: {total} (one test may want several)",
        *lines,
        f"a run as root on a machine that grants all of this adds these {total}",
    ]
