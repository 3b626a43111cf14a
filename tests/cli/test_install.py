"""``install`` and ``uninstall`` from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from agent.cli import install, uninstall
from agent.fleet.errors import SourceError
from fleet_box import StandIns, pip_wheel, wheelhouse_files, write_archive


def run(module, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(arguments)))


def test_a_host_gets_the_agent_and_loses_it_again(tmp_path: Path, monkeypatch, capfd) -> None:
    programs = StandIns(tmp_path / "programs")
    programs.add("systemctl")
    monkeypatch.setenv("PATH", programs.path)
    place, sha256 = write_archive(tmp_path / "w.tar.gz", wheelhouse_files("9.1", pip_wheel()))
    root = str(tmp_path / "root")
    arguments = ["--source", place, "--sha256", sha256, "--root", root, "--no-start"]
    assert run(install, *arguments) == 0
    assert capfd.readouterr().out.endswith("Version 9.1 is installed.\n")
    assert run(install, *arguments) == 0
    assert capfd.readouterr().out == "Version 9.1 was installed already.\n"
    assert run(uninstall, "--root", root) == 0
    assert run(uninstall, "--root", root) == 0
    assert capfd.readouterr().out.splitlines() == [
        "The agent is removed.",
        "The agent was not installed here by this command.",
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--source", "/tmp/w.tar.gz"], "--source needs --sha256"),
        (["--source", "/tmp/w.tar.gz", "--sha256", "12"], "64 hexadecimal digits"),
        (["--source", "ftp://host/w", "--sha256", "0" * 64], "begins with ftp://"),
        ([], "--version must name one of the versions that are there: none"),
        (["--version", "9.9"], "--version must name one of the versions that are there: none"),
    ],
)
def test_what_cannot_be_installed_says_why(tmp_path: Path, arguments, reason) -> None:
    with pytest.raises(SourceError, match=reason):
        run(install, *arguments, "--root", str(tmp_path / "root"))
