"""Lists of shards, and the other ways in which a pattern stands for names: what they may say, and what they may not."""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import fsspec
import pytest

from streamwds import Gopen, StreamwdsError, tarsamples, urls, urls_from
from streamwds.errors import OpenError, SourceError
from streamwds.shards.lists import LIST_SCHEMES, NEVER
from streamwds.shards.local import scheme_of
from streamwds.testing import check_resume
from tests.archives import archive
from tests.faults import Faults

DATA = archive([(b"%d.bin" % n, bytes(n)) for n in range(5)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, from which nothing is to be seen of where hostile names point."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\n".join(lines).encode())
    return path


# ---- what lists say


def test_a_pattern_a_line(folder: Path) -> None:
    file = write(
        folder / "l" / "list.txt",
        "# shards",
        "",
        "a-{0..1}.tar\r",
        "  /abs/{x,y}.tar  ",
        "http://host/a b.tar",
        "s3://b/{1..2}",
    )
    names = [
        *(str(folder / "l" / f"a-{n}.tar") for n in (0, 1)),
        "/abs/x.tar",
        "/abs/y.tar",
        "http://host/a b.tar",
        "s3://b/1",
        "s3://b/2",
    ]
    assert list(urls_from(file)) == names
    assert list(urls(f"@{file}")) == names
    assert list(urls("first.tar", f"@{file}", "last.tar")) == ["first.tar", *names, "last.tar"]
    assert list(urls(file.as_uri().replace("file:", "@file:"))) == names
    os.chdir(file.parent)
    assert next(iter(urls("@list.txt"))) == "a-0.tar"


def test_globs_in_lists(folder: Path) -> None:
    for name in ("a.tar", "b.tar", "c.txt"):
        write(folder / name)
    assert list(urls_from(write(folder / "list.txt", "*.tar"))) == [str(folder / "a.tar"), str(folder / "b.tar")]
    with pytest.raises(SourceError, match="no file matches"):
        urls_from(write(folder / "list.txt", "*.tgz"))


@pytest.mark.parametrize(
    "index",
    [
        ["a.tar", "{b}.tar"],
        [{"name": "a.tar", "samples": 5, "bytes": 5120}, {"name": "{b}.tar"}],
        {"shards": ["a.tar", {"url": "{b}.tar"}]},
        {
            "__kind__": "wids-shard-index-v1",
            "wids_version": 1,
            "shardlist": [{"url": "a.tar", "nsamples": 5, "filesize": 5120}, {"url": "{b}.tar", "nsamples": 5}],
        },
    ],
)
def test_json_indexes(folder: Path, index: Any) -> None:
    file = write(folder / "index.json", json.dumps(index))
    assert list(urls_from(file)) == [str(folder / "a.tar"), str(folder / "{b}.tar")]  # (names, not patterns)


def test_lists_that_are_elsewhere() -> None:
    with Faults(
        {"/x/list.txt": b"a-{0..1}.tar\nhttps://host/b.tar\n", "/x/a-0.tar": DATA, "/x/a-1.tar": DATA}
    ) as server:
        stream = urls(f"@{server.url}/x/list.txt?signature=1")
        assert list(stream) == [f"{server.url}/x/a-0.tar", f"{server.url}/x/a-1.tar", "https://host/b.tar"]
        asked = len(server.requests)
        assert list(pickle.loads(pickle.dumps(stream))) == list(stream)
        assert len(server.requests) == asked  # it was looked up once, when it was given
        with pytest.raises(OpenError, match="404"):
            urls(f"@{server.url}/y/list.txt")
    with fsspec.open("memory://lists/list.txt", "wb") as file:
        file.write(b"a.tar")
    assert list(urls_from("memory://lists/list.txt", schemes={"memory", ""})) == ["memory://lists/a.tar"]


def test_a_stream_from_a_list_is_a_value_and_resumes(folder: Path) -> None:
    for n in range(3):
        (folder / f"{n}.tar").write_bytes(DATA)
    write(folder / "list.txt", "{0..2}.tar")
    stream = urls_from("list.txt", schemes={"", "ftp"}, opener=Gopen(timeout=5))
    assert repr(stream) == "urls('@list.txt', opener=Gopen(timeout=5), schemes={'', 'ftp'})"
    assert eval(repr(stream)) == stream
    assert pickle.loads(pickle.dumps(stream)) == stream
    assert check_resume(stream | tarsamples) == 15
    position = list((stream | tarsamples).tracked())[6][1]
    assert len(list((urls("{0..2}.tar") | tarsamples).at(position))) == 8  # the same shards


def test_files_with_the_names_of_urls(folder: Path) -> None:
    for name in ("pipe:touch ran", "a.tar"):
        (folder / name).write_bytes(DATA)
    write(folder.parent / "list.txt", "work/*")
    for stream in (urls("*"), urls_from("../list.txt")):
        assert len(list(stream | tarsamples(opener=Gopen(allow_pipe=True)))) == 10
    assert sorted(urls("*")) == ["./pipe:touch ran", "a.tar"]


# ---- what they may not say

HOSTILE = [
    "pipe:touch ran",
    "PIPE:touch ran",
    "pipe:touch${IFS}ran",
    "{pipe,pipe}:touch ran",
    "pi{pe,pe}:touch ran",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "{file,file}:///etc/passwd",
    "local:///etc/passwd",
    "ssh://host/a.tar",
    "sftp://host/a.tar",
    "ftp://host/a.tar",
    "memory://a.tar",
    "data:,x",
    "simplecache::http://host/a.tar",
    "filecache::s3://bucket/a.tar",
    "zip://a::http://host/a.zip",
    "http://host/a::pipe:touch ran",
    "@other.txt",
    "-",
    "a\0b.tar",
    "a\x1b[31m.tar",
    "a\u2028b.tar",
    "{0..99999999999}.tar",
    "{a..z}" * 6,
    "{0,1}" * 30,
    "{{0..9999},{0..9999}}{0..9999}",
    "{0..9999999999999999999}",
    "{-999999999999999999999..5}",
    "{" * 5000 + "a,b" + "}" * 5000,
    "\\pipe:touch ran",
    "pipe\\:touch ran",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines_are_refused(folder: Path, name: str) -> None:
    write(folder / "other.txt", "a.tar")
    before = sorted(folder.rglob("*"))
    opener = Gopen(allow_pipe=True)
    with pytest.raises(SourceError, match=r"the list .*list\.txt (names|has braces)"):
        urls_from(write(folder.parent / "list.txt", "a.tar", name), opener=opener)
    for index in ([name], {"shardlist": [{"url": name}]}):
        if "{" in name or "\\" in name:  # (a name in an index is no pattern)
            continue
        with pytest.raises(SourceError, match=r"the list .*index\.json names"):
            urls_from(write(folder.parent / "index.json", json.dumps(index)), opener=opener)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["a\nb.tar", "http://127.0.0.1/a\r\nX-Header: y", "a.tar\n"])
def test_names_with_newlines_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(SourceError, match="control characters"):
        urls_from(write(folder / "index.json", json.dumps([name])))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.tar", "x/../../a.tar", "//host/a.tar"])
def test_names_in_a_list_from_elsewhere_stay_in_its_folder(name: str) -> None:
    with Faults({"/x/list.txt": name.encode()}) as server, pytest.raises(SourceError, match="relative to its folder"):
        urls_from(f"{server.url}/x/list.txt")


def test_a_list_can_not_read_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    names = list(urls_from(write(folder / "list.txt", "http://127.0.0.1/$SECRET", "http://127.0.0.1/\\${SECRET}")))
    assert names[0] == "http://127.0.0.1/$SECRET"
    assert not any("hush" in name for name in names)


@pytest.mark.parametrize("scheme", sorted(NEVER))
def test_what_never_may_be_allowed(folder: Path, scheme: str) -> None:
    with pytest.raises(ValueError, match=f"no list may name {scheme}"):
        urls_from(write(folder / "list.txt", "a.tar"), schemes={scheme.upper()})


def test_schemes_are_given_in_code(folder: Path) -> None:
    file = write(folder / "list.txt", "ftp://host/a.tar")
    with pytest.raises(SourceError, match=r"by urls_from\(…, schemes="):
        urls_from(file)
    assert list(urls_from(file, schemes={"ftp"})) == ["ftp://host/a.tar"]
    with pytest.raises(SourceError, match="lists may name https"):
        urls_from(write(folder / "list.txt", "a.tar"), schemes={"https"})
    with pytest.raises(ValueError, match="schemes is a set of names"):
        urls_from(file, schemes="ftp")
    assert not LIST_SCHEMES & NEVER


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no shards"),
        (b"# nothing\n\n", "names no shards"),
        (b"\xff\xfe", "can't be read"),
        (b"a-{0..", "braces"),
    ],
)
def test_broken_lists(folder: Path, content: bytes, said: str) -> None:
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        urls_from("list.txt")


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "7", '{"shards": 3}', "[7]", '[{"samples": 3}]', '[""]', "[" * 100_000]
)
def test_broken_indexes(folder: Path, content: str) -> None:
    with pytest.raises(SourceError, match=r"the list index\.json"):
        urls_from(write(folder / "index.json", content).name)


