"""The algebra by example: what fits, what is refused and how that helps, values, positions, contexts, handlers."""

from __future__ import annotations

import collections
import copy
import functools
import json
import operator
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import toolz

import streamwds as wds
from streamwds import batched, decode, identity, select, shuffle, split_by_worker, stage, take, tarsamples, urls
from streamwds.errors import (
    CollateError,
    CompositionError,
    DistributionError,
    FewShardsWarning,
    FunctionError,
    MissingFieldError,
    PositionError,
    SkippedWarning,
    SourceError,
)


def double(n: int) -> int:
    return 2 * n


def even(n: int) -> bool:
    return n % 2 == 0


def odd_fails(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@stage
def spaced(numbers: Iterable[int], *, by: int = 10) -> Iterator[int]:
    """Numbers, further apart."""
    for number in numbers:
        yield number * by


# ---- what does not fit is found while composing


def wrong(*parts: Any) -> Any:
    return functools.reduce(operator.or_, parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([urls("a"), split_by_worker, decode("rgb")], "split_by_worker yields str, decode takes Sample; is tarsamples"),
        ([["a"], decode("rgb")], "the source yields str, decode takes Sample; is tarsamples missing?"),
        ([urls("a"), wds.tarfiles], "urls yields str, tarfiles takes Shard; is open_shards missing?"),
        ([urls("a"), wds.group_by_keys], r"group_by_keys takes Member; is open_shards \| tarfiles missing?"),
        ([tarsamples, tarsamples], "is tarsamples there twice?"),
        (
            [urls("a"), tarsamples, batched(2), decode()],
            "batched yields Batch, decode takes Sample; is unbatched missing",
        ),
        ([urls("a"), tarsamples, wds.unbatched], "unbatched takes a batch or list; is batched"),
        ([[1], tarsamples], "the source yields int, tarsamples takes str"),
        ([range(3), batched], r"batched makes a stage: write batched\(n\)"),
        ([urls("a"), decode], r"decode makes a stage: write decode\(\)"),
        ([urls("a"), wds.map], r"map makes a stage: write map\(f\)"),
        ([tarsamples, shuffle], r"write shuffle\(size\)"),
        ([take, identity], r"write take\(n\)"),
        ([tarsamples, len], "len is no stage: a plain function can end a stream"),
        ([range(3), identity, iter], "iter returns an iterator.*@stage"),
        ([b"a.tar", tarsamples], "bytes are no source"),
    ],
)
def test_wrong_order_is_refused_with_a_message_that_helps(parts: list[Any], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        wrong(*parts)


MAKERS: dict[Any, str] = {
    wds.map: "map(f)",
    select: "select(predicate)",
    wds.to_tuple: "to_tuple(*fields)",
    decode: "decode()",
    take: "take(n)",
    shuffle: "shuffle(size)",
    batched: "batched(n)",
}


@pytest.mark.parametrize(
    "left", [[1], range(3), {"a": 1}, {"a": 1}.keys(), np.arange(3), iter([1]), "a.tar", urls("a")]
)
@pytest.mark.parametrize("made", MAKERS, ids=MAKERS.values())
def test_a_bare_maker_says_how_it_is_called(left: Any, made: Any) -> None:
    message = re.escape(f"makes a stage: write {MAKERS[made]}")
    with pytest.raises(CompositionError, match=message):
        left | made
    for stage_ in (identity, tarsamples, take(3)):
        with pytest.raises(CompositionError, match=message):
            stage_ | made
        with pytest.raises(CompositionError, match=message):
            made | stage_
    with pytest.raises(CompositionError, match=message):
        iter(made)
    assert repr(made) == f"<stage maker {MAKERS[made].partition('(')[0]}>"
    assert pickle.loads(pickle.dumps(made)) is made


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (["a.tar"], "str"),
        ([Path("a.tar")], "str"),
        ((np.str_("a.tar"),), "str"),
        ([b"a"], "bytes"),
        ([3], "int"),
        (range(3), "int"),
        ([None], "NoneType"),
        ([(1, 2)], "tuple"),
        ([Pair(1, 2)], "tuple"),
        ([[1]], "list"),
    ],
)
def test_sources_that_tell_what_they_hold(source: Any, kind: str) -> None:
    with pytest.raises(CompositionError, match=f"^the source yields {kind}, decode takes Sample"):
        source | decode()


