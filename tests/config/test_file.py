import os
import re
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import file as config_file
from agent.config.file import load
from agent.config.parse import parse
from agent.config.settings import TABLE, Settings, SettingsError
from agent.errors import ConfigError

SHIPPED = b"""---
:log_aws_wire: false
:log_dir: '/var/log/aws/codedeploy-agent/'
:pid_dir: '/opt/codedeploy-agent/state/.pid/'
:program_name: codedeploy-agent
:root_dir: '/opt/codedeploy-agent/deployment-root'
:on_premises_config_file: '/etc/codedeploy-agent/conf/codedeploy.onpremises.yml'
:verbose: true
:wait_between_runs: 1
:proxy_uri:
:max_revisions: 5
"""


def read(text: str | bytes) -> Settings:
    settings, warnings = parse(text.encode() if isinstance(text, str) else text, filename="agent.yml")
    assert warnings == ()
    return settings


def errors_of(text: str | bytes) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text.encode() if isinstance(text, str) else text, filename="agent.yml")
    return [str(problem) for problem in caught.value.problems]


def warnings_of(text: str) -> list[str]:
    return [str(problem) for problem in parse(text.encode(), filename="agent.yml")[1]]


def test_the_file_that_the_official_agent_ships_is_read():
    settings = read(SHIPPED)
    assert (settings.verbose, settings.wait_between_runs, settings.max_revisions) == (True, 1, 5)
    assert settings.log_dir == "/var/log/aws/codedeploy-agent"
    assert settings.proxy_uri is None


def test_a_tag_of_another_program_is_ignored_as_the_official_agent_ignores_it():
    assert read("max_revisions: !thing 3").max_revisions == 3


def test_keys_with_and_without_a_colon_mean_the_same():
    assert read(":max_revisions: 3\nverbose: true") == read("max_revisions: 3\n:verbose: true")


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "~", "--- {}\n"])
def test_an_empty_file_leaves_all_defaults(text):
    assert read(text) == Settings()


def test_only_the_first_document_counts_as_in_the_official_agent():
    settings, (warning,) = parse(b"max_revisions: 3\n---\nmax_revisions: 9\n", filename="agent.yml")
    assert settings.max_revisions == 3
    assert str(warning).startswith("agent.yml:2:1: The file goes on after its first YAML document")


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter():
    assert read(b"\xef\xbb\xbfmax_revisions: 3\r\nverbose: true\r\n").max_revisions == 3


def test_a_number_in_quotes_is_a_number():
    assert read(":max_revisions: '3'\n:wait_between_runs: \"2.5\"").wait_between_runs == 2.5


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 1000**3), ("1GiB", 1024**3), ("500 MB", 500 * 1000**2), ("7", 7), ("9kib", 9 * 1024)]
)
def test_a_size_is_read_with_its_unit(text, size):
    assert read(f"archive_max_extraction_size: {text}").archive_max_extraction_size == size


@pytest.mark.parametrize("word", ["true", "yes", "on", "True", "'true'", '"yes"'])
def test_every_way_to_write_true_is_true(word):
    assert read(f"verbose: {word}").verbose is True


@pytest.mark.parametrize("word", ["false", "no", "off", "'false'", '"no"'])
def test_a_quoted_false_is_false(word):
    assert read(f"enable_deployments_log: {word}").enable_deployments_log is False


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (":verbose: 1", True),
        (":verbose: 0", True),
        (":verbose: ''", True),
        (":verbose: 2020-01-01", True),
        (":enable_deployments_log: nil", False),
        (":enable_deployments_log:", False),
        (":enable_deployments_log: ''", True),
    ],
)
def test_a_switch_of_the_official_agent_that_is_neither_true_nor_false_counts_as_there_and_is_named(line, value):
    key = line.split(":")[1]
    assert getattr(parse(line.encode(), filename="agent.yml")[0], key) is value
    (text,) = warnings_of(line)
    assert f"counts as {str(value).lower()}" in text


def test_a_switch_that_is_empty_and_off_by_default_is_no_matter():
    assert read(":verbose:") == Settings()
    assert warnings_of(":verbose:") == []


def test_a_relative_path_and_a_home_directory_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    settings = read("root_dir: ./state//here\nlog_dir: ~/logs/")
    assert settings.root_dir == f"{tmp_path}/state/here"
    assert settings.log_dir == "/home/someone/logs"


def test_all_problems_are_reported_at_once_with_their_lines():
    found = errors_of(":max_revisions: 0\nverbose: maybe\n\nroot_dir: [1]\narchive_max_extraction_size: 3.5GB\n")
    assert [re.match(r"agent\.yml:(\d+):", text)[1] for text in found] == ["1", "2", "4", "5"]
    assert "max_revisions is 0" in found[0]
    assert "1 or more" in found[0]
    assert "verbose is 'maybe'" in found[1]


