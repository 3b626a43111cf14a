"""Plan what the permissions section changes, by the AppSpec's paths first and then by the real ones."""

from __future__ import annotations

import os

from agent.install.desired import expand
from agent.install.host import LINK, MAX_LINKS, View
from agent.install.plan import ADJUST, Operation, Plan, PlanRequest


def plan_permissions(plan: Plan, request: PlanRequest, after: View) -> list[str]:
    """Add to a plan what its permissions come to; give every problem. Raises OSError."""
    if not request.appspec.permissions:
        return []
    from agent.install.labels import listed_rules
    from agent.install.owners import OwnerLookup  # many AppSpecs have no permissions, and start-up time counts
    from agent.install.permissions import preflight, resolve

    kept = set(plan.kept)
    entries = {entry.shown: entry for entry in plan.entries.values() if entry.path not in kept}
    targets = _Targets(plan, after)
    resolution = resolve(
        request.appspec.permissions,
        {shown: entry.kind for shown, entry in entries.items()},
        expand=lambda path: expand(path, request.cwd),
        kind_on_host=lambda path: after.followed_kind(after.real(path)),
        target_of=lambda shown: targets.of(entries[shown].path),
        owners=OwnerLookup(),
        filename=request.appspec.filename,
        options=request.options,
    )
    plan.warnings += resolution.warnings
    if resolution.problems:
        return resolution.problems
    problems, warnings = preflight(resolution, filename=request.appspec.filename)
    plan.warnings += warnings
    plan.settings = resolution.settings
    plan.attributes = {
        entries[path].path if path in entries else path: attributes
        for path, attributes in resolution.attributes.items()
    }
    plan.recorded += listed_rules(plan)
    plan.operations += [Operation(ADJUST, path) for path in resolution.foreign]
    return problems


class _Targets:
    """Where installed links lead once everything is installed."""

    def __init__(self, plan: Plan, after: View) -> None:
        self._plan = plan
        self._after = after

    def of(self, path: str) -> str | None:
        """Return what a link leads to: the AppSpec's path of an installed object, a real path, or None for nothing."""
        for _ in range(MAX_LINKS):
            entry = self._plan.entries.get(path)
            if entry is None:
                real = self._after.resolve(path)
                entry = self._plan.entries.get(real)
                if entry is None and self._after.kind(real) is not None:
                    self._plan.links += self._after.links(path)
                    return real
                if entry is None:
                    return None
            if entry.kind != LINK:
                return entry.shown
            target = os.path.normpath(os.path.join(os.path.dirname(entry.path), os.readlink(entry.source)))
            path = self._after.real(target)
            self._plan.links += self._after.links(os.path.dirname(target))
        return None