def test_what_fits_a_kind_that_is_derived_from_it() -> None:
    assert [Pair([1], [2])] | wds.unbatched | list == [(1, 2)]
    assert [collections.OrderedDict(cls=b"3")] | decode() | list == [{"cls": 3}]
    assert [wds.Batch(cls=[b"3"])] | wds.unbatched | decode() | list == [{"cls": 3}]


def test_mistakes_that_only_data_would_show_wait_for_it() -> None:
    """What a function gives, and what is in an empty list, a dict or an iterator, is not known while composing."""
    sources: list[Any] = [[], {"a": 1}, iter(["a"]), {"a"}, urls("a") | wds.map(len)]
    for source in sources:
        assert isinstance(source | decode(), wds.Stream)
    assert isinstance(wrong(wds.map(len), wds.unbatched, tarsamples), wds.Stage)


def test_joins_that_are_no_joins() -> None:
    stream = range(3) | take(2)
    for left, right in (
        (stream, stream),
        (take(2), stream),
        (stream, 3),
        (take(2), 3),
        (stream, None),
        (list, take(2)),
    ):
        with pytest.raises(TypeError):
            wrong(left, right)


def test_a_composition_error_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        wrong(urls("a"), decode("rgb"))


@pytest.mark.parametrize("left", [3, None, 2.5, int])
def test_what_is_not_iterable_is_refused(left: Any) -> None:
    with pytest.raises(TypeError):
        wrong(left, identity)


def test_a_dicts_views_say_how_to_do_it() -> None:
    for view in ({"a": 1}.keys(), {"a": 1}.items()):
        with pytest.raises(TypeError, match=r"list\(d.keys\(\)\)"):
            wrong(view, identity)
    assert list({"a": 1}.values() | identity) == [1]


def test_numpy_does_not_broadcast_over_a_stage() -> None:
    stream = np.arange(6).reshape(3, 2) | batched(2, collate=len)
    assert isinstance(stream, wds.Stream)
    assert list(stream) == [2, 1]


@pytest.mark.parametrize(
    "left", [[1, 2], (1, 2), {1: 0, 2: 0}, {1, 2}, collections.Counter([1, 2]), collections.deque([1, 2])]
)
def test_any_iterable_may_stand_at_the_left(left: Any) -> None:
    stream = left | wds.map(double)
    assert sorted(stream) == sorted(stream) == [2, 4]


def test_a_str_is_a_url_pattern_and_a_list_is_plain_items() -> None:
    assert list("a-{0..2}.tar" | identity) == ["a-0.tar", "a-1.tar", "a-2.tar"]
    assert list(["a-{0..2}.tar"] | identity) == ["a-{0..2}.tar"]


def test_calling_is_piping() -> None:
    assert wds.unbatched([[1, 2], [3]]) | list == [1, 2, 3]
    assert batched(2)(range(3)) == range(3) | batched(2)
    assert toolz.pipe(range(5), select(even), batched(2), list) == [[0, 2], [4]]
    untyped: Any = tarsamples
    with pytest.raises(CompositionError, match="data or options, not both"):
        untyped(["a"], eof="lenient")
    with pytest.raises(CompositionError, match="is a stage and no data"):
        untyped(take(2))


def test_plain_functions_end_a_stream() -> None:
    stream = range(5) | wds.map(double)
    assert (stream | list, stream | sum, stream | max, stream | set) == ([0, 2, 4, 6, 8], 20, 8, {0, 2, 4, 6, 8})


def test_what_ends_a_stream() -> None:
    stream = range(4) | take(3)
    assert stream | tuple == (0, 1, 2)
    assert stream | frozenset == frozenset({0, 1, 2})
    assert stream | (lambda items: {item: str(item) for item in items}) == {0: "0", 1: "1", 2: "2"}
    assert stream | (lambda items: items | take(1)) == range(4) | take(3) | take(1)
    assert stream | np.fromiter(range(2), int).tolist().__class__ == [0, 1, 2]

    def generator(items: Iterable[int]) -> Iterator[int]:
        yield from items

    for makes_an_iterator in (iter, enumerate, generator, lambda items: (item for item in items), reversed_twice):
        with pytest.raises(
            CompositionError, match="returns an iterator, which has no positions: make it a stage with @stage"
        ):
            stream | makes_an_iterator
    for ends in (list, sum, generator, lambda items: items):
        with pytest.raises(
            CompositionError, match="is no stage: a plain function can end a stream, not stand in a stage"
        ):
            wrong(take(2), ends)


