"""What the log says of an identity that was replaced while the agent ran."""

from __future__ import annotations

import pytest

from agent.daemon.reload import identity_change
from agent.identity.on_premises import OnPremises

OLD = OnPremises("arn:a", "eu-central-1", "AKIAOLD", "secret", None, "/etc/x")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            OLD,
            OLD._replace(arn="arn:b", access_key="AKIANEW"),
            "The on-premises identity was replaced: it was arn:a in eu-central-1 (access key AKIAOLD), and is arn:b in"
            " eu-central-1 (access key AKIANEW) now",
        ),
        (
            OLD,
            None,
            "The on-premises identity was replaced: it was arn:a in eu-central-1 (access key AKIAOLD), and is not set"
            " now",
        ),
        (
            None,
            OLD._replace(access_key=None, secret_key=None, credentials_file="/etc/session"),
            "The on-premises identity was replaced: it was not set, and is arn:a in eu-central-1 (credentials file"
            " /etc/session) now",
        ),
        (
            OLD,
            OLD._replace(secret_key="other"),
            "The on-premises identity arn:a in eu-central-1 (access key AKIAOLD) has another secret key",
        ),
    ],
)
def test_an_identity_that_is_replaced_is_logged_from_what_to_what(
    old: OnPremises | None, new: OnPremises | None, line: str
) -> None:
    assert identity_change(old, new) == line
