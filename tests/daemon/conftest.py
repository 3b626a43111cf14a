"""A service and a host for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_host import AgentHost
from command_service import CommandService, command_service


@pytest.fixture
def service() -> Iterator[CommandService]:
    with command_service() as running:
        yield running


@pytest.fixture
def host(service: CommandService, tmp_path: Path) -> Iterator[AgentHost]:
    """A host whose agent is not started yet."""
    with AgentHost(tmp_path / "host", service.url) as made:
        yield made
