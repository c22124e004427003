"""The writer: archives that every tar reads, nothing that would be read back otherwise, and never half a shard."""

from __future__ import annotations

import gc
import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

from streamwds import TarWriter, compression, decode, tarsamples
from streamwds.errors import EncodeError, MissingExtraError, WriteError
from streamwds.tar import framing, packing
from streamwds.tar.framing import Framing
from tests.archives import Sample, entries, expected, read, read_on, shards
from tests.test_tar_reader import by_webdataset

UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def written(*samples: Mapping[str, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    with TarWriter(stream, **options) as writer:
        for sample in samples:
            writer.write(sample)
    return stream.getvalue()


def without_url(samples: list[Sample]) -> list[Sample]:
    return [{name: value for name, value in sample.items() if name != "__url__"} for sample in samples]


def sample(key: str, **fields: Any) -> Sample:
    return {"__key__": key, **{name.replace("_", "."): value for name, value in fields.items()}}


CATS = [
    sample("1", jpg=b"one", cls=b"1"),
    sample("2", jpg=b"two" * 300, cls=b""),
    sample("a/b.c/3", seg_png=bytes(512)),
]


# ---- what is written is read back


def test_what_is_written_is_read_back() -> None:
    data = written(*CATS)
    assert without_url(read(shards(data))) == CATS
    assert without_url(expected(data)[0]) == CATS
    assert without_url(by_webdataset(data)) == CATS


def test_archives_are_those_of_stdlib_to_the_byte() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (("a/1.cls", b"7"), ("a/1.jpg", b"x" * 1000), ("d" * 99 + "/" + "n" * 60 + ".txt", b"")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode, info.uname, info.gname = len(data), 1_500_000_000, 0o640, "me", "us"
            tar.addfile(info, io.BytesIO(data))
    options: dict[str, Any] = {"mtime": 1_500_000_000, "mode": 0o640, "user": "me", "group": "us"}
    two = [sample("a/1", jpg=b"x" * 1000, cls=b"7"), sample("d" * 99 + "/" + "n" * 60, txt=b"")]
    assert written(*two, **options) == stream.getvalue()


def test_an_archive_ends_as_tar_ends_them() -> None:
    for count in (0, 1, 19, 20, 21):
        data = written(*[sample(str(n), x=b"") for n in range(count)])
        assert len(data) % 10_240 == 0
        assert data[512 * count :] == bytes(len(data) - 512 * count)
        assert 1024 <= len(data) - 512 * count < 1024 + 10_240


def test_write_says_how_many_bytes_a_sample_takes() -> None:
    with TarWriter(io.BytesIO()) as writer:
        assert writer.write(sample("1", a=b"")) == 512
        assert writer.write(sample("2", a=b"x" * 513, b=b"x")) == 512 * 5
        assert writer.write(sample("ä", a=b"")) == 512 * 3
        assert writer.dwrite("3", a=b"", b_c=b"x") == 512 * 3


def test_dwrite_writes_dots_for_underscores() -> None:
    stream = io.BytesIO()
    with TarWriter(stream) as writer:
        writer.dwrite("1", seg_png=b"x", txt="a cat")
    assert without_url(read(shards(stream.getvalue()))) == [sample("1", seg_png=b"x", txt=b"a cat")]


def test_fields_are_written_in_order_whatever_their_order_in_the_sample() -> None:
    backwards = [dict(reversed(cat.items())) for cat in CATS]
    assert written(*CATS, mtime=0) == written(*backwards, mtime=0)
    assert [entry.name for entry in entries(written(*backwards))] == [
        "1.cls",
        "1.jpg",
        "2.cls",
        "2.jpg",
        "a/b.c/3.seg.png",
    ]


def test_a_fixed_time_gives_identical_bytes_and_the_default_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 5_000)
    later, fixed = written(*CATS), written(*CATS, mtime=7.9)
    monkeypatch.setattr(time, "time", lambda: now)
    assert written(*CATS, mtime=7.9) == fixed
    with tarfile.open(fileobj=io.BytesIO(fixed)) as tar:
        assert {info.mtime for info in tar} == {7}
    with tarfile.open(fileobj=io.BytesIO(later)) as tar:
        assert {info.mtime for info in tar} == {int(now + 5_000)}


def test_owner_and_permissions() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(*CATS, user="ü" * 15, group="g" * 31, mode=0o100600))) as tar:
        assert {(info.uname, info.gname, info.mode) for info in tar} == {("ü" * 15, "g" * 31, 0o600)}
    with tarfile.open(fileobj=io.BytesIO(written(*CATS))) as tar:
        assert {(info.uname, info.gname, info.mode) for info in tar} == {("bigdata", "bigdata", 0o444)}


