"""From YAML text to a tree that knows where everything stands.

The tree is built from the parser's events and holds texts, lists and maps, nothing else: no tag makes an object, no
text becomes a number or a date on the way. Events are also several times faster than the library's own composer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import yaml

from agent.appspec.model import Placed
from agent.appspec.report import Report, shown
from agent.appspec.yaml_errors import explain
from agent.errors import AppSpecError

# An AppSpec needs five levels. The parser's cost for a token grows with the depth, so this also bounds the time.
MAX_DEPTH = 40

# Texts, lists and maps, each alias counted with all that it stands for: an alias bomb is as large as it would become.
# An entry of permissions with owner, group and mode has nine, so this is room for 20,000 of them.
MAX_NODES = 200_000

_MERGE_KEY = "<<"
_TEXT_TAGS = ("tag:yaml.org,2002:str", "!")


class ScalarNode:
    """A text; ``plain`` tells that it has no quotes, so that it may be meant as a number, a truth value or nothing."""

    __slots__ = ("column", "line", "plain", "text")

    def __init__(self, text: str, plain: bool, line: int, column: int) -> None:
        self.text = text
        self.plain = plain
        self.line = line
        self.column = column


class ListNode:
    """A list of nodes."""

    __slots__ = ("column", "items", "line")

    def __init__(self, line: int, column: int) -> None:
        self.items: list[Node] = []
        self.line = line
        self.column = column


class MapNode:
    """A map from the text of each key to the key and its value; merge keys are already applied."""

    __slots__ = ("column", "entries", "line", "merged")

    def __init__(self, line: int, column: int) -> None:
        self.entries: dict[str, tuple[ScalarNode, Node]] = {}
        self.merged: list[Node] = []
        self.line = line
        self.column = column


Node = ScalarNode | ListNode | MapNode


class _Frame:
    """A list or map whose end has not come yet."""

    __slots__ = ("anchor", "before", "key", "node")

    def __init__(self, node: ListNode | MapNode, anchor: str | None, before: int) -> None:
        self.node = node
        self.anchor = anchor
        self.before = before
        self.key: Node | None = None


def compose(text: str, report: Report) -> Node | None:
    """Build the tree of the first document, or give None where there is no document.

    Duplicate keys (the last one counts), keys that are not text, and further documents become warnings in ``report``.
    Raises AppSpecError for what is not YAML and for what breaks one of the limits above.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _Composer(loader.get_event, report).document()
    except yaml.YAMLError as error:
        explain(error, text, report)
        raise AppSpecError(report.problems()) from error
    finally:
        loader.dispose()


class _Composer:
    def __init__(self, next_event: Callable[[], yaml.Event], report: Report) -> None:
        self._next = next_event
        self._report = report
        self._anchors: dict[str | None, tuple[Node, int]] = {}
        self._frames: list[_Frame] = []
        self._count = 0

    def document(self) -> Node | None:
        self._next()
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            return None
        root = self._tree()
        self._next()
        self._warn_of_more()
        return root

    def _tree(self) -> Node:
        """Read events until the root is complete. The loop is flat, for no depth may exhaust the stack."""
        next_event, frames, scalar = self._next, self._frames, yaml.ScalarEvent
        while True:
            event = next_event()
            node: Node
            if type(event) is scalar:
                node = self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
                continue
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event)
            else:
                node = self._close()
            if not frames:
                return node
            frame = frames[-1]
            holder = frame.node
            if isinstance(holder, ListNode):
                holder.items.append(node)
            elif frame.key is None:
                frame.key = node
            else:
                self._put(holder, frame.key, node)
                frame.key = None

    def _scalar(self, event: Any) -> ScalarNode:  # noqa: ANN401 - see _place
        # Nearly all of a file are texts, so nothing is called here that need not be.
        mark = event.start_mark
        node = ScalarNode(event.value, not event.style and event.tag not in _TEXT_TAGS, mark.line, mark.column)
        self._count += 1
        if self._count > MAX_NODES:
            self._grow(0, node)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, 1)
        return node

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        kind = MapNode if isinstance(event, yaml.MappingStartEvent) else ListNode
        mark = _place(event)
        node = kind(mark.line, mark.column)
        if len(self._frames) >= MAX_DEPTH:
            raise self._refused(
                node, f"Lists and maps are nested more than {MAX_DEPTH} deep.", "An AppSpec needs five."
            )
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._frames.append(_Frame(node, event.anchor, self._count))
        self._grow(1, node)

    def _close(self) -> ListNode | MapNode:
        frame = self._frames.pop()
        node = frame.node
        if isinstance(node, MapNode) and node.merged:
            self._merge(node)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (node, self._count - frame.before)
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        place = _place(event)
        found = self._anchors.get(event.anchor)
        if found is None:
            if any(frame.anchor == event.anchor for frame in self._frames):
                raise self._refused(place, f"The alias *{event.anchor} stands inside the value that it repeats.", "")
            raise self._refused(
                place,
                f"The alias *{event.anchor} repeats nothing: there is no &{event.anchor} above it.",
                "Put quotes around a text that begins with '*'.",
            )
        node, weight = found
        self._grow(weight, place)
        return node

    def _grow(self, count: int, place: Placed) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise self._refused(
                place,
                f"The file holds more than {MAX_NODES} values, each alias counted with all that it repeats.",
                "Give whole directories in the files and permissions sections instead of single files.",
            )

    def _put(self, holder: MapNode, key: Node, value: Node) -> None:
        if not isinstance(key, ScalarNode):
            self._report.warning(key, "A key that is a list or a map is ignored.", "Keys of an AppSpec are words.")
            return
        text = key.text
        if text == _MERGE_KEY and key.plain:
            holder.merged.append(value)
            return
        if text in holder.entries:
            first = holder.entries[text][0]
            self._report.warning(
                key,
                f"The key {shown(text)} stands here a second time, and only this one counts.",
                f"The first is in line {first.line + 1}; remove one of them.",
            )
        holder.entries[text] = (key, value)

    def _merge(self, node: MapNode) -> None:
        """Take over what the merge keys bring and the map does not say itself (yaml.org/type/merge.html)."""
        for merged in node.merged:
            for source in merged.items if isinstance(merged, ListNode) else [merged]:
                if not isinstance(source, MapNode):
                    raise self._refused(merged, "The merge key '<<' needs a map, or a list of maps.", "")
                for text, entry in source.entries.items():
                    node.entries.setdefault(text, entry)
        node.merged = []

    def _warn_of_more(self) -> None:
        """Warn of what follows the first document; as with the official agents it is not read, right or wrong."""
        try:
            event = self._next()
        except yaml.MarkedYAMLError as error:
            place = cast(Placed, error.problem_mark or error.context_mark)
        else:
            if isinstance(event, yaml.StreamEndEvent):
                return
            place = _place(event)
        self._report.warning(
            place, "The file goes on after its first YAML document; the rest is ignored.", "Remove the rest."
        )

    def _refused(self, place: Placed, message: str, remedy: str) -> AppSpecError:
        self._report.error(place, message, remedy)
        return AppSpecError(self._report.problems())


def _place(event: yaml.Event) -> Placed:
    """Give where an event begins; every event that comes from a text has a mark, whatever the stubs say."""
    return cast(Placed, event.start_mark)
