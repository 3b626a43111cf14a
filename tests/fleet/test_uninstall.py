"""Uninstalling: exactly what was installed, and deployments only when told so."""

from __future__ import annotations

import os
import subprocess

import pytest

from agent.fleet.errors import FleetError
from agent.fleet.install import AgentInstallOptions, install
from agent.fleet.places import CONFIG, DEPLOYMENT_ROOT, LOGS, OLD_CONFIG, ON_PREMISES, UNIT
from agent.fleet.uninstall import UninstallOptions, uninstall


def remove(box, **options) -> bool:
    return uninstall(UninstallOptions(str(box.root), **options), tell=box.said.append)


def files(box) -> list[str]:
    return [name for name, what in box.tree().items() if what != "directory"]


@pytest.fixture
def used(box):
    """A host that was there before, got the agent, and was deployed to."""
    box.at("/usr/local/bin").mkdir(parents=True)
    box.at("/usr/local/bin/other").touch()
    box.at("/etc/systemd/system").mkdir(parents=True)
    box.before = box.tree()
    box.install()
    for path in (f"{DEPLOYMENT_ROOT}/group/d-1/logs/scripts.log", f"{LOGS}/codedeploy-agent.log", ON_PREMISES):
        box.at(path).parent.mkdir(parents=True, exist_ok=True)
        box.at(path).write_text("x")
    box.at("/opt/codedeploy-agent/.version").write_text("agent_version: x\n")
    return box


def test_deployments_logs_and_the_registration_stay(used, systemctl) -> None:
    assert remove(used)
    assert files(used) == [
        "etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
        "opt/codedeploy-agent/deployment-root/group/d-1/logs/scripts.log",
        "usr/local/bin/other",
        "var/log/aws/codedeploy-agent/codedeploy-agent.log",
    ]
    assert f"systemctl --root={used.root} disable codedeploy-agent.service" in systemctl.calls()


def test_a_purge_leaves_the_host_as_it_was(used) -> None:
    assert remove(used, purge=True)
    left = used.tree()
    for directory in ("etc", "opt", "usr", "var", "var/log"):
        used.before.setdefault(directory, "directory")
    assert left == used.before


def test_a_changed_configuration_stays_and_is_named(used) -> None:
    used.at(CONFIG).write_text(":max_revisions: 9\n")
    remove(used)
    assert used.at(CONFIG).exists()
    assert any(f"{CONFIG} was changed" in sentence for sentence in used.said)


def test_drop_ins_of_the_administrator_stay(used) -> None:
    mine = used.at(f"{UNIT}.d/mine.conf")
    mine.write_text("[Service]\n")
    remove(used)
    assert mine.exists()
    assert not used.at(UNIT).exists()


def test_directories_for_manuals_that_were_there_before_stay_and_those_that_were_made_go(box) -> None:
    completions = box.at("/usr/share/fish/vendor_completions.d")
    completions.mkdir(parents=True)
    box.install()
    assert os.listdir(completions) == ["codedeploy-agent.fish"]
    assert box.at("/usr/local/share/man/man8/codedeploy-agent.8").exists()
    remove(box)
    assert os.listdir(completions) == []
    assert not box.at("/usr/local/share").exists()


def test_somebody_elses_command_stays(used) -> None:
    link = used.at("/usr/local/bin/codedeploy-local")
    link.unlink()
    link.write_text("mine")
    remove(used)
    assert link.read_text() == "mine"


