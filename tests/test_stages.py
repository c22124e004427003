"""The stages by example, and mistakes that were made with them once."""

from __future__ import annotations

import gc
import io
import warnings
from collections import Counter, namedtuple
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toolz

import streamwds as wds
from streamwds import (
    Batch,
    Stage,
    Stream,
    TarWriter,
    batched,
    collate,
    decode,
    everywhere,
    ignore_and_continue,
    map,
    select,
    shuffle,
    split_by_node,
    split_by_worker,
    take,
    tarsamples,
    to_tuple,
    unbatched,
    urls,
)
from streamwds import iterators as it
from streamwds.errors import (
    CollateError,
    DecodeError,
    FewShardsWarning,
    FunctionError,
    MissingFieldError,
    ReplayError,
    SkippedWarning,
    SourceError,
    StreamwdsError,
)
from streamwds.testing import check_resume

silent = pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning")


def flaky(*bad: Any) -> Callable[[Any], Any]:
    """A function that fails for some items."""

    def function(item: Any) -> Any:
        if item in bad:
            raise ValueError(f"{item} is bad")
        return item

    return function


def total(items: list[Any]) -> Any:
    return sum(items)


def write(path: Path, keys: str, **fields: Any) -> Path:
    """A shard with one sample for each letter."""
    with TarWriter(path) as writer:
        for key in keys:
            writer.write({"__key__": key, "txt": f"the {key}", **fields})
    return path


def keys(samples: Any) -> str:
    return "".join(sample["__key__"] for sample in samples)


# ---- map, select


def test_map_and_select() -> None:
    assert range(4) | map(str) | list == ["0", "1", "2", "3"]
    assert range(6) | select(lambda n: n % 2) | list == [1, 3, 5]
    assert [] | map(str) | select(bool) | list == []
    assert [0, "", None, 1] | select(bool) | list == [1]


@pytest.mark.parametrize(("made", "name"), [(map, "map"), (select, "select")])
def test_a_failing_function_names_stage_function_and_sample(made: Any, name: str) -> None:
    sample = {"__key__": "a/1", "__url__": "x.tar"}
    with pytest.raises(FunctionError, match=rf"x\.tar, key 'a/1': {name}\(float\) raised TypeError: ") as caught:
        list([sample] | made(float))
    assert (caught.value.url, caught.value.key) == ("x.tar", "a/1")
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_error_about_a_batch_names_all_its_samples() -> None:
    """(It could not be shown once, for it took the column of URLs for a URL.)"""
    samples = [{"__key__": k, "__url__": "x.tar", "cls": n} for n, k in enumerate("ab")]
    with pytest.raises(FunctionError, match=r"^x\.tar, key 'a, b': map\(float\) raised TypeError") as caught:
        list(samples | batched(2) | map(float))  # type: ignore[arg-type]
    assert caught.value.key == "a, b"
    with pytest.raises(CollateError, match=r"^x\.tar, key 'b', field 'extra': the sample has it, unlike \['a'\]"):
        list(
            [
                Batch({"__key__": ["a"], "__url__": ["x.tar"]}),
                Batch({"__key__": ["b"], "__url__": ["x.tar"], "extra": []}),
            ]
            | batched(2)
        )


def test_a_predicate_that_gives_no_yes_or_no_is_the_functions_fault() -> None:
    with pytest.raises(FunctionError, match="truth value of an array"):
        list([np.zeros(2)] | select(lambda array: array > 1))
    assert [np.zeros(2)] | select(lambda array: array > 1, handler=wds.ignore_and_stop) | list == []


def test_a_function_that_raises_stop_iteration_does_not_end_the_stream() -> None:
    def stops(item: int) -> int:
        return next(iter(()))

    with pytest.raises(FunctionError, match="raised StopIteration"):
        list(range(3) | map(stops))


def test_what_is_no_function_is_refused() -> None:
    for made in (map, select):
        for wrong in (3, "name", None):
            with pytest.raises(TypeError, match="a function is wanted, not "):
                made(wrong)  # type: ignore[arg-type, call-overload]


# ---- to_tuple, decode


