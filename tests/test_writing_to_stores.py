"""Shards written to URLs: there when they are complete, or not at all; and jobs that go on where they were killed."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest

from streamwds import (
    Gopen,
    ShardWriter,
    TarWriter,
    Written,
    decode,
    ignore_and_continue,
    map,
    tarsamples,
    tee,
    urls,
    write_to,
)
from streamwds.errors import WriteError
from tests.faults import Fault, Faults
from tests.processes import files_of_at_most
from tests.servers import s3

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
PIPES = Gopen(allow_pipe=True)
QUICK = Gopen(retries=2, patience=0.001)

Sample = dict[str, Any]


def samples(count: int, start: int = 0) -> list[Sample]:
    return [{"__key__": f"{n:04d}", "cls": n, "bin": bytes([n % 256]) * 3000} for n in range(start, start + count)]


def passed(sample: Sample) -> Sample:
    return sample


class Store:
    """An empty folder of a store, and how it is opened."""

    def __init__(self, url: str, opener: Gopen) -> None:
        self.url = url
        self.opener = opener
        self.filesystem, self.path = fsspec.url_to_fs(url, **self.options())

    def options(self) -> dict[str, Any]:
        given = self.opener.storage_options
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in given.items()}

    def names(self) -> list[str]:
        self.filesystem.invalidate_cache()
        return sorted(os.path.basename(path) for path in self.filesystem.find(self.path))

    def keys(self) -> dict[str, list[int]]:
        shards = [name for name in self.names() if not name.startswith(".")]
        read = tarsamples(opener=self.opener)
        return {name: [int(found["__key__"]) for found in [f"{self.url}/{name}"] | read] for name in shards}

    def record(self) -> list[str]:
        return [name for name in self.names() if name.startswith(".")]

    def remove(self) -> None:
        for path in self.filesystem.find(self.path):
            self.filesystem.rm_file(path)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Mapping[str, Any]]:
    with s3("bucket") as options:
        yield options
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, bucket: Mapping[str, Any]) -> Iterator[Store]:
    if request.param == "memory":
        found = Store("memory://bucket/out", Gopen())
    else:
        found = Store("s3://bucket/out", Gopen(storage_options=bucket, retries=1, patience=0.01))
    found.remove()
    yield found
    found.remove()


# ---- one shard


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_shard_appears_when_it_is_complete(store: Store, name: str) -> None:
    given = samples(1000)
    with TarWriter(f"{store.url}/{name}", opener=store.opener, mtime=0) as writer:
        for sample in given:
            writer.write(sample)
        assert store.names() == []
    assert store.names() == [name]
    with store.filesystem.open(f"{store.path}/{name}") as file, tarfile.open(fileobj=file) as tar:
        assert len(tar.getnames()) == 2000
    read = urls(f"{store.url}/{name}") | tarsamples(opener=store.opener) | decode()
    assert [{**sample, "__url__": None} for sample in read] == [{**sample, "__url__": None} for sample in given]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_an_error_nothing_is_there(store: Store, error: type[BaseException]) -> None:
    with pytest.raises(error), TarWriter(f"{store.url}/a.tar", opener=store.opener) as writer:  # noqa: PT012
        for sample in samples(1000):
            writer.write(sample)
        raise error
    assert store.names() == []


def test_an_older_shard_stays_until_the_new_one_is_complete(store: Store) -> None:
    for count in (3, 5):
        with TarWriter(f"{store.url}/a.tar", opener=store.opener) as writer:
            for sample in samples(count):
                writer.write(sample)
            assert store.names() == (["a.tar"] if count == 5 else [])
    assert store.keys() == {"a.tar": [0, 1, 2, 3, 4]}


def test_what_writes_to_urls_is_a_gopen() -> None:
    wrong: Any = open
    for make in (TarWriter, lambda url, **options: ShardWriter(f"{url}%d", **options)):
        with pytest.raises(TypeError, match="what writes to URLs is a Gopen"):
            make("memory://a.tar", opener=wrong)


# ---- many shards


def test_shards_are_written_to_a_store(store: Store) -> None:
    seen: list[str] = []
    with ShardWriter(f"{store.url}/a-%03d.tar", maxcount=3, post=seen.append, opener=store.opener) as writer:
        for sample in samples(7):
            writer.write(sample)
    assert store.keys() == {"a-000.tar": [0, 1, 2], "a-001.tar": [3, 4, 5], "a-002.tar": [6]}
    assert seen == [f"{store.url}/a-{n:03d}.tar" for n in range(3)]
    with ShardWriter(f"{store.url}/a-%03d.tar", resume=True, opener=store.opener) as writer:
        writer.write(samples(1, 7)[0])
    assert store.keys()["a-003.tar"] == [7]


def test_streams_are_written_to_a_store(store: Store) -> None:
    stream = samples(7) | tee(f"{store.url}/t-{{rank}}-%d.tar", maxcount=4, opener=store.opener)
    written = stream | write_to(f"{store.url}/w-%d.tar.zst", maxcount=4, opener=store.opener)
    assert (written.shards, written.samples) == (2, 7)
    found = store.keys()
    assert found["t-0-0.tar"] == found["w-0.tar.zst"] == [0, 1, 2, 3]
    assert found["t-0-1.tar"] == found["w-1.tar.zst"] == [4, 5, 6]
    assert len(found) == 4


def test_the_open_shard_does_not_appear_when_the_consumer_stops(store: Store) -> None:
    iterator = iter(samples(9) | tee(f"{store.url}/%d.tar", maxcount=4, opener=store.opener))
    for _ in range(6):
        next(iterator)
    del iterator
    assert store.keys() == {"0.tar": [0, 1, 2, 3]}


# ---- going on


class Stopping:
    """Lets so many samples pass, and then is interrupted."""

    left = 0

    @classmethod
    def passes(cls, sample: Sample) -> Sample:
        cls.left -= 1
        if cls.left < 0:
            raise KeyboardInterrupt
        return sample


def test_a_stream_that_was_stopped_goes_on(store: Store) -> None:
    end = write_to(f"{store.url}/out-%d.tar", resume=True, maxcount=3, opener=store.opener)
    stream = samples(16) | map(Stopping.passes)
    for seed in range(20 if DEEP else 3):
        chance = random.Random(seed)
        for _ in range(100):
            Stopping.left = chance.randrange(12)
            try:
                written = stream | end
                break
            except KeyboardInterrupt:
                assert all(len(keys) == 3 for keys in store.keys().values()), f"seed {seed}"
        assert [n for keys in store.keys().values() for n in keys] == list(range(16)), f"seed {seed}"
        assert written == Written(shards=6, samples=16, bytes=16 * 4608), f"seed {seed}"
        assert stream | end == written
        assert store.record() == [".out-0.tar.progress.json"]
        store.remove()


def test_what_lies_there_must_agree_with_the_record(store: Store) -> None:
    end = write_to(f"{store.url}/out-%d.tar", resume=True, maxcount=4, opener=store.opener)
    stream = samples(9) | map(passed)
    stream | end
    for name in ("out-0.tar", "out-2.tar"):
        place = f"{store.path}/{name}"
        whole = store.filesystem.cat_file(place)
        store.filesystem.rm_file(place)
        with pytest.raises(WriteError, match="is gone") as caught:
            stream | end
        assert caught.value.url == f"{store.url}/{name}"
        store.filesystem.pipe_file(place, whole)
    store.filesystem.pipe_file(place, whole[:-512])
    with pytest.raises(WriteError, match=f"has {len(whole) - 512} now"):
        stream | end
    store.filesystem.pipe_file(place, whole)
    store.filesystem.pipe_file(f"{store.path}/.out-0.tar.progress.json", b"{")
    with pytest.raises(WriteError, match="record of progress can't be read"):
        stream | end
    stream | write_to(f"{store.url}/out-%d.tar", maxcount=4, opener=store.opener)
    assert store.record() == []
    with pytest.raises(WriteError, match="no record tells"):
        stream | end


JOB = """
import os, signal, sys
import fsspec
from streamwds import Gopen, map, write_to
from streamwds.shards import remote
from tests.test_writing_to_stores import passed, samples

