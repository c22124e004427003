"""Stages that count: take, skip, slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, overload

import attrs

from streamwds.stage import Same, maker
from streamwds.steps import At, Pair, Run, Step, Upstream, option

__all__ = ["Skip", "Slice", "Take", "natural", "skip", "slice", "take"]


def natural(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"a number of items (0, 1, 2 …) is wanted, not {n!r}")


@attrs.frozen(repr=False, slots=False)
class Take(Step[Any, Any]):
    """Remembers how many items it gave."""

    name: ClassVar[str] = "take"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"given": 0}
    n: int = option(check=natural)

    def endless(self, before: bool) -> bool:
        return False

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, inner = self.recall(at)
        if given >= self.n:
            return
        for item, inner in upstream(inner):  # noqa: B020
            given += 1
            yield item, (given, inner)
            if given == self.n:
                return


@maker
def take(n: int) -> Same:
    """The first n items (of each worker's stream). The source is asked for no more than these.

    >>> range(10) | take(3) | list
    [0, 1, 2]
    """
    return Same((Take(n),))


@attrs.frozen(repr=False, slots=False)
class Skip(Step[Any, Any]):
    """Remembers how many items went by, as far as it has to: n, once it has begun to give."""

    name: ClassVar[str] = "skip"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"passed": 0}
    n: int = option(check=natural)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        passed, inner = self.recall(at)
        for item, inner in upstream(inner):  # noqa: B020
            if passed < self.n:
                passed += 1
            else:
                yield item, (passed, inner)


@maker
def skip(n: int) -> Same:
    """All but the first n items (of each worker's stream). They are read, only not given out.

    >>> range(5) | skip(3) | list
    [3, 4]
    """
    return Same((Skip(n),))


def _end(stop: object) -> None:
    if stop is not None:
        natural(stop)


def _stride(step: object) -> None:
    natural(step)
    if step == 0:
        raise ValueError("slice takes a step of at least 1, not 0")


@attrs.frozen(repr=False, slots=False)
class Slice(Step[Any, Any]):
    """Remembers how many items went by."""

    name: ClassVar[str] = "slice"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"passed": 0}
    start: int = option(check=natural)
    stop: int | None = option(check=_end)
    step: int = option(1, positional=True, check=_stride)

    def endless(self, before: bool) -> bool:
        return before and self.stop is None

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        passed, inner = self.recall(at)
        if self._behind(passed):
            return
        for item, inner in upstream(inner):  # noqa: B020
            place, passed = passed - self.start, passed + 1
            if place >= 0 and place % self.step == 0:
                yield item, (passed, inner)
            if self._behind(passed):
                return

    def _behind(self, passed: int) -> bool:
        return self.stop is not None and passed >= self.stop


@overload
def slice(stop: int | None, /) -> Same: ...
@overload
def slice(start: int, stop: int | None, step: int = 1, /) -> Same: ...
@maker
def slice(*args: Any) -> Same:
    """Items by their numbers, as in `range`: slice(stop), slice(start, stop) or slice(start, stop, step).

    A `stop` of None is the end of the stream. Where `stop` is given, the source is asked for no more than these.

    >>> range(10) | slice(2, 8, 3) | list
    [2, 5]
    >>> range(10) | slice(7, None) | list
    [7, 8, 9]
    """
    if not 1 <= len(args) <= 3:
        raise TypeError("slice takes (stop), (start, stop) or (start, stop, step)")
    return Same((Slice(*((0, *args) if len(args) == 1 else args)),))
