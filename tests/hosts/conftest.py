"""A lab of hosts for each test, or a corner of a shared one, and journals beside the reason when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from agent_hosts import Fleet, Site, running_site
from host_lab import HostLab

JOURNAL_TAIL = 30_000  # characters of each host's journal that a failed test shows


@pytest.fixture
def lab() -> Iterator[HostLab]:
    """Hosts on a network of their own, removed when the test ends."""
    with HostLab() as made:
        yield made


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A network with a sandbox in it, for all tests of a process."""
    with running_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def fleet(site: Site, tmp_path: Path) -> Iterator[Fleet]:
    """An application and hosts for it, switched off when the test ends."""
    with Fleet(site, tmp_path).opened() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the journals of the hosts that a failed test used, while they are still there."""
    report = yield
    used = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, HostLab | Fleet)]
    if report.when == "call" and report.failed:
        for host in (host for each in used for host in each.hosts):
            report.sections.append((f"journal of {host.name}", host.journal()[-JOURNAL_TAIL:]))
            report.sections.append((f"console of {host.name}", host.console()[-JOURNAL_TAIL:]))
    return report
