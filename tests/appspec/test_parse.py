from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.appspec.model import AppSpec, FileExistsBehavior, FileMapping, Permission, Script
from agent.appspec.parse import check, parse
from agent.errors import AppSpecError
from plain_entries import plain

WHOLE = b"""\
version: 0.0
os: linux
file_exists_behavior: OVERWRITE
files:
  - source: /app
    destination: /srv/app
permissions:
  - object: /srv/app
    pattern: '*.sh'
    except: [secret.sh]
    owner: games
    group: 5
    mode: 0755
    type: [file]
    acls:
      - u:alice:rw
    context:
      name: system_u
      type: httpd_sys_content_t
      range: s0-s2:c0.c5
hooks:
  AfterInstall:
    - location: scripts/one.sh
      timeout: 180
      runas: games
      sudo: true
  ApplicationStart:
    - location: /scripts/two.sh
"""

YAML_PIECES = st.sampled_from(
    [
        "version: 0.0\n",
        "os: linux\n",
        "hooks:\n",
        "files:\n",
        "permissions:\n",
        "  - location: x\n",
        "  - object: x\n",
        "  - source: a\n    destination: b\n",
        "    timeout: 1\n",
        "    mode: 0644\n",
        "    acls: [",
        "u::rw",
        "]",
        "  ",
        "<<: *a\n",
        "&a ",
        "*a",
        "!!str ",
        "- ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        ",",
        "'",
        '"',
        "\t",
        "\n",
        "---\n",
        "|\n",
        "    context: {type: t, range: 's0-s1:c1.c5'}\n",
        "%YAML 1.1\n",
        "\u2028",
        "\\x00",
        "~",
        "1:30",
        "\ufeff",
    ]
)


def test_every_key_reaches_the_model():
    appspec = parse(WHOLE, filename="appspec.yml")
    assert plain(appspec.files) == (FileMapping("/app", "/srv/app", 5),)
    assert appspec.file_exists_behavior is FileExistsBehavior.OVERWRITE
    permission = appspec.permissions[0]
    assert (permission.object, permission.pattern, permission.exclude) == ("/srv/app", "*.sh", ("secret.sh",))
    assert (permission.owner, permission.group, permission.mode) == ("games", "5", 0o755)
    assert permission.types == {"file"}
    assert [(entry.tag, entry.name, entry.perm, entry.default) for entry in permission.acls] == [
        ("user", "alice", 6, False)
    ]
    assert permission.context is not None
    assert (permission.context.user, permission.context.type, permission.context.range) == (
        "system_u",
        "httpd_sys_content_t",
        "s0-s2:c0.c5",
    )
    assert {event: plain(scripts) for event, scripts in appspec.hooks.items()} == {
        "AfterInstall": (Script("scripts/one.sh", 180, "games", True, 23),),
        "ApplicationStart": (Script("/scripts/two.sh", 3600, None, False, 28),),
    }


def test_a_good_file_has_no_problems():
    assert check(WHOLE, filename="appspec.yml")[1] == []


def test_the_two_required_keys_are_enough(read):
    assert read("").appspec == AppSpec("appspec.yml")


@pytest.mark.parametrize("version", ["0.0", "0", "0.00", "-0.0", "+0", "0e0", "0x0", ".0", "'0.0'", '"0.0"'])
def test_zero_is_the_version_however_it_is_written(read, version):
    assert read("", head=f"version: {version}\nos: linux\n").result is not None


@pytest.mark.parametrize("version", ["1.0", "v0.0", "[0.0]", "~", "", "false", "'0.0 '", "''", ".", "0.0.0", "linux"])
def test_anything_else_is_no_version(read, version):
    assert "version" in read("", head=f"version: {version}\nos: linux\n").error.message


def test_a_quoted_version_is_accepted_with_a_word_about_the_official_agents(read):
    warning = read("", head="version: '0.0'\nos: linux\n").warning
    assert "quotes" in warning.message
    assert (warning.line, warning.column) == (1, 10)


