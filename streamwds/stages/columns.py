"""Columns of batches that are filled while their rows come.

Put together at its end, a batch holds all its pictures twice: 32 of 500 × 375 pixels as floats are 72 MB and again
72 MB, which no cache can hold. So a column is expected to look as it did in the last batch, and each row is copied to
its place as soon as it comes, which leaves its own memory to the next; or it is made there, where the decoder is the
step before. The columns' memory is used again, too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamwds.memory import Memory

__all__ = ["LARGE", "Gathering"]

LARGE = 1 << 20
"""From how many bytes on a column is filled while its rows come."""

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


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@attrs.define
class Gathering:
    """Takes the items of batch after batch, and has the columns that it could fill meanwhile."""

    size: int
    columns: dict[Name, Any] = attrs.field(factory=dict[Name, Any], init=False)
    """What is ready of the batch that was gathered last."""
    _expected: dict[Name, _Expected] = attrs.field(factory=dict[Name, _Expected], init=False)
    _filled: dict[Name, NDArray[Any]] = attrs.field(factory=dict[Name, NDArray[Any]], init=False)
    _row: int = attrs.field(default=0, init=False)
    _placed: set[Name] = attrs.field(factory=set[Name], init=False)

    def gather(self, items: Iterable[Any]) -> list[Any]:
        """The next items, fewer at the end; large values in them are rows of `columns` already."""
        self.columns = {}
        if not self._expected:
            return list(islice(items, self.size))
        gathered: list[Any] = []
        self._filled, self._row = {name: expected.column() for name, expected in self._expected.items()}, 0
        for item in islice(items, self.size):
            gathered.append(self._moved(item))
            self._row += 1
        filled, self._filled = self._filled, {}
        self.columns = {name: self._expected[name].given(array[: self._row]) for name, array in filled.items()}
        return gathered

    def place(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any] | None:
        """The row in which the next item's value of this shape and dtype could be made, once; None if none is certain.

        Whoever makes the items just before they are gathered, and nobody else, may ask for it.
        """
        fitting = [name for name, array in self._filled.items() if array.shape[1:] == shape and array.dtype == dtype]
        if len(fitting) != 1 or fitting[0] in self._placed:
            return None
        self._placed.add(fitting[0])
        row: NDArray[Any] = self._filled[fitting[0]][self._row]
        return row

    def _moved(self, item: Any) -> Any:
        """The item with its large values in their columns; a column into which one doesn't fit is given up.

        So is one whose row was given away, but not to this value: what else was made there may be seen by somebody.
        """
        values = _columns(item)
        moved: dict[Name, Any] = {}
        for name in list(self._filled):
            expected, row = self._expected[name], self._filled[name][self._row]
            value = expected.row(values.get(name))
            there = value is not None and _address(value) == _address(row)
            if value is None or (name in self._placed and not there):
                del self._filled[name]
            elif not there:
                row[...] = value
                moved[name] = expected.given(row)
        self._placed.clear()
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
            expected = _Expected((self.size, *array.shape[1:]), array.dtype, array is not column)
            known = before.get(name)
            self._expected[name] = known if known is not None and known == expected else expected


def _columns(item: Any) -> Mapping[Name, Any]:
    """The fields of a dict or batch, the elements of a tuple by their places; nothing of anything else."""
    if isinstance(item, Mapping):
        return item
    return dict(enumerate(item)) if isinstance(item, tuple) else {}
