import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity.errors import IdentityError, OnPremisesError
from agent.identity.on_premises import OnPremises
from agent.identity.on_premises_file import load_on_premises, read_on_premises
from agent.identity.on_premises_text import parse

USER_ARN = "arn:aws:iam::123456789012:user/AWS/CodeDeploy/web1"
SESSION_ARN = "arn:aws:sts::123456789012:assumed-role/OnPremises/web1"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGISTERED = f"""---
region: eu-west-1
iam_user_arn: {USER_ARN}
aws_access_key_id: AKIAIOSFODNN7EXAMPLE
aws_secret_access_key: {SECRET}
"""
SESSION = f"""---
iam_session_arn: {SESSION_ARN}
aws_credentials_file: /var/lib/credentials
region: eu-west-1
"""
USER = OnPremises(USER_ARN, "eu-west-1", "AKIAIOSFODNN7EXAMPLE", SECRET, None, "op.yml")


def read(text: str | bytes) -> OnPremises:
    found, warnings = parse(text.encode() if isinstance(text, str) else text, path="op.yml")
    assert warnings == ()
    assert found is not None
    return found


def errors_of(text: str | bytes) -> list[str]:
    with pytest.raises(OnPremisesError) as caught:
        parse(text.encode() if isinstance(text, str) else text, path="op.yml")
    assert SECRET not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def warnings_of(text: str) -> list[str]:
    return [str(problem) for problem in parse(text.encode(), path="op.yml").warnings]


def test_the_file_that_the_register_command_writes_is_read():
    assert read(REGISTERED) == USER
    assert USER.kind == "iam-user"


def test_a_session_of_a_role_is_read():
    found = read(SESSION)
    assert found == OnPremises(SESSION_ARN, "eu-west-1", None, None, "/var/lib/credentials", "op.yml")
    assert found.kind == "iam-session"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f":{line}\n" for line in REGISTERED.splitlines()[1:]),
        REGISTERED.replace("region:", ":region:"),
        REGISTERED.replace(": ", ":\t").replace("\n", " \t\n"),
        "\n".join(f'{line.split(": ")[0]}: "{line.split(": ")[1]}"' for line in REGISTERED.splitlines()[1:]),
        "\n".join(f"{line.split(': ')[0]}: ' {line.split(': ')[1]} '" for line in REGISTERED.splitlines()[1:]),
        "\ufeff" + REGISTERED.replace("\n", "\r\n"),
        REGISTERED.replace("region: eu", "region: &r eu") + "# the end",
    ],
    ids=["colons", "one colon", "tabs", "quotes", "spaces in quotes", "byte order mark", "anchor"],
)
def test_the_ways_to_write_the_same_mean_the_same(text):
    assert read(text) == USER


def test_what_follows_the_first_document_is_not_read_and_warned_of():
    found, (warning,) = parse((REGISTERED + "...\nanything\n").encode(), path="op.yml")
    assert found == USER
    assert str(warning).startswith("op.yml:7:1: The file goes on after its first YAML document")


def test_a_value_that_stands_for_an_alias_is_not_repeated_in_the_message():
    (problem,) = errors_of(REGISTERED.replace(SECRET, "*" + SECRET.replace("/", "")).replace(SECRET, ""))
    assert problem.startswith("op.yml:5:24: This alias repeats nothing")
    assert SECRET.replace("/", "") not in problem


def test_a_key_of_digits_stays_as_it_is_written():
    text = REGISTERED.replace("AKIAIOSFODNN7EXAMPLE", "0012").replace(SECRET, "1e5")
    assert read(text)[2:4] == ("0012", "1e5")


def test_both_arns_are_refused_in_the_line_of_the_second():
    assert errors_of(REGISTERED + f"iam_session_arn: {SESSION_ARN}\n") == [
        "op.yml:6:18: iam_user_arn and iam_session_arn exclude each other. "
        "Keep the one that this host is registered with."
    ]


@pytest.mark.parametrize("name", ["region", "aws_access_key_id", "aws_secret_access_key"])
@pytest.mark.parametrize("how", ["", "{name}:\n", "{name}: ''\n", "{name}: ~\n"])
def test_a_missing_key_of_a_user_is_named(name, how):
    lines = [line for line in REGISTERED.splitlines() if not line.startswith(name)]
    assert errors_of("\n".join([*lines, how.format(name=name)])) == [
        f"op.yml: {name} is missing; iam_user_arn needs it. Add a line {name}: ..."
    ]


