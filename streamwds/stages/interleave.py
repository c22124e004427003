"""interleave: several shards open at once, taken in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, TypeVar

import attrs

from streamwds.errors import CompositionError, PositionError
from streamwds.stage import Stage, maker
from streamwds.stages import replay
from streamwds.steps import At, Items, Pair, Run, Step, Upstream, check_fit, option

__all__ = ["Interleave", "interleave"]

A = TypeVar("A")
B = TypeVar("B")


def _slots(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"interleave takes a number of items to be open at once of at least 1, not {n!r}")


def _inner(stage: object) -> None:
    if not isinstance(stage, Stage):
        raise CompositionError(f"interleave takes the stage that opens each item, such as tarsamples, not {stage!r}")


def _mark(end: At) -> str | None:
    """A mark of the position behind an item; short, for there are n of them in a position."""
    mark = replay.mark((end,))
    return mark and mark[:8]


@attrs.frozen(repr=False, slots=False)
class Interleave(Step[Any, Any]):
    """Remembers whose turn is next and, for each of the n, the position before its item, a mark of that behind it (to
    notice when upstream does not replay the same), and the position within it; as its upstream's position, that before
    the next item to be opened.
    """

    name: ClassVar[str] = "interleave"
    memory: ClassVar[Mapping[str, Any]] = {"turn": 0, "slots": ()}
    stage: Stage[Any, Any] = option(check=_inner)
    n: int = option(check=_slots)

    @property
    def takes(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.stage.steps[0].takes if self.stage.steps else None

    @property
    def splits(self) -> frozenset[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._of(()).splits

    @property
    def buffers(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._of(()).buffering is not None

    def endless(self, before: bool) -> bool:
        return before or self._of(()).endless

    def flow(self, kind: str | None) -> str | None:
        return check_fit(kind, self.name, self.stage.steps)

    def identity(self) -> Any:
        return [self.name, self.n, *self._of(()).identity()[1:]]

    def _of(self, items: tuple[Any, ...]) -> Upstream:
        """The stage on these items."""
        return Upstream(Items(items), self.stage.steps)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        turn, slots, rest = self.recall(at)
        slots = list(slots) or [None] * self.n  # of each None, or (position before its item, mark, position within it)
        reading = [None if slot is None else self._reopened(run, upstream, slot) for slot in slots]
        items = upstream(rest)
        idle = 0  # (how many slots in a row had nothing to give: an empty one stays so when there are no more items)
        while idle < self.n:
            if reading[turn] is None and (opened := next(items, None)) is not None:
                slots[turn], rest = (rest, _mark(opened[1]), None), opened[1]
                reading[turn] = self._within(run, upstream, opened[0], None)
            pairs = reading[turn]
            if pairs is None:
                turn, idle = (turn + 1) % self.n, idle + 1
            elif (found := next(pairs, None)) is None:
                slots[turn] = reading[turn] = None
            else:
                slots[turn] = (*slots[turn][:2], found[1])
                turn, idle = (turn + 1) % self.n, 0
                yield found[0], (turn, tuple(slots), rest)

    def _reopened(self, run: Run, upstream: Upstream, slot: Any) -> Iterator[Pair]:
        """What is left of an item that was open; it is fetched when that is asked for."""
        before, expected, at = slot
        item, end = next(upstream(before), (None, None))
        replay.check(expected, _mark(end), f"{self.name}: an item that was open", (item,))
        yield from self._within(run, upstream, item, at)

    def _within(self, run: Run, upstream: Upstream, item: Any, at: At) -> Iterator[Pair]:
        return attrs.evolve(self._of((item,)), run=run, tracked=upstream.tracked)(at)

    def words(self, upstream: Upstream, at: At) -> list[str]:
        _, slots, rest = self.recall(at)
        opened: list[str] = []
        for before, _, within in filter(None, slots):
            for item, _ in islice(upstream(before), 1):
                words = attrs.evolve(self._of((item,)), run=upstream.run).words(within)
                if words[0].startswith("shard "):  # (of which this one is the first: say which it is of all)
                    words = [*upstream.shard_words(before)[:1], *words[1:]]
                opened.append(" ".join(words))
        return [*upstream.words(rest), f"{self.name} of {' + '.join(opened) or 'nothing yet'}"]

    def recall(self, at: At) -> Any:
        turn, slots, _ = found = super().recall(at)
        right = isinstance(slots, (list, tuple)) and len(slots) in (0, self.n) and turn < self.n
        if not right or not all(slot is None or (isinstance(slot, (list, tuple)) and len(slot) == 3) for slot in slots):
            raise PositionError(f"{self.name}: {at!r:.80} is no position of this stage")
        return found


@maker
def interleave(stage: Stage[A, B], n: int) -> Stage[A, B]:
    """Open n items at once by a stage, and take what it makes of each in turns: `urls | interleave(tarsamples, 8)`.

    Samples that follow each other then come from n shards, so that a `shuffle` behind it mixes n shards with the same
    memory. When a shard is at its end, the next one takes its place. The stage is applied to each item alone, as if it
    were the only one. A position holds one for each of the n that are open, and resuming opens them again.

    >>> [[1, 2, 3], [4, 5], [6]] | interleave(unbatched, 2) | list
    [1, 4, 2, 5, 3, 6]
    """
    return Stage((Interleave(stage, n),))
