"""What the files section comes to: where each file goes, what links become, and all reasons against it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.appspec.model import FileMapping
from agent.filesystem.trees import remove_tree
from agent.install import desired as module
from agent.install.desired import Desired, expand
from agent.install.host import DIRECTORY, FILE, LINK, HostFiles, View
from agent.install.options import InstallOptions
from install_box import Box, Link, Tree, put


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(os.path.realpath(tmp_path))
    os.mkdir(box.dest)
    return box


DEFAULTS = InstallOptions()
NO_CLIMBING = InstallOptions(reject_path_traversal=True)


def want(
    box: Box,
    revision: Tree | str,
    *mappings: tuple[str, str],
    cwd: str = "/",
    options: InstallOptions = DEFAULTS,
) -> Desired:
    """Ask for pairs of source and destination; a destination without a slash at its beginning is below box.dest."""
    archive = revision if isinstance(revision, str) else box.revision(revision)
    desired = Desired(archive, View(HostFiles()), cwd=cwd, options=options)
    desired.add(
        [
            FileMapping(source, destination if destination[:1] in "/~" else f"{box.dest}/{destination}", line)
            for line, (source, destination) in enumerate(mappings, 4)
        ]
    )
    return desired


def shape(box: Box, desired: Desired) -> dict[str, str]:
    """The entries' kinds by their path below box.dest; fails where there were problems."""
    assert desired.problems == []
    return {path.removeprefix(f"{box.dest}/"): entry.kind for path, entry in desired.entries.items()}


STANDARD = {"app/one.txt": "1", "app/sub/two.txt": "2", "app/.hidden": "h", "app/empty": None, "root.txt": "r"}
INSTALLED = {
    "out": DIRECTORY,
    "out/one.txt": FILE,
    "out/.hidden": FILE,
    "out/empty": DIRECTORY,
    "out/sub": DIRECTORY,
    "out/sub/two.txt": FILE,
}


@pytest.mark.parametrize("source", ["app", "app/", "/app", "./app", "app/sub/.."])
def test_the_contents_of_a_directory_go_into_the_destination(box: Box, source: str) -> None:
    assert shape(box, want(box, STANDARD, (source, "out"))) == INSTALLED


@pytest.mark.parametrize("source", ["root.txt", "/root.txt", "./root.txt"])
def test_a_file_goes_into_the_destination_under_its_own_name(box: Box, source: str) -> None:
    assert shape(box, want(box, STANDARD, (source, "out"))) == {"out": DIRECTORY, "out/root.txt": FILE}


def test_a_file_keeps_its_own_name_even_if_the_destination_looks_like_one(box: Box) -> None:
    assert shape(box, want(box, STANDARD, ("root.txt", "out/new.txt"))) == {
        "out": DIRECTORY,
        "out/new.txt": DIRECTORY,
        "out/new.txt/root.txt": FILE,
    }


@pytest.mark.parametrize("source", ["/", ".", "./"])
def test_a_slash_is_the_whole_revision(box: Box, source: str) -> None:
    found = shape(box, want(box, {"appspec.yml": "x", "a/b": "y"}, (source, "out")))
    assert found == {"out": DIRECTORY, "out/appspec.yml": FILE, "out/a": DIRECTORY, "out/a/b": FILE}


def test_the_sources_are_the_files_of_the_revision(box: Box) -> None:
    archive = box.revision(STANDARD)
    desired = want(box, archive, ("app", "out"), ("/", "all"))
    assert desired.entries[f"{box.dest}/out/sub/two.txt"].source == f"{archive}/app/sub/two.txt"
    assert desired.entries[f"{box.dest}/all/root.txt"].source == f"{archive}/root.txt"


def test_directories_come_before_what_they_hold(box: Box) -> None:
    entries = want(box, STANDARD, ("app", "a/b/c"), ("root.txt", "a/d")).entries
    seen = {box.dest}
    for path in entries:
        assert os.path.dirname(path) in seen, path
        seen.add(path)


def test_an_empty_directory_is_installed(box: Box) -> None:
    assert shape(box, want(box, {"app": None}, ("app", "out"))) == {"out": DIRECTORY}