step, options = int(sys.argv[1]), eval(sys.argv[2])
calls = 0
put = remote._put

def killed(filesystem, path, kept):
    '''Kill this process before, in the middle of or after an upload: the step-th moment of these.'''
    global calls
    real = filesystem._call_s3

    async def call(method, *args, **given):
        moment()
        result = await real(method, *args, **given)
        moment()
        return result

    filesystem._call_s3 = call
    put(filesystem, path, kept)
    filesystem._call_s3 = real

def moment():
    global calls
    if calls == step:
        os.kill(os.getpid(), signal.SIGKILL)
    calls += 1

remote._put = killed
end = write_to("s3://bucket/out/out-%d.tar", resume=True, maxcount=4, opener=Gopen(storage_options=options))
print(samples(9) | map(passed) | end)
"""


@pytest.mark.parametrize("step", range(28) if DEEP else [5, 18])
def test_a_job_that_is_killed_goes_on(bucket: Mapping[str, Any], tmp_path: Path, step: int) -> None:
    store = Store("s3://bucket/out", Gopen(storage_options=bucket))
    codes = []
    for at in (step, -1):
        done = subprocess.run(
            [sys.executable, "-c", JOB, str(at), repr(store.options())],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
        )
        codes.append(done.returncode)
        assert all(len(keys) == 4 for name, keys in store.keys().items() if name != "out-2.tar"), step
        assert list(tmp_path.iterdir()) == []
        if done.returncode == 0:
            assert done.stdout == "Written(shards=3, samples=9, bytes=41472, skipped=0)\n"
    assert codes == [-signal.SIGKILL, 0], done.stderr
    assert [n for keys in store.keys().values() for n in keys] == list(range(9))
    assert store.record() == [".out-0.tar.progress.json"]
    store.remove()


@pytest.mark.parametrize(
    ("pattern", "opener"),
    [
        ("pipe:cat > %d.tar", PIPES),
        ("http://127.0.0.1:9/%d.tar", QUICK),
        ("simplecache::memory://out/%d.tar", QUICK),
        ("local://{folder}/%d.tar", QUICK),
    ],
)
def test_where_nobody_could_go_on_resuming_is_refused(tmp_path: Path, pattern: str, opener: Gopen) -> None:
    pattern = pattern.replace("{folder}", str(tmp_path))
    with pytest.raises(WriteError, match="write without resume, or to a local folder, with a post="):
        samples(3) | map(passed) | write_to(pattern, resume=True, opener=opener)
    with pytest.raises(WriteError, match="write without resume"):
        ShardWriter(pattern, resume=True, opener=opener)
    assert list(tmp_path.iterdir()) == []


# ---- stores that fail


class Failing(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store to which half of a file comes as often as it is told, and which then tells what it was asked with."""

    protocol = "failing"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012
    failures = 0

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        data = Path(lpath).read_bytes()
        type(self).failures -= 1
        if type(self).failures >= 0:
            raise OSError("lost http://me:word@failing/a.tar?signature=word")
        self.files[rpath] = data

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.files[path]), "type": "file"}


