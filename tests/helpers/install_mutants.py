"""Mutants of what must be on the disk: copies of the package with one statement missing, or another in its place.

Missing is a statement that syncs or writes down what another command believes, and of the installer also one that
renames or removes. The others are in ``CHANGED``.

By hand, from the project's directory, with the project's Python:

    python tests/helpers/install_mutants.py            list them
    python tests/helpers/install_mutants.py PART...    run the tests on those whose name holds one of the parts
    python tests/helpers/install_mutants.py all        run the tests on all of them; the survivors are listed at the end
"""

from __future__ import annotations

import ast
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
MODULES = (
    "filesystem/directories.py",
    "filesystem/durable.py",
    "install/cleanup_list.py",
    "install/commit.py",
    "install/installer.py",
    "install/journal.py",
    "install/recovery.py",
    "install/reset.py",
    "install/stage.py",
)
OF_COMMANDS = (
    "bundle/staging.py",
    "store/commands.py",
    "store/pointers.py",
    "store/tracking.py",
    "traffic/record.py",
    "steps/bundle_cache.py",
)
_SAVE = "save(self._directory, saved)"
CHANGED = {
    # Not durable before the acknowledgement; removed under its name; the turn let go before the outcome is saved.
    ("worker/command.py", "self._directory.save_progress(self.state, durably=True)"): (
        "self._directory.save_progress(self.state, durably=False)"
    ),
    ("store/commands.py", "os.rename(directory.path, gone)"): "_remove_if_there(directory.path)",
    ("worker/command.py", _SAVE): f"self._turn and self._turn.release(); {_SAVE}",
}
"""Statements that become others, by their module and text."""

# A statement that only calls one of these is a mutant without it.
SYNCS = frozenset({"fsync", "sync", "_sync", "sync_directory", "sync_file_systems", "sync_file_system"})
NAMES = frozenset(
    {"rename", "rename_to_free_name", "take", "link", "unlink", "rmdir", "remove_if_there", "remove_tree"}
    | {"remove_file", "remove_empty", "remove_all"}
)
RECORDS = frozenset({"mark", "begin", "end", "write_durably", "append_durably", "write", "restore"})

# Quick to fail first: most mutants do not get past the first two files, and of the others the most are noticed by the
# tests of their own module. The walks take minutes.
FIRST = ("tests/install/walk/test_scenes.py", "tests/install/walk/test_durable_order.py")
WALKS = ("tests/install/walk/test_crash_walk.py", "tests/install/walk/test_fault_walk.py")
DIRECTORIES = ("tests/install", "tests/filesystem")
COMMANDS = "tests/worker/test_durable_order.py"
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Mutant:
    """One statement of one module (a path below ``agent/``); ``name`` tells it apart and does not know its line.

    ``instead`` is what stands in its place.
    """

    name: str
    module: str
    line: int
    end_line: int
    indent: int
    instead: str = "pass"

    def make(self, directory: Path) -> None:
        """Write the whole package into a directory, with this statement changed. Raises RuntimeError if it moved."""
        if self not in mutants():
            raise RuntimeError(f"agent/{self.module} has been changed since its mutants were listed")
        package = directory / "agent"
        shutil.copytree(PROJECT / "agent", package, ignore=shutil.ignore_patterns("__pycache__"))
        lines = (package / self.module).read_text(encoding="utf-8").splitlines(keepends=True)
        gap = "\n" * (self.end_line - self.line)
        lines[self.line - 1 : self.end_line] = [f"{' ' * self.indent}{self.instead}  # a mutant\n{gap}"]
        (package / self.module).write_text("".join(lines), encoding="utf-8")
        # The tests start many processes, and each would compile the package for itself.
        compileall.compile_dir(package, quiet=1)


def mutants() -> list[Mutant]:
    """All mutants, in the order of modules and lines."""
    found: list[Mutant] = []
    for module in dict.fromkeys([*MODULES, *OF_COMMANDS, *(module for module, _ in CHANGED)]):
        desired = SYNCS | RECORDS | NAMES if module in MODULES else SYNCS | RECORDS if module in OF_COMMANDS else set()
        tree = ast.parse((PROJECT / "agent" / module).read_text(encoding="utf-8"))
        names: dict[str, int] = {}
        for function, statement in _statements(tree, Path(module).stem):
            text = ast.unparse(statement)
            name = f"{function}: {text}"
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                name = f"{name} ({names[name]})"
            place = (module, statement.lineno, statement.end_lineno or statement.lineno, statement.col_offset)
            if _called(statement.value) in desired:
                found.append(Mutant(name, *place))
            if instead := CHANGED.get((module, text)):
                found.append(Mutant(f"{name} -> {instead}", *place, instead))
    return found


def _statements(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Expr]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr):
            yield function, child
        elif isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from _statements(child, f"{function}.{child.name}")
        else:
            yield from _statements(child, function)


def _called(value: ast.expr) -> str:
    """The name of the function that an expression calls, or nothing."""
    function = value.func if isinstance(value, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def tests_for(mutant: Mutant) -> list[str]:
    """The test files for a mutant, in the order in which they are run."""
    directory, module = os.path.split(mutant.module)
    own = PROJECT / "tests" / directory / f"test_{module}"
    if f"tests/{directory}" not in DIRECTORIES:
        beside = sorted((PROJECT / "tests" / directory).glob("test_*.py"))
        return [COMMANDS, *dict.fromkeys(str(path) for path in (own, *beside) if path.exists())]
    others = (path for name in DIRECTORIES for path in sorted((PROJECT / name).glob("test_*.py")))
    return [*FIRST, *dict.fromkeys(str(path) for path in (own, *others) if path.exists()), *WALKS]


def is_noticed(mutant: Mutant) -> bool:
    """Run the tests on a mutant until one fails; tell whether one did. Raises RuntimeError if they cannot be run."""
    with tempfile.TemporaryDirectory(prefix="codedeploy-mutant-") as directory:
        mutant.make(Path(directory))
        environment = {
            **os.environ,
            "PYTHONPATH": directory,
            "AGENT_UNDER_TEST": f"{directory}/agent",
        }
        # -P: not the package that lies in the current directory.
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--part", "both"]
        command += tests_for(mutant)
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=False)
    output = os.fsdecode(done.stdout + done.stderr)
    if done.returncode not in (0, _FAILED):
        raise RuntimeError(f"the tests could not be run on {mutant.name}:\n{output[-3000:]}")
    return done.returncode == _FAILED


def main(parts: Sequence[str]) -> int:
    survivors = []
    for mutant in mutants():
        if not parts:
            print(f"{mutant.module}:{mutant.line}  {mutant.name}")
        elif "all" in parts or any(part in mutant.name for part in parts):
            noticed = is_noticed(mutant)
            print(f"{'noticed ' if noticed else 'SURVIVES'}  {mutant.name}", flush=True)
            if not noticed:
                survivors.append(mutant.name)
    print(f"{len(survivors)} survivors", *survivors, sep="\n  ")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
