"""Opening by scheme: what each gives, what it refuses, and what is left behind; options as values; writing."""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from streamwds import Gopen, Shard, gopen, gopen_schemes, ignore_and_continue, open_shards, tarfiles, tarsamples, urls
from streamwds.errors import ChangedError, OpenError, StreamwdsError, UnreachableError, WriteError
from streamwds.redacted import redacted
from streamwds.shards.gopen import Scheme, open_for_writing
from streamwds.shards.local import scheme_of
from streamwds.testing import check_resume
from tests.archives import archive
from tests.processes import files_of_at_most
from tests.servers import s3

DATA = archive([(b"%03d.bin" % n, bytes([n]) * (100 * n)) for n in range(50)])
PIPES = Gopen(allow_pipe=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    return path


@pytest.fixture(scope="module")
def store() -> Iterator[Mapping[str, Any]]:
    with s3("bucket") as options:
        yield options
        fsspec.get_filesystem_class("s3").clear_instance_cache()


# ---- which scheme


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("-", "-"),
        ("a.tar", ""),
        ("./pipe:x", ""),
        ("/a/b:c.tar", ""),
        ("C:\\a.tar", ""),
        ("12:30.tar", ""),
        ("a-b:c.tar", ""),
        ("file:a.tar", "file"),
        ("FILE:///a.tar", "file"),
        ("Pipe:ls", "pipe"),
        ("git+ssh://host/a", "git+ssh"),
        ("simplecache::s3://bucket/a", "simplecache"),
    ],
)
def test_the_scheme_of_a_url(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


def test_a_table_of_your_own(path: Path) -> None:
    asked: list[tuple[str, int, Gopen]] = []

    def open_ais(url: str, offset: int, options: Gopen) -> BinaryIO:
        asked.append((url, offset, options))
        return io.BytesIO(DATA[offset:])

    opener = Gopen(timeout=7, schemes={**gopen_schemes, "ais": open_ais})
    assert len(list(["ais://bucket/a.tar", str(path)] | tarsamples(opener=opener))) == 100
    assert len(list(iter([Shard("ais:a.tar", opener)]) | tarfiles)) == 50
    assert asked == [("ais://bucket/a.tar", 0, opener), ("ais:a.tar", 0, opener)]
    assert not opener.jumps("ais:a.tar")
    assert Gopen(schemes={"ais": Scheme(open_ais, jumps=True)}).jumps("ais:a.tar")
    with pytest.raises(OpenError, match="URLs can't be opened"):
        Gopen(schemes={"ais": open_ais})("http://127.0.0.1/a.tar")
    with pytest.raises(WriteError, match="ais: URLs can't be written"):
        opener.create("ais:a.tar")


def test_the_table_can_not_be_changed() -> None:
    with pytest.raises(TypeError):
        gopen_schemes["ais"] = gopen_schemes[""]  # type: ignore[index]
    assert set(gopen_schemes) == {"", "-", "file", "pipe", "http", "https", "*"}


# ---- options are values


@pytest.mark.parametrize(
    "opener",
    [
        Gopen(),
        Gopen(timeout=5, retries=0, patience=1.5, allow_pipe=True, skip_unreachable=True),
        Gopen(storage_options={"anon": True, "retries": 3}),
    ],
)
def test_an_opener_is_a_value(opener: Gopen) -> None:
    assert eval(repr(opener)) == opener
    assert pickle.loads(pickle.dumps(opener)) == opener
    assert hash(pickle.loads(pickle.dumps(opener))) == hash(opener)
    stage = tarsamples(opener=opener, prefetch=2)
    assert pickle.loads(pickle.dumps(stage)) == stage
    assert eval(repr(stage)) == stage


def test_no_secrets_in_the_repr() -> None:
    options = {"key": "s3cret", "anon": False, "client_kwargs": {"aws_secret": "s3cret", "n": 3}}
    opener = Gopen(headers={"Authorization": "s3cret"}, storage_options=options)
    stored = "{'anon': False, 'client_kwargs': {'aws_secret': ..., 'n': 3}, 'key': ...}"
    assert repr(opener) == f"Gopen(headers={{'Authorization': ...}}, storage_options={stored})"
    assert "s3cret" not in repr(tarsamples(opener=opener)) + repr(Shard("a.tar", opener))
    assert opener != Gopen(headers={"Authorization": "other"}, storage_options=options)


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": None}, {"retries": -1}, {"retries": 1.5}, {"patience": -1}, {"patience": "1"}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Gopen(**options)


def test_an_opener_must_be_callable() -> None:
    with pytest.raises(TypeError, match="an opener is a function"):
        tarsamples(opener=5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="an opener is a function"):
        open_shards(opener="http")  # type: ignore[call-overload]


def test_openers_do_not_change_positions(path: Path) -> None:
    positions = [position for _, position in (urls(path) | tarsamples(opener=Gopen(timeout=3))).tracked()]
    assert len(list((urls(path) | tarsamples(prefetch=3)).at(positions[9]))) == 40


# ---- gopen


def test_gopen_reads_through_a_buffer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gopen(path) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == DATA
    with gopen(path, offset=512, bufsize=0) as file:
        assert isinstance(file, io.RawIOBase)
        assert file.read(10) == DATA[512:522]
    monkeypatch.setenv("GOPEN_BUFFER", "0")
    with gopen(path) as file:
        assert isinstance(file, io.RawIOBase)
    monkeypatch.setenv("GOPEN_BUFFER", "256k")
    with pytest.raises(ValueError, match="GOPEN_BUFFER is a number of bytes, not '256k'"):
        gopen(path)


def test_gopen_tells(path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "streamwds.gopen")
    with fsspec.open("memory://told", "wb") as file:
        file.write(DATA)
    with gopen("memory://told", offset=7):
        assert "memory://told: open at byte 7" in caplog.text


def test_only_two_modes(path: Path) -> None:
    with pytest.raises(ValueError, match='mode is "rb"'):
        gopen(path, "ab")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="at 512"):
        gopen(path, "wb", 512)
    assert path.read_bytes() == DATA


