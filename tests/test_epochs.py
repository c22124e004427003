"""repeat, with_epoch, with_length: examples and edges; their laws are in properties/test_epochs.py."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest

from streamwds import (
    Stream,
    batched,
    identity,
    ignore_and_continue,
    map,
    repeat,
    select,
    shuffle,
    shuffle_shards,
    split_by_worker,
    take,
    tarsamples,
    urls,
    with_epoch,
    with_length,
)
from streamwds.errors import CompositionError, EmptyStreamWarning, PositionError, SourceError


def test_each_pass_has_its_own_order() -> None:
    stream = urls("{0..4}") | shuffle_shards | repeat(3)
    found = list(stream)
    passes = [found[start : start + 5] for start in (0, 5, 10)]
    assert [sorted(one) for one in passes] == [list("01234")] * 3
    assert len({tuple(one) for one in passes}) == 3
    assert list(stream.within(epoch=1))[:5] == list((urls("{0..4}") | shuffle_shards).within(epoch=3))


def test_a_stage_behind_is_in_the_streams_epoch() -> None:
    stream = range(8) | repeat(2) | shuffle(8)
    assert sorted(stream) == sorted([*range(8), *range(8)])
    assert list(stream.within(epoch=1)) != list(stream)


def test_repeating_nothing_ends_with_one_warning() -> None:
    stream = range(4) | select(bool) | select(lambda n: n < 0) | repeat()
    with pytest.warns(EmptyStreamWarning, match="repeat: a whole pass gave no item") as told:
        assert list(stream) == []
    assert len(told) == 1


def test_it_ends_when_a_later_pass_is_empty(tmp_path: Any) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1 2")

    class Lines:
        def __iter__(self) -> Any:
            return iter(path.read_text().split())

    stream = Lines() | map(lambda line: (line, path.write_text(""))[0]) | repeat()
    with pytest.warns(EmptyStreamWarning):
        assert list(stream) == ["1", "2"]


def test_an_iterator_is_not_repeated() -> None:
    with pytest.raises(SourceError, match="was read already"):
        list(iter([1, 2]) | repeat(2))
    with pytest.raises(SourceError, match="has no positions"):
        (iter([1, 2]) | repeat(2)).tracked()
    assert list(iter([1, 2]) | repeat(1)) == [1, 2]


def test_a_pass_that_fails_ends_them_all() -> None:
    stream = ["/no/such.tar"] | tarsamples(handler=ignore_and_continue) | repeat()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert list(stream) == []
    assert sorted(one.category.__name__ for one in told) == ["EmptyStreamWarning", "SkippedWarning"]
    assert stream.skipped == {"OpenError": 1}


def test_few_shards_are_told_once_for_all_passes() -> None:
    stream = (["a"] | split_by_worker | repeat(5)).within(worker=0, workers=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert list(stream) == list(stream) == ["a"] * 5
    (one,) = told
    assert "split_samples" in str(one.message)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_wrong_numbers_of_passes(n: Any) -> None:
    with pytest.raises(ValueError, match="repeat takes a number of passes"):
        repeat(n)
    with pytest.raises(ValueError, match="with_epoch takes a number of items"):
        with_epoch(n)


def test_urls_without_end_are_not_shuffled_as_a_whole() -> None:
    with pytest.raises(CompositionError, match="put shuffle_shards before what repeats them"):
        list(urls("a") | repeat() | shuffle_shards | take(3))
    assert len(list(urls("a") | repeat() | take(2) | shuffle_shards)) == 2


def test_their_reprs_are_code() -> None:
    assert repr(repeat() | repeat(2) | with_epoch(3) | with_length(4)) == (
        "repeat() | repeat(2) | with_epoch(3) | with_length(4)"
    )


# ---- where an epoch ends


def test_with_epoch_goes_on_behind_a_shuffle() -> None:
    """The stages behind it go on, too, from what they remember."""
    stream = range(10) | repeat() | with_epoch(7) | shuffle(3) | batched(2, collate=list)
    *_, (_, last) = stream.tracked()
    following = list(stream.within(epoch=1).at(last))
    assert sorted(n for batch in following for n in batch) == sorted([7, 8, 9, 0, 1, 2, 3])
    assert following != list(stream.within(epoch=1))


def test_a_short_epoch_does_not_go_on() -> None:
    stream = range(3) | with_epoch(5)
    assert list(stream) == [0, 1, 2]
    *_, (_, last) = stream.tracked()
    assert list(stream.at(last)) == []
    with pytest.raises(PositionError, match="not at the end of the epoch before epoch 1"):
        list(stream.within(epoch=1).at(last))


# ---- lengths


def test_len_is_what_was_said() -> None:
    stream = range(10) | batched(2) | with_length(5)
    assert len(stream) == len(list(stream)) == 5
    assert len(pickle.loads(pickle.dumps(stream))) == 5
    assert len(stream.within(epoch=3)) == 5
    assert bool(range(0) | with_length(0))


@pytest.mark.parametrize("stream", [range(3) | identity, range(3) | with_length(3) | batched(2), range(3) | take(2)])
def test_other_streams_have_no_len(stream: Stream[Any]) -> None:
    with pytest.raises(TypeError, match=r"with_length\(n\)"):
        len(stream)
    assert stream  # (and are true all the same)
    assert len(list(stream)) == sum(1 for _ in stream)


def test_a_length_is_no_part_of_a_position() -> None:
    _, position = next((range(4) | map(float) | with_length(4)).tracked())
    assert list((range(4) | map(float)).at(position)) == list((range(4) | map(float) | with_length(9)).at(position))