@pytest.mark.parametrize(
    "options",
    [
        {"user": "u" * 32},
        {"group": "ü" * 16},
        {"user": "u" * 33, "group": "g" * 30},
        {"mtime": -1},
        {"mtime": 8**11},
        {"mtime": float("nan")},
        {"mtime": float("inf")},
    ],
)
def test_what_no_header_can_say_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at most 31 bytes|number of seconds"):
        TarWriter(tmp_path / "a.tar", **options)
    assert list(tmp_path.iterdir()) == []


# ---- names


def lengths() -> list[str]:
    """Names of all lengths about which headers change, with their slashes in every awkward place."""
    names: list[str] = []
    for length in (5, 99, 100, 101, 102, 154, 155, 156, 157, 255, 256, 257, 258, 400):
        for slashes in ((), (1,), (99,), (100,), (154,), (155,), (156,), (1, 155), (98, 99), (154, 155), (155, 156)):
            letters = list(f"{len(names):03d}" + "n" * (length - 5) + ".x")
            for place in slashes:
                if place < length - 3:
                    letters[place] = "/"
            names.append("".join(letters))
    return list(dict.fromkeys(names))


NAMES = {
    "lengths": lengths(),
    "letters": [
        "ä.txt",
        "中文/日本.語",
        "e\u0301/é.txt",
        "a b/c d.e f",
        "🐈.jpg",
        "d/" * 60 + "ü.txt",
        "ü" * 200 + ".x",
    ],
    "many dots": [f"a/{'b.' * n}c/{n}.{'d.' * n}e" for n in range(1, 150, 7)],
    "no UTF-8": ["\udcff.txt", "a\udc80/\udcfe.tx\udc81", "\udcff" * 96 + ".x", "p" * 90 + "/\udcff.txt"],
}


def shard_of_names(names: list[str]) -> tuple[bytes, list[tuple[str, bytes]]]:
    files = [(name, f"{n} {name}".encode("utf-8", "surrogateescape")) for n, name in enumerate(names)]
    samples: list[Sample] = []
    for name, data in files:
        folder, slash, last = name.rpartition("/")
        key, _, field = last.partition(".")
        samples.append({"__key__": folder + slash + key, field: data})
    data = written(*samples)
    assert without_url(read(shards(data))) == samples
    return data, files


@pytest.mark.parametrize("what", NAMES)
def test_names_are_read_back_here_and_in_stdlib(what: str) -> None:
    data, files = shard_of_names(NAMES[what])
    assert [(entry.name, entry.data) for entry in entries(data)] == files
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(info.name, info.size) for info in tar] == [(name, len(content)) for name, content in files]


@pytest.mark.needs("GNU tar")
@pytest.mark.parametrize("what", NAMES)
def test_names_are_read_back_by_gnu_tar(tmp_path: Path, what: str) -> None:
    data, files = shard_of_names(NAMES[what])
    (tmp_path / "a.tar").write_bytes(data)
    for options, out in (
        (
            ["-t", "--quoting-style=literal"],
            b"".join(name.encode("utf-8", "surrogateescape") + b"\n" for name, _ in files),
        ),
        (["-x", "-O"], b"".join(content for _, content in files)),
    ):
        done = subprocess.run(["tar", *options, "-f", "a.tar"], cwd=tmp_path, capture_output=True, env=UTF8)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == out


@pytest.mark.needs("bsdtar")
@pytest.mark.parametrize("what", NAMES)
def test_names_are_read_back_by_bsdtar(tmp_path: Path, what: str) -> None:
    data, files = shard_of_names(NAMES[what])
    (tmp_path / "a.tar").write_bytes(data)
    listed = b"".join(name.encode("utf-8", "surrogateescape") + b"\n" for name, _ in files)
    if what == "no UTF-8":  # (which bsdtar shows as escapes)
        listed = b"".join(
            b"".join(
                b"\\%03o" % byte if byte > 127 else b"%c" % byte for byte in name.encode("utf-8", "surrogateescape")
            )
            + b"\n"
            for name, _ in files
        )
    for options, out in (["-t"], listed), (["-x", "-O"], b"".join(content for _, content in files)):
        done = subprocess.run(["bsdtar", *options, "-f", "a.tar"], cwd=tmp_path, capture_output=True, env=UTF8)
        assert (done.returncode, done.stderr) == (0, b"")
        composed = [
            unicodedata.normalize("NFC", text.decode("utf-8", "surrogateescape")) for text in (done.stdout, out)
        ]
        assert composed[0] == composed[1]  # (libarchive composes letters and accents)