# ---- standard input and output

READ = "from streamwds import *; print(*(s['__key__'] for s in ['-'] | tarsamples))"


def test_standard_input(path: Path) -> None:
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", READ], stdin=file, capture_output=True)
    assert done.stdout.split() == [b"%03d" % n for n in range(50)]
    done = subprocess.run([sys.executable, "-c", READ], input=DATA, capture_output=True)
    assert done.stdout.split() == [b"%03d" % n for n in range(50)]


def test_standard_output(path: Path) -> None:
    code = f"from streamwds import *; f = gopen('-', 'wb'); f.write(open({str(path)!r}, 'rb').read()); f.close()"
    done = subprocess.run([sys.executable, "-c", code + "; print('end')"], capture_output=True)
    assert done.stdout == DATA + b"end\n"


# ---- pipes


def test_a_pipe(path: Path) -> None:
    assert len(list([f"pipe:cat {path}"] | tarsamples(opener=PIPES))) == 50
    with PIPES(f"pipe:cat {path} | cat", 1000) as file:
        assert file.read() == DATA[1000:]
    assert check_resume(urls(f"pipe:cat {path}") | tarsamples(opener=PIPES), places=range(0, 50, 7)) == 8


def test_a_pipe_of_a_shard_that_is_compressed(path: Path) -> None:
    assert check_resume(urls(f"pipe:gzip -c {path}") | tarsamples(opener=PIPES), places=[0, 30, 49]) == 3


