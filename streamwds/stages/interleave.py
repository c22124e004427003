"""interleave: several shards open at once, taken in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import attrs

from streamwds.errors import CompositionError, PositionError
from streamwds.stage import Stage, maker
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


@attrs.frozen(repr=False, slots=False)
class Interleave(Step[Any, Any]):
    """Remembers whose turn is next and, for each of the n, the position before its item and that within it; as its
    upstream's position, that before the next item to be opened.
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
        slots = list(slots) if slots else [None] * self.n  # of each None, or (position before its item, that within it)
        within: list[Iterator[Pair] | None] = [None] * self.n
        items = upstream(rest)
        idle = 0
        while idle < self.n:  # (a slot stays idle once there is no item for it)
            slot = slots[turn]
            pairs = within[turn]
            if pairs is None:
                if slot is None:
                    pair = next(items, None)
                    if pair is None:
                        turn, idle = (turn + 1) % self.n, idle + 1
                        continue
                    slot, rest = (rest, None), pair[1]
                else:
                    pair = next(upstream(slot[0]), None)
                    if pair is None:
                        raise PositionError(f"{self.name}: an item that was open is not there any more")
                pairs = within[turn] = attrs.evolve(self._of((pair[0],)), run=run, tracked=upstream.tracked)(slot[1])
            found = next(pairs, None)
            if found is None:
                slots[turn] = within[turn] = None
                continue
            idle = 0
            slots[turn] = (slot[0], found[1])
            turn = (turn + 1) % self.n
            yield found[0], (turn, tuple(slots), rest)

    def words(self, upstream: Upstream, at: At) -> list[str]:
        _, slots, rest = self.recall(at)
        told: list[str] = []
        for before, inner in filter(None, slots):
            pair = next(upstream(before), None)
            if pair is not None:
                within = attrs.evolve(self._of((pair[0],)), run=upstream.run).words(inner)
                told.append(" ".join(within))
        return [*upstream.words(rest), f"{self.name} of {' + '.join(told) or 'nothing yet'}"]

    def recall(self, at: At) -> Any:
        turn, slots, _ = found = super().recall(at)
        right = isinstance(slots, (list, tuple)) and len(slots) in (0, self.n) and turn < self.n
        if not right or not all(slot is None or (isinstance(slot, (list, tuple)) and len(slot) == 2) for slot in slots):
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
