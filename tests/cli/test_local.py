import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time

import pytest

from agent import __version__
from other_user import command_as
from revisions import content, write_revision

ALL_EVENTS = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
]
HOOKS = [event for event in ALL_EVENTS if event not in ("DownloadBundle", "Install")]

TRACE = "#!/bin/sh\necho $LIFECYCLE_EVENT >> ../trace\n"


def official_lines(console, result):
    directory = console.directory(result)
    return [
        f"Starting to execute deployment from within folder {directory}",
        f"See the deployment log at {directory}/logs/scripts.log for more details",
        "AppSpec file valid. Local deployment successful",
    ]


def test_a_deployment_prints_the_three_official_lines_and_nothing_else(console):
    console.revision({"a.sh": "#!/bin/sh\necho out\n"}, AfterInstall="a.sh")
    result = console.run()
    assert (result.returncode, result.stdout.splitlines()) == (0, official_lines(console, result))
    assert re.fullmatch(
        rf"{console.root}/default-local-deployment-group/d-[A-Z0-9]{{9}}-local", console.directory(result)
    )
    assert content(f"{console.destination}/index.html") == "hello\n"


def test_what_else_there_is_to_say_goes_to_standard_error(console):
    console.revision({"a.sh": "#!/bin/sh\necho out\necho err >&2\n"}, AfterInstall="a.sh")
    lines = console.run().stderr.splitlines()
    assert "AfterInstall: [stdout]out" in lines
    assert "AfterInstall: [stderr]err" in lines
    assert "ApplicationStart: no scripts" in lines
    assert [line for line in lines if re.fullmatch(r"AfterInstall: \d+\.\d\d s, 1 script", line)]


def test_the_first_deployment_runs_every_hook_of_the_new_revision_in_order(console):
    console.revision({"t.sh": TRACE}, **dict.fromkeys(HOOKS, "t.sh"))
    assert console.run().returncode == 0
    # Without an earlier revision the three events before DownloadBundle have nobody's scripts to run.
    assert content(f"{console.top}/trace").split() == HOOKS[3:]


def test_the_second_deployment_stops_the_first_one_by_its_own_script(console):
    console.revision({"t.sh": TRACE}, ApplicationStop="t.sh")
    assert console.run().returncode == 0
    write_revision(console.bundle, {"t.sh": "#!/bin/sh\necho new >> ../trace\n"}, appspec=None)
    assert console.run().returncode == 0
    assert content(f"{console.top}/trace") == "ApplicationStop\n"
    assert console.run("-e", "DownloadBundle,ApplicationStop,Install").returncode == 0
    assert content(f"{console.top}/trace") == "ApplicationStop\nnew\n"


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_an_archive_is_deployed_and_its_single_top_directory_lifted(console, kind):
    console.revision({"t.sh": TRACE}, AfterInstall="t.sh")
    archive = shutil.make_archive(
        f"{console.top}/b", {"tgz": "gztar"}.get(kind, kind), root_dir=console.top, base_dir="bundle"
    )
    result = console.run("-l", archive, "-t", kind)
    assert (result.returncode, result.stdout.splitlines()) == (0, official_lines(console, result))
    assert content(f"{console.destination}/index.html") == "hello\n"
    assert os.readlink(f"{console.directory(result)}/bundle.tar") == archive


SHORT = "-l {b} -t directory -b DISALLOW -g g1 -d G -a A -e AfterInstall -A appspec.yml"
ATTACHED = "-l{b} -tdirectory -gg1 -dG -aA"
LONG = "--bundle-location={b} --type=directory --deployment-group=g1 --deployment-group-name=G --application-name=A"
SHORTENED = "--bundle {b} --ty directory --deployment-group g1 --deployment-group-n G --appl A"


