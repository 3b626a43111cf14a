"""A sync, a rename or a record that goes missing from the installer does not go unnoticed."""

from __future__ import annotations

import random

import pytest

from install_mutants import Mutant, is_noticed, mutants

pytestmark = pytest.mark.needs("tracing")

IN_A_SAMPLE = {"essential": 1, "hosts": 4}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mutant" not in metafunc.fixturenames:
        return
    chosen, options = mutants(), metafunc.config.getoption
    if not options("--soak"):
        chosen = random.Random(options("--sample-seed")).sample(chosen, IN_A_SAMPLE[options("--part")])
    marks = [pytest.mark.long] if options("--part") == "hosts" else []
    metafunc.parametrize("mutant", [pytest.param(mutant, id=mutant.name, marks=marks) for mutant in chosen])


def test_some_test_fails_without_the_statement(mutant: Mutant) -> None:
    assert is_noticed(mutant), f"all tests pass without {mutant.module}:{mutant.line}: {mutant.name}"


def test_every_sync_rename_and_record_of_the_installer_has_its_mutant() -> None:
    names = {mutant.name for mutant in mutants()}
    assert len(names) > 50
    assert {
        "durable._write_and_rename: os.fsync(descriptor)",
        "commit._replace: os.rename(operation.temp, operation.path)",
        "installer._carry_out: journal.mark(COMMITTED)",
    } <= names