@pytest.fixture
def failing() -> type[Failing]:
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.files = {}
    return Failing


def test_a_store_that_fails_is_asked_again(failing: type[Failing]) -> None:
    failing.failures = 2
    with TarWriter("failing://a.tar", opener=QUICK) as writer:
        writer.write(samples(1)[0])
    with tarfile.open(fileobj=io.BytesIO(failing.files["a.tar"])) as tar:
        assert tar.getnames() == ["0000.bin", "0000.cls"]


def test_a_store_that_goes_on_failing_is_one_error_without_secrets(failing: type[Failing]) -> None:
    failing.failures = 10**6
    url = "failing://me:word@host/a.tar"
    with pytest.raises(WriteError, match="tried 3 times") as caught, TarWriter(url, opener=QUICK) as writer:
        writer.write(samples(1)[0])
    assert "word" not in str(caught.value)
    assert failing.files == {}
    pattern = "failing://me:word@host/%d.tar"
    ways: list[Callable[[list[Sample]], object]] = [
        write_to(pattern, opener=QUICK, handler=ignore_and_continue),
        lambda given: list(given | tee(pattern, opener=QUICK, handler=ignore_and_continue)),
    ]
    for way in ways:
        with pytest.raises(WriteError, match="tried 3 times") as caught:
            way(samples(3))
        assert "word" not in str(caught.value)


