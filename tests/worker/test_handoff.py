"""What a worker is handed."""

from __future__ import annotations

import json

from agent.config.settings import Settings
from agent.identity.identity import HostIdentity
from agent.identity.on_premises import OnPremises
from agent.network.credentials import Credentials
from agent.worker.handoff import Handoff, parse_handoff

HANDOFF = Handoff(
    Settings(max_revisions=2, archive_max_extraction_size=10),
    HostIdentity("arn:aws:iam::1:user/x", "eu-central-1", "amazonaws.com", "iam-user", "a file"),
    OnPremises("arn:aws:iam::1:user/x", "eu-central-1", "AKIA", "hidden-secret", None, "/etc/x.yml"),
    Credentials("AKIA", "hidden-secret", "hidden-token", 12.5),
    "/run/lock",
    4096,
)


def test_a_worker_gets_what_the_supervisor_has() -> None:
    found = parse_handoff(HANDOFF.render())
    assert found.identity == HANDOFF.identity
    assert found.on_premises == HANDOFF.on_premises
    assert found.credentials == HANDOFF.credentials
    assert found.settings.max_revisions == 2
    assert found.supervisor_lock == "/run/lock"
    assert found.core_limit == 4096
    assert parse_handoff(found.render()) == found


def test_a_host_without_credentials_of_its_own_is_handed_over_too() -> None:
    found = parse_handoff(HANDOFF._replace(on_premises=None, credentials=None).render())
    assert (found.on_premises, found.credentials) == (None, None)


def test_secrets_do_not_show_where_it_is_printed() -> None:
    assert "hidden" not in repr(HANDOFF)


def test_it_fits_into_a_pipe() -> None:
    # The supervisor writes it before anybody reads it.
    assert len(HANDOFF.render()) < 16 * 1024


def test_a_worker_of_another_version_understands_what_it_knows() -> None:
    fields = json.loads(HANDOFF.render())
    fields["settings"] |= {"setting_of_tomorrow": 1}
    del fields["settings"]["max_revisions"]
    fields["identity"] |= {"more": "x"}
    del fields["core_limit"]
    found = parse_handoff(json.dumps(fields).encode())
    assert found.settings.max_revisions == Settings().max_revisions
    assert found.core_limit is None
    assert found.identity == HANDOFF.identity
