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
    from streamwds.context import Context

__all__ = ["fresh_seed", "permutation", "raw", "stage_key"]

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
    from numpy.random import Philox  # (numpy loads its random module when asked)

    digest = blake2b(json.dumps(key).encode(), digest_size=16, person=b"streamwds").digest()
    words = Philox(key=np.frombuffer(digest, "<u8").astype(np.uint64)).random_raw(n)
    return np.asarray(words, np.uint64)


def permutation(key: Key, n: int) -> list[int]:
    """A permutation of range(n).

    >>> sorted(permutation((0, "shuffle"), 5))
    [0, 1, 2, 3, 4]
    """
    order: list[int] = np.argsort(raw(key, n), kind="stable").tolist()
    return order


def fresh_seed(seed: int | None) -> int:
    """The seed itself, or for None one drawn now (so that the stage that has it can show it)."""
    return secrets.randbits(31) if seed is None else seed
