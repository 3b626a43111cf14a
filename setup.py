"""Builds the manual's pages and the shells' completions of the commands' own parsers; pyproject.toml has all else."""

import os
import sys
from pathlib import Path
from typing import ClassVar

import shtab
from setuptools import Command, setup
from setuptools.command.build import build

_COMPLETIONS = {
    "bash": "share/bash-completion/completions/{}",
    "zsh": "share/zsh/site-functions/_{}",
    "fish": "share/fish/vendor_completions.d/{}.fish",
}
_FILES = {"PATH": shtab.FILE, "FILE": shtab.FILE, "PLACE": shtab.FILE, "LOCATION": shtab.FILE, "DIRECTORY": shtab.DIR}
"""What stands for an option's value, and what the shells offer there."""


class BuildShare(Command):
    """Writes the files below the build directory, and has them installed below the prefix."""

    user_options: ClassVar = [("build-base=", "b", "the build directory")]
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_base = None
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_base", "build_base"), ("build_lib", "build_lib"))

    def run(self) -> None:
        if self.editable_mode:
            return  # an editable installation takes no data files
        installed = self.distribution.data_files = self.distribution.data_files or []
        for name, text in _texts().items():
            path = Path(self.build_base, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            installed.append((str(Path(name).parent), [str(path)]))

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def _texts() -> dict[str, str]:
    """Return the text of each file by its path below the prefix."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which a build in isolation leaves out
    os.environ["PYTHON_COLORS"] = "0"  # and not those of a terminal that argparse has found
    from agent.cli import manual

    texts = {f"share/man/{path}": text for path, text in manual.pages().items()}
    for program, parser in manual.parsers().items():
        _offer_files(parser)
        for shell, place in _COMPLETIONS.items():
            texts[place.format(program)] = shtab.complete(parser, shell) + "\n"
    return texts


def _offer_files(parser) -> None:  # noqa: ANN001 - setuptools has no use for argparse here
    for action in parser._actions:
        if action.metavar in _FILES and not action.choices:
            action.complete = _FILES[action.metavar]
        for inner in action.choices.values() if isinstance(action.choices, dict) else ():
            _offer_files(inner)


build.sub_commands.append(("build_share", None))
setup(cmdclass={"build_share": BuildShare})
