"""One scene, set up again and again: what it must look like, and every check of a host after a disturbance."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import install_picture
from agent.install.cleanup_list import CleanupFile
from install_picture import Picture, cleaned_up, differences, identities, take
from install_scene import GROUP, SCENES, Place, prepare, remove
from install_trace import Call, Ending, Fault, Server

OLD = "old"
NEW = "new"


@dataclass(frozen=True, slots=True)
class State:
    """What there is between two deployments; the paths of the clean-up list, odd names too, are sorted."""

    host: Picture
    listed: list[str] | None
    pointer: bytes | None

    def differences(self, other: State) -> list[str]:
        lines = differences(self.host, other.host)
        if self.listed != other.listed:
            one, two = set(self.listed or ()), set(other.listed or ())
            lines.append(f"the clean-up list lacks {sorted(one - two)} and has {sorted(two - one)} too much")
            if (self.listed is None) != (other.listed is None):
                lines.append(f"the clean-up list should be {self.listed}, it is {other.listed}")
        if self.pointer != other.pointer:
            lines.append(f"the last successful Install is {other.pointer!r}, it should be {self.pointer!r}")
        return lines


class Stage:
    """A scene in a directory of its own; ``reset`` makes the host as it is before the Install of version 2."""

    def __init__(self, scene: str, directory: str, server: Server) -> None:
        self.scene = SCENES[scene]
        self.place = Place(os.path.join(directory, "play"))
        self._server = server
        self._template = os.path.join(directory, "template")
        prepare(self.scene, self.place)
        if self.scene.first:
            ending = self.run("install", version=self.scene.first)
            assert ending.ok, ending.text
            self.scene.by_hand(self.place.host)
        os.rename(self.place.top, self._template)
        self.reset()

    def reset(self) -> None:
        remove(self.place.top)
        subprocess.run(["cp", "-a", self._template, self.place.top], check=True)

    def run(
        self,
        action: str,
        *,
        version: str = "2",
        faults: Sequence[Fault] = (),
        watched: bool = False,
        other_file_system: str = "",
    ) -> Ending:
        return self._server.run(
            action,
            scene=self.scene.name,
            top=self.place.top,
            version=version,
            faults=faults,
            watched=watched,
            other_file_system=other_file_system,
        )

    def state(self) -> State:
        place = self.place
        file = CleanupFile(place.cleanup_list, place.odd_names)
        listed = sorted(file.paths()) if os.path.exists(place.cleanup_list) else None
        pointer = None
        if os.path.exists(place.pointer):
            with open(place.pointer, "rb") as text:
                pointer = text.read()
        return State(take(place.host), listed, pointer)

    @cached_property
    def old(self) -> State:
        self.reset()
        return self.state()

    @cached_property
    def new(self) -> State:
        return self._after("2")

    @cached_property
    def new_list(self) -> bytes:
        """The clean-up list of version 2 as it lies on the disk."""
        self._after("2")
        with open(self.place.cleanup_list, "rb") as file:
            return file.read()

    @cached_property
    def next(self) -> dict[str, State]:
        """What version 3 makes of the old state and of the new one."""
        return {OLD: self._after("3"), NEW: self._after("2", "3")}

    def _after(self, *versions: str) -> State:
        self.reset()
        for version in versions:
            ending = self.run("install", version=version)
            assert ending.ok, ending.text
        problems = self.leftovers()
        assert not problems, problems
        return self.state()

    @cached_property
    def calls(self) -> list[Call]:
        """The system calls of an undisturbed Install of version 2."""
        self.reset()
        ending = self.run("install", watched=True)
        assert ending.ok, ending.text
        return ending.calls

    def leftovers(self) -> list[str]:
        """Every temporary name, and every journal, open or set aside."""
        found = []
        for directory, directories, files in os.walk(self.place.top):
            for name in [*directories, *files]:
                if name.startswith(".codedeploy-") or name.endswith("~") or ".journal" in name:
                    found.append(f"left over: {os.path.join(directory, name)}")
        return found

    def has_journal(self) -> bool:
        return os.path.exists(self.place.journal)

    def finalized(self) -> tuple[str, list[str]]:
        """Tell which state the host is in, old or new, with everything that is not exactly so."""
        found = self.state()
        problems = {OLD: self.old.differences(found), NEW: self.new.differences(found)}
        which = min(problems, key=lambda name: len(problems[name]))
        return which, [*problems[which], *self.leftovers()]

    def kept_identity(self, before: dict[str, int], which: str) -> list[str]:
        """What was replaced by another object although it stays: all in the old state, else directories and foreign."""
        now = identities(self.place.host)
        lines = []
        for path, inode in before.items():
            stays = which == OLD or (path in self.new.host and self._is_kept(path))
            if stays and now.get(path) not in (inode, None):
                lines.append(f"{path!r} is another object than before")
        return lines

    def _is_kept(self, path: str) -> bool:
        one, two = self.old.host[path], self.new.host[path]
        return one.kind == two.kind and (one.kind == "directory" or f"{self.place.host}/{path}" not in self._new_paths)

    @cached_property
    def _new_paths(self) -> frozenset[str]:
        real = [os.path.realpath(os.path.dirname(path)) for path in self.new.listed or ()]
        return frozenset(
            f"{directory}/{os.path.basename(path)}" for directory, path in zip(real, self.new.listed or (), strict=True)
        )

    @cached_property
    def _not_ours(self) -> frozenset[str]:
        """What the official agent's clean-up would leave of the old state."""
        self.reset()
        return frozenset(cleaned_up(self.old.host, self._lines(), self.place.host))

    def _lines(self) -> list[str]:
        file = CleanupFile(self.place.cleanup_list, self.place.odd_names)
        return file.paths()

    def prepare(self) -> None:
        """Work out everything that the checks compare with, and leave the host ready for the Install."""
        assert self.calls
        assert self.old.differences(self.new)
        assert self.next
        assert self.new_list
        assert self._not_ours
        assert self._new_paths is not None
        self.reset()

    def check_at_once(self) -> list[str]:
        """What must hold at every moment, without any recovery: for readers, and for the official agent."""
        picture = take(self.place.host)
        return [*self._half_written(picture), *self._unlisted(picture), *self._damaged_state()]

    def _half_written(self, picture: Picture) -> list[str]:
        lines = []
        exempt = {*self.scene.in_place, *self.scene.in_place.values()}
        for path, seen in picture.items():
            known = [state.host[path] for state in (self.old, self.new) if path in state.host]
            if path in exempt or seen.kind != "file" or not known:
                continue
            if not any(_looks_like(seen, other) for other in known):
                lines.append(f"a reader of {path!r} sees {seen}")
        for path, seen in self.old.host.items():
            other = self.new.host.get(path)
            stays = other is not None and "directory" not in (seen.kind, other.kind)
            if stays and path not in picture:
                lines.append(f"a reader of {path!r} finds nothing, though both revisions have it")
        return lines

    def _unlisted(self, picture: Picture) -> list[str]:
        if self.scene.in_place:
            return []  # what is mounted can be removed by nobody
        lines = []
        taken_over = self.scene.replaced
        left = cleaned_up(picture, self._lines(), self.place.host)
        for path in sorted(left - self._not_ours):
            lines.append(f"the clean-up list does not name {path!r}, which is ours")
        for path in sorted(self._not_ours - left - taken_over):
            lines.append(f"the clean-up list would remove {path!r}, which is not ours")
        official = [path for path in self._lines() if not _is_odd(path)]
        left = cleaned_up(picture, official, self.place.host) - self._not_ours
        for path in sorted(left):
            if not any(_is_odd(other) and (other + "/").startswith(path + "/") for other in left):
                lines.append(f"the official agent would leave {path!r}, which is ours")
        return lines

    def _damaged_state(self) -> list[str]:
        lines = []
        place = self.place
        if os.path.exists(place.instructions):
            with open(place.instructions, "rb") as file:
                try:
                    json.loads(os.fsdecode(file.read()))
                except ValueError as error:
                    lines.append(f"the instructions are damaged: {error}")
        if os.path.exists(place.cleanup_list):
            with open(place.cleanup_list, "rb") as file:
                if not file.read().endswith(b"\n"):
                    lines.append("the clean-up list is cut off")
        if os.path.exists(place.pointer):
            with open(place.pointer, encoding="utf-8") as text:
                pointer = text.read()
            if pointer not in (place.deployment("1"), place.deployment("2")):
                lines.append(f"the last successful Install is {pointer!r}")
        return lines

    def check_recovered(self, before: dict[str, int]) -> tuple[str, list[str]]:
        """Recover in a new process; tell which state the host is in then, and everything that is wrong."""
        ending = self.run("recover")
        if not ending.ok:
            return "", [f"the recovery failed: {ending.text}"]
        which, lines = self.finalized()
        return which, [*lines, *self.kept_identity(before, which)]

    def check_next(self, which: str) -> list[str]:
        """Install version 3 and compare with what it makes of an undisturbed host."""
        ending = self.run("install", version="3")
        if not ending.ok:
            return [f"the next deployment failed: {ending.text}"]
        return [f"after the next deployment {line}" for line in self.next[which].differences(self.state())]

    def check_next_of_either(self) -> list[str]:
        """The same where the host may be in either state, or has yet to be brought into one."""
        ending = self.run("install", version="3")
        if not ending.ok:
            return [f"the next deployment failed: {ending.text}"]
        found = self.state()
        old, new = (self.next[which].differences(found) for which in (OLD, NEW))
        return old if len(old) < len(new) else new


def _looks_like(one: install_picture.Seen, two: install_picture.Seen) -> bool:
    return (one.content, one.mode, one.owner, one.acls) == (two.content, two.mode, two.owner, two.acls)


def _is_odd(path: str) -> bool:
    return any(part != part.strip() or "\n" in part for part in path.split("/"))


__all__ = ["GROUP", "NEW", "OLD", "Stage", "State"]