def reversed_twice(items: Iterable[int]) -> Iterator[int]:
    return reversed([*reversed([*items])])


@pytest.mark.parametrize("data", [b"a.tar", bytearray(b"a.tar"), memoryview(b"a.tar")])
def test_bytes_are_neither_pattern_nor_items(data: Any) -> None:
    message = r"bytes are no source of a stream: b'a\.tar'; give a str \(a URL pattern\) or a list of items"
    with pytest.raises(CompositionError, match=message):
        data | tarsamples
    with pytest.raises(CompositionError, match=message):
        identity(data)
    assert [bytes(data)] | identity | list == [b"a.tar"]


def test_an_array_is_a_source_of_its_rows() -> None:
    for array in (np.arange(3), np.arange(6).reshape(3, 2), np.array(["a", "b"]), np.array([], object)):
        for stream in (array | identity, identity(array), array | (take(9) | identity)):
            assert isinstance(stream, wds.Stream)
            assert [np.asarray(row).tolist() for row in stream] == array.tolist()
    (numbers,) = np.arange(3) | batched(3)
    assert type(numbers) is list


# ---- iterators run once


def test_an_iterator_runs_once_and_has_no_positions() -> None:
    stream = (n for n in range(3)) | wds.map(double)
    assert list(stream) == [0, 2, 4]
    with pytest.raises(SourceError, match="was read already"):
        list(stream)
    for use in (lambda: stream.tracked(), lambda: stream.at(next((range(3) | wds.map(double)).tracked())[1])):
        with pytest.raises(SourceError, match="runs once and has no positions"):
            use()


def test_an_iterator_is_not_touched_before_it_runs() -> None:
    pulled: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(9):
            pulled.append(n)
            yield n

    stream = numbers() | wds.map(double) | take(2)
    assert pulled == []
    running = iter(stream)
    assert (next(running), pulled) == (0, [0])
    with pytest.raises(SourceError, match="was read already; give the stream something that can be read again"):
        iter(stream)
    assert list(running) == [2]
    assert pulled == [0, 1]


def test_an_iterator_may_be_split_and_ends_a_stream() -> None:
    assert (iter(range(6)) | split_by_worker).within(worker=1, workers=2) | list == [1, 3, 5]
    opened = iter("ab")
    assert repr(opened | take(2)) == f"{opened!r} | take(2)"


# ---- stages are values


def test_stages_are_frozen_equal_hashable_and_copied() -> None:
    joined = shuffle(3) | batched(2) | wds.map(double)
    assert joined == shuffle(3) | batched(2) | wds.map(double) != shuffle(4) | batched(2) | wds.map(double)
    assert len({joined, copy.copy(joined), copy.deepcopy(joined), pickle.loads(pickle.dumps(joined))}) == 1
    assert tarsamples == tarsamples() == tarsamples(eof="strict") != tarsamples(eof="lenient")
    untyped: Any = joined
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        untyped.steps = ()


def test_functions_with_a_name_compare_by_it() -> None:
    add = functools.partial(operator.add, 1)
    assert wds.map(add) == wds.map(functools.partial(operator.add, 1)) != wds.map(functools.partial(operator.add, 2))
    assert wds.map(operator.itemgetter("a")) == wds.map(operator.itemgetter("a")) != wds.map(operator.itemgetter("b"))
    assert hash(wds.map(add)) == hash(wds.map(functools.partial(operator.add, 1)))
    assert repr(wds.map(add)) == "map(functools.partial(_operator.add, 1))"
    assert repr(wds.map(double)).endswith("test_stage.double)")
    assert repr(wds.map(str.upper) | select(len)) == "map(str.upper) | select(len)"


def test_a_lambda_equals_only_itself_shows_where_it_stands_and_is_not_pickled() -> None:
    stages = [wds.map(lambda n: n), wds.map(lambda n: n)]
    assert stages[0] != stages[1]
    assert stages[0] == stages[0]
    assert "test_stage.py:" in repr(stages[0])
    with pytest.raises(pickle.PicklingError, match=r"map: <.*lambda.* at test_stage.py:\d+> can't be pickled"):
        pickle.dumps(range(3) | stages[0])


