"""Stages that say how much of the data goes where: equalize, non_empty, fraction. (Who reads it: shards/splitting.)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds import draws
from streamwds.errors import DistributionError, MissingFieldError, SourceError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.stage import Same, Sample, Stage, maker
from streamwds.stages.chance import key_of
from streamwds.stages.counting import natural
from streamwds.steps import At, Lifted, Pair, Reopening, Run, Step, Upstream, option

__all__ = ["Equalize", "Fraction", "NonEmpty", "equalize", "fraction", "fraction_items", "non_empty"]


@attrs.frozen(repr=False, slots=False)
class Equalize(Reopening[Any, Any]):
    """Remembers how many items it gave; its upstream's position is one in whichever pass that came to."""

    name: ClassVar[str] = "equalize"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"given": 0}
    n: int = option(check=natural)

    def endless(self, before: bool) -> bool:
        return False

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, start = self.recall(at)
        while given < self.n:
            empty = start is None
            for item, end in upstream(start):
                empty = False
                given += 1
                yield item, (given, end)
                if given == self.n:
                    return
            if empty:
                who = run.context
                raise DistributionError(
                    f"{self.name}({self.n}): worker {who.worker} of {who.workers} on rank {who.rank} of "
                    f"{who.world_size} has no item at all: there are too few shards (or all of its samples were "
                    "skipped); split samples instead of shards (… | tarsamples | split_samples), write more, smaller "
                    "shards, or use fewer workers"
                )
            start = None


@maker
def equalize(n: int) -> Same:
    """Exactly n items for each (rank, worker), whatever was skipped before: so that no rank of DDP waits for another.

    Last in the pipeline. A stream that is shorter is read again from its start (the same epoch, so the same order);
    of one that is longer the rest is dropped. A rank or worker that has nothing at all is a `DistributionError` when it
    begins to read.

    >>> range(3) | equalize(5) | list
    [0, 1, 2, 0, 1]
    >>> range(30) | equalize(5) | list
    [0, 1, 2, 3, 4]
    """
    return Same((Equalize(n),))


@attrs.frozen(repr=False, slots=False)
class NonEmpty(Step[Any, Any]):
    """Passes everything on. Remembers nothing: where there is a position, there was an item."""

    name: ClassVar[str] = "non_empty"
    keeps: ClassVar[bool] = True
    ready: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        empty = at is None
        for item, end in upstream(at):
            empty = False
            yield item, end
        if empty:
            who = run.context
            raise SourceError(
                f"{self.name}: worker {who.worker} of {who.workers} on rank {who.rank} of {who.world_size} got no item "
                "at all: there is no data, or there are fewer shards than readers, or all of it was left out or skipped"
            )


non_empty: Same = Same((NonEmpty(),))
"""Everything that comes, and a `SourceError` if nothing does (for a worker, on a rank): where that can't be right."""


def _share(lo: object) -> None:
    if not isinstance(lo, (int, float)) or isinstance(lo, bool) or not 0 <= lo <= 1:
        raise ValueError(f"fraction takes two numbers between 0.0 and 1.0, not {lo!r}")


def fraction_items(
    lo: float,
    hi: float,
    samples: Iterable[Mapping[str, Any]],
    *,
    seed: int = 0,
    handler: Handler = reraise_exception,
) -> Iterator[Any]:
    """The samples whose keys fall between lo and hi."""
    guard = Guard.of(handler)
    for sample in samples:
        guard.seen += 1
        try:
            key = key_of(sample)
        except MissingFieldError as error:
            if guard(error):
                continue
            return
        if lo <= draws.unit(("fraction", seed, key)) < hi:
            yield sample


@attrs.frozen(repr=False, slots=False)
class Fraction(Lifted[Sample, Sample]):
    name: ClassVar[str] = "fraction"
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    lo: float = option(check=_share)
    hi: float = option(check=_share)
    seed: int = option(0, positional=True, check=draws.check_seed)
    handler: Handler = option(reraise_exception, decides=False)

    def __attrs_post_init__(self) -> None:
        if self.lo > self.hi:
            raise ValueError(f"fraction({self.lo}, {self.hi}) is empty: give the smaller number first")

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        guard = run.guard(self.handler)
        return fraction_items(self.lo, self.hi, items, seed=self.seed, handler=guard)


@maker
def fraction(lo: float, hi: float, seed: int = 0, *, handler: Handler = reraise_exception) -> Stage[Sample, Sample]:
    """The samples whose key, hashed to a number from 0 up to 1, falls in lo … hi (`lo` included, `hi` not).

    For training and validation data: `fraction(0, 0.9)` and `fraction(0.9, 1)` have no sample in common and leave none
    out, and a sample stays on its side in all epochs, for all readers, however the shards are written anew. Only the
    key counts and `seed`, not Context.seed. A sample without a `__key__` is a `MissingFieldError`, which goes to the
    handler.

    >>> samples = [{"__key__": f"{n}"} for n in range(10)]
    >>> [sample["__key__"] for sample in samples | fraction(0.8, 1)]
    ['2', '9']
    """
    return Stage((Fraction(lo, hi, seed, handler),))
