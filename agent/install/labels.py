"""The SELinux part of an Install: which rules it adds and drops, and which paths are labelled anew."""

from __future__ import annotations

from collections.abc import Iterable

from agent.appspec.model import SelinuxContext
from agent.install.cleanup_list import SEMANAGE_PREFIX
from agent.install.plan import Plan
from agent.install.selinux import Rule, add_rule, plan_rules, relabel, remove_rule, specification


def rules_of(plan: Plan) -> list[Rule]:
    """Write down the rules that a plan adds, with what each replaces. Raises InstallError where the tools fail."""
    return plan_rules(_labelled(plan).items())


def listed_rules(plan: Plan) -> list[str]:
    """Return the lines of the clean-up list for a plan's rules."""
    return [SEMANAGE_PREFIX + specification(path) for path in _labelled(plan)]


def obsolete_rules(plan: Plan) -> list[str]:
    """Return the rules of the old revision that the new one does not set again."""
    again = {line.removeprefix(SEMANAGE_PREFIX) for line in listed_rules(plan)}
    return [rule for rule in plan.cleanup.rules if not {rule, specification(rule)} & again]


def add_rules(rules: Iterable[Rule]) -> None:
    """Store rules that the journal already holds. Raises InstallError."""
    for rule in rules:
        add_rule(rule)


def drop_rules(rules: Iterable[str]) -> None:
    """Remove the old revision's rules; what cannot be removed is logged."""
    for rule in rules:
        remove_rule(rule)


def label_installed(plan: Plan) -> None:
    """Label what has a context of its own, in its place. Raises InstallError."""
    paths = list(_labelled(plan))
    if paths:
        relabel(paths)


def _labelled(plan: Plan) -> dict[str, SelinuxContext]:
    """Return the real paths that get a context; thousands of objects share the few contexts of their entries."""
    if not any(permission.context for permission in plan.permissions):
        return {}
    found = {path: attributes.context for path, attributes in plan.attributes.items()}
    return {path: context for path, context in found.items() if context is not None}
