"""Indexes, and samples by number and by key: of archives that others make, in threads and processes, and in torch."""

from __future__ import annotations

import bz2
import errno
import gc
import gzip
import json
import lzma
import os
import pickle
import subprocess
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    random_split,
)

from streamwds import (
    Sample,
    ShardFile,
    ShardFiles,
    TarWriter,
    batched,
    decode,
    ignore_and_continue,
    ignore_and_stop,
    map,
    repeat,
    resampled,
    select,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    tar,
    tarsamples,
    to_tuple,
    unbatched,
    urls,
)
from streamwds.errors import (
    CompositionError,
    DamagedIndexWarning,
    DecodeError,
    DistributionError,
    DuplicateFieldError,
    FewShardsWarning,
    HeaderError,
    OpenError,
    SampleKeyError,
    SkippedWarning,
    SourceError,
    StreamwdsError,
    TarError,
    TruncatedError,
    WriteError,
)
from streamwds.tar.indexing import found_in
from tests.archives import END, archive, header, member, pax
from tests.descriptors import open_below

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")

CATS = archive([(b"1.jpg", b"one"), (b"1.cls", b"1"), (b"2.jpg", b"two"), (b"2.cls", b"2"), (b"3.jpg", b"three")])
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    path = tmp_path / "cats.tar"
    path.write_bytes(CATS)
    return path


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Three shards with 4, 0 and 6 samples."""
    for shard, count in enumerate([4, 0, 6]):
        with TarWriter(tmp_path / f"s{shard}.tar") as writer:
            for number in range(count):
                writer.write({"__key__": f"{shard}/{number}", "cls": 10 * shard + number, "txt": "x" * number})
    return f"{tmp_path}/s{{0..2}}.tar"


NUMBERS = [0, 1, 2, 3, 20, 21, 22, 23, 24, 25]


@pytest.fixture(autouse=True)
def _all_is_closed(tmp_path: Path) -> Iterator[None]:
    """Whatever a test opens is closed when nobody holds it any more."""
    yield
    if open_below(tmp_path):
        gc.collect()  # (takes long, with torch)
    assert open_below(tmp_path) == []


# ---- what an index says


def test_the_columns_of_an_index(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(
        archive([(b"README", b"r"), (b"1.jpg", b"one"), (b"__meta__", b"{}"), (b"1.CLS", b"1")], b"")
        + pax({b"path": b"f\xc3\xa9/2.jpg"})
        + member(b"short", b"two")
        + END
    )
    found = tar.index(path)
    assert found.url == str(path)
    assert (found.size, found.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert found.names() == ["README", "1.jpg", "__meta__", "1.CLS", "fé/2.jpg"]
    assert found.offsets.tolist() == [0, 1024, 2048, 3072, 4096]
    assert found.starts.tolist() == [512, 1536, 2560, 3584, 4096 + 1536]
    assert found.sizes.tolist() == [1, 3, 2, 1, 3]
    assert found.field_names == ("jpg", "cls")
    assert found.fields.tolist() == [-1, 0, -1, 1, 0]
    assert found.samples.tolist() == [1, 4, 5]
    assert found.keys() == ["1", "fé/2"]
    assert len(found) == 2
    for name, kind in [("offsets", "i8"), ("fields", "i4"), ("samples", "i8"), ("name_starts", "i8")]:
        column = getattr(found, name)
        assert column.dtype == np.dtype(kind)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 7


def test_an_index_is_a_value(cats: Path, tmp_path: Path) -> None:
    found = tar.index(cats)
    copy = pickle.loads(pickle.dumps(found))
    assert found == tar.index(cats) == copy
    assert not copy.sizes.flags.writeable
    assert hash(found) == hash(tar.index(cats))
    other = tmp_path / "other.tar"
    other.write_bytes(CATS.replace(b"three", b"threE"))
    os.utime(other, ns=(found.mtime_ns, found.mtime_ns))
    assert tar.index(other) != found


def test_an_empty_shard_has_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    path.write_bytes(END)
    with ShardFile(path) as samples:
        assert (len(samples), list(samples), samples.keys(), list(samples[:3:-1][1:])) == (0, [], [], [])
        assert tar.count(path) == {str(path): 0}
        with pytest.raises(IndexError, match="0 samples, and no number 0"):
            samples[0]


# ---- what can't be indexed


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.tar", tmp_path):
        with pytest.raises(OpenError):
            tar.index(path)
    with pytest.raises(SourceError, match="only a local file can be indexed"):
        tar.index("/dev/null")
    for wrong in (b"bytes.tar", 7):
        with pytest.raises(OpenError, match="named by a str"):
            tar.index(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="eof is"):
        tar.index(tmp_path, eof="no")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_shard_says_why_and_is_counted_all_the_same(pack: Callable[[bytes], bytes], cats: Path) -> None:
    cats.write_bytes(pack(CATS))
    with pytest.raises(SourceError, match=r"cats\.tar: it is compressed, so .* unpack it, or read it as a stream"):
        ShardFile(cats)
    assert tar.count(cats) == {str(cats): 3}


def test_a_shard_that_no_one_can_unpack(cats: Path) -> None:
    cats.write_bytes(b"PK\x03\x04" + CATS)
    with pytest.raises(StreamwdsError, match="it is a zip file"):
        tar.index(cats)


DAMAGED: dict[str, tuple[bytes, type[TarError], int]] = {
    "empty": (b"", TruncatedError, 0),
    "no tar": (b"<html>" + bytes(2000), HeaderError, 0),
    "cut in data": (CATS[: 2 * 1024 + 514], TruncatedError, 2048),
    "cut in a header": (CATS[: 2 * 1024 + 7], TruncatedError, 2048),
    "no end": (CATS[:-1024], TruncatedError, 5 * 1024),
    "a changed header": (CATS[: 2 * 1024] + b"x" + CATS[2 * 1024 + 1 :], HeaderError, 2048),
    "sparse": (CATS[:-1024] + member(b"4.jpg", b"", b"S") + END, TarError, 5 * 1024),
    "a field twice": (archive([(b"1.a", b"x"), (b"1.A", b"y"), (b"2.a", b"z")]), DuplicateFieldError, 1024),
    "a field named like the key": (archive([(b"1.a", b"x"), (b"1.__key__", b"y")]), DuplicateFieldError, 1024),
    "a size that is negative": (CATS[:-1024] + header(b"4.a", b"\xff" * 12) + END, HeaderError, 5 * 1024),
    "a size beyond all files": (CATS[:-1024] + header(b"4.a", b"\x80\x3f" + b"\xff" * 10), TruncatedError, 5 * 1024),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_errors_are_those_of_the_reader(name: str, cats: Path) -> None:
    data, kind, offset = DAMAGED[name]
    cats.write_bytes(data)
    with pytest.raises(kind) as ours:
        tar.index(cats)
    with pytest.raises(kind) as theirs:
        list([str(cats)] | tarsamples)
    assert type(ours.value) is kind
    assert str(ours.value) == str(theirs.value)
    assert (ours.value.url, ours.value.offset) == (str(cats), offset)


def test_a_handler_keeps_what_is_whole(cats: Path) -> None:
    cats.write_bytes(archive([(b"1.a", b"x"), (b"1.A", b"y"), (b"2.a", b"z"), (b"3.a", b"z"), (b"3.b", b"z")])[:-1600])
    with pytest.warns(SkippedWarning):
        samples = ShardFile(cats, handler=ignore_and_continue, save=True)
    assert [(sample["__key__"], sample["a"]) for sample in samples] == [("2", b"z")]
    with pytest.raises(WriteError, match="leaves out what is damaged"):
        samples.indexed.save()
    assert ShardFile(cats, handler=ignore_and_stop).keys() == []
    assert os.listdir(cats.parent) == ["cats.tar"]  # (an index that leaves something out isn't kept)


# ---- what others write


def as_a_stream(path: Path) -> list[Sample]:
    """The samples, which must be the same by number."""
    with ShardFile(path) as samples:
        assert list(samples) == list([str(path)] | tarsamples)
        return list(samples)


@pytest.mark.needs("GNU tar", "bsdtar")
@pytest.mark.parametrize(
    "command", ["tar --format=gnu", "tar --format=oldgnu", "tar --format=pax", "tar --format=v7", "bsdtar --format=pax"]
)
def test_links_folders_and_long_names(command: str, tmp_path: Path) -> None:
    long = "d" * 60 if "v7" in command else f"{'d' * 90}/{'e' * 120}"
    (tmp_path / "in" / long).mkdir(parents=True)
    for name in ("1.jpg", "1.cls", f"{long}/2.jpg", f"{long}/é.seg.png"):
        (tmp_path / "in" / name).write_bytes(name.encode() * 9)
    os.link(tmp_path / "in/1.jpg", tmp_path / "in/1.link")
    os.symlink("1.jpg", tmp_path / "in/1.symlink")
    names = ["1.jpg", "1.link", "1.symlink", "1.cls", long]
    subprocess.run([*command.split(), "-cf", "../a.tar", *names], cwd=tmp_path / "in", check=True, env=UTF8)
    samples = as_a_stream(tmp_path / "a.tar")
    assert {sample["__key__"] for sample in samples} >= {"1", f"{long}/2", f"{long}/é"}
    assert set(samples[0]) == {"__key__", "__url__", "jpg", "cls"}
    index = tar.index(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as theirs:
        members = [(info.name, info.offset, info.offset_data, info.size) for info in theirs if info.isreg()]
    assert [*zip(index.names(), index.offsets, index.starts, index.sizes, strict=True)] == members


@pytest.mark.needs("GNU tar")
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_members_are_refused(form: str, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"x")
    with open(tmp_path / "2.bin", "wb") as file:
        file.truncate(1 << 22)
    command = ["tar", f"--format={form}", "--sparse", "-cf", "a.tar", "1.txt", "2.bin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(TarError, match="sparse member; rewrite the shard without tar's --sparse"):
        tar.index(tmp_path / "a.tar")


@pytest.mark.needs("GNU tar", "bsdtar")
def test_a_member_of_nine_gigabytes_is_passed_over(tmp_path: Path) -> None:
    """Its data are a hole in the file; both tars read its size as we do."""
    size = 9 << 30
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        file.write(member(b"1.txt", b"one") + header(b"2.bin", b"\x80" + size.to_bytes(11, "big")))
        file.seek(size, os.SEEK_CUR)
        file.write(member(b"2.txt", b"two") + END)
    before = read_here()
    index = tar.index(path)
    assert read_here() - before < 1 << 20
    assert index.sizes.tolist() == [3, size, 3]
    with ShardFile(index, suffixes=["txt"]) as samples:
        assert [sample["txt"] for sample in samples] == [b"one", b"two"]
    for command in ("tar", "bsdtar"):
        listed = subprocess.run([command, "-tvf", str(path)], check=True, capture_output=True, text=True).stdout
        assert [str(size) in line for line in listed.splitlines()] == [False, True, False]


def read_here() -> int:
    """The bytes that this process has read by now, from wherever."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_large_members_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    with TarWriter(path) as writer:
        for number in range(300):
            writer.write({"__key__": f"{number}", "jpg": bytes(100_000), "cls": number})
    before = read_here()
    index = tar.index(path)
    assert read_here() - before < 2_000_000
    assert len(index) == 300
    assert as_a_stream(path)[299]["cls"] == b"299"


