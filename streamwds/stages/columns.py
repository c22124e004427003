"""Columns of batches that are filled while their rows come.

Put together at its end, a batch holds all its pictures twice: 32 of 500 × 375 pixels as floats are 72 MB and again
72 MB, which no cache can hold. So a column is expected to look as it did in the last batch, and each row is copied to
its place as soon as it comes, which leaves its own memory to the next; or it is made there, where the decoder is the
step before. The columns' memory is used again, too.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamwds.memory import Memory

__all__ = ["LARGE", "Gathering", "Seat"]

LARGE = 1 << 20
"""From how many bytes on a column is filled while its rows come."""

GUESSED = 1 << 30
"""Up to how many bytes a column is made because the first item of all would fit; there may be no more of them."""

Name: TypeAlias = Any  # of a column: a field of dicts, or the place in tuples


def _plain(value: Any) -> NDArray[Any] | None:
    """An array, or a tensor's values as one; None for all else, and for tensors into which numpy can't look."""
    if type(value) is np.ndarray:
        return value
    torch: Any = sys.modules.get("torch")
    if torch is None or type(value) is not torch.Tensor or value.requires_grad or value.device.type != "cpu":
        return None
    try:
        array: NDArray[Any] = value.numpy()
    except (TypeError, RuntimeError):  # (bfloat16; sparse, conjugated)
        return None
    return array


@attrs.frozen
class _Expected:
    """How a column is expected to look, whether it is of tensors, and its memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    tensors: bool
    memory: Memory = attrs.field(factory=functools.partial(Memory, spare=1), eq=False)

    def column(self) -> NDArray[Any]:
        return self.memory.empty(self.shape, self.dtype)

    def row(self, value: Any) -> NDArray[Any] | None:
        """The value as a row of the column; None if it doesn't fit."""
        array = _plain(value) if self.tensors is (type(value) is not np.ndarray) else None
        fits = array is not None and array.shape == self.shape[1:] and array.dtype == self.dtype
        return array if fits else None

    def given(self, array: NDArray[Any]) -> Any:
        return sys.modules["torch"].from_numpy(array) if self.tensors else array


def _same(value: NDArray[Any] | None, place: NDArray[Any]) -> bool:
    """Whether the value is what was made in the place."""
    return value is not None and value.__array_interface__["data"] == place.__array_interface__["data"]


@attrs.define(eq=False)
class _Filling:
    """The columns of one batch while their rows come. (They are replaced, never changed: threads look into them.)"""

    expected: Mapping[Name, _Expected] = attrs.field(factory=dict[Name, _Expected])
    columns: Mapping[Name, NDArray[Any]] = attrs.field(factory=dict[Name, NDArray[Any]], init=False)

    def __attrs_post_init__(self) -> None:
        self.columns = {name: expected.column() for name, expected in self.expected.items()}

    def expect(self, expected: Mapping[Name, _Expected]) -> None:
        """Have these columns from now on; of those that were expected already only what was not given up."""
        self.columns = {
            name: self.columns[name] if self.expected.get(name) is look else look.column()
            for name, look in expected.items()
            if name in self.columns or self.expected.get(name) is not look
        }
        self.expected = expected

    def give_up(self, name: Name) -> None:
        self.columns = {other: column for other, column in self.columns.items() if other != name}


@attrs.define(eq=False)
class Seat:
    """Where the large values of an item may be made: in a row of the batch that it will be in if none before it fails.

    The row is given to one seat only; so there is none for an item that moves up to where another one was seated.
    """

    number: int
    filling: _Filling | None
    row: int
    taken: dict[Name, NDArray[Any]] = attrs.field(factory=dict[Name, NDArray[Any]], init=False)

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any] | None:
        """The row for a value of this shape and dtype, once; None if it isn't certain which column it belongs to."""
        if self.filling is None:
            return None
        columns = self.filling.columns
        fitting = [name for name, column in columns.items() if column.shape[1:] == shape and column.dtype == dtype]
        if len(fitting) != 1 or fitting[0] in self.taken:
            return None
        row: NDArray[Any] = columns[fitting[0]][self.row]
        self.taken[fitting[0]] = row
        return row


