"""bucket_batched: batches of items of about the same length, so that little of them is padding."""

from __future__ import annotations

import operator
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, ClassVar, TypeAlias, overload

import attrs
import numpy as np

from streamwds.errors import CollateError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import Batching, I, O, Stage, maker
from streamwds.stages.batching import batch_of, collate, collated
from streamwds.stages.mapping import failed
from streamwds.stages.windows import Windowed, check_window
from streamwds.steps import option

__all__ = ["BucketBatched", "Pad", "bucket_batched", "padded"]

Pad: TypeAlias = "float | Mapping[str, float] | None"

_collate = collate  # (by the name under which functions that have an option of that name can see it)


# ---- lengths


def _measured(name: str, key: str | Callable[[Any], int], item: Any) -> int:
    """How long an item is: what the function says, or the length of a field."""
    try:
        length = operator.index(len(item[key]) if isinstance(key, str) else key(item))
    except Exception as error:
        raise failed(error, name, key, item) from error
    if length < 0:
        raise CollateError.about(item, f"{name}: the length of an item can't be {length}")
    return length


def _between_powers(length: int) -> int:
    """The bucket of a length where none are given: 1, 2, 3, 4, 6, 8, 12, 16 …, so that at most a third is padding."""
    power = 1 << max(length - 1, 0).bit_length()
    return 3 * power // 4 if 4 * length <= 3 * power else power


# ---- padding


def padded(items: Sequence[Any], pad: Pad) -> Sequence[Any]:
    """The items with their sequences as long as the longest in the same field: arrays, tensors, lists of numbers.

    pad: what is put behind the shorter ones; by field, if not all are to be padded. Those of other shapes than
    (n, the same …) are left alone.

    >>> padded([{"x": [1, 2]}, {"x": [3]}], 0)
    [{'x': array([1, 2])}, {'x': array([3, 0])}]
    """
    if pad is None:
        return items
    leader = items[0]
    if isinstance(leader, Mapping):
        if any(not isinstance(item, Mapping) or item.keys() != leader.keys() for item in items):
            return items  # (collate says what is wrong with them)
        columns = {
            name: _level([item[name] for item in items], fill)
            for name in leader
            if (fill := pad.get(name) if isinstance(pad, Mapping) else pad) is not None
        }
        return [{**item, **{name: column[row] for name, column in columns.items()}} for row, item in enumerate(items)]
    if isinstance(pad, Mapping):
        raise CollateError(f"pad={pad!r} says what is padded in which field, and these items have none: {leader!r:.80}")
    if isinstance(leader, tuple):
        if any(not isinstance(item, tuple) or len(item) != len(leader) for item in items):
            return items
        return list(zip(*(_level(list(column), pad) for column in zip(*items))))
    return _level(list(items), pad)


def _level(values: list[Any], fill: float) -> list[Any]:
    """The values as sequences of one length, where they are sequences that can be."""
    arrays = [_sequence(value) for value in values]
    shapes = [None if array is None else tuple(array.shape) for array in arrays]
    if any(shape is None or not shape for shape in shapes) or len({shape[1:] for shape in shapes if shape}) > 1:
        return values
    if len({type(array) for array in arrays}) > 1:
        return values
    longest = max(shape[0] for shape in shapes if shape)
    return [_longer(array, longest, fill) for array in arrays]


def _sequence(value: Any) -> Any:
    """The value as an array or tensor; None if it is no sequence of numbers."""
    torch: Any = sys.modules.get("torch")
    if isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor)):
        return value
    if isinstance(value, (list, tuple)):
        array = np.array(value) if all(isinstance(v, (int, float, np.number)) for v in value) else None
        return array if array is not None and array.dtype.kind in "biuf" else None
    return None


def _longer(array: Any, length: int, fill: float) -> Any:
    missing = length - array.shape[0]
    if not missing:
        return array
    shape = (missing, *array.shape[1:])
    if isinstance(array, np.ndarray):
        return np.concatenate([array, np.full(shape, fill, array.dtype)])
    return sys.modules["torch"].cat([array, array.new_full(shape, fill)])


