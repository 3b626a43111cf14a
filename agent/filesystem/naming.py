"""Errors that name the whole path, where the kernel was given an open directory and the last part alone, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

_Self = TypeVar("_Self")
_Rest = TypeVarTuple("_Rest")
_Result = TypeVar("_Result")


def named(method: Callable[[_Self, str, *_Rest], _Result]) -> Callable[[_Self, str, *_Rest], _Result]:
    """Have an OSError of a method name the path that the method was given first."""

    @wraps(method)
    def naming(self: _Self, path: str, *rest: *_Rest) -> _Result:
        try:
            return method(self, path, *rest)
        except OSError as error:
            if not isinstance(error.filename, str) or not error.filename.startswith("/"):
                error.filename, error.filename2 = path, None
            raise

    return naming
