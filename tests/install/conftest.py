"""Hosts for the tests of Installs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from install_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A host of its own."""
    return Box(str(tmp_path))


@pytest.fixture
def open_box() -> Iterator[Box]:
    """A host of its own in a directory that every user can pass through, which those of pytest are not."""
    top = tempfile.mkdtemp(prefix="codedeploy-test-")
    os.chmod(top, 0o711)
    yield Box(top)
    shutil.rmtree(top, ignore_errors=True)
