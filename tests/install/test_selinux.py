"""Against stand-ins for semanage and restorecon: real programs that keep rules and write down their arguments."""

from __future__ import annotations

import json
import os
import re

import pytest

from agent.appspec.model import SelinuxContext
from agent.errors import InstallError
from agent.filesystem.directories import Directories
from agent.install import selinux

# Strict as older releases are: adding what is there fails, as does changing or deleting what is not.
SEMANAGE = r"""#!/bin/sh
printf '%s\n' "$@" END >> "$STORE/calls"
test "$LC_ALL" = C.UTF-8 || { echo "translated" >&2; exit 9; }
test "$1" = fcontext || exit 2
shift
case "$1" in
-l) cat "$STORE/rules"; exit ;;
esac
action=$1 user=system_u range=s0 type=
shift
while [ $# -gt 1 ]; do
    case "$1" in
    -s) user=$2 ;;
    -t) type=$2 ;;
    -r) range=$2 ;;
    esac
    shift 2
done
there=no
export SPEC="$1"
awk 'index($0, ENVIRON["SPEC"] "  ") == 1 {found = 1} END {exit !found}' "$STORE/rules" && there=yes
case "$action:$there" in
-a:yes) echo "ValueError: File context for $1 already defined" >&2; exit 1 ;;
-m:no | -d:no) echo "ValueError: File context for $1 is not defined" >&2; exit 1 ;;
esac
awk 'index($0, ENVIRON["SPEC"] "  ") != 1' "$STORE/rules" > "$STORE/new" && mv "$STORE/new" "$STORE/rules"
test "$action" = -d || printf '%-50s  %-18s %s:object_r:%s:%s \n' "$1" "all files" "$user" "$type" "$range" \
    >> "$STORE/rules"
"""
RESTORECON = '#!/bin/sh\nprintf \'%s\\n\' "$@" END >> "$STORE/relabelled"\n'

HTTPD = SelinuxContext("httpd_sys_content_t")


class Store:
    def __init__(self, directory):
        self.directory = directory
        self.rules_file = directory / "rules"
        self.rules_file.touch()

    def rules(self):
        return selinux.parse_rules(self.rules_file.read_text())

    def add(self, spec, context="system_u:object_r:admin_t:s0"):
        with self.rules_file.open("a") as file:
            file.write(f"{spec:<50}  {'all files':<18} {context} \n")

    def calls(self, name="calls"):
        path = self.directory / name
        text = path.read_text() if path.exists() else ""
        return [call.split("\n")[:-1] for call in text.split("END\n")[:-1]]


def undo(rule):
    with Directories() as directories:
        selinux.undo_rule(rule, directories)


