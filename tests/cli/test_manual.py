"""The manual and the shells' completions: everything that the programs know is in them, and they can be read."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import manual
from agent.cli.local_options import make_parser
from agent.cli.main import full_parser
from agent.config.settings import RETIRED, TABLE

PROJECT = Path(__file__).resolve().parents[2]
SHELLS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
# Completes the last of its words, as bash does when somebody presses the key behind it.
COMPLETE = """
source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
"$(complete -p "$1" | sed 's/.* -F \\([^ ]*\\) .*/\\1/')"; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory "share" as a build makes it."""
    base = tmp_path_factory.mktemp("build")
    command = [sys.executable, "setup.py", "-q", "build_share", f"--build-base={base}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return base / "share"


def of_parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every command and option that a parser's help shows."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield name
                yield from of_parser(inner)


def plain(page: str) -> str:
    """A page without its fonts and escapes."""
    return re.sub(r"\\f.|\\&", "", page).replace("\\-", "-").replace("\\(aq", "'").replace("\\ ", " ")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", [manual.AGENT, manual.LOCAL])
def test_a_shell_completes_every_command_and_option(built: Path, program: str, shell: str) -> None:
    text = (built / SHELLS[shell].format(program)).read_text()
    known = set(re.findall(r"[A-Za-z0-9][\w-]*", text))
    assert {word for word in of_parser(manual.parsers()[program]) if word.lstrip("-") not in known} == set()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("codedeploy-agent val", ["validate"]),
        ("codedeploy-agent validate --app", ["--appspec-filename"]),
        ("codedeploy-agent validate --format s", ["sarif"]),
        ("codedeploy-agent traffic bl", ["block"]),
        ("codedeploy-agent deploy-local --dry", ["--dry-run"]),
        ("codedeploy-agent help sett", ["settings"]),
        ("codedeploy-agent install --config setup.p", ["setup.py"]),
        ("codedeploy-local --file-e", ["--file-exists-behavior"]),
        ("codedeploy-local --config-file setup.p", ["setup.py"]),
    ],
)
def test_bash_completes_what_is_typed(built: Path, line: str, completed: list[str]) -> None:
    words = line.split(" ")
    script = built / SHELLS["bash"].format(words[0])
    done = subprocess.run(["bash", "-c", COMPLETE, "bash", script, *words], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (completed, "")


@pytest.mark.long
@pytest.mark.needs_tool("zsh")
def test_zsh_can_read_its_completions(built: Path) -> None:
    for program in (manual.AGENT, manual.LOCAL):
        script = built / SHELLS["zsh"].format(program)
        assert script.read_text().startswith(f"#compdef {program}\n")
        subprocess.run(["zsh", "-n", script], check=True)


@pytest.mark.long
@pytest.mark.needs_tool("fish")
def test_fish_completes_what_is_typed(built: Path) -> None:
    script = built / SHELLS["fish"].format(manual.AGENT)
    code = f"source {script}; complete -C 'codedeploy-agent val'"
    done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("validate\t")


@pytest.mark.needs_tool("groff")
def test_the_pages_are_set_without_a_warning(tmp_path: Path) -> None:
    for path, text in manual.pages().items():
        page = tmp_path / Path(path).name
        page.write_text(text)
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-cbou", page], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path
        assert done.stdout.startswith(f"{page.stem.upper()}({page.suffix[1:]})")


def test_the_build_writes_the_pages(built: Path) -> None:
    written = {str(path.relative_to(built / "man")): path.read_text() for path in built.glob("man/*/*")}
    assert written == manual.pages()
    assert set(written) == {"man8/codedeploy-agent.8", "man1/codedeploy-local.1", "man5/codedeployagent.yml.5"}


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("man8/codedeploy-agent.8", full_parser()),  # the options of deploy-local are explained in the other page
        ("man1/codedeploy-local.1", make_parser("codedeploy-local")),
    ],
)
def test_a_page_explains_every_command_and_option(name: str, parser: argparse.ArgumentParser) -> None:
    page = plain(manual.pages()[name])
    explained = set(re.findall(r"(?:^|, )(--?\w[\w-]*)", page, re.MULTILINE))
    explained |= set(re.findall(rf'^\.SS "{parser.prog} (\S+)"$', page, re.MULTILINE))
    assert set(of_parser(parser)) - explained == set()


def test_the_page_of_the_settings_explains_each_with_its_default() -> None:
    page = plain(manual.pages()["man5/codedeployagent.yml.5"])
    for row in TABLE.values():
        assert f"\n{row.key}\n{row.meaning} (" in page
    assert "; default 7200; " in page
    for key, why in RETIRED.items():
        assert f"\n{key}\n{why}\n" in page


@pytest.mark.needs_tool("groff")
@pytest.mark.parametrize("text", [".so /etc/passwd", "'br", r"a \fBpath\n", 'it\'s `x` ~ ^ "q" -- é…'])
def test_no_text_of_a_help_is_taken_for_a_request(text: str) -> None:
    parser = argparse.ArgumentParser("any", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--option", help=text)
    page = "\n".join([".TH x 1", *manual._program(parser), ""])
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"], input=page, capture_output=True, text=True, check=True
    )
    assert (done.stderr, done.stdout.count(text)) == ("", 2)