# ---- one shard


def test_by_number_and_by_key(cats: Path) -> None:
    with ShardFile(str(cats)) as samples:
        assert samples[1] == {"__key__": "2", "__url__": str(cats), "jpg": b"two", "cls": b"2"}
        assert samples[np.int64(-1)] == samples.by_key("3") == samples[torch.tensor(2)]  # type: ignore[call-overload]
        assert list(samples[::2][::-1]) == [samples[2], samples[0]]
        assert samples[1:].__getitems__([1, 0]) == [samples[2], samples[1]]  # type: ignore[attr-defined]
        assert samples.keys() == ["1", "2", "3"]
        assert repr(samples) == f"ShardFile({str(cats)!r})"
        assert repr(samples[1:]) == f"<2 of {samples!r}>"
        for number in (3, -4):
            with pytest.raises(IndexError, match=rf"there are 3 samples, and no number {number}, in .*cats\.tar"):
                samples[number]
        with pytest.raises(TypeError):
            samples["1"]  # type: ignore[call-overload]


def test_a_key_that_no_sample_or_several_samples_have(cats: Path) -> None:
    cats.write_bytes(archive([(b"1.a", b"x"), (b"2.a", b"y"), (b"1.a", b"z")]))
    with ShardFile(cats) as samples:
        assert samples.by_key("2")["a"] == b"y"
        with pytest.raises(SampleKeyError, match="key '7': no sample has this key") as caught:
            samples.by_key("7")
        assert isinstance(caught.value, KeyError)
        with pytest.raises(SampleKeyError, match="key '1': the samples 0, 2 have this key"):
            samples.by_key("1")