def _check_pad(pad: Any) -> None:
    for fill in pad.values() if isinstance(pad, Mapping) else (pad,):
        if not isinstance(fill, (int, float)) and not (fill is None and fill is pad):
            raise ValueError(f'pad is a number, or a dict from fields to numbers ({{"tokens": 0}}), not {pad!r}')


# ---- buckets


@attrs.define
class _Bucket:
    items: list[Any] = attrs.field(factory=list[Any])
    lengths: list[int] = attrs.field(factory=list[int])
    longest: int = 0

    def put(self, item: Any, length: int) -> None:
        self.items.append(item)
        self.lengths.append(length)
        self.longest = max(self.longest, length)


@attrs.define
class _Buckets:
    """The items of a window that are in no batch yet, by about their length."""

    step: BucketBatched
    held: dict[int, _Bucket] = attrs.field(factory=dict[int, _Bucket])

    def add(self, item: Any) -> list[list[Any]]:
        most, length = self.step.max_tokens, _measured(self.step.name, self.step.key, item)
        if most is not None and length > most:
            raise CollateError.about(item, f"its length is {length}, and no batch may have more than max_tokens={most}")
        place = _between_powers(length) if self.step.bounds is None else bisect_left(self.step.bounds, length)
        batches: list[list[Any]] = []
        bucket = self.held.setdefault(place, _Bucket())
        if not self._has_room(bucket, length):
            batches.append(bucket.items)
            bucket = self.held[place] = _Bucket()
        bucket.put(item, length)
        if len(bucket.items) == self.step.max_items:
            batches.append(self.held.pop(place).items)
        return batches

    def rest(self) -> list[list[Any]]:
        """What is left, together across the bounds: from the shortest to the longest."""
        left = [pair for bucket in self.held.values() for pair in zip(bucket.lengths, bucket.items)]
        buckets: list[_Bucket] = []
        for length, item in sorted(left, key=itemgetter(0)):
            if not buckets or not self._has_room(buckets[-1], length):
                buckets.append(_Bucket())
            buckets[-1].put(item, length)
        if buckets and not self.step.partial and self._has_room(buckets[-1], buckets[-1].longest):
            buckets.pop()
        return [bucket.items for bucket in buckets]

    def _has_room(self, bucket: _Bucket, length: int) -> bool:
        """Whether an item of this length may join the others (an empty bucket has room for any)."""
        count, most = len(bucket.items) + 1, self.step.max_tokens
        fits = most is None or count * max(bucket.longest, length) <= most
        return count == 1 or (fits and (self.step.max_items is None or count <= self.step.max_items))


# ---- the stage


def _check_key(key: object) -> None:
    if not isinstance(key, str) and not callable(key):
        raise TypeError(f"key is a function from an item to its length, or the field whose length counts, not {key!r}")


def _check_most(n: object) -> None:
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise ValueError(f"max_items and max_tokens are numbers of at least 1, or None, not {n!r}")


def _check_bounds(bounds: object) -> None:
    if bounds is None:
        return
    numbers = bounds if isinstance(bounds, tuple) else ()
    rising = all(type(n) is int for n in numbers) and all(a < b for a, b in pairwise(numbers))
    if not numbers or not rising or numbers[0] < 0:
        raise ValueError(f"bounds are rising lengths, each the longest of its bucket, such as (32, 64), not {bounds!r}")


