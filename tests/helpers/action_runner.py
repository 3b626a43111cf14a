"""A small stand-in for the runner of GitHub: it carries out the steps of a composite action."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

_INPUT = re.compile(r"\$\{\{ *inputs\.([a-z-]+) *\}\}")


class Ended(NamedTuple):
    """The exit status of the last step that ran, and what all of them printed."""

    status: int
    output: str


def run_action(action: Path, workspace: Path, environment: Mapping[str, str], **inputs: str) -> Ended:
    """Run the steps of an action in a workspace up to the first that fails.

    Inputs that are not given have their defaults, and one that the action does not name is refused. Expressions are
    known in ``env`` alone.
    """
    document = yaml.safe_load((action / "action.yml").read_text())
    known = document["inputs"]
    values = {name: known[name]["default"] for name in known}
    values |= {name.replace("_", "-"): value for name, value in inputs.items()}
    assert set(values) == set(known)
    assert document["runs"]["using"] == "composite"
    output = ""
    for step in document["runs"]["steps"]:
        assert step["shell"] == "sh"
        assert "${{" not in step["run"]
        own = {name: _INPUT.sub(lambda found: values[found[1]], text) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["sh", "-e", "-c", step["run"]],
            cwd=workspace,
            env={**environment, **own, "GITHUB_ACTION_PATH": str(action), "RUNNER_TEMP": str(workspace.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output += done.stdout
        if done.returncode != 0:
            return Ended(done.returncode, output)
    return Ended(0, output)
