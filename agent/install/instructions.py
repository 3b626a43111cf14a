"""The instructions file ``<group>-install.json``, in the official agent's format: one line of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from json.encoder import encode_basestring as quoted

from agent.install.host import DIRECTORY
from agent.install.plan import Plan


def instructions(plan: Plan) -> bytes:
    """Return the content of the file for a plan: what is made and copied, then what permissions are set."""
    # There can be very many, of few forms, so only what differs is put into each.
    text = '{"instructions":[' + ",".join([*_makings(plan), *_settings(plan)]) + "]}"
    # Names that are not UTF-8 were decoded with surrogates; this gives their bytes back.
    return os.fsencode(text)


def _makings(plan: Plan) -> Iterator[str]:
    kept = set(plan.kept)
    for entry in plan.entries.values():
        if entry.path in kept:
            continue
        if entry.kind == DIRECTORY:
            yield f'{{"type":"mkdir","directory":{quoted(entry.shown)}}}'
        else:
            yield f'{{"type":"copy","source":{quoted(entry.source)},"destination":{quoted(entry.shown)}}}'


def _settings(plan: Plan) -> Iterator[str]:
    known: dict[object, list[str]] = {}
    for shown, attributes in plan.settings:
        values = attributes.values
        if values not in known:
            known[values] = [_beginning(instruction) for instruction in attributes.instructions()]
        end = f',"file":{quoted(shown)}}}'
        for beginning in known[values]:
            yield beginning + end


def _beginning(instruction: dict[str, object]) -> str:
    return json.dumps(instruction, ensure_ascii=False, separators=(",", ":")).removesuffix("}")
