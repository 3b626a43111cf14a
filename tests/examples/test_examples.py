"""Every example does what its README says."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example_host import EXAMPLES, Host
from host_tree import acl_entries
from waiting import until

REVISIONS = sorted(
    str(path.parent.relative_to(EXAMPLES)) for name in ("appspec.yml", "appspec.yaml") for path in EXAMPLES.rglob(name)
)


def test_the_static_site_goes_from_version_to_version(host: Host) -> None:
    host.deploy("static-site/version-1")
    assert set(host.tree("www")) == {"about.html", "index.html", "style.css"}
    assert "<h1>Version 1</h1>" in host.tree("www")["index.html"]
    assert stat.S_IMODE((host / "www/index.html").stat().st_mode) == 0o644

    host.deploy("static-site/version-2")
    second = host.tree("www")
    assert set(second) == {"index.html", "news.html", "style.css"}
    assert "<h1>Version 2</h1>" in second["index.html"]

    output = host.fail("static-site/version-3-broken")
    assert "downloads" in output
    assert host.tree("www") == second


def test_a_dry_run_of_an_example_names_its_files_and_makes_none(host: Host) -> None:
    output = host.deploy("static-site/version-1", "--dry-run")
    assert str(host / "www/index.html") in output
    assert not (host / "www").exists()


def test_the_python_service_is_stopped_and_started_and_survives_the_deployment(host: Host) -> None:
    try:
        host.deploy("python-service")
        first = ask(host)
        assert first.startswith("served by process ")
        output = host.deploy("python-service")
        second = ask(host)
        assert second != first
        assert f"process {first.split()[-1]} is stopped" in output
    finally:
        subprocess.run([str(host / "service/bin/stop.sh")], check=True, stdin=subprocess.DEVNULL)
    assert not (host / "service/run/pid").exists()


def ask(host: Host) -> str:
    port = (host / "service/run/port").read_text()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/") as answer:
        return answer.read().decode().strip()


def test_the_rolling_web_app_leaves_the_balancer_and_comes_back(host: Host) -> None:
    new_revision = ["BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"]
    new_revision += ["BeforeAllowTraffic", "AfterAllowTraffic"]
    host.deploy("rolling-web-app")
    assert events(host) == new_revision
    host.deploy("rolling-web-app")
    old_revision = ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"]
    assert events(host) == [*new_revision, *old_revision, *new_revision]
    assert (host / "webapp/health").read_text() == "ok\n"
    assert (host / "webapp/greeting.built").read_text() == "HELLO FROM THE APPLICATION.\n"


def events(host: Host) -> list[str]:
    return [line.split(":")[0] for line in (host / "webapp/journal").read_text().splitlines()]


@pytest.fixture
def open_host(host: Host) -> Iterator[Host]:
    """A host in a directory that every user may enter, as another user's script must."""
    host.directory = Path(tempfile.mkdtemp(prefix="example-"))
    host.directory.chmod(0o755)
    yield host
    shutil.rmtree(host.directory)


@pytest.mark.needs("root")
def test_permissions_and_acls_give_each_user_what_the_readme_says(open_host: Host) -> None:
    output = open_host.deploy("permissions-and-acls")
    assert "www-data can do what it should, and no more" in output

    portal = open_host / "portal"
    assert permissions(portal / "bin/run.sh") == (0o755, "root", "root")
    assert permissions(portal / "etc/portal.conf") == (0o640, "root", "www-data")
    assert permissions(portal / "etc/portal.conf.sample") == (0o644, "root", "root")
    assert permissions(portal / "reports") == (0o2770, "www-data", "www-data")
    assert "user:backup:r-x" in acl_entries(str(portal / "reports"), "system.posix_acl_access")
    assert "user:backup:r-x" in acl_entries(str(portal / "reports"), "system.posix_acl_default")
    written = [path for path in (portal / "reports").iterdir() if path.name.startswith("d-")]
    assert len(written) == 1
    assert permissions(written[0])[1:] == ("www-data", "www-data")