def test_pipes_are_refused_unless_allowed(tmp_path: Path) -> None:
    for stage in (tarsamples, tarsamples(opener=Gopen())):
        with pytest.raises(OpenError, match=r"only an opener Gopen\(allow_pipe=True\) does"):
            list([f"pipe:touch {tmp_path}/ran"] | stage)
    with pytest.raises(WriteError, match="allow_pipe"):
        gopen(f"pipe:cat > {tmp_path}/ran", "wb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "said"), [("exit 3", "with status 3"), ("kill -9 $$", "by signal 9")])
def test_a_command_that_fails(path: Path, command: str, said: str) -> None:
    stream = [f"pipe:cat {path}; {command}", str(path)] | tarsamples(opener=PIPES, handler=ignore_and_continue)
    with pytest.warns(UserWarning, match=said):
        assert len(list(stream)) >= 50
    with pytest.raises(OpenError, match=said), PIPES(f"pipe:cat {path}; {command}") as file:
        file.read()


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(OpenError, match="status 127"), PIPES("pipe:no-such-program 2> /dev/null") as file:
        file.read()


def test_stopping_early_is_no_failure(path: Path) -> None:
    before = children()
    with PIPES("pipe:yes") as file:
        assert file.read(4) == b"y\ny\n"
    assert children() <= before


def test_a_command_that_does_not_end_is_ended() -> None:
    before = children()
    sleep = f"sleep {100_000 + os.getpid()}"
    with PIPES(f"pipe:echo; {sleep} & {sleep}") as file:
        assert file.read(1) == b"\n"
    assert children() <= before
    asleep = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()
    assert sleep not in asleep


def children() -> set[int]:
    """Processes of ours that run or wait to be reaped."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(status[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def test_writing_to_a_pipe(tmp_path: Path) -> None:
    before = children()
    with gopen(f"pipe:cat > {tmp_path}/out", "wb", allow_pipe=True) as file:
        file.write(DATA)
    assert (tmp_path / "out").read_bytes() == DATA
    with (
        pytest.raises(WriteError, match="status 5"),
        gopen("pipe:cat > /dev/null; exit 5", "wb", allow_pipe=True) as file,
    ):
        file.write(DATA)
    ending = gopen(f"pipe:cat > /dev/null; touch {tmp_path}/ended", "wb", allow_pipe=True)
    with pytest.raises(ZeroDivisionError), ending as file:
        file.write(DATA[: 1 // 0])
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert children() <= before


# ---- local files


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.tar"
    with gopen(target, "wb") as file:
        file.write(DATA)
        assert not target.exists()
    assert target.read_bytes() == DATA
    with pytest.raises(ZeroDivisionError), gopen(target.as_uri(), "wb") as file:
        file.write(b"other"[: 1 // 0])
    assert target.read_bytes() == DATA
    half = gopen(tmp_path / "half", "wb")
    half.write(DATA)
    del half
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]
    with pytest.raises(WriteError, match="No such file"):
        gopen(tmp_path / "no" / "folder", "wb")


@pytest.mark.parametrize("url", ["{}/a.bin", "memory://buffers/a.bin", "pipe:cat > {}/a.bin"])
def test_what_is_written_may_be_any_buffer(tmp_path: Path, url: str) -> None:
    url, values = url.format(tmp_path), np.arange(12.0).reshape(3, 4)
    with gopen(url, "wb", allow_pipe=True) as file:
        assert file.write(values) == file.write(bytearray(96)) == 96
    with gopen(f"{tmp_path}/a.bin" if url.startswith("pipe") else url) as file:
        assert file.read() == values.tobytes() + bytes(96)


def test_a_file_of_which_a_part_could_not_be_written_does_not_appear(tmp_path: Path) -> None:
    for url, kind in ((f"{tmp_path}/a.tar", OSError), ("memory://full/a.tar", WriteError)):
        file = gopen(url, "wb")
        with files_of_at_most(1000), pytest.raises(kind):  # noqa: PT012
            for _ in range(10):
                file.write(DATA)
        file.close()
        with pytest.raises(OpenError):
            gopen(url)
    assert list(tmp_path.iterdir()) == []


def test_targets_are_published_or_discarded(tmp_path: Path) -> None:
    for end in ("publish", "discard"):
        target = open_for_writing(tmp_path / end)
        assert target.write(memoryview(DATA)) == len(DATA)
        getattr(target, end)()
    assert [entry.name for entry in tmp_path.iterdir()] == ["publish"]


# ---- fsspec


def in_memory(name: str, data: bytes = DATA) -> str:
    with fsspec.open(f"memory://{name}", "wb") as file:
        file.write(data)
    return f"memory://{name}"


def test_what_fsspec_opens() -> None:
    stream = urls(in_memory("a.tar"), in_memory("b.tar")) | tarsamples
    assert check_resume(stream, places=range(0, 100, 9)) == 12
    with Gopen()("memory://a.tar", 1000) as file:
        assert file.read() == DATA[1000:]
    with Gopen()("memory://a.tar", 10**6) as file:
        assert file.read() == b""


def test_what_is_opened_says_how_long_it_is(store: Mapping[str, Any]) -> None:
    opener = Gopen(storage_options=store)
    with opener_writes(opener, "s3://bucket/long.tar") as file:
        file.write(DATA)
    for url in (in_memory("long.tar"), "s3://bucket/long.tar"):
        for offset in (0, 1000):
            raw: Any = opener(url, offset)
            with raw:
                assert raw.size == len(DATA)


def test_remote_names_are_matched() -> None:
    for n in range(3):
        in_memory(f"globbed/a-{n}.tar")
    assert list(urls("memory://globbed/a-*.tar")) == [f"memory://globbed/a-{n}.tar" for n in range(3)]
    assert len(list(urls("memory://globbed/*-[02].tar") | tarsamples)) == 100
    with pytest.raises(StreamwdsError, match="no file matches"):
        urls("memory://globbed/b-*.tar")


class Hosted(MemoryFileSystem):  # type: ignore[misc]
    """A store whose paths are those of a host, which its URLs name."""

    protocol = "hosted"

    def __init__(self, host: str, **options: Any) -> None:
        super().__init__(host=host, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol("/" + path.split("/", 3)[3] if "://" in path else path))

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path.split("/")[2]}


def test_names_that_are_matched_keep_their_host() -> None:
    fsspec.register_implementation("hosted", Hosted, clobber=True)
    for n in range(2):
        in_memory(f"hosted/a-{n}.tar")
    found = urls("hosted://me@there/hosted/a-*.tar")
    assert list(found) == [f"hosted://me@there/hosted/a-{n}.tar" for n in range(2)]
    assert len(list(found | tarsamples)) == 100


def test_what_fsspec_can_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OpenError, match="there is no such object"):
        Gopen()("memory://no/such.tar")
    with pytest.raises(OpenError, match="Protocol not known"):
        Gopen()("nosuch://a.tar")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(OpenError, match=r"pip install 'streamwds\[fsspec\]'"):
        Gopen()("memory://a.tar")
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(OpenError, match=r"pip install 'streamwds\[http\]'"):
        Gopen()("http://127.0.0.1/a.tar")


class Flaky(io.BytesIO):
    """A file of a store that fails now and then; one that ends early; and one that says it is another."""

    def __init__(self, data: bytes, name: str, opened: int) -> None:
        super().__init__(data)
        self.details = {"size": len(DATA), "ETag": f"{opened}" if name == "changes" else "same"}
        self.name, self.opened = name, opened

    def read(self, size: int | None = -1, /) -> bytes:
        if self.name == "short" and self.tell() >= 3000:
            return b""
        if self.name in ("fails", "changes") and self.opened == 0 and self.tell() >= 3000:
            raise OSError("the store is out")
        return super().read(1000)


class FlakyStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
    protocol = "flaky"
    opened = 0

    def _open(self, path: str, *args: Any, **options: Any) -> Any:
        type(self).opened += 1
        return Flaky(DATA, path.rpartition("/")[2], type(self).opened - 1)


def test_stores_that_fail() -> None:
    fsspec.register_implementation("flaky", FlakyStore, clobber=True)
    quick = Gopen(retries=2, patience=0.001)
    FlakyStore.opened = 0
    with quick("flaky://fails") as file:
        assert file.read() == DATA
    assert FlakyStore.opened == 2
    FlakyStore.opened = 0
    with quick("flaky://changes") as file, pytest.raises(ChangedError, match="etag 0, and has etag 1"):
        file.read()
    with quick("flaky://short") as file, pytest.raises(UnreachableError, match=f"ended at byte 3000 of {len(DATA)}"):
        file.read()


def test_an_s3_store(store: Mapping[str, Any]) -> None:
    opener = Gopen(storage_options=store, retries=2, patience=0.01)
    for n in range(3):
        with opener_writes(opener, f"s3://bucket/some/a-{n}.tar") as file:
            file.write(DATA)
    stream = urls("s3://bucket/some/a-*.tar", opener=opener) | tarsamples(opener=opener)
    assert len(list(stream)) == 150
    assert check_resume(stream, places=range(0, 150, 40)) == 4
    ahead = urls("s3://bucket/some/a-{0..2}.tar") | tarsamples(opener=opener, prefetch=2)
    assert [sample["bin"] for sample in ahead] == [sample["bin"] for sample in stream]
    with pytest.raises(OpenError, match="there is no such object"):
        opener("s3://bucket/some/b.tar")
    with pytest.raises(ZeroDivisionError), opener_writes(opener, "s3://bucket/half.tar") as file:
        file.write(DATA[: 1 // 0])
    with pytest.raises(OpenError):
        opener("s3://bucket/half.tar")
    assert "hush-hush" not in repr(stream)


def opener_writes(opener: Gopen, url: str) -> Any:
    return gopen(url, "wb", storage_options=opener.storage_options, retries=opener.retries, patience=opener.patience)


def test_an_object_of_an_s3_store_that_changes(store: Mapping[str, Any]) -> None:
    opener = Gopen(storage_options=store, retries=1, patience=0.01)
    size = 20 << 20  # (more than is asked for at a time)
    with opener_writes(opener, "s3://bucket/changes") as file:
        file.write(bytes(size))
    got: list[bytes] = []
    with opener("s3://bucket/changes") as reading:
        got.append(reading.read(1 << 20))
        with opener_writes(opener, "s3://bucket/changes") as file:
            file.write(b"\1" * size)
        with pytest.raises(ChangedError):
            got.extend(iter(lambda: reading.read(1 << 20), b""))
    assert 0 < sum(map(len, got)) < size
    assert not any(piece.strip(b"\0") for piece in got)


# ---- what may be shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("a.tar", "a.tar"),
        ("what?a=b.tar", "what?a=b.tar"),
        ("http://host/a.tar", "http://host/a.tar"),
        ("http://me@host/a.tar", "http://…@host/a.tar"),
        ("http://me:p@ss@host/a@b.tar", "http://…@host/a@b.tar"),
        ("https://host/a.tar?sig", "https://host/a.tar?…"),
        ("https://host/a.tar?sig=x&n=1#y", "https://host/a.tar?sig=…&n=…#…"),
        ("pipe:curl -s http://me:word@host/a?b=c", "pipe:curl -s http://…@host/a?b=…"),
        ("PIPE:curl -u me:word h", "PIPE:curl -u … h"),
        ("pipe:curl -u me:word -H 'Authorization: Bearer x' h", "pipe:curl -u … -H 'Authorization: …' h"),
        ("pipe:AWS_SECRET_ACCESS_KEY=x aws s3 cp a -", "pipe:AWS_SECRET_ACCESS_KEY=… aws s3 cp a -"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert str(OpenError("no", url=url)) == f"{shown}: no"


def test_a_raw_file_is_unbuffered(path: Path) -> None:
    raw = cast("Any", Gopen()(str(path)))
    with raw:
        assert type(raw) is io.FileIO
