"""Writing revisions for tests: a directory with an AppSpec, files and scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping

HEAD = "version: 0.0\nos: linux\n"


def write_revision(
    directory: str, files: Mapping[str, str], *, appspec: str | None = "", name: str = "appspec.yml"
) -> str:
    """Write files into a directory; those that begin with ``#!`` become executable.

    ``appspec`` is put behind the two lines that every AppSpec file begins with; None writes none.
    """
    os.makedirs(directory, exist_ok=True)
    if appspec is not None:
        files = {**files, name: HEAD + appspec}
    for path, content in files.items():
        full = os.path.join(directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(content)
        if content.startswith("#!"):
            os.chmod(full, 0o755)
    return directory


def hooks(**events: str) -> str:
    """The hooks section with one script for each event: ``hooks(AfterInstall="a.sh")``."""
    lines = [f"  {event}:\n    - location: {location}\n" for event, location in events.items()]
    return "hooks:\n" + "".join(lines)


def content(path: str) -> str:
    """The text of a file."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
