"""The laws of shuffle: nothing is lost, no item leaves its block, few are held, and readers differ."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from properties.strategies import contexts
from streamwds import everywhere, shuffle

sizes = st.integers(1, 20)
initials = st.none() | st.integers(1, 25)
counts = st.integers(0, 130)


def blocks(n: int, size: int, initial: int | None) -> list[list[int]]:
    """The blocks of `range(n)` as the documentation has them: from `initial` on (at most 64), doubling up to `size`."""
    room = min(size, 64 if initial is None else initial)
    numbers = iter(range(n))
    found: list[list[int]] = []
    while block := list(islice(numbers, room)):
        found.append(block)
        room = min(2 * room, size)
    return found


@given(counts, sizes, initials, st.integers(-3, 3), contexts(several=True))
def test_each_block_is_a_permutation_of_itself(
    n: int, size: int, initial: int | None, seed: int, context: dict[str, int]
) -> None:
    stream = (range(n) | everywhere | shuffle(size, initial=initial, seed=seed)).within(**context)
    given = iter(stream)
    for block in blocks(n, size, initial):
        assert sorted(islice(given, len(block))) == block
    assert list(given) == []


class Thing:
    """An item whose life can be watched."""


class Things:
    """Fresh things, and how many of them were alive at a time."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.alive = weakref.WeakSet[Thing]()
        self.most = 0

    def __iter__(self) -> Iterator[Thing]:
        for _ in range(self.n):
            thing = Thing()
            self.alive.add(thing)
            self.most = max(self.most, len(self.alive))
            yield thing
            del thing


@given(counts, sizes, initials, st.booleans())
def test_at_most_one_more_than_its_size_are_alive(n: int, size: int, initial: int | None, tracked: bool) -> None:
    things = Things(n)
    stream = things | shuffle(size, initial=initial)
    for item in stream.tracked() if tracked else stream:
        del item  # (as a consumer that keeps nothing)
    assert things.most <= size + 1
    assert not things.alive


@given(st.integers(30, 60), sizes.filter(lambda size: size > 8), st.integers(0, 5))
def test_seeds_epochs_and_readers_have_orders_of_their_own(n: int, size: int, seed: int) -> None:
    def order(own: int = seed, **context: int) -> list[int]:
        return list((range(n) | everywhere | shuffle(size, initial=size, seed=own)).within(**context))

    others = [
        order(),
        order(seed + 1),
        order(seed=1),
        order(epoch=1),
        order(epoch=2),
        order(rank=1, world_size=2),
        order(worker=1, workers=2),
    ]
    assert len({tuple(other) for other in others}) == len(others)
    assert order(rank=0, world_size=2, worker=0, workers=3) == order()  # (the first reader has the order of a lone one)
    assert order(epoch=1) == others[3]


@pytest.mark.parametrize("size", [2, 5])
def test_every_order_comes_about_as_often(size: int) -> None:
    """Chi-squared over the orders of a block in many epochs: far above what chance gives would be a biased draw."""
    orders: dict[tuple[Any, ...], int] = {}
    times = 6_000
    for epoch in range(times):
        order = tuple((range(size) | shuffle(size)).within(epoch=epoch))
        orders[order] = orders.get(order, 0) + 1
    kinds = {2: 2, 5: 120}[size]
    expected = times / kinds
    chi = sum((found - expected) ** 2 / expected for found in orders.values()) + (kinds - len(orders)) * expected
    assert (
        chi < {2: 11, 5: 175}[size]
    )  # (exceeded once in a thousand by chance; the draws are fixed, so never or always)
