"""The scripts of a revision: are they there, and can they be run."""

from __future__ import annotations

import os
import re
import stat
from itertools import islice

from agent.appspec.hooks import RESERVED_EVENTS, location_advice
from agent.appspec.model import AppSpec, Script, place_of
from agent.text.report import Remedy, Report, shown
from agent.text.suggest import closest

# Enough to tell what kind of program a script is; the kernel itself looks at 256 bytes.
_BEGINNING = 64 * 1024

# A directory may hold any number of names, and comparing one costs some microseconds.
_NAMES_TO_COMPARE = 2000

_SHELLS = frozenset({b"sh", b"bash", b"dash", b"ash", b"ksh", b"zsh"})
_ELF = b"\x7fELF"
_UTF8_MARK = b"\xef\xbb\xbf"

# Spaces, empty lines and comments before the mark.
_LATE = re.compile(rb"(?:[ \t\r]*(?:#(?!!)[^\n]*)?\n)*[ \t]*(#!)")

_LINE_ENDS = "Save it with Unix line ends, for example with: sed -i 's/\\r$//'."


def check_scripts(archive: str, appspec: AppSpec, report: Report, *, on_host: bool) -> None:
    """Check every script of every event that runs scripts; one that several events use is checked once.

    An interpreter that this machine lacks is worth a warning ``on_host``, on a host of the deployment; else a note.
    """
    top = os.path.realpath(archive)
    seen: set[str] = set()
    for event, scripts in appspec.hooks.items():
        for script in scripts:
            if event not in RESERVED_EVENTS and script.location not in seen:
                seen.add(script.location)
                check_script(top, script, report, lack="warning" if on_host else "note")


def check_script(top: str, script: Script, report: Report, *, lack: str) -> None:
    """Check one script of the revision with the real path ``top``; ``lack`` is how bad a missing interpreter is."""
    path = os.path.join(top, script.location.lstrip("/"))
    real = os.path.realpath(path)
    if not inside(top, os.path.normpath(path)) or not inside(top, real):
        _warn(report, script, "lies outside the revision", "Put it into the revision; a setting may refuse others.")
        return
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            _fail(report, script, f"is {kind}", "Give the path of a script.")
            return
        with open(real, "rb", opener=_open_without_waiting) as file:
            beginning = file.read(_BEGINNING)
    except (FileNotFoundError, NotADirectoryError):
        _fail(report, script, "is not in the revision", lambda: _advice(top, script.location))
    except OSError as error:
        _fail(report, script, f"cannot be read: {error.strerror}", "Correct its permissions in the revision.")
    else:
        _check_beginning(beginning, script, report, lack=lack)


def _advice(top: str, location: str) -> str:
    """Say what to write instead of the location of a script that is not there."""
    return location_advice(location, lambda path: os.path.isfile(os.path.join(top, path))) or similar(
        top, location.lstrip("/")
    )


def _check_beginning(beginning: bytes, script: Script, report: Report, *, lack: str) -> None:
    if beginning.startswith(_ELF):
        return
    first = beginning.partition(b"\n")[0]
    if not first.startswith(b"#!"):
        if first.startswith(_UTF8_MARK + b"#!"):
            _warn(report, script, "begins with a byte order mark, which hides its '#!' line", "Save it without one.")
        else:
            _warn_of_no_interpreter(beginning, script, report)
        if b"\r\n" in beginning:
            _warn(report, script, "has Windows line ends, which /bin/sh takes for parts of the commands", _LINE_ENDS)
        return
    if first.endswith(b"\r"):
        _fail(report, script, "cannot be run: its '#!' line has a Windows line end", _LINE_ENDS)
        return
    words = first[2:].split()
    _check_interpreter(words[0] if words else b"", script, report, lack=lack)
    if b"\r\n" in beginning and words and _SHELLS & {os.path.basename(word) for word in words[:2]}:
        _warn(report, script, "has Windows line ends, which the shell takes for parts of the commands", _LINE_ENDS)


def _warn_of_no_interpreter(beginning: bytes, script: Script, report: Report) -> None:
    late = _LATE.match(beginning)
    if late:
        line = beginning.count(b"\n", 0, late.start(1)) + 1
        text = f"has its '#!' only in line {line}" if line > 1 else "has spaces before its '#!'"
        remedy = "Nothing reads it there: remove what comes before it."
    else:
        text, remedy = "does not begin with '#!'", "Begin it with a line such as '#!/bin/bash'."
    _warn(report, script, f"{text}, so which shell reads it depends on the account and the system", remedy)


def _check_interpreter(interpreter: bytes, script: Script, report: Report, *, lack: str) -> None:
    name = os.fsdecode(interpreter)
    if b"\0" in interpreter or not interpreter.startswith(b"/"):
        remedy = "Give the full path, such as /bin/bash, or write '#!/usr/bin/env NAME'."
        _warn(report, script, f"names the interpreter {shown(name)}, which is not a full path", remedy)
    elif not os.path.exists(interpreter):
        text = f"The script {shown(script.location)} names the interpreter {shown(name)}, which is not on this host."
        place = place_of(script, "location")
        report.add(place.line + 1, place.column + 1, text, "The hosts of the deployment need it.", severity=lack)


def _open_without_waiting(path: str, flags: int) -> int:
    # Between the look and the opening a fifo may have taken the file's place.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _fail(report: Report, script: Script, text: str, remedy: Remedy) -> None:
    report.error(place_of(script, "location"), f"The script {shown(script.location)} {text}.", remedy)


def _warn(report: Report, script: Script, text: str, remedy: Remedy) -> None:
    report.warning(place_of(script, "location"), f"The script {shown(script.location)} {text}.", remedy)


def inside(top: str, path: str) -> bool:
    """Tell whether a normal path is a directory or something in it."""
    return path == top or path.startswith(f"{top}/")


def similar(top: str, location: str) -> str:
    """Suggest the name in the same directory of the revision that was probably meant, or say what to do."""
    directory, name = os.path.split(location.rstrip("/"))
    real = os.path.realpath(os.path.join(top, directory))
    match = None
    if inside(top, real):
        try:
            match = closest(name, islice(sorted(os.listdir(real)), _NAMES_TO_COMPARE))
        except OSError:
            match = None
    if match:
        return f"Did you mean {os.path.join(directory, match)!r}?"
    return "Add it, or correct the path; it is relative to the revision's top directory."
