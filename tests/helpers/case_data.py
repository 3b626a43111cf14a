"""The cases of tests/cases as data: what to do, what the official agent 1.8.1 did, and ours where it differs.

A case is one entry of a YAML file:

    name: hooks-fail
    about: A script that ends with 3 ends the deployment after its event.
    steps:
      - shell: standard; hook_scripts       # bash, with the helper functions of case_box.PRELUDE
      - body: |                             # an AppSpec without its two first lines; `appspec:` gives it whole
          files: ...
      - deploy: [-b, OVERWRITE]             # options besides -c, -l and -t
        expect: {exit: 1, dest: {...}, state: {...}}
        ours: {exit: 0}                     # replaces parts of `expect` where ours differs on purpose

``$BOX`` is the sandbox, ``$BUNDLE``, ``$DEST`` and ``$ROOT`` (the root directory of the agent) lie in it.
``@app`` stands for what installing the directory ``app`` of the standard revision gives.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import yaml

DIRECTORY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cases")
PARTS = ("exit", "dest", "state", "deployments_log", "archive", "watch")

APP_TREE = {
    ".hidden": 'file 0644 "hid\\n"',
    "empty": "dir 0755",
    "one.txt": 'file 0644 "one\\n"',
    "sub": "dir 0755",
    "sub/deep": "dir 0755",
    "sub/two.txt": 'file 0644 "two\\n"',
}


@dataclass(frozen=True)
class Case:
    """One case: ``steps`` as they stand in the file; ``differs`` tells that ours is another result on purpose."""

    name: str
    about: str
    topic: str
    steps: tuple[dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        return any("ours" in step for step in self.steps)


def load_cases() -> list[Case]:
    """All cases of all topics, in the order of their files."""
    cases = []
    for name in sorted(os.listdir(DIRECTORY)):
        if not name.endswith(".yaml"):
            continue
        with open(os.path.join(DIRECTORY, name), "rb") as file:
            entries = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for entry in entries:
            steps = tuple(entry.pop("steps"))
            name_, about = entry.pop("name"), entry.pop("about")
            cases.append(Case(name_, about, name.removesuffix(".yaml"), steps, entry))
    return cases


def expected(step: dict[str, Any], part: str) -> dict[str, Any]:
    """What a deploy step must give: ``part`` is "expect" for the official agent or "ours"."""
    desired = dict(step["expect"])
    if part == "ours":
        desired.update(step.get("ours", {}))
    desired["dest"] = expand_tree(desired.get("dest", {}))
    desired["state"] = {group: _expand_group(state) for group, state in desired.get("state", {}).items()}
    return desired


def expand_tree(tree: dict[str, str | None]) -> dict[str, str]:
    """A tree with ``@app`` written out; later entries win, and None takes an entry out."""
    full: dict[str, str | None] = {}
    for path, line in tree.items():
        if line == "@app":
            full[path] = "dir 0755"
            full.update({f"{path}/{name}": text for name, text in APP_TREE.items()})
        else:
            full[path] = line
    return {path: line for path, line in sorted(full.items()) if line is not None}


def _expand_group(state: dict[str, Any]) -> dict[str, Any]:
    full = dict(state)
    if "cleanup" in full:
        full["cleanup"] = sorted(line for item in full["cleanup"] for line in _expand_paths(item))
    if "instructions" in full:
        full["instructions"] = sorted(line for item in full["instructions"] for line in _expand_instructions(item))
    return full


def _expand_paths(item: str) -> list[str]:
    if not item.startswith("@app "):
        return [item]
    top = item.removeprefix("@app ")
    return [top, *(f"{top}/{name}" for name in APP_TREE)]


def _expand_instructions(item: str) -> list[str]:
    if not item.startswith("@app "):
        return [item]
    top = item.removeprefix("@app ")
    lines = [f"mkdir {top}"]
    for name, text in APP_TREE.items():
        lines.append(f"mkdir {top}/{name}" if text.startswith("dir") else f"copy app/{name} -> {top}/{name}")
    return lines