def test_reprs_are_code() -> None:
    assert repr(urls("a-{0..3}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32)) == (
        "urls('a-{0..3}.tar') | split_by_worker | tarsamples | decode('rgb') | batched(32)"
    )
    assert repr(tarsamples(handler=wds.ignore_and_continue)) == "tarsamples(handler=ignore_and_continue)"
    assert repr((range(3) | take(2)).within(epoch=2)) == "(range(0, 3) | take(2)).within(epoch=2)"
    assert repr(shuffle(5, initial=2, seed=1)) == "shuffle(5, initial=2, seed=1)"


def test_an_array_is_no_option() -> None:
    with pytest.raises(TypeError, match="array can't be an option"):
        spaced(by=np.zeros(2))  # type: ignore[call-overload]  # pyright: ignore


@pytest.mark.parametrize(
    "make", [lambda: batched(0), lambda: take(-1), lambda: shuffle(0), lambda: shuffle(3, initial=0)]
)
def test_wrong_options_are_refused_when_the_stage_is_built(make: Any) -> None:
    with pytest.raises(ValueError, match=r"not (0|-1)"):
        make()


def test_a_stage_of_ones_own() -> None:
    assert range(3) | spaced | list == [0, 10, 20]
    assert range(3) | spaced(by=2) | list == [0, 2, 4]
    assert spaced(by=2) == spaced(by=2) != spaced
    assert pickle.loads(pickle.dumps(spaced(by=2))) == spaced(by=2)
    assert spaced.__doc__ == "Numbers, further apart."
    assert list((range(3) | spaced).at(next(iter((range(3) | spaced).tracked()))[1])) == [10, 20]
    with pytest.raises(TypeError, match="from_"):
        spaced(from_=2)  # type: ignore[call-overload]  # pyright: ignore


def test_a_stream_pickles_under_spawn(tmp_path: Path) -> None:
    program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')) | list)"
    path = tmp_path / "stream"
    path.write_bytes(pickle.dumps(range(6) | wds.map(float) | shuffle(3) | batched(2)))
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(range(6) | wds.map(float) | shuffle(3) | batched(2) | list)


# ---- streams are values


def test_streams_are_values() -> None:
    streams: list[wds.Stream[Any]] = [
        range(3) | identity,
        [1, [2], "x"] | take(2),
        {"a": 1} | identity,
        urls("a-{0..2}.tar", "b") | split_by_worker,
        (range(3) | take(2)).within(seed=1, epoch=2, rank=0, world_size=2, worker=1, workers=3),
        (range(9) | shuffle(3)).at(position_of(range(9) | shuffle(3), 4)),
        (range(9) | shuffle(3)).within(epoch=4).at(position_of((range(9) | shuffle(3)).within(epoch=4))),
        (range(9) | shuffle(3)).within(seed=7).at(position_of(range(9) | shuffle(3)), force=True),
    ]
    names = {name: getattr(wds, name) for name in wds.__all__}
    for n, stream in enumerate(streams):
        for same in (eval(repr(stream), dict(names)), copy.copy(stream), pickle.loads(pickle.dumps(stream))):
            assert same == stream
            assert hash(same) == hash(stream)
            assert repr(same) == repr(stream)
        assert all(stream != other for other in streams[:n])
    assert repr(streams[0]) == "range(0, 3) | identity"
    assert streams[0] != "range(0, 3) | identity"


def test_a_position_is_the_same_before_and_after_json() -> None:
    stream = range(9) | shuffle(3) | batched(2)
    position = next(stream.tracked())[1]
    assert stream.at(position) == stream.at(json.loads(json.dumps(position)))


def test_streams_of_arrays_can_be_compared() -> None:
    """(numpy's answer to == can't be taken for yes or no; the streams count as different.)"""
    array = np.zeros(2)
    assert [array] | identity == [array] | identity
    assert [array] | identity != [np.zeros(2)] | identity
    assert array | identity == array | identity
    assert array | identity != np.zeros(2) | identity


def test_a_long_source_is_shown_in_part() -> None:
    text = repr(list(range(10_000)) | identity)
    assert text.startswith("[0, 1, 2, ")
    assert text.endswith(" 9998, 9999] | identity")
    assert 1000 < len(text) < 2100


# ---- positions


def position_of(stream: wds.Stream[Any], k: int = 0) -> Any:
    return json.loads(json.dumps(list(stream.tracked())[k][1]))


STREAM = urls("x/a-{0..9}.tar") | split_by_worker | shuffle(4) | batched(2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            urls("x/a-{0..9}.tar") | split_by_worker | batched(2),
            r"its pipeline was split_by_worker \| shuffle \| batched, and",
        ),
        (urls("x/a-{0..9}.tar") | split_by_worker | shuffle(5) | batched(2), "other options were given to shuffle"),
        (urls("x/b-{0..9}.tar") | split_by_worker | shuffle(4) | batched(2), "another source"),
        (STREAM.within(seed=3), "it has seed 0, and the stream has seed 3"),
        (STREAM.within(epoch=1), "it has epoch 0, and the stream has epoch 1"),
        (STREAM.within(worker=1, workers=2), "it has worker 0, and the stream has worker 1"),
    ],
)
def test_a_position_of_another_stream_is_refused(other: wds.Stream[Any], message: str) -> None:
    with pytest.raises(PositionError, match=message):
        other.at(position_of(STREAM))
    assert other.at(position_of(STREAM), force=True) is not None


