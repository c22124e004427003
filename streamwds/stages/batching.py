"""batched and unbatched: items into batches, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial as partial_of
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import attrs
import numpy as np

from streamwds.errors import CollateError, StreamwdsError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.stage import Batch, Batching, I, O, Sample, Stage, Stream, Unbatching, call_ready, maker
from streamwds.stages import replay
from streamwds.stages.columns import Gathering
from streamwds.steps import READY, At, Lifted, Pair, Run, Step, Upstream, option

if TYPE_CHECKING:
    from typing_extensions import Never

__all__ = [
    "Batched",
    "Unbatched",
    "Unlisted",
    "batch_of",
    "batched",
    "batched_items",
    "collate",
    "collated",
    "gathered_batches",
    "unbatched",
    "unlisted",
]

T = TypeVar("T")


# ---- collating


def _column(values: list[Any]) -> Any:
    """Equal arrays stacked, equal tensors stacked, numbers as an array, anything else as the list that it is."""
    kind = type(values[0])
    if kind is str or kind is bytes:
        return values
    if issubclass(kind, np.ndarray):
        same = all(isinstance(v, np.ndarray) and v.shape == values[0].shape for v in values)
        return np.stack(values) if same and values[0].dtype != object else values
    if issubclass(kind, (bool, int, float, complex, np.number, np.bool_)):
        return _numbers(values)
    torch: Any = sys.modules.get("torch")
    if torch is not None and issubclass(kind, torch.Tensor):
        same = all(
            isinstance(v, torch.Tensor) and v.shape == values[0].shape and v.dtype == values[0].dtype for v in values
        )
        return torch.stack(values) if same else values
    return values


def _numbers(values: list[Any]) -> Any:
    """An array of numbers of one sort; a list where an array could not hold them as they are."""
    if len(set(map(type, values))) == 1:
        column = np.array(values)
        if column.dtype.kind in "biuc" or type(values[0]) is float:
            return column
    if all(isinstance(v, (bool, np.bool_)) for v in values):
        return np.array(values)
    if any(isinstance(v, (bool, np.bool_)) or not isinstance(v, (int, float, complex, np.number)) for v in values):
        return values
    column = np.array(values)
    if column.dtype.kind not in "Of" or not all(isinstance(v, (int, np.integer)) for v in values):
        return values if column.dtype == object else column
    # integers of which some need 64 bits without a sign, so that numpy makes floats of them, or of which some need more
    return np.array(values, np.uint64) if all(0 <= v < 1 << 64 for v in values) else values


def collate(items: Sequence[Any]) -> Any:
    """The items of a batch as one: dicts become a `Batch` of columns, tuples a tuple of columns, others a list.

    A column of arrays (or tensors) of one shape is stacked along a new first axis; numbers become a 1-d array of the
    dtype that numpy gives them; anything else is a list. Dicts must have the same fields, and tuples the same length:
    else a `CollateError` says which sample differs.

    >>> collate([{"__key__": "a", "cls": 1}, {"__key__": "b", "cls": 2}])
    {'__key__': ['a', 'b'], 'cls': array([1, 2])}
    >>> collate([(np.zeros(2), "x"), (np.ones(2), "y")])
    (array([[0., 0.],
           [1., 1.]]), ['x', 'y'])
    """
    return _collated(items, {})


def _collated(items: Sequence[Any], ready: Mapping[Any, Any]) -> Any:
    """The items as one, with the columns that are ready."""
    leader = items[0]
    if isinstance(leader, dict):
        fields = leader.keys()
        for item in items:
            if not isinstance(item, dict) or item.keys() != fields:
                raise _differs(leader, item)
        return Batch(
            {name: ready[name] if name in ready else _column([item[name] for item in items]) for name in fields}
        )
    if isinstance(leader, tuple):
        width = len(leader)
        for item in items:
            if not isinstance(item, tuple) or len(item) != width:
                raise CollateError(f"a batch that begins with a tuple of {width} also has {item!r:.80}")
        columns = enumerate(zip(*items))
        return tuple([ready[place] if place in ready else _column(list(values)) for place, values in columns])
    return list(items)


def _differs(leader: dict[str, Any], item: Any) -> CollateError:
    if not isinstance(item, dict):
        return CollateError.about(leader, f"a batch that begins with a dict also has a {type(item).__name__}")
    sample: dict[str, Any] = item
    odd = [name for name in (*leader, *sample) if name not in leader or name not in sample]
    return CollateError.about(
        sample,
        f"the sample {'has' if odd[0] in sample else 'lacks'} it, unlike {leader.get('__key__', 'the first')!r} of the "
        "same batch; select or rename fields first, or give batched(n, collate=list)",
        field=", ".join(map(str, odd)),
    )


_collate = collate  # (by the name under which functions that have an option of that name can see it)


# ---- batched


def _positive(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"batched takes a batch size of at least 1, not {n!r}")


def batched_items(
    n: int,
    items: Iterable[Any],
    *,
    collate: Callable[[list[Any]], Any] = collate,
    partial: bool = True,
    handler: Handler = reraise_exception,
) -> Iterator[Any]:
    """Batches of n items, collated; the last may have fewer, unless not `partial`."""
    _positive(n)
    guard = Guard.of(handler)
    if collate is _collate:
        yield from gathered_batches(Gathering(n), items, partial, guard)
        return
    source = iter(items)
    while block := list(islice(source, n)):
        if len(block) < n and not partial:
            return
        guard.seen += 1
        try:
            batch = collated(collate, block)
        except StreamwdsError as error:
            if guard(error):
                continue
            return
        yield batch


def gathered_batches(gathering: Gathering, items: Iterable[Any], partial: bool, guard: Guard) -> Iterator[Any]:
    """Batches by `collate`, of items that are gathered."""
    source = iter(items)
    while block := gathering.gather(source):
        if len(block) < gathering.size and not partial:
            return
        guard.seen += 1
        try:
            batch = collated(partial_of(_collated, ready=gathering.columns), block)
        except StreamwdsError as error:
            if guard(error):
                continue
            return
        gathering.learn(batch)
        del block
        yield batch
        del batch  # (before the next is made, so that its memory can be used for that)


def collated(collate: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """What a function makes of the items of a batch; what it raises is an error of ours."""
    try:
        return collate(items)
    except StreamwdsError:
        raise
    except Exception as cause:
        raise CollateError(f"{type(cause).__name__}: {cause}") from cause


def batch_of(collate: Callable[[list[Any]], Any], kind: str | None) -> str | None:
    """The name of the type of batches that a function makes of items of a kind."""
    if collate is not _collate:
        return "list" if collate is list else None
    if kind is None:
        return None
    if kind.startswith("Batch"):
        return f"Batch of {kind}"
    return {"Sample": "Batch", "dict": "Batch", "tuple": "tuple"}.get(kind, f"list[{kind}]")


@attrs.frozen(repr=False, slots=False)
class Batched(Lifted[Any, Any]):
    """Remembers nothing: a batch's position is that of its last item."""

    name: ClassVar[str] = "batched"
    n: int = option(check=_positive)
    collate: Callable[[list[Any]], Any] = option(collate, decides=False)
    partial: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        guard = run.guard(self.handler)
        return batched_items(self.n, items, collate=self.collate, partial=self.partial, handler=guard)

    def flow(self, kind: str | None) -> str | None:
        return batch_of(self.collate, kind)


