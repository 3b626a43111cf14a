from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.appspec.model import AclEntry, Permission, SelinuxContext
from agent.appspec.patterns import matcher
from agent.install.options import InstallOptions
from agent.install.owners import OwnerLookup
from agent.install.permissions import preflight, resolve
from other_user import command_as

INSTALLED = {
    "/d/out": "directory",
    "/d/out/.hidden": "file",
    "/d/out/one.txt": "file",
    "/d/out/empty": "directory",
    "/d/out/sub": "directory",
    "/d/out/sub/two.txt": "file",
    "/d/out/sub/deep": "directory",
    "/d/out/root.txt": "file",
}
FILES = ["/d/out/.hidden", "/d/out/one.txt", "/d/out/sub/two.txt", "/d/out/root.txt"]
DIRECTORIES = ["/d/out/empty", "/d/out/sub", "/d/out/sub/deep"]
HOST = {"/": "directory", "/d": "directory", "/d/foreign.txt": "file", "/d/other": "directory"}


def finalize(*permissions, installed=INSTALLED, host=HOST, links=(), **options):
    targets = dict(links)
    return resolve(
        permissions,
        installed,
        expand=os.path.normpath,
        kind_on_host=lambda path: host.get(path) or installed.get(path),
        target_of=targets.get,
        owners=OwnerLookup(),
        filename="appspec.yml",
        options=InstallOptions(**options),
    )


def matched(*permissions, **settings):
    found = finalize(*permissions, **settings)
    assert found.problems == []
    assert [path for path, _ in found.settings] == list(found.attributes)
    return list(found.attributes)


def only_problem(found):
    assert len(found.problems) == 1, found.problems
    return found.problems[0]


def test_an_entry_for_a_directory_of_the_host_says_what_permissions_are_for():
    (warning,) = finalize(Permission("/d/other", mode=0o600, line=7)).warnings
    assert "/d/other is a directory of the host: permissions are for what a deployment installs in it" in warning
    (warning,) = finalize(Permission("/d/out", pattern="*.none", line=7)).warnings
    assert "of the host" not in warning


def test_an_entry_for_a_file_is_for_that_file():
    found = finalize(Permission("/d/out/one.txt", mode=0o600, owner="games", group="games", line=7))
    assert list(found.attributes) == ["/d/out/one.txt"]
    attributes = found.attributes["/d/out/one.txt"]
    assert (attributes.uid, attributes.gid, attributes.permission.mode) == (5, 60, 0o600)
    assert (found.problems, found.warnings, found.foreign) == ([], [], [])


def test_an_entry_for_a_directory_is_for_all_below_it_but_never_for_itself():
    assert matched(Permission("/d/out", mode=0o750)) == FILES + DIRECTORIES


def test_a_directory_that_was_there_before_counts_too():
    assert matched(Permission("/d", mode=0o700)) == [*FILES, "/d/out", *DIRECTORIES]
    assert matched(Permission("/", mode=0o700)) == [*FILES, "/d/out", *DIRECTORIES]


def test_a_directory_whose_name_only_begins_alike_is_not_below():
    installed = {"/d/out": "directory", "/d/out-of-it": "file", "/d/out.txt": "file", "/d/out/x": "file"}
    assert matched(Permission("/d/out"), installed=installed) == ["/d/out/x"]


def test_an_object_is_understood_however_it_is_written():
    assert matched(Permission("/d/./x/../out/")) == FILES + DIRECTORIES


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["/d/out/one.txt", "/d/out/root.txt"]),
        ("**.txt", ["/d/out/one.txt", "/d/out/root.txt"]),
        ("*", ["/d/out/.hidden", "/d/out/one.txt", "/d/out/root.txt", "/d/out/empty", "/d/out/sub"]),
        ("one.txt", ["/d/out/one.txt"]),
        ("sub/*", []),
        ("sub/two.txt", []),
        ("?ne.txt", []),
    ],
)
def test_a_pattern_chooses_among_the_direct_children(pattern, expected):
    assert matched(Permission("/d/out", pattern=pattern)) == expected


def test_what_is_excepted_is_left_out_but_not_what_lies_below_it():
    assert matched(Permission("/d/out", exclude=("one.txt", "sub", "*.none"))) == [
        "/d/out/.hidden",
        "/d/out/sub/two.txt",
        "/d/out/root.txt",
        "/d/out/empty",
        "/d/out/sub/deep",
    ]


