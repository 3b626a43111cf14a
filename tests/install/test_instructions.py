"""The instructions file: one line of JSON, to the letter as 1.8.1 writes it, because others read it."""

from __future__ import annotations

import json
import os

import pytest

from agent.appspec.model import AclEntry, Permission
from agent.install.installer import plan_install
from agent.install.instructions import instructions
from agent.install.options import InstallOptions
from install_box import GROUP, Box, Link


def text(box: Box) -> str:
    with open(box.state.instructions(GROUP), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def test_the_file_is_one_line_in_the_official_format(box: Box) -> None:
    box.put("")
    archive = box.revision({"app/sub/f": "1"})
    box.install(archive)
    assert text(box) == (
        '{"instructions":['
        f'{{"type":"mkdir","directory":"{box.dest}/out"}},'
        f'{{"type":"mkdir","directory":"{box.dest}/out/sub"}},'
        f'{{"type":"copy","source":"{archive}/app/sub/f","destination":"{box.dest}/out/sub/f"}}'
        "]}"
    )


def test_an_install_of_nothing_has_no_instructions(box: Box) -> None:
    box.install({"app/f": "1"}, to=[])
    assert text(box) == '{"instructions":[]}'


def test_links_are_copied_too(box: Box) -> None:
    archive = box.revision({"app/link": Link("nowhere")})
    table = json.loads(instructions(box.plan(archive)))["instructions"]
    assert {"type": "copy", "source": f"{archive}/app/link", "destination": f"{box.dest}/out/link"} in table


def test_directories_that_stay_are_made_and_files_that_are_retained_are_not_copied(box: Box) -> None:
    box.install({"app/d/f": "1"})
    box.put("out/kept", "foreign")
    plan = box.plan({"app/d/f": "2", "app/kept": "2"}, behavior="RETAIN")
    table = json.loads(instructions(plan))["instructions"]
    assert {"type": "mkdir", "directory": f"{box.dest}/out/d"} in table
    assert not any("kept" in str(instruction) for instruction in table)


def test_paths_are_those_of_the_appspec_and_not_what_links_lead_to(box: Box) -> None:
    box.put("real")
    box.put("alias", Link("real"))
    table = json.loads(instructions(box.plan({"app/f": "1"}, to="alias/out")))["instructions"]
    assert table[0] == {"type": "mkdir", "directory": f"{box.dest}/alias/out"}


def test_permissions_follow_what_is_made_in_the_official_order(box: Box) -> None:
    box.put("")
    permission = Permission(
        f"{box.dest}/out/f",
        mode=0o640,
        owner=str(os.geteuid()),
        acls=(AclEntry("user", "games", 6), AclEntry("mask", "", 4)),
    )
    plan = plan_install(box.request({"app/f": "1"}, permissions=[permission]), options=InstallOptions())
    table = json.loads(instructions(plan))["instructions"]
    target = f"{box.dest}/out/f"
    assert [instruction["type"] for instruction in table] == ["mkdir", "copy", "chmod", "setfacl", "chown"]
    assert table[2:] == [
        {"type": "chmod", "mode": "640", "file": target},
        {"type": "setfacl", "acl": ["user:games:rw-", "mask::r--"], "file": target},
        {"type": "chown", "owner": str(os.geteuid()), "group": None, "file": target},
    ]


@pytest.mark.parametrize(
    "name", ["\u00fcml\u00e4ut \u20ac", 'quo"te', "back\\slash", "new\nline", "tab\t", "\U0001f600"]
)
def test_names_that_json_must_escape_come_back(box: Box, name: str) -> None:
    data = instructions(box.plan({f"app/{name}": "1"}))
    assert b"\n" not in data
    assert json.loads(data)["instructions"][-1]["destination"] == f"{box.dest}/out/{name}"


def test_names_that_are_not_utf_8_keep_their_bytes(box: Box) -> None:
    assert b"/out/caf\xe9" in instructions(box.plan({"app/caf\udce9": "1"}))


def test_the_file_has_the_mode_of_the_settings(box: Box) -> None:
    box.install({"app/f": "1"})
    assert os.stat(box.state.instructions(GROUP)).st_mode & 0o777 == 0o644
