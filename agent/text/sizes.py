"""Numbers of bytes for people."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human(size: int) -> str:
    """Return a number of bytes for a person, exact where it is small: "512 bytes", "1.5 GiB"."""
    if size < 1024:
        return f"{size} bytes"
    step = min((size.bit_length() - 1) // 10, len(_UNITS))
    return f"{size / 1024**step:.1f} {_UNITS[step - 1]}"