@pytest.mark.parametrize("name", ["region", "aws_credentials_file"])
def test_a_missing_key_of_a_session_is_named(name):
    lines = [line for line in SESSION.splitlines() if not line.startswith(name)]
    assert errors_of("\n".join(lines)) == [
        f"op.yml: {name} is missing; iam_session_arn needs it. Add a line {name}: ..."
    ]


def test_all_problems_are_reported_at_once():
    text = f"iam_user_arn: web1\nregion: eu-west-1b\naws_secret_access_key: {SECRET} {SECRET}\n"
    assert [line.split(". ")[0] for line in errors_of(text)] == [
        "op.yml: aws_access_key_id is missing; iam_user_arn needs it",
        "op.yml:1:15: iam_user_arn is 'web1', which is not an ARN",
        "op.yml:2:9: The region 'eu-west-1b' is an availability zone; its region is eu-west-1",
        "op.yml:3:24: aws_secret_access_key holds spaces or characters that no key has",
    ]


@pytest.mark.parametrize("region", ["eu-west-1.attacker.example", "EU-WEST-1", "eu west 1", "-eu", "a" * 41, "é"])
def test_a_region_that_would_change_the_host_name_is_refused(region):
    (problem,) = errors_of(REGISTERED.replace("eu-west-1", f'"{region}"'))
    assert "is not the name of a region" in problem


@pytest.mark.parametrize("region", ["eusc-de-east-1", "us-gov-west-1", "us-isob-east-1", "cn-north-1", "mx-central-1"])
def test_regions_of_every_partition_pass(region):
    assert read(REGISTERED.replace("eu-west-1", region)).region == region


def test_an_odd_region_is_used_with_a_warning():
    found, warnings = parse(REGISTERED.replace("eu-west-1", "local").encode(), path="op.yml")
    assert found is not None
    assert found.region == "local"
    assert [str(problem) for problem in warnings] == [
        "op.yml:2:9: 'local' does not look like a region. They are named like eu-west-1."
    ]


def test_a_role_in_place_of_a_user_is_warned_of():
    (warning,) = warnings_of(REGISTERED.replace(USER_ARN, SESSION_ARN))
    assert "which is not the ARN of an IAM user. One has user/ in it." in warning


@pytest.mark.parametrize("text", ["- region: eu-west-1", "region eu-west-1", "''", "5"])
def test_what_is_no_map_is_an_error(text):
    (problem,) = errors_of(text)
    assert problem.startswith("op.yml:1:1: Keys with values were expected.")


@pytest.mark.parametrize("text", ["", "---\n", "# nothing", "~", "{}", "region: eu-west-1b\n", "iam_user_arn:\n"])
def test_a_file_without_an_arn_is_set_aside_with_a_warning(text):
    found, warnings = parse(text.encode(), path="op.yml")
    assert found is None
    assert [problem.message for problem in warnings] == [
        "There is neither iam_user_arn nor iam_session_arn: this file is not used."
    ]


def test_a_misspelt_key_is_recognised():
    _missing, unknown = warnings_of(REGISTERED.replace("iam_user_arn", "iam_user_arm"))
    assert unknown == "op.yml:3:1: Unknown key 'iam_user_arm'. Did you mean 'iam_user_arn'?"


def test_of_two_lines_for_one_key_the_last_counts():
    found, warnings = parse((REGISTERED + ":region: us-east-1\n").encode(), path="op.yml")
    assert found is not None
    assert found.region == "us-east-1"
    assert str(warnings[0]) == (
        "op.yml:6:1: The key ':region' stands here a second time, and only this one counts. "
        "The first is in line 2; remove one of them."
    )


def test_keys_of_the_other_kind_are_said_to_have_no_effect():
    (warning,) = warnings_of(SESSION + "aws_access_key_id: AKIA\n")
    assert warning.startswith("op.yml:5:20: aws_access_key_id has no effect beside iam_session_arn.")


def test_a_relative_credentials_file_lies_beside_the_configuration(tmp_path):
    text = SESSION.replace("/var/lib/credentials", "session/credentials")
    found, warnings = parse(text.encode(), path=str(tmp_path / "op.yml"))
    assert found is not None
    assert found.credentials_file == str(tmp_path / "session/credentials")
    assert "Write the whole path." in str(warnings[0])