def test_only_names_that_do_not_fit_take_a_pax_header() -> None:
    for name in [name for names in NAMES.values() for name in names]:
        raw = name.encode("utf-8", "surrogateescape")
        at = raw.rfind(b"/", 0, 156)
        fits = len(raw) <= 100 or (at > 0 and len(raw) - at <= 101 and raw[at - 1 : at] != b"/")
        utf8 = not any("\udc80" <= letter <= "\udcff" for letter in name)
        data, _ = shard_of_names([name])
        assert (data[156:157] == b"x") == (not fits or (utf8 and not raw.isascii()))


HUGE = [8**11 - 1, 8**11, 8**11 + 1, 2**40, 2**63 - 1]


@pytest.mark.parametrize("size", HUGE)
def test_sizes_that_octal_digits_cannot_say(size: int) -> None:
    start = b"".join(Framing("me", "us", 0o444, 0).header("a.bin", size))
    assert len(start) == (512 if size < 8**11 else 3 * 512)
    with tarfile.open(fileobj=io.BytesIO(start + b"x"), mode="r|") as tar:
        info = tar.next()
        assert info is not None
        assert (info.name, info.size) == ("a.bin", size)


@pytest.mark.needs("GNU tar", "bsdtar")
@pytest.mark.parametrize("size", [8**11 - 1, 8**11])
def test_members_of_gigabytes_in_other_tars(tmp_path: Path, size: int) -> None:
    """Holes for data: a file of 8 GiB that takes no room."""
    ours = Framing("me", "us", 0o444, 0)
    start = b"".join(ours.header("a.bin", size))
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(start)
        file.seek(size + -size % 512, os.SEEK_CUR)
        file.write(b"".join(ours.header("b.txt", 3)) + b"end".ljust(512, b"\0") + bytes(1024))
    for command in (["tar", "-tvf"], ["bsdtar", "-tvf"]):
        done = subprocess.run([*command, "a.tar"], cwd=tmp_path, capture_output=True, env=UTF8)
        assert (done.returncode, done.stderr) == (0, b"")
        listed = [line.split() for line in done.stdout.decode().splitlines()]
        assert [line[-1] for line in listed] == ["a.bin", "b.txt"]
        assert str(size) in listed[0]
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [(info.name, info.size) for info in tar] == [("a.bin", size), ("b.txt", 3)]


