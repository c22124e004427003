"""tee and write_to: samples pass unchanged, shards are whole or not there, and whoever is killed goes on exactly."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from toolz import pipe

import streamwds as wds
from streamwds import Written, map, select, shuffle, split_by_worker, take, tarsamples, tee, urls, write_to
from streamwds.errors import (
    CompositionError,
    DistributionError,
    EncodeError,
    FunctionError,
    PositionError,
    ReplayError,
    SkippedWarning,
    SourceError,
    WriteError,
)
from streamwds.testing import check_resume
from tests.processes import files_of_at_most

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"


def samples(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"__key__": f"{n:04d}", "cls": n, "txt": "x" * (n % 5)} for n in range(start, start + count)]


def keys(path: Path | str) -> list[int]:
    return [int(found["__key__"]) for found in [str(path)] | tarsamples]


def shards(folder: Path) -> dict[str, list[int]]:
    return {found.name: keys(found) for found in sorted(folder.glob("*.tar"))}


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def source(folder: Path, counts: tuple[int, ...] = (5, 7, 4)) -> wds.Stream[wds.Sample]:
    """A stream of samples from shards of so many each."""
    folder.mkdir(exist_ok=True)
    start = 0
    for n, count in enumerate(counts):
        with wds.TarWriter(folder / f"in-{n}.tar", mtime=0) as writer:
            for sample in samples(count, start):
                writer.write(sample)
        start += count
    return urls(f"{folder}/in-{{0..{len(counts) - 1}}}.tar") | tarsamples


# ---- tee


def test_what_passes_a_tee_is_written(tmp_path: Path) -> None:
    given = samples(7)
    stream = given | tee(f"{tmp_path}/%d.tar", maxcount=3)
    passed = list(stream)
    assert all(one is other for one, other in zip(given, passed, strict=True))
    assert shards(tmp_path) == {"0.tar": [0, 1, 2], "1.tar": [3, 4, 5], "2.tar": [6]}
    assert names(tmp_path) == ["0.tar", "1.tar", "2.tar"]


def test_a_tee_in_the_middle_writes_what_is_there(tmp_path: Path) -> None:
    stream = samples(9) | tee(tmp_path / "a{}.tar") | select(lambda s: s["cls"] % 2) | tee(tmp_path / "b{}.tar") | list
    assert len(stream) == 4
    assert shards(tmp_path) == {"a0.tar": list(range(9)), "b0.tar": [1, 3, 5, 7]}


def test_a_tee_opens_nothing_before_it_is_read(tmp_path: Path) -> None:
    stream = samples(3) | tee(tmp_path / "%d.tar")
    iterator = iter(stream)
    assert names(tmp_path) == []
    next(iterator)
    assert len(names(tmp_path)) == 1
    del iterator
    assert names(tmp_path) == []
    assert [] | tee(tmp_path / "%d.tar") | list == []
    assert names(tmp_path) == []


def test_the_open_shard_is_discarded_when_the_consumer_stops(tmp_path: Path) -> None:
    assert len(samples(9) | tee(tmp_path / "%d.tar", maxcount=3) | take(5) | list) == 5
    assert shards(tmp_path) == {"0.tar": [0, 1, 2]}
    assert names(tmp_path) == ["0.tar"]


def test_the_open_shard_is_discarded_when_something_fails(tmp_path: Path) -> None:
    def fails(sample: Any) -> Any:
        return sample["cls"] + 0 // (7 - sample["cls"])

    for stages in (
        tee(tmp_path / "a%d.tar", maxcount=3) | map(fails),
        map(fails) | map(lambda n: samples(1, n)[0]) | tee(tmp_path / "b%d.tar", maxcount=3),
    ):
        with pytest.raises(FunctionError):
            list(stages(samples(9)))
    assert names(tmp_path) == ["a0.tar", "a1.tar", "b0.tar", "b1.tar"]


def test_each_iteration_writes_anew(tmp_path: Path) -> None:
    stream = samples(8) | shuffle(8) | tee(tmp_path / "{epoch}-%d.tar")
    orders = [[sample["cls"] for sample in stream.within(epoch=epoch)] for epoch in (0, 1, 0)]
    assert shards(tmp_path) == {"0-0.tar": orders[0], "1-0.tar": orders[1]}
    assert orders[0] == orders[2] != orders[1]


def test_a_tee_is_a_value(tmp_path: Path) -> None:
    made = tee("a-{rank}-%06d.tar", maxcount=3, encoder={"txt": str.encode}, handler=wds.ignore_and_continue)
    text = "tee('a-{rank}-%06d.tar', handler=ignore_and_continue, encoder={'txt': str.encode}, maxcount=3)"
    assert repr(made) == text
    assert eval(text, {name: getattr(wds, name) for name in wds.__all__}) == made
    assert tee(Path("a%d.tar")) == tee("a%d.tar") != tee("b%d.tar")
    assert hash(tee("a%d.tar", mtime=0)) == hash(tee("a%d.tar", mtime=0))


@pytest.mark.parametrize(
    ("pattern", "options"),
    [("a.tar", {}), ("%d%d", {}), (3, {}), ("%d", {"maxcount": 0}), ("%d", {"mtime": -1}), ("%d", {"colour": "red"})],
)
def test_mistakes_are_found_while_composing(pattern: Any, options: Any) -> None:
    for make in (tee, write_to):
        with pytest.raises((ValueError, TypeError)):
            make(pattern, **options)


def test_wrong_places_are_found_while_composing(tmp_path: Path) -> None:
    wrong: Any = write_to("%d")
    with pytest.raises(CompositionError, match=r"tee\(pattern\)"):
        samples(2) | tee  # type: ignore[operator]
    with pytest.raises(CompositionError, match="give a pattern first"):
        urls("a.tar") | tarsamples | write_to  # type: ignore[operator]
    with pytest.raises(CompositionError, match="tee takes Sample"):
        urls("a.tar") | tee("%d.tar")
    with pytest.raises(CompositionError, match="end a stream"):
        tarsamples | wrong
    with pytest.raises(WriteError, match="a sample is a dict"):
        ["a.tar"] | wds.identity | write_to(tmp_path / "%d.tar")  # type: ignore[operator]


def test_several_readers_need_places_of_their_own(tmp_path: Path) -> None:
    stream = urls("a.tar", "b.tar") | wds.everywhere | map(lambda url: {"__key__": "1", "txt": url})
    for place, context in (("rank", {"rank": 1, "world_size": 2}), ("worker", {"worker": 1, "workers": 2})):
        for pattern in (f"{tmp_path}/%d.tar", lambda n: f"{tmp_path}/{n}.tar"):
            several = stream.within(**context)
            with pytest.raises(DistributionError, match=f"{{{place}}}"):
                iter(several | tee(pattern))
            with pytest.raises(DistributionError, match=f"{{{place}}}"):
                several | write_to(pattern)
    assert names(tmp_path) == []
    readers = [{"rank": r, "world_size": 2, "worker": w, "workers": 3} for r in range(2) for w in range(3)]
    for reader in readers:
        numbers = samples(12) | wds.split_by_node | split_by_worker
        written = (
            numbers.within(**reader)
            | tee(tmp_path / "t-{rank}{worker:02d}-%d.tar")
            | write_to(tmp_path / "{rank}{worker:02d}-%d.tar")
        )
        assert written.samples == 2
    found = shards(tmp_path)
    assert sorted(n for numbers in found.values() for n in numbers) == sorted([*range(12), *range(12)])
    assert found["t-102-0.tar"] == found["102-0.tar"] == [5, 11]


def test_a_handler_is_told_of_samples_that_cannot_be_written(tmp_path: Path) -> None:
    given = [
        *samples(3),
        {"__key__": "a.b", "cls": 1},
        {"__key__": "x", "nope": object()},
        *samples(2, 3),
        {"__key__": "0000", "cls": 1},
    ]
    with pytest.raises(WriteError, match="'a'"):
        list(given | tee(tmp_path / "%d.tar"))
    assert names(tmp_path) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        stream = given | tee(tmp_path / "%d.tar", handler=wds.ignore_and_continue)
        assert [sample["cls"] for sample in stream] == [0, 1, 2, 3, 4]
        assert stream.skipped == {"WriteError": 1, "EncodeError": 1, "DuplicateKeyError": 1}
        assert shards(tmp_path) == {"0.tar": [0, 1, 2, 3, 4]}
        assert len(given | tee(tmp_path / "%d.tar", handler=wds.ignore_and_stop) | list) == 3
        assert shards(tmp_path) == {"0.tar": [0, 1, 2]}
        written = given | write_to(tmp_path / "w%d.tar", handler=wds.skip_at_most(3))
        with pytest.raises(EncodeError):
            given | write_to(tmp_path / "w%d.tar", handler=wds.skip_at_most(1))
    assert written == Written(shards=1, samples=5, bytes=10 * 1024 - 512, skipped=3)


def test_a_handler_is_not_told_of_a_full_disk(tmp_path: Path) -> None:
    missing, handler = tmp_path / "no" / "%d.tar", wds.ignore_and_continue
    with pytest.raises(WriteError, match="No such file"):
        list(samples(3) | tee(missing, handler=handler))
    with pytest.raises(WriteError, match="No such file"):
        samples(3) | write_to(missing, handler=handler)


# ---- a tee that is resumed


@pytest.mark.parametrize("stages", [wds.identity, shuffle(6), select(lambda s: int(s["cls"]) % 3 > 0)])
def test_a_tee_obeys_the_law(tmp_path: Path, stages: Any) -> None:
    stream = source(tmp_path) | stages | tee(f"{tmp_path}/out-%d.tar", maxcount=4) | shuffle(3)
    assert check_resume(stream) == len(list(stream))


def test_a_resumed_tee_writes_the_same_shards(tmp_path: Path) -> None:
    """Wherever the first run stopped: shards come out as of one run, and only those behind are written again."""
    stream = (
        source(tmp_path) | tee(f"{tmp_path}/out-%d.tar", maxcount=3, mtime=0) | map(lambda sample: sample["__key__"])
    )
    whole = list(stream)
    files = {path: path.read_bytes() for path in tmp_path.glob("out-*.tar")}
    assert len(files) == 6
    for stop in range(len(whole)):
        for path in files:
            path.unlink()
        iterator = stream.tracked()
        for _ in range(stop + 1):
            _, position = next(iterator)
        del iterator
        complete = sorted(tmp_path.glob("out-*.tar"))
        assert len(complete) == (stop + 1) // 3
        times = [path.stat().st_mtime_ns for path in complete]
        assert list(stream.at(json.loads(json.dumps(position)))) == whole[stop + 1 :]
        assert {path: path.read_bytes() for path in tmp_path.glob("out-*.tar")} == files
        assert [path.stat().st_mtime_ns for path in complete] == times


def test_a_tee_notices_that_upstream_is_another(tmp_path: Path) -> None:
    stream = source(tmp_path) | tee(f"{tmp_path}/out-%d.tar", maxcount=6)
    positions = [position for _, position in stream.tracked()]
    with wds.TarWriter(tmp_path / "in-0.tar", mtime=0) as writer:
        for sample in [*samples(2), *samples(3, 50)]:
            writer.write(sample)
    with pytest.raises(ReplayError, match=r"tee: shard 0 was not read the same"):
        list(stream.at(positions[4]))
    with wds.TarWriter(tmp_path / "in-2.tar", mtime=0) as writer:
        writer.write(samples(1, 12)[0])
    with pytest.raises(ReplayError):
        list(stream.at(positions[-1]))


def test_positions_depend_on_where_shards_end(tmp_path: Path) -> None:
    def stream(**options: Any) -> wds.Stream[Any]:
        return samples(5) | tee(tmp_path / "%d.tar", **options)

    (_, position), *_ = stream(maxcount=3).tracked()
    for options in ({"maxcount": 4}, {"maxcount": 3, "maxsize": 99}, {"maxcount": 3, "keep_meta": True}):
        with pytest.raises(PositionError, match="tee"):
            stream(**options).at(position)
    assert len(list(stream(maxcount=3, user="me", fsync=True, compress="gz").at(position))) == 4
    assert len(list((samples(5) | tee(tmp_path / "elsewhere-%d.tar", maxcount=3)).at(position))) == 4


def test_the_plain_iterator_writes_too(tmp_path: Path) -> None:
    passed = pipe(samples(5), wds.iterators.tee(f"{tmp_path}/%d.tar", maxcount=3), list)
    assert passed == samples(5)
    assert shards(tmp_path) == {"0.tar": [0, 1, 2], "1.tar": [3, 4]}


# ---- write_to


def test_a_stream_ends_in_shards(tmp_path: Path) -> None:
    written = source(tmp_path) | write_to(tmp_path / "out-%d.tar", maxcount=6)
    assert written == Written(shards=3, samples=16, bytes=16 * 2048 - 4 * 512, skipped=0)
    found = shards(tmp_path)
    assert [found[f"out-{n}.tar"] for n in range(3)] == [[*range(6)], [*range(6, 12)], [*range(12, 16)]]
    assert [] | write_to(tmp_path / "none-%d.tar") == Written(0, 0, 0)
    assert iter(samples(3)) | wds.identity | write_to(tmp_path / "once-%d.tar") == Written(1, 3, 3 * 2048 - 512)


def test_write_to_is_a_value() -> None:
    assert write_to("a-%d.tar", mtime=0) == write_to(Path("a-%d.tar"), mtime=0) != write_to("a-%d.tar")
    assert repr(write_to("a-%d.tar")) == "write_to('a-%d.tar')"
    text = "write_to('a-%d.tar', resume=True, handler=skip_at_most(3), maxcount=3, post=print)"
    assert repr(write_to("a-%d.tar", post=print, maxcount=3, resume=True, handler=wds.skip_at_most(3))) == text
    assert eval(text, {name: getattr(wds, name) for name in wds.__all__}) == write_to(
        "a-%d.tar", post=print, maxcount=3, resume=True, handler=wds.skip_at_most(3)
    )


@contextmanager
def stopped_after(count: int) -> Iterator[Callable[[Any], Any]]:
    """A function that lets so many samples pass, and then is interrupted."""
    left = [count]

    def passes(sample: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return sample

    yield passes


def stop(sample: Any) -> Any:
    """Stands for a function that is interrupted: see `interrupted`."""
    return BEHAVIOUR[0](sample)


BEHAVIOUR: list[Callable[[Any], Any]] = [lambda sample: sample]


@pytest.mark.parametrize("pattern", ["out-%d.tar", "out-{:d}.tar", "function"])
@pytest.mark.parametrize("stages", [wds.identity, shuffle(5), select(lambda s: int(s["cls"]) % 5 > 0)])
def test_a_stream_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, stages: Any
) -> None:
    name: Any = (lambda n: f"{tmp_path}/out-{n}.tar") if pattern == "function" else tmp_path / pattern
    stream = source(tmp_path) | stages | map(stop)
    expected = [sample["__key__"] for sample in stream]
    for seed in range(10):
        chance = random.Random(seed)
        calls = 0
        while True:
            calls += 1
            with stopped_after(chance.randrange(12)) as passes:
                monkeypatch.setitem(globals(), "BEHAVIOUR", [passes])
                try:
                    written = stream | write_to(name, resume=True, maxcount=3)
                    break
                except KeyboardInterrupt:
                    assert not [left for left in names(tmp_path) if left.endswith(".partial")]
            assert calls < 100
        found = [f"{n:04d}" for shard, numbers in shards(tmp_path).items() if "out" in shard for n in numbers]
        assert found == expected, f"seed {seed}"
        assert (written.samples, written.shards) == (len(expected), -(-len(expected) // 3))
        monkeypatch.undo()
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out*")}
        assert stream | write_to(name, resume=True, maxcount=3) == written
        assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out*")} == before
        for path in (*tmp_path.glob("out*"), *tmp_path.glob(".out*")):
            path.unlink()


def test_write_to_without_resume_begins_anew_and_forgets(tmp_path: Path) -> None:
    out = tmp_path / "out-%d.tar"
    source(tmp_path) | take(8) | write_to(out, resume=True, maxcount=4)
    assert [name for name in names(tmp_path) if name.startswith(".")] == [".out-0.tar.progress.json"]
    source(tmp_path) | take(5) | write_to(out, maxcount=5)
    assert [name for name in names(tmp_path) if name.startswith(".")] == []
    with pytest.raises(WriteError, match="no record tells"):
        source(tmp_path) | take(8) | write_to(out, resume=True, maxcount=4)
    assert shards(tmp_path)["out-0.tar"] == [0, 1, 2, 3, 4]


def test_a_record_of_another_pipeline_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out-%d.tar"
    source(tmp_path) | take(8) | write_to(out, resume=True, maxcount=4)
    for leftover in ("out-2.tar", ".out-2.tar.01234567.partial"):
        (tmp_path / leftover).write_bytes(b"of a killed writer")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for stream in (source(tmp_path), source(tmp_path) | shuffle(3), source(tmp_path / "other", (3, 3)) | take(8)):
        with pytest.raises(PositionError):
            stream | write_to(out, resume=True, maxcount=4)
    with pytest.raises(SourceError):
        iter(samples(3)) | wds.identity | write_to(out, resume=True)
    with pytest.raises(SourceError):
        iter(samples(3)) | wds.identity | write_to(tmp_path / "once-%d.tar", resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_what_lies_there_must_agree_with_the_record(tmp_path: Path) -> None:
    out = tmp_path / "out-%d.tar"
    stream = source(tmp_path) | take(9)
    end = write_to(out, resume=True, maxcount=4)
    stream | end
    first, last = tmp_path / "out-0.tar", tmp_path / "out-2.tar"
    whole = {path: path.read_bytes() for path in (first, last)}
    for path in (first, last):
        path.unlink()
        with pytest.raises(WriteError, match="is gone") as caught:
            stream | end
        assert caught.value.url == str(path)
        path.write_bytes(whole[path])
    last.write_bytes(whole[last][:-512])
    with pytest.raises(WriteError, match="has 9728 now"):
        stream | end
    last.write_bytes(whole[last])
    (tmp_path / "out-4.tar").write_bytes(b"another's")
    with pytest.raises(WriteError, match="tells of none behind number 3"):
        stream | end
    (tmp_path / "out-4.tar").unlink()
    record = tmp_path / ".out-0.tar.progress.json"
    for text in ("", "[]", "{}", '{"streamwds": 7}', '{"streamwds": 1, "x": 2}'):
        record.write_text(text)
        with pytest.raises(WriteError, match="can't be read"):
            stream | end
    record.unlink()
    with pytest.raises(WriteError, match="no record tells"):
        stream | end


def test_a_stream_that_a_handler_ended_has_ended(tmp_path: Path) -> None:
    given = [*samples(5), {"__key__": "a.b", "cls": 1}, *samples(3, 5)]
    end = write_to(tmp_path / "%d.tar", resume=True, maxcount=3, handler=wds.ignore_and_stop)
    for _ in range(3):
        assert given | end == Written(shards=2, samples=5, bytes=5 * 2048 - 512)
    assert shards(tmp_path) == {"0.tar": [0, 1, 2], "1.tar": [3, 4]}


def test_shards_that_post_moves_are_written_once(tmp_path: Path) -> None:
    """Also where the first call of post fails: what it was called for is written, and it is called, again."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    calls: list[str] = []

    def move(name: str) -> None:
        calls.append(os.path.basename(name))
        if len(calls) == 2:
            raise OSError("no network")
        os.replace(name, elsewhere / os.path.basename(name))

    end = write_to(tmp_path / "out-%d.tar", resume=True, maxcount=6, post=move)
    with pytest.raises(OSError, match="no network"):
        source(tmp_path) | end
    assert (source(tmp_path) | end).samples == 16
    assert calls == ["out-0.tar", "out-1.tar", "out-1.tar", "out-2.tar"]
    assert [n for numbers in shards(elsewhere).values() for n in numbers] == list(range(16))
    assert (source(tmp_path) | end).samples == 16
    assert len(calls) == 4