@pytest.mark.parametrize("os", ["linux", "'linux'", '"linux"'])
def test_linux_is_the_os(read, os):
    assert read("", head=f"version: 0.0\nos: {os}\n").result is not None


@pytest.mark.parametrize("os", ["Linux", "LINUX", "'linux '", "windows", "[linux]", "~", "{linux: 1}"])
def test_another_os_is_refused(read, os):
    assert "os" in read("", head=f"version: 0.0\nos: {os}\n").error.message


def test_a_capital_letter_in_the_os_is_pointed_out(read):
    error = read("", head="version: 0.0\nos: Linux\n").error
    assert "'Linux'" in error.message
    assert error.remedy == "Did you mean 'linux'?"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n", "\n\n", "--- ~\n...\n"])
def test_an_empty_file_is_called_empty(text):
    appspec, problems = check(text.encode(), filename="appspec.yml")
    assert appspec is None
    assert "empty" in problems[0].message
    assert problems[0].line == 0


@pytest.mark.parametrize("text", ["- a\n- b\n", "hello\n", "0.0\n"])
def test_a_file_that_is_no_map_is_refused(text):
    with pytest.raises(AppSpecError, match="must be a map"):
        parse(text.encode(), filename="appspec.yml")


def test_missing_version_and_os_are_both_named(read):
    assert [error.message for error in read("files: []\n", head="").errors] == [
        "The AppSpec file has no version.",
        "The AppSpec file has no os.",
    ]


def test_all_problems_are_collected_with_their_lines(read):
    reading = read(
        """
        files:
          - source: a
        permissions:
          - object: /x
            mode: 999
        hooks:
          AfterInstall:
            - timeout: 0
        """
    )
    assert [(error.line, error.column) for error in reading.errors] == [(4, 5), (7, 11), (10, 7), (10, 16)]


def test_parse_raises_with_the_errors_only(read):
    with pytest.raises(AppSpecError) as caught:
        parse(b"version: 1\nos: linux\nfoo: 1\n", filename="my.yml")
    assert [problem.severity for problem in caught.value.problems] == ["error"]
    assert str(caught.value).startswith("my.yml:1:10: ")


@pytest.mark.parametrize(
    ("key", "meant"),
    [("Files", "files"), ("file", "files"), ("hook", "hooks"), (":os", "os"), ("file-exists-behavior", None)],
)
def test_a_misspelt_key_is_ignored_with_a_suggestion(read, key, meant):
    warning = read(f"{key}: 1\n").warning
    assert warning.line == 3
    assert f"Did you mean {meant or 'file_exists_behavior'!r}?" in warning.remedy


def test_a_key_for_anchors_is_nobodys_misspelling(read):
    assert read("x-common: &c /srv\nfiles:\n  - {source: a, destination: *c}\n").problems == []


def test_a_key_that_nothing_known_resembles_gets_the_list(read):
    assert "hooks" in read("Resources: []\n").warning.remedy


@pytest.mark.parametrize("behavior", ["DISALLOW", "OVERWRITE", "RETAIN"])
def test_file_exists_behavior_is_read(read, behavior):
    assert read(f"file_exists_behavior: '{behavior}'\n").appspec.file_exists_behavior.value == behavior


@pytest.mark.parametrize("behavior", ["overwrite", "KEEP", "true", "[RETAIN]", "''"])
def test_another_file_exists_behavior_is_refused(read, behavior):
    error = read(f"file_exists_behavior: {behavior}\n").error
    assert "DISALLOW, OVERWRITE or RETAIN" in error.remedy


def test_a_small_letter_in_file_exists_behavior_is_pointed_out(read):
    assert "Did you mean 'OVERWRITE'?" in read("file_exists_behavior: overwrite\n").error.remedy


def test_no_file_exists_behavior_leaves_the_deployments(read):
    assert read("file_exists_behavior:\n").appspec.file_exists_behavior is None


