"""Taking secrets out of texts that leave this host: those that are known, and whatever looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

REMOVED = "[removed]"

_SHORTEST_KNOWN = 4  # characters: a shorter secret is a part of too many words

# Lengths are bounded, so that no text takes long: a script may have written anything into its log.
_NAME = (
    r"(?:secret|token|passw(?:or)?d|passphrase|signature|credential|api[_-]?key|access[_-]?key"
    r"|private[_-]?key)[\w.-]{0,64}"
)
_NOT_A_PATH = r"(?![\w.-]{0,64}_(?:file|path|dir|directory|directories)[\"'\\]{0,8}\s{0,8}[:=])"
_IS = r"\s{0,8}(?:[:=]|%3[ad])\s{0,8}"
_QUOTE = r"\\{0,8}[\"']"

# Each takes out what is in the group "secret". The order counts: a key over several lines comes before its lines.
_PATTERNS = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        # A private key, also where the beginning or the end was cut off.
        (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(?P<secret>.*?)(?:-----END [A-Z0-9 ]*KEY[A-Z ]*-----|\Z)", re.S),
        (r"\A(?:\([^\n]*\n)?(?P<secret>[A-Za-z0-9+/=\s]+)-----END [A-Z0-9 ]*PRIVATE KEY", re.S),
        # A message that the service has signed may hold a GitHub token.
        (r"-----BEGIN (?:PKCS7|CMS)-----(?P<secret>.*?)(?:-----END|\Z)", re.S),
        # Headers, to the end of the line or of the text in quotes that they are in.
        (rf"\b(?:authorization|cookie)(?:{_QUOTE})?{_IS}(?:{_QUOTE})?(?P<secret>[^\r\n\"'\\]+)", re.I),
        (r"\b(?:bearer|basic)\s{1,8}(?P<secret>[A-Za-z0-9+/=._~-]{8,})", re.I),
        # The user name and the password in a URL.
        (r"://(?P<secret>[^/\s@\"'<>]+)@", 0),
        # What has such a name: in YAML, INI, JSON (also within JSON), XML, the environment and queries.
        (rf"^\s{{0,8}}:?[\w.-]{{0,64}}?{_NOT_A_PATH}{_NAME}{_IS}(?P<secret>[^\s\"'].*?)\s*$", re.I | re.M),
        (rf"{_NOT_A_PATH}{_NAME}(?:{_QUOTE})?{_IS}(?P<quote>{_QUOTE})(?P<secret>.+?)(?P=quote)", re.I | re.S),
        (rf"{_NOT_A_PATH}{_NAME}(?:{_QUOTE})?{_IS}(?P<secret>[^\s\"'&\\]+)", re.I),
        (rf"<[\w.-]{{0,64}}{_NAME}>(?P<secret>[^<]+)", re.I),
        # By their form.
        (r"\b(?P<secret>(?:AKIA|ASIA)[A-Z0-9]{4,})\b", 0),
        (r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,})", 0),
        (r"(?<![A-Za-z0-9+/=])(?P<secret>(?:IQoJ|FwoG|FQoG|AQoD)[A-Za-z0-9+/=]{16,})", 0),
        (
            r"(?<![A-Za-z0-9+/=])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[0-9])"
            r"(?P<secret>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])",
            0,
        ),
    )
)


class Redactor:
    """Takes out secrets; ``known`` are those of this host, which go wherever they are."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = {form for secret in known for form in (secret, quote(secret, safe=""), unquote(secret))}
        # A longer one first: it may hold a shorter one.
        self._known = sorted((text for text in found if len(text) >= _SHORTEST_KNOWN), key=len, reverse=True)

    def redact(self, text: str) -> tuple[str, int]:
        """Return the text without secrets, and how many were taken out."""
        count = 0
        for secret in self._known:
            count += text.count(secret)
            text = text.replace(secret, REMOVED)
        for pattern in _PATTERNS:
            text, found = _take_out(pattern, text)
            count += found
        return text, count

    def finds_none(self, text: str) -> bool:
        """Return whether nothing is left to take out."""
        return self.redact(text)[1] == 0


def _take_out(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    parts, end, count = [], 0, 0
    for match in pattern.finditer(text):
        if not match["secret"].replace(REMOVED, "").strip(" ,;}]"):
            continue  # it was taken out before
        parts += [text[end : match.start("secret")], REMOVED]
        end, count = match.end("secret"), count + 1
    return "".join([*parts, text[end:]]), count