def test_a_position_of_another_reader_is_refused_when_iteration_starts() -> None:
    position = position_of(STREAM.within(worker=1, workers=2))
    with pytest.raises(PositionError, match=r"\.within\(rank=0, world_size=1, worker=1, workers=2\)"):
        list(STREAM.at(position))
    assert list(STREAM.within(worker=1, workers=2).at(position)) == list(STREAM.within(worker=1, workers=2))[1:]


def test_moved_and_signed_shards_are_the_same() -> None:
    moved = [f"https://host/y/a-{n}.tar?signature={n}" for n in range(10)]
    assert len(list((urls(moved) | split_by_worker | shuffle(4) | batched(2)).at(position_of(STREAM)))) == 4


def test_seed_and_epoch_are_the_positions() -> None:
    epoch = STREAM.within(epoch=3, seed=7)
    assert list(STREAM.at(position_of(epoch))) == list(epoch)[1:]


@pytest.mark.parametrize("garbage", [None, 3, [], [{}, 1], ["a", "b"], [{"streamwds": 1}, None]])
def test_garbage_is_no_position(garbage: Any) -> None:
    with pytest.raises(PositionError, match="is no position"):
        STREAM.at(garbage)


def test_another_format_and_a_mangled_position_are_refused() -> None:
    head, at = position_of(STREAM)
    with pytest.raises(PositionError, match="format 99"):
        STREAM.at([{**head, "streamwds": 99}, at])
    with pytest.raises(PositionError, match="shuffle"):
        list(STREAM.at([head, [1, 2]]))
    with pytest.raises(PositionError, match="shuffle"):
        list(STREAM.at([head, [0, -1, None, None]]))


def test_lists_of_another_length_or_type_are_another_source() -> None:
    stream = [1, 2, 3] | identity
    position = position_of(stream)
    for other in ([1, 2], [1, 2, 3, 4], (1, 2, 3), range(3)):
        with pytest.raises(PositionError, match="it comes from another source"):
            (other | identity).at(position)
    assert ([7, 8, 9] | identity).at(position) | list == [8, 9]
    assert ([7] | identity).at(position, force=True) | list == []


def test_all_that_differs_is_said_at_once() -> None:
    other = (urls("x/b-{0..3}.tar") | split_by_worker).within(seed=3, epoch=2, rank=1, world_size=2)
    with pytest.raises(PositionError) as caught:
        other.at(position_of(STREAM))
    for part in (
        "it comes from another source (other shards, another order or number of them, or",
        "its pipeline was split_by_worker | shuffle | batched, and this one is split_by_worker",
        "it has seed 0, and the stream has seed 3",
        "it has epoch 0, and the stream has epoch 2",
        "it has rank 0, and the stream has rank 1",
        "it has world_size 1, and the stream has world_size 2",
        "(force=True goes on all the same)",
    ):
        assert part in str(caught.value)


