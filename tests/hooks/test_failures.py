"""What a script's author reads when the script could not even start."""

from __future__ import annotations

import os
import resource

import pytest

from agent.appspec.model import Script
from agent.errors import DiagnosticCode


def test_an_interpreter_that_is_not_there_is_named(revision):
    revision.script("echo ran", first="#!/opt/none/python9 -u\n")
    error = revision.fail("script.sh")
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert error.script_name == "script.sh"
    assert "the interpreter /opt/none/python9, which is not on this host" in str(error)


def test_line_ends_of_windows_are_recognised(revision):
    revision.script("echo ran\r\n", first="#!/bin/sh\r\n")
    assert "CRLF" in str(revision.fail("script.sh"))


def test_line_ends_of_windows_behind_env_are_recognised_too(revision):
    revision.script("echo ran\r\n", first="#!/usr/bin/env bash\r\n")
    error = revision.fail("script.sh")
    assert "exit code 12" in str(error)
    assert "CRLF" in str(error)


def test_a_command_that_is_not_found_is_not_blamed_on_line_ends(revision):
    revision.script("no-such-command")
    assert "CRLF" not in str(revision.fail("script.sh"))


def test_a_directory_in_place_of_a_script_is_told(revision):
    os.mkdir(revision.path("scripts"))
    error = revision.fail("scripts")
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert "is a directory" in str(error)


def test_an_interpreter_without_execute_permission_is_named(revision):
    interpreter = revision.path("interpreter")
    revision.script("", "interpreter", mode=0o644)
    revision.script("", first=f"#!{interpreter}\n")
    assert f"the interpreter {interpreter}, which is not executable" in str(revision.fail("script.sh"))


def test_a_program_for_another_processor_is_told(revision):
    revision.script("\x02\x02", first="\x7fELF")
    assert "another kind of processor" in str(revision.fail("script.sh"))


@pytest.mark.needs("root", "users")
def test_a_failure_names_event_and_user(open_revision):
    open_revision.script("exit 1")
    error = open_revision.fail(Script("script.sh", runas="games"))
    assert str(error) == "Script script.sh of AfterInstall as user games failed with exit code 1."


def test_a_location_with_arguments_is_told_apart_from_one_that_is_not_there(revision) -> None:
    revision.script("exit 0\n", "scripts/work.sh")
    message = str(revision.fail("scripts/work.sh production"))
    assert message.endswith(
        "A location takes no arguments: 'scripts/work.sh' is there. Add a script that calls it with them."
    )
    assert "Correct 'location' in the hooks section" in str(revision.fail("scripts/walk.sh"))


def test_a_host_without_room_for_a_script_is_told_what_to_raise(revision) -> None:
    revision.script("exit 0\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + 2, limits[1]))
    try:
        message = str(revision.fail("script.sh"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert message.endswith(
        "Too many open files. Raise the limit on open files for the agent (LimitNOFILE of its service, ulimit -n)."
    )