@overload
def batched(n: int, *, partial: bool = True, handler: Handler = reraise_exception) -> Batching: ...
@overload
def batched(
    n: int, *, collate: type[list[Any]], partial: bool = True, handler: Handler = reraise_exception
) -> Stage[Any, list[Any]]: ...
@overload
def batched(
    n: int, *, collate: Callable[[list[I]], O], partial: bool = True, handler: Handler = reraise_exception
) -> Stage[I, O]: ...
@maker
def batched(
    n: int, *, collate: Any = collate, partial: bool = True, handler: Handler = reraise_exception
) -> Batching | Stage[Any, Any]:
    """Put n items into a batch, collated by `collate` (which see for what becomes of dicts, tuples and others).

    The last batch may be smaller; `partial=False` drops it. `collate` may be any function from a list of items, such as
    `list` itself. Items that can't be collated are an error that goes to the handler; true skips the whole batch.

    >>> range(5) | batched(2) | list
    [[0, 1], [2, 3], [4]]
    >>> [("a", 1), ("b", 2)] | batched(2) | list
    [(['a', 'b'], array([1, 2]))]
    >>> range(5) | batched(2, collate=sum, partial=False) | list
    [1, 5]
    """
    kind = Batching if collate is _collate else Stage
    return kind((Batched(n, collate, partial, handler),))


# ---- unbatched


def _rows(batch: Any) -> list[Any]:
    """The items that a batch is made of."""
    if isinstance(batch, dict):
        return [dict(zip(batch, row)) for row in _across(list(batch), list(batch.values()))]
    if isinstance(batch, tuple):
        return _across(list(range(len(batch))), list(batch))
    if isinstance(batch, list):
        return batch
    raise CollateError(f"unbatched takes batches (a dict or tuple of columns, or a list), not {type(batch).__name__}")