def test_force_takes_a_position_of_another_stream() -> None:
    stream = range(9) | shuffle(4) | batched(2)
    position = position_of(stream)
    other = range(20) | shuffle(4) | batched(3, partial=False)
    rest = list(range(20) | shuffle(4))[2:]
    assert other.at(position, force=True) | list == [rest[n : n + 3] for n in range(0, 18, 3)]
    assert stream.within(worker=1, workers=2).at(position, force=True).fixed["worker"] == 1
    reader = position_of((range(9) | split_by_worker).within(worker=1, workers=2))
    assert (range(9) | split_by_worker).at(reader, force=True) | list == list(range(2, 9))
    with pytest.raises(PositionError, match=r"take: .* is no position of this stage"):
        list((range(9) | take(3)).at(position, force=True))
    with pytest.raises(PositionError, match="is no position in the source"):
        list((range(9) | batched(3)).at(position, force=True))


@pytest.mark.parametrize(
    "mangled",
    [
        *(None, 3, "x", [], [0], [0, 1, "m"], [0, 1, 2, 3, 4], [-1, 0, None, 1], [0, "1", None, 1], [0, 1.0, None, 1]),
        *([True, 0, None, 1], [0, 0, 3, 1], [0, 0, None, -1], [0, 0, None, "1"], [0, 0, None, [1]]),
        [0, 1, "0" * 16, None],
    ],
)
def test_a_mangled_position_is_never_followed(mangled: Any) -> None:
    stream = range(9) | shuffle(3)
    head, _ = position_of(stream)
    if mangled is None:  # (the start)
        assert stream.at([head, None]) | list == stream | list
        return
    with pytest.raises(PositionError):
        list(stream.at([head, mangled]))


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": None}, {"epoch": "0"}, {"epoch": -1}, {"workers": None}, {"workers": 0}, {"rank": 5}),
        *({"source": 3}, {"stages": "x"}, {"stages": [1]}),
    ],
)
def test_a_mangled_head_is_no_position(change: dict[str, Any]) -> None:
    stream = range(9) | shuffle(3)
    head, at = position_of(stream)
    with pytest.raises(PositionError, match=r"is no position: give what \.tracked"):
        stream.at([{**head, **change}, at], force=True)
    with pytest.raises(PositionError, match="this release of streamwds reads format 1"):
        stream.at([{**head, "streamwds": 2}, at], force=True)


def test_positions_of_a_resumed_stream_are_those_of_the_whole() -> None:
    stream = (range(30) | shuffle(4) | batched(2)).within(epoch=3)
    pairs = list(stream.tracked())
    assert list(stream.at(pairs[4][1]).tracked()) == pairs[5:]
    assert stream.at(pairs[9][1]).at(pairs[4][1]) == stream.at(pairs[4][1])


def test_a_stage_that_keeps_items_back_is_not_resumed() -> None:
    """It runs anywhere, and positions before it are as good as ever."""
    stream = range(6) | take(5) | backwards | batched(2)
    assert stream | list == [[4, 3], [2, 1], [0]]
    pairs = list(stream.tracked())
    assert [item for item, _ in pairs] == stream | list
    for force in (False, True):
        with pytest.raises(
            PositionError, match=r"backwards keeps items back \(@stage\(buffers=True\)\), so a position can't"
        ):
            stream.at(pairs[0][1], force=force)
    assert (range(6) | take(5)).at(position_of(range(6) | take(5))) | backwards_items == [4, 3, 2, 1]


def backwards_items(items: Iterable[int]) -> list[int]:
    return [*items][::-1]


@stage(buffers=True)
def backwards(items: Iterable[int]) -> Iterator[int]:
    yield from [*items][::-1]


def test_at_belongs_at_the_end() -> None:
    with pytest.raises(CompositionError, match="at the end"):
        STREAM.at(position_of(STREAM)) | take(2)
    with pytest.raises(PositionError, match="before at"):
        STREAM.at(position_of(STREAM)).within(epoch=1)


def test_within_takes_what_a_context_has() -> None:
    with pytest.raises(TypeError, match="rnk"):
        STREAM.within(rnk=1)
    with pytest.raises(ValueError, match="counted from 0"):
        STREAM.within(worker=2, workers=2)


def test_a_stage_that_keeps_items_back_runs_and_refuses_to_resume() -> None:
    @stage(buffers=True)
    def pairs(items: Iterable[int]) -> Iterator[tuple[int, int]]:
        before = 0
        for item in items:
            yield before, item
            before = item

    stream = range(4) | pairs | take(3)
    assert list(stream) == [(0, 0), (0, 1), (1, 2)]
    _, position = next(stream.tracked())
    with pytest.raises(PositionError, match="pairs keeps items back"):
        stream.at(position)


