"""An Install gives the kernel no path for a change to the host: what another account exchanges leads it nowhere.

Changes go through ``agent.filesystem.directories``. Beside that, a module below ``agent/install`` may change what is
open. An expression counts as open where it is

* ``by_descriptor(…)`` of an open object;
* a parameter with the type ``int``, or a first one with ``int | str``; each call of such a function is held to
  the same;
* a variable that gets nothing but such expressions, or what ``create``, ``open_file`` or ``pinned`` of the directories
  return.

``os.open`` is a change wherever it is, for nobody sees what becomes of its descriptor.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

INSTALL = Path(__file__).resolve().parents[2] / "agent" / "install"

CHANGES = re.compile(
    r"os\.(chflags|chmod|chown|lchmod|lchown|link|makedirs|mkdir|mkfifo|mknod|open|remove|removedirs|removexattr|rename"
    r"|renames|replace|rmdir|setxattr|symlink|truncate|unlink|utime)"
)
PROGRAMS = re.compile(r"os\.(exec|spawn|posix_spawn|system|popen)\w*")
OPENING = frozenset({"create", "open_file", "pinned"})
# What changes something by path, whatever of the module is used.
CHANGING_MODULES = frozenset({"shutil", "tempfile", "pathlib", "subprocess"})
OWN_FILES = ("agent.filesystem.durable", "agent.filesystem.trees")
HARMLESS = frozenset({"sync_directory"})

ALLOWED = {
    "The agent's own files are below root_dir, which no other account may be able to exchange.": [
        "cleanup_list.CleanupFile._write_entries: os.makedirs",
        "cleanup_list.CleanupFile._write_entries: remove_if_there",
        "cleanup_list.CleanupFile._write_entries: replace",
        "cleanup_list.CleanupFile._write_entries: write_durably",
        "cleanup_list.CleanupFile.restore: remove_if_there",
        "cleanup_list.CleanupFile.restore: write_durably",
        "cleanup_list.CleanupFile.write: write_durably",
        "installer.install: make_directory",
        "installer.install: write_durably",
        "journal.Journal.begin: write_durably",
        "journal.Journal.end: remove_if_there",
        "journal.Journal.mark: append_durably",
        "journal.Journal.set_aside: os.rename",
        "recovery.go_forward: write_durably",
        "state.InstallState.sweep: remove_if_there",
    ],
    "What is opened here is only read.": [
        "cleanup_list._read_trusted: os.open",
        "host.read_link: os.open",
        "stage.Stager._open_source: os.open",
    ],
    "The programs of SELinux take paths only.": ["selinux._run: subprocess.run"],
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_an_install_gives_the_kernel_no_path_for_a_change() -> None:
    allowed = {entry for entries in ALLOWED.values() for entry in entries}
    found = changes_by_path({path.stem: path.read_text() for path in sorted(INSTALL.glob("*.py"))})
    assert found - allowed == set(), "use Directories, or give a reason in ALLOWED"
    assert allowed - found == set(), "ALLOWED names what is not there any more"


@pytest.mark.parametrize(
    "body",
    [
        "os.rename(path, f'{path}.old')",
        "os.unlink(os.path.basename(path), dir_fd=0)",
        "os.chmod(path, 0o600)",
        "os.chmod(open_it(path), 0o600)",
        "descriptor = path; os.chown(descriptor, 0, 0)",
        "target = by_descriptor(opened); target = path; os.utime(target)",
        "for target in [path]: os.setxattr(target, 'user.x', b'')",
        "remove = os.remove; remove(path)",
        "list(map(os.unlink, [path]))",
        "os.open(path, os.O_WRONLY)",
        "os.open(path, os.O_PATH)",
        "descriptor = os.open(path, os.O_PATH); os.chmod(by_descriptor(descriptor), 0)",
        "target = by_descriptor(path); os.chmod(target, 0)",
        "open(path, 'w')",
        "open(path, mode='rb+')",
        "open(path, how)",
        "io.open(path, 'a')",
        "import shutil; shutil.rmtree(path)",
        "from shutil import rmtree; rmtree(path)",
        "from os import rename; rename(path, path)",
        "import os as system; system.rename(path, path)",
        "from pathlib import Path; Path(path).unlink()",
        "from agent.filesystem.trees import remove_tree; remove_tree(path)",
        "os.system('rm ' + path)",
        "write(path, b'')",
        "other.write(path, b'')",
    ],
)
def test_a_change_by_path_is_noticed(body: str) -> None:
    assert changes_by_path(written(body)) != set()


@pytest.mark.parametrize(
    "body",
    [
        "os.chmod(by_descriptor(opened), 0o600)",
        "writer = directories.create(path); os.utime(writer)",
        "with directories.pinned(path) as pinned: os.chown(pinned, 0, 0)",
        "target = by_descriptor(opened); os.removexattr(target, 'user.x')",
        "write(by_descriptor(opened), b'')",
        "directories.rename(path, path)",
        "target, count = by_descriptor(opened), 1; os.chown(target, 0, 0)",
        "open(path, 'rb')",
        "open(path)",
        "os.fchmod(0, 0o600)",
    ],
)
def test_a_change_to_what_is_open_is_none_by_path(body: str) -> None:
    assert changes_by_path(written(body)) == set()


def written(body: str) -> dict[str, str]:
    """Return two modules: one has a function with this body, the other one that takes what is open."""
    lines = "".join(f"    {line}\n" for line in body.split("; "))
    writes = "def write(target: int | str, value: bytes) -> None:\n    os.setxattr(target, 'user.x', value)\n"
    imports = "import os\nfrom agent.install import other\nfrom agent.install.other import write\n"
    return {
        "other": f"import os\n{writes}",
        "it": f"{imports}def change(path: str, opened: int) -> None:\n{lines}",
    }


def changes_by_path(modules: Mapping[str, str]) -> set[str]:
    """Return each change by path in the sources of modules, as "module.function: what"."""
    trees = {name: ast.parse(text) for name, text in modules.items()}
    takers = {
        (name, node.name)
        for name, tree in trees.items()
        for node in tree.body
        if isinstance(node, Function) and takes_what_is_open(node)
    }
    return {change for name, tree in trees.items() for change in _Module(name, tree, takers).changes()}


def takes_what_is_open(function: Function) -> bool:
    first = function.args.args[0].annotation if function.args.args else None
    return first is not None and ast.unparse(first) == "int | str"


class Place(NamedTuple):
    """A function, or a module outside its functions, and all nodes in it."""

    name: str
    function: Function | None
    nodes: list[ast.AST]


class _Module:
    """One module's source; ``takers`` are the functions of all modules that take what is open."""

    def __init__(self, name: str, tree: ast.Module, takers: set[tuple[str, str]]) -> None:
        self._name = name
        self._tree = tree
        self._imported: set[str] = set()
        self._takers = {function for module, function in takers if module == name}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                self._learn(node, takers)

    def _learn(self, node: ast.ImportFrom, takers: set[tuple[str, str]]) -> None:
        for alias in node.names:
            here = alias.asname or alias.name
            if node.module in OWN_FILES and alias.name not in HARMLESS:
                self._imported.add(here)
            elif node.module == "agent.install":
                self._takers |= {f"{here}.{function}" for module, function in takers if module == alias.name}
            elif (str(node.module).removeprefix("agent.install."), alias.name) in takers:
                self._takers.add(here)

    def changes(self) -> Iterator[str]:
        """Yield each change by path, after where it is."""
        for place in self._places(self._tree, self._name, None):
            calls = {node.func: node for node in place.nodes if isinstance(node, ast.Call)}
            for node in place.nodes:
                what = self._change(node, calls.get(node) if isinstance(node, ast.expr) else None, place)
                if what:
                    yield f"{place.name}: {what}"

    def _places(self, node: ast.AST, name: str, function: Function | None) -> Iterator[Place]:
        nodes, rest = [], [*ast.iter_child_nodes(node)]
        while rest:
            child = rest.pop()
            if isinstance(child, Function | ast.ClassDef):
                inner = child if isinstance(child, Function) else None
                yield from self._places(child, f"{name}.{child.name}", inner)
            else:
                nodes.append(child)
                rest += ast.iter_child_nodes(child)
        yield Place(name, function, nodes)

    def _change(self, node: ast.AST, call: ast.Call | None, place: Place) -> str:
        """Say what a node changes by path, or nothing; ``call`` is the call that the node is the function of."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            return _import(node)
        if not isinstance(node, ast.Name | ast.Attribute):
            return ""
        what = ast.unparse(node)
        first = call.args[0] if call is not None and call.args else None
        if what in self._takers or CHANGES.fullmatch(what):
            is_open = first is not None and _is_open(first, place)
            return "" if is_open or (call is None and what in self._takers) else what
        if what in ("open", "io.open"):
            return "" if call is not None and _reads(call) else what
        if what in self._imported or what.split(".")[0] in CHANGING_MODULES:
            return what if call is not None else ""
        return what if PROGRAMS.fullmatch(what) else ""


def _reads(call: ast.Call) -> bool:
    """Tell whether a call of ``open`` opens a file for reading."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    mode = call.args[1] if len(call.args) > 1 else named.get("mode", ast.Constant("r"))
    return isinstance(mode, ast.Constant) and not set(str(mode.value)) & set("wax+")


