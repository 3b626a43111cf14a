"""An operating system's error becomes one that says where, why and what to do."""

from __future__ import annotations

import errno
import os

import pytest

from agent.errors import InstallConflictError, InstallError
from agent.install.explain import explained


def explain(error: BaseException) -> str:
    with pytest.raises(InstallError) as caught, explained("installing"):
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "owner and mode"),
        (errno.EPERM, "lsattr"),
        (errno.EIO, "kernel log"),
        (errno.ELOOP, "circle"),
        (errno.ENAMETOOLONG, "Shorten"),
        (errno.EEXIST, "Something else writes"),
    ],
)
def test_an_error_says_what_was_done_where_why_and_what_to_do(number: int, advice: str) -> None:
    text = explain(OSError(number, os.strerror(number), "/srv/app/x"))
    assert "While installing: /srv/app/x: " in text
    assert os.strerror(number) in text
    assert advice in text


def test_both_names_of_a_rename_are_given() -> None:
    assert "/srv/a -> /srv/b: " in explain(OSError(errno.EIO, "Input/output error", "/srv/a", None, "/srv/b"))


def test_an_error_without_a_known_remedy_or_number_is_still_told() -> None:
    assert "the disk is on fire" in explain(OSError("the disk is on fire"))
    assert "Device or resource busy" in explain(OSError(errno.EBUSY, os.strerror(errno.EBUSY), "/srv/x"))


def test_what_is_explained_already_is_left_as_it_is() -> None:
    error = InstallConflictError(["/srv/a is in the way"])
    with pytest.raises(InstallConflictError) as caught, explained("installing"):
        raise error
    assert caught.value is error


def test_an_interrupt_is_not_made_into_a_failure_of_the_disk() -> None:
    with pytest.raises(KeyboardInterrupt), explained("installing"):
        raise KeyboardInterrupt