@attrs.define
class Gathering:
    """Takes the items of batch after batch, and has the columns that it could fill meanwhile.

    Whoever makes the items just before they are gathered, and nobody else, may ask for a `seat` for each, in their
    order, make them on any thread (`sit` says for whom `place` is asked there), and say with `arrive` which comes next.
    """

    size: int
    columns: dict[Name, Any] = attrs.field(factory=dict[Name, Any], init=False)
    """What is ready of the batch that was gathered last."""
    _expected: dict[Name, _Expected] = attrs.field(factory=dict[Name, _Expected], init=False)
    _fillings: deque[_Filling] = attrs.field(factory=deque[_Filling], init=False)
    _first: int = attrs.field(default=0, init=False)  # the number of the first of them
    _arrived: int = attrs.field(default=0, init=False)
    _seated: int = attrs.field(default=0, init=False)
    _failed: int = attrs.field(default=0, init=False)  # how many seats were left before the item that came last
    _given: int = attrs.field(default=0, init=False)  # up to which row, counted from the first batch's, rows were given
    _arriving: Seat | None = attrs.field(default=None, init=False)
    _here: threading.local = attrs.field(factory=threading.local, init=False)

    def seat(self) -> Seat:
        """The seat of the next item that is awaited."""
        number, row = self._seated, self._seated - self._failed
        self._seated += 1
        if row < self._given:
            return Seat(number, None, 0)
        self._given = row + 1
        return Seat(number, self._filling(row // self.size), row % self.size)

    def sit(self, seat: Seat) -> None:
        """What is made on this thread from now on is made for the item of this seat."""
        self._here.seat = seat

    def place(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any] | None:
        """The row in which a value of this shape and dtype could be made, once for an item; None if none is certain."""
        seat: Seat | None = getattr(self._here, "seat", None)
        return None if seat is None else seat.take(shape, dtype)

    def arrive(self, seat: Seat) -> None:
        """The next item to be gathered is that of this seat; those of the seats between failed."""
        self._arriving = seat

    def gather(self, items: Iterable[Any]) -> list[Any]:
        """The next items, fewer at the end; large values in them are rows of `columns` already."""
        self.columns = {}
        source = islice(items, self.size)
        gathered = [*islice(source, 1)]  # (only now the batch before may be gone, and its memory free)
        if not gathered:
            return gathered
        if self._arrived == 0:
            self._expected = self._like(gathered[0], (), most=GUESSED)
        filling = self._filling(self._first)
        for seated in self._fillings:
            seated.expect(self._expected)
        gathered[0] = self._moved(gathered[0], filling, 0)
        if any(other.columns for other in self._fillings):
            for item in source:
                gathered.append(self._moved(item, filling, len(gathered)))
                del item
        else:
            rest = list(source)
            gathered += rest
            self._arrived += len(rest)
            self._count_failed()
        self.columns = {
            name: filling.expected[name].given(column[: len(gathered)]) for name, column in filling.columns.items()
        }
        self._fillings.popleft()
        self._first += 1
        filling.columns = {}  # (seats still know it)
        return gathered

    def _filling(self, number: int) -> _Filling:
        while len(self._fillings) <= number - self._first:
            self._fillings.append(_Filling(self._expected))
        return self._fillings[number - self._first]

    def _count_failed(self) -> None:
        if self._arriving is not None:
            self._failed = self._arriving.number + 1 - self._arrived

    def _moved(self, item: Any, filling: _Filling, row: int) -> Any:
        """The item with its large values in their columns; a column into which one doesn't fit is given up.

        So is one of which a row was taken, but is kept as another value, or elsewhere than in its place: somebody may
        see what is there, so it must not be written again.
        """
        self._arrived += 1
        self._count_failed()
        seat, self._arriving = self._arriving, None
        values = _columns(item)
        if seat is not None and seat.filling is not None:
            for name, taken in seat.taken.items():
                if not _same(_plain(values.get(name)), taken):
                    seat.filling.give_up(name)
        moved: dict[Name, Any] = {}
        for name, column in filling.columns.items():
            expected, place = filling.expected[name], column[row]
            value = expected.row(values.get(name))
            if value is None:
                filling.give_up(name)
            elif not _same(value, place):
                place[...] = value
                moved[name] = expected.given(place)
        if seat is not None and seat.filling is not None:
            if seat.filling is not filling or seat.row != row:
                for name in seat.taken.keys() - moved.keys():
                    seat.filling.give_up(name)
            seat.taken.clear()  # (a seat must not keep a batch)
        if not moved:
            return item
        return {**values, **moved} if isinstance(item, Mapping) else tuple({**values, **moved}.values())

    def learn(self, batch: Any) -> None:
        """Expect of the next batch what this one has: columns of arrays that are large enough."""
        self._expected = self._like(batch, (0,))

    def _like(self, values: Any, row: tuple[int, ...], most: float = math.inf) -> dict[Name, _Expected]:
        """Columns of at most so many bytes: those of a batch, or with `row` () those that an item fits into."""
        found: dict[Name, _Expected] = {}
        for name, value in _columns(values).items():
            array = _plain(value)
            if array is None or array.ndim <= len(row) or array.dtype.kind not in "biufc" or not array.dtype.isnative:
                continue
            shape = (self.size, *array.shape[len(row) :])
            if LARGE <= math.prod(shape) * array.dtype.itemsize <= most:
                expected = _Expected(shape, array.dtype, array is not value)
                known = self._expected.get(name)
                found[name] = known if known is not None and known == expected else expected
        return found


def _columns(item: Any) -> Mapping[Name, Any]:
    """The fields of a dict or batch, the elements of a tuple by their places; nothing of anything else."""
    if isinstance(item, Mapping):
        return item
    return dict(enumerate(item)) if isinstance(item, tuple) else {}