def test_to_tuple() -> None:
    samples = [{"__key__": "a", "jpg": 1, "cls": 2}, {"__key__": "b", "png": 3, "cls": 4}]
    assert samples | to_tuple("jpg;png", "cls", "__key__") | list == [(1, 2, "a"), (3, 4, "b")]
    assert samples | to_tuple(" png ; jpg ") | list == [(1,), (3,)]
    with pytest.raises(
        MissingFieldError, match="key 'b', field 'jpg;gif': the sample has no such field; it has png, cls"
    ):
        list(samples | to_tuple("cls", "jpg;gif"))
    for wrong in ((), ("",), ("a;",), (3,), (["a", "b"],)):
        with pytest.raises(ValueError, match="to_tuple takes"):
            to_tuple(*wrong)


def test_to_tuple_gives_a_field_whose_value_is_none() -> None:
    assert [{"a": None, "b": 0}] | to_tuple("a;b", "b;a") | list == [(None, 0)]


@pytest.mark.parametrize("item", [3, "text", (1, 2), None, ["jpg"]])
def test_what_is_no_sample_is_an_error_of_ours(item: Any) -> None:
    with pytest.raises(DecodeError, match="decode takes samples"):
        list([0] | map(lambda _: item) | decode())
    with pytest.raises(MissingFieldError, match="to_tuple takes samples"):
        list([0] | map(lambda _: item) | to_tuple("jpg"))
    assert [0] | map(lambda _: item) | decode(handler=wds.ignore_and_stop) | list == []


def test_decode() -> None:
    sample = {
        "__key__": "a",
        "__url__": "b",
        "txt": b"x",
        "cls": b"3",
        "json": b"[1]",
        "odd": b"?",
        "a.txt": "was text",
    }
    assert [sample] | decode() | list == [{**sample, "txt": "x", "cls": 3, "json": [1]}]
    with pytest.raises(DecodeError, match=r"x\.tar, key 'a', field 'cls': 3 bytes can't be decoded") as caught:
        list([{"__key__": "a", "__url__": "x.tar", "cls": b"abc"}] | decode("rgb"))
    assert (caught.value.url, caught.value.key, caught.value.field) == ("x.tar", "a", "cls")
    assert caught.value.__cause__ is not None
    with pytest.raises(ValueError, match="rgb9"):
        decode("rgb9")
    with pytest.raises(TypeError, match=r'write data \| decode\("rgb"\)'):
        decode([sample])  # type: ignore[arg-type]


def test_decode_with_fields_that_have_odd_names() -> None:
    untyped: Any = [{"__key__": "a", 3: b"x"}]
    with pytest.raises(DecodeError, match="field '3': 1 bytes can't be decoded"):
        list(untyped | decode())


# ---- take


def test_take() -> None:
    assert range(5) | take(0) | list == []
    assert range(5) | take(9) | list == [0, 1, 2, 3, 4]
    for wrong in (-1, 1.0, "2", None, True):
        with pytest.raises(ValueError, match="a number of items"):
            take(wrong)  # type: ignore[arg-type]


def test_take_counts_on_after_resuming() -> None:
    stream = range(9) | take(4) | batched(2) | take(2)
    assert check_resume(stream) == 2
    _, position = next(stream.tracked())
    assert stream.at(position) | list == [[2, 3]]


# ---- shuffle


