"""Which files belong to the project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_MADE = ("__pycache__", "build")


def committed_files() -> list[Path]:
    """Return every file of the project: those that git knows, or all but what the tools make."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True) if shutil.which("git") else None
    if done is not None and done.returncode == 0:
        names = [PROJECT / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
        return [path for path in names if path.is_file()]
    return [path for path in PROJECT.rglob("*") if path.is_file() and not _is_made(path)]


def _is_made(path: Path) -> bool:
    """Whether the tools have made a file, or git itself: their directories have names that begin with a dot."""
    directories = set(path.relative_to(PROJECT).parts[:-1]) - {".ci", ".github"}
    return any(name in _MADE or name.endswith(".egg-info") or name.startswith(".") for name in directories)