def test_it_is_refused_while_a_deployment_is_in_progress(used) -> None:
    program = used.at("/opt/codedeploy-agent/current").resolve() / "bin" / "codedeploy-agent"
    worker = subprocess.Popen([program, "sleep", "agent.worker.process"], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        with pytest.raises(FleetError, match=f"in progress: processes {worker.pid}"):
            remove(used)
        assert program.exists()
        assert remove(used, force=True)
        assert not program.exists()
    finally:
        worker.kill()
        worker.communicate()


def test_what_a_running_agent_has_made_for_itself_goes_too(box) -> None:
    box.install()
    state = "deployment-root/agent-state"
    for path in (
        "state/.pid/codedeploy-agent.pid.lock",
        ".version",
        f"{state}/status.json",
        f"{state}/locks/agent.lock",
    ):
        box.at(f"/opt/codedeploy-agent/{path}").parent.mkdir(parents=True, exist_ok=True)
        box.at(f"/opt/codedeploy-agent/{path}").touch()
    remove(box)
    assert not box.at("/opt/codedeploy-agent").exists()


def test_doing_it_twice_is_no_error(used) -> None:
    assert remove(used)
    assert not remove(used)


def test_what_an_installation_left_that_failed_half_way_is_removed_too(box) -> None:
    box.at("/usr/local").mkdir(parents=True)
    box.at("/usr/local/bin").touch()  # a file where the directory of the links is to be: making them fails
    with pytest.raises(OSError, match="bin"):
        box.install()
    assert box.at(UNIT).exists()
    box.at("/usr/local/bin").unlink()
    assert remove(box)
    assert files(box) == []


def test_it_can_be_installed_again_afterwards(used) -> None:
    remove(used)
    place, sha256 = used.source("9.1")
    assert install(AgentInstallOptions(place, sha256, root=str(used.root)), tell=used.said.append).changed


@pytest.mark.parametrize("purge", [False, True])
def test_an_official_agent_that_was_never_replaced_is_not_touched(box, systemctl, purge: bool) -> None:
    home, unit = "/opt/codedeploy-agent", "/usr/lib/systemd/system/codedeploy-agent.service"
    kept = (f"{home}/.version", f"{home}/state/.pid/codedeploy-agent.pid", f"{home}/versions/x", CONFIG, ON_PREMISES)
    for path in (*kept, unit, f"{DEPLOYMENT_ROOT}/group/d-1/x", f"{LOGS}/codedeploy-agent.log"):
        box.at(path).parent.mkdir(parents=True, exist_ok=True)
        box.at(path).write_text("x")
    before = box.tree()
    if purge:
        with pytest.raises(FleetError, match="official"):
            remove(box, purge=True)
    else:
        assert not remove(box)
    after = box.tree()
    after.pop("opt/codedeploy-agent/.install.lock", None)
    assert after == before
    assert systemctl.calls("stop") == []


def test_what_an_uninstall_kept_can_be_purged_later(used) -> None:
    assert remove(used)
    assert used.at(ON_PREMISES).exists()
    assert not remove(used, purge=True)
    assert files(used) == ["usr/local/bin/other"]
    assert used.said[-1] == f"Removed what was kept before: {DEPLOYMENT_ROOT}, /etc/codedeploy-agent, {LOGS}."
    assert not remove(used, purge=True)
    assert used.said[-1] == "Nothing was left to remove."


def test_an_uninstall_prints_the_line_that_purges_after_it_when_its_program_is_gone(used) -> None:
    with used.at(UNIT).open("a") as file:
        file.write("# mine\n")
    assert remove(used)
    before, line = used.said[-2:]
    assert "To remove them later" in before
    subprocess.run(line, shell=True, check=True)
    assert files(used) == ["usr/local/bin/other"]


def test_an_uninstall_that_keeps_nothing_prints_no_such_line(box) -> None:
    box.install()
    assert remove(box)
    assert not any("rm -rf" in sentence for sentence in box.said)


def test_an_uninstall_never_prints_a_line_that_removes_the_state_of_an_official_agent(used) -> None:
    unit = used.at("/usr/lib/systemd/system/codedeploy-agent.service")
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert remove(used)
    assert not any("rm -rf" in sentence for sentence in used.said)


def test_a_purge_says_what_it_leaves(used) -> None:
    elsewhere = used.root / "elsewhere"
    used.at("/etc/codedeploy-agent").rename(elsewhere)
    used.at("/etc/codedeploy-agent").symlink_to(elsewhere)
    with pytest.raises(FleetError, match=r"All else is removed.*: /etc/codedeploy-agent\."):
        remove(used, purge=True)
    assert (elsewhere / "conf" / "codedeploy.onpremises.yml").exists()
    assert not used.at(LOGS).exists()


def test_a_purge_names_what_lies_elsewhere(box, tmp_path) -> None:
    settings = ':root_dir: "/opt/codedeploy-agent/other root"\n:on_premises_config_file: /etc/key.yml\n'
    (tmp_path / "config.yml").write_text(settings)
    box.install(config=str(tmp_path / "config.yml"))
    remove(box, purge=True)
    for path in ("/opt/codedeploy-agent/other root", "/etc/key.yml"):
        assert any(f"in {path}: that is left for you" in said for said in box.said)


def test_a_configuration_at_the_old_place_is_purged_too(box) -> None:
    box.at(OLD_CONFIG).parent.mkdir(parents=True)
    box.at(OLD_CONFIG).write_text(":max_revisions: 2\n")
    box.install()
    remove(box, purge=True)
    assert not box.at("/opt/codedeploy-agent").exists()


@pytest.mark.needs("root", "immutable")
def test_what_cannot_be_removed_is_named_and_the_rest_is_gone(used) -> None:
    kept = used.at(ON_PREMISES)
    subprocess.run(["chattr", "+i", kept], check=True)
    try:
        with pytest.raises(FleetError, match=r"All else is removed.*: /etc/codedeploy-agent\."):
            remove(used, purge=True)
        assert files(used) == [ON_PREMISES.lstrip("/"), "usr/local/bin/other"]
    finally:
        subprocess.run(["chattr", "-i", kept], check=True)


def test_work_that_somebody_has_put_into_the_unit_is_saved(used) -> None:
    with used.at(UNIT).open("a") as file:
        file.write("# mine\n")
    remove(used)
    assert not used.at(UNIT).exists()
    assert used.at(f"{UNIT}.saved").read_text().endswith("# mine\n")


def test_it_is_refused_too_where_opt_is_a_link(box) -> None:
    (box.root / "data").mkdir()
    box.at("/opt").symlink_to("data")
    box.install()
    program = box.at("/opt/codedeploy-agent/current") / "bin" / "codedeploy-agent"
    worker = subprocess.Popen([program, "sleep", "agent.worker.process"], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        with pytest.raises(FleetError, match=f"in progress: processes {worker.pid}"):
            remove(box)
    finally:
        worker.kill()
        worker.communicate()
    assert remove(box)
    assert list((box.root / "data").iterdir()) == []
