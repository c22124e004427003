"""Stages that say how often a stream is read, and where an epoch ends: repeat, with_epoch, with_length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.errors import EmptyStreamWarning, PositionError
from streamwds.stage import Same, maker
from streamwds.stages.counting import natural
from streamwds.steps import At, Pair, Reopening, Run, Step, Upstream, option

__all__ = ["Repeat", "WithEpoch", "WithLength", "repeat", "with_epoch", "with_length"]


def _times(n: object) -> None:
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise ValueError(f"repeat takes a number of passes (1, 2 …), or None for no end, not {n!r}")


@attrs.frozen(repr=False, slots=False)
class Repeat(Reopening[Any, Any]):
    """Remembers how many passes of this epoch are finished; its upstream's position is one in the pass after them."""

    name: ClassVar[str] = "repeat"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"passes": 0}
    n: int | None = option(None, positional=True, check=_times)

    def endless(self, before: bool) -> bool:
        return before or self.n is None

    def epoch(self, run: Run, passes: int) -> int:
        """Which epoch of its upstream a pass is."""
        return run.context.epoch * (self.n or 1) + passes

    def words(self, upstream: Upstream, at: At) -> list[str]:
        passes, start = self.recall(at)
        epoch = self.epoch(upstream.run, passes)
        return [*upstream.within(upstream.run.in_epoch(epoch)).words(start), f"epoch {epoch}"]

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        passes, start = self.recall(at)
        while self.n is None or passes < self.n:
            empty = start is None
            for item, end in upstream.within(run.in_epoch(self.epoch(run, passes)))(start):
                empty = False
                yield item, (passes, end)
            if empty:
                run.tell(
                    f"{self.name}: a whole pass gave no item (no data, or all of it was skipped), so the stream ends",
                    EmptyStreamWarning,
                )
                return
            passes, start = passes + 1, None


@maker
def repeat(n: int | None = None) -> Same:
    """Read what comes before n times over, or without end; each pass is an epoch of its own, with its own order.

    In epoch e of the stream, the passes are the epochs e·n … e·n + n - 1 of what comes before (without n: e, e + 1 …),
    so that no pass comes twice. What comes *behind* `repeat` stays in the stream's epoch: put random stages that are to
    differ from pass to pass, such as `map(f, rng=True)`, before it. A whole pass without an item ends the stream with
    an `EmptyStreamWarning`.

    >>> range(4) | shuffle(4) | repeat(2) | list
    [2, 0, 3, 1, 1, 0, 3, 2]
    >>> range(2) | repeat() | take(5) | list
    [0, 1, 0, 1, 0]
    """
    return Same((Repeat(n),))


def _length(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"with_epoch takes a number of items of at least 1, not {n!r}")


@attrs.frozen(repr=False, slots=False)
class WithEpoch(Reopening[Any, Any]):
    """Remembers the epoch in which its upstream was opened, and how many items it has given since then."""

    name: ClassVar[str] = "with_epoch"
    varies = True
    same: ClassVar[bool] = True
    goes_on: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"opened": 0, "given": 0}
    n: int = option(check=_length)

    def endless(self, before: bool) -> bool:
        return False

    def words(self, upstream: Upstream, at: At) -> list[str]:
        opened, given, inner = self._recall(upstream.run, at)
        before = upstream.within(upstream.run.in_epoch(opened))
        return [*before.words(inner), f"with_epoch: {given} given since epoch {opened} began"]

    def _recall(self, run: Run, at: At) -> Any:
        return (run.context.epoch, 0, None) if at is None else self.recall(at)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        opened, given, inner = self._recall(run, at)
        first = (run.context.epoch - opened) * self.n
        if not first <= given <= first + self.n:
            raise PositionError(
                f"{self.name}: this position is not at the end of the epoch before epoch {run.context.epoch}, nor in "
                "it; finish that epoch first, or begin this one without a position"
            )
        if given == first + self.n:
            return
        for item, inner in upstream.within(run.in_epoch(opened))(inner):  # noqa: B020
            given += 1
            yield item, (opened, given, inner)
            if given == first + self.n:
                return


@maker
def with_epoch(n: int) -> Same:
    """Call n items an epoch (for each worker), however long the stream is: for what is endless, or very long.

    Epoch e is the first n items of the stream opened with that epoch. Given the last position of the epoch before, it
    goes on from there instead: `stream.within(epoch=e).at(position)`.

    >>> stream = range(4) | repeat() | with_epoch(3)
    >>> stream | list
    [0, 1, 2]
    >>> *_, (item, position) = stream.tracked()
    >>> stream.within(epoch=1).at(position) | list
    [3, 0, 1]
    """
    return Same((WithEpoch(n),))


@attrs.frozen(repr=False, slots=False)
class WithLength(Step[Any, Any]):
    """Passes everything on. Remembers nothing."""

    name: ClassVar[str] = "with_length"
    keeps: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    length: int | None = option(decides=False, check=natural)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return items

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        return upstream(at)


@maker
def with_length(n: int) -> Same:
    """Say what `len(stream)` is, for those who ask (progress bars, schedulers). Last in the pipeline; changes nothing.

    >>> len(range(10) | batched(2) | with_length(5))
    5
    """
    return Same((WithLength(n),))
