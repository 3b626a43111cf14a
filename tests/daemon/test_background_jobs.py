"""Short-lived children of the supervisor."""

from __future__ import annotations

import logging
import os
import resource
import selectors

import psutil
import pytest

from agent.daemon.background_jobs import BackgroundJobs


def end(selector: selectors.BaseSelector) -> None:
    for key, _ in selector.select(30):
        key.data()


def test_a_child_is_waited_for_and_leaves_neither_zombie_nor_descriptor() -> None:
    with selectors.DefaultSelector() as selector:
        background_jobs = BackgroundJobs(selector, os.environ)
        before = len(os.listdir("/proc/self/fd")), psutil.Process().children()
        background_jobs.start("json.tool", b"{}")
        background_jobs.start("json.tool", b"{}")
        assert len(selector.get_map()) == 1, "one that still runs is not started a second time"
        end(selector)
        assert (len(os.listdir("/proc/self/fd")), psutil.Process().children()) == before
        background_jobs.start("json.tool", b"{}")
        assert len(selector.get_map()) == 1
        end(selector)


def test_a_host_without_room_for_another_process_does_not_end_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("agent").propagate = True
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with selectors.DefaultSelector() as selector:
        background_jobs = BackgroundJobs(selector, os.environ)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            background_jobs.start("json.tool", b"{}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not selector.get_map()
    assert "could not be started" in caplog.text
