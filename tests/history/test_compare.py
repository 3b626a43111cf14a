from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.history.compare import compare
from revisions import hooks, write_revision

FILES = "files:\n  - source: app\n    destination: /srv/app\n"


@pytest.fixture
def revisions(tmp_path: Path):
    def make(name: str, files: dict[str, str], appspec: str = FILES) -> str:
        return write_revision(str(tmp_path / name), files, appspec=appspec)

    return make


def test_files_are_compared_by_content_and_mode_and_links_by_where_they_lead(revisions):
    old = revisions("old", {"app/same": "1", "app/size": "1", "app/content": "1", "app/mode": "1", "gone": "1"})
    new = revisions("new", {"app/same": "1", "app/size": "12", "app/content": "2", "app/mode": "1", "app/new": "1"})
    os.chmod(f"{new}/app/mode", 0o600)
    for top, target in ((old, "a"), (new, "b")):
        os.symlink(target, f"{top}/link")
        os.symlink("app", f"{top}/directory")
    os.utime(f"{new}/app/same", (1, 1))
    found = compare(old, new, appspecs=("", ""))
    assert found.added == ("app/new",)
    assert found.removed == ("gone",)
    assert found.changed == ("app/content", "app/mode", "app/size", "link")
    assert found.appspec == ()


def test_what_the_appspec_says_differently_is_named(revisions):
    old = revisions("old", {}, FILES + hooks(AfterInstall="a.sh", ApplicationStop="stop.sh"))
    text = "files:\n  - source: app\n    destination: /srv/other\nfile_exists_behavior: OVERWRITE\n"
    permissions = "permissions:\n  - object: /srv/other\n    owner: root\n    mode: 644\n"
    script = "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 60\n      runas: web\n"
    found = compare(old, revisions("new", {}, text + permissions + script), appspecs=("", ""))
    assert found.changed == ("appspec.yml",)
    assert found.appspec == (
        "removed files: app to /srv/app",
        "changed hooks: AfterInstall: a.sh -> a.sh timeout=60 runas=web",
        "removed hooks: ApplicationStop = stop.sh",
        "added file_exists_behavior = OVERWRITE",
        "added files: app to /srv/other",
        "added permissions: /srv/other owner=root mode=0644",
    )


def test_a_broken_appspec_is_a_difference_and_no_failure(revisions):
    found = compare(revisions("old", {}), revisions("new", {}, "files: 1\n"), appspecs=("", ""))
    assert "cannot be used" in found.appspec[0]


def test_a_pipe_in_a_revision_holds_nobody_up(revisions):
    old, new = revisions("old", {}), revisions("new", {})
    for top in (old, new):
        os.mkfifo(f"{top}/pipe")
    assert compare(old, new, appspecs=("", "")).changed == ()


def test_a_revision_that_is_gone_is_not_an_empty_one(revisions, tmp_path):
    with pytest.raises(FileNotFoundError):
        compare(str(tmp_path / "gone"), revisions("new", {}), appspecs=("", ""))
