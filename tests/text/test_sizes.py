from __future__ import annotations

import pytest

from agent.text.sizes import human


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (1 << 62, "4.0 EiB")],
)
def test_sizes_are_shown_for_people(size: int, text: str) -> None:
    assert human(size) == text