def _across(names: Sequence[Any], columns: list[Any]) -> list[tuple[Any, ...]]:
    lengths: dict[Any, int] = {}
    for name, column in zip(names, columns):
        if isinstance(column, (str, bytes)) or not hasattr(column, "__len__") or getattr(column, "shape", None) == ():
            raise CollateError(f"column {name!r} is a {type(column).__name__}, which has no element for each item")
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise CollateError(f"the columns of a batch have different lengths: {lengths}")
    return list(zip(*columns))


@attrs.frozen(repr=False, slots=False)
class Unbatched(Step[Any, Any]):
    """Remembers how many items of a batch it gave, a mark of its size and end (to notice when upstream does not replay
    the same) and, as its upstream's position, where the batch starts.
    """

    name: ClassVar[str] = "unbatched"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "list"
    memory: ClassVar[Mapping[str, Any]] = {"given": 0, "mark": None}
    handler: Handler = option(reraise_exception, decides=False)

    def rows(self, batch: Any) -> Sequence[Any]:
        """The items of which a batch is made; a `CollateError` if it is none."""
        return _rows(batch)

    def flow(self, kind: str | None) -> str | None:
        if kind is not None and kind.startswith("list["):
            return kind[5:-1]
        if kind is not None and kind.startswith("Batch of "):
            return kind.removeprefix("Batch of ")
        return "Sample" if kind == "Batch" else "tuple" if kind == "tuple" else None

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, expected, start = self.recall(at)
        guard = run.guard(self.handler)
        for batch, end in upstream(start):
            guard.seen += 1
            try:
                rows = self.rows(batch)
            except CollateError as error:
                if not guard(error):
                    return
                rows = []
            mark = replay.mark((len(rows), end)) if len(rows) > 1 else None
            replay.check(expected, mark, f"{self.name}: the batch from which {given} items were given", rows)
            for index in range(given, len(rows)):
                last = index + 1 == len(rows)
                yield rows[index], ((0, None, end) if last else (index + 1, mark, start))
            given, expected, start = 0, None, end
        replay.check(expected, None, f"{self.name}: the batch from which {given} items were given", ())


class ReadyUnbatching(Unbatching):
    """unbatched, good as it is; called with options it is the stage that has them."""

    @overload
    def __call__(self, xs: Iterable[Never], /) -> Stream[Any]: ...
    @overload
    def __call__(self, xs: Iterable[Batch], /) -> Stream[Sample]: ...
    @overload
    def __call__(self, xs: Iterable[tuple[Any, ...]], /) -> Stream[tuple[Any, ...]]: ...
    @overload
    def __call__(self, xs: Iterable[list[T]], /) -> Stream[T]: ...
    @overload
    def __call__(self, *, handler: Handler) -> Unbatching: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        return call_ready(self, super().__call__, Unbatching, args, options)


READY["unbatched"] = Unbatched()
unbatched: ReadyUnbatching = ReadyUnbatching((Unbatched(),))
"""The items of batches again: rows of a dict or tuple of columns, elements of a list. Arrays give views of rows."""


# ---- unlisted


@attrs.frozen(repr=False, slots=False)
class Unlisted(Unbatched):
    """Remembers what `unbatched` does."""

    name: ClassVar[str] = "unlisted"

    def rows(self, batch: Any) -> Sequence[Any]:
        if isinstance(batch, (list, tuple)):
            return batch
        raise CollateError(f"unlisted takes lists or tuples of items, not {type(batch).__name__}")

    def flow(self, kind: str | None) -> str | None:
        return kind[5:-1] if kind is not None and kind.startswith("list[") else None


class Unlisting(Stage[Any, Any]):
    """Sequence[T] -> T, good as it is; called with options it is the stage that has them."""

    @overload
    def __call__(self, xs: Iterable[Sequence[T]], /) -> Stream[T]: ...
    @overload
    def __call__(self, *, handler: Handler) -> Unlisting: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        return call_ready(self, super().__call__, Unlisting, args, options)

    def __ror__(self, xs: Iterable[Sequence[T]], /) -> Stream[T]:
        return super().__ror__(xs)


READY["unlisted"] = Unlisted()
unlisted: Unlisting = Unlisting((Unlisted(),))
"""The elements of lists and tuples, one by one: what `batched(n, collate=list)` took together, or what a function made
of one item. (`unbatched` takes a tuple for columns.)
"""
