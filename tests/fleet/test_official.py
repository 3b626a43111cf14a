"""An official agent on the host: seen, never removed unasked, and taken over with its state."""

from __future__ import annotations

import pytest

from agent.fleet.errors import FleetError, OfficialAgentError
from agent.fleet.official import find_official, root_dir, updaters
from agent.fleet.places import CONFIG, DEPLOYMENT_ROOT, ON_PREMISES, UNIT, Places
from fleet_box import StandIns

CLEANUP = f"{DEPLOYMENT_ROOT}/deployment-instructions/1111-cleanup"
REVISION = f"{DEPLOYMENT_ROOT}/1111/d-1/deployment-archive/appspec.yml"
PACKAGED_UNIT = "/usr/lib/systemd/system/codedeploy-agent.service"
INIT = "/etc/init.d/codedeploy-agent"


def put(box, path: str, text: str = "x") -> None:
    box.at(path).parent.mkdir(parents=True, exist_ok=True)
    box.at(path).write_text(text)


@pytest.fixture
def official(box):
    """A host that the official agent has deployed to."""
    put(box, "/opt/codedeploy-agent/bin/codedeploy-agent", "#!/usr/bin/ruby")
    put(box, CONFIG, ":max_revisions: 7\n")
    put(box, ON_PREMISES, "iam_user_arn: a\n")
    put(box, CLEANUP, "/srv/www/index.html\n")
    put(box, REVISION, "version: 0.0\n")
    put(box, PACKAGED_UNIT, "[Service]\n")
    return box


@pytest.fixture
def with_dpkg(official, systemctl: StandIns) -> StandIns:
    """The Debian package; removing it takes its files and the configuration along."""
    for script in ("prerm", "postrm"):
        put(official, f"/var/lib/dpkg/info/codedeploy-agent.{script}", "rm -rf /opt/codedeploy-agent")
    systemctl.add("dpkg-query", 'printf "installed 1.8.1-1"')
    gone = [official.at(path) for path in (CONFIG, PACKAGED_UNIT, "/opt/codedeploy-agent/bin/codedeploy-agent")]
    scripts = official.at("/var/lib/dpkg/info")
    run = f'for s in {scripts}/*.postrm; do [ -e "$s" ] && rm -rf {official.at("/opt/codedeploy-agent")}; done'
    systemctl.add("dpkg", f"rm {' '.join(map(str, gone))}; {run}; exit 0")
    return systemctl


@pytest.fixture
def with_rpm(official, systemctl: StandIns) -> StandIns:
    """The RPM package; without --noscripts it would take everything along."""
    official.at("/var/lib/rpm").mkdir(parents=True)
    systemctl.add(
        "rpm",
        f'case "$*" in\n*--query*) printf 1.8.1-1 ;;\n*--noscripts*) rm {official.at(PACKAGED_UNIT)} ;;\n'
        f"*) rm -rf {official.at('/opt/codedeploy-agent')} ;;\nesac",
    )
    return systemctl


def test_it_is_never_removed_unasked(official, with_dpkg) -> None:
    before = official.tree()
    with pytest.raises(OfficialAgentError, match=r"codedeploy-agent 1\.8\.1-1 \(dpkg\)"):
        official.build()
    after = official.tree()
    after.pop("opt/codedeploy-agent/.install.lock")
    assert after == before
    assert with_dpkg.calls("dpkg --") == []


@pytest.mark.parametrize("manager", ["with_dpkg", "with_rpm"])
def test_its_state_stays_in_place_and_is_saved(official, manager, request) -> None:
    programs = request.getfixturevalue(manager)
    official.install(take_over=True)
    assert official.at(CONFIG).read_text() == ":max_revisions: 7\n", "put back after the package took it along"
    assert official.at(CLEANUP).read_text() == "/srv/www/index.html\n"
    assert official.at(REVISION).exists()
    assert official.at(ON_PREMISES).exists()
    assert not official.at(PACKAGED_UNIT).exists()
    assert b"Type=notify" in official.at(UNIT).read_bytes()
    (saved,) = official.at("/opt/codedeploy-agent/takeover").iterdir()
    assert saved.stat().st_mode & 0o777 == 0o700
    for path in (CONFIG, ON_PREMISES, CLEANUP, PACKAGED_UNIT):
        assert (saved / path.lstrip("/")).exists(), path
    removal = {"with_dpkg": "dpkg --root=", "with_rpm": "rpm --root"}[manager]
    assert len(programs.calls(removal)) == {"with_dpkg": 1, "with_rpm": 2}[manager]


def test_the_scripts_of_a_package_that_cannot_be_removed_are_put_back(official, with_dpkg) -> None:
    with_dpkg.add("dpkg", "echo the database is locked; exit 2")
    with pytest.raises(FleetError, match="the database is locked"):
        official.install(take_over=True)
    assert official.at("/var/lib/dpkg/info/codedeploy-agent.postrm").exists()
    assert official.at(PACKAGED_UNIT).exists()
    assert not official.at(UNIT).exists()


