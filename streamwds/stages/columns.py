"""Columns of batches that are filled while their rows come, in memory that is used again.

A batch of pictures is large: 32 of 500 × 375 pixels are 72 MB as floats. Put together at its end, it costs fresh memory
for every picture and for the batch, and the system charges for each 4 kB of that when they are first touched, more than
the decoder takes. So a column is expected to look as it did in the last batch; each row is copied to its place as soon
as it comes, and is free for the next; and the memory of a column that nobody holds any more is filled anew.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGE", "Gathering", "Recycled"]

LARGE = 1 << 20
"""From how many bytes on a column is filled while its rows come."""

Name: TypeAlias = Any  # of a column: a field of dicts, or the place in tuples


def _nobody() -> None:
    return None


@attrs.frozen(eq=False)
class _Block:
    """Memory, and the array over it that all its users refer to, as long as there are any."""

    memory: NDArray[np.uint8]
    holder: Callable[[], NDArray[Any] | None] = _nobody


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


@attrs.define
class Recycled:
    """Arrays of one shape and dtype, in memory that is used again when nobody holds an array any more.

    Every view of an array keeps it alive, be it one of numpy's, a tensor, or a memoryview, and its memory is not
    touched before all of them are gone. Besides what is held, the memory of at most one array is kept.

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
    _blocks: list[_Block] = attrs.field(factory=list[_Block], init=False)

    def take(self) -> NDArray[Any]:
        """An array that nobody else holds, of whatever values."""
        free = [block for block in self._blocks if block.holder() is None]
        block = free.pop(0) if free else _Block(np.empty(int(np.prod(self.shape)) * self.dtype.itemsize, np.uint8))
        # Each view of an array, and each view of that, refers to the one array behind which there is no other. Behind
        # this one is a memoryview; so as long as it lives, and no longer, somebody holds the memory.
        holder: NDArray[Any] = np.frombuffer(block.memory.data, self.dtype)
        held = [block for block in self._blocks if block.holder() is not None]
        self._blocks = [*held, attrs.evolve(block, holder=weakref.ref(holder)), *free[:1]]
        return holder.reshape(self.shape)


@attrs.frozen
class _Expected:
    """How a column is expected to look, and whether it is of tensors."""

    arrays: Recycled
    tensors: bool

    def row(self, value: Any) -> NDArray[Any] | None:
        """The value as a row of the column; None if it doesn't fit."""
        array = _plain(value) if self.tensors is (type(value) is not np.ndarray) else None
        fits = array is not None and array.shape == self.arrays.shape[1:] and array.dtype == self.arrays.dtype
        return array if fits else None

    def given(self, array: NDArray[Any]) -> Any:
        return sys.modules["torch"].from_numpy(array) if self.tensors else array


@attrs.define
class Gathering:
    """Takes the items of batch after batch, and has the columns that it could fill meanwhile."""

    size: int
    columns: dict[Name, Any] = attrs.field(factory=dict[Name, Any], init=False)
    """What is ready of the batch that was gathered last."""
    _expected: dict[Name, _Expected] = attrs.field(factory=dict[Name, _Expected], init=False)

    def gather(self, items: Iterable[Any]) -> list[Any]:
        """The next items, fewer at the end; large values in them are rows of `columns` already."""
        self.columns = {}
        if not self._expected:
            return list(islice(items, self.size))
        filled = {name: expected.arrays.take() for name, expected in self._expected.items()}
        gathered = [self._moved(item, row, filled) for row, item in enumerate(islice(items, self.size))]
        self.columns = {name: self._expected[name].given(array[: len(gathered)]) for name, array in filled.items()}
        return gathered

    def _moved(self, item: Any, row: int, filled: dict[Name, NDArray[Any]]) -> Any:
        """The item with its large values in their columns; a column into which one doesn't fit is given up."""
        values = _columns(item)
        moved: dict[Name, Any] = {}
        for name in list(filled):
            expected, column = self._expected[name], filled[name]
            if (value := expected.row(values.get(name))) is None:
                del filled[name]
            else:
                column[row] = value
                moved[name] = expected.given(column[row])
        if not moved:
            return item
        return {**values, **moved} if isinstance(item, Mapping) else tuple({**values, **moved}.values())

    def learn(self, batch: Any) -> None:
        """Expect of the next batch what this one has: columns of arrays that are large enough."""
        before, self._expected = self._expected, {}
        for name, column in _columns(batch).items():
            array = _plain(column)
            if array is None or array.ndim < 2 or array.nbytes < LARGE:
                continue
            shape, tensors = (self.size, *array.shape[1:]), array is not column
            same = before.get(name)
            if same is None or (same.arrays.shape, same.arrays.dtype, same.tensors) != (shape, array.dtype, tensors):
                same = _Expected(Recycled(shape, array.dtype), tensors)
            self._expected[name] = same


def _columns(item: Any) -> Mapping[Name, Any]:
    """The fields of a dict or batch, the elements of a tuple by their places; nothing of anything else."""
    if isinstance(item, Mapping):
        return item
    return dict(enumerate(item)) if isinstance(item, tuple) else {}