def test_an_exception_of_two_stars_means_every_direct_child():
    assert matched(Permission("/d/out", exclude=("**",))) == ["/d/out/sub/two.txt", "/d/out/sub/deep"]


def test_a_type_chooses_files_or_directories():
    assert matched(Permission("/d/out", types=frozenset({"file"}))) == FILES
    assert matched(Permission("/d/out", types=frozenset({"directory"}))) == DIRECTORIES


def test_entries_that_do_not_meet_stand_side_by_side():
    found = finalize(
        Permission("/d/out", types=frozenset({"file"}), mode=0o640, line=1),
        Permission("/d/out", types=frozenset({"directory"}), mode=0o750, line=2),
    )
    assert found.problems == []
    assert {path: attributes.permission.mode for path, attributes in found.attributes.items()} == {
        **dict.fromkeys(FILES, 0o640),
        **dict.fromkeys(DIRECTORIES, 0o750),
    }


def test_an_object_that_two_entries_set_is_told_with_both_lines():
    problem = only_problem(
        finalize(Permission("/d/out/one.txt", mode=0o600, line=9), Permission("/d/out", mode=0o644, line=11))
    )
    assert problem.startswith("appspec.yml:11:1: ")
    assert "/d/out/one.txt" in problem
    assert "line 9" in problem


def test_two_whole_directories_that_meet_are_one_problem_not_one_for_each_file():
    problem = only_problem(finalize(Permission("/d", line=3), Permission("/d/out", line=5)))
    assert "6 more" in problem
    assert "line 3" in problem


def test_a_pattern_and_an_exception_for_a_file_are_refused():
    found = finalize(Permission("/d/out/one.txt", pattern="*.txt", exclude=("x",), line=4))
    assert [problem.startswith("appspec.yml:4:1: ") for problem in found.problems] == [True, True]
    assert "*.txt" in found.problems[0]
    assert "['x']" in found.problems[1]


def test_an_entry_for_a_file_that_is_for_directories_only_is_passed_over_with_a_warning():
    found = finalize(Permission("/d/out/one.txt", pattern="*.txt", types=frozenset({"directory"}), line=4))
    assert (found.problems, found.attributes) == ([], {})
    assert len(found.warnings) == 1


def test_default_entries_that_would_reach_a_file_are_refused():
    default = (AclEntry("user", "games", 6, default=True),)
    for permission in (Permission("/d/out/one.txt", acls=default, line=4), Permission("/d/out", acls=default, line=4)):
        problem = only_problem(finalize(permission))
        assert problem.startswith("appspec.yml:4:1: default ACL entries are for directories only")
    assert matched(Permission("/d/out", acls=default, types=frozenset({"directory"}))) == DIRECTORIES


@pytest.mark.parametrize(
    ("path", "state"),
    [("/d/nope", "nothing is there"), ("/d/foreign.txt", "not installed by this deployment")],
)
def test_an_entry_that_the_official_agent_ignores_silently_is_warned_of(path, state):
    found = finalize(Permission(path, mode=0o600, owner="no-such-user", line=8))
    assert (found.problems, found.attributes) == ([], {})
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("appspec.yml:8:1: ")
    assert state in found.warnings[0]


def test_an_entry_that_matches_nothing_is_warned_of():
    for permission in (Permission("/d/out", pattern="*.none", line=2), Permission("/d/other", line=2)):
        found = finalize(permission)
        assert (found.problems, found.attributes) == ([], {})
        assert found.warnings[0].startswith("appspec.yml:2:1: nothing that is installed")


def test_unknown_owners_groups_and_acl_names_are_all_told_before_anything_happens():
    found = finalize(
        Permission("/d/out/one.txt", owner="no-such-user", group="no-such-group", line=3),
        Permission("/d/out/root.txt", acls=(AclEntry("user", "no-such-acl", 6),), line=6),
    )
    assert len(found.problems) == 3
    told = list(zip(found.problems, ["no-such-user", "no-such-group", "no-such-acl"], [3, 3, 6], strict=True))
    assert all(name in text and text.startswith(f"appspec.yml:{line}:1: ") for text, name, line in told)