def permissions(path: Path) -> tuple[int, str, str]:
    return stat.S_IMODE(path.stat().st_mode), path.owner(), path.group()


def test_blue_and_green_take_turns(host: Host) -> None:
    host.deploy("blue-green")
    assert os.readlink(host / "shop/live") == "blue"
    first = (host / "shop/blue/deployment").read_text()
    host.deploy("blue-green")
    assert os.readlink(host / "shop/live") == "green"
    assert (host / "shop/blue/deployment").read_text() == first
    assert (host / "shop/green/deployment").read_text() != first
    assert (host / "shop/live/catalogue.txt").read_text() == "apples\npears\n"


def test_a_file_that_is_already_there_is_refused_kept_or_replaced(host: Host) -> None:
    configuration = host / "daemon/etc/daemon.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("threads = 64\n")

    output = host.fail("file-exists-behavior")
    assert str(configuration) in output
    assert host.tree("daemon") == {"etc/daemon.conf": "threads = 64\n"}

    host.deploy("file-exists-behavior", "-b", "RETAIN")
    assert configuration.read_text() == "threads = 64\n"
    assert (host / "daemon/etc/limits.conf").exists()

    host.deploy("file-exists-behavior", "-b", "OVERWRITE")
    assert configuration.read_text() == "threads = 4\n"


def test_two_services_on_one_host_leave_each_other_alone(host: Host) -> None:
    host.deploy("two-services/orders", "-g", "orders")
    orders = host.tree("services")
    host.deploy("two-services/billing", "-g", "billing")
    both = host.tree("services")
    assert both.items() >= orders.items()
    assert {"billing/billing.conf", "jobs.d/billing.job", "billing.running"} <= both.keys()

    host.deploy("two-services/orders", "-g", "orders")
    again = host.tree("services")
    assert again.pop("orders.running") != both.pop("orders.running")
    assert again == both


def test_a_failing_script_is_explained_with_its_last_lines(host: Host) -> None:
    output = host.fail("failing-deployment/script")
    for part in ("scripts/migrate.sh", "AfterInstall", "75", "too many connections (64 of 64)"):
        assert part in output, f"{part!r} is not in the output:\n{output}"
    assert host.tree("database") == {"schema.sql": "create table example (id integer);\n"}


def test_a_script_that_takes_too_long_is_ended_and_named_with_its_limit(host: Host) -> None:
    output = host.fail("failing-deployment/time-limit")
    assert "scripts/wait_for_ever.sh" in output
    assert "2 s" in output
    assert "waiting for" in output


def test_validate_names_every_mistake_with_its_line(program: Callable[[str], str]) -> None:
    directory = EXAMPLES / "failing-deployment/mistakes"
    done = validate(program, directory)
    assert done.returncode == 1
    text = (directory / "appspec.yml").read_text().splitlines()
    for part in ("destnation", "0888", "link", "AfterInstal", "soon"):
        line = 1 + next(number for number, content in enumerate(text) if part in content)
        named = [report for report in (done.stdout + done.stderr).splitlines() if f"appspec.yml:{line}:" in report]
        assert named, f"line {line} ({part}) is not named:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "revision", [name for name in REVISIONS if not name.endswith(("mistakes", "version-3-broken"))]
)
def test_validate_finds_nothing_wrong_with_the_examples(revision: str, program: Callable[[str], str]) -> None:
    done = validate(program, EXAMPLES / revision)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_host_is_out_of_the_balancer_while_it_changes(host: Host, program: Callable[[str], str]) -> None:
    balancer = host / "balancer"
    balancer.mkdir(parents=True)
    (balancer / "this-host").touch()
    host.deploy("out-of-the-balancer", "--traffic", "-d", "Shop")
    (balancer / "journal").unlink()
    output = host.deploy("out-of-the-balancer", "--traffic", "-d", "Shop")
    assert "Back in service after" in output
    assert (balancer / "journal").read_text().splitlines() == [
        "BeforeBlockTraffic: visitors come: yes",
        "ApplicationStop: visitors come: no",
        "ApplicationStart: visitors come: no",
        "ValidateService: visitors come: no",
        "AfterAllowTraffic: visitors come: yes",
    ]
    (host / "broken").touch()
    host.fail("out-of-the-balancer", "--traffic", "-d", "Shop")
    assert not (balancer / "this-host").exists()
    config = str(host / "agent/codedeployagent.yml")
    command = [program("codedeploy-agent"), "traffic", "status", "--config-file", config]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "ValidateService" in done.stdout
    (host / "broken").unlink()
    host.deploy("out-of-the-balancer", "--traffic", "-d", "Shop")
    assert (balancer / "this-host").exists()


