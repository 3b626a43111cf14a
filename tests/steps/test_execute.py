import os
import subprocess
import sys
import tarfile

import pytest

from agent.deployment.spec import BundleType, GitHubRevision, LocalRevision, S3Revision
from agent.errors import AgentError
from agent.steps.execute import execute, is_noop
from agent.steps.hook_command import variables
from agent.store.skips import ask_for_skip, skips_of
from revisions import content, hooks

SHOW = "#!/bin/sh\necho $LIFECYCLE_EVENT of $DEPLOYMENT_ID in $PWD\n"


def script_log(bench, deployment):
    with open(bench.layout.script_log(bench.layout.deployment("g", deployment))) as file:
        return [line[20:] for line in file.read().splitlines()]


def test_download_bundle_unpacks_and_remembers_the_revision(bench):
    source = bench.revision("source", {"app/f": "x"})
    outcome = execute("DownloadBundle", bench.spec("d-1", source), bench.host)
    directory = bench.layout.deployment("g", "d-1")
    assert outcome.message == "Succeeded: BundleSource=downloaded"
    assert bench.observer.steps[-1] == (1 + len(content(f"{source}/appspec.yml")),) * 2 + ("bytes",)
    assert content(f"{bench.layout.archive(directory)}/app/f") == "x"
    assert content(bench.layout.most_recent("g")) == directory
    assert not os.path.lexists(bench.layout.bundle(directory))


def test_a_local_archive_is_linked_to_under_the_usual_name(bench):
    source = bench.revision("source", {"app/f": "x"})
    subprocess.run(["tar", "-cf", f"{bench.top}/b.tar", "-C", source, "."], check=True)
    spec = bench.spec("d-1", revision=LocalRevision(f"{bench.top}/b.tar", BundleType.TAR))
    for _ in range(2):
        assert execute("DownloadBundle", spec, bench.host).succeeded
    assert os.readlink(bench.layout.bundle(bench.layout.deployment("g", "d-1"))) == f"{bench.top}/b.tar"


def test_a_broken_bundle_is_the_outcome_and_leaves_no_archive(bench):
    with open(f"{bench.top}/b.tar", "wb") as file:
        file.write(b"this is not an archive" * 100)
    spec = bench.spec("d-1", revision=LocalRevision(f"{bench.top}/b.tar", BundleType.TAR))
    outcome = execute("DownloadBundle", spec, bench.host)
    assert (outcome.error_code, outcome.script_name) == (5, "")
    assert outcome.message
    assert not os.path.exists(bench.layout.archive(bench.layout.deployment("g", "d-1")))
    assert not os.path.exists(bench.layout.most_recent("g"))


def test_download_bundle_makes_room_first(bench):
    bench.settings = bench.settings._replace(max_revisions=2)
    for number in range(3):
        os.utime(bench.unpacked(f"old{number}", {}), (number, number))
    source = bench.revision("source", {})
    assert execute("DownloadBundle", bench.spec("d-1", source), bench.host).succeeded
    assert sorted(os.listdir(bench.layout.group("g"))) == ["d-1", "old2"]


def test_scripts_run_in_the_working_directory_and_are_written_to_both_logs(bench):
    bench.unpacked("d-1", {"a.sh": SHOW}, appspec=hooks(AfterInstall="a.sh"))
    assert execute("AfterInstall", bench.spec("d-1"), bench.host).message == "Succeeded: "
    line = f"[stdout]AfterInstall of d-1 in {bench.top}"
    assert script_log(bench, "d-1")[:-1] == ["LifecycleEvent - AfterInstall", "Script - a.sh", line]
    assert f"[d-1]{line}\n" in content(bench.layout.deployments_log)
    assert bench.observer.lines == [("stdout", line.removeprefix("[stdout]").encode() + b"\n")]


def test_the_deployments_log_can_be_switched_off(bench):
    bench.settings = bench.settings._replace(enable_deployments_log=False)
    bench.unpacked("d-1", {"a.sh": SHOW}, appspec=hooks(AfterInstall="a.sh"))
    assert execute("AfterInstall", bench.spec("d-1"), bench.host).succeeded
    assert not os.path.exists(os.path.dirname(bench.layout.deployments_log))


def test_an_event_without_scripts_succeeds_and_writes_no_log(bench):
    bench.unpacked("d-1", {})
    assert execute("ValidateService", bench.spec("d-1"), bench.host).succeeded
    assert sorted(os.listdir(bench.layout.deployment("g", "d-1"))) == ["deployment-archive"]


