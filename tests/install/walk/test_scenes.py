"""What the scenes of the walks come to when nobody disturbs them, so that the walks compare with the right thing."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable

import pytest

from host_tree import describe
from install_picture import take
from install_scene import SOMEBODY, put
from install_stage import Stage
from install_trace import Call, fault_at

MakeStage = Callable[[str], Stage]

pytestmark = pytest.mark.needs("root", "tracing")

USER = pwd.getpwuid(SOMEBODY).pw_name
OLD_TIME = "at=1500000000"


def described(stage: Stage, paths: dict[str, str]) -> dict[str, str]:
    return {
        path: describe(f"{stage.place.host}/{path}") if os.path.lexists(f"{stage.place.host}/{path}") else "nothing"
        for path in paths
    }


def test_an_install_over_everything_that_can_be_there(make_stage: MakeStage) -> None:
    stage = make_stage("overwrite")
    try:
        group = grp.getgrgid(SOMEBODY).gr_name
    except KeyError:
        group = str(SOMEBODY)
    inherited = f"default:user::rwx,default:user:{USER}:r-x,default:group::rwx,default:mask::rwx,default:other::---"
    desired = {
        "app": "dir 0755",
        "app/replaced.conf": f'file 0660 "two is longer" {OLD_TIME} acl=user::rw-,user:{USER}:r--,group::r--,'
        "mask::rw-,other::---",
        "app/same": f'file 0644 "same" {OLD_TIME}',
        "app/gone.txt": "nothing",
        "app/linked.txt": f'file 0644 "two" {OLD_TIME}',
        "theirs/other-name": f'file 0644 "one of two names" {OLD_TIME}',
        "app/old-directory": "nothing",
        "app/odd directory ": "nothing",
        "app/old-but-used": "dir 0755",
        "app/old-but-used/x": "nothing",
        "app/old-but-used/stranger": f'file 0644 "not ours" {OLD_TIME}',
        "app/becomes-directory": f"dir 2770 {USER}:root acl={inherited}",
        "app/becomes-directory/in": "dir 0755",
        "app/becomes-directory/in/side": f'file 0644 "now a directory" {OLD_TIME}',
        "app/becomes-file": f'file 0644 "now a file" {OLD_TIME}',
        "app/becomes-link": "link -> same",
        "app/was-link": f'file 0644 "now a file" {OLD_TIME}',
        "app/kept-directory": f"dir 2770 {USER}:root acl={inherited}",
        "app/kept-directory/f": f'file 0644 "f2" {OLD_TIME}',
        "app/kept-directory/sub": "dir 0755",
        "app/kept-plain": "dir 0755",
        "app/kept-plain/f": f'file 0644 "f2" {OLD_TIME}',
        "app/kept-plain/sub": "dir 0755",
        "app/kept-plain/sub/new": f'file 0644 "new" {OLD_TIME}',
        "app/leads-out": "link -> ../theirs/data",
        "theirs/data": f'file 0604 "their data" {OLD_TIME}',
        "app/run.sh": f'file 0750 {USER}:{group} "#!/bin/sh" {OLD_TIME}',
        "app/overwritten": f'file 0644 "now ours" {OLD_TIME}',
        "theirs/second-name": f'file 0644 "was here before" {OLD_TIME}',
        "app/points-out": f'file 0644 "now ours" {OLD_TIME}',
        "foreign.txt": f'file 0644 "foreign" {OLD_TIME}',
        "app/dangling": f'file 0644 "now ours" {OLD_TIME}',
        "app/already-there": "dir 0700",
        "app/already-there/new": f'file 0644 "new" {OLD_TIME}',
        "app/big": f"file 0644 size=320000 {OLD_TIME}",
        "app/new\nline": f'file 0644 "odd 2" {OLD_TIME}',
        "app/space ": f'file 0644 "odd 2" {OLD_TIME}',
        "app/second ": f'file 0644 "odd and new" {OLD_TIME}',
        "app/caf\udce9": f'file 0644 "latin 2" {OLD_TIME}',
        "new/tree/deep/two.conf": f'file 0644 "two" {OLD_TIME}',
        "etc/app/one.conf": f'file 0644 "one, second edition" {OLD_TIME}',
        "real/sub/one.conf": "nothing",
        "real/sub/two.conf": f'file 0644 "two" {OLD_TIME}',
        "via": "link -> real",
    }
    assert stage.run("install").ok
    assert described(stage, desired) == desired


def test_a_mounted_file_gets_all_that_a_new_one_would_have(make_stage: MakeStage) -> None:
    stage = make_stage("mounted")
    assert stage.run("install").ok
    # The file that is mounted; what lies below the mount is not to be seen by the Install.
    desired = {
        "theirs/mounted.conf": f'file 0644 "two" {OLD_TIME}',
        "app/mounted.conf": f'file 0644 "" {OLD_TIME}',
        "app/a": f'file 0644 "2" {OLD_TIME}',
        "app/gone": "nothing",
    }
    assert described(stage, desired) == desired


def test_retained_files_stay_as_they_were_edited(make_stage: MakeStage) -> None:
    stage = make_stage("retain")
    assert stage.run("install").ok
    desired = {
        "app/a": f'file 0644 "2" {OLD_TIME}',
        "app/gone": "nothing",
        "app/kept.conf": f'file 0644 "edited by hand" {OLD_TIME}',
        "app/sub/kept.conf": f'file 0644 "edited by hand" {OLD_TIME}',
        "app/kept-link": "link -> ../foreign.txt",
        "foreign.txt": f'file 0644 "foreign" {OLD_TIME}',
    }
    assert described(stage, desired) == desired


def last_exchange(stage: Stage) -> Call:
    renames = [call for call in stage.calls if call.name.startswith("rename")]
    return [call for call in renames if call.changed[1].startswith(stage.place.host)][-1]


def test_a_first_install_that_is_undone_leaves_no_records(make_stage: MakeStage) -> None:
    stage = make_stage("first")
    last = last_exchange(stage)
    assert not stage.run("install", faults=fault_at(stage.calls, last, "error=EIO")).ok
    assert not os.path.exists(stage.place.cleanup_list)
    assert not os.path.exists(stage.place.odd_names)
    assert os.listdir(stage.place.journals) == []


def test_a_stranger_s_file_is_not_taken_for_ours_when_undoing_is_taken_up_again(make_stage: MakeStage) -> None:
    stage = make_stage("first")
    last = last_exchange(stage)
    failure = fault_at(stage.calls, last, "error=EIO")
    undone = stage.run("install", faults=failure).calls
    ended = next(call for call in undone if call.name == "unlink" and call.changed == (stage.place.journal,))
    stage.reset()
    assert stage.run("install", faults=[*failure, *fault_at(undone, ended, "signal=KILL")]).killed
    put(f"{stage.place.host}/single/a", "a stranger's")
    assert stage.run("recover").ok
    assert describe(f"{stage.place.host}/single/a") == f'file 0644 "a stranger\'s" {OLD_TIME}'


def test_what_somebody_has_put_there_since_a_kill_is_left_alone_and_named(make_stage: MakeStage) -> None:
    stage = make_stage("overwrite")
    committed = next(call for call in stage.calls if call.texts[-1:] == ("\ncommitted\n",))
    stage.run("install", faults=fault_at(stage.calls, committed, "signal=KILL"))
    path = f"{stage.place.host}/app/replaced.conf"
    os.unlink(path)
    put(f"{path}/inner", "precious")
    ending = stage.run("recover")
    assert ending.ok
    assert f"left them alone: {path}" in ending.text
    assert describe(f"{path}/inner").startswith('file 0644 "precious"')
    (kept,) = [name for name in (*take(stage.place.top),) if name.endswith(".kept")]
    assert '"one"' in describe(f"{stage.place.top}/{kept}")
    assert not stage.has_journal()
    assert stage.run("recover").text == ""


def test_a_directory_that_somebody_has_exchanged_since_a_kill_is_left_alone_and_named(make_stage: MakeStage) -> None:
    stage = make_stage("overwrite")
    committed = next(call for call in stage.calls if call.texts[-1:] == ("\ncommitted\n",))
    stage.run("install", faults=fault_at(stage.calls, committed, "signal=KILL"))
    directory = f"{stage.place.host}/app/kept-directory"
    os.rename(directory, f"{directory}-moved")
    put(f"{directory}/f", "precious")
    before = describe(directory)
    ending = stage.run("recover")
    assert ending.ok
    assert directory in ending.text
    assert (describe(directory), describe(f"{directory}/f")) == (before, f'file 0644 "precious" {OLD_TIME}')
