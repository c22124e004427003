"""Random draws that are looked up, not rolled: each is a function of its key alone.

A key is (seed, kind of stage, the stage's own seed, epoch, counter …). The same key gives the same draw in every
process, interpreter and release: blake2b of the key's JSON keys numpy's Philox, whose raw stream is fixed for good
(NEP 19), and nothing but that raw stream is used. tests/test_draws.py pins the values; changing them would change
everybody's orders.
"""

from __future__ import annotations

import json
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.random import Generator, Philox

    from streamwds.context import Context

__all__ = ["Units", "check_seed", "fresh_seed", "generator", "permutation", "raw", "stage_key", "unit"]

Key = tuple[int | str, ...]


def stage_key(context: Context, kind: str, seed: int, counter: int, *, per_worker: bool) -> Key:
    """The key of one draw of one stage: with `per_worker`, different on each rank and worker; else the same on all."""
    who = (context.rank, context.worker) if per_worker else ()
    return (context.seed, kind, seed, context.epoch, counter, *who)


def raw(key: Key, n: int) -> NDArray[np.uint64]:
    """The first n 64-bit words that belong to a key.

    >>> raw((0, "shuffle", 0, 0, 0), 2).tolist() == raw((0, "shuffle", 0, 0, 0), 3).tolist()[:2]
    True
    """
    return np.asarray(_philox(key).random_raw(n), np.uint64)


def _philox(key: Key) -> Philox:
    from numpy.random import Philox  # (numpy loads its random module when asked)

    return Philox(key=np.frombuffer(_hashed(key), "<u8").astype(np.uint64))


def _hashed(key: Key) -> bytes:
    return blake2b(json.dumps(key).encode(), digest_size=16, person=b"streamwds").digest()


def permutation(key: Key, n: int) -> list[int]:
    """A permutation of range(n).

    >>> sorted(permutation((0, "shuffle"), 5))
    [0, 1, 2, 3, 4]
    """
    order: list[int] = np.argsort(raw(key, n), kind="stable").tolist()
    return order


def generator(key: Key) -> Generator:
    """A generator of the key's own.

    Its raw words are the same everywhere and always; what its methods make of them numpy may change with a release
    (NEP 19), and seldom does.

    >>> generator((0, "map")).random() == generator((0, "map")).random()
    True
    """
    from numpy.random import Generator

    return Generator(_philox(key))


def unit(key: Key) -> float:
    """One number from 0 up to and without 1 that belongs to a key; quicker than the first of its raw words.

    >>> 0 <= unit((0, "fraction", "cat-17")) < 1
    True
    """
    return (int.from_bytes(_hashed(key)[:8], "little") >> 11) * 2.0**-53


class Units:
    """The draws of one stage in one run, looked up by their counter: numbers from 0 up to and without 1.

    >>> draws = Units(Context(), "mix", 0)
    >>> draws[300] == Units(Context(), "mix", 0)[300] != draws[301]
    True
    """

    BLOCK = 256  # (so many are made at once)

    def __init__(self, context: Context, kind: str, seed: int) -> None:
        self._context = context
        self._kind = kind
        self._seed = seed
        self._block = -1
        self._units: list[float] = []

    def __getitem__(self, counter: int) -> float:
        block, place = divmod(counter, self.BLOCK)
        if block != self._block:
            key = stage_key(self._context, self._kind, self._seed, block, per_worker=True)
            self._units = ((raw(key, self.BLOCK) >> np.uint64(11)) * 2.0**-53).tolist()
            self._block = block
        return self._units[place]


# ---- seeds


def fresh_seed(seed: int | None) -> int:
    """The seed itself, or for None one drawn now (so that the stage that has it can show it)."""
    return secrets.randbits(31) if seed is None else seed


def check_seed(seed: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"a seed is an integer, or None to have one drawn, not {seed!r}")