def test_directories_that_are_there_are_not_ours(box: Box) -> None:
    box.put("out/sub")
    found = shape(box, want(box, STANDARD, ("app", "out")))
    assert "out" not in found
    assert "out/sub" not in found
    assert found["out/sub/two.txt"] == FILE


def test_two_mappings_may_share_their_directories(box: Box) -> None:
    found = shape(box, want(box, {"a/x/1": "", "b/x/2": ""}, ("a", "out"), ("b", "out")))
    assert found == {"out": DIRECTORY, "out/x": DIRECTORY, "out/x/1": FILE, "out/x/2": FILE}


def test_names_of_any_bytes_are_installed(box: Box) -> None:
    names = ["caf\udce9", "new\nline", " spaces ", "\u00fcml\u00e4ut", "-rf", "*", "\\", "~"]
    found = shape(box, want(box, {f"app/{name}": "x" for name in names}, ("app", "out")))
    assert set(found) == {"out", *(f"out/{name}" for name in names)}


def test_a_very_deep_revision_is_installed(box: Box) -> None:
    deep = ""
    archive = box.revision({"app": None})
    for _ in range(1200):
        deep += "/x"
        os.mkdir(f"{archive}/app{deep}")
    put(f"{archive}/app{deep}/file", "x")
    try:
        assert f"out{deep}/file" in shape(box, want(box, archive, ("app", "out")))
    finally:
        remove_tree(archive)  # deeper than the tools of the tests can remove it


# Sources


def test_a_missing_source_is_named_with_its_line(box: Box) -> None:
    desired = want(box, STANDARD, ("app", "out"), ("nope/*.txt", "out"))
    (problem,) = desired.problems
    assert "appspec.yml:5" in problem
    assert "'nope/*.txt'" in problem
    assert "patterns are not expanded" in problem


def test_a_source_below_a_file_is_missing_too(box: Box) -> None:
    assert "not in the revision" in want(box, STANDARD, ("root.txt/x", "out")).problems[0]


def test_a_file_with_a_slash_at_its_end_is_refused(box: Box) -> None:
    (problem,) = want(box, STANDARD, ("root.txt/", "out")).problems
    assert "'root.txt/' is a file" in problem


def test_a_source_outside_the_revision_is_taken_as_the_official_agent_takes_it(box: Box) -> None:
    archive = box.revision({"app/x": "1"})
    put(f"{os.path.dirname(archive)}/beside/y", "2")
    assert shape(box, want(box, archive, ("../beside", "out"))) == {"out": DIRECTORY, "out/y": FILE}


@pytest.mark.parametrize(
    ("source", "destination"), [("../beside", "out"), ("app/../../beside", "out"), ("app", "../../../etc")]
)
def test_climbing_is_refused_where_the_setting_says_so(box: Box, source: str, destination: str) -> None:
    archive = box.revision({"app/x": "1"})
    put(f"{os.path.dirname(archive)}/beside/y", "2")
    desired = Desired(archive, View(HostFiles()), cwd="/", options=NO_CLIMBING)
    desired.add([FileMapping(source, destination, 4)])
    (problem,) = desired.problems
    assert "appspec.yml:4" in problem
    assert "reject_path_traversal_in_bundle" in problem
    assert desired.entries == {}


def test_two_dots_that_do_not_climb_are_never_refused(box: Box) -> None:
    desired = want(box, STANDARD, ("app/sub/../../app", "out/x/../y"), options=NO_CLIMBING)
    assert "out/y/one.txt" in shape(box, desired)


def test_a_fifo_is_not_installed_and_named(box: Box) -> None:
    archive = box.revision({"app/x": "1"})
    os.mkfifo(f"{archive}/app/pipe")
    desired = want(box, archive, ("app", "out"), ("app/pipe", "single"))
    assert len(desired.problems) == 2
    assert all("neither a file, a directory nor a link" in problem for problem in desired.problems)
    assert all("pipe" in problem for problem in desired.problems)


