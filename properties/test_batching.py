"""The law of batches: unbatched gives back what batched took, value for value, and nothing is left over or made up."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from streamwds import Batch, batched, collate, identity, shuffle, unbatched

shapes = nps.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
dtypes = st.sampled_from(["u1", "i8", "f4", "f8", "c8", "?", "U3", "M8[s]"]).map(np.dtype)


def arrays_of(shape: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Any]:
    """Arrays that share their dtype, and their shape if that is one."""
    return dtypes.flatmap(lambda dtype: st.just(nps.arrays(dtype, shape)))


# what one column may hold: a strategy for its values each
columns: st.SearchStrategy[st.SearchStrategy[Any]] = st.one_of(
    st.sampled_from(
        [
            st.integers(),  # (far beyond 64 bits)
            st.integers(-(2**63), 2**64 - 1),
            st.integers(0, 255),
            st.floats(),
            st.booleans(),
            st.complex_numbers(),
            st.text(max_size=3),
            st.binary(max_size=3),
            st.none(),
            st.lists(st.integers(0, 9), max_size=3),
            st.floats(width=32).map(np.float32),
            st.integers(0, 255).map(np.uint8),
            st.one_of(st.none(), st.integers(), st.text(max_size=2), st.booleans()),
        ]
    ),
    shapes.flatmap(lambda shape: arrays_of(st.just(shape))),
    arrays_of(shapes),
)
rows = st.dictionaries(st.sampled_from(["__key__", "cls", "jpg", "seg.png"]), columns, min_size=1)
dicts = rows.flatmap(lambda fields: st.lists(st.fixed_dictionaries(fields), max_size=12))
tuples = st.lists(columns, min_size=1, max_size=4).flatmap(lambda fields: st.lists(st.tuples(*fields), max_size=12))
values = columns.flatmap(lambda value: st.lists(value, max_size=12)).filter(
    lambda found: not any(isinstance(v, (dict, tuple)) for v in found)
)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same, be they numbers of Python or of numpy."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()
    if isinstance(a, (bool, np.bool_)) or isinstance(b, (bool, np.bool_)):
        return isinstance(a, (bool, np.bool_)) and isinstance(b, (bool, np.bool_)) and bool(a) == bool(b)
    if isinstance(a, (int, float, complex, np.number)):
        return isinstance(b, (int, float, complex, np.number)) and (a == b or str(complex(a)) == str(complex(b)))
    return type(a) is type(b) and bool(a == b)


def same_rows(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(equal, a, b))
    return equal(a, b)


@given(st.one_of(dicts, tuples, values), st.integers(1, 5), st.sampled_from([identity, shuffle(3)]))
def test_unbatched_takes_back_what_batched_did(items: list[Any], n: int, between: Any) -> None:
    found = list(items | between | batched(n) | unbatched)
    expected = list(items | between)
    assert len(found) == len(expected)
    assert all(map(same_rows, expected, found)), f"{expected} became {found}"


@given(st.one_of(dicts, tuples, values), st.integers(1, 5), st.booleans())
def test_batches_are_full_but_for_the_last(items: list[Any], n: int, partial: bool) -> None:
    sizes = [len(batch) for batch in items | batched(n, collate=list, partial=partial)]
    full, rest = divmod(len(items), n)
    assert sizes == [n] * full + [rest] * (partial and rest > 0)
    for batch in items | batched(n, partial=partial):
        kinds: dict[type[Any], type[Any]] = {dict: Batch, tuple: tuple}
        assert type(batch) is kinds.get(type(items[0]), list)


@given(st.lists(st.integers(-(2**70), 2**70) | st.floats() | st.booleans(), min_size=1, max_size=5))
def test_a_column_of_numbers_holds_them_exactly(numbers: list[Any]) -> None:
    """Unless integers stand beside floats: then it has the dtype that numpy gives such a list."""
    (column,) = collate([(number,) for number in numbers])
    if len({type(number) for number in numbers}) == 1:
        assert all(map(equal, numbers, column))
    elif isinstance(column, np.ndarray):
        assert column.tobytes() == np.array(numbers).tobytes()


@given(st.lists(st.lists(st.integers(), max_size=3), max_size=6), st.integers(1, 4))
def test_batches_of_batches(items: list[list[int]], n: int) -> None:
    assert list(items | batched(n) | unbatched | unbatched) == list(itertools.chain.from_iterable(items))
    assert list(items | batched(n) | batched(2) | unbatched | unbatched) == items
