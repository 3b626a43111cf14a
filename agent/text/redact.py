"""Take the secrets out of a URL that is printed."""

from __future__ import annotations

HIDDEN = "***"


def redacted_url(text: str) -> str:
    """Return a URL, or the address of a proxy without its scheme, with its password hidden.

    What stands before the last ``@`` counts as user and password, even where it is misspelt; a single word, which may
    be a token, is hidden too.
    """
    before, sign, after = text.rpartition("@")
    if not sign:
        return text
    scheme, slashes, user_and_password = before.partition("://") if "://" in before else ("", "", before)
    user, colon, _ = user_and_password.partition(":")
    return f"{scheme}{slashes}{user + colon if colon else ''}{HIDDEN}@{after}"
