"""A sync, a rename or a record that goes missing from the agent does not go unnoticed."""

from __future__ import annotations

import random

import pytest

from install_mutants import CHANGED, Mutant, is_noticed, mutants

pytestmark = pytest.mark.needs("tracing")

IN_A_SAMPLE = 4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mutant" not in metafunc.fixturenames:
        return
    chosen = mutants()
    if not metafunc.config.getoption("--soak"):
        chosen = random.Random(metafunc.config.getoption("--sample-seed")).sample(chosen, IN_A_SAMPLE)
    metafunc.parametrize("mutant", chosen, ids=[mutant.name for mutant in chosen])


@pytest.mark.long  # each runs the walks of this directory once
def test_some_test_fails_without_the_statement(mutant: Mutant) -> None:
    assert is_noticed(mutant), f"all tests pass without {mutant.module}:{mutant.line}: {mutant.name}"


def test_every_sync_rename_and_record_has_its_mutant() -> None:
    names = {mutant.name for mutant in mutants()}
    assert len(names) > 50
    assert {
        "durable._write_and_rename: os.fsync(descriptor)",
        "commit.Committer._replace: self._directories.rename(operation.temp, operation.path)",
        "installer._Execution._commit: self._journal.mark(COMMITTED)",
        "commands.CommandStore.add: sync_directory(self.directory)",
        "staging.Staging.keep: self._sync()",
    } <= names
    assert len([name for name in names if " -> " in name]) == len(CHANGED)
