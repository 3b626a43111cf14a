from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from example_host import Host


@pytest.fixture
def host(tmp_path: Path, program: Callable[[str], str]) -> Host:
    return Host(tmp_path / "host", program("codedeploy-local"))
