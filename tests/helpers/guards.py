"""What becomes of a test whose machine lacks something."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip the test on a developer's machine; fail it where CI=true promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true, so this is not skipped)", pytrace=False)
    pytest.skip(reason)
