"""The shard cache: what is read is what the source has, whatever happens, and the source is opened once."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import pickle
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import pytest

import streamwds
from streamwds import (
    CacheStream,
    Shard,
    ShardCache,
    Stream,
    TarWriter,
    cache_shards,
    group_by_keys,
    guess_shard,
    ignore_and_continue,
    open_shards,
    shard_uuid,
    split_by_worker,
    tarfiles,
    tarsamples,
    to_torch,
    urls,
)
from streamwds.errors import CacheWarning, FunctionError, OpenError, SkippedWarning, StreamwdsError
from streamwds.testing import check_resume
from tests.archives import PACK, Pieces
from tests.descriptors import open_below
from tests.faults import Faults
from tests.processes import files_of_at_most, fork, forked

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"


def write(path: Path, samples: int = 5, size: int = 1000) -> str:
    with TarWriter(path, mtime=0) as writer:
        for n in range(samples):
            writer.write({"__key__": f"{path.name.partition('.')[0]}-{n}", "bin": bytes([n % 256]) * size, "cls": n})
    return str(path)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    (tmp_path / "source").mkdir()
    return [write(tmp_path / "source" / f"{n}.tar") for n in range(4)]


@pytest.fixture
def large(tmp_path: Path) -> list[str]:
    """Shards that are more than what is read at a time."""
    (tmp_path / "large").mkdir()
    return [write(tmp_path / "large" / f"{n}.tar", size=100_000) for n in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Sized(Pieces):
    """A file that comes in pieces, and says how long it is."""

    size: int


@attrs.define(eq=False)
class Server:
    """Opens local files as if they lay elsewhere: without seeking. Counts how often, and how many bytes were read."""

    cut: int | None = None
    sized: bool = True
    most: int = 700
    opened: list[str] = attrs.field(factory=list)
    files: list[Any] = attrs.field(factory=list)

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        self.opened.append(url)
        data = Path(url).read_bytes()[offset:]
        file: Any = (Sized if self.sized else Pieces)(data[: self.cut], self.most)
        if self.sized:
            file.size = len(data)
        self.files.append(file)
        return file  # type: ignore[no-any-return]


@attrs.frozen
class Shards:
    """Shards of a server, as what yields them is not told before."""

    names: list[str]
    server: Callable[[str, int], BinaryIO]

    def __iter__(self) -> Iterator[Any]:
        return (Shard(name, self.server) for name in self.names)


def cached(names: list[str], server: Callable[[str, int], BinaryIO], cache: ShardCache) -> Stream[Any]:
    return Shards(names, server) | tarsamples(cache=cache)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def used(folder: Path) -> int:
    """The bytes of all that lies there."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


# ---- what is read


@pytest.mark.parametrize("sized", [True, False])
def test_the_source_is_opened_once(names: list[str], folder: Path, sized: bool) -> None:
    server = Server(sized=sized)
    stream = cached(names, server, ShardCache(folder))
    expected = list(urls(names) | tarsamples)
    assert list(stream) == expected
    assert server.opened == names
    assert list(stream) == expected
    assert [item for item, _ in stream.tracked()] == expected
    assert server.opened == names
    assert len(kept(folder)) == len(names)
    assert all(file.closed for file in server.files)


def test_a_stage_between_open_shards_and_tarfiles(names: list[str], folder: Path) -> None:
    stream = urls(names) | open_shards | cache_shards(folder, 1e9) | tarfiles | group_by_keys
    expected = list(urls(names) | tarsamples)
    assert list(stream) == expected
    for name in names:
        os.unlink(name)
    assert list(stream) == expected


def test_local_files_are_kept_too_and_seek(names: list[str], folder: Path) -> None:
    stream = urls(names) | tarsamples(cache=folder)
    list(stream)
    with ShardCache(folder).open(names[0], 512) as file:
        assert type(file) is io.FileIO
        assert file.read() == Path(names[0]).read_bytes()[512:]


