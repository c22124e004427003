"""The reader's options by example, beside what webdataset makes of the same shards."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import webdataset
from webdataset.tariterators import group_by_keys as their_groups
from webdataset.tariterators import tar_file_expander

from streamwds import (
    Sample,
    Shard,
    TarWriter,
    decode,
    group_by_keys,
    ignore_and_continue,
    open_shards,
    tarfiles,
    tarsamples,
    to_tuple,
    urls,
)
from streamwds.errors import FunctionError, SkippedWarning, TruncatedError
from streamwds.testing import check_resume
from tests.archives import END, by_stdlib, header, member, shards


def photos(path: Path, count: int = 30) -> Path:
    with TarWriter(path, mtime=0) as writer:
        for n in range(count):
            picture = bytes([n % 256]) * (20_000 + 700 * (n % 30))
            writer.write({"__key__": f"a/{n:04d}", "jpg": picture, "cls": b"%d" % n, "Seg.PNG".lower(): b"s" * n})
    return path


def shout(name: str) -> str:
    return name.upper()


def is_label(name: str) -> bool:
    return name.endswith(".cls")


def by_folder(name: str) -> tuple[str, str] | None:
    folder, _, last = name.rpartition("/")
    return (folder, last) if last[:1] != "." else None


def test_wanted_fields(tmp_path: Path) -> None:
    path = photos(tmp_path / "a.tar")
    whole = list(urls(path) | tarsamples)
    several: list[Any] = [{"cls"}, ["cls", "seg.png"], ("jpg",), frozenset({"none"}), set()]
    for suffixes in several:
        kept = [{k: v for k, v in sample.items() if k[:2] == "__" or k in suffixes} for sample in whole]
        stream = urls(path) | tarsamples(suffixes=suffixes)
        assert list(stream) == kept
        assert check_resume(stream) == 30
        assert [at for _, at in stream.tracked()] == [at for _, at in (urls(path) | tarsamples).tracked()]
    assert urls(path) | tarsamples(suffixes={"cls"}) | decode() | to_tuple("cls") | list == [(n,) for n in range(30)]


def test_what_is_not_wanted_is_not_read(tmp_path: Path) -> None:
    """By the number of bytes that are asked of the file: but for the first and last samples, no picture's."""
    path = photos(tmp_path / "a.tar", 400)
    read = 0

    class Counting(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal read
            read += (got := super().readinto(buffer) or 0)
            return got

    def opener(url: str, offset: int) -> Any:
        return Counting(url)

    shard: Any = Shard(str(path), opener)
    stream = iter([shard]) | tarsamples(suffixes={"cls"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamwds.tar.stream.io.FileIO", Counting)
        assert len(list(stream)) == 400
    assert read < path.stat().st_size / 5


def test_a_member_larger_than_memory_can_be_left_out(tmp_path: Path) -> None:
    """64 GiB of nothing, in a file with a hole: read never, with the option; without it, an error that says so."""
    path = tmp_path / "large.tar"
    size = 64 << 30
    with path.open("wb") as file:
        file.write(member(b"a.cls", b"1"))
        file.write(header(b"a.bin", b"\x80" + size.to_bytes(11, "big")))
        file.seek(size, os.SEEK_CUR)
        file.write(member(b"b.cls", b"2") + END)
    assert urls(path) | tarsamples(suffixes={"cls"}, eof="lenient") | to_tuple("cls") | list == [(b"1",), (b"2",)]


def test_files_are_selected_and_renamed(tmp_path: Path) -> None:
    path = photos(tmp_path / "a.tar")
    labels = urls(path) | tarsamples(select_files=is_label) | list
    assert [set(sample) for sample in labels] == [{"__key__", "__url__", "cls"}] * 30
    loud = urls(path) | tarsamples(rename_files=shout, lower=False) | list
    assert loud[3] == {"__key__": "A/0003", "__url__": str(path), "CLS": b"3", "JPG": b"\3" * 22_100, "SEG.PNG": b"sss"}
    # the new name is what is selected by, as in webdataset
    assert urls(path) | tarsamples(rename_files=shout, select_files=is_label) | list == []
    members = urls(path) | open_shards | tarfiles(rename_files=shout, select_files=shout("x").__eq__) | list
    assert members == []


def test_ones_own_keys(tmp_path: Path) -> None:
    data = by_stdlib([("x/1.jpg", b"1"), ("x/2.jpg", b"2"), ("x/.x", b""), ("y/1.jpg", b"3"), ("y/1.JPG", b"4")])
    found = shards(data) | tarsamples(keys=by_folder, lower=False) | list
    assert [{k: v for k, v in sample.items() if k != "__url__"} for sample in found] == [
        {"__key__": "x", "1.jpg": b"1", "2.jpg": b"2"},
        {"__key__": "y", "1.jpg": b"3", "1.JPG": b"4"},
    ]
    assert shards(data) | tarsamples(keys=lambda name: (None, None)) | list == []  # type: ignore[arg-type, return-value]


def test_metadata_can_be_read() -> None:
    data = by_stdlib([("__meta__.json", b"{}"), ("__info__/a.txt", b"t"), ("__x__", b"no field"), ("a.txt", b"a")])
    assert [sample["__key__"] for sample in shards(data) | tarsamples] == ["__meta__", "a"]
    assert [sample["__key__"] for sample in shards(data) | tarsamples(skip_meta=False)] == [
        "__meta__",
        "__info__/a",
        "a",
    ]
    assert [found.name for found in shards(data) | tarfiles] == ["__meta__.json", "a.txt"]
    assert len(shards(data) | tarfiles(skip_meta=False) | list) == 4


@pytest.mark.parametrize(
    ("options", "theirs", "groups"),
    [
        ({"suffixes": {"cls", "seg.png"}}, {}, {"suffixes": {"cls", "seg.png"}}),
        ({"select_files": is_label}, {"select_files": is_label}, {}),
        ({"rename_files": shout}, {"rename_files": shout}, {}),
        ({"rename_files": shout, "lower": False}, {"rename_files": shout}, {"lcase": False}),
        ({"keys": lambda name: (name[:5], name[5:])}, {}, {"keys": lambda name: (name[:5], name[5:])}),
    ],
    ids=["suffixes", "select", "rename", "lower", "keys"],
)
def test_webdataset_reads_the_same(options: Any, theirs: Any, groups: Any, tmp_path: Path) -> None:
    path = str(photos(tmp_path / "a.tar"))
    with open(path, "rb") as stream:
        found: list[Sample] = list(
            their_groups(tar_file_expander([{"url": path, "stream": stream}], **theirs), **groups)
        )
    assert urls(path) | tarsamples(**options) | list == found
    assert webdataset.__version__


@pytest.mark.parametrize("name", ["rename_files", "select_files", "keys"])
def test_a_function_that_fails_is_told_of_with_the_place(name: str, tmp_path: Path) -> None:
    """What was whole before it is given out; the sample at which it failed is not, nor the rest of the shard."""

    def fails(file: str) -> Any:
        if file.startswith("a/0002.j"):
            raise KeyError(file)
        return by_folder(file.replace(".", "/", 1)) if name == "keys" else file

    paths = [photos(tmp_path / f"{n}.tar", 5) for n in range(2)]
    options: Any = {name: fails}
    parts = open_shards | tarfiles(**options) | group_by_keys if name != "keys" else None
    for stage in [tarsamples(**options), *([parts] if parts else [])]:
        with pytest.raises(
            FunctionError, match=rf"byte \d+(, key '.*')?: {name}: .*raised KeyError: 'a/0002\.jpg'"
        ) as caught:
            list(urls(paths) | stage)
        assert caught.value.url == str(paths[0])
        assert isinstance(caught.value.__cause__, KeyError)
    stream = urls(paths) | tarsamples(**options, handler=ignore_and_continue)
    with pytest.warns(SkippedWarning):
        assert [sample["__key__"] for sample in stream] == ["a/0000", "a/0001"] * 2
    assert stream.skipped == {"KeyError": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rename_files": len}, "rename_files.* gave 10, which is no str"),
        ({"keys": str.upper}, r"keys\('a/0000\.cls'\) gave 'A/0000\.CLS', which is no \(key, field\), and not None"),
        ({"keys": lambda name: (name, None)}, "which is no"),
    ],
)
def test_functions_that_give_something_else(options: Any, message: str, tmp_path: Path) -> None:
    shard = photos(tmp_path / "a.tar", 1)
    with pytest.raises(FunctionError, match=message):
        list(urls(shard) | tarsamples(**options))
    stream = urls(shard) | tarsamples(**options, handler=ignore_and_continue)
    with pytest.warns(SkippedWarning, match="later errors of class FunctionError"):
        assert list(stream) == []
    assert stream.skipped == {"FunctionError": 1}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"suffixes": "cls"}, TypeError, r"such as \{'cls'\}, not a str"),
        ({"suffixes": {".cls"}}, ValueError, r"names of fields, as in .*, not '\.cls'"),
        ({"suffixes": {"cls", 3}}, ValueError, "not 3"),
        ({"suffixes": [""]}, ValueError, "not ''"),
        ({"suffixes": {"CLS"}}, ValueError, "in lower case: write 'cls', or lower=False, not 'CLS'"),
        ({"select_files": "*.cls"}, TypeError, r"a function of a name is wanted, not '\*\.cls'"),
        ({"keys": 3}, TypeError, "not 3"),
        ({"rename_files": {}}, TypeError, "not {}"),
    ],
)
def test_wrong_options_are_refused_when_they_are_given(options: Any, error: Any, message: str) -> None:
    for stage in (tarsamples, tarfiles, group_by_keys):
        if options.keys() <= {field.name for field in type(stage.steps[0]).__attrs_attrs__}:  # type: ignore[attr-defined]
            with pytest.raises(error, match=message):
                stage(**options)