@pytest.mark.parametrize("value", ["[a]", "{a: b}", "\n  - - a\n"])
def test_a_value_that_is_no_text_is_named(value):
    (problem,) = errors_of(REGISTERED.replace(SECRET, value))
    assert "aws_secret_access_key has a list or a map as its value. Write one text." in problem


def test_a_tab_that_indents_is_explained_with_its_line():
    (problem,) = errors_of("region: eu-west-1\n\tiam_user_arn: x\n")
    assert problem.startswith("op.yml:2:1: A tab indents this line")


def test_an_open_quote_is_explained_without_the_secret():
    (problem,) = errors_of(REGISTERED.replace(SECRET, f'"{SECRET}'))
    assert problem.startswith("op.yml:5:24: The quotes that open here are never closed.")


@pytest.mark.parametrize(
    "data", [b"region: \xff\xfe\n", b"region: a\0b\n", b"%YAML 9.9\n---\n", b"iam_user_arn: *b\n", b"{" * 60_000]
)
def test_what_no_editor_would_write_is_an_error_and_no_crash(data):
    assert errors_of(data)


def test_deep_nesting_is_refused_before_it_costs_time():
    # Where it is noticed, and so the place and the advice, depends on the YAML parser's age.
    (problem,) = errors_of(b"a: " + b"[" * 60_000)
    assert "Lists or maps are nested too deeply." in problem


@given(st.binary(max_size=200) | st.text(alphabet=":{}[]&*!'\"-\n \tregion~", max_size=60).map(str.encode))
def test_no_content_makes_anything_but_a_result_or_an_explained_error(data):
    with suppress(OnPremisesError):
        parse(data, path="op.yml")


@pytest.mark.parametrize("name", ["op.yml", "nowhere/op.yml"])
def test_a_file_that_is_not_there_means_ec2(tmp_path, name):
    assert read_on_premises(str(tmp_path / name)) == (None, ())


def test_a_link_that_leads_nowhere_is_warned_of(tmp_path):
    (tmp_path / "op.yml").symlink_to("gone")
    found, (warning,) = read_on_premises(str(tmp_path / "op.yml"))
    assert found is None
    assert "leads nowhere" in warning.message


def test_a_directory_or_a_fifo_in_its_place_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "op.yml")
    for path in (tmp_path, tmp_path / "op.yml"):
        with pytest.raises(IdentityError, match="not a regular file") as caught:
            load_on_premises(str(path))
        assert not caught.value.passing


def test_a_file_of_another_kind_is_not_read_into_memory(tmp_path):
    (tmp_path / "op.yml").write_bytes(b"#" * 70_000)
    with pytest.raises(IdentityError, match="has more than 65536 bytes"):
        load_on_premises(str(tmp_path / "op.yml"))


@pytest.mark.needs("root", "users")
def test_a_file_that_may_not_be_read_is_an_error_and_not_silently_ec2(tmp_path):
    path = tmp_path / "op.yml"
    path.write_text(REGISTERED)
    path.chmod(0o600)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from agent.identity.on_premises_file import load_on_premises\n"
        "os.setuid(65534)\n"
        "try: load_on_premises(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
    )
    project = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code, path, project], capture_output=True, text=True)
    assert done.stdout.startswith(f"The on-premises configuration file {path} cannot be read: Permission denied.")


@pytest.mark.parametrize(("mode", "able"), [(0o640, "read"), (0o604, "read"), (0o620, "change"), (0o666, "change")])
def test_a_file_that_others_may_read_or_change_is_warned_of(tmp_path, mode, able):
    path = tmp_path / "op.yml"
    path.write_text(REGISTERED)
    path.chmod(mode)
    found, (warning,) = read_on_premises(str(path))
    assert found == USER._replace(path=str(path))
    assert warning == (
        str(path),
        0,
        0,
        f"others than its owner may {able} this on-premises configuration file (mode 0{mode:o}).",
        f"Use: chmod 600 {path}",
        "warning",
    )


def test_a_private_file_is_not_warned_of(tmp_path):
    path = tmp_path / "op.yml"
    path.write_text(REGISTERED)
    path.chmod(0o600)
    assert read_on_premises(str(path)).warnings == ()


def test_the_secret_shows_in_no_repr():
    assert SECRET not in repr(USER)
    assert SECRET not in f"{USER}"
    assert "AKIAIOSFODNN7EXAMPLE" in repr(USER)


def test_an_identity_comes_through_json_unchanged():
    assert OnPremises(**json.loads(json.dumps(USER._asdict()))) == USER
