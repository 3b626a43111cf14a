"""What all tests share: guards for rights and system packages, the soak switch, and sampling of long walks.

A test that needs more than an ordinary user in a container has says so with a marker:

    @pytest.mark.needs("root", "mount")
    @pytest.mark.needs_tool("setfacl", "getfacl")

What can be asked for is in guards.WANTS. Where the machine does not grant it, the test is skipped with its reason;
where CI=true it fails, so that nothing goes missing unseen.
"""

from __future__ import annotations

import ctypes
import faulthandler
import glob
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import hypothesis
import pytest

from guards import WANTS, lacking, lacking_tool, summary, unavailable_unless

Item = TypeVar("Item")
Sampler = Callable[[Iterable[Item], int], list[Item]]

HANG_SECONDS = 3600
SMALLEST_SAMPLE = 6  # of a walk whose first and last steps alone show little
STDERR = pytest.StashKey[int]()
M_ARENA_MAX = -8

hypothesis.settings.register_profile("sample", deadline=None, derandomize=True, database=None, max_examples=60)
hypothesis.settings.register_profile("soak", deadline=None, database=None, max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("walks")
    group.addoption("--soak", action="store_true", help="run all tests, and walk everything instead of a sample")
    group.addoption(
        "--part",
        choices=("essential", "hosts", "both"),
        default="essential",
        help="hosts: the tests marked long, and larger samples of walks, instead of the essential tests",
    )
    group.addoption(
        "--sample-seed",
        type=int,
        default=int(os.environ.get("SAMPLE_SEED", "1")),
        help="the seed that chooses what a sampled walk visits (default: SAMPLE_SEED or 1)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background with these ignored, and so would be every process of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not config.option.basetemp:  # a worker gets its own from the run that started it
        config.option.basetemp = temporary_directory()
    config.addinivalue_line("markers", f"needs(*wants): the machine must grant these: {', '.join(WANTS)}")
    config.addinivalue_line("markers", "needs_tool(*names): the test runs these programs of the system")
    config.addinivalue_line("markers", "long: the test is not essential and takes long; make test-hosts runs it")
    config.addinivalue_line("markers", "soak_only: the test is too long for a sampled run")
    # A heap for each thread of the stand-in servers would take hundreds of MB, and slow every fork of a test.
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    config.stash[STDERR] = os.dup(2)  # before pytest catches what is written to it
    hypothesis.settings.load_profile("soak" if config.getoption("--soak") else "sample")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End a process whose test hangs, and show where; no busy machine takes this long, but a walk in full may."""
    if not item.config.getoption("--soak"):
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_report_header(config: pytest.Config) -> str:
    if config.getoption("--soak"):
        return "walks: in full (--soak)"
    return f"part: {config.getoption('--part')}; walks: sampled with --sample-seed={config.getoption('--sample-seed')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another run. Such a test is not skipped: `make soak` runs all of them."""
    if config.getoption("--soak"):
        return
    left_out = [item for item in items if not _belongs(item, config.getoption("--part"))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _belongs(item: pytest.Item, part: str) -> bool:
    if item.get_closest_marker("soak_only"):
        return False
    if part == "both":
        return True
    if item.get_closest_marker("long"):
        return part == "hosts"
    return part == "essential" or "sample" in getattr(item, "fixturenames", ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    wants = [want for marker in item.iter_markers("needs") for want in marker.args]
    tools = [tool for marker in item.iter_markers("needs_tool") for tool in marker.args]
    unavailable_unless([*map(lacking, dict.fromkeys(wants)), *map(lacking_tool, dict.fromkeys(tools))])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many installer cases end as with the official agent, and what was skipped for want of what.

    A soak also prints how far each walk went.
    """
    outcomes = Counter(_noted(terminalreporter, "case"))
    if outcomes:
        same, differ = outcomes["same"], outcomes["differs on purpose"]
        terminalreporter.write_line(f"installer cases: {same} same, {differ} differ on purpose (docs/differences.md)")
    if terminalreporter.config.getoption("--soak"):
        for walked in sorted(_noted(terminalreporter, "walk")):
            terminalreporter.write_line(f"walk: {walked}")
    for line in summary(_skip_reasons(terminalreporter)):
        terminalreporter.write_line(line)


def _skip_reasons(terminalreporter: pytest.TerminalReporter) -> list[str]:
    found = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    return [where[2].removeprefix("Skipped: ") for where in found if isinstance(where, tuple)]


def _noted(terminalreporter: pytest.TerminalReporter, desired: str) -> list[str]:
    """Give what the tests that passed have recorded under a name."""
    reports = terminalreporter.stats.get("passed", [])
    properties = [found for report in reports for found in getattr(report, "user_properties", [])]
    return [str(value) for name, value in properties if name == desired]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove what a successful run has made; after a failure it stays for whoever looks into it."""
    if exitstatus == 0 and not hasattr(session.config, "workerinput"):
        remove(str(session.config.option.basetemp))


def temporary_directory() -> str:
    """A directory for this run's files, after removing those that earlier runs left when they failed.

    pytest's own directories will not do: it removes old ones by a recursive function, which ends with an error on trees
    deeper than Python's stack, and some tests make such trees.
    """
    ours = os.path.join(tempfile.gettempdir(), f"codedeploy-tests-{os.getuid()}-")
    left = [path for path in glob.glob(ours + "*") if not os.path.exists(f"/proc/{path.removeprefix(ours)}")]
    for path in sorted(left, key=os.path.getmtime)[:-2]:
        remove(path)
    return ours + str(os.getpid())


def remove(path: str) -> None:
    subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL)


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether this run walks everything (``make soak``) instead of a sample."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Sampler[Item]:
    """Choose what a test visits of a long walk: ``sample(walk, n)``.

    Returns everything in a soak run, at most ``n`` items in `make test-hosts`, and a quarter of that in `make test`,
    but not less than six. They come in their order, the first and the last among them. The same seed, test and walk
    give the same choice.
    """
    everything = bool(request.config.getoption("--soak"))
    share = 4 if request.config.getoption("--part") == "essential" else 1
    seed = f"{request.config.getoption('--sample-seed')}:{request.node.nodeid}"

    def choose(walk: Iterable[Item], n: int) -> list[Item]:
        steps: Sequence[Item] = list(walk)
        n = max(min(n, SMALLEST_SAMPLE), n // share)
        if everything or len(steps) <= n:
            return list(steps)
        ends = {0, len(steps) - 1}
        inner = [index for index in range(len(steps)) if index not in ends]
        chosen = ends | set(random.Random(seed).sample(inner, n - len(ends)))
        return [steps[index] for index in sorted(chosen)]

    return choose


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of one of our own console scripts, as the virtual environment of this run installed it."""

    def find(name: str) -> str:
        path = os.path.join(os.path.dirname(sys.executable), name)
        assert os.access(path, os.X_OK), f"{path} is missing: install the project into this environment first"
        return path

    return find