def test_positions_do_not_depend_on_the_cache(names: list[str], folder: Path) -> None:
    without = list((urls(names) | tarsamples).tracked())
    stream = urls(names) | tarsamples(cache=folder)
    assert list(stream.tracked()) == list(stream.tracked()) == without
    position = without[7][1]
    assert list(stream.at(position)) == list((urls(names) | tarsamples).at(position)) == [x for x, _ in without[8:]]


@pytest.mark.parametrize("filled", [0, 1, 4])
def test_resume_with_an_empty_a_half_full_and_a_full_cache(names: list[str], folder: Path, filled: int) -> None:
    stream = urls(names) | tarsamples(cache=folder)
    list(urls(names[:filled] or [names[0]]) | tarsamples(cache=folder if filled else None))
    assert check_resume(stream) == 20
    by_stages = urls(names) | open_shards | cache_shards(folder) | tarfiles | group_by_keys
    assert check_resume(by_stages, places=range(0, 20, 3)) == 7


def test_an_offset_that_is_not_there_yet_is_read_from_the_source(names: list[str], folder: Path) -> None:
    with ShardCache(folder).open(names[0], 512, Server()) as file:
        assert file.read() == Path(names[0]).read_bytes()[512:]
    assert not folder.exists() or kept(folder) == []


def test_the_first_sample_does_not_wait_for_the_rest(tmp_path: Path, folder: Path) -> None:
    name = write(tmp_path / "large.tar", samples=200, size=20_000)
    server = Server(most=1 << 16)
    stream = iter(cached([name], server, ShardCache(folder)))
    next(stream)
    assert server.files[0]._data.tell() < 500_000 < os.path.getsize(name)
    assert len(list(stream)) == 199
    assert len(kept(folder)) == 1


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("sized", [True, False])
def test_compressed_shards(tmp_path: Path, folder: Path, suffix: str, sized: bool) -> None:
    server = Server(sized=sized)
    path = tmp_path / f"a.tar.{suffix}"
    path.write_bytes(PACK[suffix](Path(write(tmp_path / "a.tar")).read_bytes()))
    stream = cached([str(path)], server, ShardCache(folder))
    assert list(stream) == list(stream)
    assert len(server.opened) == 1


def test_what_comes_behind_the_archive_is_kept_with_it(tmp_path: Path, folder: Path) -> None:
    name = write(tmp_path / "a.tar")
    with open(name, "ab") as file:
        file.write(b"no archive " * 50_000)
    server = Server()
    stream = cached([name], server, ShardCache(folder))
    assert list(stream) == list(stream)
    assert len(server.opened) == 1
    assert used(folder) == os.path.getsize(name)


def unpacked(url: str, offset: int) -> BinaryIO:
    return gzip.open(url)  # type: ignore[return-value]


