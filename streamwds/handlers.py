"""What to do when an item fails: a handler is called with the error and answers.

True skips the item and goes on, False ends the stream, raising propagates. Any callable will do; these are the usual
ones. A handler should be pure: what it needs to know, the error brings along (`skipped` and `seen` count this stage's
items in this run).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import attrs

from streamwds.errors import (
    FunctionError,
    MissingExtraError,
    SkippedWarning,
    StreamwdsError,
    UnreachableError,
)

__all__ = [
    "Guard",
    "Handler",
    "ignore_and_continue",
    "ignore_and_stop",
    "reraise_exception",
    "skip_at_most",
    "warn_and_continue",
    "warn_and_stop",
]

Handler: TypeAlias = Callable[[Exception], bool]


def reraise_exception(error: Exception) -> bool:
    """Raise the error. The default everywhere: nothing is lost without a word.

    >>> reraise_exception(ValueError("bad"))
    Traceback (most recent call last):
    ...
    ValueError: bad
    """
    try:
        raise error
    finally:
        del error  # (else it and this frame keep each other, and a shard open, until the garbage is collected)


def ignore_and_continue(error: Exception) -> bool:
    """Skip the item. The stream still counts it and warns once for each class of error.

    >>> ignore_and_continue(ValueError("bad"))
    True
    """
    return True


def ignore_and_stop(error: Exception) -> bool:
    """End the stream at the first error.

    >>> ignore_and_stop(ValueError("bad"))
    False
    """
    return False


def warn_and_continue(error: Exception) -> bool:
    """Warn of every error, and skip the item."""
    warnings.warn(f"skipped: {error!r}" if not str(error) else f"skipped: {error}", SkippedWarning, stacklevel=3)
    return True


def warn_and_stop(error: Exception) -> bool:
    """Warn, and end the stream."""
    warnings.warn(f"stopped: {error!r}" if not str(error) else f"stopped: {error}", SkippedWarning, stacklevel=3)
    return False


def _limit(limit: float) -> float:
    whole = isinstance(limit, int) and not isinstance(limit, bool)
    if not ((whole and limit >= 0) or (isinstance(limit, float) and 0 < limit < 1)):
        raise ValueError(f"skip_at_most takes a count (0, 1, 2 …) or a fraction between 0.0 and 1.0, not {limit!r}")
    return limit


@attrs.frozen(repr=False)
class skip_at_most:  # noqa: N801  (a function in all but its fields, which make it comparable and picklable)
    """Skip up to `limit` items of a stage in one run, then raise.

    An int is a number of items; a float is a fraction of the items seen so far, where the first thousand count as a
    thousand (so 0.01 lets 10 go by early on, and 1 % for good).

    >>> skip_at_most(3)
    skip_at_most(3)
    >>> skip_at_most(0)(ValueError("bad"))
    Traceback (most recent call last):
    ...
    ValueError: bad
    """

    limit: float = attrs.field(converter=_limit)

    def __call__(self, error: Exception) -> bool:
        skipped: int = getattr(error, "skipped", 0)
        allowed = self.limit if isinstance(self.limit, int) else self.limit * max(getattr(error, "seen", 0), 1000)
        if skipped + 1 <= allowed:
            return True
        try:
            raise error
        finally:
            del error

    def __repr__(self) -> str:
        return f"skip_at_most({self.limit!r})"


class Guard:
    """One stage's dealings with errors in one run: asks the handler, counts, and warns once for each class of error.

    `seen` counts the items that the stage got; who owns the loop keeps it up to date. `ended` is true once the handler
    has ended the stream, or has raised.
    """

    __slots__ = ("ended", "handler", "seen", "skipped", "tally")

    def __init__(self, handler: Handler, tally: Counter[str] | None = None) -> None:
        self.handler: Handler = handler
        self.tally: Counter[str] = Counter() if tally is None else tally
        self.seen: int = 0
        self.skipped: int = 0
        self.ended: bool = False

    @classmethod
    def of(cls, handler: Handler) -> Guard:
        """The handler itself if it is a guard already (of a stream that counts), else one for it."""
        return handler if isinstance(handler, Guard) else cls(handler)

    def __call__(self, error: Exception) -> bool:
        """True: skip it and go on. False: end the stream.

        A package that is missing is told to no handler: skipping would leave nothing.
        """
        if isinstance(error, StreamwdsError):
            error.skipped, error.seen = self.skipped, self.seen
        self.ended = True  # (for good if the handler raises)
        passing = isinstance(error, MissingExtraError) or (isinstance(error, UnreachableError) and not error.skippable)
        try:
            goes_on = reraise_exception(error) if passing else self.handler(error)
        except BaseException:
            del error
            raise
        if not goes_on:
            return False
        self.ended = False
        self.skipped += 1
        cause = error.__cause__ if isinstance(error, FunctionError) else None
        kind = type(cause or error).__name__
        self.tally[kind] += 1
        if self.tally[kind] == 1 and self.handler is not warn_and_continue:
            warnings.warn(
                f"skipped: {error} (later errors of class {kind} are only counted, in stream.skipped)",
                SkippedWarning,
                stacklevel=3,
            )
        return True
