"""Stages that leave things to chance: shuffle_shards, resampled, rsample; and the random generator of a sample.

(`shuffle` has a room of its own.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from streamwds import draws
from streamwds.context import Context
from streamwds.errors import CompositionError, EmptyStreamWarning, MissingFieldError
from streamwds.position import digest
from streamwds.shards.urls import shard_name
from streamwds.stage import Same, Stage, maker, ready
from streamwds.stages import replay
from streamwds.steps import At, Pair, Reopening, Run, Step, Upstream, option

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "RSample",
    "Resampled",
    "ShuffleShards",
    "key_of",
    "resampled",
    "rsample",
    "sample_generator",
    "shuffle_shards",
]


# ---- shards


class _OfAll(Reopening[str, str]):
    """A step that reads all URLs before it gives the first, and so remembers how many it gave, not where they were."""

    takes: ClassVar[str | None] = "str"
    yields: ClassVar[str | None] = "str"
    memory: ClassVar[Mapping[str, Any]] = {"given": 0, "mark": None}

    def all_of(self, upstream: Upstream, expected: str | None) -> tuple[list[Any], str]:
        """All URLs, and a mark of their names; an error if they are not those of which a position has the mark."""
        if upstream.endless:
            raise CompositionError(
                f"{self.name} reads all URLs before it gives the first, and those before it never end: "
                f"put {self.name} before what repeats them"
            )
        found = [item for item, _ in upstream(None)]
        mark = digest([shard_name(str(item)) for item in found])[:8]  # (short, for an interleave keeps it n times)
        replay.check(expected, mark, f"{self.name}: the list of URLs", ())
        return found, mark


@attrs.frozen(repr=False, slots=False)
class ShuffleShards(_OfAll):
    """All shards in a random order, another one in each epoch: for whole URLs, before the splits.

    The order depends on (Context.seed, seed, epoch), and on all ranks and workers it is the same, so that a split
    behind it gives each of them other shards in each epoch, and no shard to two. seed: None draws one when the stage is
    built.

    Remembers how many it gave, and a mark of all their names (to notice when other URLs come).

    >>> urls("a-{0..4}.tar") | shuffle_shards | list
    ['a-3.tar', 'a-1.tar', 'a-4.tar', 'a-2.tar', 'a-0.tar']
    """

    name: ClassVar[str] = "shuffle_shards"
    keeps: ClassVar[bool] = True
    varies = True
    ready: ClassVar[bool] = True
    seed: int = option(0, check=draws.check_seed, convert=draws.fresh_seed)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, expected, _ = self.recall(at)
        found, mark = self.all_of(upstream, expected)
        order = draws.permutation(draws.stage_key(run.context, self.name, self.seed, 0, per_worker=False), len(found))
        for given in range(given, len(found)):  # noqa: B020
            yield found[order[given]], (given + 1, mark, None)


shuffle_shards = ready(ShuffleShards)


@attrs.frozen(repr=False, slots=False)
class Resampled(_OfAll):
    """Remembers how many it gave, and a mark of the names of all URLs (to notice when others come)."""

    name: ClassVar[str] = "resampled"
    varies = True
    splits: ClassVar[frozenset[str]] = frozenset({"node", "worker"})
    seed: int = option(0, positional=True, check=draws.check_seed)

    def endless(self, before: bool) -> bool:
        return True

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, expected, _ = self.recall(at)
        found, mark = self.all_of(upstream, expected)
        if not found:
            run.tell(f"{self.name}: there is no URL to draw, so the stream ends", EmptyStreamWarning)
            return
        units = draws.Units(run.context, self.name, self.seed)
        while True:
            drawn = found[int(units[given] * len(found))]
            given += 1
            yield drawn, (given, mark, None)


@maker
def resampled(seed: int | None = 0) -> Stage[str, str]:
    """Draw shards with replacement, without end: each draw is any of the URLs, whatever was drawn before.

    The draws depend on (Context.seed, seed, epoch, rank, worker), so that each worker has its own, and no split is
    wanted; `with_epoch(n)` says how long an epoch is. `seed=None` draws one when the stage is built.

    >>> urls("a-{0..4}.tar") | resampled() | take(6) | list
    ['a-3.tar', 'a-2.tar', 'a-2.tar', 'a-2.tar', 'a-3.tar', 'a-4.tar']
    """
    return Stage((Resampled(draws.fresh_seed(seed)),))


# ---- samples


def _probability(p: object) -> None:
    if not isinstance(p, (int, float)) or isinstance(p, bool) or not 0 <= p <= 1:
        raise ValueError(f"rsample takes a probability between 0.0 and 1.0, not {p!r}")


@attrs.frozen(repr=False, slots=False)
class RSample(Step[Any, Any]):
    """Remembers how many items went by."""

    name: ClassVar[str] = "rsample"
    varies = True
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"passed": 0}
    p: float = option(check=_probability)
    seed: int = option(0, positional=True, check=draws.check_seed)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        passed, inner = self.recall(at)
        units = draws.Units(run.context, self.name, self.seed)
        for item, inner in upstream(inner):  # noqa: B020
            passed += 1
            if units[passed - 1] < self.p:
                yield item, (passed, inner)


@maker
def rsample(p: float, seed: int | None = 0) -> Same:
    """Keep each item with probability p: other items in each epoch, in about the same number.

    Which they are depends on (Context.seed, seed, epoch, rank, worker) and on their place in the stream. Two of them in
    one pipeline want different seeds. (`fraction` keeps the same samples in all epochs.) `seed=None` draws one when the
    stage is built.

    >>> range(20) | rsample(0.25) | list
    [3, 5, 6, 7, 10, 18]
    """
    return Same((RSample(p, draws.fresh_seed(seed)),))


def sample_generator(context: Context, kind: str, seed: int, sample: Any) -> Generator:
    """The random generator of one sample in one epoch, for a kind of stage with a seed.

    What it draws depends on (Context.seed, kind, seed, epoch, `__url__`, `__key__`) and on nothing else, so whoever
    reads the sample gets the same. Of the URL only the shard's name counts, for datasets move and URLs are signed anew.
    An item without a key is a `MissingFieldError`.

    >>> sample_generator(Context(), "map", 0, {"__key__": "a"}).bytes(3)
    b'!\xf4}'
    """
    name = shard_name(str(sample.get("__url__", ""))) if isinstance(sample, Mapping) else ""
    return draws.generator((context.seed, kind, seed, context.epoch, name, key_of(sample)))


def key_of(sample: Any) -> str:
    """The key by which something is drawn for a sample; a `MissingFieldError` for what has none."""
    key = sample.get("__key__") if isinstance(sample, Mapping) else None
    if isinstance(key, str):
        return key
    what = f"this is {sample!r:.80}"
    if isinstance(sample, Mapping):
        what = "this has none" if key is None else f"this has {key!r:.80} (a batch? Put it before batched)"
    field = "__key__" if isinstance(sample, Mapping) else None
    raise MissingFieldError.about(sample, f"what is drawn for a sample depends on it, a str, and {what}", field=field)
