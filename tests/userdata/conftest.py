"""Machines for the files of user data."""

from __future__ import annotations

from pathlib import Path

import pytest

from userdata_machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without a system and without a Python."""
    return Machine(tmp_path)


@pytest.fixture
def debian(machine: Machine) -> Machine:
    """A machine that lacks nothing."""
    machine.is_debian_with_python()
    return machine
