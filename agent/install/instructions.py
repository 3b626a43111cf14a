"""The instructions file ``<group>-install.json``, in the official agent's format: one line of JSON."""

from __future__ import annotations

import json
import os

from agent.install.host import FOLDER
from agent.install.plan import Plan


def instructions(plan: Plan) -> bytes:
    """Give the content of the file for a plan: what is made and copied, then what permissions are set."""
    kept = set(plan.kept)
    table: list[dict[str, object]] = []
    for entry in plan.entries.values():
        if entry.path in kept:
            continue
        if entry.kind == FOLDER:
            table.append({"type": "mkdir", "directory": entry.shown})
        else:
            table.append({"type": "copy", "source": entry.source, "destination": entry.shown})
    for shown, attributes in plan.settings:
        table += attributes.instructions(shown)
    text = json.dumps({"instructions": table}, ensure_ascii=False, separators=(",", ":"))
    # Names that are not UTF-8 were decoded with surrogates; this gives their bytes back.
    return os.fsencode(text)