def test_samples_with_large_members(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (framing, packing):
        monkeypatch.setattr(room, "LARGEST", 1000)
    samples = [sample("1", a=b"x" * 999, b=b"y" * 1000), sample("ü", a=b"z" * 1537)]
    data = written(*samples, mtime=0)
    assert without_url(read(shards(data))) == samples
    assert data.count(b" size=1000\n") == data.count(b" size=1537\n") == 1
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [info.size for info in tar] == [999, 1000, 1537]


@pytest.mark.needs("GNU tar", "bsdtar")
def test_samples_with_large_members_in_other_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (framing, packing):
        monkeypatch.setattr(room, "LARGEST", 1000)
    (tmp_path / "a.tar").write_bytes(written(sample("1", a=b"x" * 999, b=b"y" * 1000), sample("2", a=b"z" * 1537)))
    for command in ("tar", "bsdtar"):
        done = subprocess.run([command, "-xOf", "a.tar"], cwd=tmp_path, capture_output=True, env=UTF8)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"x" * 999 + b"y" * 1000 + b"z" * 1537


# ---- the short way: samples with fields that came before


def variants() -> list[Sample]:
    """Samples that change what was looked up for those before: fields, their order, number, sizes, kinds of key."""
    samples: list[Sample] = []
    for n in range(40):
        random = Random(n)
        key = random.choice([f"{n}", f"a/b-{n}", f"a_{n}", f"a.b/{n}", f"ü{n}", f"{n}" * 60, f"d{n}/" * 30 + "k"])
        names = random.choice([["a"], ["a", "b"], ["a", "c"], ["b", "a"], ["a", "b", "c"], ["x" * 97], ["ü", "a"]])
        fields: Sample = {name: random.randbytes(random.choice([0, 1, 511, 512, 513, 5000])) for name in names}
        extra: Sample = random.choice([{}, {"__url__": "u"}, {"_meta": b"m"}, {"__url__": "u", "_other": b"o"}])
        parts = [{"__key__": key}, fields, extra]
        random.shuffle(parts)
        samples.append({name: value for part in parts for name, value in part.items()})
    return samples


@pytest.mark.parametrize("keep_meta", [False, True])
def test_samples_in_any_order_are_written_as_each_alone(keep_meta: bool) -> None:
    """What was looked up for others never changes a byte."""
    for seed in range(6):
        order = Random(seed).sample(variants(), 40)
        alone = [written(one, mtime=0, keep_meta=keep_meta) for one in order]
        sizes: list[int] = []
        stream = io.BytesIO()
        with TarWriter(stream, mtime=0, keep_meta=keep_meta) as writer:
            sizes += [writer.write(one) for one in order]
        together = stream.getvalue()
        assert together.rstrip(b"\0") == b"".join(d[:n] for d, n in zip(alone, sizes)).rstrip(b"\0"), f"seed {seed}"
        assert [entry.data for entry in entries(together)] == [e.data for data in alone for e in entries(data)]


class Missing(dict[str, Any]):
    """A dict that has what it is asked for."""

    def __missing__(self, name: str) -> bytes:
        return b"made up"


def test_what_a_mapping_makes_up_is_not_written() -> None:
    others = Missing(sample("2", a=b"3", c=b"4"))
    assert without_url(read(shards(written(CATS[0], sample("1b", a=b"1", b=b"2"), others)))) == [
        CATS[0],
        sample("1b", a=b"1", b=b"2"),
        dict(others),
    ]


def test_time_that_passes_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the clock goes back."""
    stream = io.BytesIO()
    times = [1_000.5, 1_000.9, 1_001.0, 7_000.0, 500.2, 500.9]
    monkeypatch.setattr(time, "time", lambda: times[0])
    with TarWriter(stream) as writer:
        for n, now in enumerate(times):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            writer.write(sample(str(n), a=b"x", b=b"y"))
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as tar:
        assert [info.mtime for info in tar] == [int(now) for now in times for _ in "ab"]


# ---- what is refused

REFUSED: list[tuple[Mapping[Any, Any], str]] = [
    ({"jpg": b""}, "no __key__"),
    ({1: b"", "jpg": b""}, "no __key__"),
    ({"__key__": None, "jpg": b""}, "no __key__"),
    ({"__key__": 7, "jpg": b""}, "is no str"),
    ({"__key__": b"7", "jpg": b""}, "is no str"),
    ({"__key__": "before", "jpg": b""}, "already"),
    ({"__key__": "1"}, "no field"),
    ({"__key__": "1", "__url__": "x"}, "no field"),
    ({"__key__": "1", "_meta": b"x"}, "no field"),
    ({"__key__": "a.b", "jpg": b""}, "field 'b.jpg' of sample 'a'"),
    ({"__key__": "a/b.c", "jpg": b""}, "field 'c.jpg' of sample 'a/b'"),
    ({"__key__": "1", "JPG": b""}, "field 'jpg' of sample '1'"),
    ({"__key__": "1", "a/b": b""}, "slash"),
    ({"__key__": "1", "a/b.c": b""}, "slash"),
    ({"__key__": "", "jpg": b""}, "empty"),
    ({"__key__": "a/", "jpg": b""}, "empty"),
    ({"__key__": ".a", "jpg": b""}, "empty"),
    ({"__key__": "a/.b", "jpg": b""}, "empty"),
    ({"__key__": "a\0b", "jpg": b""}, "NUL"),
    ({"__key__": "1", "j\0g": b""}, "NUL"),
    ({"__key__": "__x__/a", "jpg": b""}, "metadata"),
    ({"__key__": "____/a", "jpg": b""}, "metadata"),
    ({"__key__": "__x", "y__": b""}, "metadata"),
    ({"__key__": "\ud800", "jpg": b""}, "surrogates"),
    ({"__key__": "\udcc3\udca9", "jpg": b""}, "surrogates"),  # whose bytes are read back as é
    ({"__key__": "1", "\udcc3\udca9": b""}, "surrogates"),
    ({"__key__": "1", 2: b""}, "name is a str, not 2"),
    ({"__key__": "1", "jpg": b"", None: b""}, "name is a str, not None"),
    ({"__key__": "1", "jpg": b"", "xyz": "no encoder"}, "no encoder"),
    ({"__key__": "1", "cls": b"1", "txt": 7}, "txt"),
]


@pytest.mark.parametrize(("bad", "message"), REFUSED, ids=[ascii(dict(bad)) for bad, _ in REFUSED])
def test_samples_that_would_not_be_read_back_are_refused_before_a_byte_is_written(
    bad: Mapping[Any, Any], message: str
) -> None:
    stream = io.BytesIO()
    with TarWriter(stream, mtime=0) as writer:
        writer.write(sample("before", x=b"1"))
        with pytest.raises((WriteError, EncodeError), match=message) as caught:
            writer.write(bad)
        writer.write(sample("after", x=b"2"))
    assert stream.getvalue() == written(sample("before", x=b"1"), sample("after", x=b"2"), mtime=0)
    if isinstance(bad.get("__key__"), str):
        assert caught.value.key == bad["__key__"]


def test_a_sample_that_was_refused_can_be_written_after_all() -> None:
    stream = io.BytesIO()
    with TarWriter(stream) as writer:
        with pytest.raises(EncodeError):
            writer.write(sample("1", a=b"x", txt=7))
        writer.write(sample("1", a=b"x", txt="7"))
    assert without_url(read(shards(stream.getvalue()))) == [sample("1", a=b"x", txt=b"7")]


def test_refusals_name_the_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with TarWriter(path) as writer, pytest.raises(WriteError) as caught:
        writer.write(sample("a.b", jpg=b""))
    assert (caught.value.url, caught.value.key, caught.value.field) == (str(path), "a.b", "jpg")


@pytest.mark.parametrize(
    "key", ["__x__", "a/__x__", "__x/a", "___", "a", " ", "/a", "../a", "./a", "a//b", "\n", "ä\udcff"]
)
def test_odd_keys_that_are_read_back_are_written(key: str) -> None:
    assert without_url(read(shards(written(sample(key, jpg=b"x"))))) == [sample(key, jpg=b"x")]


@pytest.mark.parametrize("field", ["", "jpg", "a.b.c", ".", "..", " ", "ß", "\n", "a\udcffb", "x" * 1000])
def test_odd_fields_that_are_read_back_are_written(field: str) -> None:
    one = {"__key__": "1", field: b"x"}
    assert without_url(read(shards(written(one)))) == [one]


def test_metadata_is_written_on_request() -> None:
    one = {"__key__": "1", "__url__": "elsewhere", "_meta": b"x", "__index__": b"7", "jpg": b""}
    assert without_url(read(shards(written(one)))) == [sample("1", jpg=b"")]
    kept = without_url(read(shards(written(one, keep_meta=True))))
    assert kept == [{"__key__": "1", "__index__": b"7", "_meta": b"x", "jpg": b""}]


# ---- values

VALUES = {"__key__": "1", "cls": 7, "txt": "ä", "json": {"a": [1]}, "raw": b"\0"}


def test_values_are_encoded_by_extension() -> None:
    assert without_url(list(shards(written(VALUES)) | tarsamples | decode())) == [VALUES]


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a.b.c")[::2]])
def test_bytes_of_every_kind_are_written_as_they_are(value: Any) -> None:
    encoders: list[Any] = [True, False, {}]
    for encoder in encoders:
        assert read(shards(written(sample("1", txt=value), encoder=encoder)))[0]["txt"] == b"abc"


def test_bytes_that_change_later_are_written_as_they_were() -> None:
    value = bytearray(b"before")
    stream = io.BytesIO()
    with TarWriter(stream) as writer:
        writer.write(sample("1", bin=value))
        value[:] = b"after."
    assert read(shards(stream.getvalue()))[0]["bin"] == b"before"


def test_an_array_is_no_bytes() -> None:
    with pytest.raises(EncodeError, match="ndarray"):
        written(sample("1", raw=np.zeros(3, np.uint8)))


def test_encoders_by_extension() -> None:
    table: dict[str, Callable[[Any], bytes]] = {
        "txt": lambda text: text.upper().encode(),
        "seg.txt": lambda n: b"%d" % n,
    }
    (found,) = read(shards(written(sample("1", a_txt="cat", seg_txt=7, b_seg_txt=8), encoder=table)))
    assert (found["a.txt"], found["seg.txt"], found["b.seg.txt"]) == (b"CAT", b"7", b"8")
    (found,) = read(shards(written(sample("1", cls=7), encoder=table)))
    assert found["cls"] == b"7"  # (what it does not name, the table encodes)
    with pytest.raises(EncodeError, match="no encoder"):
        written(sample("1", xyz=7), encoder=table)


def test_an_encoder_of_whole_samples() -> None:
    def encode(sample: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"sum.txt": b"%d" % (sample["a"] + sample["b"])}

    assert without_url(read(shards(written(sample("1", a=1, b=2), encoder=encode)))) == [sample("1", sum_txt=b"3")]
    with pytest.raises(EncodeError, match="str"):
        written(sample("1", a=1), encoder=lambda sample: {"txt": "no bytes"})
    with pytest.raises(EncodeError, match="KeyError: 'b'") as caught:
        written(sample("1", a=1), encoder=encode)
    assert (caught.value.key, type(caught.value.__cause__)) == ("1", KeyError)
    wrong: Any = [lambda sample: None, lambda sample: b"x", lambda sample: [("a", b"x")]]
    for encoder in wrong:
        with pytest.raises(EncodeError, match="not a dict"):
            written(sample("1", a=1), encoder=encoder)


@pytest.mark.parametrize("wrong", [lambda value: "text", lambda value: None, lambda value: 7, lambda value: [b"x"]])
def test_what_an_encoder_gives_must_be_bytes(wrong: Callable[[Any], Any]) -> None:
    with pytest.raises(EncodeError, match="not bytes") as caught:
        written(sample("1", txt="x"), encoder={"txt": wrong})
    assert (caught.value.key, caught.value.field) == ("1", "txt")


def test_what_an_encoder_raises_is_told_with_its_cause() -> None:
    def broken(value: Any) -> bytes:
        return b"%d" % (1 // value)

    with pytest.raises(EncodeError, match="ZeroDivisionError") as caught:
        written(sample("1", txt=0), encoder={"txt": broken})
    assert (caught.value.key, caught.value.field) == ("1", "txt")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("name", "value"),
    [("json", {"a": [1, None]}), ("npy", np.arange(3)), ("cls", 7), ("json.gz", [1]), ("seg.txt.xz", "ä")],
)
def test_the_name_of_an_extension_encodes_every_field_as_that(name: str, value: Any) -> None:
    archive = written(sample("1", a=value, txt=value, b_c=value, raw=b"as it is"), encoder=name)
    (found,) = read(shards(archive))
    assert found["raw"] == b"as it is"
    for field in ("a", "txt", "b.c"):
        (again,) = [{name: found[field]}] | decode()
        assert np.array_equal(again[name], value)


def test_what_can_be_no_encoder() -> None:
    for name in ("xyz", "", "exe.gz", "mp4"):
        with pytest.raises(ValueError, match=f"no codec writes the extension {name!r}"):
            written(VALUES, encoder=name)
    wrong: list[Any] = [None, 1, b"json", ["txt"]]
    for encoder in wrong:
        with pytest.raises(TypeError, match="encoder is True or False"):
            written(VALUES, encoder=encoder)
    with pytest.raises(EncodeError, match=r"key '1', field 'cls': expected str"):
        written(sample("1", cls=7), encoder="txt")


def test_without_an_encoder_values_are_bytes() -> None:
    with pytest.raises(EncodeError, match="encoder=False takes bytes"):
        written(VALUES, encoder=False)


# ---- where it is written


def test_a_file_object_stays_open() -> None:
    stream = io.BytesIO(b"")
    stream.write(b"head")
    with TarWriter(stream) as writer:
        writer.write(CATS[0])
    assert not stream.closed
    stream.write(b"tail")
    data = stream.getvalue()
    assert (data[:4], data[-4:]) == (b"head", b"tail")
    assert without_url(read(shards(data[4:-4]))) == CATS[:1]


def test_a_file_object_stays_open_after_an_error() -> None:
    stream = io.BytesIO()
    with pytest.raises(KeyError), TarWriter(stream) as writer:  # noqa: PT012
        writer.write(CATS[0])
        raise KeyError
    assert not stream.closed
    assert stream.getvalue() == b""


class Odd(io.RawIOBase):
    """A file that takes few bytes at a time; or all, without saying so."""

    def __init__(self, most: int | None) -> None:
        self.data = b""
        self.most = most

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        if self.most is None:
            self.data += bytes(data)
            return None
        self.data += bytes(data[: self.most])
        return min(self.most, len(data))


@pytest.mark.parametrize("most", [700, 4096, None])
def test_files_that_write_in_their_own_way(most: int | None) -> None:
    file = Odd(most)
    with TarWriter(cast("BinaryIO", file), mtime=0) as writer:
        for cat in CATS:
            writer.write(cat)
    assert file.data == written(*CATS, mtime=0)


def test_large_samples_are_written_as_they_come() -> None:
    stream = io.BytesIO()
    with TarWriter(stream) as writer:
        for n in range(10):
            writer.write(sample(str(n), bin=bytes([n]) * 500_000))
            assert stream.tell() > n * 500_000 - 2_000_000
    assert [found["bin"][0] for found in read(shards(stream.getvalue()))] == list(range(10))


SUFFIXES = ["", ".gz", ".bz2", ".xz", ".zst", ".lz4"]
MAGIC = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".lz4": b"\x04\x22\x4d\x18",
}


def write_cats(target: Any, **options: Any) -> None:
    with TarWriter(target, mtime=0, **options) as writer:
        for cat in CATS:
            writer.write(cat)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tgz", ".GZ"])
def test_shards_are_compressed_as_their_names_say(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}.tar{suffix}" for name in "ab"]
    for path in paths:
        write_cats(path)
    data = paths[0].read_bytes()
    assert data.startswith(MAGIC.get(suffix.replace("tgz", "gz"), b"1.cls"))
    assert data == paths[1].read_bytes()
    assert without_url(read([str(paths[0])])) == CATS
    if data.startswith(MAGIC[".gz"]):
        assert gzip.decompress(data) == written(*CATS, mtime=0)


@pytest.mark.parametrize(("compress", "suffix"), [
    (True, ".gz"), (False, ""), ("gz", ".gz"), ("gzip", ".gz"), ("bz2", ".bz2"), ("xz", ".xz"), ("zst", ".zst"),
    ("zstd", ".zst"), ("lz4", ".lz4"), (("gz", 9), ".gz"), (("zst", 19), ".zst"), (("lz4", 9), ".lz4"), (None, ""),
])  # fmt: skip
def test_shards_are_compressed_as_was_said(tmp_path: Path, compress: Any, suffix: str) -> None:
    path = tmp_path / ("a.tar" if compress is None else "a.tar.xz")
    write_cats(path, compress=compress)
    stream = io.BytesIO()
    write_cats(stream, compress=compress)
    assert stream.getvalue() == path.read_bytes()
    assert stream.getvalue().startswith(MAGIC.get(suffix, b"1.cls"))
    assert without_url(read(shards(stream.getvalue()))) == CATS


@pytest.mark.parametrize("compress", ["rar", ("gz", 10), ("bz2", 0), "", ".gz"])
def test_a_compression_that_is_not_there_is_refused(tmp_path: Path, compress: Any) -> None:
    with pytest.raises(ValueError, match=r"one of gz|has the levels"):
        TarWriter(tmp_path / "a.tar", compress=compress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", ["zstd", "lz4"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(compression, "import_module", missing)
    path = tmp_path / f"a.tar.{extra.replace('zstd', 'zst')}"
    with pytest.raises(MissingExtraError, match=rf"pip install 'streamwds\[{extra}\]'") as caught:
        TarWriter(path)
    assert caught.value.url == str(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_an_error_leaves_a_compressed_file_object_open_and_cut(suffix: str) -> None:
    stream = io.BytesIO()
    with pytest.raises(KeyError), TarWriter(stream, compress=suffix[1:]) as writer:  # noqa: PT012
        for n in range(20):
            writer.write(sample(str(n), bin=Random(n).randbytes(100_000)))
        raise KeyError
    assert not stream.closed
    _, errors = read_on(shards(stream.getvalue()))
    assert len(errors) == 1


@pytest.mark.parametrize("at", ["file:", "file://"])
def test_a_file_url(tmp_path: Path, at: str) -> None:
    write_cats(f"{at}{tmp_path}/a.tar")
    assert without_url(read([f"{at}{tmp_path}/a.tar"])) == CATS


@pytest.mark.parametrize(("url", "message"), [("nosuch://me:word@b/a.tar", "Protocol not"), ("nosuch:a", "be opened")])
def test_urls_that_nobody_knows_are_refused(url: str, message: str) -> None:
    with pytest.raises(WriteError, match=message) as caught:
        TarWriter(url)
    assert caught.value.url == url
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fsync_waits_for_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"a.tar{suffix}"
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")), path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_cats(path)
    assert synced == []
    path.unlink()
    write_cats(path, fsync=True)
    (file, before), (folder, after) = synced
    assert (file.startswith(".a.tar"), before, folder, after) == (True, False, tmp_path.name, True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_shard_appears_when_it_is_complete(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.tar{suffix}"
    with TarWriter(path) as writer:
        for n in range(12):
            writer.write(sample(str(n), bin=Random(n).randbytes(100_000)))
            assert not path.exists()
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert len(read([str(path)])) == 12
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("old", [None, b"an older shard"])
def test_an_error_in_the_block_leaves_no_shard(
    tmp_path: Path, error: type[BaseException], suffix: str, old: bytes | None
) -> None:
    path = tmp_path / f"a.tar{suffix}"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error), TarWriter(path) as writer:  # noqa: PT012
        for n in range(12):
            writer.write(sample(str(n), bin=bytes(200_000)))
        raise error
    del writer
    gc.collect()  # (what a compressor does then would be an error here)
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == ({} if old is None else {path.name: old})


def test_an_older_shard_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"old")
    with TarWriter(path) as writer:
        writer.write(CATS[0])
        assert path.read_bytes() == b"old"
    assert without_url(read([str(path)])) == CATS[:1]


def test_a_closed_writer_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    writer = TarWriter(path)
    writer.write(CATS[0])
    writer.close()
    writer.close()
    writer.abort()
    with pytest.raises(WriteError, match="closed"):
        writer.write(CATS[1])
    assert without_url(read([str(path)])) == CATS[:1]
    assert writer.closed


def test_an_aborted_writer_publishes_nothing(tmp_path: Path) -> None:
    with TarWriter(tmp_path / "a.tar") as writer:
        writer.write(CATS[0])
        writer.abort()
        writer.abort()
        with pytest.raises(WriteError, match="closed"):
            writer.write(CATS[1])
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "no" / "a.tar"
    with pytest.raises(WriteError, match="No such file") as caught:
        TarWriter(path)
    assert caught.value.url == str(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_in_the_shards_place(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(WriteError, match="directory") as caught, TarWriter(tmp_path / "a.tar") as writer:
        writer.write(CATS[0])
    assert caught.value.url == str(tmp_path / "a.tar")
    assert [found.name for found in tmp_path.iterdir()] == ["a.tar"]


class Full(io.BytesIO):
    """A disk that is full when some bytes are on it."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_after_a_full_disk_nothing_more_is_written() -> None:
    file = Full(2_500_000)
    with pytest.raises(WriteError, match="No space left") as caught, TarWriter(file) as writer:  # noqa: PT012
        for n in range(100):
            writer.write(sample(str(n), bin=bytes(100_000)))
    assert isinstance(caught.value.__cause__, OSError)
    assert file.tell() <= 2_500_000
    with pytest.raises(WriteError, match="closed"):
        writer.write(CATS[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [0, 300_000])
def test_a_full_disk_leaves_no_shard_even_if_the_error_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, room: int
) -> None:
    real = open
    path = tmp_path / f"a.tar{suffix}"

    def opening(name: Any, *args: Any, **options: Any) -> Any:
        file = real(name, *args, **options)

        class Disk(io.FileIO):
            def write(self, data: Any) -> int:
                if self.tell() + len(data) > room:
                    raise OSError(28, "No space left on device")
                return super().write(data)

        disk = Disk(os.dup(file.fileno()), "wb")
        file.close()
        return disk

    monkeypatch.setattr("builtins.open", opening)
    errors = 0
    try:
        writer = TarWriter(path)
        for n in range(30):
            try:
                writer.write(sample(str(n), bin=Random(n).randbytes(100_000)))
            except WriteError:
                errors += 1
        writer.close()
    except WriteError:
        errors += 1
    monkeypatch.undo()
    assert errors
    assert list(tmp_path.iterdir()) == []


# ---- killed

WRITER = """
import random, sys
from itertools import count
from streamwds.tar.writer import TarWriter

folder, suffix = sys.argv[1:]
for n in count():
    with TarWriter(f"{folder}/{n:05d}.tar{suffix}") as writer:
        for k in range(20):
            writer.write({"__key__": f"{n}-{k}", "bin": random.randbytes(100_000)})
    print(n, flush=True)
"""


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_killed_writer_leaves_complete_shards_only(tmp_path: Path, suffix: str) -> None:
    times = 50 if os.environ.get("STREAMWDS_PROFILE") == "deep" else 5
    for seed in range(times):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with subprocess.Popen([sys.executable, "-c", WRITER, folder, suffix], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(Random(seed).uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        names = sorted(found.name for found in folder.iterdir())
        shards_there = [name for name in names if not name.startswith(".")]
        assert shards_there == [f"{n:05d}.tar{suffix}" for n in range(len(shards_there))], f"seed {seed}"
        assert len(shards_there) >= 1
        assert len(names) - len(shards_there) <= 1
        for n, name in enumerate(shards_there):
            keys = [found["__key__"] for found in [str(folder / name)] | tarsamples]
            assert keys == [f"{n}-{k}" for k in range(20)], f"seed {seed}, {name}"