@pytest.mark.parametrize("arguments", [SHORT, ATTACHED, LONG, SHORTENED])
def test_options_may_be_short_long_shortened_and_with_an_equals_sign(console, arguments):
    console.revision(
        {"v.sh": '#!/bin/sh\necho "$DEPLOYMENT_GROUP_ID $DEPLOYMENT_GROUP_NAME $APPLICATION_NAME" > "$PWD/seen"\n'},
        AfterInstall="v.sh",
    )
    result = console.run(*arguments.format(b=console.bundle).split(), cwd=console.top)
    assert (result.returncode, result.stderr.count("ERROR")) == (0, 0)
    assert content(f"{console.top}/seen") == "g1 G A\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "directory", "-t", "directory"],
        ["--type=tar", "-t", "tar"],
        ["--dry-run", "--dry-run"],
        ["-l"],
        ["--deploy", "x"],
        ["--bogus"],
        ["stray"],
    ],
)
def test_wrong_options_show_how_to_use_it_and_do_nothing(console, arguments):
    console.revision()
    result = console.run(*arguments)
    assert result.returncode == 1
    assert result.stdout.startswith("ERROR: ")
    assert "usage: codedeploy-local" in result.stdout
    assert not os.path.exists(console.root)


@pytest.mark.parametrize("option", ["-h", "--help", "-v", "--version"])
def test_help_and_version_are_no_failure(console, option):
    result = subprocess.run([console.program, option], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("--bundle-location" if "h" in option else __version__) in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-t", "rar"], "rar"),
        (["-l", "/nowhere"], "/nowhere"),
        (["-l", "http://example.com/x.zip", "-t", "zip"], "https"),
        (["-l", "s3://bucket", "-t", "zip"], "s3://bucket/key"),
        (["-l", "https://github.com/owner"], "owner/repository"),
        (["-e", "ApplicationStart,DownloadBundle"], "ApplicationStart before DownloadBundle"),
        (["-g", "a/b"], "slash"),
        (["-g", "agent-state"], "keeps for itself"),
        (["-A", "../appspec.yml"], "'..'"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_cannot_be_is_refused_before_anything_is_made(console, arguments, says, dry):
    console.revision()
    result = console.run(*arguments, *dry)
    assert result.returncode == 1
    assert says in result.stdout
    assert "ERROR: " in result.stdout
    assert "Traceback" not in result.stderr
    assert not os.path.exists(console.destination)
    assert not os.path.exists(console.root)


def test_a_failing_script_ends_the_deployment_and_is_named_as_the_official_command_does(console):
    console.revision(
        {"bad.sh": "#!/bin/sh\necho oops\nexit 3\n", "t.sh": TRACE}, AfterInstall="bad.sh", ApplicationStart="t.sh"
    )
    result = console.run()
    directory = console.directory(result)
    assert result.returncode == 1
    assert result.stdout.splitlines()[1:] == [
        f"Your local deployment failed while trying to execute your script at {directory}/deployment-archive/bad.sh",
        f"See the deployment log at {directory}/logs/scripts.log for more details",
    ]
    assert "[stdout]oops" in content(f"{directory}/logs/scripts.log")
    assert re.search(r"ERROR: .*bad\.sh.*3", result.stderr)
    assert not os.path.exists(f"{console.top}/trace")
    assert f"{console.destination}/index.html" in content(
        f"{console.root}/deployment-instructions/default-local-deployment-group-cleanup"
    )


def test_a_broken_appspec_fails_with_every_mistake_and_its_line(console):
    console.revision(appspec="hooks:\n  AfterInstall:\n    - {}\n    - location: a\n      timeout: never\n")
    result = console.run()
    assert result.returncode == 1
    assert "ERROR: " in result.stdout
    assert re.search(r"appspec\.yml:\d+:\d+: ", result.stdout)
    assert "2 problems" in result.stdout
    assert not os.path.exists(console.destination)


def test_a_custom_event_runs_when_it_is_named_and_is_an_error_otherwise(console):
    console.revision({"t.sh": TRACE}, Bogus="t.sh")
    refused = console.run()
    assert (refused.returncode, "Bogus" in refused.stdout) == (1, True)
    assert not os.path.exists(console.destination)
    assert console.run("-e", "Bogus").returncode == 0
    assert content(f"{console.top}/trace") == "Bogus\n"


def test_a_custom_event_that_the_appspec_does_not_know_is_an_error(console):
    console.revision()
    result = console.run("-e", "Bogus")
    assert (result.returncode, "Bogus" in result.stdout) == (1, True)
    assert not os.path.exists(console.destination)


def test_a_foreign_file_is_a_conflict_that_names_the_ways_out(console):
    console.revision()
    write_revision(console.destination, {"index.html": "foreign"}, appspec=None)
    result = console.run()
    assert result.returncode == 1
    assert f"{console.destination}/index.html" in result.stdout
    assert "OVERWRITE" in result.stdout
    assert content(f"{console.destination}/index.html") == "foreign"
    assert console.run("-b", "retain").returncode == 0
    assert content(f"{console.destination}/index.html") == "foreign"
    assert console.run("-b", "OVERWRITE").returncode == 0
    assert content(f"{console.destination}/index.html") == "hello\n"


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_conflict_names_the_key_that_was_meant_to_prevent_it(console, arguments):
    console.revision(appspec="    overwrite: yes\n")
    write_revision(console.destination, {"index.html": "foreign"}, appspec=None)
    result = console.run(*arguments)
    assert result.returncode == 1
    assert "appspec.yml:6:5: The key 'overwrite' is not known" in result.stdout
    assert "Write 'file_exists_behavior: OVERWRITE' at the top level of the file" in result.stdout


def test_old_revisions_go_by_the_setting(console):
    console.configure(max_revisions=2)
    console.revision()
    directories = []
    for _ in range(4):
        directories.append(console.directory(console.run()))
        os.utime(directories[-1], (len(directories),) * 2)
    assert sorted(os.listdir(os.path.dirname(directories[0]))) == sorted(
        os.path.basename(path) for path in directories[-2:]
    )


def test_problems_of_the_configuration_stop_it_and_notes_do_not(console):
    console.revision()
    console.configure(max_revisions=0, verbose="perhaps")
    result = console.run()
    assert result.returncode == 1
    assert "max_revisions is 0" in result.stdout
    assert "perhaps" in result.stdout
    console.configure(max_revisons=3)
    result = console.run()
    assert result.returncode == 0
    assert result.stderr.count("max_revisons") == 1
    assert "Did you mean 'max_revisions'?" in result.stderr


def test_a_configuration_that_is_not_there_is_an_error(console):
    console.revision()
    console.config = f"{console.top}/none.yml"
    result = console.run()
    assert (result.returncode, console.config in result.stdout) == (1, True)


def test_the_configuration_may_come_from_the_environment(console):
    console.revision()
    result = subprocess.run(
        [console.program],
        cwd=console.bundle,
        env={**os.environ, "CODEDEPLOY_AGENT_CONFIG_FILE": console.config},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0
    assert os.path.isdir(console.root)


def test_the_run_is_logged_in_the_official_form(console):
    console.revision()
    console.run()
    log = content(f"{console.top}/log/codedeploy-local.log")
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO  \[codedeploy-local\(\d+\)\]: Install succeeded in ", log, re.MULTILINE
    )
    events = re.findall(
        r"\]: (?:Deployment (d-\S+) )?(?:\S+ )?(?:of|started|succeeded|ended).*? deployment=(d-\S+)", log
    )
    assert len(events) > 10
    assert {named for _, named in events} == {named for named, _ in events if named}


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_deploys_with_a_configuration_of_their_own(console):
    console.revision({"t.sh": TRACE}, AfterInstall="t.sh")
    console.configure(log_dir="/root/nobody-may-write-here")
    # The directories above belong to root alone; the user only ever works below this one.
    for path in (console.top, *(os.path.join(top, name) for top, names, _ in os.walk(console.top) for name in names)):
        os.chown(path, 65534, 65534)
    opened = []
    directory = os.path.dirname(console.top)
    while directory != "/":
        opened.append((directory, os.stat(directory).st_mode & 0o7777))
        os.chmod(directory, opened[-1][1] | 0o711)
        directory = os.path.dirname(directory)
    try:
        result = subprocess.run(
            command_as(65534, 65534, "from agent.cli.local import main; sys.exit(main())", *console.command()[1:]),
            cwd=console.bundle,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path, mode in opened:
            os.chmod(path, mode)
    assert (result.returncode, result.stdout.splitlines()) == (0, official_lines(console, result)), result.stderr
    assert os.stat(f"{console.destination}/index.html").st_uid == 65534


def test_a_root_directory_that_cannot_be_made_names_the_setting(console):
    console.revision()
    console.configure(root_dir="/proc/nothing/can/be/made/here")
    result = console.run()
    assert (result.returncode, "root_dir" in result.stdout) == (1, True)


def test_a_current_directory_that_was_removed_is_named_as_the_reason(console):
    console.revision()
    command = f"mkdir gone && cd gone && rmdir ../gone && exec {' '.join(console.command('-l', console.bundle))}"
    result = subprocess.run(["sh", "-c", command], cwd=console.top, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ERROR: The current directory was removed" in result.stdout
    assert not os.path.exists(console.root)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_ends_the_scripts_and_says_so(console, number, name):
    console.revision(
        {"long.sh": "#!/bin/sh\nsleep 600 &\necho $! > ../child\necho ready\nsleep 600\n", "t.sh": TRACE},
        AfterInstall="long.sh",
        ApplicationStart="t.sh",
    )
    with console.running() as process:
        while process.stderr.readline() != "AfterInstall: [stdout]ready\n":
            assert process.poll() is None
        process.send_signal(number)
        out, _ = process.communicate()
    assert process.returncode == 128 + number
    assert f"Stopped by {name} during AfterInstall" in out
    with pytest.raises(ProcessLookupError):
        os.kill(int(content(f"{console.top}/child")), 0)
    assert not os.path.exists(f"{console.top}/trace")
    assert name in content(f"{console.top}/log/codedeploy-local.log")


def test_a_second_deployment_of_the_group_waits_for_the_first_and_another_group_does_not(console):
    console.revision(
        {"wait.sh": "#!/bin/sh\necho ready\nuntil [ -e ../go ]; do sleep 0.05; done\n"}, AfterInstall="wait.sh"
    )
    with console.running() as first:
        while first.stderr.readline() != "AfterInstall: [stdout]ready\n":
            assert first.poll() is None
        os.remove(f"{console.bundle}/appspec.yml")
        write_revision(console.bundle, {})
        assert console.run("-g", "other").returncode == 0
        with console.running() as second:
            assert f"process {first.pid} " in second.stderr.readline()
            open(f"{console.top}/go", "w").close()
            assert (second.wait(), first.wait()) == (0, 0)


def test_what_a_script_leaves_running_keeps_neither_the_deployment_nor_its_lock(console):
    console.configure(lock_wait_seconds=5)
    console.revision({"start.sh": "#!/bin/sh\nsleep 600 &\necho $! > ../child\n"}, ApplicationStart="start.sh")
    try:
        first = console.run()
        assert first.returncode == 0
        assert "note: " in first.stderr
        assert console.run("-e", "AfterInstall").returncode == 0
        os.kill(int(content(f"{console.top}/child")), 0)
    finally:
        os.kill(int(content(f"{console.top}/child")), signal.SIGKILL)


def test_a_deployment_gives_up_waiting_after_the_limit(console):
    console.configure(lock_wait_seconds=0.2)
    console.revision({"wait.sh": "#!/bin/sh\necho ready\nsleep 600\n"}, AfterInstall="wait.sh")
    with console.running() as first:
        while first.stderr.readline() != "AfterInstall: [stdout]ready\n":
            assert first.poll() is None
        result = console.run()
        assert (result.returncode, f"process {first.pid} still" in result.stdout) == (1, True)
        first.send_signal(signal.SIGINT)
        first.communicate()


def test_a_reader_that_goes_away_does_not_stop_the_deployment(console):
    loud = "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' 'x'\necho $LIFECYCLE_EVENT >> ../trace\n"
    console.revision({"loud.sh": loud}, AfterInstall="loud.sh", ValidateService="loud.sh")
    with console.running() as process:
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == 0
    assert content(f"{console.top}/trace").split() == ["AfterInstall", "ValidateService"]


def test_paths_that_are_not_utf8_are_deployed_and_shown_as_they_are(console):
    console.revision()
    console.bundle = os.fsdecode(os.fsencode(console.top) + b"/b\xff")
    write_revision(
        console.bundle,
        {os.fsdecode(b"app/f\xfe"): "x"},
        appspec=f"files: [{{source: app, destination: {console.destination}}}]\n",
    )
    assert console.run().returncode == 0
    assert os.listdir(os.fsencode(console.destination)) == [b"f\xfe"]
    assert "f\udcfe" in console.run("--dry-run").stdout


def in_terminal(console, *arguments, env=None):
    """Run the command in a pseudo terminal; give its exit status and everything that it has printed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(console.bundle)
        os.environ.update({"TERM": "xterm", **(env or {})})
        os.execv(console.program, console.command(*arguments))
    printed = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        printed += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed.decode().replace("\r\n", "\n")


def test_on_a_terminal_each_event_has_a_line_and_scripts_are_heard(console):
    console.revision({"a.sh": "#!/bin/sh\nprintf 'one\\ntwo'\n"}, AfterInstall="a.sh")
    status, text = in_terminal(console, env={"NO_COLOR": "1"})
    assert status == 0
    assert [line for line in ALL_EVENTS if not re.search(rf"^  ok     {line} ", text, re.MULTILINE)] == []
    assert "  AfterInstall: a.sh\n    | one\n    | two\n  ok     AfterInstall" in text
    assert "AppSpec file valid. Local deployment successful" in text
    assert re.search(r"d-\w+-local succeeded: 11 events, 1 script, \d+\.\d\d s\n$", text)
    assert "\x1b[" not in text


def test_on_a_terminal_a_failure_is_marked_and_explained_last(console):
    console.revision({"bad.sh": "#!/bin/sh\nexit 3\n"}, AfterInstall="bad.sh")
    status, text = in_terminal(console)
    assert status == 1
    assert "\x1b[31mFAILED\x1b[0m AfterInstall" in text
    assert re.search(r"ERROR: .*bad\.sh", text)
    assert "failed at AfterInstall: 7 events" in text


def test_json_is_one_object_on_standard_output(console):
    console.revision({"a.sh": "#!/bin/sh\nexit 0\n"}, AfterInstall="a.sh")
    result = console.run("--json")
    document = json.loads(result.stdout)
    assert (result.returncode, document["status"], document["error"]) == (0, "Succeeded", None)
    assert [event["name"] for event in document["events"]] == ALL_EVENTS
    assert [event["scripts"] for event in document["events"] if event["scripts"]] == [["a.sh"]]
    assert document["script_log"] == f"{document['directory']}/logs/scripts.log"
    assert os.path.isfile(document["script_log"])


def test_json_of_a_failed_script_has_its_diagnostics(console):
    console.revision({"bad.sh": "#!/bin/sh\necho oops\nexit 3\n"}, AfterInstall="bad.sh")
    result = console.run("--json")
    error = json.loads(result.stdout)["error"]
    assert result.returncode == 1
    assert (error["event"], error["error_code"], error["script_name"]) == ("AfterInstall", 4, "bad.sh")
    assert error["log"].endswith("[stdout]oops\n")


@pytest.mark.parametrize("arguments", [["-t", "rar"], ["-l", "/nowhere"], ["-e", "x"], ["--bogus"]])
def test_json_tells_what_was_refused_too(console, arguments):
    console.revision()
    result = console.run("--json", *arguments)
    document = json.loads(result.stdout)
    assert (result.returncode, document["status"]) == (1, "Failed")
    assert document["error"]["message"]
    assert document["error"]["remedy"]


def test_a_small_deployment_imports_nothing_slow(console):
    console.revision({"a.sh": "#!/bin/sh\nexit 0\n"}, AfterInstall="a.sh")
    result = console.run(env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", result.stderr, re.MULTILINE))
    assert "agent.local.deploy" in imported
    assert not imported & {
        "boto3",
        "difflib",
        "psutil",
        "rich.console",
        "tempfile",
        "watchdog",
    }


def everything(top):
    """Each path below a directory with all that a change would leave in its metadata."""
    found = {}
    for directory, directories, files in os.walk(top):
        for name in [*directories, *files, "."]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_a_dry_run_tells_all_and_changes_nothing(console, tmp_path):
    console.revision({"stop.sh": "#!/bin/sh\nexit 0\n", "app/old": "x"}, ApplicationStop="stop.sh")
    earlier = console.directory(console.run())
    os.remove(f"{console.bundle}/app/old")
    os.remove(f"{console.bundle}/appspec.yml")
    console.revision(
        {"app/new": "y", "s.sh": "#!/bin/sh\ntouch ../trace\n"},
        appspec=f"permissions: [{{object: {console.destination}, mode: 600, type: [file]}}]\n",
        AfterInstall="s.sh",
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    time.sleep(0.01)
    before = everything(console.top)
    result = console.run("--dry-run", env={"TMPDIR": str(temporary)})
    after = everything(console.top)
    for tree in (before, after):
        del tree[f"{temporary}/."], tree[f"{console.top}/temporary"]
    assert result.returncode == 0, result.stdout
    assert after == before
    for line in (
        f"ApplicationStop: 1 script, from the earlier revision in {earlier}",
        "AfterInstall: 1 script",
        "  run s.sh, at most 3600 s",
        f"  remove {console.destination}/old",
        f"  replace {console.destination}/index.html  (app/index.html)",
        f"  create {console.destination}/new  (app/new)",
        f"  permissions {console.destination}/new  (mode 0600)",
        "Dry run: nothing was changed.",
    ):
        assert line in result.stdout.splitlines()


def test_a_dry_run_looks_for_a_source_outside_of_the_revision_where_the_deployment_will(console):
    source = "../../../../outside.txt"
    console.revision(appspec=f"  - source: {source}\n    destination: {console.destination}\n")
    assert console.run("--dry-run").returncode == 1
    with open(f"{console.top}/outside.txt", "w", encoding="utf-8") as file:
        file.write("x")
    result = console.run("--dry-run")
    assert result.returncode == 0, result.stdout
    assert f"  create {console.destination}/outside.txt" in result.stdout
    assert console.run().returncode == 0


def test_a_dry_run_of_a_first_deployment_leaves_no_root_directory(console):
    console.revision()
    assert console.run("--dry-run").returncode == 0
    assert sorted(os.listdir(console.top)) == ["agent.yml", "bundle"]


def test_a_dry_run_finds_the_conflicts_that_the_deployment_would_meet(console):
    console.revision({"app/b": "x"})
    write_revision(console.destination, {"index.html": "foreign", "b": "foreign"}, appspec=None)
    result = console.run("--dry-run", "--json")
    conflicts = json.loads(result.stdout)["error"]["conflicts"]
    assert result.returncode == 1
    assert [any(f"{console.destination}/{name}" in text for text in conflicts) for name in ("index.html", "b")] == [
        True
    ] * 2


def test_a_dry_run_as_json_has_events_and_changes(console):
    console.revision({"s.sh": "#!/bin/sh\nexit 0\n"}, AfterInstall="s.sh")
    document = json.loads(console.run("--dry-run", "--json").stdout)
    assert (document["dry_run"], document["status"]) == (True, "Succeeded")
    assert [event["name"] for event in document["events"]] == ALL_EVENTS
    assert {"action": "create", "path": f"{console.destination}/index.html", "detail": "app/index.html"} in document[
        "changes"
    ]
    (script,) = document["events"][6]["scripts"]
    assert script == {"location": "s.sh", "timeout": 3600, "runas": None, "sudo": False}


def test_a_dry_run_finds_a_script_that_is_not_there(console):
    console.revision(AfterInstall="nope.sh")
    result = console.run("--dry-run")
    assert result.returncode == 1
    assert "nope.sh" in next(line for line in result.stdout.splitlines() if line.startswith("ERROR: "))
    assert result.stdout.endswith("The deployment would fail.\n")
    document = json.loads(console.run("--dry-run", "--json").stdout)
    assert (document["status"], "nope.sh" in document["problems"][0]["message"]) == ("Failed", True)


def test_names_cannot_steer_the_terminal_of_who_looks_at_a_bundle(console):
    console.revision({"app/\x1b[2Jname\nend": "x"})
    result = console.run("--dry-run")
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "  create " + console.destination + "/?[2Jname?end  (app/?[2Jname?end)" in result.stdout.splitlines()


def test_a_problem_has_the_same_place_in_validate_and_in_a_deployment(console, program):
    permissions = "permissions:\n  - mode: 600\n    owner: no-such-user\n    object: "
    console.revision(appspec=f"  - source: app/index.html\n    destination: {console.destination}\n")
    with open(f"{console.bundle}/appspec.yml", "a", encoding="utf-8") as file:
        file.write(f"  - destination: {console.destination}\n    source: nope\n{permissions}{console.destination}\n")
    validate = [program("codedeploy-agent"), "validate", "--host", console.bundle]
    checked = subprocess.run(validate, capture_output=True, text=True, check=False).stdout
    place = re.compile(r"appspec\.yml:(\d+:\d+): (?=\S*(?:app|error|warning|the source|this host))")
    expected = set(place.findall(checked))
    assert len(expected) == 3
    for arguments in ([], ["--dry-run"]):
        assert set(place.findall(console.run(*arguments).stdout)) == expected


STOP = "#!/bin/sh\ntouch {top}/stopped\n"


@pytest.fixture
def installed(console):
    """A console on a host whose installed revision has a script that stops it."""
    console.revision({"stop.sh": STOP.format(top=console.top), "app/f": "x"}, ApplicationStop="stop.sh")
    assert console.run().returncode == 0
    return console


def broken_revisions(console):
    """Revisions with a mistake: what the command is called with, and what it says."""
    console.revision({"s.sh": "#!/bin/sh\n"}, appspec="\tbad: tab\n", AfterInstall="s.sh")
    yield [], "tab"
    console.revision(AfterInstall="gone.sh")
    yield [], "gone.sh"
    console.revision(appspec="  - source: gone\n    destination: /srv\n")
    yield [], "gone"
    console.revision()
    yield ["-e", "ApplicationStop,DownloadBundle,Install,Unheard"], "Unheard"
    archive = f"{console.top}/cut.tgz"
    with open(shutil.make_archive(f"{console.top}/whole", "gztar", console.bundle), "rb") as file:
        data = file.read()
    with open(archive, "wb") as file:
        file.write(data[: len(data) // 2])
    yield ["-l", archive, "-t", "tgz"], "cut.tgz"


def test_a_mistake_in_the_new_revision_does_not_stop_the_old_application(installed):
    for arguments, says in broken_revisions(installed):
        result = installed.run(*arguments)
        assert (result.returncode, says in result.stdout) == (1, True), result.stdout
        assert result.stderr.splitlines()[-1].startswith("DownloadBundle: failed")
        assert not os.path.exists(f"{installed.top}/stopped"), says
    assert os.listdir(f"{installed.root}/agent-state/prepared") == []


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_a_good_revision_takes_over_from_the_old_one_and_leaves_nothing_beside_it(installed, kind):
    # Its own ApplicationStop is for the next deployment.
    installed.revision({"stop.sh": "#!/bin/sh\nexit 9\n"}, ApplicationStop="stop.sh", BeforeBlockTraffic="gone.sh")
    location = installed.bundle
    if kind == "zip":
        location = shutil.make_archive(f"{installed.top}/bundle", "zip", installed.bundle)
    result = installed.run("-l", location, "-t", kind)
    assert (result.returncode, os.path.exists(f"{installed.top}/stopped")) == (0, True), result.stderr
    directory = installed.directory(result)
    bundle = ["bundle.tar"] if kind == "zip" else []
    assert sorted(os.listdir(directory)) == [".history.jsonl", *bundle, "deployment-archive", "logs"]
    assert os.listdir(f"{installed.root}/agent-state/prepared") == []
    if kind == "zip":
        assert os.readlink(f"{directory}/bundle.tar") == location


def test_what_the_old_applications_script_removes_is_not_in_the_way(console):
    console.revision({"stop.sh": f"#!/bin/sh\nrm {console.destination}/new\n"}, ApplicationStop="stop.sh")
    assert console.run().returncode == 0
    write_revision(console.destination, {"new": "foreign"}, appspec=None)
    console.revision({"app/new": "x"}, ApplicationStop="stop.sh")
    dry = console.run("--dry-run")
    assert (dry.returncode, "unless stop.sh changes this" in dry.stdout) == (0, True), dry.stdout
    assert console.run().returncode == 0


def test_a_dry_run_says_which_conflicts_a_script_may_still_take_away(console):
    write_revision(console.destination, {"index.html": "foreign"}, appspec=None)
    permissions = f"permissions:\n  - object: {console.destination}\n    owner: not-here-yet\n"
    console.revision({"prepare.sh": "#!/bin/sh\n", "app/b": "x"}, appspec=permissions, BeforeInstall="prepare.sh")
    result = console.run("--dry-run")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert "Install: 1 change, and those that the notes below name" in lines
    assert f"  create {console.destination}/b  (app/b)" in lines
    notes = [line for line in lines if line.startswith("note: Install fails unless prepare.sh changes this.")]
    assert [any(text in note for note in notes) for text in ("index.html", "not-here-yet")] == [True, True]
    document = json.loads(console.run("--dry-run", "--json").stdout)
    assert (document["status"], len(document["conflicts_before_scripts"])) == ("Succeeded", 2)
    assert console.run("--dry-run", "-e", "AfterInstall").returncode == 1
    # What no script of that kind can change fails the dry run still.
    console.revision(appspec="  - source: gone\n    destination: /srv\n", BeforeInstall="prepare.sh")
    assert console.run("--dry-run").returncode == 1
