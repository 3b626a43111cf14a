"""The sandbox's own interface below ``/_sandbox/``: for tests, and for whoever wants to look behind."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agent.sandbox.engine.engine import Engine
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.faults import Faults
from agent.sandbox.wire.journal import CallJournal
from agent.sandbox.wire.messages import Request, SandboxAnswer
from agent.sandbox.wire.metadata_control import MetadataControl

Action = Callable[[Request], object]


class Control:
    """Answers ``METHOD /_sandbox/NAME`` for whoever brings the token of sandbox.json."""

    def __init__(
        self, engine: Engine, journal: CallJournal, faults: Faults, metadata: MetadataControl, *, token: str
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._token = token
        self._actions: dict[tuple[str, str], Action] = {
            ("GET", "journal"): self._read_journal,
            ("GET", "waiting"): lambda request: list(engine.waiting),
            ("GET", "limits"): lambda request: engine.limits._asdict(),
            ("PUT", "limits"): self._set_limits,
            ("POST", "faults"): lambda request: faults.add(_object(request)),
            ("DELETE", "faults"): lambda request: faults.clear(),
            ("PUT", "github"): self._set_github_token,
            ("PUT", "metadata"): lambda request: metadata.add(_object(request)),
            ("DELETE", "metadata"): lambda request: metadata.remove(_object(request)),
        }

    def answer(self, request: Request) -> SandboxAnswer:
        """Carry out one call."""
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise RefusedError("AccessDeniedException", "Bring the token of sandbox.json as a bearer.", status=403)
        action = self._actions.get((request.method, request.path.removeprefix("/_sandbox/")))
        if action is None:
            known = ", ".join(f"{method} /_sandbox/{name}" for method, name in self._actions)
            raise RefusedError("UnknownOperationException", f"There are {known}.", status=404)
        return SandboxAnswer(200, json.dumps(action(request)).encode(), content_type="application/json")

    def _read_journal(self, request: Request) -> object:
        after = parse_qs(urlsplit(request.target).query).get("after", ["0"])[0]
        if not re.fullmatch(r"[0-9]{1,18}", after):
            raise RefusedError("InvalidInputException", "after is the number of an entry.")
        return self._journal.after(int(after))

    def _set_limits(self, request: Request) -> object:
        given, known = _object(request), self._engine.limits._asdict()
        wrong = [name for name, value in given.items() if type(value) not in _KINDS.get(name, (int, float))]
        if wrong or set(given) - set(known):
            raise RefusedError("InvalidInputException", f"The limits are {', '.join(known)}.")
        self._engine.limits = self._engine.limits._replace(**given)
        self._engine.tick()
        return self._engine.limits._asdict()

    def _set_github_token(self, request: Request) -> object:
        self._engine.github_token = str(_object(request).get("token") or "") or None
        return None


_KINDS = {"noop_answer": (str,)}


def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusedError("InvalidInputException", "The body is a JSON object.")
    return found