def test_shuffle() -> None:
    assert sorted(range(100) | shuffle(7)) == list(range(100))
    assert [] | shuffle(3) | list == []
    assert [5] | shuffle(3) | list == [5]
    assert range(9) | shuffle(1) | list == list(range(9))
    for wrong in (0, -1, 2.0, None, True):
        with pytest.raises(ValueError, match="shuffle takes a size of at least 1 item"):
            shuffle(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 item"):
        shuffle(5, initial=0)
    for wrong_seed in (1.0, "1", True):
        with pytest.raises(ValueError, match="a seed is an integer"):
            shuffle(5, seed=wrong_seed)  # type: ignore[arg-type]


def test_resumed_anywhere_in_a_block_shuffle_reads_that_block_before_its_first_item() -> None:
    """(Near its end it once read all of the next block, too, before it gave anything.)"""
    read: list[int] = []

    def noted(n: int) -> int:
        read.append(n)
        return n

    stream = range(300) | map(noted) | shuffle(100, initial=100)
    positions = [position for _, position in stream.tracked()]
    for given in (1, 50, 99):
        read.clear()
        rest = iter(stream.at(positions[99 + given]))
        next(rest)
        assert read == list(range(100, 201))[: len(read)]
        assert len(list(rest)) == 300 - 101 - given


def test_the_position_of_a_shuffle_does_not_grow_with_its_size() -> None:
    sizes = [max(len(repr(at)) for _, at in (range(3000) | shuffle(size)).tracked()) for size in (10, 1000)]
    assert max(sizes) - min(sizes) < 10


# ---- reading again


@silent
@pytest.mark.parametrize("rest", [shuffle(4), batched(2) | shuffle(2), batched(4) | unbatched], ids=repr)
def test_a_shard_that_failed_and_reads_now_is_an_error_that_names_it(tmp_path: Path, rest: Stage[Any, Any]) -> None:
    """(batched | shuffle gave silently another block once: as many batches, ending at the same place.)"""
    path = write(tmp_path / "a.tar", "ab")
    later = write(tmp_path / "b.tar", "cde")
    path.rename(tmp_path / "away.tar")
    stream = urls(path, later) | tarsamples(handler=ignore_and_continue) | rest
    (_, position), *others = stream.tracked()
    assert others
    (tmp_path / "away.tar").rename(path)
    with pytest.raises(
        ReplayError, match=r"(shuffle: block 0|unbatched: the batch .*) was not read the same as before"
    ) as caught:
        list(stream.at(position))
    if repr(rest) != "batched(2) | shuffle(2)":
        assert f"(from {path}" in str(caught.value)
    assert "start the epoch anew, or mend it" in str(caught.value)
    path.unlink()
    assert len(list(stream.at(position))) == len(others)


def test_data_that_has_shrunk_is_an_error() -> None:
    class Shrinking:
        def __init__(self) -> None:
            self.n = 6

        def __iter__(self) -> Iterator[int]:
            return iter(range(self.n))

    for rest in (shuffle(4, initial=4), batched(4) | unbatched):
        data = Shrinking()
        stream: Stream[Any] = data | rest
        positions = [position for _, position in stream.tracked()]
        data.n = 2
        with pytest.raises(ReplayError):
            list(stream.at(positions[0]))
        data.n = 0
        with pytest.raises(ReplayError):
            list(stream.at(positions[0]))
        assert stream.at(positions[3]) | list == []  # (the end of a block: nothing is read again)


# ---- batched, unbatched


def test_batched() -> None:
    assert range(5) | batched(2) | list == [[0, 1], [2, 3], [4]]
    assert range(5) | batched(2, partial=False) | list == [[0, 1], [2, 3]]
    assert range(5) | batched(2, collate=total) | list == [1, 5, 4]
    assert [] | batched(2) | list == []
    for wrong in (0, -3, 1.5, None, True):
        with pytest.raises(ValueError, match="a batch size of at least 1"):
            batched(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ([1, 2], np.int64),
        ([1.5, 2], np.float64),
        ([True, False], np.bool_),
        ([1j, 2.0], np.complex128),
        ([np.float32(1), np.float32(2)], np.float32),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.zeros((2, 3), "u1")] * 2, np.uint8),
        ([np.zeros(()), np.ones(())], np.float64),
        ([np.array("a"), np.array("bc")], np.dtype("U2")),
        ([2**64 - 1, 2**63], np.uint64),
        ([2**64 - 1, 0], np.uint64),
        ([np.uint64(2**63), 1], np.uint64),
    ],
)
def test_columns_that_become_arrays(column: list[Any], dtype: Any) -> None:
    for batch in (collate([{"x": value} for value in column])["x"], collate([(value,) for value in column])[0]):
        assert isinstance(batch, np.ndarray)
        assert batch.dtype == dtype
        assert batch.shape == (2, *np.shape(column[0]))
        assert batch.tolist() == [np.asarray(value).tolist() for value in column]


