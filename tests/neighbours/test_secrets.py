"""What a file or directory is in the end is the widest that it ever was: nobody peeks in the meantime.

An account looks at every step of an Install at everything that it can reach.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import neighbour_attacks as attacks
from agent.appspec.model import AclEntry, Permission
from install_box import Tree, put
from neighbour_accounts import ACCOUNT, OTHER_ACCOUNT, Program, become, often_by, run_as
from neighbour_host import Host, Outcome, mount_over, own_mounts
from neighbour_rounds import late, obstacle_at_the_end

pytestmark = pytest.mark.needs("root", "users")

MARKER = "password="
FIRST: Tree = {
    "app/secret": f"{MARKER}1",
    "app/bin/tool": "one",
    "app/deep/er/secret": f"{MARKER}1",
    "app/gone": f"{MARKER}1",
}
SECOND: Tree = {
    "app/secret": f"{MARKER}2",
    "app/bin/tool": "two",
    "app/deep/er/secret": f"{MARKER}2",
    "app/new/secret": f"{MARKER}2",
    "plain": "two",
}

FILES, DIRECTORIES = frozenset({"file"}), frozenset({"directory"})

# Each keeps OTHER_ACCOUNT away from everything with the marker in it.
KEPT_SECRET: dict[str, Callable[[str], tuple[Permission, ...]]] = {
    "files of root's": lambda app: (Permission(app, mode=0o600, types=FILES),),
    "files of the account's": lambda app: (
        Permission(app, mode=0o600, owner=str(ACCOUNT), group=str(ACCOUNT), types=FILES),
    ),
    "files with an ACL": lambda app: (
        Permission(app, mode=0o640, owner=str(ACCOUNT), acls=(AclEntry("user", "daemon", 4),), types=FILES),
    ),
    "directories of root's": lambda app: (Permission(os.path.dirname(app), mode=0o700, types=DIRECTORIES),),
    "directories of the account's": lambda app: (
        Permission(os.path.dirname(app), mode=0o700, owner=str(ACCOUNT), types=DIRECTORIES),
    ),
}
WITH_EACH = pytest.mark.parametrize("kept", KEPT_SECRET)


def look(host: Host) -> Program:
    """Return the program by which the other account reads what it can, again and again; it returns the paths."""
    return often_by(OTHER_ACCOUNT, lambda: attacks.readable(host.home, MARKER.encode()))


def assert_never_seen(host: Host, outcome: Outcome) -> None:
    assert outcome.problems == []
    seen = {step: found for step, found in enumerate(outcome.results, 1) if found}
    assert not seen, f"read at {len(seen)} of {outcome.steps} steps: {list(seen.items())[:3]}"
    assert outcome.results, "nobody has looked"
    assert run_as(OTHER_ACCOUNT, lambda: attacks.readable(host.home, MARKER.encode())) == []


@WITH_EACH
def test_another_account_cannot_read_a_secret_while_it_is_installed(kept: str, host: Host) -> None:
    host.set_up()
    work = host.deployment(FIRST, to=[("app", host.app)], given=False, permissions=KEPT_SECRET[kept](host.app))
    outcome = host.run(work, each=look(host))
    assert outcome.error == ""
    assert_never_seen(host, outcome)


@WITH_EACH
def test_another_account_cannot_read_a_secret_while_it_is_replaced(kept: str, host: Host) -> None:
    host.set_up()
    options = {"to": [("app", host.app)], "given": False, "permissions": KEPT_SECRET[kept](host.app)}
    assert host.run(host.deployment(FIRST, **options)).error == ""
    outcome = host.run(host.deployment(SECOND, **options), each=look(host))
    assert outcome.error == ""
    assert_never_seen(host, outcome)


@WITH_EACH
def test_another_account_cannot_read_a_secret_while_its_replacement_is_undone(kept: str, host: Host) -> None:
    def prepare() -> Program:
        host.set_up()
        options = {"given": False, "permissions": KEPT_SECRET[kept](host.app)}
        assert host.run(host.deployment(FIRST, to=[("app", host.app)], **options)).error == ""
        return host.deployment(SECOND, to=[("app", host.app), ("plain", late(host))], **options)

    start, obstacle = obstacle_at_the_end(host, prepare)
    outcome = host.run(prepare(), at={start: obstacle}, each=look(host))
    assert late(host) in outcome.error
    assert outcome.results.pop(start - 1) == 1
    assert_never_seen(host, outcome)


@contextmanager
def peeking(host: Host) -> Iterator[list[dict[str, object]]]:
    """Let the other account watch the directory meanwhile; the list has what it gained afterwards."""
    (started, says_started), (stopped, stop), (reader, writer) = os.pipe(), os.pipe(), os.pipe()
    gained: list[dict[str, object]] = []
    child = os.fork()
    if child == 0:
        try:
            os.close(stop)
            become(OTHER_ACCOUNT)
            os.write(writer, json.dumps(attacks.peek(host.home, MARKER.encode(), says_started, stopped)).encode())
        finally:
            os._exit(0)
    for descriptor in (says_started, stopped, writer):
        os.close(descriptor)
    try:
        assert os.read(started, 1), "the account does not watch"
        yield gained
    finally:
        os.close(stop)
        with os.fdopen(reader, "rb") as pipe:
            gained.append(json.loads(pipe.read()))
        os.close(started)
        os.waitpid(child, 0)


@pytest.mark.parametrize("kept", ["files of root's", "files of the account's"])
def test_another_account_cannot_read_a_secret_by_watching_where_it_is_installed(kept: str, host: Host) -> None:
    host.set_up()
    options = {"to": [("app", host.app)], "given": False, "permissions": KEPT_SECRET[kept](host.app)}
    with peeking(host) as gained:
        for version in "12":
            revision: Tree = {f"app/secret-{number}": f"{MARKER}{version}" for number in range(200)}
            assert host.run(host.deployment(revision, **options)).error == ""
    assert gained[0]["events"], "nothing was seen to change"
    assert gained[0]["read"] == []


@pytest.mark.needs("mount")
def test_another_account_cannot_read_a_secret_while_it_is_written_into_a_mounted_file(host: Host) -> None:
    host.set_up()
    put(f"{host.top}/roots/mounted", f"{MARKER}0", mode=0o600)
    os.mkdir(host.app)
    os.chown(host.app, ACCOUNT, ACCOUNT)
    put(f"{host.app}/secret", "", mode=0o600)
    options = {"to": [("app", host.app)], "given": False, "permissions": KEPT_SECRET["files of root's"](host.app)}

    def mount() -> None:
        own_mounts()
        assert mount_over(f"{host.app}/secret", f"{host.top}/roots/mounted")

    outcome = host.run(host.deployment(FIRST, **options), before=mount, each=look(host))
    assert_never_seen(host, outcome)
    assert not outcome.error
    assert attacks.readable(f"{host.top}/roots", f"{MARKER}1".encode()) == [f"{host.top}/roots/mounted"]


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755], ids=oct)
@pytest.mark.parametrize("by_archive", [False, True], ids=["by permissions", "by the archive too"])
def test_nobody_runs_a_file_as_root_that_is_to_run_as_an_account(by_archive: bool, mode: int, host: Host) -> None:
    host.set_up()
    options = {
        "to": [("app", host.app)],
        "given": False,
        "permissions": (Permission(f"{host.app}/bin", mode=mode, owner=str(ACCOUNT), group=str(ACCOUNT), types=FILES),),
    }

    def find() -> list[str]:
        return attacks.set_id_of_root(host.home)

    for revision in (FIRST, SECOND):
        archive = host.box.revision(revision)
        if by_archive:
            os.chmod(f"{archive}/app/bin/tool", mode)
        outcome = host.run(host.deployment(archive, **options), each=often_by(OTHER_ACCOUNT, find))
        assert outcome.error == ""
        assert [found for found in outcome.results if found] == []
        assert run_as(OTHER_ACCOUNT, find) == []
