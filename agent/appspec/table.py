"""Every key of an AppSpec file and what it means: the parser and the JSON Schema read this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.appspec.model import FileExistsBehavior


class Key(NamedTuple):
    """One key of a map: its values as a JSON Schema, and its meaning; ``needed`` if the map cannot do without it.

    A key that is not needed may also have no value, which counts as if it were not there.
    """

    schema: Mapping[str, Any]
    meaning: str
    needed: bool = False


Table = Mapping[str, Key]

TYPES = ("file", "directory")
BEHAVIORS = tuple(behavior.value for behavior in FileExistsBehavior)

# A number or truth value is a text as well, as it is written.
_TEXT: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_FILLED = _TEXT | {"pattern": r"\S"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_MODE: dict[str, Any] = {"type": ["string", "integer"], "pattern": "^[0-7]{1,4}$", "minimum": 0, "maximum": 7777}
_SECONDS: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": r"^\s*\+?[0-9][0-9_,]*(\.0*)?\s*$"},
        {"const": False},
    ]
}

FILE: Table = {
    "source": Key(
        _TEXT, "A file or directory of the revision; of a directory its content. / is the whole revision.", True
    ),
    "destination": Key({"type": "string"}, "The directory on the host that the source goes into.", True),
}

CONTEXT: Table = {
    "type": Key(_FILLED, "The SELinux type, such as httpd_sys_content_t.", True),
    "user": Key(_TEXT, "The SELinux user."),
    "name": Key(_TEXT, "The SELinux user, as the official agents read it; comes before user."),
    "range": Key(_TEXT, "The range: sN[-sM][:categories], such as s0 or s0-s3:c0.c7,c12."),
}

PERMISSION: Table = {
    "object": Key(_FILLED, "An installed file, or a directory that stands for everything installed below it.", True),
    "pattern": Key(
        _TEXT, "** for everything at any depth, or a name directly in the directory; * stands for any letters."
    ),
    "except": Key(_TEXTS, "Patterns of what is left out."),
    "owner": Key(_TEXT, "Name or number of the user."),
    "group": Key(_TEXT, "Name or number of the group."),
    "mode": Key(_MODE, "One to four octal digits."),
    "type": Key({"type": "array", "items": {"enum": list(TYPES)}, "minItems": 1}, "Kinds of objects; both if missing."),
    "acls": Key(_TEXTS, "Entries [default:][user|group|mask|other:]name:permissions, such as user:alice:rw."),
    "context": Key({"map": CONTEXT}, "The SELinux context."),
}

SCRIPT: Table = {
    "location": Key(_TEXT | {"pattern": r"[^/\s]"}, "The script's path in the revision.", True),
    "timeout": Key(_SECONDS, "Seconds after which the script is ended; 3600 if missing."),
    "runas": Key(_TEXT, "The user that the script runs as."),
    "sudo": Key({"type": "boolean"}, "Whether the script runs as root."),
}

EVENTS: Mapping[str, str] = {
    "BeforeBlockTraffic": "Before the host leaves its load balancer; the last installed revision's scripts.",
    "AfterBlockTraffic": "After the host has left its load balancer; the last installed revision's scripts.",
    "ApplicationStop": "Before the new revision is fetched; the last installed revision's scripts.",
    "BeforeInstall": "After the revision was unpacked, before its files are installed.",
    "AfterInstall": "After the files were installed.",
    "ApplicationStart": "To start what ApplicationStop has stopped.",
    "ValidateService": "To find out whether the deployment works.",
    "BeforeAllowTraffic": "Before the host comes back to its load balancer.",
    "AfterAllowTraffic": "After the host has come back to its load balancer.",
}
"""The events whose scripts a server deployment runs, in their order."""

_SCRIPTS: dict[str, Any] = {"anyOf": [{"type": "array", "items": {"map": SCRIPT}}, {"const": False}]}
_HOOKS: Table = {event: Key(_SCRIPTS, meaning) for event, meaning in EVENTS.items()}

APPSPEC: Table = {
    "version": Key(
        {"anyOf": [{"const": 0}, {"type": "string", "pattern": "^[-+]?[0xeE.+_-]*$"}]}, "0.0; there is no other.", True
    ),
    "os": Key({"const": "linux"}, "linux; a revision for Windows has an AppSpec of its own.", True),
    "files": Key({"anyOf": [{"type": "array", "items": {"map": FILE}}, {"const": False}]}, "What goes where."),
    "file_exists_behavior": Key(
        {"enum": list(BEHAVIORS)}, "What becomes of files at the destination that no earlier deployment put there."
    ),
    "permissions": Key(
        {"anyOf": [{"type": "array", "items": {"map": PERMISSION}}, {"const": False}]},
        "Owner, group, mode, access control list and SELinux context of what was installed.",
    ),
    "hooks": Key({"anyOf": [{"map": _HOOKS}, {"const": False}]}, "The scripts of each lifecycle event."),
}

EXTENSION_PREFIX = "x-"
"""Keys that begin so are the usual place for anchors that are repeated elsewhere; nothing reads them."""

_IN_PERMISSIONS = "Set it in the permissions section, for the installed file or directory as object."
OVERWRITE = "Write 'file_exists_behavior: OVERWRITE' at the top level of the file; it holds for all files."

# What people write in a place where no agent reads it, and what they mean.
ELSEWHERE: Mapping[str, str] = {
    "overwrite": OVERWRITE,
    "force": OVERWRITE,
    **dict.fromkeys(("owner", "group", "mode", "acls", "permissions"), _IN_PERMISSIONS),
}

NOT_FOR_SCRIPTS: Mapping[str, str] = dict.fromkeys(
    ("args", "arguments", "env", "environment"),
    "A script gets no arguments and no variables of its own; put them into the script.",
)