def _import(node: ast.Import | ast.ImportFrom) -> str:
    """Say what an import brings that would hide a change from this test."""
    if isinstance(node, ast.ImportFrom):
        from_os = node.module == "os" and any(CHANGES.fullmatch(f"os.{alias.name}") for alias in node.names)
        return f"from {node.module}" if from_os or node.module in CHANGING_MODULES else ""
    renamed = [alias.name for alias in node.names if alias.asname and alias.name in {"os", "io", *CHANGING_MODULES}]
    return f"import {renamed[0]}" if renamed else ""


def _is_open(node: ast.expr, place: Place) -> bool:
    """Tell whether an expression is an open object, by the convention above."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "by_descriptor":
            return _is_open(node.args[0], place)
        return isinstance(node.func, ast.Attribute) and node.func.attr in OPENING
    bound = [*_bindings(node.id, place)] if isinstance(node, ast.Name) else []
    return bool(bound) and all(bound)


def _bindings(name: str, place: Place) -> Iterator[bool]:
    """Yield for each place where a name gets a value whether that is open."""
    if place.function is not None:
        arguments = place.function.args
        for number, argument in enumerate([*arguments.args, *arguments.kwonlyargs]):
            if argument.arg == name:
                kind = ast.unparse(argument.annotation) if argument.annotation else ""
                yield kind == "int" or (kind == "int | str" and number == 0)
    values = {id(target): value for node in place.nodes for target, value in _assigned(node)}
    for node in place.nodes:
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            value = values.get(id(node))
            yield value is not None and not _names(value, name) and _is_open(value, place)


def _names(node: ast.expr, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what a statement gives values to, each with its value."""
    if isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr
    if not isinstance(node, ast.Assign):
        return
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value