@pytest.mark.parametrize("section", ["files", "permissions", "hooks"])
@pytest.mark.parametrize("nothing", ["", "~", "false"])
def test_an_empty_section_is_none(read, section, nothing):
    reading = read(f"{section}: {nothing}\n")
    assert reading.problems == []
    assert not getattr(reading.appspec, section)


@pytest.mark.parametrize("section", ["files", "permissions", "hooks"])
@pytest.mark.parametrize("wrong", ["hello", "5", "true"])
def test_a_section_of_the_wrong_kind_is_named(read, section, wrong):
    assert f"{section} section" in read(f"{section}: {wrong}\n").error.message


def test_many_mistakes_do_not_make_many_messages(read):
    reading = read("files:\n" + "  - x\n" * 500)
    assert len(reading.errors) == 101
    assert "400 more errors" in reading.errors[-1].message


def test_hostile_values_are_cut_and_escaped_in_messages(read):
    error = read(f'file_exists_behavior: "\\e[31m{"x" * 5000}"\n').error
    assert "\x1b" not in str(error)
    assert len(str(error)) < 400


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"\x00")
def test_no_bytes_make_the_parser_fail_in_another_way(data):
    appspec, problems = check(data, filename="f")
    assert (appspec is None) == any(problem.severity == "error" for problem in problems)


@given(st.lists(YAML_PIECES, max_size=30).map("".join))
def test_no_yaml_makes_the_parser_fail_in_another_way(text):
    appspec, problems = check(text.encode(), filename="f")
    assert (appspec is None) == any(problem.severity == "error" for problem in problems)
    assert all(problem.line >= 0 and problem.message.endswith(".") for problem in problems)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.sampled_from(
                    [
                        "version",
                        "os",
                        "files",
                        "permissions",
                        "hooks",
                        "source",
                        "destination",
                        "object",
                        "mode",
                        "acls",
                        "context",
                        "type",
                        "range",
                        "except",
                        "owner",
                        "AfterInstall",
                        "location",
                        "timeout",
                    ]
                ),
                inner,
                max_size=5,
            ),
        ),
        max_leaves=30,
    )
)
def test_no_shape_of_values_makes_the_parser_fail_in_another_way(value):
    import yaml

    check(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace"), filename="f")


def test_an_entry_of_permissions_needs_only_its_object(read):
    assert plain(read("permissions:\n  - object: /srv\n").appspec.permissions) == (Permission("/srv", line=4),)


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        (
            "version: 0.0\nResources:\n  - Web:\n      Type: AWS::ECS::Service\nHooks:\n  - AfterInstall: F\n",
            "Amazon ECS",
        ),
        ("version: 0.0\nResources:\n  - Fn:\n      Type: AWS::Lambda::Function\n", "AWS Lambda"),
        ("version: 0.0\nos: linux\nresources:\n  - Web:\n      Type: AWS::ECS::Service\n", "Amazon ECS"),
        ("version: 0.0\nResources: []\n", "Amazon ECS or AWS Lambda"),
    ],
)
def test_an_appspec_for_a_platform_without_hosts_is_called_what_it_is(text, platform):
    appspec, (problem,) = check(text.encode(), filename="appspec.yml")
    assert appspec is None
    assert problem.message == f"This is an AppSpec for {platform}, which no agent on a host deploys."


def test_resources_beside_sections_of_ours_are_an_unknown_key(read):
    reading = read("Resources: []\nfiles: []\n")
    assert "'Resources' is not known" in reading.warning.message


@pytest.mark.parametrize("name", ["windows", "Windows"])
def test_a_revision_for_windows_is_not_called_one_for_linux_with_a_mistake(name):
    appspec, (problem,) = check(f"version: 0.0\nos: {name}\n".encode(), filename="appspec.yml")
    assert appspec is None
    assert problem.message == "This revision is for Windows hosts."
    assert "os: linux" not in problem.remedy
