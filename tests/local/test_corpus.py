"""AppSpec files in the manner of real ones: each usual mistake is called what it is, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.local.validation import ValidationRequest, validate_path

CORPUS = yaml.safe_load((Path(__file__).parent / "appspec_corpus.yaml").read_text())
SCRIPT = "#!/bin/sh\n"


@pytest.mark.parametrize("entry", CORPUS, ids=[entry["name"] for entry in CORPUS])
def test_validate_finds_what_is_wrong_and_nothing_else(entry: dict[str, Any], tmp_path: Path) -> None:
    files = {"appspec.yml": entry["appspec"]}
    for item in entry.get("revision", []):
        files |= item if isinstance(item, dict) else {item: SCRIPT}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, newline="")
    problems = validate_path(str(tmp_path), ValidationRequest()).problems
    found = [f"{each.line}:{each.column} {each.severity}: {each.message}" for each in problems]
    desired = entry.get("finds", [])
    assert len(found) == len(desired), found
    assert all(text.startswith(beginning) for text, beginning in zip(found, desired, strict=True)), found
