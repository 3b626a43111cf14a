"""A lab of hosts for each test, and their journals beside the reason when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from host_lab import HostLab

JOURNAL_TAIL = 30_000  # characters of each host's journal that a failed test shows


@pytest.fixture
def lab() -> Iterator[HostLab]:
    """Hosts on a network of their own, removed when the test ends."""
    with HostLab() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the journals of the hosts that a failed test used, while they are still there."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and isinstance(lab, HostLab):
        for host in lab.hosts:
            report.sections.append((f"journal of {host.name}", host.journal()[-JOURNAL_TAIL:]))
            report.sections.append((f"console of {host.name}", host.console()[-JOURNAL_TAIL:]))
    return report
