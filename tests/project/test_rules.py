"""The rules of docs/development.md that a machine can check."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from project_files import committed_files

PROJECT = Path(__file__).resolve().parents[2]
MODULES = sorted((PROJECT / "agent").rglob("*.py"))
LONGEST_FUNCTION = 80
LONGEST_MODULE = 400
LONGEST_MODULE_AT_THE_MEDIAN = 200

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_bytes(), str(module))


def line_count(module: Path) -> int:
    return len(module.read_bytes().splitlines())


def test_a_room_knows_only_the_rooms_below_it() -> None:
    checker = os.path.join(os.path.dirname(sys.executable), "lint-imports")
    done = subprocess.run([checker, "--no-cache"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_files_know_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("agent", cache_dir=None, exclude_type_checking_imports=True)
    knows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(knows).prepare()
    except CycleError as error:
        pytest.fail(" is known by ".join(error.args[1]))


def test_every_package_has_its_place_in_the_table() -> None:
    with open(PROJECT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "table")
    placed = {name for layer in layers for name in layer.split(" | ")}
    there = {
        path.stem for path in (PROJECT / "agent").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - placed == {"__init__", "__main__"}


def test_no_function_is_too_long_to_read() -> None:
    too_long = [
        f"{module.relative_to(PROJECT)}:{node.lineno} {node.name} has {length} lines"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, Function) and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not too_long, "\n".join(too_long)


def test_modules_are_short() -> None:
    lengths = {module: line_count(module) for module in MODULES if module.name != "__init__.py"}
    too_long = [
        f"{module.relative_to(PROJECT)} has {length} lines"
        for module, length in lengths.items()
        if length > LONGEST_MODULE
    ]
    assert not too_long, "\n".join(too_long)
    assert statistics.median(lengths.values()) < LONGEST_MODULE_AT_THE_MEDIAN


def public_definitions(module: Path) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """What other modules may use, by its dotted name: the module, its functions and classes, and their methods.

    A class with a base is left at its own docstring: what its methods promise stands with the base.
    """
    root = tree(module)
    yield "the module", root
    for node in root.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef) and not node.bases:
                for member in node.body:
                    if isinstance(member, Function) and not member.name.startswith("_"):
                        yield f"{node.name}.{member.name}", member


def test_everything_public_says_what_it_does() -> None:
    silent = [
        f"{module.relative_to(PROJECT)}: {name}"
        for module in MODULES
        for name, node in public_definitions(module)
        if "." not in name and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def test_nearly_every_method_says_what_it_does() -> None:
    methods = [
        (f"{module.relative_to(PROJECT)}: {name}", ast.get_docstring(node))
        for module in MODULES
        for name, node in public_definitions(module)
        if "." in name
    ]
    silent = [name for name, text in methods if not text]
    assert len(silent) <= 0.2 * len(methods), "\n".join(silent)


def test_a_docstring_opens_with_one_sentence() -> None:
    open_ended = []
    for module in MODULES:
        for name, node in public_definitions(module):
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            if first and not re.search(r"[.:!?]\)?$", first):
                open_ended.append(f"{module.relative_to(PROJECT)}: {name}: {first!r}")
    assert not open_ended, "\n".join(open_ended)


def test_nothing_is_waved_through_without_a_reason() -> None:
    bare = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)")
    waved = [
        f"{module.relative_to(PROJECT)}:{number}"
        for module in MODULES
        for number, line in enumerate(module.read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert not waved, "\n".join(waved)


def lines_of_the_project() -> Iterator[tuple[str, str]]:
    """Each line of each file that is text, after where it is."""
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path.relative_to(PROJECT)}:{number}", line


# Written in parts, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(["/" + r"work/(main|shared|\.)", r"\.\./" + "shared/", "/" + r"root/\.", r"\.py" + "env"])
)


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Return each line of the project that the pattern is found in, after where it is."""
    return [f"{where}: {line.strip()[:100]}" for where, line in lines_of_the_project() if pattern.search(line)]


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = matches(MACHINE_PATHS)
    assert not found, "\n".join(found)


