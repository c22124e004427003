"""Stages that work on one item at a time: map, select."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import attrs

from streamwds.errors import FunctionError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.stage import I, O, Same, Stage, maker
from streamwds.steps import Lifted, Run, option
from streamwds.values import function_name

__all__ = ["Map", "Select", "map", "map_items", "select", "select_items"]


def _callable(f: Any) -> None:
    if not callable(f):
        raise TypeError(f"a function is wanted, not {f!r}")


def _failed(error: Exception, name: str, f: Any, item: Any) -> FunctionError:
    """The error that says in which stage, function and sample a user's function raised."""
    failed = FunctionError.about(item, f"{name}({function_name(f)}) raised {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def map_items(f: Callable[[Any], Any], items: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """Apply a function to each item."""
    guard = Guard.of(handler)
    for item in items:
        guard.seen += 1
        try:
            result = f(item)
        except Exception as error:
            if guard(_failed(error, "map", f, item)):
                continue
            return
        yield result


def select_items(
    predicate: Callable[[Any], object], items: Iterable[Any], *, handler: Handler = reraise_exception
) -> Iterator[Any]:
    """Keep the items for which the predicate is true."""
    guard = Guard.of(handler)
    for item in items:
        guard.seen += 1
        try:
            keep = bool(predicate(item))
        except Exception as error:
            if guard(_failed(error, "select", predicate, item)):
                continue
            return
        if keep:
            yield item


@attrs.frozen(repr=False, slots=False)
class Map(Lifted[Any, Any]):
    name: ClassVar[str] = "map"
    f: Callable[[Any], Any] = option(check=_callable)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return map_items(self.f, items, handler=run.guard(self.handler))


@attrs.frozen(repr=False, slots=False)
class Select(Lifted[Any, Any]):
    name: ClassVar[str] = "select"
    same: ClassVar[bool] = True
    predicate: Callable[[Any], object] = option(check=_callable)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return select_items(self.predicate, items, handler=run.guard(self.handler))


@maker
def map(f: Callable[[I], O], *, handler: Handler = reraise_exception) -> Stage[I, O]:
    """Apply a function to each item.

    An error in `f` becomes a `FunctionError` that names the sample, chained to its cause, and goes to the handler.

    >>> range(3) | map(float) | list
    [0.0, 1.0, 2.0]
    """
    return Stage((Map(f, handler),))


@maker
def select(predicate: Callable[[Any], object], *, handler: Handler = reraise_exception) -> Same:
    """Keep the items for which the predicate is true.

    >>> range(6) | select(lambda n: n % 2) | list
    [1, 3, 5]
    """
    return Same((Select(predicate, handler),))
