"""The machines of the Vagrantfile, as Ruby reads it: what Vagrant itself would be told, without Vagrant."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
_SYNCED = ("agent", "systemd", "userdata", "pyproject.toml", "setup.py", "README.md", "LICENSE", "Vagrantfile")

# Takes down what the Vagrantfile says; what it does not know of is passed over as long as it can have no effect here.
_READ = """
require "json"
class Machine
  attr_accessor :hostname, :box
  attr_reader :found
  def initialize; @found = { "networks" => [], "provisions" => [], "directories" => [] }; end
  def network(kind, **options) = @found["networks"] << [kind, options]
  def provision(kind, **options) = @found["provisions"] << [kind, options]
  def synced_folder(from, to, **options) = @found["directories"] << [from, to]
  def provider(*); end
end
class Configuration
  attr_reader :vm, :machines
  def initialize; @vm = Machine.new; @machines = {}; end
  def define(name) = yield(@machines[name] = Configuration.new)
end
class Machine
  attr_accessor :owner
  def define(name, &block) = owner.define(name, &block)
end
module Vagrant
  def self.configure(version)
    all = Configuration.new
    all.vm.owner = all
    yield all
    machines = all.machines.map { |name, one| one.vm.found.merge("name" => name, "hostname" => one.vm.hostname) }
    puts JSON.generate("box" => all.vm.box, "directories" => all.vm.found["directories"], "machines" => machines)
  end
end
load ARGV[0]
"""


class Provision(NamedTuple):
    """A script of the project, and the environment that it is run with."""

    path: str
    environment: dict[str, str]


class VagrantMachine(NamedTuple):
    """One machine: its name, its address in the private network, and what is run on it, in this order."""

    name: str
    address: str
    provisions: list[Provision]


class Vagrantfile(NamedTuple):
    """What the file says: the box of all machines, where they find the project, and the machines."""

    box: str
    synced: str
    machines: list[VagrantMachine]


def project_copy(directory: Path, archive: Path) -> Path:
    """Copy what Vagrant gives to its machines, with a wheelhouse where the Vagrantfile looks for one."""
    for name in _SYNCED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, directory / name)
    (directory / "dist").mkdir()
    shutil.copy(archive, directory / "dist")
    return directory


def read_vagrantfile(project: Path) -> Vagrantfile:
    """Let Ruby read the Vagrantfile in a copy of the project."""
    done = subprocess.run(
        ["ruby", "-e", _READ, str(project / "Vagrantfile")], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ((source, synced),) = found["directories"]
    assert source == "."
    return Vagrantfile(found["box"], synced, [_machine(each) for each in found["machines"]])


def _machine(found: dict[str, object]) -> VagrantMachine:
    assert found["hostname"] == found["name"]
    ((kind, network),) = found["networks"]  # type: ignore[misc,attr-defined]  # what Ruby has made is not typed
    assert kind == "private_network"
    provisions = []
    for kind, options in found["provisions"]:  # type: ignore[attr-defined]
        assert (kind, set(options)) == ("shell", {"path", "env"})
        provisions.append(Provision(options["path"], options["env"]))
    return VagrantMachine(str(found["name"]), network["ip"], provisions)
