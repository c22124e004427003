"""Memory of large arrays that is used again when nobody holds them any more.

The system charges for each 4 kB of fresh memory when they are first touched, and large blocks are given back to it as
soon as they are free; so a picture of 2 MB costs several hundred page faults, which take about as long as its pixels
take to decode, and longer where several threads wait for each other in the kernel.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Memory"]

SMALL = 1 << 17
"""Up to how many bytes the system's own allocator is left to it: it keeps them by itself."""


class Memory:
    """Gives out arrays, and their memory again when they are gone.

    Every view of an array keeps it alive, be it one of numpy's, a tensor, or a memoryview, and its memory is not
    touched before all of them are gone. Of blocks that nobody holds, the last `spare` are kept. May be used from
    several threads; all is given back with this object, or with the last array if that goes later.

    >>> memory = Memory(spare=2)
    >>> first = memory.empty((1000, 1000), np.uint8)
    >>> view, place = first[10:20], first.ctypes.data
    >>> del first
    >>> memory.empty((1000, 1000), np.uint8).ctypes.data == place
    False
    >>> del view
    >>> memory.empty((1000, 1000), np.uint8).ctypes.data == place
    True
    """

    def __init__(self, spare: int) -> None:
        self._held: dict[int, tuple[weakref.ref[Any], NDArray[np.uint8]]] = {}
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=spare)
        myself = weakref.ref(self)  # (no cycle: memory must not wait for the garbage collector)

        def give_back(holder: weakref.ref[Any]) -> None:
            if (memory := myself()) is not None:
                memory._free.append(memory._held.pop(id(holder))[1])

        self._give_back = give_back

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array that nobody else holds, of whatever values."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size <= SMALL:
            return np.empty(shape, dtype)
        block = self._take(size)
        # Each view of an array, and each view of that, refers to the one array behind which there is no other. Behind
        # this one is a memoryview; so as long as it lives, and no longer, somebody holds the block.
        holder: NDArray[np.uint8] = np.frombuffer(block.data, np.uint8)
        gone = weakref.ref(holder, self._give_back)
        self._held[id(gone)] = (gone, block)
        array: NDArray[Any] = np.ndarray(shape, dtype, holder)
        return array

    def _take(self, size: int) -> NDArray[np.uint8]:
        with contextlib.suppress(IndexError):  # (none is left: threads take at the same time)
            for _ in range(len(self._free)):
                block = self._free.pop()  # the last first, for it may be in the processor's caches still
                if size <= block.nbytes <= 2 * size:
                    return block
                self._free.appendleft(block)
        return np.empty(size, np.uint8)
