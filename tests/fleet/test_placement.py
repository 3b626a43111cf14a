"""The manual and the completions on a host: those of the version in use, and never in anybody's way."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from agent.fleet.install import AgentInstallOptions, install
from agent.fleet.manifest import load
from agent.fleet.placement import Placement
from agent.fleet.places import CURRENT, Places
from agent.fleet.service_manager import ServiceManager

PAGE = "/usr/local/share/man/man8/codedeploy-agent.8"
COMPLETION = "/usr/share/fish/vendor_completions.d/codedeploy-agent.fish"


def test_the_manual_and_the_completions_are_those_of_the_version_in_use(box) -> None:
    box.install("9.1")
    box.install("9.2")
    for path in (PAGE, COMPLETION):
        assert "of version 9.2" in box.at(path).read_text()
    install(AgentInstallOptions(version="9.1", root=str(box.root)), tell=box.said.append)
    for path in (PAGE, COMPLETION):
        assert "of version 9.1" in box.at(path).read_text()


def test_going_back_to_a_version_without_a_manual_leaves_no_link_to_nothing(box) -> None:
    box.install("9.1")
    shutil.rmtree(box.at("/opt/codedeploy-agent/current/share"))
    box.install("9.2")
    assert box.at(PAGE).exists()
    install(AgentInstallOptions(version="9.1", root=str(box.root)), tell=box.said.append)
    assert [path for path in (PAGE, COMPLETION) if box.at(path).is_symlink()] == []


def test_a_page_that_another_package_has_put_there_stays_and_is_named(box) -> None:
    box.at(PAGE).parent.mkdir(parents=True)
    box.at(PAGE).write_text("of the other package\n")
    box.install()
    assert f"Warning: something else is at {PAGE}, and stays there." in box.said
    assert box.at(PAGE).read_text() == "of the other package\n"
    assert box.at(COMPLETION).exists()


@pytest.mark.needs("root", "immutable")
def test_a_share_that_cannot_be_written_costs_only_the_manual(box) -> None:
    share = box.at("/usr/local/share")
    share.mkdir(parents=True)
    subprocess.run(["chattr", "+i", share], check=True)
    try:
        assert box.install().changed
    finally:
        subprocess.run(["chattr", "-i", share], check=True)
    (warning,) = [line for line in box.said if line.startswith("Warning")]
    assert warning.endswith(f"so {PAGE} is not there.")
    assert box.at(COMPLETION).exists()
    assert PAGE not in load(Places(str(box.root))).links


def test_a_version_that_did_not_start_takes_its_manual_with_it(box) -> None:
    box.install("9.1")
    without, host = os.readlink(box.at(CURRENT)), Places(str(box.root))
    shutil.rmtree(box.at(CURRENT) / "share")
    box.install("9.2")
    with_manual = os.readlink(box.at(CURRENT))
    install(AgentInstallOptions(version="9.1", root=str(box.root)), tell=box.said.append)
    before = load(host)
    placement = Placement(host, before, ServiceManager(host), bin_directory="/usr/local/bin", tell=box.said.append)
    placement.choose(os.path.basename(with_manual), previous=None, config=None)
    assert box.at(PAGE).exists()
    placement.choose(os.path.basename(without), previous=None, config=None)
    assert not box.at(PAGE).is_symlink()
    assert load(host).links == before.links