def test_options_are_values() -> None:
    stage = tarsamples(suffixes=["b", "a"], select_files=is_label, lower=True)
    assert repr(stage) == f"tarsamples(suffixes={{'a', 'b'}}, select_files={is_label.__module__}.is_label)"
    assert stage == tarsamples(suffixes={"a", "b"}, select_files=is_label) == pickle.loads(pickle.dumps(stage))
    assert hash(stage) == hash(tarsamples(suffixes=("a", "b"), select_files=is_label))


def test_a_position_does_not_depend_on_the_fields_that_are_wanted(tmp_path: Path) -> None:
    path = photos(tmp_path / "a.tar")
    _, position = list((urls(path) | tarsamples(suffixes={"cls"})).tracked())[9]
    assert next(iter((urls(path) | tarsamples).at(position)))["__key__"] == "a/0010"


@pytest.mark.parametrize("cut", [30_000, 200_000, 300_001, 600_064])
def test_a_cut_within_what_is_left_out_is_an_error(cut: int, tmp_path: Path) -> None:
    path = photos(tmp_path / "a.tar")
    os.truncate(path, cut)
    found: list[Sample] = []
    with pytest.raises(TruncatedError) as caught:
        found.extend(urls(path) | tarsamples(suffixes={"cls"}))
    whole: list[Sample] = []
    with pytest.raises(TruncatedError) as expected:
        whole.extend(urls(path) | tarsamples)
    assert str(caught.value) == str(expected.value)
    assert [sample["cls"] for sample in found] == [sample["cls"] for sample in whole]