def test_validate_finds_what_is_wrong_with_version_3(program: Callable[[str], str]) -> None:
    done = validate(program, EXAMPLES / "static-site/version-3-broken")
    assert done.returncode == 1
    assert "downloads" in done.stdout + done.stderr


def validate(program: Callable[[str], str], directory: Path) -> subprocess.CompletedProcess[str]:
    command = [program("codedeploy-agent"), "validate", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_the_demo_shows_two_versions_and_one_that_is_undone() -> None:
    command = [str(EXAMPLES / "demo-local"), os.path.dirname(sys.executable)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    headings = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert len(headings) == 4
    assert "to the byte" in headings[-1]
    assert done.stdout.count("AppSpec file valid. Local deployment successful") == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("try", "Name a revision and a directory"),
        ("try static-site/version-1", "Name a revision and a directory"),
        ("try static-site/version-1 --verbose", "Name a revision and a directory"),
        ("try --verbose static-site/version-1 host", "option --verbose is unknown"),
        ("try no-such-example host", "no directory no-such-example"),
        ("try ../docs host", "no directory ../docs"),
        ("try static-site host", "static-site/version-1 static-site/version-2 static-site/version-3-broken."),
        ("try static-site/version-1 /proc/host", "directory /proc/host cannot be made"),
        ("demo-local --verbose", "option --verbose is unknown"),
        ("demo-local no-such-directory", "no directory no-such-directory"),
        ("demo-local .", "no program codedeploy-local"),
        ("demo-local . .", "one directory at most"),
    ],
)
def test_a_wrong_command_line_gets_one_line_and_leaves_nothing(line: str, told: str, host: Host) -> None:
    name, *arguments = line.split()
    command = [str(EXAMPLES / name), *arguments]
    place = host / "here"
    place.mkdir(parents=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=host.environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert told in done.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["try", "demo-local"])
def test_help_is_no_error(name: str) -> None:
    done = subprocess.run([str(EXAMPLES / name), "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"appspec-examples/{name} " in done.stdout


def test_a_revision_may_be_named_by_its_path_as_the_shell_completes_it(host: Host) -> None:
    host.deploy(f"{os.path.relpath(EXAMPLES)}/static-site/version-1/")
    assert "<h1>Version 1</h1>" in host.tree("www")["index.html"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("line", ["try static-site/version-1 {}/host", "demo-local"])
def test_an_example_that_is_interrupted_leaves_no_copy(line: str, number: signal.Signals, tmp_path: Path) -> None:
    copies, begun, program = tmp_path / "copies", tmp_path / "begun", tmp_path / "codedeploy-local"
    copies.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || {{ touch {begun}; exec sleep 600; }}\n')
    program.chmod(0o755)
    name, *arguments = line.format(tmp_path).split()
    environment = {**os.environ, "TMPDIR": str(copies), "CODEDEPLOY_LOCAL": str(program)}
    with subprocess.Popen([EXAMPLES / name, *arguments], env=environment, start_new_session=True) as running:
        try:
            until(begun.exists, "the deployment")
            assert list(copies.iterdir())
        finally:
            os.killpg(running.pid, number)
    assert running.returncode == 128 + number
    assert list(copies.iterdir()) == []
