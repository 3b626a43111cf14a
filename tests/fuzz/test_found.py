"""Inputs that fuzzing has found, each under the name of what it did before it was put right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fuzz_targets import CUT, TARGETS

CHECKS = {target.name: target.check for target in TARGETS}
LISTED = b"/top/app\n/top/app/f\n"


def with_proof(entry: str) -> bytes:
    """A clean-up list and what our own file says of it."""
    return CUT.join([LISTED, b"{}", f'{{"lists": {{"DIGEST": {entry}}}}}'.encode()])


def with_instructions(instructions: object) -> bytes:
    return CUT.join([LISTED, json.dumps({"instructions": instructions}).encode()])


FOUND = {
    "an identity of two numbers ended the Install": (
        "clean-up list",
        with_proof('{"directories": {"/top/app": [1, 2]}}'),
    ),
    "an identity that is a number ended the Install": ("clean-up list", with_proof('{"directories": {"/top/app": 5}}')),
    "an identity of words was compared": ("clean-up list", with_proof('{"directories": {"/top/app": ["a", 1, 2, 3]}}')),
    "an odd name with a NUL reached the kernel": ("clean-up list", with_proof('{"odd": ["/a\\u0000b"]}')),
    "an odd name climbed": ("clean-up list", with_proof('{"odd": ["/x/../../y"]}')),
    "half a character in an odd name ended the Install": ("clean-up list", with_proof('{"odd": ["/\\ud800"]}')),
    "half a character in a confirmed name ended the Install": (
        "clean-up list",
        with_proof('{"confirmed": ["/\\ud800"]}'),
    ),
    "a file of brackets ended the Install": ("clean-up list", CUT.join([LISTED, b"{}", b"[" * 20_000])),
    "a destination that is a list ended the Install": ("clean-up list", with_instructions([{"destination": []}])),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_used_or_refused(name: str, tmp_path: Path) -> None:
    target, data = FOUND[name]
    CHECKS[target](tmp_path, data)
