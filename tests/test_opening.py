"""From a name to bytes: which names are opened, from where on, and what is said of those that aren't."""

from __future__ import annotations

import io
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from streamwds import Shard, ignore_and_continue, ignore_and_stop, open_shards, tarsamples, urls
from streamwds.errors import OpenError, SkippedWarning
from streamwds.shards.opening import open_url
from streamwds.testing import check_resume
from tests.archives import archive

CONTENT = bytes(range(256)) * 10


def content(url: str, offset: int = 0) -> bytes:
    with open_url(url, offset) as file:
        return file.read()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a b%20c.tar"
    path.write_bytes(CONTENT)
    return path


# ---- names that are opened


@pytest.mark.parametrize(
    "url",
    [
        lambda path: str(path),
        lambda path: os.path.relpath(path),
        lambda path: f"file:{path}",
        lambda path: f"file:{os.path.relpath(path)}",
        lambda path: path.as_uri(),
        lambda path: path.as_uri().replace("file:", "FILE:"),
        lambda path: path.as_uri().replace("file://", "file://localhost"),
    ],
)
def test_paths_and_file_urls(path: Path, url: Callable[[Path], str]) -> None:
    if url(path).startswith("file:/") and not url(path).startswith("file://"):
        path.rename(path.with_name("a b c.tar"))  # (in a URL, %20 is a space)
    assert content(url(path)) == CONTENT


@pytest.mark.parametrize(
    "name", ["a.tar", "ä 中.tar", "#1?.tar", "a&b=c.tar", "[x].tar", "{y}.tar", "\udcff.tar", "-", "~"]
)
def test_odd_paths_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    assert content(str(tmp_path / name)) == CONTENT


def test_a_colon_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b.tar").write_bytes(CONTENT)
    assert content("./a:b.tar") == content(str(tmp_path / "a:b.tar")) == CONTENT


def test_links_are_followed(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link.tar").symlink_to(path)
    assert content(str(tmp_path / "link.tar")) == CONTENT


@pytest.mark.parametrize("offset", [0, 1, 512, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 2**40])
def test_offsets(path: Path, offset: int) -> None:
    assert content(str(path), offset) == CONTENT[offset:]
    with Shard(str(path)).open(offset) as file:
        assert file.read() == CONTENT[offset:]


def test_files_are_opened_without_a_buffer(path: Path) -> None:
    with open_url(str(path)) as file:
        assert isinstance(file, io.RawIOBase)


# ---- names that are not


@pytest.mark.parametrize(
    "url",
    [
        "pipe:cat a.tar",
        "PIPE:touch run",
        "pipe: touch run",
        "data:,x",
        "foo:a.tar",
    ],
)
def test_urls_that_are_refused_and_never_run(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with pytest.raises(OpenError) as caught:
        open_url(url)
    assert caught.value.url == url
    assert url.partition(":")[0].lower() in caught.value.message.lower()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("offset", [0, 512])
@pytest.mark.parametrize(
    ("name", "message", "cause"),
    [
        ("missing.tar", "no such file", FileNotFoundError),
        ("missing/a.tar", "no such file", FileNotFoundError),
        (".", "directory", IsADirectoryError),
        ("a\0b.tar", "null", ValueError),
        ("\ud800.tar", "surrogates", ValueError),
        ("n" * 5000, "too long", OSError),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, offset: int, name: str, message: str, cause: type[Exception]) -> None:
    url = os.path.join(tmp_path, name)
    with pytest.raises(OpenError) as caught:
        open_url(url, offset)
    assert caught.value.url == url
    assert message in caught.value.message
    assert isinstance(caught.value.__cause__, cause)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpenError) as caught:
        open_url("missing.tar")
    assert str(tmp_path / "missing.tar") in caught.value.message


def test_a_directory_says_what_to_give_instead(tmp_path: Path) -> None:
    with pytest.raises(OpenError, match=r"urls\('.*\*\.tar'\)"):
        open_url(str(tmp_path))


def test_a_socket_is_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OpenError, match="No such device"):
            open_url("socket")


# ---- shards


def test_a_shard_is_a_value() -> None:
    shard = Shard("a.tar")
    assert shard == Shard("a.tar") == pickle.loads(pickle.dumps(shard))
    assert hash(shard) == hash(Shard("a.tar"))
    assert shard != Shard("b.tar")
    with pytest.raises(AttributeError):
        shard.url = "b.tar"  # type: ignore[misc]


def test_a_shard_of_your_own() -> None:
    asked: list[tuple[str, int]] = []

    def opener(url: str, offset: int) -> BinaryIO:
        asked.append((url, offset))
        return io.BytesIO(CONTENT[offset:])

    assert Shard("memory", opener).open(100).read() == CONTENT[100:]
    assert Shard("memory", opener).open().read() == CONTENT
    assert asked == [("memory", 100), ("memory", 0)]


# ---- open_shards


def test_urls_and_paths_become_shards_and_shards_pass(path: Path) -> None:
    opened = list(Things([str(path), path, Shard("x", io.open)]) | open_shards)  # type: ignore[arg-type]
    assert opened == [Shard(str(path)), Shard(str(path)), Shard("x", io.open)]  # type: ignore[arg-type]


class Things:
    def __init__(self, things: list[Any]) -> None:
        self.things = things

    def __iter__(self) -> Iterator[Any]:
        return iter(self.things)


def test_nothing_is_opened_before_it_is_read() -> None:
    assert [shard.url for shard in urls("missing-{0..2}.tar") | open_shards] == [f"missing-{n}.tar" for n in range(3)]


@pytest.mark.parametrize("thing", [1, None, b"a.tar", 2.5, ("a.tar",), {"url": "a.tar"}, object()])
def test_what_names_no_shard(thing: object) -> None:
    stream = Things(["a.tar", thing, "b.tar"]) | open_shards
    with pytest.raises(OpenError, match="is named by a str"):
        list(stream)
    going_on = Things(["a.tar", thing, "b.tar"]) | open_shards(handler=ignore_and_continue)
    with pytest.warns(SkippedWarning, match="is named by a str"):
        assert [shard.url for shard in going_on] == ["a.tar", "b.tar"]
    assert going_on.skipped == {"OpenError": 1}
    assert [shard.url for shard in Things(["a.tar", thing]) | open_shards(handler=ignore_and_stop)] == ["a.tar"]


def test_a_path_of_bytes_names_no_shard() -> None:
    class Odd:
        def __fspath__(self) -> bytes:
            return b"a.tar"

    with pytest.raises(OpenError, match="is named by a str"):
        list(Things([Odd()]) | open_shards)


def test_opening_resumes(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.tar").write_bytes(archive([(b"%d.x" % n, b""), (b"%d.y" % (n + 10), b"")]))
    assert check_resume(urls(str(tmp_path / "*.tar")) | open_shards) == 3
    assert check_resume(urls(str(tmp_path / "{0..2}.tar")) | tarsamples) == 6


def test_a_shard_that_appears_later_is_found(tmp_path: Path) -> None:
    stream = urls(tmp_path / "late.tar") | tarsamples
    with pytest.raises(OpenError):
        list(stream)
    (tmp_path / "late.tar").write_bytes(archive([(b"1.x", b"")]))
    assert [sample["__key__"] for sample in stream] == ["1"]