def test_an_owner_given_as_a_number_is_that_id():
    found = finalize(Permission("/d/out/one.txt", owner="4711", group="0"))
    attributes = found.attributes["/d/out/one.txt"]
    assert (attributes.uid, attributes.gid) == (4711, 0)


def test_thousands_of_wrong_entries_end_in_a_readable_list():
    found = finalize(*(Permission("/d/out/one.txt", owner=f"nobody-{line}", line=line) for line in range(5000)))
    assert 100 <= len(found.problems) < 110


def test_the_settings_refuse_setuid_setgid_and_unconfined_types():
    refused = [
        Permission("/d/out/one.txt", mode=0o4755, line=1),
        Permission("/d/out/root.txt", mode=0o2755, line=2),
        Permission("/d/out/sub/two.txt", context=SelinuxContext("unconfined_t"), line=3),
    ]
    allowed = [
        Permission("/d/out/.hidden", mode=0o1777, context=SelinuxContext("httpd_sys_content_t"), line=4),
    ]
    assert finalize(*refused, *allowed).problems == []
    found = finalize(*refused, *allowed, reject_unsafe_permissions=True, reject_unconfined_selinux=True)
    assert [problem.split(" ")[0] for problem in found.problems] == [f"appspec.yml:{line}:1:" for line in (1, 2, 3)]
    assert "reject_unsafe_permissions_in_bundle" in found.problems[0]
    assert "reject_unconfined_selinux_in_bundle" in found.problems[2]


LINKED = {**INSTALLED, "/d/out/link": "symlink"}


def test_a_link_counts_as_a_file_and_what_it_leads_to_is_changed():
    found = finalize(
        Permission("/d/out/link", mode=0o600, line=2), installed=LINKED, links={"/d/out/link": "/d/out/one.txt"}
    )
    assert [path for path, _ in found.settings] == ["/d/out/link"]
    assert list(found.attributes) == ["/d/out/one.txt"]
    assert (found.foreign, found.warnings, found.problems) == ([], [], [])


def test_a_link_and_its_target_under_one_entry_are_set_once():
    found = finalize(Permission("/d/out", mode=0o600), installed=LINKED, links={"/d/out/link": "/d/out/one.txt"})
    assert "/d/out/link" in [path for path, _ in found.settings]
    assert "/d/out/link" not in found.attributes
    assert found.attributes["/d/out/one.txt"].then is None


def test_a_link_and_its_target_under_two_entries_are_set_in_their_order():
    entries = [
        Permission("/d/out/link", mode=0o600, line=1),
        Permission("/d/out/one.txt", owner="games", line=2),
        Permission("/d/out/other", mode=0o400, line=3),
    ]
    links = {"/d/out/link": "/d/out/one.txt", "/d/out/other": "/d/out/one.txt"}
    found = finalize(*entries, installed={**LINKED, "/d/out/other": "symlink"}, links=links)
    assert [step.permission.line for step in found.attributes["/d/out/one.txt"].steps()] == [1, 2, 3]


def test_a_link_out_of_the_deployment_changes_what_it_leads_to_and_says_so():
    found = finalize(Permission("/d/out", mode=0o750, line=5), installed=LINKED, links={"/d/out/link": "/var/lib/data"})
    assert found.problems == []
    assert found.foreign == ["/var/lib/data"]
    assert found.attributes["/var/lib/data"].permission.mode == 0o750
    assert len(found.warnings) == 1
    assert "/var/lib/data" in found.warnings[0]


def test_a_link_that_leads_to_nothing_is_refused_before_anything_is_changed():
    problem = only_problem(finalize(Permission("/d/out", mode=0o700, line=5), installed=LINKED))
    assert problem.startswith("appspec.yml:5:1: /d/out/link is a symbolic link")


def test_the_setting_refuses_permissions_through_links():
    links = {"/d/out/link": "/d/out/one.txt"}
    found = finalize(
        Permission("/d/out", mode=0o700), installed=LINKED, links=links, reject_symlink_permission_targets=True
    )
    assert "reject_symlink_permission_targets" in only_problem(found)
    apart = Permission("/d/out", mode=0o700, exclude=("link",))
    assert finalize(apart, installed=LINKED, links=links, reject_symlink_permission_targets=True).problems == []


