"""Reads of a local shard only what is wanted: headers, and the data of small or wanted members; over the rest it seeks.

So a buffer may hold headers whose data is left out (`bare` ones), and what lies in it lies elsewhere in the shard:
`Gaps` keeps both. Nothing is decided here about what a header means: that is found out from the buffer, as if all had
been read, and whatever looks odd ends the skipping.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from streamwds.memo import Memo
from streamwds.tar.buffers import Buffer
from streamwds.tar.headers import BLOCK, padded, text

__all__ = ["Gaps"]

WORTH = 8 << 10  # bytes of data below which reading costs less than to seek
WINDOW = 4 << 10  # what is read behind a gap: as a rule the small members until the next large one
WINDOWS = 1 << 20
REGULAR_FILE = ord("0")


class Gaps:
    """What lies in a buffer of a shard that is read with gaps.

    base: the offset in the shard of what lies at the buffer's front.
    """

    def __init__(self, file: io.FileIO, base: int, wants: Callable[[str], bool]) -> None:
        self.base = base
        self._file = file
        self._next = 0  # where in the buffer the next header to be looked at begins, perhaps behind what was read
        self._extended = False  # whether the header before it describes it
        self._ended = False
        self._bare: list[int] = []  # block numbers of headers without their data
        self._missing: list[int] = []  # and the bytes that they lack
        self._behind = 0  # where in the buffer the last of them ends
        self._step = -1  # from there to the one that came next
        self._extension, self._dot = b"", -1  # what it is called, and where in its name field that begins
        self._wants: Memo[bytes, bool] = Memo(lambda field: wants(text(field)), most=1 << 12)
        file.seek(base)

    def fill(self, buffer: Buffer, have: int, want: int) -> int:
        """Read until `want` bytes are there, or there is nothing more that can be read so: how many there are."""
        octets, memory = buffer.bytes, buffer.memory
        at, window = self._next, WINDOW
        while not self._ended:
            if at + BLOCK > have:
                end = min(at + window, buffer.capacity)
                if have >= want or end <= have:
                    break
                got = self._file.readinto(memory[have:end])
                self._ended = not got
                have += got or 0
                window = min(2 * window, WINDOWS)
                continue
            try:
                size = int(octets[at + 124 : at + 135], 8)
            except ValueError:
                self._ended = True
                break
            kind = octets[at + 156]
            if kind == REGULAR_FILE and size >= WORTH and not self._extended and self._is_needless(octets, at):
                have = self._leave_out(octets, at, have, padded(size))
                at += BLOCK
                if at == have:
                    at = have = self._leave_out_alike(buffer, at, want)
                window = WINDOW
                continue
            self._extended = kind != REGULAR_FILE
            at += BLOCK + padded(size)
        self._next = at
        return have

    def _is_needless(self, octets: mmap, at: int) -> bool:
        name = octets[at : at + 100].partition(b"\0")[0]
        dot = name.find(b".", name.rfind(b"/") + 1)
        extension = name[dot:] if dot >= 0 else b""
        if self._wants[extension[1:]]:
            return False
        self._extension, self._dot = extension + b"\0", dot
        return True

    def _leave_out(self, octets: mmap, at: int, have: int, size: int) -> int:
        """Leave out the data behind the header at a place in the buffer, of which some may be there: what is left."""
        self._step = at - self._behind
        self._bare.append(at >> 9)
        self._missing.append(size)
        self._behind = at = at + BLOCK
        if have - at <= size:
            self._file.seek(size - (have - at), io.SEEK_CUR)
            return at
        octets.move(at, at + size, have - at - size)
        return have - size

    def _leave_out_alike(self, buffer: Buffer, at: int, want: int) -> int:
        """As long as the next large member comes as far behind the last as that behind the one before, go from one to
        the next without a look at what is between. (If that was wrong, the chain of headers will not hold.)
        """
        octets, memory, capacity = buffer.bytes, buffer.memory, buffer.capacity
        readinto, seek = self._file.readinto, self._file.seek
        step, extension, dot = self._step, self._extension, self._dot
        bare, missing = self._bare.append, self._missing.append
        if dot < 0 or step < 0:
            return at
        while at < want and (end := at + step + BLOCK) <= capacity:
            got = readinto(memory[at:end])
            header = at + step
            name = header + dot
            if (
                got != step + BLOCK
                or octets[name : name + len(extension)] != extension
                or (digits := octets[header + 124 : header + 135]).strip(b"01234567")
                or (size := int(digits, 8)) < WORTH
            ):
                seek(-(got or 0), io.SEEK_CUR)
                break
            size = size + 511 & -512
            bare(header >> 9)
            missing(size)
            seek(size, io.SEEK_CUR)
            at = end
        self._behind = at
        return at

    def bare(self) -> NDArray[np.int64] | None:
        """The block numbers of the headers without their data; None if there are none."""
        return np.array(self._bare, np.int64) if self._bare else None

    def offsets(self, places: list[int]) -> list[int]:
        """Where in the shard lies what lies there in the buffer."""
        found = np.array(places, np.int64)
        missing = np.concatenate([[0], np.cumsum(self._missing, dtype=np.int64)])
        found += missing[np.searchsorted(self._bare, found >> 9)] + self.base
        offsets: list[int] = found.tolist()
        return offsets

    def keep(self, buffer: Buffer, start: int, end: int) -> int:
        """Move what lies between to the front; how much that is."""
        (self.base,) = self.offsets([start])
        gone = int(np.searchsorted(self._bare, start >> 9))
        self._bare = [block - (start >> 9) for block in self._bare[gone:]]
        self._missing = self._missing[gone:]
        self._next -= start
        self._behind -= start
        return buffer.keep(start, end)
