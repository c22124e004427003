"""Many headers at once: numpy finds, checks and reads all headers in a stretch of a shard.

Python takes microseconds for each header; the format itself needs a quarter of one. So the blocks that look like
headers are gathered into one matrix, and each check is one operation on its columns. What is in any way odd (v7
headers, a chain of offsets that does not hold, a wrong checksum) is left to `members.walk`, which knows all there is to
know about tar and reports errors: here it is only found out that something is odd.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamwds.tar.buffers import Buffer

__all__ = ["Headers", "fold", "headers", "varying_bits"]

Words = NDArray[np.uint64]
Blocks = NDArray[np.int64]

_USTAR = int.from_bytes(b"\0ust", "little")

# Eight octal digits in a word become a number in three steps, in which ever larger groups of digits are joined.
_DIGITS = np.uint64(0x3030303030303000)
_PAIRS, _PAIR_MASK = np.uint64(8 * 256 + 1), np.uint64(0x00FF00FF00FF00FF)
_FOURS, _FOUR_MASK = np.uint64(64 * 65536 + 1), np.uint64(0x0000FFFF0000FFFF)
_EIGHTS = np.uint64(4096 * (1 << 32) + 1)
_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)


def _fixed() -> tuple[Words, Words]:
    """Which bits all plain headers share, and their values: size = 0000ddddddd octal, "ustar", no prefix."""
    mask, want = np.zeros(512, "u1"), np.zeros(512, "u1")
    mask[124:128] = mask[257:262] = mask[345:500] = 0xFF
    mask[128:135] = mask[148:154] = 0xF8  # octal digits of the size and the checksum
    mask[135] = mask[154] = 0xDF  # NUL or space behind them
    want[124:135] = want[148:154] = ord("0")
    want[257:262] = list(b"ustar")
    return mask.view("<u8"), want.view("<u8")


_MASK, _WANT = _fixed()


def _weights() -> NDArray[np.float32]:
    """Weights under which a header's bytes add up to (its byte sum - its stored checksum)."""
    weights = np.ones(512, "f4")
    weights[148:156] = 0
    weights[148:154] = -(8.0 ** np.arange(5, -1, -1))
    return weights


_WEIGHTS = _weights()
_GOOD = -8 * 32 - ord("0") * sum(8**i for i in range(6))  # what they add up to if the checksum holds
# (the checksum's own bytes count as spaces in the sum; its six digits are characters; all is exact in float32)


class Headers(NamedTuple):
    """The headers in a stretch of a shard, one row for each, all of them checked.

    at: their block numbers. size: the bytes of data behind each. after: the block number behind that data.
    words: the headers, (n, 64) uint64. vary: the bits that are not the same in all of them, (64,) uint64.
    """

    at: Blocks
    size: Blocks
    after: Blocks
    words: Words
    vary: Words

    @property
    def kind(self) -> int:
        """The type flag that all of them have, or -1."""
        return -1 if self.vary.view("u1")[156] else int(self.words[0].view("u1")[156])


def fold(operation: Any, rows: Words, together: int = 16) -> Words:
    """`operation.reduce(rows, 0)`, faster: 16 rows at a time. The operation is idempotent (some rows count twice)."""
    n, width = rows.shape
    if n < 2 * together:
        return np.asarray(operation.reduce(rows, 0))
    whole = operation.reduce(rows[: n - n % together].reshape(-1, together * width), 0).reshape(together, width)
    if n % together:
        operation(whole, rows[n - together :], out=whole)
    return np.asarray(operation.reduce(whole, 0))


def headers(buffer: Buffer, end: int, bare: Blocks | None = None) -> Headers | None:
    """All headers in the first `end` bytes, each but perhaps the last with its data; None if one is odd.

    bare: block numbers of headers whose data was left out of the buffer.
    """
    blocks = end >> 9
    at: Blocks = (buffer.magic[:blocks] == _USTAR).nonzero()[0]
    while True:
        n = len(at)
        if not n or at[0]:
            return None
        out = buffer.gathered[:n] if n <= len(buffer.gathered) else None
        words: Words = buffer.words.take(at, 0, out=out, mode="clip")
        size = _sizes(words)
        after = size + 1023
        after >>= 9
        after += at
        if bare is not None:
            rows = np.searchsorted(at, bare)
            if not bool((at.take(rows, mode="clip") == bare).all()):
                return None
            after[rows] = bare + 1
        if bool((after[:-1] == at[1:]).all()):
            break
        at = _chain(at, after)
        if len(at) == n:
            return None
    vary = varying_bits(buffer, words)
    return None if vary is None else Headers(at, size, after, words, vary)


def varying_bits(buffer: Buffer, words: Words) -> Words | None:
    """The bits that are not the same in all of these headers, (64,) uint64; None if one is odd, or does not verify."""
    ones, zeros = fold(np.bitwise_or, words), fold(np.bitwise_and, words)
    vary = ones ^ zeros
    if bool((vary & _MASK).any()) or not bool(((words[0] & _MASK) == _WANT).all()):
        return None
    return vary if _checksums_hold(buffer, words, vary.nonzero()[0]) else None


def _sizes(words: Words) -> Blocks:
    x = words[:, 16] << _8  # bytes 128 to 134 of the header: the last seven digits of the size
    x ^= _DIGITS
    x *= _PAIRS
    x >>= _8
    x &= _PAIR_MASK
    x *= _FOURS
    x >>= _16
    x &= _FOUR_MASK
    x *= _EIGHTS
    x >>= _32
    sizes: Blocks = x.view("i8")
    return sizes


def _chain(at: Blocks, after: Blocks) -> Blocks:
    """Those that follow each other from the first on; the others only look like headers, in the data of members."""
    where = np.searchsorted(at, after)
    is_there = (at.take(where, mode="clip") == after).tolist()
    following = where.tolist()
    kept = [0]
    while is_there[kept[-1]]:
        kept.append(following[kept[-1]])
    return at[kept]


@lru_cache(256)
def _split_weights(varying: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weights of the bytes in these header words, and those of all the others."""
    chosen = np.frombuffer(varying, np.intp)
    rest = _WEIGHTS.copy().reshape(64, 8)
    weights = rest[chosen].ravel()
    rest[chosen] = 0
    return weights, rest.ravel()


def _checksums_hold(buffer: Buffer, words: Words, varying: NDArray[np.intp]) -> bool:
    """One dot product for all: what varies row by row, what doesn't once."""
    n, width = len(words), len(varying)
    weights, rest = _split_weights(varying.tobytes())
    constant = float(words[0].view("u1") @ rest)
    if not width:
        return bool(constant == _GOOD)
    reuse = n * width <= len(buffer.varying) and width <= 16
    taken = buffer.varying[: n * width] if reuse else np.empty(n * width, "<u8")
    weighed = buffer.weighed[: n * width * 8] if reuse else np.empty(n * width * 8, "f4")
    words.take(varying, 1, out=taken.reshape(n, width), mode="clip")
    weighed[...] = taken.view("u1")
    found = weighed.reshape(n, width * 8) @ weights == _GOOD - constant
    return bool(found.all())