def test_a_failed_script_gives_its_code_name_and_the_end_of_its_output(bench):
    bench.unpacked("d-1", {"bad.sh": "#!/bin/sh\necho oops\nexit 3\n"}, appspec=hooks(BeforeInstall="bad.sh"))
    outcome = execute("BeforeInstall", bench.spec("d-1"), bench.host)
    assert (outcome.error_code, outcome.script_name) == (4, "bad.sh")
    assert outcome.log == "LifecycleEvent - BeforeInstall\nScript - bad.sh\n[stdout]oops\n"
    assert "3" in outcome.message


def test_a_failing_script_of_an_earlier_revision_says_whose_it_is_and_how_to_get_past_it(bench):
    earlier = bench.unpacked("d-0", {"stop.sh": "#!/bin/sh\nexit 1\n"}, appspec=hooks(ApplicationStop="stop.sh"))
    bench.point(bench.layout.last_successful("g"), earlier)
    outcome = execute("ApplicationStop", bench.spec("d-1"), bench.host)
    assert (outcome.error_code, outcome.script_name) == (4, "stop.sh")
    for text in ("last successful revision (d-0)", bench.layout.archive(earlier), "--events"):
        assert text in outcome.message
    assert "Script - stop.sh" in script_log(bench, "d-1")


def packed_by_another_account(member):
    member.uid = member.gid = 54321
    member.uname = member.gname = ""
    return member


@pytest.mark.needs("root")
def test_the_script_of_a_bundle_that_another_account_packed_is_refused_until_ownership_is_ignored(bench, caplog):
    source = bench.revision("source", {"a.sh": SHOW}, appspec=hooks(AfterInstall="a.sh"))
    with tarfile.open(f"{bench.top}/a.tar", "w") as tar:
        tar.add(source, ".", filter=packed_by_another_account)
    spec = bench.spec("d-1", revision=LocalRevision(f"{bench.top}/a.tar", BundleType.TAR))

    def run(**settings):
        bench.settings = bench.settings._replace(**settings)
        assert execute("DownloadBundle", spec, bench.host).succeeded
        caplog.clear()
        return execute("AfterInstall", spec, bench.host)

    assert run().succeeded
    assert "a.sh of AfterInstall runs although another account may change it: user number 54321" in caplog.text
    outcome = run(reject_scripts_writable_by_others=True)
    assert (outcome.error_code, outcome.script_name) == (4, "a.sh")
    assert "reject_scripts_writable_by_others forbids it: user number 54321" in outcome.message
    assert run(ignore_ownership_in_bundle=True).succeeded
    assert "may change it" not in caplog.text


def test_a_missing_appspec_fails_the_hook_with_its_reason(bench):
    outcome = execute("BeforeInstall", bench.spec("d-1"), bench.host)
    assert (outcome.error_code, "There is no unpacked revision" in outcome.message) == (5, True)


def test_a_command_that_nobody_knows_is_refused(bench):
    outcome = execute("Bogus", bench.spec("d-1"), bench.host)
    assert (outcome.error_code, '"Bogus"' in outcome.message) == (5, True)


def test_a_custom_event_runs_where_the_host_allows_it(bench):
    bench.unpacked("d-1", {"a.sh": SHOW}, appspec=hooks(Bogus="a.sh"))
    host = bench.host._replace(custom_events=frozenset({"Bogus"}))
    assert execute("Bogus", bench.spec("d-1"), host).succeeded
    assert script_log(bench, "d-1")[0] == "LifecycleEvent - Bogus"


@pytest.mark.parametrize("group", ["a/b", "..", "", "agent-state"])
@pytest.mark.parametrize("command", ["DownloadBundle", "Install", "AfterInstall"])
def test_an_unsafe_group_id_is_refused_by_every_command_before_anything_is_made(bench, group, command):
    outcome = execute(command, bench.spec("d-1", deployment_group_id=group), bench.host)
    assert (outcome.error_code, "deployment group id" in outcome.message) == (5, True)
    assert not os.path.exists(bench.layout.root_dir)


def test_an_error_of_the_operating_system_names_its_path(bench):
    with open(f"{bench.top}/root", "w"):
        pass
    outcome = execute("DownloadBundle", bench.spec("d-1", bench.revision("source", {})), bench.host)
    assert (outcome.error_code, f"{bench.top}/root" in outcome.message) == (5, True)


