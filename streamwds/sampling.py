"""The order in which samples are read by number: at random, and yet near each other, so that few shards are open."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sized
from itertools import accumulate
from typing import Any, cast

from streamwds import draws
from streamwds.context import Context

__all__ = ["ChunkedSampler"]


class ChunkedSampler:
    """The numbers of a dataset's samples: its chunks in random order, and within each chunk its samples, too.

    For `DataLoader(dataset, sampler=ChunkedSampler(dataset))` and the like. Chunks are the shards of a `ShardFiles`, or
    `chunk` samples each. The order depends on (seed, epoch) and is the same on all ranks, of which each has its own
    part of it; say the epoch by `set_epoch(e)` (Lightning and Accelerate do).

    Parameters
    ----------
    dataset: a `ShardFiles`, or with `chunk` anything that has a length.
    chunk: how many samples a chunk has; None: a shard of the dataset.
    shuffle: whether the order is random at all.
    seed: what the order starts from; None draws one now.
    rank, world_size: whose part this is; None: as torch.distributed or the environment say.
    drop_last: where the ranks' parts can't be equally long: leave the rest out. Else the first samples of the order
        come once more, so that no rank waits for another.

    >>> sampler = ChunkedSampler(range(10), chunk=4)
    >>> list(sampler)
    [5, 4, 7, 6, 9, 8, 2, 3, 1, 0]
    >>> sampler.set_epoch(1)
    >>> sorted(sampler) == list(range(10))
    True
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        chunk: int | None = None,
        shuffle: bool = True,
        seed: int | None = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self.lengths = _lengths(dataset, chunk)
        self.shuffle = shuffle
        self.seed = draws.fresh_seed(seed)
        draws.check_seed(self.seed)
        given = {"rank": rank, "world_size": world_size}
        context = Context.current(**{name: value for name, value in given.items() if value is not None})
        self.rank = context.rank
        self.world_size = context.world_size
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; each has another order."""
        self.epoch = Context(epoch=epoch).epoch

    def __len__(self) -> int:
        """How many numbers this rank gets."""
        all_of_them = sum(self.lengths)
        return all_of_them // self.world_size if self.drop_last else -(-all_of_them // self.world_size)

    def __iter__(self) -> Iterator[int]:
        all_of_them = sum(self.lengths)
        starts = [end - length for end, length in zip(accumulate(self.lengths), self.lengths)]
        order = self._order("chunks", 0, len(self.lengths))
        ends = list(accumulate(self.lengths[chunk] for chunk in order))
        place, stop = self.rank * len(self), (self.rank + 1) * len(self)
        while place < stop:
            at = place % all_of_them
            turn = bisect_right(ends, at)
            chunk = order[turn]
            numbers = self._order("chunk", chunk, self.lengths[chunk])
            passed = at - (ends[turn] - self.lengths[chunk])
            for number in numbers[passed : passed + stop - place]:
                place += 1
                yield starts[chunk] + number

    def _order(self, what: str, counter: int, n: int) -> list[int]:
        return draws.permutation((self.seed, what, self.epoch, counter), n) if self.shuffle else list(range(n))


def _lengths(dataset: Any, chunk: int | None) -> list[int]:
    if chunk is None:
        indexes = getattr(dataset, "indexes", None)
        if indexes is None:
            raise ValueError("chunk: say how many samples a chunk has; only of a ShardFiles it is known (a shard)")
        return [len(index) for index in cast("list[Sized]", indexes)]
    if type(chunk) is not int or chunk < 1:
        raise ValueError(f"a chunk has at least 1 sample, not {chunk!r}")
    full, rest = divmod(len(dataset), chunk)
    return [chunk] * full + [rest] * (rest > 0)
