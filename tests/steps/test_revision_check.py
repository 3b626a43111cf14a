from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.appspec.parse import parse
from agent.errors import Problem
from agent.steps.revision_check import check_revision

HEAD = "version: 0.0\nos: linux\n"


class Revision:
    """A revision in the making, and what is found in it; the sections' text begins in line 3 of the AppSpec."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.on_host = True
        directory.mkdir()

    def add(self, name: str, content: str | bytes = "x\n", mode: int = 0o644) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def problems(self, sections: str) -> list[Problem]:
        appspec = parse((HEAD + sections).encode(), filename="appspec.yml")
        return check_revision(str(self.directory), appspec, "appspec.yml", on_host=self.on_host)

    def problem(self, sections: str) -> Problem:
        (problem,) = self.problems(sections)
        return problem


@pytest.fixture
def revision(tmp_path: Path) -> Revision:
    return Revision(tmp_path / "revision")


def files(*pairs: tuple[str, str]) -> str:
    return "files:\n" + "".join(f"  - source: {source!r}\n    destination: {place!r}\n" for source, place in pairs)


def hooks(*locations: str) -> str:
    return "hooks:\n  AfterInstall:\n" + "".join(f"    - location: {location!r}\n" for location in locations)


def test_a_good_revision_has_no_problems(revision):
    revision.add("app/one.txt")
    revision.add("root.txt")
    revision.add("scripts/a.sh", "#!/bin/sh\nexit 0\n", 0o755)
    sections = files(("app", "/srv/app"), ("/root.txt", "/srv/app")) + hooks("scripts/a.sh", "/scripts/a.sh")
    assert revision.problems(sections + "permissions:\n  - object: /srv/app\n    owner: root\n") == []


def test_a_missing_source_is_an_error_with_its_line(revision):
    revision.add("a")
    problem = revision.problem(files(("a", "/srv"), ("nope", "/srv")))
    assert (problem.severity, problem.line) == ("error", 6)
    assert "'nope' is not in the revision" in problem.message


@pytest.mark.parametrize(("written", "meant"), [("ap", "app"), ("/sub/One.txt", "sub/one.txt")])
def test_a_misspelt_source_is_suggested(revision, written, meant):
    revision.add("sub/one.txt")
    revision.add("app/x")
    assert revision.problem(files((written, "/srv"))).remedy == f"Did you mean {meant!r}?"


def test_a_pattern_as_source_is_explained(revision):
    revision.add("a.txt")
    assert "not expanded" in revision.problem(files(("*.txt", "/srv"))).remedy


def test_a_file_with_a_slash_at_its_end_is_an_error(revision):
    revision.add("a")
    problem = revision.problem(files(("a/", "/srv")))
    assert problem.severity == "error"
    assert "slash" in problem.message


def test_a_source_out_of_the_revision_is_pointed_out(revision):
    problem = revision.problem(files(("../x", "/srv")))
    assert problem.severity == "warning"
    assert "leads out" in problem.message


def test_a_link_out_of_the_revision_is_pointed_out_and_not_followed(revision):
    (revision.directory / "etc").symlink_to("/etc")
    problem = revision.problem(files(("etc", "/srv")))
    assert problem.severity == "warning"
    assert "link out of the revision" in problem.message


def test_a_fifo_is_an_error_before_it_hangs_anything(revision):
    revision.add("app/x")
    os.mkfifo(revision.directory / "app/pipe")
    problem = revision.problem(files(("app", "/srv")))
    assert problem.severity == "error"
    assert "app/pipe" in problem.message
    assert str(revision.directory) not in problem.message


def test_two_sources_for_one_destination_are_an_error(revision):
    revision.add("a/x")
    revision.add("b/x")
    problem = revision.problem(files(("a", "/srv/app"), ("b", "/srv/app/")))
    assert (problem.severity, problem.line) == ("error", 6)
    assert "/srv/app/x" in problem.message
    assert "appspec.yml:4" in problem.message


def test_a_file_where_another_source_needs_a_directory_is_an_error(revision):
    revision.add("a/x")
    revision.add("b/x/y")
    assert [problem.severity for problem in revision.problems(files(("a", "/srv"), ("b", "/srv")))] == ["error"]


def test_two_directories_may_be_merged(revision):
    revision.add("a/s/1")
    revision.add("b/s/2")
    assert revision.problems(files(("a", "/srv"), ("b", "/srv"))) == []


@pytest.mark.parametrize(("destination", "word"), [("srv/app", "relative"), ("./x", "relative"), ("~/x", "home")])
def test_a_relative_destination_is_pointed_out(revision, destination, word):
    revision.add("a")
    problem = revision.problem(files(("a", destination)))
    assert problem.severity == "warning"
    assert word in problem.message


def test_an_unreadable_directory_is_a_problem_and_no_traceback(revision):
    deep = "d" * 250
    path = revision.directory / "app"
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(deep, dir_fd=descriptor)
        inner = os.open(deep, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    problem = revision.problem(files(("app", "/srv")))
    assert problem.severity == "error"
    assert "cannot be installed" in problem.message


def test_a_missing_script_is_an_error_with_its_line(revision):
    revision.add("scripts/start.sh", "#!/bin/sh\n", 0o755)
    problem = revision.problem(hooks("scripts/start.sh", "scripts/Start.sh"))
    assert (problem.severity, problem.line) == ("error", 6)
    assert problem.remedy == "Did you mean 'scripts/start.sh'?"


def test_a_directory_is_no_script(revision):
    revision.add("scripts/a")
    assert "is a directory" in revision.problem(hooks("scripts")).message


def test_a_fifo_is_no_script(revision):
    os.mkfifo(revision.directory / "pipe")
    assert "no regular file" in revision.problem(hooks("pipe")).message


def test_a_script_out_of_the_revision_is_pointed_out(revision):
    (revision.directory / "sh").symlink_to("/bin/sh")
    problems = revision.problems(hooks("sh", "../x.sh"))
    assert [problem.severity for problem in problems] == ["warning", "warning"]
    assert all("outside the revision" in problem.message for problem in problems)


def test_a_script_through_a_directory_and_back_is_inside(revision):
    revision.add("app/x")
    revision.add("h.sh", "#!/bin/sh\n", 0o755)
    assert revision.problems(hooks("app/../h.sh")) == []


@pytest.mark.parametrize("mode", [0o644, 0o755])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("echo\n", "does not begin with '#!'"),
        ("", "does not begin with '#!'"),
        ("\n#!/bin/bash\n", "has its '#!' only in line 2"),
        ("# The start.\n\n  #!/bin/bash\n", "has its '#!' only in line 3"),
        (" #!/bin/bash\n", "has spaces before its '#!'"),
        ("\r\n#!/bin/bash\n", "has its '#!' only in line 2"),
        ("echo\n#!/bin/bash\n", "does not begin with '#!'"),
    ],
)
def test_a_script_that_no_interpreter_is_named_for_is_pointed_out(revision, content, words, mode):
    revision.add("h.sh", content, mode)
    problem = revision.problems(hooks("h.sh"))[0]
    assert problem.severity == "warning"
    assert f"{words}, so which shell reads it depends on the account and the system." in problem.message


@pytest.mark.parametrize(("content", "mode"), [("#!/bin/sh\n", 0o644), (b"\x7fELF\r\n", 0o644)])
def test_a_script_that_names_its_interpreter_and_a_program_are_right(revision, content, mode):
    revision.add("h.sh", content, mode)
    assert revision.problems(hooks("h.sh")) == []


@pytest.mark.parametrize("shebang", ["#!/bin/bash", "#!/bin/sh -e", "#!/usr/bin/env python3"])
def test_a_shebang_with_a_windows_line_end_is_an_error(revision, shebang):
    revision.add("h.sh", f"{shebang}\r\nexit 0\r\n", 0o755)
    problem = revision.problem(hooks("h.sh"))
    assert problem.severity == "error"
    assert "Windows line end" in problem.message
    assert "sed" in problem.remedy


@pytest.mark.parametrize("first", ["#!/bin/sh\n", "#!/usr/bin/env sh\n"])
def test_windows_line_ends_further_down_are_pointed_out_for_shells(revision, first):
    revision.add("h.sh", f"{first}exit 0\r\n", 0o755)
    assert revision.problem(hooks("h.sh")).severity == "warning"


def test_windows_line_ends_further_down_are_nothing_to_other_interpreters(revision):
    revision.add("h.py", "#!/usr/bin/env python3\nx = 1\r\n", 0o755)
    assert revision.problems(hooks("h.py")) == []


def test_a_byte_order_mark_before_the_shebang_is_pointed_out(revision):
    revision.add("h.sh", b"\xef\xbb\xbf#!/bin/bash\n", 0o755)
    assert "byte order mark" in revision.problem(hooks("h.sh")).message


def test_windows_line_ends_without_an_interpreter_are_pointed_out_as_well(revision):
    revision.add("h.sh", "exit 0\r\n", 0o755)
    assert "Windows line ends" in revision.problems(hooks("h.sh"))[1].message


def test_what_only_this_machine_lacks_is_a_note_unless_it_is_a_host(revision):
    revision.add("h.sh", "#!/no/such/sh\n", 0o755)
    sections = "hooks:\n  AfterInstall:\n    - location: h.sh\n      runas: no-such-user\n"
    assert [problem.severity for problem in revision.problems(sections)] == ["warning", "warning"]
    revision.on_host = False
    assert [problem.severity for problem in revision.problems(sections)] == ["note", "note"]


@pytest.mark.parametrize(
    ("location", "advice"),
    [
        ("/opt/tool/run.sh", "A leading slash does not make it a path of the host"),
        ("bin/go.sh --force now", "A location takes no arguments: 'bin/go.sh' is there."),
        ("/bin/go.sh --force", "A location takes no arguments: 'bin/go.sh' is there."),
        ("bin\\go.sh", "Write '/' for '\\': 'bin/go.sh' is there."),
        ("bin\\no.sh", "Write '/' for '\\'."),
        ("bin/go.hs", "Did you mean 'bin/go.sh'?"),
    ],
)
def test_a_location_that_is_written_for_something_else_is_explained(revision, location, advice):
    revision.add("bin/go.sh", "#!/bin/sh\n", 0o755)
    problem = revision.problem(hooks(location))
    assert problem.severity == "error"
    assert advice in problem.remedy


def test_a_destination_that_ends_in_the_files_own_name_is_pointed_out(revision):
    revision.add("etc/web.conf")
    problem = revision.problem(files(("etc/web.conf", "/etc/web/web.conf")))
    assert (problem.severity, problem.line, problem.column) == ("warning", 5, 18)
    assert "this one makes /etc/web/web.conf/web.conf" in problem.message
    assert problem.remedy == "Write /etc/web if /etc/web/web.conf is meant."


def test_a_directory_may_go_into_one_of_its_own_name(revision):
    revision.add("site/x")
    assert revision.problems(files(("site", "/srv/site"))) == []


@pytest.mark.parametrize(("shebang", "words"), [("#!/no/such/sh", "not on this host"), ("#!bash", "not a full path")])
def test_an_interpreter_that_is_not_there_is_pointed_out(revision, shebang, words):
    revision.add("h.sh", f"{shebang}\n", 0o755)
    problem = revision.problem(hooks("h.sh"))
    assert problem.severity == "warning"
    assert words in problem.message


def test_a_script_of_several_events_is_named_once(revision):
    sections = "hooks:\n" + "".join(
        f"  {event}:\n    - location: nope\n" for event in ("AfterInstall", "BeforeInstall")
    )
    assert len(revision.problems(sections)) == 1


def test_scripts_that_never_run_are_not_looked_at(revision):
    assert revision.problems("hooks:\n  DownloadBundle:\n    - location: nope\n") == []


def permissions(*entries: str) -> str:
    return "permissions:\n" + "".join(f"  - {entry}\n" for entry in entries)


@pytest.mark.parametrize(
    "entry",
    [
        "{object: /srv/app, pattern: '*.html'}",
        "{object: /srv/app, pattern: 'sub/*'}",
        "{object: /srv/other}",
        "{object: /srv/app/one.txt, type: [directory]}",
        "{object: /srv/app, except: ['one.txt', 'sub'], pattern: '*'}",
    ],
)
def test_permissions_that_match_nothing_are_pointed_out(revision, entry):
    revision.add("app/one.txt")
    revision.add("app/sub/two.txt")
    problem = revision.problem(files(("app", "/srv/app")) + permissions(entry))
    assert (problem.severity, problem.line) == ("warning", 7)
    assert "no effect" in problem.message


@pytest.mark.parametrize(
    "entry",
    [
        "{object: /srv/app}",
        "{object: /srv/app/}",
        "{object: /}",
        "{object: /srv, pattern: app, type: [directory]}",
        "{object: /srv/app, pattern: '*.txt'}",
        "{object: /srv/app/sub/two.txt}",
        "{object: /srv/app/sub/../one.txt}",
    ],
)
def test_permissions_that_match_something_are_right(revision, entry):
    revision.add("app/one.txt")
    revision.add("app/sub/two.txt")
    assert revision.problems(files(("app", "/srv/app")) + permissions(entry)) == []


@pytest.mark.parametrize("extra", ["pattern: '*.txt'", "except: [x]", "acls: ['d:u:root:rw']"])
def test_what_only_a_directory_can_have_is_an_error_on_a_file(revision, extra):
    revision.add("app/one.txt")
    entry = f"{{object: /srv/app/one.txt, {extra}}}"
    problem = revision.problem(files(("app", "/srv/app")) + permissions(entry))
    assert (problem.severity, problem.line) == ("error", 7)


def test_permissions_given_twice_are_an_error(revision):
    revision.add("app/one.txt")
    entries = ("{object: /srv/app/one.txt}", "{object: /srv/app, type: [file]}")
    problem = revision.problem(files(("app", "/srv/app")) + permissions(*entries))
    assert (problem.severity, problem.line) == ("error", 8)
    assert "line 7" in problem.message


def test_unknown_accounts_are_only_unknown_on_this_host(revision):
    revision.add("app/one.txt")
    revision.add("h.sh", "#!/bin/sh\n", 0o755)
    sections = files(("app", "/srv/app")) + permissions(
        "{object: /srv/app, type: [file], owner: no-such-user, group: no-such-group, acls: ['u:nobody-either:rw']}",
        "{object: /srv/app, type: [directory], owner: no-such-user}",
    )
    sections += "hooks:\n  AfterInstall:\n    - location: h.sh\n      runas: no-such-runner\n"
    # The second entry matches nothing but the directory above, which is made for it only where it is missing.
    problems = [problem for problem in revision.problems(sections) if "on this host" in problem.message]
    assert [(problem.line, problem.severity) for problem in problems] == [(7, "warning")] * 3 + [(12, "warning")]
    names = ["no-such-user", "no-such-group", "nobody-either", "no-such-runner"]
    assert all(name in problem.message for name, problem in zip(names, problems, strict=True))


def test_numbers_need_no_account(revision):
    revision.add("a")
    sections = files(("a", "/srv")) + permissions("{object: /srv/a, owner: 54321, group: '54321'}")
    assert revision.problems(sections) == []


def test_names_that_are_not_utf8_are_no_hindrance(revision):
    (revision.directory / "app").mkdir()
    with open(os.fsencode(revision.directory) + b"/app/\xff", "wb"):
        pass
    assert revision.problems(files(("app", "/srv"))) == []


def test_nothing_in_the_revision_is_changed(revision):
    script = revision.add("h.sh", "#!/bin/sh\n", 0o644)
    revision.problems(files(("/", "/srv")) + hooks("h.sh"))
    assert stat.S_IMODE(script.stat().st_mode) == 0o644
    assert os.listdir(revision.directory) == ["h.sh"]


def checks_of_many_files(revision: Revision, count: int) -> Callable[[], list[Problem]]:
    for number in range(count):
        revision.add(f"app/f{number}")
    entries = permissions(*(f"{{object: /srv/f{number}, mode: 640}}" for number in range(count)))
    return lambda: revision.problems(files(("app", "/srv")) + entries)


def test_a_thousand_entries_for_a_thousand_files_are_played_through(revision):
    assert checks_of_many_files(revision, 1000)() == []


def test_a_thousand_missing_sources_do_not_make_a_thousand_messages(revision):
    for number in range(300):
        revision.add(f"f{number}")
    problems = revision.problems(files(*((f"g{number}", "/srv") for number in range(1000))))
    assert len(problems) == 101
    assert "900 more errors" in problems[-1].message


def test_every_problem_points_at_the_value_that_is_wrong(revision):
    revision.add("app/one.txt")
    text = f"""{HEAD}files:
  - destination: /srv/app
    source: nope
  - source: app
    destination: here
  - destination: /srv/app
    source: ../x
  - source: app/one.txt
    destination: here
permissions:
  - owner: root
    object: /elsewhere
  - object: /srv/app
    group: no-such-group
  - object: here
    pattern: "*.txt"
    owner: no-such-user
    acls:
      - "u:root:r"
      - "u:nobody-either:r"
hooks:
  AfterInstall:
    - timeout: 5
      location: gone.sh
    - runas: no-such-runner
      location: gone.sh
"""
    lines = text.splitlines()
    found = set()
    for problem in revision.problems(text.removeprefix(HEAD)):
        found.add(lines[problem.line - 1][problem.column - 1 :])
    assert found == {
        *("nope", "here", "../x", "app/one.txt", "/elsewhere", "/srv/app"),
        *("no-such-group", "no-such-user", '"u:nobody-either:r"', "gone.sh", "no-such-runner"),
    }


def test_a_destination_in_the_agents_own_directories_is_a_warning(revision):
    revision.add("app/one.txt")
    own = "/opt/codedeploy-agent/deployment-root/agent-state"
    problem = revision.problem(files(("app", f"{own}/locks")))
    assert problem.severity == "warning"
    assert (problem.line, problem.column) == (5, 18)
    assert own in problem.message
    assert revision.problems(files(("app", "/opt/codedeploy-agent/deployment-root"))) == []