@pytest.mark.parametrize(
    "column",
    [
        ["a", "b"],
        [b"a", b"b"],
        [None, None],
        [1, None],
        [1, "a"],
        [True, 1],
        [1, True],
        [2**64, 1],
        [2**63, -1],  # (numpy would make floats of these)
        [-(2**70), 3.5],
        [[1], [2]],
        [{"a": 1}, {"a": 2}],
        [Decimal(1), Decimal(2)],
        [Fraction(1, 2), 1],
        [np.zeros(2), np.zeros(3)],
        [np.zeros(2), [0, 0]],
        [np.zeros(2, object), np.zeros(2, object)],
    ],
)
def test_columns_that_stay_lists(column: list[Any]) -> None:
    (found,) = collate([(value,) for value in column])
    assert found is not column
    assert type(found) is list
    assert all(a is b for a, b in zip(found, column, strict=True))


def test_what_collate_makes() -> None:
    assert type(collate([{"a": 1}])) is Batch
    assert collate([(), ()]) == ()
    assert collate([[1], [2, 3]]) == [[1], [2, 3]]
    assert collate([3, 4]) == [3, 4]
    Pair = namedtuple("Pair", "a b")
    assert [column.tolist() for column in collate([Pair(1, 2), Pair(3, 4)])] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"__key__": "a", "x": 1}, {"__key__": "b"}], "key 'b', field 'x': the sample lacks it, unlike 'a'"),
        ([{"x": 1}, {"x": 1, "y": 2, "z": 3}], "field 'y, z': the sample has it, unlike 'the first'"),
        ([{"__key__": "a"}, 3], "key 'a': a batch that begins with a dict also has a int"),
        ([(1, 2), (1,)], r"a batch that begins with a tuple of 2 also has \(1,\)"),
        ([(1, 2), 3], "a batch that begins with a tuple of 2 also has 3"),
    ],
)
def test_what_cannot_be_collated(items: list[Any], message: str) -> None:
    with pytest.raises(CollateError, match=message):
        list(items | batched(2))
    with pytest.warns(SkippedWarning):
        assert [*items, *items[:1]] | batched(2, handler=ignore_and_continue) | map(type) | list != []


def test_a_collate_of_ones_own_that_fails() -> None:
    with pytest.raises(CollateError, match="TypeError: unsupported operand") as caught:
        list(["a", "b"] | batched(2, collate=total))
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(DecodeError, match=r"^field 'cls': .* can't be decoded"):  # (an error of ours stays what it is)
        list([{"cls": b"?"}] | batched(2, collate=lambda items: list(items | decode())))


def test_unbatched() -> None:
    assert [[1, 2], [], [3]] | unbatched | list == [1, 2, 3]
    assert [Batch({"a": [1, 2], "b": ["xy"] * 2})] | unbatched | list == [{"a": 1, "b": "xy"}, {"a": 2, "b": "xy"}]
    assert [(np.arange(2), ["x", "y"])] | unbatched | list == [(0, "x"), (1, "y")]
    array = np.zeros((2, 3))
    rows = [Batch({"im": array})] | unbatched | list
    assert all(np.shares_memory(row["im"], array) for row in rows)
    Pair = namedtuple("Pair", "a b")
    assert [Pair([1], [2])] | unbatched | list == [(1, 2)]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (3, "unbatched takes batches .* not int"),
        ("text", "unbatched takes batches .* not str"),
        (np.zeros(2), "not ndarray"),
        ({"a": [1], "b": [1, 2]}, r"different lengths: \{'a': 1, 'b': 2\}"),
        ({"a": 1}, "column 'a' is a int"),
        ({"a": "text"}, "column 'a' is a str"),
        ({"a": np.zeros(())}, "column 'a' is a ndarray"),
        (([1], b"x"), "column 1 is a bytes"),
    ],
)
@silent
def test_what_is_no_batch(batch: Any, message: str) -> None:
    with pytest.raises(CollateError, match=message):
        list([0] | map(lambda _: batch) | unbatched)
    found = [0, 1] | map(lambda n: [n] if n else batch) | unbatched(handler=ignore_and_continue) | list
    assert found == [1]


def test_batches_of_batches_of_samples_come_apart() -> None:
    """(They were refused once while composing: unbatched was said to yield samples.)"""
    samples: Any = [{"__key__": k, "cls": n} for n, k in enumerate("abcde")]
    assert samples | batched(2) | batched(2) | unbatched | unbatched | list == samples
    assert samples | batched(2) | batched(3) | batched(1) | unbatched | unbatched | unbatched | list == samples


