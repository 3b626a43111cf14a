"""In which order the changes of an Install must reach the disk, so that a power cut at any moment does no harm.

Told from the system calls alone. What is synced is on the disk; of what is not, a power cut may keep any part, also
the later without the earlier.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from install_scene import Place
from install_trace import Call

_OWN_NAME = re.compile(r"/\.codedeploy-[^/]*~(/|$)")


class Order:
    """The changing calls of one process that succeeded; the rules give what is broken, for a person."""

    def __init__(self, calls: Sequence[Call], place: Place, *, file_systems: Sequence[str] = ()) -> None:
        """``file_systems`` are the directories that they are mounted on; the host's own stands for its file system."""
        self._calls = [call for call in calls if call.changes and call.succeeded]
        self._place = place
        self._file_systems = file_systems or [place.host]

    def state_files(self) -> list[str]:
        """Every file below the root directory is replaced whole and durably, every other change there is lasting."""
        broken = []
        for at, call in enumerate(self._calls):
            if not all(path.startswith(self._place.root) for path in call.changed):
                continue
            target = call.changed[-1]
            if self._says_whose(at, target):
                continue
            if call.name.startswith("rename"):
                if call.changed[0].endswith("~") and not self._is_synced(call.changed[0], at):
                    broken.append(f"renamed before its content was synced: {call}")
                broken += self._next_syncs(at, os.path.dirname(target), call)
            elif call.name.startswith("unlink") and not target.endswith("~"):
                broken += self._next_syncs(at, os.path.dirname(target), call)
            elif call.name.startswith("mkdir"):
                skipped = at + 1 if self._named(at + 1, "chmod", target) else at
                broken += self._next_syncs(skipped, os.path.dirname(target), call)
            elif call.name.startswith("write") and not target.endswith("~"):
                broken += self._next_syncs(at, target, call)
        return broken

    def _says_whose(self, at: int, target: str) -> bool:
        """Whether a change concerns the file that says which lists are ours, and odd names are not in it.

        Without it a list counts as another agent's; and what is left of odd names is of a list that is gone.
        """
        call, file = self._calls[at], self._place.odd_names
        if call.name.startswith("mkdir"):
            return target == os.path.dirname(file)
        if target != file:
            return False
        written = [one.texts[-1] for one in self._calls[:at] if one.name == "write" and call.changed[0] in one.changed]
        return call.name.startswith("unlink") or '"odd": ["' not in written[-1]

    def install(self) -> list[str]:
        """The whole of an Install that succeeds."""
        begun, listed = self._renamed_to(self._place.journal), self._renamed_to(self._place.cleanup_list)
        staged, committed = self._marked("staged"), self._marked("committed")
        final, pointer = self._renamed_to(self._place.cleanup_list, -1), self._renamed_to(self._place.pointer)
        ended = self._removed(self._place.journal)
        broken = _increasing(
            {"journal": begun, "whole list": listed, "staged": staged, "committed": committed, "new list": final}
        )
        broken += _increasing({"committed": committed, "pointer": pointer, "end of the journal": ended})
        broken += _increasing({"first list": listed, "new list": final, "end of the journal": ended})
        if broken:
            return broken
        # The journal, the list and the marks are synced by the call after them: see state_files().
        broken += self._none(self._on_host, 0, listed + 2, "before the journal and the whole list are on the disk")
        broken += self._none(self._exchanges, 0, staged + 2, "before the temporary files count as complete")
        broken += self._synced_between(listed, staged)
        broken += self._synced_between(staged, committed)
        broken += self._synced_between(committed, min(final, pointer))
        broken += self._none(self._on_host, ended, len(self._calls), "after the journal has ended")
        if not any(self._exchanges(call) for call in self._calls[staged:committed]):
            broken.append("nothing was exchanged between staging and commit")
        return broken

    def finishing(self) -> list[str]:
        """What a recovery does to a committed Install."""
        final, pointer = self._renamed_to(self._place.cleanup_list, -1), self._renamed_to(self._place.pointer)
        ended = self._removed(self._place.journal)
        broken = _increasing({"new list": final, "end of the journal": ended})
        broken += _increasing({"pointer": pointer, "end of the journal": ended})
        return broken or self._synced_between(-1, min(final, pointer))

    def undoing(self) -> list[str]:
        """Going back after names have been exchanged."""
        reverting, reverted = self._marked("reverting"), self._marked("reverted")
        restored = max(self._renamed_to(self._place.cleanup_list, -1), self._removed(self._place.cleanup_list))
        ended = self._removed(self._place.journal)
        broken = _increasing(
            {"reverting": reverting, "reverted": reverted, "old list": restored, "end of the journal": ended}
        )
        if broken:
            return broken
        broken += self._synced_between(reverting, reverted)
        broken += self._synced_between(reverted, restored)
        broken += self._none(self._exchanges, reverted, len(self._calls), "after everything counts as put back")
        broken += self._none(self._on_host, ended, len(self._calls), "after the journal has ended")
        if not any(self._exchanges(call) for call in self._calls[reverting:reverted]):
            broken.append("nothing was put back between the marks")
        return broken

    def _is_synced(self, path: str, before: int) -> bool:
        """Whether a file was synced after the last change of its content or mode."""
        for call in reversed(self._calls[:before]):
            if path in call.changed:
                return call.name in ("fsync", "fdatasync")
        return False

    def _next_syncs(self, at: int, path: str, call: Call) -> list[str]:
        if self._named(at + 1, "fsync", path):
            return []
        return [f"not followed by a sync of {path}: {call}"]

    def _named(self, at: int, name: str, path: str) -> bool:
        return at < len(self._calls) and self._calls[at].name == name and path in self._calls[at].changed

    def _renamed_to(self, path: str, which: int = 0) -> int:
        found = [
            at for at, call in enumerate(self._calls) if call.name.startswith("rename") and call.changed[-1:] == (path,)
        ]
        return found[which] if found else -1

    def _removed(self, path: str) -> int:
        found = [at for at, call in enumerate(self._calls) if call.name == "unlink" and path in call.changed]
        return found[0] if found else -1

    def _marked(self, word: str) -> int:
        text = f"\n{word}\n"
        found = [at for at, call in enumerate(self._calls) if call.name == "write" and call.texts[-1].endswith(text)]
        return found[0] if found else -1

    def _on_host(self, call: Call) -> bool:
        """Whether something below the host's directory changes."""
        return call.name not in ("fsync", "syncfs") and any(
            path.startswith(self._place.host + "/") for path in call.changed
        )

    def _exchanges(self, call: Call) -> bool:
        """Whether a name changes that is not one of ours, or what it stands for."""
        names = [path for path in call.changed if not _OWN_NAME.search(path)]
        return self._on_host(call) and any(path.startswith(self._place.host + "/") for path in names)

    def _none(self, what: Callable[[Call], bool], start: int, end: int, when: str) -> list[str]:
        return [f"{when}: {call}" for call in self._calls[max(start, 0) : end] if what(call)]

    def _synced_between(self, start: int, end: int) -> list[str]:
        """All file systems are synced after the last change on the host in this stretch."""
        last = max((at for at in range(start + 1, end) if self._on_host(self._calls[at])), default=start)
        synced = {
            max((top for top in self._file_systems if (path + "/").startswith(top + "/")), key=len, default="")
            for call in self._calls[last + 1 : end]
            if call.name == "syncfs"
            for path in call.changed
        }
        return [
            f"no syncfs of {top} between {self._calls[last]} and {self._calls[end]}"
            for top in self._file_systems
            if top not in synced
        ]


def _increasing(steps: dict[str, int]) -> list[str]:
    broken = [f"missing: {name}" for name, at in steps.items() if at < 0]
    if not broken and sorted(steps.values()) != list(steps.values()):
        broken.append(f"the order is not {', '.join(steps)}: {list(steps.values())}")
    return broken
