import logging
import os
import threading

import pytest

from agent.identity.credentials import CredentialSource
from agent.identity.errors import CredentialsError
from agent.identity.identity import HostIdentity, find_identity
from agent.identity.metadata import InstanceMetadata
from agent.identity.on_premises import OnPremises
from agent.network.credentials import Credentials
from metadata_server import INSTANCE

USER = OnPremises("arn:aws:iam::123456789012:user/web1", "eu-west-1", "AKIA1", "hush", None, "/etc/op.yml")
ROLE = "/latest/meta-data/iam/security-credentials/"
HOUR = 3600.0


def session_text(key: str, *more: str) -> str:
    lines = (f"aws_access_key_id = {key}", "aws_secret_access_key = hush", "aws_session_token = token")
    return "\n".join(["[default]", *lines, *more, ""])


@pytest.fixture
def metadata(server, http):
    return InstanceMetadata(http, endpoint=server.url, timeout=600)


class Ec2:
    """A role's credentials, as EC2 renews them, and a source that reads them."""

    def __init__(self, server, metadata, clock):
        self.server, self.clock = server, clock
        self.gives = Credentials("ASIA1", "hush", "token", clock.now + HOUR)
        server.app.add(INSTANCE._replace(credentials=lambda: self.gives))
        self.source = CredentialSource(HostIdentity("arn:x", "eu-west-1"), None, metadata, clock=clock)

    def key(self):
        return self.source.current().access_key

    def readings(self):
        return sum(asked.path == f"{ROLE}WebServer" for asked in self.server.asked)


@pytest.fixture
def ec2(server, metadata, clock):
    return Ec2(server, metadata, clock)


class Session:
    """A credentials file and a source that reads it."""

    def __init__(self, path, metadata, clock):
        self.path, self.clock = path, clock
        path.write_text(session_text("ASIA1"))
        self.on_premises = OnPremises("arn:s", "eu-west-1", None, None, str(path), "/etc/op.yml")
        identity = find_identity(self.on_premises, metadata, {})
        self.source = CredentialSource(identity, self.on_premises, metadata, clock=clock)

    def key(self):
        return self.source.current().access_key


@pytest.fixture
def session(tmp_path, metadata, clock):
    return Session(tmp_path / "credentials", metadata, clock)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_role_s_credentials_are_asked_for_once(ec2):
    assert ec2.source.current() == ec2.gives
    ec2.clock.now += HOUR - 301
    assert ec2.key() == "ASIA1"
    assert ec2.readings() == 1


def test_a_role_s_credentials_are_renewed_five_minutes_before_they_end(ec2):
    ec2.key()
    ec2.gives = Credentials("ASIA2", "hush", "token", ec2.clock.now + 3 * HOUR)
    ec2.clock.now += HOUR - 300
    assert ec2.key() == "ASIA2"


def test_a_failed_renewal_leaves_the_old_credentials_while_they_are_valid(ec2, caplog):
    ec2.key()
    ec2.server.faults[ROLE] = ("500 Oops", b"")
    ec2.clock.now += HOUR - 300
    assert ec2.key() == "ASIA1"
    asked = len(ec2.server.asked)
    assert ec2.key() == "ASIA1"
    assert len(ec2.server.asked) == asked, "the next attempt waits for half a minute"
    ec2.clock.now += 30
    assert ec2.key() == "ASIA1"
    assert len(ec2.server.asked) == asked + 1
    (warning,) = warnings(caplog)
    assert warning.startswith("Credentials could not be renewed; the old ones are used, until 2027-01-15 09:00:00 UTC.")
    ec2.clock.now += 270
    with pytest.raises(CredentialsError, match=r"There are no credentials .* status 500"):
        ec2.key()


def test_after_a_failed_renewal_the_new_ones_are_taken_up(ec2, caplog):
    caplog.set_level(logging.INFO)
    ec2.key()
    ec2.server.faults[ROLE] = ("500 Oops", b"")
    ec2.clock.now += HOUR - 300
    ec2.key()
    ec2.server.faults.clear()
    ec2.gives = Credentials("ASIA2", "hush", "token", ec2.clock.now + HOUR)
    ec2.clock.now += 30
    assert ec2.key() == "ASIA2"
    source = f"Credentials come from the instance's role, by instance metadata at {ec2.server.url}, valid until "
    infos = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert [info.removeprefix(source)[:10] for info in infos] == ["2027-01-15", "2027-01-15"]
    assert not any("hush" in record.getMessage() for record in caplog.records)


def test_credentials_that_ec2_cannot_renew_are_used_beyond_their_end(ec2):
    ec2.gives = Credentials("ASIA1", "hush", "token", ec2.clock.now - HOUR)
    assert ec2.key() == "ASIA1"
    assert ec2.key() == "ASIA1"
    assert ec2.readings() == 1
    ec2.gives = Credentials("ASIA2", "hush", "token", ec2.clock.now + HOUR)
    ec2.clock.now += 60
    assert ec2.key() == "ASIA2"


def test_refused_credentials_are_read_again(ec2):
    ec2.key()
    ec2.gives = Credentials("ASIA2", "hush", "token", ec2.clock.now + HOUR)
    ec2.source.forget()
    assert ec2.key() == "ASIA2"
    assert ec2.key() == "ASIA2"
    assert ec2.readings() == 2


