from __future__ import annotations

from pathlib import Path

import pytest

from bundle_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)