def test_an_opener_that_unpacks(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(gzip.compress(Path(write(tmp_path / "a.tar")).read_bytes()))
    stream = cached([str(path)], unpacked, ShardCache(folder))
    assert len(list(stream)) == 5
    path.unlink()
    assert len(list(stream)) == 5


# ---- what is not kept


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("cut", [0, 100, 512, 2048, 4000, -1024, -512])
def test_a_source_that_ends_early_leaves_nothing(names: list[str], folder: Path, sized: bool, cut: int) -> None:
    size = os.path.getsize(names[1])
    data = Path(names[1]).read_bytes()
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512 + 512  # (behind the last member and one block of the end)
    server = Server(sized=sized, cut=cut if cut >= 0 else end + cut)
    errors: list[Exception] = []

    def note(error: Exception) -> bool:
        errors.append(error)
        return True

    def read(cache: ShardCache | None) -> list[Any]:
        errors.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            stage = tarsamples(cache=cache, handler=note)
            return list(Shards(names[1:2], server) | stage)

    without, expected = read(None), list(map(str, errors))
    assert server.cut is not None
    assert server.cut < size
    with pytest.warns(CacheWarning) as told:
        assert read(ShardCache(folder)) == without
    assert list(map(str, errors)) == expected
    assert len(told) == 1
    assert names[1] in str(told[0].message)
    assert kept(folder) == []
    server.cut = None
    assert read(ShardCache(folder)) == list(urls(names[1]) | tarsamples)
    assert len(kept(folder)) == 1


def test_a_reader_that_stops_early_leaves_nothing(large: list[str], folder: Path) -> None:
    server = Server()
    for _ in cached(large[:1], server, ShardCache(folder)):
        break
    assert kept(folder) == []
    assert all(file.closed for file in server.files)
    assert open_below(folder.parent) == []


def test_a_shard_that_fails_leaves_nothing(names: list[str], folder: Path) -> None:
    class Broken(Pieces):
        def readinto(self, buffer: Any) -> int:
            if self._data.tell() > 1000:
                raise ConnectionResetError("the peer is gone")
            return super().readinto(buffer)

    def opener(url: str, offset: int) -> BinaryIO:
        return cast("BinaryIO", (Broken if url == names[0] else Pieces)(Path(url).read_bytes(), 600))

    stream = Shards(names[:2], opener) | tarsamples(cache=folder, handler=ignore_and_continue)
    with pytest.warns(SkippedWarning, match="the peer is gone"):
        assert list(stream) == list(urls(names[1]) | tarsamples)
    assert len(kept(folder)) == 1


def test_a_source_that_cannot_be_opened(names: list[str], folder: Path) -> None:
    stream = urls("missing.tar", names[0]) | tarsamples(cache=folder, handler=ignore_and_continue)
    with pytest.warns(SkippedWarning, match="no such file"):
        assert len(list(stream)) == 5
    assert len(kept(folder)) == 1


def test_an_archive_without_an_end_is_read_each_time(tmp_path: Path, folder: Path) -> None:
    name = write(tmp_path / "a.tar")
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: len(data.rstrip(b"\0")) // 512 * 512 + 512])
    stream = urls(name) | tarsamples(cache=folder, eof="lenient")
    with pytest.warns(CacheWarning, match="without an end-of-archive block"):
        assert len(list(stream)) == 5
    assert len(list(stream)) == 5  # (it was told)
    assert kept(folder) == []


# ---- what is no longer as it was stored


@pytest.mark.parametrize("size", [0, 1000, 5120, 20_000])
@pytest.mark.parametrize("at", [0, 7])
def test_a_file_whose_length_was_changed_is_fetched_anew(names: list[str], folder: Path, size: int, at: int) -> None:
    server, cache = Server(), ShardCache(folder)
    stream = cached(names, server, cache)
    pairs = list(stream.tracked())
    assert os.path.getsize(cache.place(names[1])) not in (size, 0)
    os.truncate(cache.place(names[1]), size)
    with pytest.warns(CacheWarning, match="fetched anew") as told:
        assert list(stream.at(pairs[at][1])) == [item for item, _ in pairs[at + 1 :]]
    assert len(told) == 1
    assert server.opened == [*names, names[1]]
    assert list(stream) == [item for item, _ in pairs]
    assert server.opened == [*names, names[1]]
    os.truncate(cache.place(names[1]), size)
    with pytest.warns(CacheWarning, match="fetched anew"), cache.open(names[1], 512) as file:
        assert file.read() == Path(names[1]).read_bytes()[512:]


def test_a_changed_file_that_others_read_is_left_to_them(names: list[str], folder: Path) -> None:
    server, cache = Server(), ShardCache(folder)
    list(cached(names[:1], server, cache))
    with cache.open(names[0]) as other:
        os.truncate(cache.place(names[0]), 1000)
        with pytest.warns(CacheWarning, match="fetched anew"):
            assert len(list(cached(names[:1], server, cache))) == 5
        assert len(other.read()) == 1000
    with pytest.warns(CacheWarning, match="fetched anew"):
        assert len(list(cached(names[:1], server, cache))) == 5
    assert len(list(cached(names[:1], server, cache))) == 5
    assert len(server.opened) == 3


# ---- disks that fail


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("limit", [0, 1000, 5000])
def test_a_full_disk(names: list[str], folder: Path, sized: bool, limit: int) -> None:
    expected = list(urls(names) | tarsamples)
    stream = cached(names, Server(sized=sized), ShardCache(folder))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with files_of_at_most(limit):
            found = list(stream)
    assert found == expected
    assert [type(warning.message) for warning in told] == [CacheWarning]
    assert "so what is read is not kept" in str(told[0].message)
    assert kept(folder) == []
    assert list(stream) == expected
    assert len(kept(folder)) == 4


def test_a_disk_that_is_full_in_the_middle(names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 5 * os.path.getsize(names[0]) // 2

    def write_some(fd: int, data: memoryview, os_write: Callable[..., int] = os.write) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os_write(fd, data[:500])
        left -= written
        return written

    stream = cached(names, Server(), ShardCache(folder))
    monkeypatch.setattr(os, "write", write_some)
    with pytest.warns(CacheWarning, match="No space left") as told:
        assert list(stream) == list(urls(names) | tarsamples)
    assert len(told) == 1
    assert len(kept(folder)) == 2
    monkeypatch.undo()
    assert list(stream) == list(urls(names) | tarsamples)
    assert len(kept(folder)) == 4


def test_a_folder_that_is_none(names: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    stream = urls(names) | tarsamples(cache=tmp_path / "file")
    with pytest.warns(CacheWarning, match="can't be used") as told:
        assert len(list(stream)) == 20
    assert len(told) == 1


# ---- room


def test_what_was_not_read_for_the_longest_time_makes_room(names: list[str], folder: Path) -> None:
    size = os.path.getsize(names[0])
    cache = ShardCache(folder, 2 * size)
    server = Server()
    for name in (*names[:2], names[0], names[2]):
        list(cached([name], server, cache))
        time.sleep(0.01)
    assert used(folder) <= 2 * size
    assert {cache.place(names[0]), cache.place(names[2])} == {str(folder / name) for name in kept(folder)}
    assert server.opened == names[:3]


@pytest.mark.parametrize("sized", [True, False])
def test_what_is_being_read_is_not_evicted(names: list[str], folder: Path, sized: bool) -> None:
    size = os.path.getsize(names[0])
    server = Server(sized=sized)
    cache = ShardCache(folder, size)
    list(cached(names[:1], server, cache))
    with cache.open(names[0]) as file:
        assert len(list(cached(names[1:2], server, cache))) == 5
        assert file.read() == Path(names[0]).read_bytes()
        assert kept(folder) == [os.path.basename(cache.place(names[0]))]
    list(cached(names[1:2], server, cache))
    assert kept(folder) == [os.path.basename(cache.place(names[1]))]
    assert server.opened == [names[0], names[1], names[1]]


@pytest.mark.parametrize("sized", [True, False])
def test_what_is_being_stored_counts(large: list[str], folder: Path, sized: bool) -> None:
    size = os.path.getsize(large[0])
    cache = ShardCache(folder, 2 * size)
    streams = [iter(cached([name], Server(sized=sized), cache)) for name in large]
    for turn in zip(*streams):
        assert len(turn) == 3
        assert used(folder) <= 2 * size
    assert len(kept(folder)) <= 2
    assert not [name for name in kept(folder) if name.endswith(".partial")]


@pytest.mark.parametrize("sized", [True, False])
def test_a_shard_that_never_fits_evicts_nothing(names: list[str], tmp_path: Path, folder: Path, sized: bool) -> None:
    cache = ShardCache(folder, 4 * os.path.getsize(names[0]))
    list(cached(names, Server(), cache))
    large = write(tmp_path / "large.tar", samples=100)
    assert len(list(cached([large], Server(sized=sized), cache))) == 100
    assert len(kept(folder)) == (4 if sized else 0)  # (what has no length is found out too late)


def test_room_is_taken_at_once_for_what_a_server_sends(large: list[str], folder: Path) -> None:
    """By its Content-Length: so a shard that never fits evicts nothing."""
    data, size = Path(large[0]).read_bytes(), os.path.getsize(large[0])
    with Faults({"/a.tar": data, "/twice.tar": data + data}) as server:
        cache = ShardCache(folder, size + 1000)
        stream = urls(f"{server.url}/a.tar") | tarsamples(cache=cache)
        first = iter(stream)
        next(first)
        assert used(folder) == size
        assert len([*first]) == 4
        assert len(list(urls(f"{server.url}/twice.tar") | tarsamples(cache=cache))) == 10
        assert len(list(stream)) == 5
        assert [request.path for request in server.requests] == ["/a.tar", "/twice.tar"]


def test_a_smaller_bound_holds_when_reading_begins(names: list[str], folder: Path) -> None:
    list(urls(names) | tarsamples(cache=folder))
    next(iter(urls(names) | tarsamples(cache=ShardCache(folder, 2 * os.path.getsize(names[0])))))
    assert len(kept(folder)) == 2


def test_no_room_at_all(names: list[str], folder: Path) -> None:
    assert len(list(urls(names) | tarsamples(cache=ShardCache(folder, 0)))) == 20
    assert kept(folder) == []


def test_other_files_in_the_folder_are_left_alone(names: list[str], folder: Path) -> None:
    folder.mkdir()
    for name in ("mine.tar", ".hidden", "mine.partial"):
        (folder / name).write_bytes(b"x" * 100_000)
    list(urls(names) | tarsamples(cache=ShardCache(folder, os.path.getsize(names[0]))))
    assert len(kept(folder)) == 4


# ---- names


HOSTILE = [
    "../x",
    "../../x",
    "/etc/x",
    "a/b",
    "a\\b",
    ".",
    "..",
    ".lock",
    ".x.cached.partial",
    "x\0y",
    "x\ny",
    "x" * 5000,
    "ä" * 300,
    "\udcff",
    "%2E%2E%2Fx",
    "~",
    "-",
    " ",
    "CON",
]


def test_no_name_leads_out_of_the_folder(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "in" / "cache"
    places = set()
    for hostile in HOSTILE:
        cache = ShardCache(folder, cache_name=lambda url, hostile=hostile: hostile)  # type: ignore[misc]
        place = cache.place(names[0])
        assert os.path.dirname(os.path.abspath(place)) == str(folder)
        places.add(place)
        list(urls(names[0]) | tarsamples(cache=cache))
        assert os.path.getsize(place) == os.path.getsize(names[0])
    assert len(places) == len(HOSTILE) == len(kept(folder))
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["cache"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "source"]


def test_guesses(tmp_path: Path) -> None:
    assert guess_shard("a/b.tar") == "b.tar"
    assert guess_shard("pipe:curl -s https://example.com/a/b.tar") == "b.tar"
    assert guess_shard("https://example.com/a/b.tar?c=d/e") == "b.tar"
    assert guess_shard("") == ""
    assert shard_uuid("a") == shard_uuid("a") != shard_uuid("b")


def test_shards_of_the_same_name_are_told_apart(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, name in enumerate("xy"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.tar", samples=n + 1)
    stream = urls(tmp_path / "{x,y}" / "a.tar") | tarsamples(cache=folder)
    assert len(list(stream)) == len(list(stream)) == 3
    for n, name in enumerate("xy"):
        monkeypatch.chdir(tmp_path / name)
        assert len(list(urls("a.tar") | tarsamples(cache=folder))) == n + 1
        assert len(list(urls((tmp_path / name / "a.tar").as_uri()) | tarsamples(cache=folder))) == n + 1
    assert len(kept(folder)) == 2


def test_a_signature_makes_no_other_shard() -> None:
    place = ShardCache("cache").place
    plain = place("https://example.com/a.tar?part=1")
    assert place("https://example.com/a.tar?X-Amz-Signature=abc&part=1&X-Amz-Date=1") == plain
    assert place("https://example.com/a.tar?part=1&se=2026&sig=abc&st=1") == plain
    assert place("https://example.com/a.tar?st=1") != place("https://example.com/a.tar?st=2")
    assert place("https://example.com/a.tar?part=2") != plain
    assert place("https://example.org/a.tar?part=1") != plain
    own = ShardCache("cache", cache_name=shard_uuid).place
    assert own("https://example.com/a.tar?x=1") != own("https://example.com/a.tar?x=2")


def fails(url: str) -> str:
    raise ValueError("no name for it")


def gives_nothing(url: str) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [(fails, FunctionError, "no name for it"), (gives_nothing, OpenError, "which is no name")],
)
def test_names_that_are_none(
    names: list[str], folder: Path, function: Any, kind: type[StreamwdsError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        list(urls(names) | tarsamples(cache=ShardCache(folder, cache_name=function)))
    assert caught.value.url == names[0]


# ---- as a value


def test_a_cache_is_a_value(folder: Path) -> None:
    for cache in (ShardCache("c"), ShardCache("c", 1e9, shard_uuid, True, wait=2.5)):
        assert pickle.loads(pickle.dumps(cache)) == cache == eval(repr(cache), vars(streamwds))
        assert hash(cache) == hash(pickle.loads(pickle.dumps(cache)))
        assert tarsamples(cache=cache) == eval(repr(tarsamples(cache=cache)), vars(streamwds))
    assert tarsamples(cache="c") == tarsamples(cache=Path("c")) == tarsamples(cache=ShardCache("c"))
    stage = cache_shards("c", 1e9, wait=1)
    assert stage == eval(repr(stage), vars(streamwds)) == pickle.loads(pickle.dumps(stage))
    assert repr(stage) == "cache_shards('c', 1000000000.0, wait=1)"
    (shard,) = ["a.tar"] | open_shards | stage
    assert "0x" not in repr(shard)
    assert pickle.loads(pickle.dumps(shard)) == shard


@pytest.mark.parametrize(
    "options",
    [{"cache_size": -1}, {"cache_size": "1"}, {"cache_size": float("nan")}, {"wait": -1}, {"wait": None}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ShardCache("c", **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        cache_shards("c", **options)


def test_a_folder_and_a_function_are_wanted() -> None:
    with pytest.raises((TypeError, ValueError)):
        ShardCache("")
    with pytest.raises(TypeError):
        ShardCache("c", cache_name="a.tar")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tarsamples(cache=3)  # type: ignore[call-overload]


def test_verbose_tells_what_happens(names: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ShardCache(folder, os.path.getsize(names[0]), verbose=True)
    list(urls(names[:2]) | tarsamples(cache=cache))
    list(urls(names[1]) | tarsamples(cache=cache))
    told = capsys.readouterr().err
    for word in ("read from the source", "kept", "evicted", "found"):
        assert word in told


# ---- several at once


def test_one_stores_and_the_others_read_through(large: list[str], folder: Path) -> None:
    server = Server()
    stream = cached(large, server, ShardCache(folder))
    for one, other in zip(stream, stream):
        assert one == other
    assert len(server.opened) == 2 * len(large)
    assert len(kept(folder)) == len(large)


def test_waiting_for_who_stores(large: list[str], folder: Path) -> None:
    server, cache = Server(), ShardCache(folder, wait=60)
    begun, go_on = threading.Event(), threading.Event()

    def store() -> None:
        for _ in cached(large[:1], server, cache):
            begun.set()
            go_on.wait(60)

    thread = threading.Thread(target=store)
    thread.start()
    begun.wait(60)
    threading.Timer(0.2, go_on.set).start()
    assert len(list(cached(large[:1], server, cache))) == 5
    thread.join()
    assert server.opened == large[:1]


def test_waiting_ends(large: list[str], folder: Path) -> None:
    server = Server()
    first = iter(cached(large[:1], server, ShardCache(folder)))
    next(first)
    assert len(list(cached(large[:1], server, ShardCache(folder, wait=0.1)))) == 5
    assert len(list(first)) == 4
    assert len(server.opened) == 2


def test_threads(tmp_path: Path, folder: Path) -> None:
    names = [write(tmp_path / f"{n}.tar") for n in range(8)]
    expected = list(urls(names) | tarsamples)
    stream = urls(names) | tarsamples(cache=ShardCache(folder, 5 * os.path.getsize(names[0])))
    results: list[bool] = []

    def read() -> None:
        results.extend(list(stream) == expected for _ in range(4))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 24
    assert used(folder) <= 5 * os.path.getsize(names[0])
    assert not [name for name in kept(folder) if name.endswith(".partial")]
    assert open_below(folder.parent) == []


def test_a_forked_process_leaves_its_parents_files_alone(large: list[str], folder: Path) -> None:
    stream = cached(large[:1], Server(), ShardCache(folder))
    items = iter(stream)
    found = [next(items)]

    def read_on() -> None:
        nonlocal items
        list(items)
        del items

    assert forked(read_on) == 0
    assert len(kept(folder)) == 1
    assert kept(folder)[0].endswith(".partial")
    assert [*found, *items] == list(urls(large[0]) | tarsamples)
    assert not kept(folder)[0].endswith(".partial")
    assert list(stream) == list(urls(large[0]) | tarsamples)


def test_dataloader_workers_share_a_cache(names: list[str], folder: Path) -> None:
    from torch.utils.data import DataLoader

    stream = urls(names) | split_by_worker | tarsamples(cache=folder, suffixes={"cls"})
    loader: DataLoader[Any] = DataLoader(
        to_torch(stream), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    first = sorted(sample["__key__"] for sample in loader)
    for name in names:
        os.unlink(name)
    assert sorted(sample["__key__"] for sample in loader) == first
    assert len(first) == 20


def test_abandoned_iterators_leave_nothing(large: list[str], folder: Path) -> None:
    random_ = random.Random(5)
    stream = urls(large) | tarsamples(cache=ShardCache(folder, 2 * os.path.getsize(large[0])))
    for _ in range(1000 if DEEP else 40):
        for _ in zip(range(random_.randrange(20)), stream):
            pass
    assert open_below(folder.parent) == []
    assert not [name for name in kept(folder) if name.endswith(".partial")]


# ---- many processes, one of them killed


def read_epochs(names: list[str], cache: ShardCache, seed: int, counts: Any, epochs: int) -> None:
    """Epochs in orders of one's own, each sample compared; ends with 0 only if all were right."""
    order = random.Random(seed)
    for _ in range(epochs):
        mine = order.sample(names, len(names))
        found = list(urls(mine) | tarsamples(cache=cache))
        expected = list(urls(mine) | tarsamples)
        if found != expected:
            os._exit(3)
        with counts.get_lock():
            counts.value += len(found)
    os._exit(0)


@pytest.mark.parametrize("room", ["for 12 of 40", "for 4 of 40"])
@pytest.mark.parametrize("wait", [0, 0.5])
def test_many_processes_share_a_folder_and_one_is_killed(tmp_path: Path, folder: Path, room: str, wait: float) -> None:
    processes, count = (8, 40) if DEEP else (4, 14)
    seed = random.randrange(10**6)
    random_ = random.Random(seed)
    names = [write(tmp_path / f"{n}.tar", samples=6, size=random_.randrange(1000, 60_000)) for n in range(count)]
    largest = max(map(os.path.getsize, names))
    bound = (count * 12 // 40 if "12" in room else 4) * largest
    cache = ShardCache(folder, bound, wait=wait)
    counts = fork.Value("q", 0)
    children = [
        fork.Process(target=read_epochs, args=(names, cache, seed + n, counts, 2 if n else 10**6))
        for n in range(processes)
    ]
    for child in children:
        child.start()
    victim, at = children[0], time.monotonic() + random_.random() * 0.5
    most = 0
    while any(child.is_alive() for child in children):
        most = max(most, used(folder))
        if time.monotonic() > at and victim.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)
            at = float("inf")
        time.sleep(0.001)
    codes = [child.exitcode for child in children]
    assert codes[1:] == [0] * (processes - 1), f"seed {seed}: {codes}"
    assert victim.exitcode == -signal.SIGKILL, f"seed {seed}"
    assert counts.value >= (processes - 1) * 2 * 6 * count, f"seed {seed}"
    assert most <= bound, f"seed {seed}: {most} bytes at once, and {bound} allowed"
    next(iter(urls(names) | tarsamples(cache=cache)))
    left = kept(folder)
    assert left, f"seed {seed}"
    assert not [name for name in left if name.endswith(".partial")], f"seed {seed}: {left}"
    for name in names:  # what is there is whole
        place = Path(cache.place(name))
        assert not place.exists() or place.read_bytes() == Path(name).read_bytes(), f"seed {seed}: {name}"


def test_what_a_killed_process_left_is_removed_and_stored_anew(large: list[str], folder: Path) -> None:
    cache = ShardCache(folder)

    def read_some() -> None:
        items = iter(cached(large[:1], Server(), cache))
        next(items)
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(read_some) == -signal.SIGKILL
    assert [name[-8:] for name in kept(folder)] == [".partial"]
    assert len(list(urls(large[:1]) | tarsamples(cache=cache))) == 5
    assert [name[-7:] for name in kept(folder)] == [".cached"]


# ---- CacheStream


def test_a_stream_stores_what_is_read_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "copy"
    stream = CacheStream(str(path), io.BytesIO(b"abcdef"), verbose=True)
    assert stream.read(3) == b"abc"
    assert not path.exists()
    assert stream.read(10) == b"def"
    assert stream.read(10) == b""
    assert path.read_bytes() == b"abcdef"
    stream.close()
    stream.close()
    assert path.read_bytes() == b"abcdef"
    assert os.listdir(tmp_path) == ["copy"]
    assert "kept" in capsys.readouterr().err


@pytest.mark.parametrize("complete", [True, False])
def test_a_stream_that_is_closed_early(tmp_path: Path, complete: bool) -> None:
    source = io.BytesIO(b"abcdef")
    stream = CacheStream(tmp_path / "copy", source)
    stream.read(2)
    stream.close(complete)
    assert source.closed
    assert os.listdir(tmp_path) == (["copy"] if complete else [])


def test_a_block_that_fails_keeps_nothing(tmp_path: Path) -> None:
    stream = CacheStream(tmp_path / "copy", io.BytesIO(b"abcdef"))
    with pytest.raises(ZeroDivisionError), stream:
        assert stream.read(1 // 0)
    assert os.listdir(tmp_path) == []


def test_two_streams_to_one_path(tmp_path: Path) -> None:
    with (
        CacheStream(tmp_path / "copy", io.BytesIO(b"abc")) as one,
        CacheStream(tmp_path / "copy", io.BytesIO(b"abc")) as other,
    ):
        assert one.read() == other.read() == b"abc"
    assert os.listdir(tmp_path) == ["copy"]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.warns(CacheWarning, match="can't be written"):
        stream = CacheStream(tmp_path / "no folder" / "copy", io.BytesIO(b"abc"))
    with stream:
        assert stream.read() == b"abc"