def test_only_the_wanted_fields(cats: Path) -> None:
    with ShardFile(cats, suffixes={"cls"}) as samples:
        assert [sample.get("cls") for sample in samples] == [b"1", b"2", None]
        assert {field for sample in samples for field in sample} == {"__key__", "__url__", "cls"}
        assert repr(samples) == f"ShardFile({str(cats)!r}, suffixes={{'cls'}})"
    with pytest.raises(TypeError, match=r"such as \{'cls'\}, not a str"):
        ShardFile(cats, suffixes="cls")


def test_a_shard_that_is_not_what_it_was(cats: Path) -> None:
    samples = ShardFile(cats)
    cats.write_bytes(CATS + END)
    with pytest.raises(SourceError, match="changed after it was indexed"):
        samples[0]
    with ShardFile(cats) as samples:
        assert samples[0]["jpg"] == b"one"
        os.truncate(cats, 1024)
        with pytest.raises(TarError, match=r"byte 2560, key '2': the shard is shorter than it was"):
            samples[1]
    os.unlink(cats)
    with pytest.raises(OpenError):
        ShardFile(samples.indexed)[0]


def test_closing(cats: Path) -> None:
    samples = ShardFile(cats)
    assert samples[0] == samples[-3]
    assert open_below(cats.parent) == [str(cats)]
    samples.close()
    samples.close()
    assert open_below(cats.parent) == []
    for closed in (samples, pickle.loads(pickle.dumps(samples))):
        with pytest.raises(OpenError, match="it was closed"):
            closed[0]
    many = ShardFiles(cats)
    assert len(list(many)) == 3
    many.close()
    with pytest.raises(OpenError, match="they were closed"):
        many[0]


