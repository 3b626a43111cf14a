import os

import pytest

from agent.store.layout import Layout
from agent.store.retention import remove_old_revisions


class Group:
    """A group's directory whose revisions have the given ages; the names are their order."""

    def __init__(self, root):
        self.layout = Layout(str(root))
        self.directory = self.layout.group("g")
        os.makedirs(self.directory)

    def add(self, name, *, age, file=False):
        path = os.path.join(self.directory, name)
        if file:
            open(path, "w").close()
        else:
            os.makedirs(f"{path}/deployment-archive/sub")
        os.utime(path, (2_000_000_000 - age,) * 2)

    def successful(self, name):
        os.makedirs(self.layout.instructions, exist_ok=True)
        with open(self.layout.last_successful("g"), "w") as file:
            file.write(os.path.join(self.directory, name))

    def clean(self, current="new", keep=5):
        remove_old_revisions(self.layout, "g", current, keep=keep)
        return sorted(os.listdir(self.directory))


@pytest.fixture
def group(tmp_path):
    return Group(tmp_path)


def test_with_room_left_nothing_is_removed(group):
    for number in range(4):
        group.add(f"d{number}", age=number)
    assert group.clean(keep=5) == ["d0", "d1", "d2", "d3"]


def test_the_oldest_go_so_that_with_this_one_the_number_is_right(group):
    for number in range(6):
        group.add(f"d{number}", age=number)
    assert group.clean(keep=3) == ["d0", "d1"]


def test_this_deployments_own_directory_neither_counts_nor_goes(group):
    group.add("new", age=100)
    for number in range(3):
        group.add(f"d{number}", age=number)
    assert group.clean(keep=3) == ["d0", "d1", "new"]


def test_the_last_successful_revision_stays_and_a_younger_one_goes_for_it(group):
    for number in range(4):
        group.add(f"d{number}", age=number)
    group.successful("d3")
    assert group.clean(keep=3) == ["d0", "d3"]


def test_keeping_one_still_keeps_the_last_successful_one(group):
    group.add("good", age=9)
    group.successful("good")
    assert group.clean(keep=1) == ["good"]
    group.add("bad", age=1)
    assert group.clean(keep=1) == ["good"]


def test_everything_in_the_directory_counts_files_and_links_too(group, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("")
    os.symlink(tmp_path / "elsewhere", f"{group.directory}/link")
    os.utime(f"{group.directory}/link", (1, 1), follow_symlinks=False)
    group.add("stray", age=50, file=True)
    group.add("d0", age=0)
    assert group.clean(keep=2) == ["d0"]
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_a_root_directory_reached_through_a_link_still_knows_its_good_revision(tmp_path):
    group = Group(tmp_path / "real")
    os.symlink(tmp_path / "real", tmp_path / "link")
    for number in range(3):
        group.add(f"d{number}", age=number)
    group.layout = Layout(f"{tmp_path}/link")
    os.makedirs(group.layout.instructions)
    with open(group.layout.last_successful("g"), "w") as file:
        file.write(f"{tmp_path}/real/g/d2")
    assert group.clean(keep=3) == ["d0", "d2"]


@pytest.mark.needs("root", "immutable")
def test_what_cannot_be_removed_stays_and_fails_nothing(group):
    import subprocess

    for number in range(3):
        group.add(f"d{number}", age=number)
    stuck = f"{group.directory}/d2/deployment-archive/sub"
    subprocess.run(["chattr", "+i", stuck], check=True)
    try:
        assert group.clean(keep=1) == ["d2"]
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)


def test_without_knowing_the_good_revision_nothing_is_removed(group):
    for number in range(3):
        group.add(f"d{number}", age=number)
    os.makedirs(group.layout.last_successful("g"))
    assert group.clean(keep=1) == ["d0", "d1", "d2"]


def test_nothing_is_removed_while_it_is_not_known_which_revision_is_installed(group):
    for number in range(4):
        group.add(f"d{number}", age=number)
    os.makedirs(os.path.dirname(group.layout.journal("g")))
    open(group.layout.journal("g"), "w").close()
    assert group.clean(keep=1) == ["d0", "d1", "d2", "d3"]
