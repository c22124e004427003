"""Compression, both ways: what others compressed is read, and missing libraries and damage are told clearly."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

from streamwds import compression, ignore_and_continue, tarsamples
from streamwds.compression import COMPRESSIONS, Compression, chosen, recognised
from streamwds.errors import MissingExtraError, TarError, TruncatedError
from streamwds.tar import stream
from tests.archives import PACK, archive, at_most, expected, read, read_on, shards, ways

DATA = archive([(b"%03d.%s" % (n // 2, b"txt" if n % 2 else b"bin"), Random(n).randbytes(n * 7)) for n in range(60)])
BY_NAME = {found.name: found for found in COMPRESSIONS}


def unpacked(found: Compression, data: bytes) -> bytes:
    with found.library().unpack(io.BufferedReader(io.BytesIO(data))) as file:
        parts = list(iter(lambda: file.read(10_000), b""))
    return b"".join(parts)


def packed(found: Compression, data: bytes, level: int | None = None) -> bytes:
    raw = io.BytesIO()
    with found.library().pack(raw, level) as file:
        for at in range(0, len(data), 7000):
            file.write(data[at : at + 7000])
    assert not raw.closed
    return raw.getvalue()


@pytest.fixture
def without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "isal")


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these packages were not installed."""

    def import_module(name: str) -> Any:
        if name.startswith(packages):
            raise ModuleNotFoundError(name)
        __import__(name)
        return sys.modules[name]

    monkeypatch.setattr(compression, "import_module", import_module)


# ---- the table


def test_the_formats_are_told_apart_by_their_first_bytes() -> None:
    assert {name: recognised(pack(DATA)) for name, pack in PACK.items()} == BY_NAME
    assert recognised(DATA) is recognised(b"") is recognised(b"\x1f") is None


@pytest.mark.parametrize("name", PACK)
def test_what_is_packed_is_unpacked(name: str) -> None:
    found = BY_NAME[name]
    for data in (b"x", DATA, bytes(3_000_000)):
        for level in (None, found.levels[0], found.levels[-1] if name != "zst" else 9):
            once = packed(found, data, level)
            assert once == packed(found, data, level)
            assert recognised(once) == found
            assert unpacked(found, once) == unpacked(found, PACK[name](data)) == data
            assert unpacked(found, once * 3) == data * 3


@pytest.mark.parametrize(("compress", "name", "wanted"), [
    (None, "a.tar", (None, None)),
    (None, "", (None, None)),
    (None, "a.tar.gz", ("gz", None)),
    (None, "a.tgz", ("gz", None)),
    (None, "a.tar.bz2", ("bz2", None)),
    (None, "a.tar.xz", ("xz", None)),
    (None, "a.tar.zst", ("zst", None)),
    (None, "a.tar.lz4", ("lz4", None)),
    (False, "a.tar.gz", (None, None)),
    (True, "a.tar", ("gz", None)),
    ("zst", "a.tar.gz", ("zst", None)),
    ("zstd", "a.tar", ("zst", None)),
    (("gz", 0), "a.tar", ("gz", 0)),
    (("xz", 9), "a.tar.gz", ("xz", 9)),
])  # fmt: skip
def test_a_compression_is_chosen(compress: Any, name: str, wanted: tuple[str | None, int | None]) -> None:
    found, level = chosen(compress, name)
    assert (found and found.name, level) == wanted