@pytest.fixture
def store(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("semanage", SEMANAGE), ("restorecon", RESTORECON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    state = tmp_path / "store"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STORE", str(state))
    return Store(state)


def planned(*pairs):
    """Records as they come out of a journal."""
    return json.loads(json.dumps(selinux.plan_rules(pairs)))


def test_planning_changes_nothing(store):
    store.add("/srv/other")
    (rule,) = planned(("/srv/app/one.txt", HTTPD))
    assert rule["before"] is None
    assert list(store.rules()) == ["/srv/other"]


def test_without_contexts_nothing_is_run(store):
    assert planned() == []
    selinux.relabel([])
    assert store.calls() == store.calls("relabelled") == []


def test_a_rule_is_stored_with_all_that_the_appspec_gives(store):
    context = SelinuxContext("httpd_sys_content_t", user="staff_u", range="s0-s3:c0.c7")
    (rule,) = planned(("/srv/app/html", context))
    selinux.add_rule(rule)
    assert store.rules() == {
        "/srv/app/html": {"user": "staff_u", "type": "httpd_sys_content_t", "range": "s0-s3:c0.c7"}
    }
    options = ["-s", "staff_u", "-t", "httpd_sys_content_t", "-r", "s0-s3:c0.c7"]
    assert store.calls()[-1] == ["fcontext", "-a", *options, "/srv/app/html"]


def test_what_the_appspec_leaves_out_is_left_to_semanage(store):
    (rule,) = planned(("/srv/app/html", HTTPD))
    selinux.add_rule(rule)
    assert store.calls()[-1] == ["fcontext", "-a", "-t", "httpd_sys_content_t", "/srv/app/html"]


def test_a_rule_is_for_exactly_its_path(store):
    path = "/srv/a.b (x)[1]+$|{2}\\c?*^"
    (rule,) = planned((path, HTTPD))
    selinux.add_rule(rule)
    (spec,) = store.rules()
    assert " " not in spec
    python_spec = spec.replace("[[:space:]]", r"\s")
    assert re.fullmatch(python_spec, path)
    assert not re.fullmatch(python_spec, path.replace("a.b", "a-b"))


def test_undoing_removes_a_rule_that_was_not_there_before(store):
    store.add("/srv/other")
    (rule,) = planned(("/srv/app/one.txt", HTTPD))
    selinux.add_rule(rule)
    assert len(store.rules()) == 2
    for _ in range(2):
        undo(rule)
        assert list(store.rules()) == ["/srv/other"]


def test_undoing_puts_an_administrators_rule_back_as_it_was(store):
    store.add(r"/srv/app/one\.txt", "staff_u:object_r:admin_t:s0-s1:c3")
    (rule,) = planned(("/srv/app/one.txt", HTTPD))
    before = store.rules()
    selinux.add_rule(rule)
    assert store.rules() != before
    for _ in range(2):
        undo(rule)
        assert store.rules() == before


def test_undoing_brings_back_a_rule_that_has_vanished_meanwhile(store):
    store.add("/srv/app/html")
    (rule,) = planned(("/srv/app/html", HTTPD))
    before = store.rules()
    store.rules_file.write_text("")
    undo(rule)
    assert store.rules() == before


def test_undoing_a_rule_that_was_never_stored_is_nothing(store):
    (rule,) = planned(("/srv/app/one.txt", HTTPD))
    undo(rule)
    assert store.rules() == {}
    assert [call[1] for call in store.calls()] == ["-l", "-l"]


@pytest.mark.needs("root", "labels")
def test_undoing_gives_an_object_its_former_label(store, tmp_path):
    directory = tmp_path / "directory"
    directory.mkdir()
    os.setxattr(directory, "security.selinux", b"system_u:object_r:old_t:s0\0")
    (rule,) = planned((str(directory), HTTPD))
    os.setxattr(directory, "security.selinux", b"system_u:object_r:new_t:s0\0")
    undo(rule)
    assert os.getxattr(directory, "security.selinux") == b"system_u:object_r:old_t:s0\0"


def test_undoing_on_a_host_that_lost_its_tools_does_not_block_recovery(store, tmp_path, monkeypatch, caplog):
    (rule,) = planned(("/srv/app/one.txt", HTTPD))
    without_tools(tmp_path, monkeypatch)
    undo(rule)
    assert "/srv/app/one.txt" in caplog.text


def test_a_clean_up_removes_rules_of_either_agent_and_no_other(store):
    for spec in ("/srv/app/one.txt", r"/srv/app/two\.txt", "/srv/app/stays"):
        store.add(spec)
    assert selinux.remove_rule("/srv/app/one.txt")  # as the official agents list and store it
    assert selinux.remove_rule(r"/srv/app/two\.txt")  # as ours does
    assert selinux.remove_rule("/srv/app/gone")
    assert list(store.rules()) == ["/srv/app/stays"]


def test_a_plain_path_in_a_clean_up_list_finds_the_rule_that_ours_stored(store):
    store.add(r"/srv/app/one\.txt")
    assert selinux.remove_rule("/srv/app/one.txt")
    assert store.rules() == {}


def test_a_rule_that_cannot_be_removed_does_not_block_later_deployments(store, tmp_path, monkeypatch, caplog):
    store.add("/srv/app/html")
    without_tools(tmp_path, monkeypatch)
    assert not selinux.remove_rule("/srv/app/html")
    assert "/srv/app/html" in caplog.text


def test_all_paths_are_relabelled_forcing_user_and_range(store):
    paths = [f"/srv/app/{number} of many" for number in range(1201)]
    selinux.relabel(paths)
    calls = store.calls("relabelled")
    assert len(calls) == 3
    assert {call[0] for call in calls} == {"-F"}
    assert [path for call in calls for path in call[1:]] == paths


def without_tools(tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(selinux, "_SYSTEM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(empty))


def test_missing_programs_are_named_with_what_to_do(store, tmp_path, monkeypatch):
    assert selinux.missing_tools() == []
    without_tools(tmp_path, monkeypatch)
    assert selinux.missing_tools() == ["semanage", "restorecon"]
    with pytest.raises(InstallError, match=r"no program 'semanage'.*policycoreutils"):
        planned(("/srv/app/one.txt", HTTPD))
    with pytest.raises(InstallError, match="no program 'restorecon'"):
        selinux.relabel(["/srv/app/one.txt"])


def test_a_refusal_comes_with_what_the_program_said(store):
    (rule,) = planned(("/srv/app/html", HTTPD))
    store.add("/srv/app/html")
    with pytest.raises(InstallError, match="status 1 and said: ValueError: File context for /srv/app/html already"):
        selinux.add_rule(rule)


def test_a_program_that_hangs_is_given_up(store, tmp_path, monkeypatch):
    monkeypatch.setattr(selinux, "_LIMIT_SECONDS", 0.3)
    (tmp_path / "bin" / "semanage").write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(InstallError, match="did not end"):
        planned(("/srv/app/html", HTTPD))


def test_a_program_that_cannot_be_run_is_an_error_of_the_install(store, tmp_path):
    (tmp_path / "bin" / "semanage").write_text("#!/no/such/interpreter\n")
    with pytest.raises(InstallError, match="semanage cannot be run"):
        planned(("/srv/app/html", HTTPD))


def test_a_listing_is_read_whatever_else_is_in_it():
    listing = (
        "SELinux fcontext                                   type               Context\n\n"
        "/srv/app(/.*)?                                     all files          system_u:object_r:httpd_t:s0 \n"
        "/srv/very/long/path/that/does/not/fit/into/the/column/at/all all files          u:object_r:t:s0-s0:c0.c3 \n"
        "/srv/nothing                                       all files          <<None>>\n"
        "/srv/no-mls                                        all files          system_u:object_r:plain_t \n"
        "/srv/only/directories                                  directory          system_u:object_r:x_t:s0 \n"
        "\nSELinux Local fcontext Equivalence \n\n/srv/a = /srv/b\n"
    )
    assert selinux.parse_rules(listing) == {
        "/srv/app(/.*)?": {"user": "system_u", "type": "httpd_t", "range": "s0"},
        "/srv/very/long/path/that/does/not/fit/into/the/column/at/all": {
            "user": "u",
            "type": "t",
            "range": "s0-s0:c0.c3",
        },
        "/srv/nothing": {"user": None, "type": "<<none>>", "range": None},
        "/srv/no-mls": {"user": "system_u", "type": "plain_t", "range": None},
    }


@pytest.mark.needs("labels")
@pytest.mark.parametrize(
    ("context", "label"),
    [
        (SelinuxContext("httpd_t"), b"a:b:httpd_t:s0:c1"),
        (SelinuxContext("httpd_t", "system_u", "s0-s0:c2"), b"system_u:b:httpd_t:s0-s0:c2"),
    ],
)
def test_a_new_file_has_its_label_before_it_has_its_name(tmp_path, context, label):
    file = tmp_path / "new"
    file.write_text("")
    os.setxattr(file, "security.selinux", b"a:b:c:s0:c1\0")
    selinux.label_new(str(file), context)
    assert os.getxattr(file, "security.selinux") == label


def test_without_labels_nothing_is_labelled(tmp_path):
    selinux.label_new(str(tmp_path), SelinuxContext("httpd_t"))