def test_counts_of_skipped_samples_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"__key__": "a.b", "cls": 1}
    given = [bad, *samples(4), bad, bad, *samples(4, 4), bad]
    end = write_to(tmp_path / "%d.tar", resume=True, maxcount=3, handler=wds.ignore_and_continue)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        with stopped_after(9) as passes:
            monkeypatch.setitem(globals(), "BEHAVIOUR", [passes])
            with pytest.raises(KeyboardInterrupt):
                given | map(stop) | end
        monkeypatch.undo()
        for _ in range(3):
            assert given | map(stop) | end == Written(shards=3, samples=8, bytes=16 * 1024 - 2 * 512, skipped=4)


# ---- disks


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_file_that_may_not_grow(tmp_path: Path, suffix: str) -> None:
    """The disk's end in the middle of a write, which then takes fewer bytes than it was given."""
    given = [{"__key__": str(n), "bin": random.Random(n).randbytes(1000)} for n in range(200)]
    for limit in (0, 1, 70_000, 100_001):
        with files_of_at_most(limit), pytest.raises(WriteError, match="File too large"):
            given | write_to(f"{tmp_path}/%d.tar{suffix}")
        assert names(tmp_path) == []


def test_a_full_device() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        writer = wds.TarWriter(full)
        writer.write(samples(1)[0])
        with pytest.raises(WriteError, match="No space left"):
            writer.close()


