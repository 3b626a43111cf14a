"""From YAML text to a tree that knows where everything stands.

The tree is built from the parser's events and holds texts, lists and maps, nothing else: no tag makes an object, no
text becomes a number or a date on the way. Events are also several times faster than the library's own composer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, cast

import yaml

from agent.errors import ProblemsError
from agent.text.decode import Format, decode, refusal
from agent.text.report import MAX_LISTED, Placed, Report, shown

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


def read_yaml(data: bytes, report: Report, form: Format) -> Node | None:
    """Build the tree of a file's first document; None where there is no document, or after noting why it is unusable.

    Duplicate keys (the last one counts), keys that are not text, further documents, and characters that only look like
    those of YAML become warnings in ``report``.
    """
    try:
        text = decode(data, report, form)
        root = _compose(text, report, form)
    except ProblemsError:
        return None
    if not text.isascii():
        from agent.text.lookalikes import lookalikes  # settings are nearly always ASCII

        for found in islice(lookalikes(text), MAX_LISTED):
            report.add(*found, severity="warning")
    return root


def entries_of(node: MapNode, report: Report, *, severity: str = "warning") -> dict[str, tuple[ScalarNode, Node]]:
    """Return a map's keys and values by the keys without a leading colon, which older agents wrote before each.

    Of a key that stands there with and without the colon the last counts, which is noted.
    """
    found: dict[str, tuple[ScalarNode, Node]] = {}
    for key, value in sorted(node.entries.values(), key=lambda entry: (entry[0].line, entry[0].column)):
        name = key.text.removeprefix(":")
        if name in found:
            note_repetition(key, found[name][0], report, severity)
        found[name] = (key, value)
    return found


def note_repetition(key: ScalarNode, first: Placed, report: Report, severity: str) -> None:
    """Note that a key stands in a map a second time."""
    counts = ", and only this one counts" if severity == "warning" else ""
    message = f"The key {shown(key.text)} stands here a second time{counts}."
    remedy = f"The first is in line {first.line + 1}; remove one of them."
    report.add(key.line + 1, key.column + 1, message, remedy, severity=severity)


def _compose(text: str, report: Report, form: Format) -> Node | None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _Composer(loader.get_event, report, form).document()
    except yaml.YAMLError as error:
        from agent.text.yaml_errors import explain  # only needed for a mistake

        explain(error, text, report, form)
        raise ProblemsError(report.problems()) from error
    finally:
        loader.dispose()


class _Composer:
    def __init__(self, next_event: Callable[[], yaml.Event], report: Report, form: Format) -> None:
        self._next = next_event
        self._report = report
        self._form = form
        self._most = form.max_nodes
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
        if self._count > self._most:
            self._grow(0, node)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, 1)
        return node

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        kind = MapNode if isinstance(event, yaml.MappingStartEvent) else ListNode
        mark = _place(event)
        node = kind(mark.line, mark.column)
        # The parser's cost for a token grows with the depth, so its limit also bounds the time.
        if len(self._frames) >= self._form.max_depth:
            message = f"Lists and maps are nested more than {self._form.max_depth} deep."
            raise self._refused(node, message, self._form.shape)
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
            name, anchor = f"The alias *{event.anchor}", f"&{event.anchor}"
            if self._form.secret:
                name, anchor = "This alias", "anchor of its name"
            if any(frame.anchor == event.anchor for frame in self._frames):
                raise self._refused(place, f"{name} stands inside the value that it repeats.", "")
            raise self._refused(
                place,
                f"{name} repeats nothing: there is no {anchor} above it.",
                "Put quotes around a text that begins with '*'.",
            )
        node, weight = found
        self._grow(weight, place)
        return node

    def _grow(self, count: int, place: Placed) -> None:
        self._count += count
        if self._count > self._most:
            raise self._refused(
                place,
                f"The file holds more than {self._most} values, each alias counted with all that it repeats.",
                self._form.smaller,
            )

    def _put(self, holder: MapNode, key: Node, value: Node) -> None:
        if not isinstance(key, ScalarNode):
            severity = "error" if self._form.strict else "warning"
            message = f"This key is a list or a map{', and is ignored' * (severity == 'warning')}."
            self._report.add(key.line + 1, key.column + 1, message, "Keys are words.", severity=severity)
            return
        text = key.text
        if text == _MERGE_KEY and key.plain:
            holder.merged.append(value)
            return
        if text in holder.entries:
            severity = "error" if self._form.strict and len(self._frames) > 1 else "warning"
            note_repetition(key, holder.entries[text][0], self._report, severity)
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

    def _refused(self, place: Placed, message: str, remedy: str) -> ProblemsError:
        return refusal(self._report, message, remedy, line=place.line + 1, column=place.column + 1)


def _place(event: yaml.Event) -> Placed:
    """Return where an event begins; every event that comes from a text has a mark, whatever the stubs say."""
    return cast(Placed, event.start_mark)
