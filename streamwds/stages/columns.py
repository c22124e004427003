"""Columns of batches that are filled while their rows come, in memory that is used again.

A batch of pictures is large: 32 of 500 × 375 pixels are 72 MB as floats. Put together at its end, it costs fresh memory
for every picture and for the batch, and the system charges for each 4 kB of that when they are first touched, more than
the decoder takes. So a column is expected to look as it did in the last batch; each row is copied to its place as soon
as it comes, and is free for the next; and the memory of a column that nobody holds any more is filled anew.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGE", "Gathering", "Recycled"]

LARGE = 1 << 20
"""From how many bytes on a column is filled while its rows come."""

Name: TypeAlias = Any  # of a column: a field of dicts, or the place in tuples


@attrs.define
class Recycled:
    """Arrays of one shape and dtype, in memory that is used again when nobody holds an array any more.

    Every view of an array keeps it alive, be it one of numpy's, a tensor's, or a memoryview, and its memory is not
    touched before all of them are gone. Besides what is held, at most one array's memory is kept.

    >>> arrays = Recycled((1000,), np.dtype("u1"))
    >>> first = arrays.take()
    >>> view, place = first[10:20], first.ctypes.data
    >>> del first
    >>> arrays.take().ctypes.data == place
    False
    >>> del view
    >>> arrays.take().ctypes.data == place
    True
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _blocks: list[tuple[NDArray[np.uint8], weakref.ref[NDArray[Any]]]] = attrs.field(factory=list, init=False)

    def take(self) -> NDArray[Any]:
        """An array that nobody else holds, of whatever values."""
        held = [block for block in self._blocks if block[1]() is not None]
        free = [block[0] for block in self._blocks if block[1]() is None]
        memory = free[0] if free else np.empty(int(np.prod(self.shape)) * self.dtype.itemsize, np.uint8)
        # Every view of an array, and every view of that, refers to the one array that no other array is behind. Behind
        # this one is a memoryview, so as long as it lives, and no longer, somebody holds the memory.
        array: NDArray[Any] = np.frombuffer(memory.data, self.dtype)
        self._blocks = [*held, (memory, weakref.ref(array)), *((spare, _nobody) for spare in free[1:2])]
        return array.reshape(self.shape)


def _nobody() -> None:
    return None


def _plain_tensor(value: Any) -> bool:
    """Whether it is a tensor that numpy can look into."""
    torch: Any = sys.modules.get("torch")
    if torch is None or type(value) is not torch.Tensor:
        return False
    return bool(
        value.device.type == "cpu"
        and value.layout == torch.strided
        and not (value.requires_grad or value.is_conj() or value.is_neg())
        and value.dtype != torch.bfloat16
    )


@attrs.frozen
class _Expected:
    """A column that is expected, and whether it is a tensor."""

    arrays: Recycled
    tensor: bool

    @classmethod
    def after(cls, column: Any, rows: int, before: _Expected | None) -> _Expected | None:
        """What is expected after a column; None if it is small, or none of an array's or tensor's rows."""
        tensor = _plain_tensor(column)
        if not (tensor or type(column) is np.ndarray) or column.nbytes < LARGE or column.ndim < 2:
            return None
        array: NDArray[Any] = column.numpy() if tensor else column
        shape = (rows, *array.shape[1:])
        if before is not None and (before.arrays.shape, before.arrays.dtype, before.tensor) == (shape, array.dtype, tensor):
            return before
        return cls(Recycled(shape, array.dtype), tensor)

    def row(self, value: Any) -> NDArray[Any] | None:
        """The value as a row of the column; None if it doesn't fit."""
        if self.tensor:
            value = value.numpy() if _plain_tensor(value) else None
        fits = type(value) is np.ndarray and value.shape == self.arrays.shape[1:] and value.dtype == self.arrays.dtype
        return value if fits else None

    def given(self, array: NDArray[Any]) -> Any:
        return sys.modules["torch"].from_numpy(array) if self.tensor else array


@attrs.define
class Gathering:
    """Takes the items of batch after batch, and has the columns that it could fill meanwhile."""

    size: int
    columns: dict[Name, Any] = attrs.field(factory=dict, init=False)
    """What is ready of the batch that was gathered last."""
    _expected: dict[Name, _Expected] = attrs.field(factory=dict, init=False)

    def gather(self, items: Iterable[Any]) -> list[Any]:
        """The next items, fewer at the end; large values in them are rows of `columns` already."""
        self.columns = {}
        if not self._expected:
            return list(islice(items, self.size))
        filled = {name: expected.arrays.take() for name, expected in self._expected.items()}
        gathered: list[Any] = []
        for index, item in enumerate(islice(items, self.size)):
            gathered.append(self._moved(item, index, filled))
            del item
        self.columns = {name: self._expected[name].given(array[: len(gathered)]) for name, array in filled.items()}
        return gathered

    def _moved(self, item: Any, index: int, filled: dict[Name, NDArray[Any]]) -> Any:
        """The item with its large values in their columns; a column into which one doesn't fit is given up."""
        values = item if isinstance(item, dict) else dict(enumerate(item)) if isinstance(item, tuple) else {}
        moved: dict[Name, Any] = {}
        for name, array in list(filled.items()):
            row = self._expected[name].row(values.get(name))
            if row is None:
                del filled[name]
            else:
                array[index] = row
                moved[name] = self._expected[name].given(array[index])
        if not moved:
            return item
        return {**item, **moved} if isinstance(item, dict) else tuple({**values, **moved}.values())

    def learn(self, batch: Any) -> None:
        """Expect of the next batch what this one has."""
        columns = batch if isinstance(batch, Mapping) else dict(enumerate(batch)) if isinstance(batch, tuple) else {}
        found = {name: _Expected.after(c, self.size, self._expected.get(name)) for name, c in columns.items()}
        self._expected = {name: expected for name, expected in found.items() if expected is not None}
