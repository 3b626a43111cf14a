"""An examination of the host: all checks side by side, each bounded in time, and the repairs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from agent import __version__
from agent.doctor.finding import Check, Finding, Result, SkipError, failed
from agent.doctor.subject import Subject
from agent.errors import AgentError
from agent.filesystem.reasons import place_and_reason, remedy_for

TIME_LIMIT = 20.0
"""Seconds for all checks together: each step of a network check has four, and none takes more than four steps."""

_DEFECT = "This is a defect of the agent: report it with a bundle (doctor --bundle FILE)."


class Examined(NamedTuple):
    """A check with its finding, and the seconds that it took."""

    check: Check
    finding: Finding
    seconds: float


def examine(subject: Subject, checks: Sequence[Check], *, limit: float = TIME_LIMIT) -> list[Examined]:
    """Make checks side by side and return what they found, in their order; none raises, and none lasts longer."""
    began = time.monotonic()
    found: dict[int, Examined] = {}

    def one(check: Check) -> None:
        start = time.monotonic()
        finding = _find(check, subject)
        found[check.number] = Examined(check, finding, time.monotonic() - start)

    threads = [threading.Thread(target=one, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(began + limit - time.monotonic(), 0))
    return [found.get(check.number) or Examined(check, _late(limit), limit) for check in checks]


def _late(limit: float) -> Finding:
    return failed(
        f"The check did not end within {limit:g} s.",
        "Look for a network file system or a service that does not answer; the other checks may name it.",
    )


def _find(check: Check, subject: Subject) -> Finding:
    try:
        return check.run(subject)
    except SkipError as reason:
        return Finding(Result.SKIP, str(reason))
    except AgentError as error:
        if isinstance(error.__cause__, PermissionError) and os.geteuid() != 0:
            return _not_allowed(error.message)
        return failed(error.message, error.remedy or _remedy(check))
    except PermissionError as error:
        return _not_allowed(place_and_reason(error))
    except OSError as error:
        return failed(f"{place_and_reason(error)}.", remedy_for(error) or _remedy(check))
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide what the others find
        return failed(f"The check itself failed: {type(error).__name__}: {error}.", _DEFECT)


def _remedy(check: Check) -> str:
    return check.remedy.replace("`", "")  # which is Markdown's


def _not_allowed(text: str) -> Finding:
    if os.geteuid() == 0:
        return failed(text, "See lsattr for immutable files, and whether this is a container with fewer rights.")
    return Finding(Result.SKIP, f"Only root sees this: {text.rstrip('.')}.")


def repair(subject: Subject, examined: Iterable[Examined]) -> list[tuple[Check, str]]:
    """Do what is safe about what was found, and return a line for each change, or for what could not be done."""
    done = []
    for check, finding, _ in examined:
        if check.repair is None or finding.result not in (Result.WARN, Result.FAIL):
            continue
        try:
            lines = check.repair(subject)
        except AgentError as error:
            lines = [f"Nothing is changed: {error}"]
        except OSError as error:
            lines = [f"Not all is changed: {place_and_reason(error)}. {remedy_for(error)}".rstrip()]
        done += [(check, line) for line in lines]
    return done


def worst(examined: Iterable[Examined]) -> Result:
    """Return the worst result; checks that were skipped do not count."""
    results = {one.finding.result for one in examined}
    return next((result for result in (Result.FAIL, Result.WARN) if result in results), Result.PASS)


def document(examined: Sequence[Examined], repaired: Iterable[tuple[Check, str]] = ()) -> dict[str, Any]:
    """Return everything that was found, ready for JSON; ``seconds`` tells how long each check took."""
    return {
        "version": __version__,
        "time": time.time(),
        "result": worst(examined).value,
        "counts": {result.value: sum(one.finding.result is result for one in examined) for result in Result},
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "result": finding.result.value,
                "finding": finding.text,
                "remedy": finding.remedy,
                "seconds": round(seconds, 3),
            }
            for check, finding, seconds in examined
        ],
        "repaired": [{"check": check.name, "text": text} for check, text in repaired],
    }
