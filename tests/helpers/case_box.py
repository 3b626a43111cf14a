"""Runs one case in a sandbox of its own and tells what came of it, in the terms of case_data."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from case_data import Case
from host_tree import describe, snapshot

DEFAULT_GROUP = "default-local-deployment-group"

PRELUDE = r"""
set -e
umask 022
# appspec [FILE] <<EOF: an AppSpec, with the names of the sandbox filled in
appspec() {
    sed -e "s#\$BUNDLE#$BUNDLE#g; s#\$DEST#$DEST#g; s#\$ROOT#$ROOT#g; s#\$BOX#$BOX#g" > "${1:-$BUNDLE/appspec.yml}"
}
# script FILE <<EOF: an executable bash script
script() { mkdir -p "$(dirname "$1")"; { echo '#!/bin/bash'; cat; } > "$1"; chmod 755 "$1"; }
# the revision that most cases deploy
standard() {
    mkdir -p $BUNDLE/app/sub/deep $BUNDLE/app/empty
    echo one > $BUNDLE/app/one.txt; echo two > $BUNDLE/app/sub/two.txt; echo hid > $BUNDLE/app/.hidden
    echo root > $BUNDLE/root.txt
}
# h.sh leaves a trace of its run in the destination, bad.sh fails with 3
hook_scripts() {
    script $BUNDLE/h.sh <<< 'echo hook $LIFECYCLE_EVENT >> $DEST/trace; pwd >> $DEST/trace'
    script $BUNDLE/bad.sh <<< 'echo oops; sleep 0.3; echo err >&2; exit 3'
}
# a foreign file where the standard revision brings one
foreign_file() { mkdir -p $DEST/out/sub; echo foreign > $DEST/out/sub/two.txt; }
# symbolic links of every kind
links() {
    mkdir -p $BUNDLE/a/real; echo r > $BUNDLE/a/real/f; echo t > $BUNDLE/a/target
    ln -s target $BUNDLE/a/rel; ln -s $DEST/abs $BUNDLE/a/abs; ln -s nowhere $BUNDLE/a/dang; ln -s real $BUNDLE/a/ldir
}
# files and directories of many modes, some with an owner, all from 2001
many_modes() {
    mkdir -p $BUNDLE/a/d755 $BUNDLE/a/d700 $BUNDLE/a/d2775
    chmod 700 $BUNDLE/a/d700; chmod 2775 $BUNDLE/a/d2775
    for m in 644 600 755 4755 2755 444 000 777; do echo $m > $BUNDLE/a/f$m; done
    echo o > $BUNDLE/a/owned; chown games:games $BUNDLE/a/owned $BUNDLE/a/d755
    for m in 644 600 755 4755 2755 444 000 777; do chmod $m $BUNDLE/a/f$m; done
    find $BUNDLE -exec touch -h -d @1000000000 {} +
}
"""

_TIME = re.compile(r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?\]?")
_DEPLOYMENT_ID = re.compile(r"d-[A-Z0-9]{9}-local")
_PACK = {
    "tar": ["tar", "-cf", "{}", "."],
    "tgz": ["tar", "-czf", "{}", "."],
    "zip": ["zip", "-qry", "{}", "."],
}


# For a command that uses the agent's usual places: it finds them empty, and they are gone when it has ended.
_PRIVATE = """
for place in /opt /var/log /etc/codedeploy-agent; do
    [ ! -d $place ] || mount -t tmpfs private $place || exit 125
