"""shuffle: mixing within blocks, with a position of constant size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import attrs

from streamwds import draws
from streamwds.stage import Same, maker
from streamwds.stages import replay
from streamwds.steps import At, Pair, Run, Step, Upstream, option

__all__ = ["Shuffle", "shuffle"]


def _size(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"shuffle takes a size of at least 1 item, not {n!r}")


def _initial(n: object) -> None:
    if n is not None:
        _size(n)


@attrs.frozen(repr=False, slots=False)
class Shuffle(Step[Any, Any]):
    """Remembers the number of the block it gives out, how many of it were given, a mark of the positions of its items
    (to notice when upstream does not replay the same) and, as its upstream's position, where the block starts.
    """

    name: ClassVar[str] = "shuffle"
    keeps: ClassVar[bool] = True
    varies = True
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"block": 0, "given": 0, "mark": None}
    size: int = option(check=_size)
    initial: int | None = option(None, check=_initial)
    seed: int = option(0, check=draws.check_seed)

    def block_size(self, block: int) -> int:
        """Blocks grow from `initial` to `size`, twice as large each."""
        initial = min(self.size, 64) if self.initial is None else min(self.initial, self.size)
        return min(self.size, initial << min(block, 60))

    def words(self, upstream: Upstream, at: At) -> list[str]:
        block, given, _, start = self.recall(at)
        return [*upstream.words(start), f"shuffle block {block}{f' ({given} given)' if given else ''}"]

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        block, given, expected, start = self.recall(at)
        failed: Exception | None = None
        try:
            pairs = upstream(start)
            items: list[Any] = []
            ends: list[At] = []
            failed = _pull(self.block_size(block), pairs, items, ends)
            mark = replay.mark(ends)
            if not failed:
                replay.check(expected, mark, f"shuffle: block {block}", items)
            while items and not failed:
                count, end = len(items), ends[-1]
                following: list[Any] = []
                after: list[At] = []
                room = self.block_size(block + 1)
                lacking = room * given // count  # (of what an undisturbed run would have read of it by now)
                key = draws.stage_key(run.context, self.name, self.seed, block, per_worker=True)
                order = draws.permutation(key, count)
                for place in order[:given]:  # (they were given before the stream was resumed here)
                    items[place] = None
                for place in order[given:]:
                    given += 1
                    # The next block fills at the pace at which this one empties: never more than size + 1 items alive.
                    # What a resumed run lacks is read in the end, so that its first items come soon.
                    if (due := room * given // count - lacking - len(following)) and not failed:
                        failed = _pull(due, pairs, following, after)
                    item, items[place] = items[place], None
                    yield item, ((block, given, mark, start) if given < count else (block + 1, 0, None, end))
                    del item
                failed = failed or _pull(room - len(following), pairs, following, after)
                items, ends, start, given, block = following, after, end, 0, block + 1
                mark = replay.mark(ends)
            if failed:
                raise failed
        finally:
            failed = None  # (else it and this frame keep each other, and a shard open)


def _pull(n: int, pairs: Iterator[Pair], items: list[Any], ends: list[At]) -> Exception | None:
    """Pull n pairs more, if there are so many: items and the positions after them.

    An error is returned, to be raised where the next block would begin, however far the filling is by then (a resumed
    run fills it later). So every block of which something was given was read to its end. Pairs are taken apart at once,
    for zip keeps the last that it gave, and so would keep an item alive.
    """
    try:
        for item, end in islice(pairs, n):
            items.append(item)
            ends.append(end)
    except Exception as error:
        # (without this frame in its traceback, whose caller is who keeps the error)
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    return None


@maker
def shuffle(size: int, *, initial: int | None = None, seed: int | None = 0) -> Same:
    """Mix the stream: items are given out in random order within blocks of `size` items.

    While one block is given out, the next is filled, so at most size + 1 items are held. The first blocks are smaller
    (from `initial`, at most 64 unless given, doubling), so that the first item comes soon. The order depends on
    (Context.seed, seed, epoch, rank, worker) alone; `seed=None` draws one when the stage is built.

    Items never leave their block: mix the shards before (another order of the URLs each epoch), and choose `size`
    large enough to hold samples of several shards.

    >>> range(8) | shuffle(4) | list
    [2, 0, 3, 1, 7, 6, 4, 5]
    >>> sorted(range(100) | shuffle(10)) == list(range(100))
    True
    """
    return Same((Shuffle(size, initial, draws.fresh_seed(seed)),))