def test_a_disk_too_small_for_what_is_kept() -> None:
    said = r"is kept in .* until it is complete, and can't be: .* TMPDIR names another"
    with files_of_at_most(100_000), pytest.raises(WriteError, match=said):
        samples(3000) | map(passed) | write_to("memory://bucket/full/%d.tar")
    assert fsspec.filesystem("memory").find("/bucket/full") == []


# ---- servers, commands and standard output


def test_a_shard_is_put_to_a_server() -> None:
    def busy(request: Any) -> Fault | None:
        return Fault(status=503) if request.number < 2 else None

    with Faults({}, busy) as server:
        with TarWriter(f"{server.url}/a.tar.gz?sig=word", opener=QUICK) as writer:
            writer.write(samples(1)[0])
        assert [request.method for request in server.requests] == ["PUT"] * 3
        written = server.files["/a.tar.gz?sig=word"]
        assert written.startswith(b"\x1f\x8b")
        server.files["/a.tar.gz"] = written
        assert [found["cls"] for found in [f"{server.url}/a.tar.gz?sig=word"] | tarsamples] == [b"0"]
        with pytest.raises(ZeroDivisionError), TarWriter(f"{server.url}/b.tar") as writer:
            writer.write({"__key__": "1", "cls": 1 // 0})
        server.fault = lambda request: Fault(status=403)
        with (
            pytest.raises(WriteError, match="answers 403") as caught,
            TarWriter(f"{server.url}/b.tar?sig=word") as writer,
        ):
            writer.write(samples(1)[0])
        assert "word" not in str(caught.value)
        assert "/b.tar" not in server.files


def test_commands_that_are_written_to(tmp_path: Path) -> None:
    for make in (TarWriter, ShardWriter):
        refused: Callable[..., Any] = make
        with pytest.raises(WriteError, match="allow_pipe"), refused(f"pipe:cat > {tmp_path}/%d.tar") as writer:
            writer.write(samples(1)[0])
    assert list(tmp_path.iterdir()) == []
    samples(7) | write_to(f"pipe:gzip > {tmp_path}/%d.tar.gz", maxcount=4, opener=PIPES)
    for n, count in enumerate((4, 3)):
        with tarfile.open(tmp_path / f"{n}.tar.gz", "r:gz") as tar:
            assert len(tar.getnames()) == 2 * count
    many = samples(2000)
    for command, said in (("cat > /dev/null; exit 5", "status 5"), ("exec true", "before all was written")):
        with pytest.raises(WriteError, match=said):
            many | write_to(f"pipe:{command} # %d.tar", opener=PIPES)
    ends = f"pipe:cat > /dev/null; touch {tmp_path}/ended"
    with pytest.raises(ZeroDivisionError), TarWriter(ends, opener=PIPES) as writer:
        writer.write({"__key__": "1", "cls": 1 // 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tar.gz", "1.tar.gz"]


def test_standard_output() -> None:
    code = (
        "from streamwds import *\nwith TarWriter('-', mtime=0) as writer:\n    writer.write({'__key__': '1', 'cls': 7})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        assert tar.getnames() == ["1.cls"]
