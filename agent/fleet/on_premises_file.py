"""Writing ``codedeploy.onpremises.yml``, as ``aws deploy register`` writes it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from agent.errors import AgentError
from agent.filesystem.durable import make_directory, write_durably
from agent.filesystem.reasons import remedy_for
from agent.fleet.checks import instance_of
from agent.fleet.errors import RegistrationError

_NAME = re.compile(r"^# instance: (\S+)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9/+=:_.@,-]+")


class Registration(NamedTuple):
    """What the file says: an IAM user with its key, or a session with the file that holds its credentials."""

    instance_name: str
    region: str
    arn: str
    access_key: str | None = None
    secret_key: str | None = None
    credentials_file: str | None = None

    def __repr__(self) -> str:
        """Leave the secret key out."""
        return f"Registration({self.instance_name!r}, {self.region!r}, {self.arn!r})"


class Existing(NamedTuple):
    """What a file that is there says: the ARN, and the instance's name where it can be told."""

    arn: str | None
    instance_name: str | None


def render(registration: Registration) -> str:
    """Make the file's text. Raises RegistrationError where a value is none that stands plainly in YAML."""
    lines = {"region": registration.region}
    if registration.credentials_file is not None:
        lines |= {"iam_session_arn": registration.arn, "aws_credentials_file": registration.credentials_file}
    else:
        lines |= {
            "iam_user_arn": registration.arn,
            "aws_access_key_id": registration.access_key or "",
            "aws_secret_access_key": registration.secret_key or "",
        }
    for key, value in lines.items():
        if not _PLAIN.fullmatch(value):
            raise RegistrationError(f"The value of {key} is empty or has characters that it cannot have.")
    # A comment, since the official agents know no key for it.
    text = "".join(f"{key}: {value}\n" for key, value in lines.items())
    return f"---\n# instance: {registration.instance_name}\n{text}"


def read_existing(path: str) -> Existing | None:
    """Look at a file that may be there, whoever wrote it; None where there is none. Raises RegistrationError."""
    from agent.identity.on_premises_file import (
        load_on_premises,  # brings YAML in, which the file's writing does without
    )

    try:
        found = load_on_premises(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            name = _NAME.search(file.read(1 << 16))
    except FileNotFoundError:
        return None
    except OSError as error:
        remedy = remedy_for(error, otherwise="Use sudo.")
        raise RegistrationError(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from error
    except AgentError as error:
        raise RegistrationError(f"{path} is there and cannot be used: {error}", remedy="Move it away.") from error
    if found is None:
        return Existing(None, None)
    return Existing(found.arn, name[1] if name else instance_of(found.arn))


def check_place(path: str) -> None:
    """Find out before anybody is asked whether the file can be written there. Raises RegistrationError."""
    directory = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        reason = "may not be written to" if os.path.isdir(directory) else "is not a directory"
        raise RegistrationError(f"{path} cannot be written: {directory} {reason}.", remedy="Use sudo.")


def write(path: str, registration: Registration) -> None:
    """Write the file whole, readable by its owner only. Raises RegistrationError."""
    text = render(registration)
    try:
        make_directory(os.path.dirname(os.path.abspath(path)))
        write_durably(path, text.encode(), mode=0o600)
    except OSError as error:
        remedy = remedy_for(error, otherwise="Use sudo.")
        raise RegistrationError(f"{path} cannot be written: {error.strerror}.", remedy=remedy) from error