@pytest.mark.parametrize("resume", [False, True])
def test_folders_that_can_not_be_there(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder, said in (("file", "Not a directory"), ("a\0b", "null byte")):
        with pytest.raises(WriteError, match=said):
            samples(3) | wds.identity | write_to(f"{tmp_path}/{folder}/%d.tar", resume=resume)


def test_a_record_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No such file"):
        samples(3) | wds.identity | write_to(tmp_path / "no" / "%d.tar", resume=True)


# ---- killed

SERVER = """
import builtins, os, signal, sys
from streamwds import map, shuffle, tarsamples, urls, write_to

def slow(sample):
    for _ in range(200):
        pass
    return sample

def killed_at(step):
    '''Kill this process before or after one of its calls that change the folder: the step-th.'''
    count = 0
    for owner, name in ((os, "replace"), (os, "unlink"), (builtins, "open")):
        real = getattr(owner, name)
        def called(*args, real=real, **options):
            nonlocal count
            for moment in (0, 1):
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                if moment == 0:
                    result = real(*args, **options)
            return result
        setattr(owner, name, called)

while line := sys.stdin.readline():
    pattern, out, step = line.split()
    child = os.fork()
    if child == 0:
        if int(step) >= 0:
            killed_at(int(step))
        stream = urls(pattern) | tarsamples | map(slow) | shuffle(10)
        stream | write_to(out, resume=True, maxcount=7)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # (until then the child stays, if only as a zombie, and can be killed)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def server() -> Iterator[Callable[..., int]]:
    """A process that forks writers, so that each starts at once: (pattern, out, step, seconds) -> exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout

        def run(pattern: str, out: str, *, step: int = -1, seconds: float | None = None) -> int:
            asks.write(f"{pattern} {out} {step}\n")
            asks.flush()
            child = int(answers.readline())
            if seconds is not None:
                time.sleep(seconds)
                os.kill(child, signal.SIGKILL)
            asks.write("\n")
            asks.flush()
            return int(answers.readline())

        yield run
        asks.close()


def check_complete(folder: Path) -> list[int]:
    """Each shard is complete, and all but the last are full; the keys in all of them."""
    found = shards(folder)
    assert list(found) == [f"out-{n:03d}.tar" for n in range(len(found))]
    assert all(len(numbers) == 7 for numbers in list(found.values())[:-1])
    return [n for numbers in found.values() for n in numbers]


def check_once(folder: Path, count: int, told: str) -> None:
    keys = check_complete(folder)
    assert sorted(keys) == list(range(count)), (told, Counter(keys).most_common(3))
    assert [name for name in names(folder) if name.startswith(".")] == [".out-000.tar.progress.json"], told


def test_a_job_that_is_killed_again_and_again_writes_each_sample_once(tmp_path: Path) -> None:
    source(tmp_path / "in", (40, 30, 9, 30, 50))
    pattern = f"{tmp_path}/in/in-{{0..4}}.tar"
    kills = 0
    wanted = 50 if DEEP else 6
    with server() as run:
        seed = 0
        while kills < wanted:
            chance = random.Random(seed)
            folder = tmp_path / f"{seed}"
            folder.mkdir()
            for _ in range(200):
                code = run(pattern, f"{folder}/out-%03d.tar", seconds=chance.uniform(0, 0.06))
                check_complete(folder)
                if code == 0:
                    break
                assert code == -signal.SIGKILL, f"seed {seed}"
                kills += 1
            else:
                assert run(pattern, f"{folder}/out-%03d.tar") == 0, f"seed {seed}"
            check_once(folder, 159, f"seed {seed}")
            seed += 1


def test_a_job_that_is_killed_at_any_step_goes_on(tmp_path: Path) -> None:
    """Right before and right after every call that changes what lies in the folder."""
    source(tmp_path / "in", (9, 11))
    pattern = f"{tmp_path}/in/in-{{0..1}}.tar"
    with server() as run:
        for step in range(0, 200, 1 if DEEP else 5):
            folder = tmp_path / f"{step}"
            folder.mkdir()
            out = f"{folder}/out-%03d.tar"
            code = run(pattern, out, step=step)
            check_complete(folder)
            again = run(pattern, out, step=step % 5) if step % 2 else 0
            assert {code, again} <= {0, -signal.SIGKILL}, f"step {step}"
            assert run(pattern, out) == 0, f"step {step}"
            check_once(folder, 20, f"step {step}")
            if code == 0:
                break
        assert 20 < step < 199
