"""``register`` and ``deregister`` from the command line: secrets come by standard input only."""

from __future__ import annotations

import argparse
import io

import pytest

from agent.cli import deregister, register
from agent.errors import AgentError, UsageError


def parse(module, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(arguments)


USER = ("--instance-name", "web-1", "--iam-user-arn", "arn:aws:iam::123456789012:user/web-1")


def test_a_secret_key_is_no_option(capsys) -> None:
    with pytest.raises(SystemExit):
        parse(register, *USER, "--secret-access-key", "x")
    assert "unrecognized arguments" in capsys.readouterr().err


def test_an_empty_standard_input_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="no secret access key"):
        register.run(parse(register, *USER, "--access-key-id", "AKIAEXAMPLE"))


def test_it_must_be_said_who_the_host_is(capsys) -> None:
    with pytest.raises(SystemExit):
        parse(register, "--instance-name", "web-1")
    assert "--create-iam-user" in capsys.readouterr().err


def test_tags_may_be_given_in_one_or_many_options() -> None:
    found = parse(register, *USER, "--tag", "a=1", "--tag", "b=2", "--tags", "Key=c,Value=3", "d=4")
    assert found.tags == ["a=1", "b=2", "Key=c,Value=3", "d=4"]


def test_deregistering_without_a_name_needs_a_file_that_says_it(tmp_path) -> None:
    options = parse(deregister, "--file", str(tmp_path / "none.yml"), "--region", "eu-central-1")
    with pytest.raises(AgentError, match=r"Give --instance-name"):
        deregister.run(options)
