"""ShardWriter: many shards, each whole or not there, and numbers that go on."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamwds import ShardWriter, TarWriter, tarsamples
from streamwds.errors import EncodeError, WriteError


def sample(n: int, size: int = 10) -> dict[str, Any]:
    return {"__key__": f"{n:04d}", "bin": b"x" * size, "cls": b"%d" % n}


def keys(path: Path | str) -> list[int]:
    return [int(found["__key__"]) for found in [str(path)] | tarsamples]


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def write(pattern: Any, numbers: range, **options: Any) -> ShardWriter:
    with ShardWriter(pattern, mtime=0, **options) as writer:
        for n in numbers:
            writer.write(sample(n))
    return writer


# ---- which samples come into which shard


@pytest.mark.parametrize(
    "pattern", ["a-%03d.tar", "a-{:03d}.tar", "a-{:03}.tar", lambda folder, n: f"{folder}/a-{n:03d}.tar"]
)
def test_shards_are_full_by_count(tmp_path: Path, pattern: Any) -> None:
    name: Any = (lambda n: pattern(tmp_path, n)) if callable(pattern) else tmp_path / pattern
    writer = write(name, range(7), maxcount=3)
    assert names(tmp_path) == ["a-000.tar", "a-001.tar", "a-002.tar"]
    assert [keys(tmp_path / name) for name in names(tmp_path)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert (writer.shard, writer.shards, writer.samples, writer.bytes) == (3, 3, 7, 7 * 2048)


def test_shards_are_full_by_size(tmp_path: Path) -> None:
    with ShardWriter(f"{tmp_path}/%d.tar", maxsize=3_000) as writer:
        sizes = [writer.write(sample(n, size)) for n, size in enumerate([10, 10, 10, 9000, 0])]
    assert sizes == [2048, 2048, 2048, 512 + 9216 + 1024, 1536]
    assert [keys(tmp_path / f"{n}.tar") for n in range(3)] == [[0, 1], [2, 3], [4]]


def test_a_shard_is_what_a_tar_writer_writes(tmp_path: Path) -> None:
    write(f"{tmp_path}/%d.tar.gz", range(4), maxcount=2, user="me", mode=0o600, keep_meta=True)
    with TarWriter(tmp_path / "same.tar.gz", user="me", mode=0o600, keep_meta=True, mtime=0) as writer:
        writer.write(sample(2))
        writer.write(sample(3))
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "same.tar.gz").read_bytes()


def test_a_full_shard_appears_at_once(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "%d.tar", maxcount=2) as writer:
        for n in range(5):
            writer.write(sample(n))
            assert len([name for name in names(tmp_path) if name[0] != "."]) == (n + 1) // 2
            assert (writer.shard, writer.count, writer.size) == ((n + 1) // 2, (n + 1) % 2, (n + 1) % 2 * 2048)


def test_next_stream_and_finish_end_a_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "%d.tar", start_shard=5) as writer:
        writer.write(sample(0))
        writer.next_stream()
        writer.next_stream()
        writer.write(sample(1))
        writer.finish()
        writer.finish()
        writer.dwrite("0002", txt="x")
    assert [keys(tmp_path / f"{n}.tar") for n in (5, 6, 7)] == [[0], [1], [2]]
    assert len(names(tmp_path)) == 3


def test_without_samples_there_are_no_shards(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "%d.tar") as writer:
        pass
    with ShardWriter(tmp_path / "%d.tar") as writer:
        writer.next_stream()
    assert names(tmp_path) == []
    assert writer.shards == 0


def test_keys_must_differ_within_a_shard_only(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "%d.tar", maxcount=2) as writer:
        writer.write(sample(1))
        with pytest.raises(WriteError, match="already"):
            writer.write(sample(1))
        writer.write(sample(2))
        writer.write(sample(1))
    assert [keys(tmp_path / f"{n}.tar") for n in (0, 1)] == [[1, 2], [1]]


# ---- names


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("100%-{:02d}.tar", "100%-07.tar"),
        ("a{b}-%d.tar", "a{b}-7.tar"),
        ("%d", "7"),
        ("{}", "7"),
        ("a-%20b-%04d.tar", "a-%20b-0007.tar"),
        ("shards-{:02d}/a.tar", "shards-07/a.tar"),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / pattern, range(1), start_shard=7)
    assert keys(tmp_path / name) == [0]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a.tar", "needs a place"),
        ("", "needs a place"),
        ("a-%s.tar", "needs a place"),
        ("%d-%06d.tar", "only one place"),
        ("%d-{}.tar", "only one place"),
        ("{rank}-%d.tar", "rank"),
        (3, "expected str"),
        (b"%d.tar", "a pattern is a str"),
    ],
)
def test_wrong_patterns(pattern: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ShardWriter(pattern)


def test_a_function_that_repeats_a_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="name of one before"):
        write(lambda n: str(tmp_path / f"{n % 2}.tar"), range(9), maxcount=3)
    assert [keys(tmp_path / f"{n}.tar") for n in (0, 1)] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "options",
    [
        {"maxcount": 0},
        {"maxcount": 1.5},
        {"maxcount": True},
        {"maxsize": 0},
        {"maxsize": float("nan")},
        {"start_shard": -1},
        {"post": "print"},
        {"user": "u" * 40},
        {"compress": "rar"},
        {"colour": "red"},
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ShardWriter(tmp_path / "%d.tar", **options)
    assert names(tmp_path) == []


# ---- post


def test_post_is_called_with_each_shard_once_it_is_there(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    write(f"{tmp_path}/%d.tar", range(5), maxcount=2, post=lambda name: seen.append((name, len(keys(name)))))
    assert seen == [(f"{tmp_path}/0.tar", 2), (f"{tmp_path}/1.tar", 2), (f"{tmp_path}/2.tar", 1)]


def test_a_post_that_raises_ends_it_and_the_shard_stays(tmp_path: Path) -> None:
    def post(name: str) -> None:
        raise KeyError(name)

    with pytest.raises(KeyError), ShardWriter(tmp_path / "%d.tar", maxcount=2, post=post) as writer:  # noqa: PT012
        for n in range(5):
            writer.write(sample(n))
    assert names(tmp_path) == ["0.tar"]
    assert (writer.shards, writer.samples, writer.failed) == (1, 2, True)


# ---- errors


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_only_what_was_complete(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), ShardWriter(tmp_path / "%d.tar", maxcount=3) as writer:  # noqa: PT012
        for n in range(5):
            writer.write(sample(n))
        raise error
    assert names(tmp_path) == ["0.tar"]
    assert keys(tmp_path / "0.tar") == [0, 1, 2]
    with pytest.raises(WriteError, match="closed"):
        writer.write(sample(9))


def test_a_sample_that_is_refused_is_no_failure(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "%d.tar", maxcount=2, encoder=False) as writer:
        wrong: list[Any] = [
            {"__key__": "1", "txt": 7},
            {"txt": b""},
            {"__key__": "a.b", "x": b""},
            [1],
            None,
            "a.tar",
            b"",
        ]
        for one in wrong:
            with pytest.raises((WriteError, EncodeError)):
                writer.write(one)
            assert not writer.failed
        writer.write(sample(0))
    assert keys(tmp_path / "0.tar") == [0]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "no" / "%d.tar") as writer:
        with pytest.raises(WriteError, match="No such file") as caught:
            writer.write(sample(0))
        assert writer.failed
        assert caught.value.url == str(tmp_path / "no" / "0.tar")
        (tmp_path / "no").mkdir()
        writer.write(sample(0))
    assert keys(tmp_path / "no" / "0.tar") == [0]


def test_a_shard_that_cannot_be_published_ends_it(tmp_path: Path) -> None:
    (tmp_path / "1.tar").mkdir()
    with pytest.raises(WriteError, match="directory"), ShardWriter(tmp_path / "%d.tar", maxcount=2) as writer:  # noqa: PT012
        for n in range(5):
            writer.write(sample(n))
    assert names(tmp_path) == ["0.tar", "1.tar"]
    assert (writer.shards, writer.samples, writer.closed) == (1, 2, True)


# ---- going on


def test_older_shards_are_replaced(tmp_path: Path) -> None:
    write(tmp_path / "%d.tar", range(6), maxcount=2)
    write(tmp_path / "%d.tar", range(10, 13), maxcount=2)
    assert [keys(tmp_path / f"{n}.tar") for n in range(3)] == [[10, 11], [12], [4, 5]]


@pytest.mark.parametrize("pattern", ["%d.tar", lambda folder: lambda n: f"{folder}/{n}.tar"])
def test_resume_goes_on_behind_the_last_shard(tmp_path: Path, pattern: Any) -> None:
    name: Callable[[], Any] = (lambda: pattern(tmp_path)) if callable(pattern) else lambda: tmp_path / pattern
    write(name(), range(6), maxcount=2, resume=True)
    writer = write(name(), range(10, 13), maxcount=2, resume=True)
    assert [keys(tmp_path / f"{n}.tar") for n in range(5)] == [[0, 1], [2, 3], [4, 5], [10, 11], [12]]
    assert (writer.shard, writer.shards) == (5, 2)


def test_resume_never_replaces_a_shard(tmp_path: Path) -> None:
    write(tmp_path / "%d.tar", range(2), start_shard=2)
    write(tmp_path / "%d.tar", range(10, 16), maxcount=2, start_shard=1, resume=True)
    assert [keys(tmp_path / f"{n}.tar") for n in range(1, 5)] == [[10, 11], [0, 1], [12, 13], [14, 15]]


def test_resume_removes_what_a_killed_writer_left_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "%d.tar", range(2))
    kept = [".1.tar.0123abcd.partially", ".10.tar.0123abcd.partial", ".1.tar.xyz.partial", ".01.tar.0123abcd.partial"]
    for name in (".1.tar.0123abcd.partial", ".1.tar.99999999.partial", *kept):
        (tmp_path / name).write_bytes(b"half a shard")
    ShardWriter(tmp_path / "%d.tar").close()
    assert len(names(tmp_path)) == 7
    ShardWriter(tmp_path / "%d.tar", resume=True).close()
    assert names(tmp_path) == sorted(["0.tar", *kept])


def test_shards_are_read_by_stdlib(tmp_path: Path) -> None:
    write(tmp_path / "%d.tar.xz", range(3), maxcount=2)
    with tarfile.open(tmp_path / "0.tar.xz") as tar:
        assert tar.getnames() == ["0000.bin", "0000.cls", "0001.bin", "0001.cls"]