def test_later_words_go_before_earlier_ones_and_streams_stay_as_they_were() -> None:
    stream = ["a", "b", "c"] | split_by_worker
    second = stream.within(worker=1, workers=2)
    assert (second | list, second.within(worker=0) | list, stream | list) == (["b"], ["a", "c"], ["a", "b", "c"])
    assert dict(second.within(worker=0).fixed) == {"worker": 0, "workers": 2}
    with pytest.raises(ValueError, match="rank 3 of world_size 1"):  # (that is known when somebody reads)
        iter((range(3) | wds.split_by_node).within(rank=3))
    for name in ("seed", "epoch", "rank", "world_size", "worker", "workers"):
        with pytest.raises(ValueError, match=f"{name} must be an integer"):
            stream.within(**{name: "1"})  # type: ignore[arg-type]


# ---- who reads what


def test_everybody_reading_everything_is_refused() -> None:
    for fixed, name in (
        ({"rank": 0, "world_size": 2}, "split_by_node"),
        ({"worker": 0, "workers": 2}, "split_by_worker"),
    ):
        stream = (["a", "b"] | identity).within(**fixed)
        with pytest.raises(DistributionError, match=f"put {name} behind the source"):
            iter(stream)
        with pytest.raises(DistributionError):
            stream.tracked()
        assert list((["a", "b"] | wds.everywhere).within(**fixed)) == ["a", "b"]


def test_fewer_shards_than_workers_are_told_once_and_nothing_is_lost() -> None:
    stream = ["a", "b"] | split_by_worker
    with pytest.warns(FewShardsWarning, match="2 shards for 4 workers, so 2 of them") as caught:
        parts = [list(stream.within(worker=w, workers=4)) for w in range(4)]
    assert parts == [["a"], ["b"], [], []]
    assert len(caught) == 1


# ---- handlers


def test_a_function_that_fails_names_itself_and_the_sample() -> None:
    def broken(sample: wds.Sample) -> int:
        raise KeyError("width")

    with pytest.raises(FunctionError, match="raised KeyError") as caught:
        list([{"__key__": "a/1", "__url__": "x.tar"}] | wds.map(broken))
    assert (caught.value.url, caught.value.key) == ("x.tar", "a/1")
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_handlers_answer() -> None:
    with pytest.raises(FunctionError, match="1 is odd"):
        list(range(5) | wds.map(odd_fails))
    assert list(range(5) | wds.map(odd_fails, handler=wds.ignore_and_stop)) == [0]
    with pytest.warns(SkippedWarning, match="1 is odd"):
        assert list(range(5) | wds.map(odd_fails, handler=wds.warn_and_stop)) == [0]
    with pytest.warns(SkippedWarning) as caught:
        assert list(range(7) | wds.map(odd_fails, handler=wds.warn_and_continue)) == [0, 2, 4, 6]
    assert len(caught) == 3


def test_a_stream_counts_what_it_skips_and_warns_once_a_class() -> None:
    stream = range(9) | wds.map(odd_fails, handler=wds.ignore_and_continue)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(stream) == [0, 2, 4, 6, 8]
        assert [item for item, _ in stream.tracked()] == [0, 2, 4, 6, 8]
    assert [warning.category for warning in caught] == [SkippedWarning]
    assert stream.skipped == {"ValueError": 8}


@pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning")
def test_skip_at_most_gives_up_in_the_end() -> None:
    assert list(range(6) | wds.map(odd_fails, handler=wds.skip_at_most(3))) == [0, 2, 4]
    with pytest.raises(FunctionError, match="5 is odd"):
        list(range(6) | wds.map(odd_fails, handler=wds.skip_at_most(2)))
    few = range(5000) | wds.map(lambda n: odd_fails(n % 100 == 7), handler=wds.skip_at_most(0.02))
    assert len(list(few)) == 4950
    with pytest.raises(FunctionError):
        list(range(5000) | wds.map(lambda n: odd_fails(n % 20 == 7), handler=wds.skip_at_most(0.02)))
    for wrong_limit in (-1, 1.5, True):
        with pytest.raises(ValueError, match="skip_at_most takes"):
            wds.skip_at_most(wrong_limit)


@pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning")
def test_every_stage_that_can_fail_takes_a_handler() -> None:
    skip: Any = {"handler": wds.ignore_and_continue}
    samples = [{"__key__": "a", "cls": b"1", "x": 1}, {"__key__": "b", "cls": b"?", "y": 1}]
    batches: list[Any] = [[1], 2, [3]]
    assert len(samples | decode(**skip) | list) == 1
    assert samples | wds.to_tuple("x", **skip) | list == [(1,)]
    assert samples | batched(2, **skip) | list == []
    assert batches | wds.unbatched(**skip) | list == [1, 3]
    assert range(3) | select(odd_fails, **skip) | list == [2]
    assert ["nowhere.tar"] | tarsamples(**skip) | list == []
    assert ["nowhere.tar"] | wds.open_shards | wds.tarfiles(**skip) | wds.group_by_keys(**skip) | list == []


# ---- stages by example


def test_to_tuple_takes_the_first_field_that_is_there() -> None:
    samples = [{"__key__": "a", "jpg": 1, "cls": 2}, {"__key__": "b", "png": 3, "cls": 4}]
    assert samples | wds.to_tuple("png;jpg", "cls") | list == [(1, 2), (3, 4)]
    with pytest.raises(MissingFieldError, match="it has png, cls") as caught:
        list(samples | wds.to_tuple("jpg"))
    assert (caught.value.key, caught.value.field) == ("b", "jpg")


def test_batched_collates() -> None:
    samples = [
        {"__key__": f"{n}", "im": np.full((2, 3), n), "n": n, "f": n / 2, "s": "x", "v": [n], "b": n > 0}
        for n in range(2)
    ]
    (batch,) = samples | batched(4)
    assert type(batch) is wds.Batch
    assert batch["__key__"] == ["0", "1"]
    assert batch["s"] == ["x", "x"]
    assert batch["v"] == [[0], [1]]
    assert batch["im"].shape == (2, 2, 3)
    assert batch["im"].dtype == np.int64
    assert batch["n"].dtype == np.int64
    assert batch["f"].dtype == np.float64
    assert batch["b"].dtype == bool
    ragged = [{"im": np.zeros(n)} for n in range(2)] | batched(2) | list
    assert [a.shape for a in ragged[0]["im"]] == [(0,), (1,)]
    assert [(1, "a"), (2, "b")] | batched(2) | wds.unbatched | list == [(1, "a"), (2, "b")]
    assert range(5) | batched(2, partial=False) | list == [[0, 1], [2, 3]]


def test_samples_that_cant_be_collated_are_named() -> None:
    with pytest.raises(CollateError, match="lacks it, unlike 'a'") as caught:
        list([{"__key__": "a", "x": 1}, {"__key__": "b"}] | batched(2))
    assert (caught.value.key, caught.value.field) == ("b", "x")


def test_unbatched_refuses_what_is_no_batch() -> None:
    with pytest.raises(CollateError, match="different lengths"):
        list([wds.Batch({"a": [1, 2], "b": [1]})] | wds.unbatched)
    with pytest.raises(CollateError, match="column 'a' is a int"):
        list([wds.Batch({"a": 1})] | wds.unbatched)


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert urls("a-{08..10}.tar", ["b.tar", Path("c")]) | list == ["a-08.tar", "a-09.tar", "a-10.tar", "b.tar", "c"]
    monkeypatch.chdir(tmp_path)
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert urls("*.tar") | list == ["a.tar", "b.tar"]
    for wrong_patterns, message in (
        ([], "no URLs"),
        ([""], "empty"),
        (["x-*.tar"], "no file matches"),
        (["a-{0..2.tar"], "braces"),
    ):
        with pytest.raises(SourceError, match=message):
            urls(*wrong_patterns)
    for not_a_pattern in (b"a.tar", 3):
        with pytest.raises(SourceError, match="is a str"):
            urls(not_a_pattern)  # type: ignore[arg-type]  # pyright: ignore


def test_plain_iterators_are_curried() -> None:
    it = wds.iterators
    assert toolz.pipe(range(6), it.select(even), it.map(double), it.batched(2), list) == [[0, 4], [8]]
    assert list(it.take(2)("abc")) == ["a", "b"]
    assert sorted(it.shuffle(3, range(5))) == list(range(5))
    assert list(it.unbatched([[1], [2, 3]])) == [1, 2, 3]
    assert list(it.to_tuple(("a",), [{"a": 1}])) == [(1,)]


def test_no_warning_where_all_is_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(range(100) | split_by_worker | shuffle(10) | batched(7))) == 15
