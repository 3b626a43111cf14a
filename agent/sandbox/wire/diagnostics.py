"""Checks the diagnostics that agents send along with acknowledgements and results."""

from __future__ import annotations

import json
from typing import Any

from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError

LARGEST = 8192
"""Characters of a payload."""

_KEYS = {"error_code": int, "script_name": str, "message": str, "log": str}


def is_noop(diagnostics: Json | None) -> bool:
    """Return what an acknowledgement says about its command, or refuse."""
    payload = _payload(diagnostics)
    if not isinstance(payload.get("IsCommandNoop"), bool):
        raise _refused("an acknowledgement's payload has a boolean IsCommandNoop")
    return bool(payload["IsCommandNoop"])


def result(status: str, diagnostics: Json | None) -> tuple[bool, Json]:
    """Return whether a command succeeded, and the four keys of its result, or refuse."""
    if status not in ("Succeeded", "Failed"):
        raise _refused(f"a command ends as Succeeded or Failed, not as {status}")
    payload = _payload(diagnostics)
    wrong = [name for name, kind in _KEYS.items() if type(payload.get(name)) is not kind]
    if wrong or len(payload) != len(_KEYS):
        raise _refused(f"a result's payload has exactly {', '.join(_KEYS)}, the first a number, the others texts")
    if (payload["error_code"] == 0) != (status == "Succeeded"):
        raise _refused(f"the error code {payload['error_code']} does not go with {status}")
    return status == "Succeeded", payload


def _payload(diagnostics: Json | None) -> dict[str, Any]:
    if not diagnostics or diagnostics.get("Format") != "JSON":
        raise _refused("they are missing, or their format is not JSON")
    text = diagnostics.get("Payload") or ""
    if len(text) > LARGEST:
        raise _refused(f"the payload has {len(text)} characters, and at most {LARGEST} are allowed")
    try:
        found = json.loads(text)
    except ValueError:
        raise _refused("the payload is not JSON") from None
    if not isinstance(found, dict):
        raise _refused("the payload is not a JSON object")
    return found


def _refused(reason: str) -> RefusedError:
    return RefusedError("ClientException", f"The diagnostics are not accepted: {reason}.")
