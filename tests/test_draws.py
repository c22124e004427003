"""The values of random draws are pinned: changing them would change everybody's orders."""

from __future__ import annotations

import pytest

from streamwds import draws, everywhere, shuffle


def test_the_raw_words_of_a_key() -> None:
    assert draws.raw((0, "shuffle", 0, 0, 0), 4).tolist() == [
        4877900199249265931,
        9503791538883238043,
        11502741940160549957,
        2775057915353981790,
    ]
    assert draws.raw((7, "mix", -1, 3, 12, 1, 2), 2).tolist() == [5953422913124788510, 676280985582421148]
    assert draws.raw((0,), 0).tolist() == []


def test_a_permutation() -> None:
    assert draws.permutation((0, "shuffle", 0, 0, 0), 10) == [3, 5, 0, 8, 1, 2, 4, 7, 6, 9]


ORDERS: list[tuple[dict[str, int], list[int]]] = [
    ({}, [0, 1, 5, 4, 2, 3, 13, 8, 7, 9, 11, 10, 12, 6, 20, 19, 14, 17, 15, 16, 18, 21, 23, 22]),
    ({"epoch": 1}, [1, 0, 3, 4, 2, 5, 9, 10, 6, 12, 11, 8, 7, 13, 20, 17, 16, 14, 18, 15, 19, 21, 22, 23]),
    ({"seed": 1}, [1, 0, 2, 3, 5, 4, 13, 12, 8, 6, 9, 11, 10, 7, 17, 19, 16, 21, 15, 18, 20, 14, 23, 22]),
    (
        {"rank": 1, "world_size": 2},
        [0, 1, 5, 3, 4, 2, 6, 8, 13, 9, 12, 11, 7, 10, 20, 17, 21, 14, 19, 15, 18, 16, 23, 22],
    ),
    (
        {"worker": 1, "workers": 2},
        [1, 0, 4, 5, 2, 3, 7, 10, 6, 12, 13, 9, 8, 11, 18, 20, 17, 16, 19, 14, 21, 15, 23, 22],
    ),
]


@pytest.mark.parametrize(("fixed", "order"), ORDERS)
def test_the_order_of_shuffle(fixed: dict[str, int], order: list[int]) -> None:
    assert list((range(24) | everywhere | shuffle(8, initial=2)).within(**fixed)) == order


def test_the_order_of_shuffle_with_a_seed_of_its_own() -> None:
    order = [1, 0, 5, 2, 4, 3, 10, 8, 7, 13, 9, 12, 11, 6, 20, 14, 16, 19, 15, 18, 17, 21, 23, 22]
    assert list(range(24) | shuffle(8, initial=2, seed=5)) == order


def test_a_seed_of_none_is_drawn_once_and_shown() -> None:
    stage = shuffle(10, seed=None)
    assert "seed=" in repr(stage)
    assert list(range(30) | stage) == list(range(30) | stage)
    assert repr(shuffle(10, seed=None)) != repr(stage)
