"""Stages that rename, pick, look things up, group by length and show what passes: by example, and where they fail."""

from __future__ import annotations

import json
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset.filters as theirs

import streamwds as wds
from streamwds import (
    ChunkedSampler,
    Sample,
    ShardFiles,
    TarWriter,
    associate,
    batched,
    bucket_batched,
    compose,
    decode,
    extract_keys,
    getfirst,
    identity,
    ignore_and_continue,
    ignore_and_stop,
    info,
    log_keys,
    map_dict,
    map_tuple,
    mock,
    non_empty,
    pack,
    pipeline,
    rename,
    rename_keys,
    shuffle,
    take,
    to_tuple,
    transform_with,
    unlisted,
    xdecode,
)
from streamwds import iterators as it
from streamwds.checks import check, checkcallable, checkmember, checknotnone, checkrange, checktype
from streamwds.errors import (
    CheckError,
    CollateError,
    CompositionError,
    DecodeError,
    FunctionError,
    JoinError,
    MissingFieldError,
    RenameError,
    ReplayError,
    SourceError,
    WriteError,
)
from streamwds.hooks import add_hook, call_hook
from streamwds.testing import same_items

silent = pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning")

CAT: Sample = {"__key__": "cat", "__url__": "a.tar", "png": b"...", "cls": 7}
DOG: Sample = {"__key__": "dog", "__url__": "a.tar", "jpg": b"!!!", "cls": 5}


empty: dict[str, Sample] = {}
no_fields: Any = str.upper


def second(item: tuple[Any, int]) -> int:
    return item[1]


def upper(value: bytes) -> bytes:
    return value.upper()


# ---- fields by name and by pattern, as webdataset has them and otherwise


def both(name: str, samples: list[Sample], *args: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    """What our stage and theirs of the same name make of these samples."""
    ours = list(getattr(wds, name)(*args, **options)(samples))
    return ours, list(getattr(theirs, name)(*args, **options)(iter([dict(sample) for sample in samples])))


@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("rename", (), {"image": "png;jpg", "label": "cls"}),
        ("rename", (), {"image": "png;jpg", "cls": "cls"}),
        ("rename_keys", (("image", "*pg"), ("image", "png"), ("label", "c?s")), {"must_match": False}),
        ("rename_keys", (), {"any": "*p*g", "keep_unselected": True, "must_match": False}),
        ("extract_keys", ("*.png;*.jpg", "*.cls"), {}),
        ("extract_keys", ("jp*;pn*",), {"duplicate_is_error": False}),
        ("to_tuple", ("png;jpg", "cls"), {}),
        ("to_tuple", ("png", "cls"), {"missing_is_error": False}),
        ("map_dict", (), {"cls": str}),
    ],
)
def test_as_in_webdataset(name: str, args: Any, options: Any) -> None:
    ours, other = both(name, [CAT, DOG], *args, **options)
    plain = [{k: v for k, v in s.items() if k[:2] != "__"} if isinstance(s, dict) else s for s in ours]
    assert plain == [{k: v for k, v in s.items() if k[:2] != "__"} if isinstance(s, dict) else s for s in other]


def test_tuples_and_lists_as_in_webdataset() -> None:
    items = [(1, 2, 3), (4, 5, 6)]
    assert items | map_tuple(None, str) | list == list(theirs.map_tuple(None, str)(items))
    assert list(transform_with(items[0], [str, None])) == theirs.transform_with(items[0], [str, None])
    assert [[1, 2], [3]] | unlisted | list == list(theirs.unlisted()([[1, 2], [3]])) == [1, 2, 3]
    assert getfirst(CAT, "jpg;png") == theirs.getfirst(CAT, "jpg;png")


def test_nothing_is_changed_in_place() -> None:
    before = dict(CAT)
    for stage in (rename(label="cls"), map_dict(cls=str), associate({"cat": {"cls": 1}}), rename_keys(x="*png")):
        list([CAT] | stage)
        assert before == CAT


def test_rename_keeps_what_was_not_taken() -> None:
    both_pictures = {**CAT, "jpg": b"!!!"}
    assert [both_pictures] | rename(image="jpg;png") | list == [
        {"__key__": "cat", "__url__": "a.tar", "png": b"...", "cls": 7, "image": b"!!!"}
    ]
    assert [CAT] | rename(cls="png", png="cls", keep=False) | list == [
        {"__key__": "cat", "__url__": "a.tar", "cls": b"...", "png": 7}
    ]
    assert [CAT] | rename({"seg.png": "png"}, missing_is_error=False, x="gif") | map_dict({"seg.png": len}) | list == [
        {"__key__": "cat", "__url__": "a.tar", "cls": 7, "seg.png": 3}
    ]


