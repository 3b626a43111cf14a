"""Installing: the same steps for the first time, an upgrade and the way back."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.filesystem.locks import FileLock
from agent.fleet.errors import FleetError, SourceError
from agent.fleet.host_lock import host_lock
from agent.fleet.install import AgentInstallOptions, install
from agent.fleet.places import CONFIG, LOCK, RESTART_STEPS, UNIT, Places
from agent.fleet.versions import in_use, prune
from fleet_box import pip_wheel, wheel, wheelhouse_files, write_archive


def said_version(box) -> str:
    done = subprocess.run([box.at("/usr/local/bin/codedeploy-agent"), "--version"], capture_output=True, text=True)
    return done.stdout.split()[-1]


def test_a_fresh_host_has_the_commands_the_unit_and_a_configuration(box, systemctl) -> None:
    done = box.build()
    assert (done.version, done.previous, done.changed) == ("9.1", None, True)
    assert said_version(box) == "9.1"
    for link in ("/opt/codedeploy-agent/bin/codedeploy-local", "/usr/local/bin/codedeploy-local"):
        assert os.access(box.at(link), os.X_OK), link
    assert b"Type=notify" in box.at(UNIT).read_bytes()
    assert b"RestartSteps" in box.at(RESTART_STEPS).read_bytes()
    assert ":wait_between_runs: 1" in box.at(CONFIG).read_text()
    assert f"systemctl --root={box.root} reenable codedeploy-agent.service" in systemctl.calls()
    assert not [call for call in systemctl.calls() if "start " in call], "nothing is started below another root"


def test_installing_again_changes_nothing(box) -> None:
    box.install()
    before = box.tree()
    done = box.install()
    assert not done.changed
    assert box.tree() == before


def test_the_configuration_of_the_host_is_never_overwritten(box) -> None:
    box.at(CONFIG).parent.mkdir(parents=True)
    box.at(CONFIG).write_text(":max_revisions: 2\n")
    box.install(proxy="http://proxy:3128")
    assert box.at(CONFIG).read_text() == ":max_revisions: 2\n"
    assert any("stays as it is" in sentence for sentence in box.said)


def test_a_configuration_at_the_old_place_counts_too(box) -> None:
    old = box.at("/opt/codedeploy-agent/conf/codedeployagent.yml")
    old.parent.mkdir(parents=True)
    old.write_text(":max_revisions: 2\n")
    box.install()
    assert not box.at(CONFIG).exists()


def test_a_proxy_with_a_password_is_written_for_root_only(box) -> None:
    box.install(proxy="http://user:secret@proxy:3128")
    assert ":proxy_uri: 'http://user:secret@proxy:3128'" in box.at(CONFIG).read_text()
    assert box.at(CONFIG).stat().st_mode & 0o777 == 0o600


def test_a_configuration_that_the_agent_refuses_is_found_before_anything_is_in_use(box, tmp_path) -> None:
    (tmp_path / "config.yml").write_text("broken")
    with pytest.raises(FleetError, match="use --config"):
        box.install(config=str(tmp_path / "config.yml"))
    assert not box.at("/opt/codedeploy-agent/current").is_symlink()
    assert not box.at(UNIT).exists()


def test_an_upgrade_keeps_the_version_before_and_the_way_back_needs_no_source(box) -> None:
    box.install("9.1")
    done = box.install("9.2")
    assert (done.version, done.previous) == ("9.2", "9.1")
    assert said_version(box) == "9.2"
    back = install(AgentInstallOptions(version="9.1", root=str(box.root)), tell=box.said.append)
    assert back.version == said_version(box) == "9.1"
    assert b"of version 9.1" in box.at(UNIT).read_bytes(), "its unit came along"


def test_of_older_versions_only_the_one_before_stays(box) -> None:
    box.install("9.1")
    old = box.at("/opt/codedeploy-agent/versions/8.8-00000000")
    old.mkdir()
    (old / ".complete").touch()
    box.install("9.1")
    assert not old.exists()
    assert "Removed the old version 8.8." in box.said


def test_a_version_stays_while_a_deployment_runs_from_it(box) -> None:
    box.install("9.1")
    host, version = Places(str(box.root)), box.at("/opt/codedeploy-agent/current").resolve()
    worker = subprocess.Popen([version / "bin" / "codedeploy-agent", "sleep"], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"asleep\n"
        assert in_use(host, [version.name]) == {version.name: [worker.pid]}
        assert prune(host, keep=set()) == []
        assert version.exists()
    finally:
        worker.kill()
        worker.communicate()
    assert prune(host, keep=set()) == [version.name]
    assert not version.exists()


def test_another_build_of_the_same_version_does_not_replace_files_that_are_in_use(box) -> None:
    box.install("9.1", build="a")
    first = box.at("/opt/codedeploy-agent/current").readlink()
    done = box.build("9.1", build="b")
    assert done.changed
    assert box.at("/opt/codedeploy-agent/current").readlink() != first
    assert box.at("/opt/codedeploy-agent").joinpath(first).exists()


def test_what_an_interrupted_installation_left_is_built_anew(box) -> None:
    box.install("9.1")
    version = box.at("/opt/codedeploy-agent/current").resolve()
    (version / ".complete").unlink()
    (version / "bin" / "codedeploy-agent").write_text("half")
    box.build("9.1")
    assert said_version(box) == "9.1"


def test_a_wheelhouse_that_was_changed_leaves_the_host_alone(box, tmp_path) -> None:
    whole, sha256 = box.source("9.1")
    place = str(tmp_path / "changed.tar.gz")
    shutil.copyfile(whole, place)
    with open(place, "ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match="was expected"):
        install(AgentInstallOptions(place, sha256, root=str(box.root)), tell=box.said.append)
    assert sorted(os.listdir(box.at("/opt/codedeploy-agent/versions"))) == []
    assert not box.at("/etc").exists()


def test_another_version_than_the_one_asked_for_is_refused(box) -> None:
    with pytest.raises(SourceError, match=r"holds version 9\.1, and 9\.2 was asked for"):
        box.build("9.1", version="9.2")


def test_a_wheel_that_calls_itself_something_else_does_not_come_into_use(box) -> None:
    with pytest.raises(FleetError, match=r"calls itself 'codedeploy-agent 6\.6'"):
        box.build("9.1", said="6.6")
    assert not box.at("/opt/codedeploy-agent/current").is_symlink()


@pytest.mark.parametrize("pin", [b"leaf==1.0 --hash=sha256:" + b"0" * 64, b"leaf==1.0", b""])
def test_a_library_that_is_not_pinned_by_its_hash_is_not_installed(box, tmp_path, pin) -> None:
    files = wheelhouse_files("9.1", pip_wheel())
    pinned, _, _ = files["requirements.txt"].partition(b"leaf==1.0")
    files["requirements.txt"] = pinned + pin + b"\n"
    if pin == b"leaf==1.0":  # with no hash at all anywhere pip would check none
        files["requirements.txt"] = b"codedeploy-host-agent==9.1\nleaf==1.0\n"
    place, sha256 = write_archive(tmp_path / "wrong.tar.gz", files)
    with pytest.raises(FleetError, match=r"(?i)hash"):
        install(AgentInstallOptions(place, sha256, root=str(box.root)), tell=box.said.append)
    assert not box.at("/opt/codedeploy-agent/current").is_symlink()


def test_the_package_index_of_the_host_is_never_asked(box, tmp_path, monkeypatch) -> None:
    other = tmp_path / "index"
    other.mkdir()
    name, data = wheel("leaf", "1.0", {"leaf.py": "EVIL = 1\n"})
    (other / name).write_bytes(data)
    (tmp_path / "pip.conf").write_text(f"[global]\nfind-links = {other}\n[install]\nno-require-hashes = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    files = wheelhouse_files("9.1", pip_wheel())
    del files["leaf-1.0-py3-none-any.whl"]
    place, sha256 = write_archive(tmp_path / "lacking.tar.gz", files)
    with pytest.raises(FleetError, match="install the wheels"):
        install(AgentInstallOptions(place, sha256, root=str(box.root)), tell=box.said.append)


def test_a_unit_that_was_changed_by_hand_is_saved(box) -> None:
    box.install("9.1")
    with box.at(UNIT).open("a") as file:
        file.write("# mine\n")
    box.install("9.2")
    assert box.at(f"{UNIT}.saved").read_text().endswith("# mine\n")
    assert any("changed by hand" in sentence for sentence in box.said)


def test_somebody_elses_command_is_not_replaced(box) -> None:
    stranger = box.at("/usr/local/bin/codedeploy-local")
    stranger.parent.mkdir(parents=True)
    stranger.write_text("#!/bin/sh\n")
    with pytest.raises(FleetError, match="Something else is where"):
        box.install()
    assert stranger.read_text() == "#!/bin/sh\n"
    assert not box.at(UNIT).exists()


def test_two_installations_at_once_both_end_well(box, program) -> None:
    place, sha256 = box.source("9.1")
    command = [program("python"), "-c", _INSTALL, place, sha256, str(box.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert said_version(box) == "9.1"


_INSTALL = """
import sys
from agent.fleet.host_lock import host_lock
from agent.fleet.install import AgentInstallOptions, install
install(AgentInstallOptions(sys.argv[1], sys.argv[2], root=sys.argv[3]), tell=print)
"""


@pytest.mark.parametrize("moment", [0.05, 0.2, 0.5])
def test_a_killed_installation_is_finished_by_the_next(box, program, moment) -> None:
    place, sha256 = box.source("9.1")
    command = [program("python"), "-c", _INSTALL, place, sha256, str(box.root)]
    process = subprocess.Popen(command, start_new_session=True)
    time.sleep(moment)
    os.killpg(process.pid, 9)
    process.wait()
    install(AgentInstallOptions(place, sha256, root=str(box.root)), tell=box.said.append)
    assert said_version(box) == "9.1"
    assert not list(box.root.rglob("*.new~"))
    assert not list(box.at("/opt/codedeploy-agent/versions").glob(".wheelhouse*"))


def test_the_host_itself_is_for_root_only(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AgentError, match="Only root"):
        install(AgentInstallOptions("/nowhere", "0" * 64), tell=print)


def test_a_version_whose_python_is_gone_is_built_anew(box, tmp_path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys._base_executable)
    name = box.build(python=str(python)).version
    python.unlink()
    assert box.build().version == name
    command = box.at("/usr/local/bin/codedeploy-agent")
    assert subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1] == name


def test_of_two_builds_of_a_version_one_can_be_named(box) -> None:
    box.install(build="a")
    box.install(build="b")
    there = sorted(path.name for path in box.at("/opt/codedeploy-agent/versions").iterdir())
    with pytest.raises(SourceError, match="must name one"):
        install(AgentInstallOptions(version="9.1", root=str(box.root)), tell=box.said.append)
    found = install(AgentInstallOptions(version=there[0], root=str(box.root)), tell=box.said.append)
    assert found.version == "9.1"
    assert box.at("/opt/codedeploy-agent/current").resolve().name == there[0]


@pytest.mark.parametrize("directory", ["/opt/codedeploy-agent/bin", "bin"])
def test_a_directory_that_would_make_the_commands_lead_to_themselves_is_refused(box, directory: str) -> None:
    with pytest.raises(FleetError, match="--bin-directory"):
        box.install(bin_directory=directory)


def test_a_service_that_was_not_restarted_after_the_switch_is_by_the_next_run(box) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    box.install("9.1")
    box.at("/opt/codedeploy-agent/.restart-due").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.fleet.install._Installation._start", kill)
        with pytest.raises(KeyboardInterrupt):
            box.install("9.2")
    assert box.at("/opt/codedeploy-agent/.restart-due").exists()


def test_a_file_that_took_the_place_of_a_command_is_not_replaced_by_an_upgrade(box) -> None:
    box.install("9.1")
    mine = box.at("/usr/local/bin/codedeploy-local")
    mine.unlink()
    mine.write_text("mine")
    with pytest.raises(FleetError, match="/usr/local/bin/codedeploy-local"):
        box.install("9.2")
    box.install("9.2", bin_directory="/usr/bin")
    assert mine.read_text() == "mine"
    assert box.at("/usr/bin/codedeploy-local").exists()


def test_a_version_in_use_is_seen_where_opt_is_a_link(box) -> None:
    (box.root / "data").mkdir()
    box.at("/opt").symlink_to(box.root / "data")
    box.install()
    host = Places(str(box.root))
    interpreter = next(box.at("/opt/codedeploy-agent/versions").iterdir()) / "bin" / "python"
    command = [interpreter, "-S", "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"  # its command line cannot be seen before
        names = [interpreter.parent.parent.name]
        assert in_use(host, names) == {names[0]: [process.pid]}
        process.communicate(b"\n")


def test_the_commands_work_from_a_directory_that_is_a_link(box) -> None:
    box.at("/usr/bin").mkdir(parents=True)
    box.at("/bin").symlink_to("usr/bin")
    box.install(bin_directory="/bin")
    assert subprocess.run([box.at("/bin/codedeploy-agent"), "--version"], check=True, capture_output=True).stdout


def test_a_build_that_fails_leaves_nothing_of_itself(box) -> None:
    with pytest.raises(FleetError):
        box.build(said="8.0")
    assert list(box.at("/opt/codedeploy-agent/versions").iterdir()) == []


def test_a_unit_that_nobody_touched_is_not_called_changed_after_a_kill(box) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    box.install("9.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.fleet.placement.Placement._write", kill)
        with pytest.raises(KeyboardInterrupt):
            box.install("9.2", build="other")
    box.install("9.2", build="other")
    assert not [said for said in box.said if "changed by hand" in said]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(box) -> None:
    box.install()
    path = box.at(LOCK)
    waiting: list[str] = []
    first = FileLock(str(path), purpose="a removal")
    first.acquire()
    thread = threading.Thread(target=lambda: host_lock(Places(str(box.root)), waiting.append).release())
    thread.start()
    while not waiting:
        time.sleep(0.01)
    path.unlink()
    first.release()
    thread.join()
    assert path.exists()


def test_a_service_that_was_masked_on_purpose_stays_masked(box) -> None:
    box.at(UNIT).parent.mkdir(parents=True)
    box.at(UNIT).symlink_to("/dev/null")
    with pytest.raises(FleetError, match=r"masked(.|\n)*systemctl unmask"):
        box.install(take_over=True)
    assert box.at(UNIT).readlink() == Path("/dev/null")


def test_an_upgrade_leaves_the_commands_in_the_directory_that_was_chosen(box) -> None:
    box.install("9.1", bin_directory="/usr/bin")
    box.install("9.2")
    assert box.at("/usr/bin/codedeploy-agent").is_symlink()
    assert not box.at("/usr/local/bin").exists()


def test_a_root_that_is_named_from_here_is_the_same_directory(box, monkeypatch) -> None:
    monkeypatch.chdir(box.root.parent)
    place, sha256 = box.source("9.1")
    install(AgentInstallOptions(place, sha256, root="root"), tell=box.said.append)
    assert said_version(box) == "9.1"


def test_programs_of_the_directory_where_root_happens_to_be_are_not_run(box, tmp_path, monkeypatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("systemctl", "dpkg-query", "rpm"):
        (here / name).write_text(f"#!/bin/sh\ntouch {here}/was-run\n")
        (here / name).chmod(0o755)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}")
    box.install()
    assert not (here / "was-run").exists()


def test_the_umask_of_the_administrator_hides_nothing_from_an_agent_that_is_not_root(box) -> None:
    before = os.umask(0o077)
    try:
        box.build()
    finally:
        os.umask(before)
    hidden = [path for path in box.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o044 != 0o044]
    assert hidden == [box.at(LOCK)]


_CHANGE = """
import os, sys
os.umask(0o022)
from agent.fleet.host_lock import host_lock
from agent.fleet.install import AgentInstallOptions, install
from agent.fleet.uninstall import UninstallOptions, uninstall
if sys.argv[1] == "uninstall":
    uninstall(UninstallOptions(sys.argv[2], purge=True), tell=print)
