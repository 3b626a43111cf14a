from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examined_host import ExaminedHost
from wire_server import WireServer, running_server


@pytest.fixture
def service() -> Iterator[WireServer]:
    """What answers in the place of the services."""
    with running_server() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ExaminedHost]:
    """A host with nothing wrong but that it reaches no service."""
    with ExaminedHost(tmp_path / "host") as made:
        yield made