# The project is not published. A package of its name on an index would be another's, and run on the readers' machines.
FROM_AN_INDEX = re.compile(r"\binstall\b.*\bcodedeploy-host-" + r"agent\b|codedeploy-host-" + r"agent\[")


def test_nothing_says_to_install_the_project_from_a_package_index() -> None:
    found = matches(FROM_AN_INDEX)
    assert not found, "\n".join(found)


# The hosts that an address in the project may name: documents, services that the agent talks to, reserved names.
KNOWN_HOSTS = re.compile(
    r"semver\.org|json-schema\.org|www\.(apache|w3)\.org|(docs\.|testinfra\.|sybil\.)(aws\.amazon\.com|getmoto\.org|readthedocs\.io)"
    r"|(api\.)?github\.com|.*amazonaws\.com(\.cn)?"
    r"|[\d.]+|(.*\.)?(example|example\.(com|net|org)|test|invalid|localhost)"
)
ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^\s/@]*@)?([\w-]+(?:\.[\w-]+)+)", re.IGNORECASE)
# Where packages are kept, also without "https://" before it.
REGISTRY = re.compile(
    r"\b(?:deb|archive|security|ports|snapshot|mirrors?|ftp|registry|index|packages?|repos?|files|dl|cdn"
    r"|pypi|rubygems|crates|npmjs|docker|quay|ghcr|pythonhosted|debian|ubuntu)\.(?:[\w-]+\.)*(?:org|com|net|io)\b"
)


def named_hosts(line: str) -> set[str]:
    return {*ADDRESS.findall(line), *REGISTRY.findall(line)}


def test_no_file_knows_where_packages_are_kept() -> None:
    found = [
        f"{where}: {host}"
        for where, line in lines_of_the_project()
        for host in named_hosts(line)
        if not KNOWN_HOSTS.fullmatch(host)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("before", ["https://", "http://me:secret@", "see ", "mirror+https://"])
def test_a_registry_is_known_by_its_name(before: str) -> None:
    for host in (["py" + "pi", "org"], ["deb", "debian", "org"], ["files", "pythonhosted", "org"], ["quay", "io"]):
        named = named_hosts(f"{before}{'.'.join(host)}/debian")
        assert named == {".".join(host)}
        assert not KNOWN_HOSTS.fullmatch(".".join(host))


@pytest.mark.parametrize(
    "example", sorted(path.name for path in (PROJECT / "appspec-examples").iterdir() if path.is_dir())
)
def test_every_example_has_a_readme_and_a_place_in_the_list(example: str) -> None:
    directory = PROJECT / "appspec-examples"
    text = (directory / example / "README.md").read_text()
    assert f"appspec-examples/try {example}" in text
    assert f"]({example}/)" in (directory / "README.md").read_text()


def test_there_are_eight_examples_with_both_names_of_the_appspec() -> None:
    directory = PROJECT / "appspec-examples"
    assert len([path for path in directory.iterdir() if path.is_dir()]) >= 8
    assert list((directory / "static-site").rglob("appspec.yml"))
    assert list(directory.rglob("appspec.yaml"))


def test_an_example_that_cannot_be_pushed_as_it_is_says_so() -> None:
    directory = PROJECT / "appspec-examples"
    for path in directory.rglob("appspec.yaml"):
        example = directory / path.relative_to(directory).parts[0]
        assert "`aws deploy push` refuses it" in (example / "README.md").read_text()


def test_every_test_of_a_module_lies_where_the_module_lies() -> None:
    homeless = []
    free = {
        "bench",
        "cases",
        "docs",
        "end_to_end",
        "examples",
        "fuzz",
        "helpers",
        "hosts",
        "neighbours",
        "project",
        "systemd",
        "userdata",
    }
    for path in (PROJECT / "tests").rglob("test_*.py"):
        room = path.relative_to(PROJECT / "tests").parts[0]
        if room not in free and not (PROJECT / "agent" / room).exists() and not path.name.startswith("test_agent_"):
            known = (PROJECT / "agent" / path.name.removeprefix("test_")).exists()
            if not known:
                homeless.append(str(path.relative_to(PROJECT)))
    assert not homeless, "\n".join(homeless)
