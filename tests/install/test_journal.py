"""The journal: what recovery may rely on after a kill or a power cut at any byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.filesystem.kernel import Identity
from agent.install.journal import (
    COMMITTED,
    REVERTING,
    STAGED,
    VERSION,
    InstallRecord,
    InstallStep,
    Journal,
    JournalDamagedError,
    open_journals,
)

RECORD = InstallRecord(
    group="group-a",
    deployment_dir="/root/group-a/d-2",
    steps=[
        InstallStep("remove", "/srv/old\n\udce9", backup="/srv/.b~", before=Identity(1, 2, 0o100000, 3)),
        InstallStep("reset", "/srv/d", old={"mode": 0o755, "uid": 0, "gid": 0, "access": None, "default": "02"}),
        InstallStep("create", "/srv/new", temp="/srv/.t~"),
    ],
    obsolete=["/srv/empty"],
    cleanup_before="/srv/caf\udce9\n",
    cleanup_after=["/srv/new"],
    digests={"before": "x", "during": "y"},
    rules=[{"path": "/srv/new", "before": None}],
    odd_before=[],
    obsolete_rules=[],
    boot="b",
    directories={"/srv": Identity(1, 5, 0o40000, 0)},
    mounted=["/srv"],
    stages=["/srv/.s~"],
    marks=[],
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(f"{tmp_path}/group-a.journal")


def test_what_was_written_comes_back_with_names_of_any_bytes(journal: Journal) -> None:
    journal.begin(RECORD)
    assert journal.read() == RECORD


def test_a_journal_of_the_last_version_is_still_read(journal: Journal) -> None:
    # As it wrote them, before identities were known.
    table = {
        "group": "g",
        "deployment_dir": "/d",
        "digests": {},
        "steps": [["create", "/srv/new", "/srv/.t~", "", None]],
    }
    with open(journal.path, "w", encoding="ascii") as file:
        file.write(json.dumps({**table, "version": 1, "marks": []}) + "\n\nstaged\n")
    record = journal.read()
    assert record is not None
    assert record.steps == [InstallStep("create", "/srv/new", temp="/srv/.t~")]
    assert record.marks == ["staged"]


def test_the_new_objects_are_known_from_the_mark_on(journal: Journal) -> None:
    journal.begin(RECORD)
    journal.mark("staged", made=[0, 0, 77])
    record = journal.read()
    assert record is not None
    assert [step.made for step in record.steps] == [0, 0, 77]
    assert record.marks == ["staged"]


@pytest.mark.parametrize("part", ['\n{"made":[0,0,7', '\n{"made":[0,0,77],"installed":{}}\nstag'])
def test_a_mark_that_found_no_room_does_not_keep_an_install_from_being_undone(journal: Journal, part: str) -> None:
    journal.begin(RECORD)
    with open(journal.path, "a", encoding="ascii") as file:
        file.write(part)
    journal.mark("reverted")
    record = journal.read()
    assert record is not None
    assert "staged" not in record.marks
    assert [step.made for step in record.steps] == [0, 0, 0]


def test_a_list_that_was_not_there_comes_back_as_not_there(journal: Journal) -> None:
    journal.begin(InstallRecord("g", "/d", {}, cleanup_before=None))
    record = journal.read()
    assert record is not None
    assert record.cleanup_before is None


def test_without_a_journal_nothing_is_open(journal: Journal) -> None:
    assert journal.read() is None


def test_marks_come_back_in_their_order(journal: Journal) -> None:
    journal.begin(RECORD)
    journal.mark(STAGED)
    journal.mark(COMMITTED)
    record = journal.read()
    assert record is not None
    assert record.marks == [STAGED, COMMITTED]


def test_a_mark_counts_only_when_it_is_whole(journal: Journal) -> None:
    journal.begin(RECORD)
    whole = os.path.getsize(journal.path)
    journal.mark(STAGED)
    for size in range(whole, os.path.getsize(journal.path)):
        os.truncate(journal.path, size)
        record = journal.read()
        assert record is not None
        assert record.marks == []
        with open(journal.path, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(f"\n{STAGED}\n".encode()[size - whole :])


def test_a_half_written_mark_does_not_spoil_the_next_one(journal: Journal) -> None:
    journal.begin(RECORD)
    with open(journal.path, "ab") as file:
        file.write(b"\ncommi")
    journal.mark(REVERTING)
    record = journal.read()
    assert record is not None
    assert REVERTING in record.marks
    assert COMMITTED not in record.marks


def test_a_new_record_forgets_the_marks_of_an_older_one(journal: Journal) -> None:
    journal.begin(RECORD)
    journal.mark(COMMITTED)
    journal.begin(RECORD)
    assert journal.read() == RECORD


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]\n",
        b"null\n",
        b'{"group": "g"}\n',
        b'{"steps": 5, "group": "g", "deployment_dir": "/d"}\n',
        b'{"steps": [[]], "group": "g", "deployment_dir": "/d"}\n',
        b'{"steps": [], "group": "g", "deployment_dir": "/d", "unknown": 1}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_damaged_journal_is_told_from_an_empty_one(journal: Journal, text: bytes) -> None:
    with open(journal.path, "wb") as file:
        file.write(text)
    with pytest.raises(JournalDamagedError, match=r"group-a\.journal"):
        journal.read()


def test_a_journal_of_a_later_version_is_not_guessed_at(journal: Journal) -> None:
    with open(journal.path, "w") as file:
        file.write(json.dumps({"steps": [], "group": "g", "deployment_dir": "/d", "version": VERSION + 1}) + "\n")
    with pytest.raises(JournalDamagedError, match=f"version {VERSION + 1}"):
        journal.read()


def test_only_its_owner_reads_a_journal(journal: Journal) -> None:
    journal.begin(RECORD)
    assert os.stat(journal.path).st_mode & 0o777 == 0o600


def test_a_closed_journal_is_gone_and_may_be_closed_again(journal: Journal) -> None:
    journal.begin(RECORD)
    journal.end()
    journal.end()
    assert journal.read() is None


def test_a_journal_set_aside_is_kept_but_no_longer_open(journal: Journal, tmp_path: Path) -> None:
    journal.begin(RECORD)
    aside = journal.set_aside()
    assert os.path.exists(aside)
    assert list(open_journals(str(tmp_path))) == []


def test_open_journals_are_found_in_order_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    for name in ("b.journal", "a.journal", "c.journal.set-aside", ".d.journal.new~", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [os.path.basename(journal.path) for journal in open_journals(str(tmp_path))] == ["a.journal", "b.journal"]
    assert list(open_journals(f"{tmp_path}/missing")) == []