done
exec "$@"
"""


@dataclass
class Result:
    """What one deploy step gave: ``facts`` has the parts of case_data.PARTS, the rest helps who reads a failure."""

    facts: dict[str, Any]
    stdout: str
    stderr: str
    problems: list[str] = field(default_factory=list)


class Box:
    """A sandbox: a bundle directory, a destination, a root directory and a home of its own, all below ``top``."""

    def __init__(self, top: str, *, program: str, case: Case) -> None:
        self.top = top
        self.program = program
        self.case = case
        self.numbers: dict[str, int] = {}
        self.bundle, self.dest, self.root = (os.path.join(top, name) for name in ("bundle", "dest", "root"))
        for name in ("bundle", "dest", "root", "log", "home"):
            os.makedirs(os.path.join(top, name))
            os.chmod(os.path.join(top, name), 0o755)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.path.join(top, "home"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "AWS_EC2_METADATA_DISABLED": "true",
            "BOX": top,
            "BUNDLE": self.bundle,
            "DEST": self.dest,
            "ROOT": self.root,
        }

    def expand(self, text: str) -> str:
        for name in ("BUNDLE", "DEST", "ROOT", "BOX"):
            text = text.replace("$" + name, self.environment[name])
        return text

    def rename(self, text: str) -> str:
        """Replace what differs between runs: ids of deployments, the sandbox's place, times, process ids."""
        for identity, number in self.numbers.items():
            text = text.replace(identity, f"<{number}>")
        text = text.replace(self.dest, "$DEST").replace(self.bundle, "$BUNDLE").replace(self.root, "$ROOT")
        return _TIME.sub("<TIME>", text.replace(self.top, "$BOX"))

    def run(self) -> list[Result]:
        """Take every step; gives one result for each deploy step."""
        results = []
        for number, step in enumerate(self.case.steps):
            if "deploy" in step:
                results.append(self.deploy(step, number))
            elif "shell" in step:
                self.shell(step["shell"])
            else:
                self.write_appspec(step)
        return results

    def shell(self, script: str) -> None:
        done = subprocess.run(
            ["bash", "-c", PRELUDE + script], env=self.environment, cwd=self.top, capture_output=True, text=True
        )
        assert done.returncode == 0, f"the case's own set-up failed: {done.stderr}"

    def write_appspec(self, step: dict[str, Any]) -> None:
        text = step["appspec"] if "appspec" in step else "version: 0.0\nos: linux\n" + step["body"]
        with open(os.path.join(self.bundle, step.get("as", "appspec.yml")), "w", encoding="utf-8") as file:
            file.write(self.expand(text))

    def deploy(self, step: dict[str, Any], number: int) -> Result:
        command = [self.program, *self.arguments(step, number)]
        if step.get("private"):
            command = ["unshare", "--mount", "sh", "-c", _PRIVATE, "sh", *command]
        directory = self.expand(step.get("cwd", "$BOX"))
        done = subprocess.run(
            command, env=self.environment, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True
        )
        stdout, stderr = (stream.decode("utf-8", "backslashreplace") for stream in (done.stdout, done.stderr))
        self.number_deployments(stdout + stderr)
        facts = {"exit": done.returncode, **self.look(step)}
        result = Result(facts, self.rename(stdout), self.rename(stderr))
        result.problems = self.check_state_modes() + check_output(result)
        return result

    def arguments(self, step: dict[str, Any], number: int) -> list[str]:
        options = [self.expand(option) for option in step["deploy"]]
        if step.get("settings") is None and step.get("no_settings"):
            return options
        settings = ["-c", self.write_settings(step.get("settings", {}))]
        if step.get("raw"):
            return [*settings, *options]
        pack = step.get("pack")
        location = self.bundle if pack is None else self.pack(pack, number)
        return [*settings, "-l", location, "-t", pack or "directory", *options]

    def write_settings(self, further: dict[str, Any]) -> str:
        settings = {
            ":program_name": "codedeploy-agent",
            ":log_dir": f"{self.top}/log",
            ":pid_dir": f"{self.top}/pid",
            ":root_dir": self.root,
            ":verbose": True,
            ":on_premises_config_file": f"{self.top}/none.yml",
            **further,
        }
        path = os.path.join(self.top, "conf.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
        return path

    def pack(self, kind: str, number: int) -> str:
        archive = os.path.join(self.top, f"bundle-{number}.{kind}")
        command = [part.replace("{}", archive) for part in _PACK[kind]]
        subprocess.run(command, cwd=self.bundle, check=True, capture_output=True)
        return archive

    def number_deployments(self, output: str) -> None:
        """Number the deployments in their order; a run that says nothing is known by the directory it made."""
        found = _DEPLOYMENT_ID.findall(output) or sorted(
            identity for path in snapshot(self.root) for identity in _DEPLOYMENT_ID.findall(path)
        )
        for identity in found:
            self.numbers.setdefault(identity, len(self.numbers) + 1)

    def look(self, step: dict[str, Any]) -> dict[str, Any]:
        """What there is to see after a deployment: the parts that the step or its case asks for."""
        facts: dict[str, Any] = {"dest": snapshot(self.dest, rename=self.rename), "state": self.look_at_state()}
        log = os.path.join(self.root, "deployment-logs", "codedeploy-agent-deployments.log")
        if os.path.exists(log):
            facts["deployments_log"] = _official_lines(self.read(log))
        if "archive" in step.get("expect", {}):
            facts["archive"] = self.look_at_archive()
        facts["watch"] = {
            self.rename(os.path.join(top, name)): line
            for top in map(self.expand, self.case.options.get("watch", []))
            for name, line in snapshot(top, rename=self.rename).items()
        }
        return facts

    def look_at_state(self) -> dict[str, dict[str, Any]]:
        """What the official agent would read under the root directory, by deployment group."""
        state: dict[str, dict[str, Any]] = {}
        self._look_at_deployments(state)
        directory = os.path.join(self.root, "deployment-instructions")
        readers = {
            "-cleanup": ("cleanup", self._cleanup),
            "-install.json": ("instructions", self._instructions),
            "_most_recent_install": ("most_recent", self._pointer),
            "_last_successful_install": ("last_successful", self._pointer),
        }
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            for ending, (fact, reader) in readers.items():
                if name.endswith(ending):
                    group = _short(name.removesuffix(ending))
                    state.setdefault(group, {})[fact] = reader(self.read(os.path.join(directory, name)))
        return state

    def _look_at_deployments(self, state: dict[str, dict[str, Any]]) -> None:
        for directory, names, _ in os.walk(self.root):
            own = [name for name in names if name in self.numbers]
            names[:] = [name for name in names if name not in own and name != "agent-state"]
            if not own:
                continue
            group = state.setdefault(_short(os.path.relpath(directory, self.root)), {})
            group["revisions"] = sorted(self.numbers[name] for name in own)
            for name in own:
                log = os.path.join(directory, name, "logs", "scripts.log")
                if os.path.exists(log):
                    group.setdefault("scripts_log", {})[self.numbers[name]] = _official_lines(self.read(log))

    def look_at_archive(self) -> dict[str, str]:
        """The unpacked revision of the newest deployment."""
        newest = max(self.numbers, key=lambda identity: self.numbers[identity], default="")
        for directory, names, _ in os.walk(self.root):
            if newest in names:
                archive = os.path.join(directory, newest, "deployment-archive")
                itself = {".": describe(archive)} if os.path.isdir(archive) else {}
                return itself | snapshot(archive, rename=self.rename)
        return {}

    def read(self, path: str) -> str:
        with open(path, "rb") as file:
            return self.rename(file.read().decode("utf-8", "backslashreplace"))

    def _pointer(self, text: str) -> int | str:
        found = re.fullmatch(r"\$ROOT/.+/<(\d+)>", text)
        return int(found[1]) if found else text

    def _cleanup(self, text: str) -> list[str]:
        return sorted(_below_dest(line) for line in text.splitlines())

    def _instructions(self, text: str) -> list[str]:
        return sorted(_instruction(entry, len(self.numbers)) for entry in json.loads(text)["instructions"])

    def check_state_modes(self) -> list[str]:
        """The official agent's own files are 0644 in directories of 0755; whoever reads them relies on it."""
        problems = []
        for top in ("deployment-instructions", "deployment-logs"):
            for path, line in snapshot(os.path.join(self.root, top)).items():
                if not line.startswith(("dir 0755", "file 0644")):
                    problems.append(f"{top}/{path} is {line[:60]}")
        return problems


def _official_lines(log: str) -> str:
    """Return a log of scripts without the lines that only ours has: those of the scripts' ends."""
    return re.sub(r"(?m)^.*[] ]End - .+: (exit code|signal|timeout|stopped|output|failed|not started).*\n", "", log)


def check_output(result: Result) -> list[str]:
    """A success has its three lines in their order; a failure says something, and not with a traceback."""
    if "Traceback (most recent call last)" in result.stderr:
        return ["it ended with a traceback"]
    if result.facts["exit"] != 0:
        return [] if result.stdout or result.stderr else ["it failed without a word"]
    if not result.facts["state"]:
        return []  # it was asked for its help or version, not for a deployment
    lines = result.stdout.splitlines()
    desired = (
        "Starting to execute deployment from within folder $ROOT/",
        "See the deployment log at $ROOT/",
        "AppSpec file valid. Local deployment successful",
    )
    places = [next((i for i, line in enumerate(lines) if line.startswith(text)), -1) for text in desired]
    if -1 in places or places != sorted(places):
        return [f"the three lines of a success are not in the output: {lines}"]
    return []


def _short(group: str) -> str:
    return "default" if group == DEFAULT_GROUP else group


def _below_dest(path: str) -> str:
    return path.removeprefix("$DEST/")


def _instruction(entry: dict[str, Any], newest: int) -> str:
    kind = entry["type"]
    if kind == "mkdir":
        return f"mkdir {_below_dest(entry['directory'])}"
    if kind == "copy":
        source = re.sub(rf"^\$ROOT/.+/<{newest}>/deployment-archive/+", "", entry["source"])
        return f"copy {source} -> {_below_dest(entry['destination'])}"
    file = _below_dest(entry["file"])
    if kind == "chmod":
        return f"chmod {entry['mode']} {file}"
    if kind == "chown":
        return f"chown {entry['owner'] or ''}:{entry['group'] or ''} {file}"
    if kind == "setfacl":
        return f"setfacl {','.join(entry['acl'])} {file}"
    return f"{kind} {json.dumps(entry['context'])} {file}"


def differences(desired: dict[str, Any], result: Result, parts: Sequence[str]) -> list[str]:
    """One line for each fact that is not as desired."""
    lines: list[str] = []
    for part in parts:
        _compare(part, desired.get(part), result.facts.get(part), lines)
    return lines


def _compare(place: str, desired: Any, found: Any, lines: list[str]) -> None:
    if desired == found or (not desired and not found and desired != 0 and found != 0):
        return
    if isinstance(desired, dict) and isinstance(found, dict):
        for key in sorted({*desired, *found}, key=str):
            _compare(f"{place}: {key}", desired.get(key), found.get(key), lines)
    elif isinstance(desired, list) and isinstance(found, list):
        lines += [f"{place}: missing {item!r}" for item in desired if item not in found]
        lines += [f"{place}: too much {item!r}" for item in found if item not in desired]
        if sorted(map(str, desired)) == sorted(map(str, found)):
            lines.append(f"{place}: other order")
        elif not lines:
            lines.append(f"{place}: desired {desired!r}, found {found!r}")
    else:
        lines.append(f"{place}: desired {desired!r}, found {found!r}")