# ---- urls


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert urls("a-{0..2}.{tar,tgz}") | list == ["a-0.tar", "a-0.tgz", "a-1.tar", "a-1.tgz", "a-2.tar", "a-2.tgz"]
    nested: Any = ["b", ("a", Path("c") / "d")]
    assert urls(nested, "e") | list == ["b", "a", "c/d", "e"]
    assert urls(r"a\{0..2\}") | list == ["a{0..2}"]
    assert urls("http://host/*.tar?x={1,2}") | list == ["http://host/*.tar?x=1", "http://host/*.tar?x=2"]
    for name in ("b.tar", "a.tar", "odd[1].tar"):
        (tmp_path / name).touch()
    assert urls("?.tar", Path("b*")) | list == ["a.tar", "b.tar", "b.tar"]
    assert urls("odd[1].tar") | list == ["odd[1].tar"]  # (a file that is there is meant)
    assert urls("{a,b}*") | list == ["a.tar", "b.tar"]
    assert "{a,b}.tar" | everywhere | list == ["a.tar", "b.tar"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "no URLs: give at least one pattern"),
        ([[]], "no URLs"),
        ([""], "an empty URL pattern"),
        (["  "], "an empty URL pattern"),
        (["x-*.tar"], r"no file matches 'x-\*\.tar' \(in /"),
        (["a-{0..2.tar"], "the braces of the URL pattern .* don't match"),
        ([b"a.tar"], "a URL pattern is a str"),
        ([3], "a URL pattern is a str or a path, or a list of them, not 3"),
        ([None], "a URL pattern is a str"),
    ],
)
def test_patterns_that_name_nothing(patterns: list[Any], message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        urls(*patterns)


def test_a_pattern_is_expanded_once() -> None:
    stream = urls("a-{0..1}")
    assert stream == urls("a-{0..1}")
    assert stream != urls("a-0", "a-1")
    assert repr(stream) == "urls('a-{0..1}')"
    assert repr(urls("a", ["b"], Path("c"))) == "urls('a', 'b', 'c')"


# ---- splits


def test_splits_take_turns() -> None:
    stream = range(7) | split_by_node
    assert [stream.within(rank=r, world_size=3) | list for r in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    both = range(8) | split_by_node | split_by_worker
    found = [both.within(rank=r, world_size=2, worker=w, workers=2) | list for r in range(2) for w in range(2)]
    assert found == [[0, 4], [2, 6], [1, 5], [3, 7]]
    assert range(3) | split_by_node | split_by_worker | list == [0, 1, 2]


@pytest.mark.parametrize(
    ("split", "readers", "who"),
    [
        (split_by_worker, [{"worker": w, "workers": 4} for w in range(4)], "worker"),
        (split_by_node, [{"rank": r, "world_size": 4} for r in range(4)], "node"),
    ],
)
def test_too_few_shards_are_one_warning(split: Any, readers: list[dict[str, int]], who: str) -> None:
    for shards, message in ((["a", "b"], f"2 shards for 4 {who}s, so 2"), (["a"], f"1 shard for 4 {who}s, so 3")):
        with pytest.warns(FewShardsWarning, match=f"{split!r}: {message} of them will have nothing to read") as caught:
            parts = [(shards | split).within(**reader) | list for reader in readers]
        assert len(caught) == 1
        assert [url for part in parts for url in part] == shards
    for enough in ([], list("abcd")):
        assert [url for reader in readers for url in (enough | split).within(**reader)] == enough


def test_too_few_shards_are_told_once_though_several_workers_of_a_node_read() -> None:
    stream = ["a"] | split_by_node | split_by_worker
    readers = [
        {"rank": rank, "world_size": 2, "worker": worker, "workers": 2} for rank in range(2) for worker in range(2)
    ]
    with pytest.warns(FewShardsWarning) as caught:
        assert [list(stream.within(**reader)) for reader in readers] == [["a"], [], [], []]
    assert [str(warning.message).partition(":")[0] for warning in caught] == ["split_by_node", "split_by_worker"]


# ---- handlers


def test_true_false_and_raise() -> None:
    class MineError(Exception):
        pass

    def raises(error: Exception) -> bool:
        raise MineError from error

    assert range(4) | map(flaky(1), handler=lambda error: False) | list == [0]
    with pytest.raises(MineError):
        list(range(4) | map(flaky(1), handler=raises))
    with pytest.warns(SkippedWarning):
        assert range(4) | map(flaky(1), handler=lambda error: "FunctionError" in type(error).__name__) | list == [
            0,
            2,
            3,
        ]


def test_handlers_get_errors_that_know_how_many_there_were() -> None:
    seen: list[tuple[int, int]] = []

    def note(error: Exception) -> bool:
        assert isinstance(error, StreamwdsError)
        seen.append((error.skipped, error.seen))
        return True

    stream = range(6) | map(flaky(1, 4), handler=note)
    with pytest.warns(SkippedWarning):
        assert stream | list == [0, 2, 3, 5]
    assert stream | list == [0, 2, 3, 5]
    assert seen == [(0, 2), (1, 5)] * 2
    assert stream.skipped == {"ValueError": 4}


def test_each_class_is_warned_of_once_and_counted() -> None:
    def odd(item: int) -> int:
        if item % 3:
            raise (ValueError if item % 3 == 1 else KeyError)(item)
        return item

    stream = range(9) | map(odd, handler=ignore_and_continue)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert stream | list == [0, 3, 6]
        assert [item for item, _ in stream.tracked()] == [0, 3, 6]
    assert [str(warning.message).partition(" raised ")[2][:8] for warning in caught] == ["ValueErr", "KeyError"]
    assert all("later errors of class" in str(warning.message) for warning in caught)
    assert stream.skipped == Counter(ValueError=6, KeyError=6)
    assert stream.within(epoch=1).skipped == {}


def test_warn_and_continue_warns_of_each() -> None:
    with pytest.warns(SkippedWarning) as caught:
        assert range(6) | map(flaky(1, 3), handler=wds.warn_and_continue) | list == [0, 2, 4, 5]
    assert len(caught) == 2
    with pytest.warns(SkippedWarning, match="stopped: .*1 is bad") as caught:
        assert range(6) | map(flaky(1, 3), handler=wds.warn_and_stop) | list == [0]
    assert len(caught) == 1


@silent
def test_skip_at_most() -> None:
    assert range(6) | map(flaky(1, 3), handler=wds.skip_at_most(2)) | list == [0, 2, 4, 5]
    for _ in range(2):  # (each run counts anew)
        with pytest.raises(FunctionError, match="3 is bad"):
            list(range(6) | map(flaky(1, 3), handler=wds.skip_at_most(1)))
    one_in_a_hundred = flaky(*range(50, 10_000, 100))
    assert len(range(10_000) | map(one_in_a_hundred, handler=wds.skip_at_most(0.02)) | list) == 9_900
    with pytest.raises(FunctionError, match="850 is bad"):  # the ninth of the first thousand
        list(range(10_000) | map(one_in_a_hundred, handler=wds.skip_at_most(0.008)))
    assert wds.skip_at_most(3) == wds.skip_at_most(3) != wds.skip_at_most(4)
    assert repr(map(float, handler=wds.skip_at_most(0.5))) == "map(float, handler=skip_at_most(0.5))"
    for wrong in (-1, 0.0, 1.0, 1.5, True, "3"):
        with pytest.raises(ValueError, match="skip_at_most takes a count"):
            wds.skip_at_most(wrong)  # type: ignore[arg-type]


FAILING: list[tuple[Any, Stage[Any, Any]]] = [
    (range(3), map(flaky(1))),
    (range(3), select(flaky(1))),
    ([{"a": 1}], to_tuple("b")),
    ([{"cls": b"?"}], decode()),
    ([{"a": 1}, {}], batched(2)),
    ([3], batched(2, collate=total) | map(flaky(3)) | unbatched),
    (["a", "b"], batched(2, collate=total)),
    (range(6), shuffle(3) | batched(2) | map(flaky([4, 5], [3, 4], [5, 3])) | shuffle(2) | map(flaky([0, 1], [2, 1]))),
    (range(9), map(flaky(3), handler=wds.skip_at_most(0)) | shuffle(2) | batched(2)),
]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("case", range(len(FAILING)))
def test_after_an_error_nothing_waits_for_the_garbage_collector(case: int, inside: bool, tmp_path: Path) -> None:
    """(An error and the frames it went through kept each other alive once, and with them an open shard.)"""
    source, stage = FAILING[case]
    opened: list[io.FileIO] = []

    def opener(url: str, offset: int) -> Any:
        opened.append(io.FileIO(url, "rb"))
        return opened[-1]

    shard = wds.Shard(str(write(tmp_path / "a.tar", "abcdefghij")), opener)
    if inside:
        values = iter(source)
        stage = wds.tarfiles | wds.group_by_keys | map(lambda sample: next(values)) | stage
        source = [shard]
    gc.collect()
    gc.disable()
    try:
        for way in (iter, Stream.tracked):
            with pytest.raises(StreamwdsError):
                exhaust(way(source | stage))
            values = iter(FAILING[case][0])
        assert all(file.closed for file in opened)
        assert bool(opened) == inside
    finally:
        gc.enable()


def exhaust(items: Iterator[Any]) -> None:
    try:
        for _ in items:
            pass
    finally:
        del items


# ---- plain iterators


def test_iterators_are_curried_and_take_data_last() -> None:
    samples = [{"__key__": "a", "cls": b"1"}, {"__key__": "b", "cls": b"2"}]
    assert toolz.pipe(samples, it.decode(None), it.to_tuple(("cls",)), it.map(toolz.first), it.select(bool), list) == [
        1,
        2,
    ]
    assert toolz.pipe(range(5), it.batched(2), list) == list(it.batched(2, range(5))) == [[0, 1], [2, 3], [4]]
    assert toolz.pipe(range(5), it.batched(2, partial=False, collate=total), list) == [1, 5]
    assert toolz.pipe([[1, 2], [3]], it.unbatched, list) == [1, 2, 3]
    assert toolz.pipe([1, 2, 3], it.take(2), list) == [1, 2]
    assert list(it.shuffle(4, range(8))) == range(8) | shuffle(4) | list
    assert (
        toolz.pipe(range(8), it.shuffle(4, initial=2, seed=3), list) == range(8) | shuffle(4, initial=2, seed=3) | list
    )
    with pytest.warns(SkippedWarning):
        assert list(it.map(flaky(1), range(3), handler=ignore_and_continue)) == [0, 2]
    assert list(it.unbatched(handler=wds.ignore_and_stop)([[1], 2])) == [1]


def test_iterators_over_shards(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{name}.tar", name * 2 if name == "x" else "ab")) for name in "yz"]
    assert keys(it.tarsamples(paths)) == "abab"
    members = it.tarfiles(paths | wds.open_shards)
    assert [member.name for member in members] == ["a.txt", "b.txt"] * 2
    assert toolz.pipe(paths | wds.open_shards, it.tarfiles, it.group_by_keys, keys) == "abab"
    assert (
        toolz.pipe([*paths, "nowhere.tar"], it.tarsamples(handler=wds.ignore_and_stop, eof="lenient"), keys) == "abab"
    )


def test_iterators_refuse_what_stages_refuse() -> None:
    """(A batch size of 0 gave nothing at all once.)"""
    for refused, n in ((it.batched, 0), (it.take, -1), (it.shuffle, 0)):
        with pytest.raises(ValueError, match=rf"not {n}"):
            list(refused(n, [1]))


# ---- all together


def test_the_readers_and_the_stages(tmp_path: Path) -> None:
    for n, letters in enumerate(("abc", "", "de")):
        write(tmp_path / f"{n}.tar", letters, cls=n)
    stream = urls(tmp_path / "{0..2}.tar") | split_by_worker | tarsamples | decode() | shuffle(2) | batched(2)
    batches = list(stream)
    assert [len(batch["__key__"]) for batch in batches] == [2, 2, 1]
    assert sorted(keys(batches | unbatched)) == list("abcde")
    assert Counter(sample["cls"] for sample in batches | unbatched) == {0: 3, 2: 2}
    assert check_resume(stream) == 3
    assert check_resume(stream | unbatched | to_tuple("txt", "cls")) == 5