@pytest.mark.parametrize(
    "line",
    [
        "max_revisions: 0",
        "max_revisions: -1",
        "max_revisions: 1.5",
        "max_revisions: true",
        "max_revisions: many",
        "max_revisions: 99999999999999999999",
        "wait_between_runs: -1",
        "wait_between_runs: .nan",
        "wait_between_runs: .inf",
        "wait_between_runs: true",
        "reject_symlinks_in_bundle: 1",
        "verbose: {a: 1}",
        "program_name: a/b",
        "program_name: ..",
        "program_name: ''",
        "root_dir: 5",
        "root_dir: 2020-01-01",
        "root_dir: ''",
        "archive_max_extraction_size: 0",
        "archive_max_extraction_size: -5",
        "archive_max_extraction_size: 1.5GB",
        "archive_max_extraction_size: 5 parsecs",
        "archive_max_extraction_size: true",
        "proxy_uri: proxy.example:8080",
        "proxy_uri: ftp://proxy",
        "deploy_control_endpoint: 'https://a b'",
        "hook_outputs_left_open: sometimes",
        "log_format: xml",
        "github_endpoint_override: github.example",
        "deployment_signer_fingerprints: abc",
        "deployment_signer_fingerprints: '" + "g" * 64 + "'",
        "deployment_signer_fingerprints: '" + "a" * 64 + ",'",
        "deployment_signer_fingerprints: " + "1" * 64,
        "deployment_signer_fingerprints: [" + "a" * 64 + "]",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_the_right_kind_named(line):
    (text,) = errors_of(line)
    assert f"agent.yml:1:{line.index(': ') + 3}:" in text
    assert "Expected" in text


def test_fingerprints_may_be_written_as_openssl_prints_them():
    colons = ":".join(["AB"] * 32)
    text = f"deployment_signer_fingerprints: '{colons}, {'c' * 64}'"
    assert read(text).deployment_signer_fingerprints == ("ab" * 32, "c" * 64)
    assert read("deployment_signer_fingerprints: ''").deployment_signer_fingerprints == ()


def test_an_unknown_key_is_named_once_with_what_was_meant():
    (text,) = warnings_of("max_revisons: 3\nverbose: true\n")
    assert "agent.yml:1:1" in text
    assert "max_revisons" in text
    assert "Did you mean 'max_revisions'?" in text


def test_a_key_like_no_other_is_named_too():
    (text,) = warnings_of(":quux: 3\n")
    assert "quux" in text
    assert "no effect" in text


@pytest.mark.parametrize("key", ["children", "codedeploy_test_profile", "ssl_verify_peer", "user"])
def test_keys_of_older_agents_are_accepted_in_silence(key):
    assert read(f":{key}: something") == Settings()


def test_a_key_that_stands_twice_is_noticed_and_the_last_one_counts():
    settings, warnings = parse(b":max_revisions: 2\nmax_revisions: 4\n", filename="agent.yml")
    assert settings.max_revisions == 4
    assert "line 1" in str(warnings[0])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"max_revisions: [", ":2:1: A value is missing in a list or map in brackets"),
        (b"\tmax_revisions: 3", ":1:1: A tab indents this line"),
        (
            b"max_revisions: \xff",
            ":1:16: The byte 0xff at offset 15 (counted from 0) is not UTF-8. Save the file as UTF-8",
        ),
        (b"max_revisions: 3\0", ":1:17: The control character U+0000"),
        (b"max_revisions: *nobody", ":1:16: The alias *nobody repeats nothing"),
        (b"max_revisions: !!int abc", ":1:16: max_revisions is 'abc'. Expected a whole number"),
        (b"max_revisions: 2020-13-45", ":1:16: max_revisions is '2020-13-45'. Expected a whole number"),
        ("max_revisions: 3".encode("utf-16"), ":1:1: The configuration file is written in UTF-16."),
        (b"- max_revisions: 3", ":1:1: Settings were expected"),
        (b"just a sentence", ":1:1: Settings were expected"),
        (b"[1]: 2", ":1:1: This key is a list or a map. Keys are words."),
        (b"a: " + b"[" * 500_000, "Lists or maps are nested"),
        (b"- " * 400_000, "Lists and maps are nested more than 20 deep. Settings are single values, one a line"),
    ],
)
def test_what_is_no_configuration_says_so_with_its_place(data, says):
    (text,) = errors_of(data)
    assert says in text


@given(st.binary(max_size=200))
def test_any_bytes_give_settings_or_problems(data):
    with suppress(SettingsError):
        assert isinstance(parse(data, filename="agent.yml")[0], Settings)


@given(st.sampled_from(sorted(TABLE)), st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.booleans()))
def test_any_scalar_for_any_key_gives_settings_or_problems(key, value):
    with suppress(SettingsError):
        assert isinstance(parse(f"{key}: {value}".encode("utf-8", "replace"), filename="agent.yml")[0], Settings)