LONG_INSTALL = """
import sys
from agent.store.layout import Layout
from agent.store.locks import install_lock
with install_lock(Layout(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_installs_never_run_at_once(bench):
    bench.unpacked("d-1", {})
    bench.settings = bench.settings._replace(lock_wait_seconds=0.2)
    with subprocess.Popen(
        [sys.executable, "-c", LONG_INSTALL, bench.layout.root_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        outcome = execute("Install", bench.spec("d-1"), bench.host)
        assert (outcome.error_code, f"process {other.pid} " in outcome.message) == (5, True)
        assert f"process {other.pid} " in bench.observer.notices[0]
        other.stdin.close()
        other.wait()
    assert execute("Install", bench.spec("d-1"), bench.host).succeeded


@pytest.mark.parametrize(
    ("revision", "more"),
    [
        (LocalRevision("/b", BundleType.DIRECTORY), {}),
        (S3Revision("b", "k", BundleType.ZIP), {"BUNDLE_BUCKET": "b", "BUNDLE_KEY": "k"}),
        (
            S3Revision("b", "k", BundleType.ZIP, version="v", etag='"e"'),
            {"BUNDLE_BUCKET": "b", "BUNDLE_KEY": "k", "BUNDLE_VERSION": "v", "BUNDLE_ETAG": '"e"'},
        ),
        (GitHubRevision("a", "r", "abc", BundleType.TAR), {"BUNDLE_COMMIT": "abc"}),
    ],
)
def test_scripts_see_the_deployment_variables_of_the_official_agent(bench, revision, more):
    assert variables("AfterInstall", bench.spec("d-1", revision=revision)) == {
        "LIFECYCLE_EVENT": "AfterInstall",
        "DEPLOYMENT_ID": "d-1",
        "APPLICATION_NAME": "App",
        "DEPLOYMENT_GROUP_NAME": "Group",
        "DEPLOYMENT_GROUP_ID": "g",
        **more,
    }


def test_a_skip_gets_past_the_broken_script_of_the_earlier_revision_once(bench, caplog):
    earlier = bench.unpacked("d-0", {"stop.sh": "#!/bin/sh\nexit 1\n"}, appspec=hooks(ApplicationStop="stop.sh"))
    bench.point(bench.layout.last_successful("g"), earlier)
    ask_for_skip(bench.layout, "g", "ApplicationStop", "alice")
    assert not is_noop("ApplicationStop", bench.spec("d-1"), bench.host)
    outcome = execute("ApplicationStop", bench.spec("d-1"), bench.host)
    assert outcome.succeeded
    assert "skipped once, as retry-skip by alice asked" in outcome.message
    assert "skipped once" in caplog.text
    assert script_log(bench, "d-1")[0].startswith("Warning - ApplicationStop of the earlier revision was skipped")
    assert not execute("ApplicationStop", bench.spec("d-2"), bench.host).succeeded


def test_a_skip_gets_past_an_earlier_appspec_that_cannot_be_read(bench):
    earlier = bench.unpacked("d-0", {}, appspec="hooks: 1\n")
    bench.point(bench.layout.last_successful("g"), earlier)
    with pytest.raises(AgentError):
        is_noop("ApplicationStop", bench.spec("d-1"), bench.host)
    ask_for_skip(bench.layout, "g", "ApplicationStop", "alice")
    assert not is_noop("ApplicationStop", bench.spec("d-1"), bench.host)
    assert execute("ApplicationStop", bench.spec("d-1"), bench.host).succeeded


def test_a_skip_is_for_no_other_event_or_group_and_not_for_the_revision_itself(bench):
    ask_for_skip(bench.layout, "other", "ApplicationStop", "alice")
    ask_for_skip(bench.layout, "g", "BeforeBlockTraffic", "alice")
    bench.unpacked("d-1", {"a.sh": "#!/bin/sh\nexit 1\n"}, appspec=hooks(ApplicationStop="a.sh"))
    assert not execute("ApplicationStop", bench.spec("d-1"), bench.host).succeeded
    ask_for_skip(bench.layout, "g", "ApplicationStop", "alice")
    assert not execute("ApplicationStop", bench.spec("d-1"), bench.host).succeeded
    assert skips_of(bench.layout) == {"g": ["ApplicationStop", "BeforeBlockTraffic"], "other": ["ApplicationStop"]}


def test_a_download_removes_old_revisions_beyond_the_size_of_the_root_directory(bench):
    bench.settings = bench.settings._replace(deployment_root_max_size=1 << 20)
    old = bench.unpacked("d-0", {"large": "x" * (2 << 20)})
    source = bench.revision("new", {"a": "1"})
    assert execute("DownloadBundle", bench.spec("d-1", source), bench.host).succeeded
    assert not os.path.exists(old)