names = st.sampled_from(["a", "b", "a.x", "a0", ".a", "*"])
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["file", "directory"]),
    max_size=20,
)


@given(
    installed=trees,
    directory=st.lists(names, max_size=2).map(lambda parts: "/" + "/".join(parts)),
    pattern=st.sampled_from(["**", "*", "a*", "*x", "a", "b/a"]),
    exclude=st.lists(st.sampled_from(["a", "*x", "b*", "b/*"]), max_size=2).map(tuple),
    types=st.sets(st.sampled_from(["file", "directory"]), min_size=1).map(frozenset),
)
def test_the_index_finds_what_comparing_each_object_with_each_rule_finds(installed, directory, pattern, exclude, types):
    def applies(path, kind):
        base = directory if directory.endswith("/") else f"{directory}/"
        if kind not in types or not path.startswith(base):
            return False
        rest = path[len(base) :]
        if "/" not in rest and any(matcher(one)(rest) for one in exclude):
            return False
        return pattern == "**" or ("/" not in rest and matcher(pattern)(rest))

    tree = {path: kind for path, kind in installed.items() if path != directory}
    permission = Permission(directory, pattern=pattern, exclude=exclude, types=types)
    found = finalize(permission, installed=tree, host={directory: "directory"})
    hits = [path for path, kind in tree.items() if applies(path, kind)]
    expected = [path for path in hits if tree[path] == "file"] + [path for path in hits if tree[path] == "directory"]
    assert list(found.attributes) == expected


def test_a_file_system_without_acls_is_noticed_before_the_first_change():
    entry = (AclEntry("user", "games", 6),)
    found = finalize(
        Permission("/proc/self/new.txt", acls=entry, line=4), installed={"/proc/self/new.txt": "file"}, host={}
    )
    problems, _ = preflight(found, filename="appspec.yml")
    assert len(problems) == 1
    assert problems[0].startswith("appspec.yml:4:1: the file system of /proc/self keeps no ACLs")


def test_a_file_system_with_acls_is_no_problem(tmp_path):
    paths = {f"{tmp_path}/new/{name}": "file" for name in "ab"}
    found = finalize(*(Permission(path, acls=(AclEntry("user", "games", 6),)) for path in paths), installed=paths)
    assert preflight(found, filename="appspec.yml") == ([], [])


def test_missing_selinux_programs_are_noticed_before_the_first_change(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.install.selinux._SYSTEM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    found = finalize(Permission("/d/out/one.txt", context=SelinuxContext("httpd_sys_content_t"), line=4))
    problems, _ = preflight(found, filename="appspec.yml")
    assert len(problems) == 1
    assert "semanage and restorecon" in problems[0]
    assert "/d/out/one.txt" in problems[0]


def test_contexts_on_a_host_without_selinux_are_warned_of(tmp_path, monkeypatch):
    for name in ("semanage", "restorecon"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = finalize(Permission("/d/out/one.txt", context=SelinuxContext("httpd_sys_content_t"), line=4))
    monkeypatch.setattr("agent.install.selinux._ENABLED_FILE", str(tmp_path / "enforce"))
    problems, warnings = preflight(found, filename="appspec.yml")
    assert (problems, len(warnings)) == ([], 1)
    assert "SELinux is not enabled" in warnings[0]
    (tmp_path / "enforce").touch()
    assert preflight(found, filename="appspec.yml") == ([], [])


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_is_told_that_files_cannot_be_given_away():
    program = (
        "from agent.appspec.model import Permission\n"
        "from agent.install.owners import OwnerLookup\n"
        "from agent.install.options import InstallOptions\n"
        "from agent.install.permissions import preflight, resolve\n"
        "found = resolve([Permission('/f', owner='games', line=3), Permission('/g', owner='50000', line=4)],"
        " {'/f': 'file', '/g': 'file'}, expand=str, kind_on_host={}.get, target_of={}.get, owners=OwnerLookup(),"
        " filename='appspec.yml', options=InstallOptions())\n"
        "print(*preflight(found, filename='appspec.yml')[0], sep='\\n')"
    )
    done = subprocess.run(command_as(50000, 50001, program), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("appspec.yml:3:1: the owner games: is asked for")
