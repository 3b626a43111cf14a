"""What goes over the wire, for ``log_aws_wire``: heads and short texts, with the secrets taken out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

LONGEST_BODY = 4096
"""Bytes of a body that are shown."""

SECRET_HEADERS = re.compile(r"authorization|token|cookie|server-side-encryption-customer-key", re.IGNORECASE)
TEXT_TYPES = re.compile(r"json|xml|text|x-www-form-urlencoded", re.IGNORECASE)
REMOVED = "[removed]"

_SECRET_NAMES = r"[\w-]*(?:secret|token|password|signature|credential)[\w-]*"
_PATTERNS = (
    # JSON members, also in a JSON text within a JSON string; a value that was cut off is removed to its end.
    re.compile(rf'(\\*"{_SECRET_NAMES}\\*"\s*:\s*\\*")(?:(?!\\*").)*', re.IGNORECASE | re.DOTALL),
    re.compile(rf"(<({_SECRET_NAMES})>)[^<]*", re.IGNORECASE),
    # A message signed by the service holds the deployment specification, and that one a GitHub token.
    re.compile(r"(-----BEGIN [A-Z0-9 ]+-----)[^-]*"),
)
_QUERY = re.compile(r"([?&](?:[^=&#\s\"]*(?:signature|token|credential|secret)[^=&#\s\"]*)=)[^&#\s\"]*", re.IGNORECASE)
_USERINFO = re.compile(r"(://)[^/@\s]+@")
_TOKEN_PATH = "/latest/api/token"


class WireLog:
    """Writes one entry for each head and each text body; ``write`` gets whole lines of UTF-8."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Note a request that is about to be sent."""
        self._head(f"> {method} {without_secrets(url)}", headers)
        self._body(url, headers, body)

    def response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Note the head of an answer."""
        self._head(f"< {status} {without_secrets(url)}", headers)

    def response_body(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Note a body that was read whole."""
        self._body(url, headers, body)

    def _head(self, first: str, headers: Mapping[str, str]) -> None:
        lines = [first]
        for name, value in headers.items():
            shown = REMOVED if SECRET_HEADERS.search(name) else without_secrets(value)
            lines.append(f"  {name}: {shown}")
        self._lines(lines)

    def _body(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        if not body:
            return
        kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        if url.partition("?")[0].endswith(_TOKEN_PATH) or not TEXT_TYPES.search(kind):
            self._lines([f"  [{len(body)} bytes]"])
            return
        # Cut before the removal, which needs no more than the mark that stands before a secret.
        text = without_secrets(body[:LONGEST_BODY].decode("utf-8", "replace"))
        more = "" if len(body) <= LONGEST_BODY else f" [... {len(body)} bytes in all]"
        self._lines([f"  {text}{more}"])

    def _lines(self, lines: list[str]) -> None:
        safe = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
        self._write("".join(f"{line}\n" for line in safe).encode("utf-8", "replace"))


def without_secrets(text: str) -> str:
    """Take out what may hold a secret: signatures and tokens of URLs, user names, secret members of JSON and XML."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{REMOVED}", text)
    return _USERINFO.sub(r"\g<1>", _QUERY.sub(rf"\g<1>{REMOVED}", text))