else:
    install(AgentInstallOptions(version=sys.argv[1], root=sys.argv[2]), tell=print)
"""
_STEPS = "rename,unlink,rmdir,symlink,mkdir,fsync,unlinkat"


@pytest.mark.needs("tracing")
@pytest.mark.parametrize("what", ["9.2", "uninstall"])
def test_a_change_that_is_stopped_at_any_step_is_finished_by_the_next(box, tmp_path, sample, what) -> None:
    """An upgrade to a version that is there, and a removal: both are nothing but steps in the file system."""
    box.install("9.2")
    box.install("9.1")
    start = tmp_path / "start"
    box.root.rename(start)

    def change(step: int = 0, fault: str = "") -> subprocess.CompletedProcess[str]:
        subprocess.run(["rm", "-rf", box.root], check=True)
        subprocess.run(["cp", "-a", start, box.root], check=True)
        inject = ["-e", f"inject={_STEPS}:{fault}:when={step}"] if step else []
        traced = ["strace", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={_STEPS}", *inject]
        command = [sys.executable, "-B", "-c", _CHANGE, what, str(box.root)]
        return subprocess.run([*traced, *command], capture_output=True, text=True)

    assert change().returncode == 0
    after, steps = box.tree(), len((tmp_path / "trace").read_text().splitlines())
    faults = ("signal=KILL", "signal=TERM", "error=ENOSPC")
    for step, fault in sample(itertools.product(range(1, steps + 1), faults), 9):
        stopped = change(step, fault)
        again = subprocess.run(
            [sys.executable, "-B", "-c", _CHANGE, what, str(box.root)], capture_output=True, text=True
        )
        assert again.returncode == 0, (step, fault, stopped, again)
        assert box.tree() == after, (step, fault, stopped)
        assert "changed by hand" not in again.stdout