def test_the_command_line_beats_the_environment(tmp_path):
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text("max_revisions: 1")
    second.write_text("max_revisions: 2")
    environment = {"CODEDEPLOY_AGENT_CONFIG_FILE": str(second)}
    assert load(str(first), environment=environment).settings.max_revisions == 1
    loaded = load(environment=environment)
    assert loaded.settings.max_revisions == 2
    assert loaded.files == (str(second),)


def test_the_first_default_file_that_exists_counts(tmp_path, monkeypatch):
    files = [tmp_path / "etc.yml", tmp_path / "opt.yml"]
    monkeypatch.setattr(config_file, "DEFAULT_FILES", tuple(map(str, files)))
    assert load(environment={}).settings == Settings()
    files[1].write_text("max_revisions: 2")
    assert load(environment={}).settings.max_revisions == 2
    files[0].write_text("max_revisions: 1")
    assert load(environment={}).settings.max_revisions == 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_file_that_was_named_must_be_there(tmp_path, how):
    path = str(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match=re.escape(path)):
        load(path) if how == "option" else load(environment={"CODEDEPLOY_AGENT_CONFIG_FILE": path})


def test_a_directory_in_place_of_the_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="directory"):
        load(str(tmp_path))


def test_a_pipe_that_nobody_writes_to_does_not_hold_the_agent(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="a pipe, and no process writes to it"):
        load(str(tmp_path / "pipe"))


def test_what_a_shell_writes_into_a_pipe_is_read(tmp_path, program):
    text = f":root_dir: {tmp_path}/piped"
    command = f"{program('codedeploy-agent')} settings --config-file <(sleep 0.2; echo '{text}')"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert f"{tmp_path}/piped" in shown.stdout


def test_a_huge_file_is_not_read_into_memory(tmp_path):
    path = tmp_path / "huge.yml"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    with pytest.raises(ConfigError, match="right file"):
        load(str(path))


def test_drop_in_files_add_to_the_configuration_and_the_last_counts(tmp_path):
    main, directory = tmp_path / "agent.yml", tmp_path / "agent.d"
    main.write_text("max_revisions: 1\nverbose: true\n")
    directory.mkdir()
    (directory / "10-site.yml").write_text("max_revisions: 2\nproxy_uri: http://proxy.example:3128\n")
    (directory / "20-host.yaml").write_text(":max_revisions: 3\nverbose:\n")
    for name in (".30-host.yml.swp.yml", "40-old.yml.bak"):
        (directory / name).write_text("max_revisions: 9\n")
    loaded = load(str(main))
    assert (loaded.settings.max_revisions, loaded.settings.verbose) == (3, True)
    assert [os.path.basename(file) for file in loaded.files] == ["agent.yml", "10-site.yml", "20-host.yaml"]
    origins = {key: os.path.basename(file) for key, file in loaded.origins.items()}
    assert origins == {"max_revisions": "20-host.yaml", "verbose": "agent.yml", "proxy_uri": "10-site.yml"}


def test_drop_in_files_need_no_main_file_in_the_usual_place(tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, "DEFAULT_FILES", (f"{tmp_path}/agent.yml",))
    (tmp_path / "agent.d").mkdir()
    (tmp_path / "agent.d/a.yml").write_text("max_revisions: 2")
    assert load(environment={}).settings.max_revisions == 2


def test_every_mistake_of_every_file_is_reported_with_its_file(tmp_path):
    main, directory = tmp_path / "agent.yml", tmp_path / "agent.d"
    main.write_text("max_revisions: many\n")
    directory.mkdir()
    (directory / "a.yml").write_text("verbose: perhaps\nlog_dir: /var/log/x\n")
    with pytest.raises(SettingsError) as caught:
        load(str(main))
    assert [problem.file for problem in caught.value.problems] == [str(main), f"{directory}/a.yml"]
    assert caught.value.usable.log_dir == "/var/log/x"


def test_settings_name_the_file_that_each_comes_from(tmp_path, program):
    (tmp_path / "agent.yml").write_text(f"log_dir: {tmp_path}/log\n")
    (tmp_path / "agent.d").mkdir()
    (tmp_path / "agent.d/a.yml").write_text("max_revisions: 7\n")
    command = [program("codedeploy-agent"), "settings", "--origin", "--config-file", f"{tmp_path}/agent.yml"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"* max_revisions: 7  # {tmp_path}/agent.d/a.yml" in shown
    assert f"* log_dir: {tmp_path}/log  # {tmp_path}/agent.yml" in shown
    assert "  verbose: false  # default" in shown


@pytest.mark.parametrize("value", ["joe:hunter2@proxy:3128", "ftp://joe:hunter2@proxy", "http://joe:hunter2 @proxy"])
def test_a_password_in_a_proxy_that_is_refused_is_not_shown(tmp_path, value):
    path = tmp_path / "agent.yml"
    path.write_text(f"proxy_uri: {value}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert "joe:***@proxy" in str(caught.value)
    assert "hunter2" not in str(caught.value)