def test_a_failing_disk(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with ShardFile(cats) as samples:
        monkeypatch.setattr("streamwds.tar.access._pread", fails)
        with pytest.raises(TarError, match=r"cats\.tar, byte 512, key '1': reading failed: .*Input/output error"):
            samples[0]


def test_reads_that_give_less_than_was_asked_for(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardFile(cats) as samples:
        whole = list(samples)
        monkeypatch.setattr("streamwds.tar.access._pread", lambda fd, size, at: os.pread(fd, min(size, 7), at))
        assert list(samples) == whole


def random_reads(samples: ShardFile | ShardFiles[Sample], seed: int) -> None:
    for number in np.random.default_rng(seed).integers(0, len(samples), 400).tolist():
        sample = samples[number]
        assert sample["txt"] == sample["__key__"].encode() * 50


@pytest.fixture
def numbered(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"n{shard}.tar" for shard in range(5)]
    for shard, path in enumerate(paths):
        with TarWriter(path) as writer:
            for number in range(40):
                key = f"{shard}-{number:03d}"
                writer.write({"__key__": key, "txt": key.encode() * 50, "cls": number})
    return paths


def test_threads_and_forked_processes_share_a_file(numbered: list[Path]) -> None:
    with ShardFile(numbered[0]) as one, ShardFiles(numbered, open_files=2) as many:
        random_reads(one, 0)  # (so it is open when they begin)
        for samples in (one, many):
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(random_reads, [samples] * 8, range(8)))
            children = [get_context("fork").Process(target=random_reads, args=(samples, seed)) for seed in range(3)]
            for child in children:
                child.start()
            random_reads(samples, 9)
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0, 0]