def test_an_instance_without_a_role_is_told_so_and_later_finds_it(ec2):
    ec2.server.faults[ROLE] = ("404 Not Found", b"")
    with pytest.raises(CredentialsError, match="No IAM role is attached"):
        ec2.source.current()
    ec2.server.faults.clear()
    assert ec2.key() == "ASIA1"


def test_credentials_of_the_environment_are_not_used(ec2, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "from-the-environment")
    assert ec2.source.current() == ec2.gives


def test_a_worker_begins_with_what_it_was_given(metadata, server, clock):
    given = Credentials("ASIA0", "hush", "token", clock.now + HOUR)
    identity = HostIdentity("arn:x", "eu-west-1", kind="environment")
    source = CredentialSource(identity, None, metadata, initial=given, clock=clock)
    assert source.current() is given
    assert server.asked == []
    clock.now += HOUR
    assert source.current().access_key == "ASIAROLEKEY"


def test_a_thread_does_not_wait_for_another_one_s_renewal_while_the_old_ones_are_valid(ec2):
    ec2.key()
    ec2.server.faults[ROLE] = None
    ec2.clock.now += HOUR - 300
    renewing = threading.Thread(target=ec2.key)
    renewing.start()
    while sum(asked.path == ROLE for asked in ec2.server.asked) < 2:
        renewing.join(0.01)
    assert ec2.key() == "ASIA1"
    assert renewing.is_alive()
    ec2.server.over.set()
    renewing.join()


def test_threads_that_have_none_yet_read_once(ec2):
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(ec2.key())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == ["ASIA1"] * 5
    assert ec2.readings() == 1


def test_an_iam_user_has_the_keys_of_its_file(metadata, server, clock):
    source = CredentialSource(find_identity(USER, metadata, {}), USER, metadata, clock=clock)
    assert source.current() == Credentials("AKIA1", "hush")
    assert source.source == "the access key AKIA1 in /etc/op.yml"
    source.replace(USER._replace(access_key="AKIA2", secret_key="hush2"))
    assert source.current() == Credentials("AKIA2", "hush2")
    assert server.asked == []


def test_an_on_premises_identity_without_its_file_is_an_error(metadata):
    with pytest.raises(CredentialsError, match="needs an on-premises file") as caught:
        CredentialSource(find_identity(USER, metadata, {}), None, metadata)
    assert not caught.value.passing


def test_a_session_is_read_again_as_soon_as_its_file_changes(session):
    assert session.key() == "ASIA1"
    session.path.write_text(session_text("ASIA2-longer"))
    assert session.key() == "ASIA2-longer"


def test_a_session_file_that_is_replaced_whole_is_noticed(session, tmp_path):
    session.key()
    before = os.stat(session.path)
    (tmp_path / "new").write_text(session_text("ASIA2"))
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(tmp_path / "new", session.path)
    assert session.key() == "ASIA2"


def test_a_session_that_does_not_tell_its_end_is_read_again_after_25_minutes(session, clock):
    first = session.source.current()
    clock.now += 1499
    assert session.source.current() is first
    clock.now += 1
    assert session.source.current().expires_at == clock.now + 1800


def test_a_half_written_file_does_not_lose_the_old_credentials(session, clock, caplog):
    session.key()
    whole = session_text("ASIA2-whole")
    for length in range(0, whole.index("aws_session_token =") + 19, 7):
        session.path.write_text(whole[:length])
        assert session.key() == "ASIA1"
    assert len(warnings(caplog)) == 1
    session.path.write_text(whole)
    assert session.key() == "ASIA2-whole"


def test_a_file_that_stays_broken_is_warned_of_once(session, clock, caplog):
    session.key()
    session.path.write_text("[default]\n")
    for _poll in range(5):
        assert session.key() == "ASIA1"
        clock.now += 100
    (warning,) = warnings(caplog)
    assert "lacks aws_access_key_id" in warning
    assert str(session.path) in warning
    clock.now += 1800
    with pytest.raises(CredentialsError, match="lacks aws_access_key_id"):
        session.key()


def test_a_removed_file_does_not_lose_the_old_credentials(session):
    session.key()
    session.path.unlink()
    assert session.key() == "ASIA1"
    session.path.write_text(session_text("ASIA2"))
    assert session.key() == "ASIA2"


def test_a_session_that_nobody_renews_ends_with_an_explanation(session, clock):
    session.path.write_text(session_text("ASIA2", "expiration = 2027-01-15T08:10:00Z"))
    assert session.key() == "ASIA2"
    clock.now += 599
    assert session.key() == "ASIA2"
    clock.now += 1
    with pytest.raises(CredentialsError, match="ended at 2027-01-15 08:10:00 UTC and was not renewed"):
        session.key()


def test_a_changed_on_premises_file_changes_the_credentials(session, metadata, tmp_path):
    session.key()
    session.path.write_text("half")
    session.source.replace(session.on_premises._replace(path="/etc/other.yml"))
    assert session.key() == "ASIA1", "the same credentials file, so the old ones are still good"
    (tmp_path / "elsewhere").write_text(session_text("ASIA3"))
    session.source.replace(session.on_premises._replace(credentials_file=str(tmp_path / "elsewhere")))
    assert session.key() == "ASIA3"
    assert session.source.source == f"the credentials file {tmp_path / 'elsewhere'}"