def test_the_braces_of_all_lines_count(folder: Path) -> None:
    assert len(list(urls_from(write(folder / "list.txt", *["{0..999}"] * 10)))) == 10_000
    with pytest.raises(SourceError, match="braces that stand for more than 1,000,000 names"):
        urls_from(write(folder / "list.txt", *["{0..99999}"] * 11))


def test_a_list_without_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamwds.shards.lists.LIMIT", 1 << 16)
    with pytest.raises(SourceError, match="more than 65536 bytes"):
        urls_from(write(folder / "list.txt", "a" * (1 << 17)))


def test_random_bytes_name_nothing_that_runs(folder: Path) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    pieces = [name.encode("utf-8", "surrogatepass") for name in HOSTILE] + [
        b"\n",
        b" ",
        b"\t",
        b"a.tar",
        b"::",
        b"{",
        b"}",
    ]
    for _ in range(300):
        (folder / "list.txt").write_bytes(b"".join(rng.choices(pieces, k=rng.randint(1, 4))))
        try:
            names = list(urls_from("list.txt", opener=Gopen(allow_pipe=True)))
        except StreamwdsError:
            continue
        assert {scheme_of(name) for name in names} <= LIST_SCHEMES, seed
        assert not any("::" in name for name in names), seed
    assert [entry.name for entry in folder.iterdir()] == ["list.txt"]


# ---- variables of the environment


def test_variables_in_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("SHARDS", "a-{0..1}.tar")
    assert list(urls("$DATA/x.tar", "${DATA}y.tar", "s3://$DATA/x")) == ["/data/x.tar", "/datay.tar", "s3:///data/x"]
    assert list(urls("$DATA/$SHARDS")) == ["/data/a-0.tar", "/data/a-1.tar"]
    assert list(urls("a$", "a$-b", "pipe:cat $FILE", r"\$DATA")) == ["a$", "a$-b", "pipe:cat $FILE", "$DATA"]
    with pytest.raises(SourceError, match=r"no variable NO_SUCH.*write \\\$"):
        urls("$NO_SUCH/a.tar")


def test_a_file_whose_name_has_a_dollar(folder: Path) -> None:
    write(folder / "$x.tar")
    assert list(urls("$x.tar")) == ["$x.tar"]


def test_the_name_of_a_list_may_be_a_pattern(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTS", "l")
    for n in range(2):
        write(folder / f"l{n}.txt", f"{n}.tar")
    assert list(urls("@${LISTS}{0..1}.txt")) == ["0.tar", "1.tar"]
    with pytest.raises(OpenError, match="no such file"):
        urls("@nothing.txt")
