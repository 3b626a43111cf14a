"""The credentials file of an on-premises host that works with a session of a role; something else renews it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from agent.filesystem.reasons import remedy_for
from agent.identity import names
from agent.identity.errors import CredentialsError
from agent.identity.times import epoch, shown_time
from agent.network.credentials import Credentials

ASSUMED_LIFE = 1800.0
"""Seconds for which a session counts as valid after it was read, where the file does not tell; so does 1.8.1."""

LARGEST_FILE = 256 * 1024
"""Bytes; a real one has about one thousand."""

_ACCESS_KEY = "aws_access_key_id"
_SECRET_KEY = "aws_secret_access_key"
_TOKENS = ("aws_session_token", "aws_security_token")
_EXPIRATIONS = ("aws_expiration", "expiration", "aws_session_expiration", "x_security_token_expires")

_RENEWER = "Check whatever renews this file; it is read again as soon as it changes."


class SessionFile:
    """An INI file whose section ``[default]`` holds a session's credentials."""

    def __init__(self, path: str, *, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._seen: tuple[int, ...] | None = None

    @property
    def description(self) -> str:
        """Name the source of the credentials for the log."""
        return f"the credentials file {self.path}"

    def changed(self) -> bool:
        """Tell whether the file is another one, or has another content, than at the last reading; one stat."""
        return self._seen != self._stamp()

    def read(self) -> Credentials:
        """Read the credentials. Raises CredentialsError where they are not there, not whole, or have ended."""
        self._seen = self._stamp()
        section = parse_default_section(self._text(), path=self.path)
        missing = [name for name in (_ACCESS_KEY, _SECRET_KEY) if name not in section]
        token = next((section[name] for name in _TOKENS if name in section), "")
        missing += [] if token else [_TOKENS[0]]
        if missing:
            raise self._error(f"lacks {' and '.join(missing)} in its section [default]")
        keys = {_ACCESS_KEY: section[_ACCESS_KEY], _SECRET_KEY: section[_SECRET_KEY], _TOKENS[0]: token}
        broken = [name for name, value in keys.items() if not names.is_key(value)]
        if broken:
            raise self._error(f"has spaces or other characters that no key has in {' and '.join(broken)}")
        return Credentials(keys[_ACCESS_KEY], keys[_SECRET_KEY], token, self._expires_at(section))

    def _expires_at(self, section: dict[str, str]) -> float:
        now = self._clock()
        for name in _EXPIRATIONS:
            if name not in section:
                continue
            try:
                expires_at = epoch(section[name])
            except ValueError:
                continue
            if expires_at <= now:
                ended, clock = shown_time(expires_at), "If it was, this host's clock is wrong."
                raise self._error(f"holds a session that ended at {ended} and was not renewed", remedy=clock)
            return expires_at
        return now + ASSUMED_LIFE

    def _text(self) -> str:
        try:
            # Non-blocking, so that a fifo of this name cannot hold the agent up.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._error("is not a regular file")
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(LARGEST_FILE + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}", remedy=remedy_for(error)) from error
        if len(data) > LARGEST_FILE:
            raise self._error(f"has more than {LARGEST_FILE} bytes")
        return data.decode("utf-8-sig", "replace")

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = os.stat(self.path)
        except OSError as error:
            return (error.errno or 0,)
        return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_dev)

    def _error(self, what: str, *, remedy: str = "") -> CredentialsError:
        return CredentialsError(f"The credentials file {self.path} {what}.", remedy=f"{_RENEWER} {remedy}".strip())


def parse_default_section(text: str, *, path: str) -> dict[str, str]:
    """Return the non-empty settings of the section [default] of an INI file; names in small letters.

    A line that is not a setting is passed over: it may be a comment, or half a line. Raises CredentialsError without
    that section.
    """
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].strip(), {})
            continue
        name, sign, value = line.partition("=")
        value = value.strip()
        if sign and value:
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            current[name.strip().lower()] = value[1:-1] if quoted else value
    if "default" not in sections:
        raise CredentialsError(f"The credentials file {path} has no section [default].", remedy=_RENEWER)
    return sections["default"]