@attrs.frozen(repr=False, slots=False)
class BucketBatched(Windowed):
    name: ClassVar[str] = "bucket_batched"
    key: Any = option(check=_check_key)
    max_items: int | None = option(None, check=_check_most)
    max_tokens: int | None = option(None, check=_check_most)
    pad: Pad = option(None, decides=False, check=_check_pad)
    bounds: Sequence[int] | None = option(None, check=_check_bounds)
    window: int = option(10_000, check=check_window)
    collate: Callable[[list[Any]], Any] = option(collate, decides=False)
    partial: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def __attrs_post_init__(self) -> None:
        if self.max_items is None and self.max_tokens is None:
            raise ValueError("bucket_batched takes max_items, max_tokens, or both: how large a batch may get")

    def holding(self) -> _Buckets:
        return _Buckets(self)

    def made(self, group: list[Any]) -> Any:
        return collated(self.collate, list(padded(group, self.pad)))

    def flow(self, kind: str | None) -> str | None:
        return batch_of(self.collate, kind)


@overload
def bucket_batched(
    key: Callable[[Any], int] | str,
    *,
    max_items: int | None = None,
    max_tokens: int | None = None,
    pad: Pad = None,
    bounds: Sequence[int] | None = None,
    window: int = 10_000,
    partial: bool = True,
    handler: Handler = reraise_exception,
) -> Batching: ...
@overload
def bucket_batched(
    key: Callable[[Any], int] | str,
    *,
    max_items: int | None = None,
    max_tokens: int | None = None,
    pad: Pad = None,
    bounds: Sequence[int] | None = None,
    window: int = 10_000,
    collate: type[list[Any]],
    partial: bool = True,
    handler: Handler = reraise_exception,
) -> Stage[Any, list[Any]]: ...
@overload
def bucket_batched(
    key: Callable[[Any], int] | str,
    *,
    max_items: int | None = None,
    max_tokens: int | None = None,
    pad: Pad = None,
    bounds: Sequence[int] | None = None,
    window: int = 10_000,
    collate: Callable[[list[I]], O],
    partial: bool = True,
    handler: Handler = reraise_exception,
) -> Stage[I, O]: ...
@maker
def bucket_batched(
    key: Callable[[Any], int] | str,
    *,
    max_items: int | None = None,
    max_tokens: int | None = None,
    pad: Pad = None,
    bounds: Sequence[int] | None = None,
    window: int = 10_000,
    collate: Any = collate,
    partial: bool = True,
    handler: Handler = reraise_exception,
) -> Batching | Stage[Any, Any]:
    """Batches of items of about the same length: texts, sounds, films; so that little of a batch is padding.

    Parameters
    ----------
    key: a function from an item to its length, or the name of a field whose `len` it is.
    max_items: how many items a batch may have.
    max_tokens: how large a batch may get with its padding: its items times the longest of them.
    pad: what is put behind the shorter sequences (arrays, tensors, lists of numbers) of a batch, along their first
        axis: a number, or by field, `{"tokens": 0, "labels": -100}`. None: nothing, so that columns of several lengths
        are lists. How long each was it does not say: keep that in a field before, if the model wants it.
    bounds: the longest lengths of the buckets, rising; what is longer than all has a bucket of its own. None: 1, 2, 3,
        4, 6, 8, 12, 16 …, so that at most a third of a batch is padding.
    window: how many items are read before whatever waits in the buckets is given out, the rest of all buckets together,
        by length. So many at most are held, and read again when resuming.
    collate: as in `batched`.
    partial: whether the last batch of a window comes although it isn't full; else it is dropped.
    handler: gets a `FunctionError` if `key` raises, and a `CollateError` for an item longer than max_tokens or a batch
        that can't be collated. True skips the item, or the batch.

    A batch comes as soon as it is full, so shuffle before. What is in it depends on the items alone.

    >>> ["a", "bbbb", "c", "dddd", "e"] | bucket_batched(len, max_items=2) | list
    [['a', 'c'], ['bbbb', 'dddd'], ['e']]
    >>> [{"x": [1, 2, 3]}, {"x": [4]}, {"x": [5, 6]}] | bucket_batched("x", max_tokens=4, pad=0) | list
    [{'x': array([[4, 0],
           [5, 6]])}, {'x': array([[1, 2, 3]])}]
    """
    kind = Batching if collate is _collate else Stage
    return kind((BucketBatched(key, max_items, max_tokens, pad, bounds, window, collate, partial, handler),))
