"""The JSON Schema for editors refuses nothing that ``validate`` has nothing against."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from agent.appspec.parse import check
from agent.appspec.schema import json_schema
from case_data import load_cases

PROJECT = Path(__file__).resolve().parents[2]
HEAD = "version: 0.0\nos: linux\n"
SCHEMA = Draft7Validator(json_schema())


def refused(value: Any) -> list[str]:
    """What the schema has against a value as YAML gives it."""
    return [error.message for error in SCHEMA.iter_errors(_json(value))]


def _json(value: Any) -> Any:
    """A value without what JSON has no word for; a date is a text to the agent."""
    if isinstance(value, dict):
        return {str(key): _json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return str(value) if isinstance(value, datetime.date) else value


def load(text: str) -> Any:
    return next(iter(yaml.safe_load_all(text)), None)


def texts() -> Iterator[Any]:
    """Every AppSpec of the cases and the examples."""
    for case in load_cases():
        for number, step in enumerate(case.steps):
            text = step.get("appspec") or (HEAD + step["body"] if "body" in step else None)
            if text is not None:
                yield pytest.param(text, id=f"{case.name}-{number}")
    for path in sorted((PROJECT / "appspec-examples").rglob("appspec.yml")):
        yield pytest.param(path.read_text(), id=str(path.relative_to(PROJECT)))


@pytest.mark.parametrize("text", list(texts()))
def test_what_the_schema_refuses_validate_reports_too(text: str) -> None:
    problems = check(text.encode(), filename="appspec.yml", events=())[1]
    if problems:
        return
    assert refused(load(text)) == []


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "body",
    [
        "files:\n  - source: a\n    destination: /b\n    overwrite: yes\n",
        "files:\n  - source: a\n",
        "files:\n  - source: a\n    destination: 5\n",
        "file_exists_behavior: overwrite\n",
        "permissions:\n  - object: /a\n    mode: '0888'\n",
        "permissions:\n  - object: /a\n    type: [link]\n",
        "permissions:\n  - owner: root\n",
        "permissions:\n  - object: /a\n    context: {range: s0}\n",
        "hooks:\n  AfterInstal:\n    - location: a\n",
        "hooks:\n  Install:\n    - location: a\n",
        "hooks:\n  AfterInstall:\n    - location: a\n      timeout: 0\n",
        "hooks:\n  AfterInstall:\n    - location: a\n      timeout: ten\n",
        "hooks:\n  AfterInstall:\n    - location: /\n",
        "hooks:\n  AfterInstall: a.sh\n",
        "hooks: []\n",
        "Files: []\n",
    ],
)
def test_the_mistakes_that_a_schema_can_know_are_refused_by_both(body: str) -> None:
    text = HEAD + body
    assert check(text.encode(), filename="appspec.yml", events=())[1] != []
    assert refused(load(text)) != []


@pytest.mark.parametrize("text", ["os: linux\n", "version: 1.0\nos: linux\n", "version: 0.0\nos: windows\n", "[]"])
def test_a_file_that_is_not_for_this_agent_is_refused_by_both(text: str) -> None:
    assert check(text.encode(), filename="appspec.yml")[0] is None
    assert refused(load(text)) != []


@pytest.mark.parametrize(
    "body",
    [
        "x-common: &c {any: [thing]}\nfiles: ~\npermissions: false\nhooks: no\n",
        "hooks:\n  AfterInstall: ~\n  ApplicationStart: false\n  ValidateService: []\n",
        "hooks:\n  AfterInstall:\n    - location: a\n      timeout: '60'\n      runas: 5\n      sudo: false\n",
        "permissions:\n  - object: /a\n    mode: 644\n    owner: 33\n    acls: ['u:a:rw']\n    except: []\n",
    ],
)
def test_what_the_parser_takes_without_a_word_the_schema_takes(body: str) -> None:
    text = HEAD + body
    assert check(text.encode(), filename="appspec.yml", events=())[1] == []
    assert refused(load(text)) == []


def test_every_key_of_the_table_is_in_the_document() -> None:
    document = (PROJECT / "docs" / "appspec.md").read_text()
    assert [name for name in _names(json_schema()) if name not in document] == []


def _names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _names(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _names(inner)