def test_it_is_not_stopped_while_it_deploys(official, with_dpkg) -> None:
    put(official, f"{DEPLOYMENT_ROOT}/ongoing-deployment/d-1")
    with pytest.raises(OfficialAgentError, match="in progress: d-1"):
        official.install(take_over=True)
    assert official.at(PACKAGED_UNIT).exists()
    official.install(take_over=True, force=True)
    assert not official.at(PACKAGED_UNIT).exists()


def test_an_init_script_alone_is_an_official_agent_too(box, systemctl) -> None:
    put(box, INIT)
    box.at("/etc/rc3.d").mkdir()
    box.at("/etc/rc3.d/S20codedeploy-agent").symlink_to("../init.d/codedeploy-agent")
    found = find_official(Places(str(box.root)), ours=())
    assert found is not None
    assert found.files == (INIT,)
    box.install(take_over=True)
    assert not box.at(INIT).exists()
    assert not box.at("/etc/rc3.d/S20codedeploy-agent").is_symlink()


def test_one_file_with_two_names_is_named_once(box) -> None:
    put(box, PACKAGED_UNIT)
    box.at("/lib").symlink_to("usr/lib")
    found = find_official(Places(str(box.root)), ours=())
    assert found is not None
    assert found.files == (PACKAGED_UNIT,)


def test_our_own_unit_is_not_taken_for_the_official_one(box) -> None:
    box.install()
    assert not box.install().changed


def test_a_package_that_was_removed_before_is_none(box, systemctl) -> None:
    box.at("/var/lib/dpkg").mkdir(parents=True)
    systemctl.add("dpkg-query", 'printf "config-files 1.8.1-1"')
    assert find_official(Places(str(box.root)), ours=()) is None


def test_whatever_would_bring_it_back_is_named(box) -> None:
    put(box, "/etc/cron.d/agent-update", "0 3 * * 1 root /opt/codedeploy-agent/bin/install auto\n")
    put(box, "/etc/cron.d/other", "0 3 * * 1 root true\n")
    put(box, "/etc/systemd/system/codedeploy-update.timer")
    box.at("/var/lib/amazon/ssm/packages/arn_aws_ssm___package_AWSCodeDeployAgent_1").mkdir(parents=True)
    expected = [
        "/etc/cron.d/agent-update",
        "/etc/systemd/system/codedeploy-update.timer",
        "/var/lib/amazon/ssm/packages/arn_aws_ssm___package_AWSCodeDeployAgent_1",
    ]
    assert updaters(Places(str(box.root))) == expected
    box.install()
    assert [path for path in expected if any(path in sentence for sentence in box.said)] == expected


@pytest.mark.parametrize(
    "line", [":root_dir: /srv/deploy", 'root_dir: "/srv/deploy"  # here', "  root_dir: '/srv/deploy'"]
)
def test_its_root_directory_is_found_without_yaml(box, line) -> None:
    put(box, CONFIG, f"---\n:verbose: true\n{line}\n")
    assert root_dir(Places(str(box.root))) == "/srv/deploy"


def test_a_wrong_option_is_found_before_it_is_removed(official, with_dpkg) -> None:
    official.at(CONFIG).unlink()
    with pytest.raises(FleetError, match="--proxy"):
        official.install(take_over=True, proxy="http://user:pa'ss@proxy:1")
    assert with_dpkg.calls("dpkg --") == []
    assert official.at(PACKAGED_UNIT).exists()


def test_a_take_over_that_was_killed_after_the_removal_is_finished_by_the_next_run(official, with_dpkg) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.fleet.official._put_back", kill)
        with pytest.raises(KeyboardInterrupt):
            official.install(take_over=True)
    assert not official.at(CONFIG).exists()
    with_dpkg.add("dpkg-query", "exit 1")
    official.install()
    assert official.at(CONFIG).read_text() == ":max_revisions: 7\n"
    assert not official.at("/opt/codedeploy-agent/takeover/open").exists()


def test_an_installation_that_fails_after_the_removal_says_that_no_agent_runs(official, with_dpkg) -> None:
    def fail(*_: object) -> None:
        raise FleetError("The unit cannot be enabled.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.fleet.service_manager.ServiceManager.enable", fail)
        with pytest.raises(FleetError, match=r"cannot be enabled\.(.|\n)*no agent runs(.|\n)*takeover"):
            official.install(take_over=True)


def test_a_removal_that_was_refused_leaves_nothing_to_put_back_later(official, with_dpkg) -> None:
    with_dpkg.add("dpkg", "exit 2")
    with pytest.raises(FleetError):
        official.install(take_over=True)
    assert not official.at("/opt/codedeploy-agent/takeover/open").exists()


def test_a_signal_after_the_removal_is_told_what_it_leaves(official, with_dpkg) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.fleet.service_manager.ServiceManager.enable", stop)
        with pytest.raises(KeyboardInterrupt):
            official.install(take_over=True)
    assert "no agent runs on this host now" in official.said[-1]
