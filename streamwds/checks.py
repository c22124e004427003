"""Checks of values that raise a `CheckError` (a `ValueError`) which says what was wanted and what came.

Each gives the value back, so that it can stand where the value is used: `self.n = checkrange(n, 0, 9)`. Not to be
confused with `assert`, which can be switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from streamwds.errors import CheckError

__all__ = ["check", "checkcallable", "checkmember", "checknotnone", "checkrange", "checktype"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _fail(wanted: str, value: object, msg: str) -> CheckError:
    return CheckError(f"{msg}{': ' if msg else ''}{wanted}, not {value!r:.200}")


def check(value: T, msg: str = "") -> T:
    """Raise unless the value is true.

    >>> check([], "shards")
    Traceback (most recent call last):
    ...
    streamwds.errors.CheckError: shards: something true is wanted, not []
    """
    if not value:
        raise _fail("something true is wanted", value, msg)
    return value


def checkcallable(value: F, msg: str = "") -> F:
    """Raise unless the value can be called.

    >>> checkcallable(len)
    <built-in function len>
    """
    if not callable(value):
        raise _fail("something that can be called is wanted", value, msg)
    return value


def checkmember(value: T, values: Collection[T], msg: str = "") -> T:
    """Raise unless the value is one of these.

    >>> checkmember("first", ["first", "last"])
    'first'
    """
    if value not in values:
        raise _fail(f"one of {', '.join(sorted(map(repr, values)))} is wanted", value, msg)
    return value


def checknotnone(value: T | None, msg: str = "") -> T:
    """Raise if the value is None.

    >>> checknotnone(0)
    0
    """
    if value is None:
        raise _fail("something is wanted", value, msg)
    return value


def checkrange(value: T, lo: Any, hi: Any, msg: str = "") -> T:
    """Raise unless lo ≤ value ≤ hi (NaN is in no range).

    >>> checkrange(9, 0, 9)
    9
    >>> checkrange(1.5, 0, 1, "p")
    Traceback (most recent call last):
    ...
    streamwds.errors.CheckError: p: a value from 0 to 1 is wanted, not 1.5
    """
    if not lo <= value <= hi:
        raise _fail(f"a value from {lo!r} to {hi!r} is wanted", value, msg)
    return value


def checktype(value: T, types: type[Any] | tuple[type[Any], ...], msg: str = "") -> T:
    """Raise unless the value is of this type, or of one of these.

    >>> checktype(7, (int, float))
    7
    """
    if not isinstance(value, types):
        names = " or ".join(found.__name__ for found in (types if isinstance(types, tuple) else (types,)))
        raise _fail(f"{names} is wanted", value, msg)
    return value
