"""Accounts that share a host with the agent, and programs of the test that run as one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

ACCOUNT = 23456
"""The account that owns the parent directory of a destination."""

OTHER_ACCOUNT = 23457
"""An account that owns nothing of the deployment."""

Program = Callable[[], object]


def become(account: int) -> None:
    """Make this process one of the account, for good."""
    os.setgroups([])
    os.setresgid(account, account, account)
    os.setresuid(account, account, account)


def run_as(account: int, program: Program) -> object:
    """Run a program as the account, in a process of its own, and return its result or its error as a text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            result = program()
        except BaseException as error:  # noqa: BLE001 - the process ends here, and the test reads of it
            result = f"{type(error).__name__}: {error}"
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else "it was killed"


def by(account: int, program: Program) -> Program:
    """Return the program as one that runs as the account."""
    return lambda: run_as(account, program)


def often_by(account: int, program: Program) -> Program:
    """Return the program as one that a lasting process of the account runs each time, for what happens at every step.

    The process ends with the one that first called it.
    """
    started: list[tuple[int, int]] = []

    def ask() -> object:
        if not started:
            started.append(_serve(account, program))
        requests, answers = started[0]
        os.write(requests, b"?")
        length = int.from_bytes(os.read(answers, 4), "little")
        text = b""
        while len(text) < length:
            text += os.read(answers, length - len(text))
        return json.loads(text)

    return ask


def _serve(account: int, program: Program) -> tuple[int, int]:
    """Start a process that answers each byte; return where to write and where to read."""
    (asked, asks), (answers, answer) = os.pipe(), os.pipe()
    if os.fork() == 0:
        try:
            for descriptor in (asks, answers):
                os.close(descriptor)
            become(account)
            while os.read(asked, 1):
                text = json.dumps(program()).encode()
                os.write(answer, len(text).to_bytes(4, "little") + text)
        finally:
            os._exit(0)
    os.close(asked)
    os.close(answer)
    return asks, answers