@pytest.mark.parametrize(
    ("stage", "kind", "message"),
    [
        (rename(cls="png"), RenameError, r"a\.tar, key 'cat', field 'cls': the sample has such a field already"),
        (rename(x="gif;bmp"), MissingFieldError, r"field 'gif;bmp': the sample has no such field; it has png, cls"),
        (rename_keys(x="*"), RenameError, r"field 'x': several fields would become it: png, cls"),
        (rename_keys(x="gif"), MissingFieldError, "field 'gif'"),
        (extract_keys("*"), RenameError, r"field '\*': the pattern means several fields: png, cls"),
        (extract_keys("gif"), MissingFieldError, "field 'gif'"),
        (map_dict(gif=str), MissingFieldError, "field 'gif'"),
        (map_dict(cls=len), FunctionError, r"a\.tar, key 'cat', field 'cls': map_dict\(len\) raised TypeError"),
        (associate({}), JoinError, "key 'cat', field '__key__': nothing is known for 'cat'"),
        (associate(empty.__getitem__), FunctionError, "raised KeyError"),
        (associate(no_fields), FunctionError, r"takes fields \(a dict\) for a key, not 'CAT'"),
        (associate({}, on="gif"), MissingFieldError, "field 'gif'"),
        (xdecode(cls=len), DecodeError, "no decoder is known for"),
        (pack(2, "cls"), CollateError, "field 'cls': pack takes sequences .* not a int"),
        (bucket_batched("cls", max_items=2), FunctionError, "raised TypeError"),
        (info("{gif}"), FunctionError, "info can't show it"),
    ],
)
def test_errors_name_the_sample_and_the_way_out(stage: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        list([CAT] | stage)


@silent
def test_handlers_may_skip_what_fails() -> None:
    skip: Any = {"handler": ignore_and_continue}
    for stage in (
        rename(x="png", **skip),
        rename_keys(x="png", **skip),
        extract_keys("png", **skip),
        map_dict(png=len, **skip),
        associate({"cat": {}}, **skip),
        xdecode(png=bytes, **skip),
    ):
        stream = [DOG, CAT] | stage
        assert len(list(stream)) == 1
        assert sum(stream.skipped.values()) == 1
    assert [(1,), ("a",)] | map_tuple(float, handler=ignore_and_continue) | list == [(1.0,)]


@pytest.mark.parametrize(
    "stage",
    [rename(x="cls"), rename_keys(x="cls"), extract_keys("cls"), map_dict(cls=str), associate({}), pack(2, "x")],
)
def test_what_is_no_sample_is_told(stage: Any) -> None:
    with pytest.raises(MissingFieldError, match="takes samples"):
        list(iter([3]) | stage)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rename(), "new names and old ones"),
        (lambda: rename(x=""), "alternatives apart"),
        (lambda: rename_keys(("x",)), "pairs"),  # type: ignore[arg-type]
        (lambda: extract_keys(), "at least one pattern"),
        (lambda: map_dict(), "functions by field"),
        (lambda: map_tuple(None), "one for each element or None"),
        (lambda: bucket_batched(len), "max_items, max_tokens, or both"),
        (lambda: bucket_batched(len, max_items=0), "at least 1"),
        (lambda: bucket_batched(len, max_items=2, bounds=(3, 2)), "rising lengths"),
        (lambda: bucket_batched(len, max_items=2, window=0), "window"),
        (lambda: bucket_batched(len, max_items=2, pad="x"), "pad is a number"),  # type: ignore[call-overload]
        (lambda: pack(0, "x"), "at least 1"),
        (lambda: pack(9), "fields that hold sequences"),
        (lambda: pack(9, "x", "positions"), "pack makes a field 'positions' itself"),
        (lambda: info(every=0), "every"),
        (lambda: mock(1, -1), "a number of items"),
    ],
)
def test_wrong_options_are_told_at_once(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_order_is_told_while_composing() -> None:
    with pytest.raises(CompositionError, match="rename yields Sample, map_tuple takes tuple"):
        _ = [CAT] | rename(x="cls") | map_tuple(str)  # type: ignore[operator]
    with pytest.raises(CompositionError, match="takes a mapping from keys to fields, or a function, not 3"):
        associate(3)  # type: ignore[arg-type]


def test_a_large_table_is_held_and_not_copied() -> None:
    table = {f"{n}": {"embedding": np.full(3, n)} for n in range(100)}
    stage = associate(table)
    (found,) = [{"__key__": "7"}] | stage
    assert found["embedding"] is table["7"]["embedding"]
    assert stage == associate(table)
    assert stage != associate({**table, "7": {}})
    assert "<dict of 100 keys>" in repr(stage)
    (found,) = [{"__key__": "7"}] | pickle.loads(pickle.dumps(stage))
    assert found["embedding"].tolist() == [7, 7, 7]
    assert [CAT] | associate({"cat": {"x": 1}}.get) | map_dict(x=str) | to_tuple("x") | list == [("1",)]
    known = associate({"cat": {"x": 1}}, missing_is_error=False)
    assert [CAT, DOG] | known | to_tuple("x", missing_is_error=False) | list == [(1,), (None,)]


def test_xdecode() -> None:
    sample = {"__key__": "a", "left.raw": b"ab", "right.raw": b"cd", "cls": b"7", "jpg": b"..."}
    made = [sample] | xdecode(("*.raw", upper), ("right.*", len), jpg=False) | list
    assert made == [{"__key__": "a", "left.raw": b"AB", "right.raw": 2, "cls": 7, "jpg": b"..."}]
    assert [sample] | xdecode(raw=upper, must_decode=False) | to_tuple("right.raw", "jpg") | list == [(b"CD", b"...")]
    stage = xdecode(raw=bytes.split)
    assert eval(repr(stage), {name: getattr(wds, name) for name in wds.__all__}) == stage
    with pytest.raises(DecodeError, match=r"key 'a', field 'jpg': .* no decoder is known for '\.jpg'"):
        list([sample] | stage)


# ---- what passes by


def test_info_shows_the_first_and_every_so_many(caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []
    assert range(10) | info("{}", n=2, every=4, to=shown.append) | list == list(range(10))
    assert shown == ["0", "1", "3", "7"]
    shown.clear()
    samples = [{"__key__": "a", "x": np.zeros((2, 3), np.uint8), "jpg": b"\xff" * 100, "t": torch.zeros(2)}]
    list(samples | info(width=12, to=shown.append))
    assert shown == [
        "---\n__key__: 'a'\nx: ndarray (2, 3) uint8\njpg: b'\\xff\\xff\\x… (100)\nt: Tensor (2,) torch.float32"
    ]
    with caplog.at_level(logging.INFO):
        list([CAT] | info("{__key__} {cls}", to=logging.getLogger("seen").info))
    assert caplog.messages == ["cat 7"]


def test_info_goes_to_the_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    list([CAT] | info(n=1, label="raw"))
    assert capsys.readouterr().err == "--- raw\n__key__: 'cat'\n__url__: 'a.tar'\npng: b'...'\ncls: 7\n"


def test_looking_changes_no_position(tmp_path: Path) -> None:
    """So a checkpoint is good with and without."""
    plain = range(20) | shuffle(4) | batched(3)
    seen = range(20) | info(n=0) | shuffle(4) | log_keys(tmp_path / "keys.log") | batched(3)
    positions = [json.dumps(position) for _, position in plain.tracked()]
    assert [json.dumps(position) for _, position in seen.tracked()] == positions
    assert seen.at(json.loads(positions[2])) | list == plain.at(json.loads(positions[2])) | list


def test_log_keys(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    stream = [CAT, {**DOG, "__key__": "d\to\ng"}] | wds.everywhere | log_keys(log)
    list(stream)
    list(stream.within(epoch=2, worker=1, workers=2))
    assert log.read_text().splitlines() == [
        "0\t0\t0\t0\tcat\ta.tar",
        "1\t0\t0\t0\td o g\ta.tar",
        "0\t2\t0\t1\tcat\ta.tar",
        "1\t2\t0\t1\td o g\ta.tar",
    ]
    with pytest.raises(WriteError, match="the log of keys can't be written: No such file or directory"):
        list([CAT] | log_keys(tmp_path / "no" / "keys.log"))


def test_lines_of_several_processes_do_not_run_into_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from streamwds import *; key = sys.argv[2] * 50\n"
        "list(mock({'__key__': key}, 500) | log_keys(sys.argv[1]))"
    )
    log = tmp_path / "keys.log"
    started = [subprocess.Popen([sys.executable, "-c", code, str(log), name]) for name in "abc"]
    assert [process.wait() for process in started] == [0, 0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 1500
    assert all(re.fullmatch(r"\d+\t0\t0\t0\t(a{50}|b{50}|c{50})\t", line) for line in lines)


# ---- sources and sums of stages


def test_mock() -> None:
    sample = {"__key__": "a", "x": np.zeros(2)}
    made = list(mock(sample, 3))
    assert len(made) == 3
    assert made[0] is not made[1]
    assert made[0]["x"] is sample["x"]
    assert mock(sample, 3) == mock(sample, 3) != mock(sample, 4)
    assert mock(abs, 4) | batched(2) | list == [[0, 1], [2, 3]]
    assert eval(repr(mock("x", 2)), {"mock": mock}) == mock("x", 2)


def test_compose_and_pipeline() -> None:
    assert compose() == identity
    assert compose(take(2)) == take(2)
    assert pipeline(range(9), take(5), batched(2)) == range(9) | take(5) | batched(2)
    assert pipeline(range(3)) | list == [0, 1, 2]


def test_non_empty() -> None:
    assert range(2) | non_empty | list == [0, 1]
    with pytest.raises(SourceError, match="worker 2 of 3 on rank 0 of 1 got no item at all"):
        list((["a", "b"] | wds.split_by_worker | non_empty).within(worker=2, workers=3))
    *_, (_, last) = (range(2) | non_empty).tracked()
    assert (range(2) | non_empty).at(last) | list == []


def test_unlisted_tells_what_it_takes() -> None:
    assert [(1, [2]), [3]] | unlisted | list == [1, [2], 3]
    with pytest.raises(CollateError, match="unlisted takes lists or tuples of items, not ndarray"):
        list(iter([np.zeros(2)]) | unlisted)  # type: ignore[operator]


def test_the_plain_iterators_of_these_stages(tmp_path: Path) -> None:
    samples = [CAT, DOG]
    assert list(it.rename({"label": "cls"}, samples)) == samples | rename(label="cls") | list
    assert list(it.rename_keys([("x", "*.cls")])(samples)) == samples | rename_keys(x="cls") | list
    assert list(it.extract_keys(["cls"], samples)) == [(7,), (5,)]
    assert list(it.associate({"cat": {"x": 1}}, samples, handler=ignore_and_stop)) == [{**CAT, "x": 1}]
    assert list(it.map_dict({"cls": str}, samples)) == samples | map_dict(cls=str) | list
    assert list(it.map_tuple([None, str])([(1, 2)])) == [(1, "2")]
    assert list(it.unlisted([[1], (2,)])) == [1, 2]
    assert list(it.info(n=0)([1, 2])) == [1, 2]
    assert list(it.log_keys(tmp_path / "log")(samples)) == samples
    assert list(it.bucket_batched(len, max_items=2)(["a", "bb", "c"])) == [["a", "c"], ["bb"]]
    assert [s["x"].tolist() for s in it.pack(3, "x")([{"x": [1, 2]}, {"x": [3]}])] == [[1, 2, 3]]
    assert list(it.xdecode({"*.raw": upper}, [{"raw": b"ab"}])) == [{"raw": b"AB"}]


# ---- by length


def test_padding_by_field_and_of_tensors() -> None:
    samples = [{"__key__": f"{n}", "x": torch.arange(n), "y": list(range(n)), "z": n} for n in (2, 3)]
    (batch,) = samples | bucket_batched("x", max_items=2, bounds=(9,), pad={"x": 0, "y": -100})
    assert batch["x"].tolist() == [[0, 1, 0], [0, 1, 2]]
    assert isinstance(batch["x"], torch.Tensor)
    assert batch["y"].tolist() == [[0, 1, -100], [0, 1, 2]]
    assert batch["z"].tolist() == [2, 3]
    (pair,) = [(np.ones((n, 2)), n) for n in (1, 2)] | bucket_batched(second, max_tokens=4, bounds=(9,), pad=0)
    assert pair[0].tolist() == [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]


@silent
def test_items_that_are_too_long() -> None:
    with pytest.raises(CollateError, match="its length is 9, and no batch may have more than max_tokens=5"):
        list(["a" * 9] | bucket_batched(len, max_tokens=5))
    stage = bucket_batched(len, max_tokens=5, handler=ignore_and_continue)
    assert ["aa", "a" * 9, "bb"] | stage | list == [["aa", "bb"]]
    assert ["aa", "a" * 9, "bb"] | bucket_batched(len, max_tokens=5, handler=ignore_and_stop) | list == [["aa"]]


def test_bucket_batched_without_the_last() -> None:
    lists = ["a", "b", "c", "dd"] | bucket_batched(len, max_items=2, window=3, partial=False) | list
    assert lists == [["a", "b"]]


class Changing:
    """Samples of which one gets longer, or the last one is gone."""

    longer = fewer = 0

    def __iter__(self) -> Any:
        return iter([{"x": [1] * (n + self.longer)} for n in range(1, 6 - self.fewer)])


@pytest.mark.parametrize("stage", [pack(9, "x", bins=1), pack(2, "x", split=True), bucket_batched("x", max_items=2)])
def test_groups_that_upstream_does_not_give_again(stage: Any) -> None:
    source = Changing()
    stream = source | stage
    (_, first), (_, second), *_ = stream.tracked()
    rest = list(stream)[2:]
    assert same_items(list(stream.at(second)), rest)
    source.longer, source.fewer = 2, 1
    with pytest.raises(ReplayError, match="was not read the same as before"):
        list(stream.at(first))


def test_pack_fields_of_several_dimensions() -> None:
    samples = [{"x": np.ones((2, 3), np.float16), "y": [1, 2]}, {"x": np.ones((1, 3), np.float16), "y": [3]}]
    (made,) = samples | pack(4, "x", "y", pad={"y": -100})
    assert made["x"].shape == (4, 3)
    assert made["x"].dtype == np.float16
    assert made["y"].tolist() == [1, 2, 3, -100]
    assert made["segment_ids"].dtype == np.int32
    with pytest.raises(CollateError, match=r"different lengths: \{'x': 2, 'y': 1\}"):
        list([{"x": [1, 2], "y": [1]}] | pack(4, "x", "y"))


# ---- sampling


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 10, 23])
def test_ranks_have_equally_many_and_all_together(n: int, world_size: int) -> None:
    def samplers(**options: Any) -> list[ChunkedSampler]:
        ranks = range(world_size)
        return [ChunkedSampler(range(n), chunk=4, rank=r, world_size=world_size, **options) for r in ranks]

    parts = [list(sampler) for sampler in samplers()]
    assert {number for part in parts for number in part} == set(range(n))
    assert len({len(part) for part in parts}) == 1
    short = [number for sampler in samplers(drop_last=True) for number in sampler]
    assert len(set(short)) == len(short) == n // world_size * world_size == sum(map(len, samplers(drop_last=True)))


def test_a_sampler_reads_shard_after_shard(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 5), ("c", 1)):
        with TarWriter(tmp_path / f"{name}.tar") as writer:
            for n in range(count):
                writer.dwrite(f"{name}{n}", cls=n)
    dataset = ShardFiles(f"{tmp_path}/*.tar", decode() | to_tuple("__key__"))
    sampler = ChunkedSampler(dataset)
    loader: Any = torch.utils.data.DataLoader(dataset, sampler=sampler, batch_size=None)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        keys = [key for (key,) in loader]
        assert sorted(keys) == sorted(key for (key,) in dataset)
        turns = re.sub(r"(.)\1+", r"\1", "".join(key[0] for key in keys))
        assert sorted(turns) == ["a", "b", "c"]
        orders.append(keys)
    assert orders[0] != orders[1]
    assert list(ChunkedSampler(dataset, shuffle=False)) == list(range(9))
    with pytest.raises(ValueError, match="say how many samples a chunk has"):
        ChunkedSampler(range(3))


# ---- hooks and checks


def test_hooks() -> None:
    called: list[Any] = []
    hooks = add_hook(None, called.append)
    more = add_hook(hooks, lambda item: called.append(item * 2))
    assert len(hooks) == 1
    call_hook(more, 3)
    call_hook(called.append, 5)
    assert called == [3, 6, 5]
    with pytest.raises(CheckError, match="a hook is a function: something that can be called is wanted, not 3"):
        add_hook(None, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        (check, (1,), (0,)),
        (checkcallable, (len,), (3,)),
        (checkmember, ("a", "abc"), ("d", ["a", "b"])),
        (checknotnone, (0,), (None,)),
        (checkrange, (0, 0, 9), (float("nan"), 0, 9)),
        (checktype, ("a", (int, str)), ("a", int)),
    ],
)
def test_checks(function: Callable[..., Any], good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    assert function(*good) is good[0]
    with pytest.raises(ValueError, match=re.escape(f"not {bad[0]!r}")):
        function(*bad)
    with pytest.raises(CheckError, match=r"^here: "):
        function(*bad, "here")
