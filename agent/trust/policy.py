"""Whose signature an operator accepts."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.trust.errors import TrustError

_SHA256 = re.compile(r"[0-9a-f]{64}")


class SignerPolicy(NamedTuple):
    """The signers that an operator has pinned; without any pin everybody's signature will do.

    ``ca_file`` is the path of a PEM file: the signer's certificate must lead to one of those in it, or be one.
    ``fingerprints`` are SHA-256 digests of signers' certificates in hexadecimal. Where both are given, both must hold.
    """

    ca_file: str | None = None
    fingerprints: tuple[str, ...] = ()

    @property
    def pinned(self) -> bool:
        """Whether it matters who has signed."""
        return self.ca_file is not None or bool(self.fingerprints)


def clean_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as 64 lower-case digits; colons between them and capitals are allowed.

    Raises TrustError where the text is none: a pin that cannot fit must not look as if it did its work.
    """
    digits = text.replace(":", "").lower()
    if not _SHA256.fullmatch(digits):
        raise TrustError(
            f"{text[:100]!r} is pinned as the signer's fingerprint, but is not a SHA-256 fingerprint.",
            remedy="Put the 64 hexadecimal digits that `openssl x509 -noout -fingerprint -sha256 -in FILE` prints "
            "into deployment_signer_fingerprints.",
        )
    return digits