def test_a_revision_of_directories_linked_into_each_other_does_not_eat_the_memory(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ENTRIES", 1000)
    revision: dict[str, str | Link | None] = {"app/n16": None}
    for number in range(16):
        revision[f"app/n{number}/left"] = revision[f"app/n{number}/right"] = Link(f"../n{number + 1}")
    with pytest.raises(OSError, match="1000 entries"):
        want(box, revision, ("app", "out"))


# Links in the revision


def test_links_to_files_and_dangling_ones_are_installed_as_links(box: Box) -> None:
    revision = {"app/target": "t", "app/rel": Link("target"), "app/gone": Link("nowhere"), "app/abs": Link("/no/where")}
    found = shape(box, want(box, revision, ("app", "out")))
    assert [found[f"out/{name}"] for name in ("rel", "gone", "abs")] == [LINK] * 3


def test_a_link_to_a_directory_is_installed_as_the_directory(box: Box) -> None:
    found = shape(box, want(box, {"app/real/f": "1", "app/link": Link("real")}, ("app", "out")))
    assert found["out/link"] == DIRECTORY
    assert found["out/link/f"] == FILE


def test_a_link_to_a_directory_is_installed_as_a_link_where_the_setting_says_so(box: Box) -> None:
    found = shape(
        box,
        want(
            box,
            {"app/real/f": "1", "app/link": Link("real")},
            ("app", "out"),
            options=DEFAULTS._replace(follow_directory_symlinks=False),
        ),
    )
    assert found["out/link"] == LINK
    assert "out/link/f" not in found


@pytest.mark.parametrize("target", [".", "..", "../../app"])
def test_a_link_to_a_directory_above_it_is_installed_as_a_link_with_a_warning(box: Box, target: str) -> None:
    desired = want(box, {"app/f": "1", "app/sub/loop": Link(target)}, ("app", "out"))
    assert shape(box, desired)["out/sub/loop"] == LINK
    (warning,) = desired.warnings
    assert "app/sub/loop leads back" in warning


def test_two_directories_linked_into_each_other_end(box: Box) -> None:
    desired = want(box, {"app/a/to-b": Link("../b"), "app/b/to-a": Link("../a")}, ("app", "out"))
    found = shape(box, desired)
    assert found["out/a/to-b"] == DIRECTORY
    assert found["out/a/to-b/to-a"] == LINK
    assert len(desired.warnings) == 2


@pytest.mark.parametrize("links", [{"app/x": Link("x")}, {"app/x": Link("y"), "app/y": Link("x")}])
def test_a_link_to_itself_is_installed_as_it_is(box: Box, links: Tree) -> None:
    assert shape(box, want(box, links, ("app", "out")))["out/x"] == LINK


def test_a_source_that_is_a_link_to_a_directory_gives_its_contents(box: Box) -> None:
    found = shape(box, want(box, {"real/f": "1", "link": Link("real")}, ("link", "out")))
    assert found == {"out": DIRECTORY, "out/f": FILE}


@pytest.mark.parametrize("target", ["real", "nowhere"])
def test_a_source_that_is_another_link_is_installed_as_a_link(box: Box, target: str) -> None:
    found = shape(box, want(box, {"real": "1", "link": Link(target)}, ("link", "out")))
    assert found == {"out": DIRECTORY, "out/link": LINK}


# Destinations


def test_two_dots_in_a_destination_are_resolved_before_anything_is_made(box: Box) -> None:
    assert shape(box, want(box, STANDARD, ("root.txt", "x/../out"))) == {"out": DIRECTORY, "out/root.txt": FILE}


def test_a_tilde_is_the_home(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"{box.dest}/home")
    assert shape(box, want(box, STANDARD, ("root.txt", "~/out"))) == {
        "home": DIRECTORY,
        "home/out": DIRECTORY,
        "home/out/root.txt": FILE,
    }


def test_the_home_of_an_unknown_user_is_not_made_up(box: Box) -> None:
    desired = want(box, STANDARD, ("root.txt", "~no-such-user/out"), cwd=box.dest)
    (problem,) = desired.problems
    assert "'~no-such-user/out'" in problem
    assert desired.entries == {}


def test_a_relative_destination_is_below_the_working_directory(box: Box) -> None:
    desired = Desired(box.revision(STANDARD), View(HostFiles()), cwd=box.dest, options=DEFAULTS)
    desired.add([FileMapping("root.txt", "out", 4)])
    assert shape(box, desired) == {"out": DIRECTORY, "out/root.txt": FILE}


def test_an_empty_destination_is_the_root_directory(box: Box) -> None:
    name = "codedeploy-test-no-such-file"
    desired = Desired(box.revision({name: "x"}), View(HostFiles()), cwd=box.dest, options=DEFAULTS)
    desired.add([FileMapping(name, "", 4)])
    assert [(entry.path, entry.shown) for entry in desired.entries.values()] == [(f"/{name}", f"/{name}")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv/app/", "/srv/app"),
        ("//srv//app", "/srv/app"),
        ("/srv/./app/../web", "/srv/web"),
        ("/../srv", "/srv"),
        ("app", "/here/app"),
        ("../app", "/app"),
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("~", "/home/me"),
        ("~/app", "/home/me/app"),
        (" /srv", "/here/ /srv"),
    ],
)
def test_destinations_are_expanded(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand(text, "/here") == expected


@pytest.mark.parametrize("destination", ["a\0b", "a\ud800b"])
def test_a_destination_that_no_file_system_knows_is_a_problem_and_no_crash(box: Box, destination: str) -> None:
    (problem,) = want(box, STANDARD, ("root.txt", destination)).problems
    assert "appspec.yml:4" in problem


def test_a_destination_through_a_link_is_recorded_as_written(box: Box) -> None:
    box.put("real")
    box.put("alias", Link("real"))
    entries = want(box, STANDARD, ("root.txt", "alias/out")).entries
    assert [(entry.path, entry.shown) for entry in entries.values()] == [
        (f"{box.dest}/real/out", f"{box.dest}/alias/out"),
        (f"{box.dest}/real/out/root.txt", f"{box.dest}/alias/out/root.txt"),
    ]


def test_a_link_in_the_place_of_a_revisions_directory_is_followed(box: Box) -> None:
    box.put("real")
    box.put("out/sub", Link("../real"))
    entry = want(box, STANDARD, ("app", "out")).entries[f"{box.dest}/real/two.txt"]
    assert entry.shown == f"{box.dest}/out/sub/two.txt"


def test_a_link_to_a_directory_that_this_install_makes_is_followed(box: Box) -> None:
    box.put("current", Link("real"))
    found = shape(box, want(box, {"a/f": "1", "root.txt": "r"}, ("a", "real"), ("root.txt", "current")))
    assert found == {"real": DIRECTORY, "real/f": FILE, "real/root.txt": FILE}


@pytest.mark.parametrize("target", ["nowhere", "no/where", "out", "../dest/out"])
@pytest.mark.parametrize("below", ["", "/below"])
def test_a_destination_that_is_a_link_to_nothing_is_a_conflict_and_not_followed(
    box: Box, target: str, below: str
) -> None:
    box.put("out", Link(target))
    desired = want(box, STANDARD, ("root.txt", f"out{below}"))
    (problem,) = desired.problems
    assert f"{box.dest}/out" in problem
    assert desired.entries == {}


@pytest.mark.parametrize("below", ["", "/below", "/below/it"])
def test_a_destination_that_is_a_file_is_a_conflict(box: Box, below: str) -> None:
    box.put("out", "foreign")
    for source in ("root.txt", "app"):
        desired = want(box, STANDARD, (source, f"out{below}"))
        (problem,) = desired.problems
        assert f"needs a directory at {box.dest}/out, but there is a file" in problem


# Clashes


def test_two_sources_for_one_destination_are_both_named(box: Box) -> None:
    archive = box.revision({"a/f": "1", "b/f": "2"})
    desired = want(box, archive, ("a", "out"), ("b", "out"))
    (problem,) = desired.problems
    assert f"{archive}/a/f" in problem
    assert f"{archive}/b/f" in problem
    assert "appspec.yml:4" in problem


def test_two_sources_meet_also_through_two_names_of_one_directory(box: Box) -> None:
    box.put("real")
    box.put("alias", Link("real"))
    desired = want(box, {"a/f": "1", "b/f": "2"}, ("a", "real"), ("b", "alias"))
    assert len(desired.problems) == 1


def test_the_same_mapping_twice_is_a_clash(box: Box) -> None:
    assert len(want(box, STANDARD, ("root.txt", "out"), ("root.txt", "out")).problems) == 1


def test_a_file_where_a_directory_is_to_be_is_a_clash_either_way(box: Box) -> None:
    revision = {"a/x": "file", "b/x/y": "in a directory"}
    first = want(box, revision, ("a", "out"), ("b", "out"))
    second = want(box, revision, ("b", "out"), ("a", "out"))
    assert len(first.problems) == len(second.problems) == 1
    assert "needs a directory" in first.problems[0]
    assert "makes a directory there" in second.problems[0]


def test_a_destination_below_an_installed_link_is_a_clash(box: Box) -> None:
    desired = want(box, {"a/link": Link("elsewhere"), "b/f": "1"}, ("a", "out"), ("b", "out/link"))
    assert len(desired.problems) == 1


def test_all_problems_are_found_in_one_go(box: Box) -> None:
    box.put("file", "foreign")
    box.put("loop", Link("loop"))
    box.put("out/sub", Link("sub"))
    desired = want(
        box,
        STANDARD,
        ("missing", "out"),
        ("root.txt", "file"),
        ("root.txt", "loop"),
        ("app", "out"),
        ("root.txt", "fine"),
        ("root.txt", "fine"),
        ("root.txt/", "out"),
    )
    assert len(desired.problems) == 6


# The agent's own directories


OWN = ("agent-state", "deployment-instructions", "ongoing-deployment")


def want_beside(box: Box, files: Tree, destination: str) -> list[str]:
    """Return the problems of a revision's directory "app" at a destination, with the agent's directories reserved."""
    reserved = [f"{box.dest}/root/{name}" for name in OWN]
    desired = Desired(box.revision(files), View(HostFiles()), cwd="/", options=DEFAULTS, reserved=reserved)
    desired.add([FileMapping("app", f"{box.dest}/{destination}", 4)])
    return desired.problems


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_revision_overwrites_none_of_the_agents_own_records(box: Box, name: str, below: str) -> None:
    put(f"{box.dest}/root/{name}")
    (problem,) = want_beside(box, STANDARD, f"root/{name}{below}")
    assert problem.startswith("appspec.yml:4:")
    assert f"{box.dest}/root/{name}" in problem
    assert "choose another destination" in problem


@pytest.mark.parametrize("link", ["../root/agent-state", "../root/agent-state/locks", "../root"])
def test_no_link_leads_a_revision_into_the_agents_own_records(box: Box, link: str) -> None:
    put(f"{box.dest}/root/agent-state/locks")
    put(f"{box.dest}/app/link", Link(link))
    (problem,) = want_beside(box, {"app/agent-state/locks/f": "1"}, "app/link")
    assert f"keeps its own files in {box.dest}/root/agent-state" in problem


def test_agents_own_records_are_known_by_their_real_path(box: Box) -> None:
    put(f"{box.dest}/disk/agent-state")
    put(f"{box.dest}/root", Link("disk"))
    (problem,) = want_beside(box, STANDARD, "disk/agent-state")
    assert "choose another destination" in problem


def test_a_file_takes_the_place_of_none_of_the_agents_own_directories(box: Box) -> None:
    (problem,) = want_beside(box, {"app/agent-state": "1", "app/fine": "1"}, "root")
    assert f"{box.dest}/root/agent-state" in problem


def test_a_directory_above_or_beside_the_agents_own_is_a_destination_like_others(box: Box) -> None:
    put(f"{box.dest}/root/agent-state")
    assert want_beside(box, STANDARD, "root") == []
    assert want_beside(box, STANDARD, "root/agent-state-of-mine") == []
