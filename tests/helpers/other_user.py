"""Our own code run by another user, who may read neither the project nor Python where these are below /root."""

from __future__ import annotations

import sys
from collections.abc import Sequence

# What this process cannot find any more when it has become another user is loaded before.
_BECOME = """\
import codecs, importlib, os, pkgutil, sys
import agent
for found in pkgutil.walk_packages(agent.__path__, "agent."):
    if not found.name.startswith("agent.sandbox") and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
for module in {modules}:
    importlib.import_module(module)
for encoding in ("ascii", "latin-1", "idna", "unicode_escape"):
    codecs.lookup(encoding)
os.setgroups({groups})
os.setgid({gid})
os.setuid({uid})
"""
# Those of Python that the agent loads only where it uses them.
_MODULES = ("bz2", "ctypes", "difflib", "hashlib", "lzma", "resource", "select", "ssl", "tempfile", "zlib")


def command_as(uid: int, gid: int, code: str, *arguments: str, groups: Sequence[int] = ()) -> list[str]:
    """Return the command by which root runs Python code as another user."""
    preamble = _BECOME.format(uid=uid, gid=gid, groups=list(groups), modules=_MODULES)
    return [sys.executable, "-c", preamble + code, *arguments]
