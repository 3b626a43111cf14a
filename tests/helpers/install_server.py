"""A process that forks a fresh child for every Install or recovery, so that a walk over thousands of them is quick.

It has imported the installer once, and nothing else goes on in it. A child says that it is ready, waits until it is
let go (by then a tracer may hold it), and tells how it ended, unless it was killed.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import socket
import sys
import traceback

import install_scene
from agent.errors import AgentError
from agent.install.installer import install, recover
from agent.install.options import InstallOptions

_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_CLONE_NEWNS = 0x20000
_PR_SET_PTRACER = 0x59616D61


def main() -> None:
    expected = os.environ.get("AGENT_UNDER_TEST")
    found = sys.modules["agent"].__path__[0]
    if expected is not None and os.path.realpath(found) != os.path.realpath(expected):
        sys.exit(f"the package under test is {expected}, but {found} was imported")
    os.umask(0o022)
    logging.disable()
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
        if not data:
            return
        child = os.fork()
        if child == 0:
            control.close()
            _child(json.loads(data), socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])
        _, status = os.waitpid(child, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _child(order: dict[str, object], channel: socket.socket) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    scene = install_scene.SCENES[str(order["scene"])]
    place = install_scene.Place(str(order["top"]))
    _mount(libc, scene, place, order.get("other_file_system"))
    action, version = str(order["action"]), str(order["version"])
    request = install_scene.request(scene, place, version) if action == "install" else None
    channel.send(str(os.getpid()).encode())
    channel.recv(1)
    answer: dict[str, object] = {"ok": True, "text": ""}
    try:
        if request is not None:
            install(request, options=InstallOptions())
        else:
            answer["text"] = "\n".join(recover(place.root, options=InstallOptions()))
    except AgentError as error:
        answer = {"ok": False, "text": str(error)}
    except (Exception, KeyboardInterrupt):  # noqa: BLE001  (the outermost of this process)
        answer = {"ok": False, "text": traceback.format_exc(), "crashed": True}
    channel.send(json.dumps(answer).encode())
    os._exit(0)


def _mount(libc: ctypes.CDLL, scene: install_scene.Scene, place: install_scene.Place, other: object) -> None:
    """Mount what the scene wants to be mounted, seen by this child alone."""
    mounts = {f"{place.host}/{path}": f"{place.host}/{source}" for path, source in scene.in_place.items()}
    if not other and not any(os.path.exists(path) for path in mounts):
        return
    _checked(libc.unshare(_CLONE_NEWNS))
    _checked(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    for path, source in mounts.items():
        _checked(libc.mount(os.fsencode(source), os.fsencode(path), None, _MS_BIND, None))
    if other:
        _checked(libc.mount(b"none", os.fsencode(str(other)), b"tmpfs", 0, None))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
