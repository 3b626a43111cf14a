import os

import pytest

from agent.identity.errors import CredentialsError
from agent.identity.session_file import SessionFile
from agent.network.credentials import Credentials

WHOLE = """[default]
aws_access_key_id = ASIA1
aws_secret_access_key = hush/+=
aws_session_token = token==
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "credentials"
    path.write_text(WHOLE)
    return path


@pytest.fixture
def file(path, clock):
    return SessionFile(str(path), clock=clock)


def test_a_file_that_does_not_tell_its_end_counts_for_half_an_hour(file, clock):
    assert file.read() == Credentials("ASIA1", "hush/+=", "token==", clock.now + 1800)


@pytest.mark.parametrize("name", ["aws_expiration", "expiration", "Aws_Expiration", "x_security_token_expires"])
def test_the_end_that_the_file_tells_counts(path, file, name):
    path.write_text(f"{WHOLE}{name} = 2027-01-15T08:10:00Z\n")
    assert file.read().expires_at == 1_800_000_600.0


def test_an_end_that_nobody_can_read_is_no_end(path, file, clock):
    path.write_text(f"{WHOLE}expiration = tomorrow\n")
    assert file.read().expires_at == clock.now + 1800


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + WHOLE.replace("\n", "\r\n"),
        WHOLE.replace(" = ", "=").upper().replace("DEFAULT", "default").replace("ASIA1", "ASIA1"),
        "# comment\n; another = one\n[other]\naws_access_key_id = B\n" + WHOLE + "[last]\naws_session_token = B\n",
        WHOLE.replace("aws_session_token", "aws_security_token"),
        WHOLE.replace("ASIA1", '"ASIA1"').replace("[default]", "[ default ]"),
        WHOLE.replace("aws_", "  aws_").rstrip(),
        WHOLE + "region = eu-west-1\nnonsense\n",
    ],
    ids=["windows", "capitals", "other sections", "old name", "quotes", "spaces", "more lines"],
)
def test_the_ways_to_write_the_same_mean_the_same(path, file, text):
    path.write_text(text)
    found = file.read()
    assert (found.access_key, found.secret_key.lower(), (found.token or "").lower()) == ("ASIA1", "hush/+=", "token==")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no section [default]"),
        ("[profile]\naws_access_key_id = A\n", "has no section [default]"),
        ("[default]\n", "lacks aws_access_key_id and aws_secret_access_key and aws_session_token"),
        (WHOLE.replace("token==", ""), "lacks aws_session_token in its section [default]"),
        (WHOLE.replace("ASIA1", "AS IA"), "has spaces or other characters that no key has in aws_access_key_id"),
        (WHOLE.replace("hush", "hüsh"), "has spaces or other characters that no key has in aws_secret_access_key"),
        (WHOLE + "#" * 300_000, "has more than 262144 bytes"),
        (WHOLE + "expiration = 2027-01-15T08:00:00Z", "holds a session that ended at 2027-01-15 08:00:00 UTC"),
    ],
)
def test_what_cannot_be_used_is_explained_without_the_secret(path, file, text, message):
    path.write_text(text)
    with pytest.raises(CredentialsError) as caught:
        file.read()
    assert str(caught.value).startswith(f"The credentials file {path} {message}")
    assert "Check whatever renews this file" in caught.value.remedy
    assert "hush" not in str(caught.value)
    assert "hüsh" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_file_is_explained(path, file):
    path.unlink()
    with pytest.raises(CredentialsError, match="cannot be read: No such file or directory"):
        file.read()
    os.mkfifo(path)
    with pytest.raises(CredentialsError, match="is not a regular file"):
        file.read()


def test_every_kind_of_change_is_noticed(path, file, tmp_path):
    assert file.changed()
    file.read()
    assert not file.changed()
    path.write_text(WHOLE + "\n")
    assert file.changed()
    file.read()
    os.utime(path, ns=(1, 1))
    assert file.changed()
    file.read()
    other = tmp_path / "new"
    other.write_text(WHOLE + "\n")
    os.utime(other, ns=(1, 1))
    os.rename(other, path)
    assert file.changed()
    file.read()
    path.unlink()
    assert file.changed()


def test_a_missing_file_is_not_read_again_and_again(path, file):
    path.unlink()
    with pytest.raises(CredentialsError):
        file.read()
    assert not file.changed()
    path.write_text(WHOLE)
    assert file.changed()