def test_closing_while_others_read_gives_no_wrong_sample(numbered: list[Path]) -> None:
    def read(samples: ShardFile) -> None:
        try:
            while True:
                random_reads(samples, 0)
        except OpenError:
            return

    for _ in range(10):
        samples = ShardFile(numbered[0])
        threads = [threading.Thread(target=read, args=(samples,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        samples.close()
        with ShardFile(numbered[1]) as others:  # which may well get the number of the file that was closed
            random_reads(others, 1)
        for thread in threads:
            thread.join()


def test_no_more_files_are_open_than_are_allowed(numbered: list[Path]) -> None:
    with ShardFiles(numbered, open_files=2) as samples:
        random_reads(samples, 0)
        assert len(open_below(numbered[0].parent)) == 2
    with pytest.raises(ValueError, match="open_files is at least 1, not 0"):
        ShardFiles(numbered, open_files=0)


# ---- kept beside the shard


def test_an_index_is_kept_when_asked(cats: Path) -> None:
    beside = cats.with_name("cats.tar.idx")
    found = tar.index(cats)
    assert not beside.exists()
    assert found.save() == str(beside)
    before = read_here()
    assert tar.index(cats) == found
    assert read_here() - before < 4096
    head = json.loads(beside.read_bytes().partition(b"\n")[0])
    assert head["format"] == "streamwds index 1"
    assert (head["members"], head["samples"], head["field_names"]) == (5, 3, ["jpg", "cls"])
    assert sorted(os.listdir(cats.parent)) == ["cats.tar", "cats.tar.idx"]


def test_an_old_index_is_made_anew_and_replaced_only_when_asked(cats: Path) -> None:
    old = tar.index(cats, save=True)
    beside = cats.with_name("cats.tar.idx")
    kept = beside.read_bytes()
    cats.write_bytes(archive([(b"7.jpg", b"seven")]))
    assert tar.index(cats).keys() == ["7"]
    assert beside.read_bytes() == kept
    assert tar.index(cats, save=True).keys() == ["7"]
    assert beside.read_bytes() != kept
    cats.write_bytes(CATS)
    os.utime(cats, ns=(old.mtime_ns + 1, old.mtime_ns + 1))  # (the same size, but a time that is another)
    assert tar.index(cats).keys() == ["1", "2", "3"]


@pytest.mark.parametrize("damaged", [b"", b"v1.2 3\n", b"{}\n" + bytes(100), b"\xff\xfe" * 99])
def test_a_damaged_index_is_one_warning(cats: Path, damaged: bytes) -> None:
    found = tar.index(cats)
    cats.with_name("cats.tar.idx").write_bytes(damaged)
    with pytest.warns(DamagedIndexWarning, match=r"cats\.tar\.idx: the index is damaged") as caught:
        assert tar.index(cats, save=True) == found
    assert len(caught) == 1
    assert tar.index(cats) == found


def test_an_index_made_leniently_does_not_serve_the_strict(cats: Path) -> None:
    cats.write_bytes(CATS[:-1024])
    lenient = tar.index(cats, eof="lenient", save=True)
    assert not lenient.ended
    assert tar.index(cats, eof="lenient") == lenient
    with pytest.raises(TruncatedError, match="without an end-of-archive block"):
        tar.index(cats)
    cats.write_bytes(CATS)
    assert tar.index(cats, eof="lenient", save=True).ended
    assert tar.index(cats) == tar.index(cats, eof="lenient")


def test_an_index_that_can_not_be_kept(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(WriteError, match=r"cats\.tar: its index can't be kept beside it: Read-only file system"):
        tar.index(cats, save=True)
    assert os.listdir(cats.parent) == ["cats.tar"]


def keep_again_and_again(path: str) -> None:
    warnings.simplefilter("error")
    index = tar.index(path)
    for _ in range(100):
        index.save()
        assert tar.index(path) == index


def test_several_processes_may_keep_the_same_index(cats: Path) -> None:
    children = [get_context("fork").Process(target=keep_again_and_again, args=(str(cats),)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sorted(os.listdir(cats.parent)) == ["cats.tar", "cats.tar.idx"]


def test_a_shard_that_changes_while_it_is_indexed(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = found_in

    def slow(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        cats.write_bytes(CATS + END)
        return found

    monkeypatch.setattr("streamwds.tar.indexes.found_in", slow)
    with pytest.raises(SourceError, match="changed while it was indexed"):
        tar.index(cats)


# ---- many shards


def test_counts_are_told_by_shard(shards: str, tmp_path: Path) -> None:
    names = [str(tmp_path / f"s{n}.tar") for n in range(3)]
    assert tar.count(shards) == dict(zip(names, [4, 0, 6]))
    assert tar.count(names[0], [names[2]], save=True) == {names[0]: 4, names[2]: 6}
    assert os.path.exists(names[2] + ".idx")
    missing = str(tmp_path / "no.tar")
    with pytest.raises(OpenError):
        tar.count(missing, names[0])
    with pytest.warns(SkippedWarning):
        assert tar.count(missing, names[0], handler=ignore_and_continue) == {missing: 0, names[0]: 4}
    assert tar.count(missing, names[0], handler=ignore_and_stop) == {missing: 0}


def test_each_reader_has_the_samples_of_its_shards(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split = urls(shards) | split_by_node | split_by_worker
    assert tar.count_each(split) == [10]
    assert tar.count_each(split, world_size=2, save=True) == [10, 0]
    assert tar.count_each(urls(shards) | split_by_worker, workers=2) == [10, 0]
    assert tar.count_each([*urls(shards)] * 2 | split_by_node, world_size=3) == [8, 0, 12]
    with pytest.warns(FewShardsWarning):
        assert tar.count_each(split, world_size=2, workers=2) == [4, 6, 0, 0]
    order = [os.path.basename(url) for url in urls(shards) | shuffle_shards]
    assert order == ["s1.tar", "s2.tar", "s0.tar"]
    shuffled = urls(shards) | shuffle_shards | split_by_node
    assert tar.count_each(shuffled, world_size=2) == [4, 6]
    assert len({tuple(tar.count_each(shuffled.within(epoch=n), world_size=2)) for n in range(9)}) > 1
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert tar.count_each(split) == [4, 0, 6]


def test_what_can_not_be_counted_for_each(shards: str, tmp_path: Path) -> None:
    with pytest.raises(DistributionError, match="put split_by_node behind the source"):
        tar.count_each(shards, world_size=2)
    with pytest.raises(CompositionError, match=r"this stream yields Sample; where samples are split.*tar\.count"):
        tar.count_each(urls(shards) | tarsamples)  # type: ignore[arg-type]
    for endless in (urls(shards) | resampled(), urls(shards) | split_by_node | repeat()):
        with pytest.raises(CompositionError, match="these URLs never end"):
            tar.count_each(endless)
    missing = [*urls(shards), str(tmp_path / "no.tar")] | split_by_node
    with pytest.raises(OpenError):
        tar.count_each(missing, world_size=2)
    with pytest.warns(SkippedWarning, match=r"no\.tar") as told:
        assert tar.count_each(missing, world_size=2, handler=ignore_and_continue) == [10, 0]
    assert len(told) == 1


def test_many_shards_are_numbered_through(shards: str, tmp_path: Path) -> None:
    with ShardFiles(shards) as samples:
        assert len(samples) == 10
        assert list(samples) == list(urls(shards) | tarsamples)
        assert [sample["cls"] for sample in samples[-1:2:-3]] == [b"25", b"22", b"3"]
        assert repr(samples) == f"ShardFiles([{shards!r}])"
        with pytest.raises(IndexError, match="there are 10 samples, and no number 10"):
            samples[10]
    with pytest.raises(SourceError, match="no file matches"):
        ShardFiles(tmp_path / "no*.tar")
    with pytest.raises(OpenError):
        ShardFiles(tmp_path / "no.tar")
    with pytest.warns(SkippedWarning):
        some = ShardFiles([str(tmp_path / "no.tar"), shards], handler=ignore_and_continue, suffixes=["cls"])
    assert [*some[1]] == ["__key__", "__url__", "cls"]
    assert len(ShardFiles([str(tmp_path / "no.tar"), shards], handler=ignore_and_stop)) == 0


def is_even(sample: Sample) -> bool:
    return int(sample["cls"]) % 2 == 0


def test_a_stage_makes_items_of_samples(shards: str) -> None:
    plain: ShardFiles[Sample] = ShardFiles(shards)
    pairs: ShardFiles[tuple[Any, ...]] = ShardFiles(shards, decode() | to_tuple("__key__", "cls"))
    lengths: ShardFiles[int] = ShardFiles(shards, map(len))
    assert pairs[6] == ("2/2", 22)
    assert list(pairs) == list(plain | decode() | to_tuple("__key__", "cls"))
    assert lengths[0] == len(plain[0])
    assert repr(pairs).endswith("], decode() | to_tuple('__key__', 'cls'))")
    with pytest.raises(StreamwdsError, match=r"key '0/1': a dataset needs one item .* gave 0 for this one"):
        ShardFiles(shards, select(is_even))[1]
    with pytest.raises(DecodeError, match=r"s0\.tar, key '0/0', field 'cls'"):
        ShardFiles(shards, map(spoilt) | decode())[0]
    with pytest.raises(CompositionError, match=r"shuffle is about a stream.* ShardFiles\(…\) \| shuffle"):
        ShardFiles(shards, shuffle(3))
    with pytest.raises(CompositionError, match="ShardFiles yields Sample, tarsamples takes str"):
        ShardFiles(shards, tarsamples)  # type: ignore[arg-type]
    with pytest.raises(CompositionError):
        ShardFiles(shards, batched(2) | unbatched)


def spoilt(sample: Sample) -> Sample:
    return {**sample, "cls": b"x"}


def test_a_stream_goes_over_samples_by_number(shards: str) -> None:
    stream = ShardFiles(shards) | shuffle(4) | decode() | map(lambda sample: sample["cls"])
    items = list(stream.tracked())
    assert sorted(item for item, _ in items) == NUMBERS
    assert list(stream.at(items[5][1])) == [item for item, _ in items[6:]]


# ---- in torch

SAMPLERS: dict[str, Callable[[Any], Sampler[int]]] = {
    "sequential": SequentialSampler,
    "random": lambda data: RandomSampler(data, generator=torch.Generator().manual_seed(3)),
    "subset": lambda data: SubsetRandomSampler(range(2, 8), generator=torch.Generator().manual_seed(3)),
    "weighted": lambda data: WeightedRandomSampler([1.0] * len(data), 30, generator=torch.Generator().manual_seed(3)),
    "distributed": lambda data: DistributedSampler(data, num_replicas=2, rank=1),
}


def labels(dataset: ShardFiles[tuple[Any, ...]], workers: int, how: str = "fork", **options: Any) -> list[int]:
    context: dict[str, Any] = {"multiprocessing_context": how} if workers else {}
    loader: DataLoader[tuple[Any, ...]] = DataLoader(dataset, num_workers=workers, **context, **options)
    return [label for _, column in loader for label in column.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", SAMPLERS)
def test_any_sampler(shards: str, name: str, workers: int) -> None:
    dataset = ShardFiles(shards, decode() | to_tuple("__key__", "cls"), open_files=1)
    drawn = list(SAMPLERS[name](dataset))
    found = labels(dataset, workers, sampler=SAMPLERS[name](dataset), batch_size=3)
    assert found == [NUMBERS[number] for number in drawn]


@pytest.mark.parametrize(("workers", "how"), [(0, ""), (2, "fork"), (2, "spawn")])
def test_batches_that_a_sampler_makes(shards: str, workers: int, how: str) -> None:
    dataset = ShardFiles(shards, decode() | to_tuple("__key__", "cls"))
    assert dataset[0] == ("0/0", 0)  # (so a file is open, which doesn't travel to where it is spawned)
    batches = BatchSampler(SequentialSampler(dataset), 4, drop_last=True)
    assert labels(dataset, workers, how, batch_sampler=batches) == NUMBERS[:8]


def test_torch_splits_it_and_collates_plain_samples(shards: str) -> None:
    dataset = ShardFiles(shards)
    train, test = random_split(dataset, [7, 3], generator=torch.Generator().manual_seed(0))
    found = [label for part in (train, test) for batch in DataLoader(part, batch_size=4) for label in batch["cls"]]
    assert sorted(int(label) for label in found) == NUMBERS
