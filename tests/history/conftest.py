from __future__ import annotations

from pathlib import Path

import pytest

from host_records import HostRecords


@pytest.fixture
def records(tmp_path: Path) -> HostRecords:
    """A host without a deployment as yet."""
    return HostRecords(tmp_path / "root")
