"""The action for GitHub and the hook for pre-commit find what ``validate`` finds."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from action_runner import Ended, run_action

PROJECT = Path(__file__).resolve().parents[2]
ACTION = PROJECT / ".github" / "actions" / "validate"
GOOD = "version: 0.0\nos: linux\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout with two revisions, one of them in a directory with a space in its name."""
    for name, text in (("web", GOOD + "foo: 1\n"), ("back office", GOOD + "hooks:\n  Smoke: []\n")):
        (tmp_path / "checkout" / name).mkdir(parents=True)
        (tmp_path / "checkout" / name / "appspec.yml").write_text(text)
    return tmp_path / "checkout"


@pytest.fixture
def act(workspace: Path, program: Callable[[str], str]) -> Callable[..., Ended]:
    """Run the action on a runner that has the program."""
    path = f"{os.path.dirname(program('codedeploy-agent'))}:/usr/bin:/bin"
    return lambda **inputs: run_action(ACTION, workspace, {"PATH": path}, **inputs)


def test_the_action_shows_each_problem_beside_its_line_and_fails_for_errors(act: Callable[..., Ended]) -> None:
    ended = act(paths="web\nback office\n")
    assert ended.status == 1
    assert "::warning file=web/appspec.yml,line=3,col=1::" in ended.output
    assert "::error file=back office/appspec.yml,line=4,col=3::" in ended.output


def test_the_action_passes_its_inputs_on(act: Callable[..., Ended]) -> None:
    assert act(paths="back office", events="Smoke").status == 0
    assert act(paths="web").status == 0
    assert act(paths="web", strict="true").status == 1
    assert "The revision holds no AppSpec file other.yml" in act(paths="web", appspec_filename="other.yml").output


def test_an_input_is_never_a_command(act: Callable[..., Ended], workspace: Path) -> None:
    assert act(paths="$(touch hacked)\n`touch hacked`\n; touch hacked").status == 2
    assert not (workspace / "hacked").exists()


def test_a_runner_without_the_program_installs_it_by_hashes_alone(workspace: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(
        "#!/bin/sh\nmkdir -p $3/bin\n"
        f"printf '#!/bin/sh\\necho \"$@\" >>{tmp_path}/calls\\n' | tee $3/bin/python >$3/bin/codedeploy-agent\n"
        "chmod +x $3/bin/*\n"
    )
    (programs / "python3").chmod(0o755)
    assert run_action(ACTION, workspace, {"PATH": f"{programs}:/usr/bin:/bin"}, paths="web").status == 0
    *installed, validated = (tmp_path / "calls").read_text().splitlines()
    assert [line.partition("--quiet ")[2].split(" ")[0] for line in installed] == [
        "--require-hashes",
        "--require-hashes",
        "--no-deps",
    ]
    assert "--no-build-isolation" in installed[-1]
    assert validated.startswith("validate --format github")
    assert validated.endswith(" -- web")


@pytest.fixture
def hook() -> dict[str, str]:
    (found,) = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "desired"),
    [("appspec.yml", True), ("deploy/appspec.yaml", True), ("my-appspec.yml", False), ("appspec.yml.bak", False)],
)
def test_the_pre_commit_hook_is_run_for_appspec_files(hook: dict[str, str], name: str, desired: bool) -> None:
    assert bool(re.search(hook["files"], name)) == desired


def test_the_pre_commit_hook_checks_all_files_that_it_is_given(
    hook: dict[str, str], workspace: Path, program: Callable[[str], str]
) -> None:
    name, *words = hook["entry"].split()
    command = [program(name), *words, "web/appspec.yml", "back office/appspec.yml"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 1
    assert "back office/appspec.yml:4:3: error: The lifecycle event 'Smoke' is unknown" in done.stdout
    assert "web/appspec.yml: valid, 1 warning." in done.stdout
