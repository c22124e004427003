"""The laws of stages that group items out of their order: nothing is lost, limits are kept, and they resume."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamwds import Sample, bucket_batched, pack, take
from streamwds.stage import Stage
from streamwds.testing import check_resume

windows = st.sampled_from([1, 3, 10, 50])
limits: st.SearchStrategy[tuple[int | None, int | None]] = st.tuples(
    st.none() | st.integers(1, 5), st.none() | st.integers(9, 30)
).filter(any)


@st.composite
def texts(draw: st.DrawFn, longest: int = 9) -> list[Sample]:
    """Samples whose tokens are all different, and say whose they are."""
    lengths = draw(st.lists(st.integers(0, longest), max_size=25))
    return [{"__key__": f"{n}", "tokens": np.arange(100 * n, 100 * n + length)} for n, length in enumerate(lengths)]


def tokens(sample: Sample) -> int:
    return len(sample["tokens"])


# ---- bucket_batched


@given(texts(), limits, windows, st.none() | st.just((2, 4, 8)))
def test_each_item_is_in_one_batch_and_no_batch_is_too_large(
    samples: list[Sample], limit: tuple[int | None, int | None], window: int, bounds: Any
) -> None:
    most, space = limit
    batches = (
        bucket_batched(tokens, max_items=most, max_tokens=space, window=window, bounds=bounds, collate=list)(samples)
        | list
    )
    assert sorted(int(sample["__key__"]) for sample in chain.from_iterable(batches)) == list(range(len(samples)))
    for batch in batches:
        assert most is None or len(batch) <= most
        assert space is None or len(batch) * max(map(tokens, batch)) <= space or len(batch) == 1


@given(texts(), limits)
def test_items_wait_for_no_longer_than_a_window(samples: list[Sample], limit: tuple[int | None, int | None]) -> None:
    window = 4
    batches = bucket_batched(tokens, max_items=limit[0], max_tokens=limit[1], window=window, collate=list)(samples)
    windows_of = [{int(sample["__key__"]) // window for sample in batch} for batch in batches]
    assert all(len(found) == 1 for found in windows_of)
    numbers = [number for found in windows_of for number in found]
    assert numbers == sorted(numbers)


@given(texts(), limits)
def test_padding_stands_behind_what_was_there(samples: list[Sample], limit: tuple[int | None, int | None]) -> None:
    for batch in samples | bucket_batched(tokens, max_items=limit[0], max_tokens=limit[1], pad=-1):
        lengths = [tokens(samples[int(key)]) for key in batch["__key__"]]
        assert batch["tokens"].shape == (len(lengths), max(lengths))
        for key, row, length in zip(batch["__key__"], batch["tokens"], lengths):
            assert (row[:length] == samples[int(key)]["tokens"]).all()
            assert (row[length:] == -1).all()


@given(texts(), limits, windows, st.booleans())
def test_bucket_batched_resumes(
    samples: list[Sample], limit: tuple[int | None, int | None], window: int, partial: bool
) -> None:
    stage = bucket_batched(
        tokens, max_items=limit[0], max_tokens=limit[1], window=window, partial=partial, pad=0, collate=list
    )
    check_resume(stage, samples)


# ---- pack


def unpacked(packs: list[Sample]) -> list[list[int]]:
    """The pieces that packs are made of, by their segment ids."""
    pieces: list[list[int]] = []
    for made in packs:
        ids = made["segment_ids"]
        for segment in range(1, int(ids.max(initial=0)) + 1):
            where = ids == segment
            assert made["positions"][where].tolist() == list(range(int(where.sum())))
            pieces.append(made["tokens"][where].tolist())
        assert not made["tokens"][ids == 0].any()
    return pieces


@given(texts(), st.integers(9, 30), st.integers(1, 4), windows)
def test_whole_sequences_stay_whole(samples: list[Sample], length: int, bins: int, window: int) -> None:
    packs = samples | pack(length, "tokens", bins=bins, window=window) | list
    assert all(made["tokens"].shape == (length,) for made in packs)
    expected = [sample["tokens"].tolist() for sample in samples if tokens(sample)]
    assert sorted(unpacked(packs)) == sorted(expected)


@given(texts(longest=20), st.integers(1, 12))
def test_split_sequences_come_one_behind_the_other_without_a_gap(samples: list[Sample], length: int) -> None:
    packs = samples | pack(length, "tokens", split=True) | list
    row = [token for sample in samples for token in sample["tokens"].tolist()]
    assert [token for made in packs for token in made["tokens"][made["segment_ids"] > 0].tolist()] == row
    assert len(packs) == -(-len(row) // length)
    keys = [made["__key__"] for made in packs]
    assert len(set(keys)) == len(keys)


@given(texts(), st.integers(9, 20), st.integers(1, 4), windows)
def test_pack_resumes(samples: list[Sample], length: int, bins: int, window: int) -> None:
    check_resume(pack(length, "tokens", bins=bins, window=window), samples)


@given(texts(longest=20), st.integers(1, 12))
def test_pack_resumes_within_a_sequence(samples: list[Sample], length: int) -> None:
    check_resume(pack(length, "tokens", split=True), samples)


# ---- both


def made(whole: bool) -> Callable[[int], Stage[Any, Any]]:
    return (
        (lambda n: bucket_batched(tokens, max_items=3, window=n)) if whole else (lambda n: pack(9, "tokens", window=n))
    )


@given(texts(), st.booleans(), st.integers(1, 8), st.integers(0, 5))
def test_no_more_is_read_than_a_window_ahead(samples: list[Sample], whole: bool, window: int, n: int) -> None:
    pulled = 0

    class Counted:
        def __iter__(self) -> Any:
            nonlocal pulled
            for sample in samples:
                pulled += 1
                yield sample

    groups = Counted() | made(whole)(window) | take(n) | list
    empty = sum(not tokens(sample) for sample in samples)  # (of a window of these nothing is packed)
    assert pulled <= window * max(1, len(groups)) + window + empty
