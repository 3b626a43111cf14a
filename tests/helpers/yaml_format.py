"""A kind of YAML file with small limits, for the tests of what reads every kind."""

from __future__ import annotations

from agent.errors import Problem
from agent.text.decode import Format
from agent.text.report import Report
from agent.text.yaml_tree import Node, read_yaml

FORMAT = Format(
    "recipe",
    max_size=100_000,
    max_depth=40,
    max_nodes=2000,
    shape="A recipe needs five levels.",
    smaller="Write two recipes.",
    about_stars=" No recipe has stars.",
)


def read(text: str | bytes, form: Format = FORMAT) -> tuple[Node | None, list[Problem]]:
    """Return the tree of a text, and all problems in it."""
    report = Report("f")
    root = read_yaml(text.encode() if isinstance(text, str) else text, report, form)
    return (None if report.failed else root), report.problems()