@pytest.mark.parametrize(
    ("compress", "message"),
    [("rar", "one of gz, bz2"), ("", "one of gz"), (("gz", 10), "0 to 9"), (("bz2", 0), "1 to 9"), (("zst", 23), "22")],
)
def test_a_compression_that_is_not_there(compress: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(compress)


# ---- what other programs compress

PROGRAMS = {"gz": ["gzip", "-nc"], "bz2": ["bzip2", "-c"], "xz": ["xz", "-c"]}
OTHERS = {"zst": ["zstd", "-qc"], "lz4": ["lz4", "-qc"]}


@pytest.mark.needs("zstd", "lz4")
@pytest.mark.parametrize("name", [*PROGRAMS, *OTHERS])
def test_programs_and_we_read_each_other(tmp_path: Path, name: str) -> None:
    command = {**PROGRAMS, **OTHERS}[name]
    done = subprocess.run(command, input=DATA, capture_output=True, check=True)
    assert read(shards(done.stdout)) == expected(DATA)[0]
    ours = packed(BY_NAME[name], DATA)
    assert subprocess.run([*command, "-d"], input=ours, capture_output=True, check=True).stdout == DATA


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("options", [["--long=27"], ["-19"], ["--fast"], ["--no-check"], ["-T2", "-B4096"]])
def test_frames_of_zstd_in_all_its_ways(options: list[str]) -> None:
    done = subprocess.run(["zstd", "-qc", *options], input=DATA, capture_output=True, check=True)
    assert read(shards(done.stdout)) == expected(DATA)[0]


@pytest.mark.needs("lz4")
@pytest.mark.parametrize("options", [["-B4", "-BD"], ["-9"], ["--no-frame-crc"], ["-BX", "-B7"]])
def test_frames_of_lz4_in_all_its_ways(options: list[str]) -> None:
    done = subprocess.run(["lz4", "-qc", *options], input=DATA, capture_output=True, check=True)
    assert read(shards(done.stdout)) == expected(DATA)[0]


# ---- gzip has two libraries


def test_isal_and_zlib_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(7)
    variants: list[bytes] = [
        b"".join(gzip.compress(DATA[at : at + 9000], level) for at in range(0, len(DATA), 9000)) for level in (0, 1, 9)
    ]
    variants += [variants[0] + bytes(700), variants[1] + b"garbage", variants[2] + b"\0\0\x1f\x8c"]
    for packed in variants[:3]:
        variants += [packed[: random.randrange(len(packed))] for _ in range(12)]
    whole = expected(DATA)[0]
    by_isal = [read_on(shards(packed)) for packed in variants]
    hide(monkeypatch, "isal")
    for (samples, errors), packed in zip(by_isal, variants):
        theirs, their_errors = read_on(shards(packed))
        assert [type(error) for error in errors] == [type(error) for error in their_errors]
        assert samples == whole[: len(samples)]
        assert len(samples) >= len(theirs)
    assert by_isal[0] == by_isal[1] == by_isal[2] == by_isal[3] == (whole, [])


@pytest.mark.usefixtures("without_isal")
@pytest.mark.parametrize("level", [None, 0, 6])
def test_gzip_without_isal(level: int | None) -> None:
    found = packed(BY_NAME["gz"], DATA, level)
    assert gzip.decompress(found) == DATA
    assert read(shards(found, PACK["gz"](DATA))) == read(shards(DATA, DATA))


def test_a_level_of_gzip_is_that_of_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [packed(BY_NAME["gz"], DATA, level) for level in (0, 6)]
    hide(monkeypatch, "isal")
    assert found == [packed(BY_NAME["gz"], DATA, level) for level in (0, 6)]


# ---- what goes wrong


@pytest.mark.parametrize(("name", "package"), [("zst", ("compression.zstd", "backports")), ("lz4", ("lz4",))])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: tuple[str, ...]) -> None:
    hide(monkeypatch, *package)
    for stage in ways(ignore_and_continue):  # (no handler is asked: skipping would leave nothing)
        with pytest.raises(MissingExtraError, match=rf"pip install 'streamwds\[{BY_NAME[name].extra}\]'") as caught:
            list(shards(PACK[name](DATA), DATA) | stage)
        assert caught.value.url == "0.tar"


@pytest.mark.parametrize("name", PACK)
def test_a_changed_byte_is_damage_and_a_cut_is_a_cut(name: str) -> None:
    whole = PACK[name](DATA)
    _, (error,) = read_on(shards(whole[: len(whole) // 2]))
    assert type(error) is TruncatedError
    middle = len(whole) // 2
    _, (error,) = read_on(shards(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]))
    assert isinstance(error, TarError)


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_takes_no_memory(name: str) -> None:
    """Fifty megabytes of zeros behind a sample, from a few kilobytes."""
    bomb = PACK[name](archive([(b"a.x", b"1")])) + PACK[name](bytes(1 << 24)) * 3
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with at_most(60):
            samples = list(shards(bomb) | tarsamples)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [sample["x"] for sample in samples] == [b"1"]
    assert most - len(bomb) < 24 << 20


def test_an_error_of_another_library_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a format's own library raises for its data counts as damage; a bug is not hidden."""
    broken = attrs.evolve(BY_NAME["gz"].library(), unpack=lambda packed: Broken())
    monkeypatch.setattr(stream, "recognised", lambda start: attrs.evolve(BY_NAME["gz"], load=lambda: broken))
    with pytest.raises(RuntimeError, match="a bug"):
        list(shards(gzip.compress(DATA)) | tarsamples)


class Broken(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        raise RuntimeError("a bug")
