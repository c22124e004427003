"""The command line: as processes where it is about processes (signals, pipes), and in this one for all else."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from streamwds import ShardFile, TarWriter, decode, tar, tarsamples, urls
from streamwds.cli import COMMANDS, app
from tests.archives import archive, at_most, by_stdlib, gnu, member
from tests.attacks import ATTACKS, CODE, Opener
from tests.faults import Faults

PROGRAM = [sys.executable, "-m", "streamwds"]
NAMES = [name for commands in COMMANDS.values() for name in commands]


@attrs.frozen
class Done:
    """What a command gave: its exit status, and what it printed."""

    status: int
    out: str
    err: str
    raw: bytes = b""

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return [json.loads(line) for line in self.lines]


def streamwds(*args: str | Path, stdin: bytes | None = None) -> Done:
    """Run a command in this process. (An error that it doesn't tell of is raised.)"""
    with contextlib.nullcontext() if stdin is None else standard_input(stdin):
        done = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
    return Done(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


@contextlib.contextmanager
def standard_input(data: bytes) -> Generator[None]:
    """Standard input (the descriptor, for shards are read from that) is a file with these bytes."""
    before = os.dup(0)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def good(*args: str | Path, stdin: bytes | None = None) -> Done:
    done = streamwds(*args, stdin=stdin)
    assert done.status == 0, done
    return done


def process(*args: str | Path, stdin: bytes | None = None) -> Done:
    """Run a command as a process."""
    done = subprocess.run([*PROGRAM, *map(str, args)], input=stdin, capture_output=True)
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode(), done.stdout)


def shard(path: Path, samples: Mapping[str, Mapping[str, Any]]) -> Path:
    with TarWriter(path, mtime=0) as writer:
        for key, fields in samples.items():
            writer.write({"__key__": key, **fields})
    return path


def numbers(path: Path, keys: Iterable[int]) -> Path:
    return shard(path, {f"{n:04d}": {"cls": n, "txt": f"number {n}"} for n in keys})


def files(path: Path) -> dict[str, bytes]:
    """The files in a tar, as the standard library reads them."""
    with tarfile.open(path) as archive:
        return {info.name: reader.read() for info in archive if (reader := archive.extractfile(info)) is not None}


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(*paths: Path) -> list[str]:
    return [sample["__key__"] for sample in urls(list(paths)) | tarsamples]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


# ---- the page


def examples() -> list[tuple[str, str]]:
    """The commands on the page of the command line, each with what it prints."""
    text = (Path(__file__).parent.parent / "docs" / "commandline.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```console\n(.*?)^```", text, re.M | re.S))
    return [(command, printed) for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", blocks, re.M)]


def printed_by(command: str) -> str:
    """What a command prints; of several, in whatever order they come to it."""
    words = shlex.split(command)
    if words[0] == "streamwds" and not {"|", "||", ">"} & {*words}:
        done = streamwds(*words[1:])
        return done.err + done.out
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ).stdout


def lines(text: str, *, any_order: bool) -> list[str]:
    found = [line.rstrip() for line in text.splitlines() if line.strip()]
    return sorted(found) if any_order else found


@pytest.mark.needs("GNU tar")
def test_the_page_of_the_command_line_is_what_it_prints() -> None:
    found = examples()
    assert {word for command, _ in found for word in command.split()} >= {*NAMES} - {"demo"}
    for command, expected in found:
        piped = "|" in command
        assert lines(printed_by(command), any_order=piped) == lines(expected, any_order=piped)


# ---- the command as a whole


@pytest.mark.parametrize("name", [*NAMES, "create"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = good(name, "--help").out
    assert f"Usage: streamwds {name}" in text.replace("root", "streamwds")
    assert re.search(r"streamwds \w+ ", text.partition("Example")[2])


def test_help_lists_all_commands_and_those_of_tarp() -> None:
    text = good("--help").out
    assert all(re.search(rf"│ {name} ", text) for name in NAMES)
    assert all(f"tarp's {name}" in text for name in ("create", "cat", "proc", "sort", "split"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["ls", "nothing.tar"], "nothing.tar: there is no such file"),
        (["ls", "nothing-*.tar"], "no file matches"),
        (["ls", "a-{0.tar"], "braces"),
        (["ls", "."], "it is a folder"),
        (["ls", "-", "-"], "only once"),
        (["ls", "a.tar", "-m", "-t"], "not both"),
        (["concat", "a.tar", "-o", "no/b.tar"], "there is no folder no"),
        (["concat", "a.tar", "-o", "."], "it is a folder"),
        (["concat", "a.tar", "-o", "http://127.0.0.1:9/b.tar"], "local files"),
        (["concat", "a.tar", "-o", "a.tar"], "a.tar: it is there already; --force"),
        (["concat", "a.tar", "-o", "b.tar", "--keys", "{nothing}"], "--keys has places"),
        (["concat", "a.tar", "-o", "b.tar", "--fields", "jpg,,cls"], "--fields"),
        (["concat", "a.tar", "-o", "-", "--json"], "one or the other"),
        (["reshard", "a.tar", "-o", "b.tar", "--maxcount", "2"], "'out-%06d.tar'"),
        (["reshard", "a.tar", "-o", "b-%d-%d.tar"], "only one place"),
        (["reshard", "a.tar", "-o", "b-{rank}-%d.tar"], "{rank}"),
        (["reshard", "a.tar", "-o", "b-%d.tar", "--shards", "9"], "3 samples don't fill 9 shards"),
        (["reshard", "a.tar", "-o", "b-%d.tar", "--maxsize", "big"], "a size is a number of bytes"),
        (["pack", "nothing", "-o", "b.tar"], "no such file or folder"),
        (["pack", "a.tar", "-o", "b.tar"], "no list"),
        (["unpack", "a.tar", "-C", "a.tar"], "it is no folder"),
        (["check", "a.tar", "--repair", "no/b.tar"], "there is no folder no"),
        (["check", "a.tar", "--repair", "a.tar"], "it is there already"),
        (["shuffle", "a.tar.gz", "-o", "b.tar", "--tmp", "no"], "there is no folder no"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_usage_is_told_in_a_line_and_nothing_is_done(args: list[str], said: str, tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(3))
    numbers(tmp_path / "a.tar.gz", range(3))
    before = below(tmp_path)
    done = streamwds(*args)
    assert (done.status, done.out) == (2, "")
    assert said in " ".join(done.err.replace("│", "").split())
    assert done.err.startswith(("streamwds: ", "Usage: "))
    assert below(tmp_path) == before


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fsspec'] = None; sys.argv[1:] = ['ls', 's3://bucket/a.tar']; "
    code += "from streamwds.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"streamwds: .*pip install 'streamwds\[fsspec\]'\n", done.stderr)


@pytest.mark.parametrize("command", ["ls a.tar", "cat a.tar 0000.bin", "concat a.tar -o -"])
def test_who_reads_no_more_is_not_told(command: str, tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {f"{n:04d}": {"bin": bytes(1000)} for n in range(5000)} | {"0000": {"bin": bytes(10**6)}})
    pipeline = f"{' '.join(PROGRAM)} {command} | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True)
    assert (done.stderr, done.stdout[1:]) == ("", "141\n")


# ---- interrupted


def interruptible() -> None:
    """Have a process heed SIGINT, which is ignored, also by children, where tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "command", [["concat", "-", "-o", "out.tar"], ["reshard", "-", "-o", "out-%d.tar"], ["sort", "-", "-o", "out.tar"]]
)
def test_what_is_interrupted_leaves_nothing_half(
    command: list[str], number: signal.Signals, status: int, tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    data = by_stdlib((f"{n:04d}.bin", bytes(50_000)) for n in range(60))
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    running = subprocess.Popen(
        [*PROGRAM, *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=interruptible,
    )
    with running, at_most(60):
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(data)  # (all but what a pipe holds was read when this is done, and so writing has begun)
        running.stdin.flush()
        assert [path for path in tmp_path.rglob("*") if path.is_file()]
        running.send_signal(number)
        said = running.stderr.read()
        running.stdin.close()
    assert running.returncode == status
    assert said == b""
    assert [*tmp_path.rglob("*")] == [tmp_path / "temporary"]


def test_a_command_that_runs_ends_with_us(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(9))
    os.mkfifo(tmp_path / "fifo")
    command = f"exec 3> {tmp_path}/fifo; echo ready >&3; sleep 600; echo late > sample.txt"
    args = ["proc", "a.tar", "-o", "b.tar", "-j", "2", "-c", command]
    started = subprocess.Popen([*PROGRAM, *args], stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
    with started as running, at_most(60):
        fifo = os.open(tmp_path / "fifo", os.O_RDWR)
        said = b""
        while said != b"ready\n" * 2:
            said += os.read(fifo, 6)
        writers = os.open(tmp_path / "fifo", os.O_RDONLY)
        os.close(fifo)
        running.send_signal(signal.SIGINT)
        assert os.read(writers, 1) == b""  # (when the last of them has ended)
        os.close(writers)
        assert running.communicate()[1] == ""
    assert running.returncode == 130
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "fifo"}


def test_an_error_in_the_middle_leaves_nothing_half(tmp_path: Path) -> None:
    data = numbers(tmp_path / "a.tar", range(100)).read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: len(data) // 2])
    for command in ("concat", "reshard", "sort", "shuffle"):
        done = streamwds(command, "a.tar", "-o", "out.tar")
        assert done.status == 1
        assert re.match(r"streamwds: a\.tar, byte \d+.*ends", done.err)
    assert [*tmp_path.iterdir()] == [tmp_path / "a.tar"]


# ---- ls, head, cat


def test_ls_lists_samples_members_and_fields(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(12))
    assert good("ls", "a.tar").lines[10] == "     11 B  0010  cls txt"
    assert good("ls", "-m", "a.tar").lines[:2] == ["      1 B  0000.cls", "      8 B  0000.txt"]
    assert [line.split()[:2] for line in good("ls", "-t", "a.tar").lines[2:]] == [["cls", "12"], ["txt", "12"]]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "-"])
def test_ls_tells_programs_the_same_of_files_and_streams(name: str, tmp_path: Path) -> None:
    path = numbers(tmp_path / name.replace("-", "b.tar"), range(3))
    stdin = path.read_bytes() if name == "-" else None
    with tarfile.open(path) as archive:
        members = [{"url": name, "name": m.name, "offset": m.offset, "size": m.size} for m in archive]
    assert good("ls", "-m", "--json", name, stdin=stdin).json == members
    expected = [{"url": name, "key": f"{n:04d}", "fields": {"cls": 1, "txt": 8}} for n in range(3)]
    assert good("ls", "--json", name, stdin=stdin).json == expected
    totals = [
        {"field": "cls", "samples": 3, "bytes": 3, "least": 1, "most": 1},
        {"field": "txt", "samples": 3, "bytes": 24, "least": 8, "most": 8},
    ]
    assert good("ls", "-t", "--json", name, stdin=stdin).json == totals


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_ls_lists_what_is_whole_and_then_the_error(name: str, tmp_path: Path) -> None:
    data = archive([(b"a.txt", b"1"), (b"b.txt", b"2")]) if name == "a.tar" else b""
    if data:
        (tmp_path / name).write_bytes(data[:1600])
    else:
        numbers(tmp_path / name, range(3000))
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    done = streamwds("ls", name)
    assert done.status == 1
    assert done.lines[0].split()[2] in ("a", "0000")
    assert done.err.startswith(f"streamwds: {name}")


def test_names_in_shards_can_t_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive([(b"\x1b[2Ja\n\xff.t\x07t", b"\x1b[31m")]))
    shown = r"\x1b[2Ja\n\xff"
    for args in (["ls"], ["ls", "-m"], ["ls", "-t"], ["head"], ["check"], ["unpack", "-C", "out"]):
        done = good(*args[:1], "a.tar", *args[1:])
        assert "\x1b" not in done.out + done.err
    assert shown in good("ls", "a.tar").out
    assert shown in good("head", "a.tar").out
    assert good("ls", "--json", "a.tar").json[0]["key"] == "\x1b[2Ja\n\udcff"


def test_head_shows_what_fields_hold(tmp_path: Path) -> None:
    sample = {
        "cls": 7,
        "png": Image.new("RGB", (40, 30)),
        "npy": np.zeros((2, 3), np.float32),
        "json": {"a": [1, "ü"]},
        "txt": "two\nlines " + 100 * "x",
        "bin": b"\xff\x00",
        "pyd": CODE["pyd"](Opener(str(tmp_path / "ran"))),
    }
    shard(tmp_path / "a.tar", {f"{n}": sample for n in range(5)})
    text = good("head", "-n", "2", "a.tar").out
    holds = [sample["fields"] for sample in good("head", "-n", "2", "a.tar", "--json").json]
    assert len(holds) == 2
    assert {name: field["holds"] for name, field in holds[0].items() if name not in ("txt", "pyd", "bin")} == {
        "cls": "7",
        "png": "40×30 RGB",
        "npy": "float32 2×3, 0 to 0, mean 0",
        "json": '{ "a": [ 1, "ü" ] }',
    }
    assert holds[0]["txt"]["holds"].startswith("two lines xxx")
    assert "pickle" in holds[0]["pyd"]["holds"]
    assert not (tmp_path / "ran").exists()
    assert all(max(map(len, text.splitlines())) < 200 and field["holds"] in text for field in holds[1].values())


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_cat_gives_a_field_a_sample_or_files(name: str, tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"x": {"txt": b"x"}})
    shard(tmp_path / name, {"b/1": {"seg.png": b"\x89", "txt": b"text\n"}})
    pattern = "{0.tar," + name + "}"
    assert good("cat", pattern, "b/1.seg.png").raw == b"\x89"
    with tarfile.open(fileobj=io.BytesIO(good("cat", pattern, "b/1").raw)) as found:
        assert found.getnames() == ["b/1.seg.png", "b/1.txt"]
    good("cat", pattern, "b/1", "-C", "out")
    assert below(tmp_path / "out") == {"b/1.seg.png": b"\x89", "b/1.txt": b"text\n"}
    good("cat", pattern, "b/1.txt", "-C", "other")
    assert below(tmp_path / "other") == {"b/1.txt": b"text\n"}
    done = streamwds("cat", pattern, "c.txt")
    assert (done.status, "no sample has this key" in done.err) == (1, True)
    done = streamwds("cat", pattern, "b/1.jpg")
    assert (done.status, "it has no such field, but seg.png, txt" in done.err) == (1, True)


# ---- check


def attacked() -> Iterator[tuple[str, str, bytes]]:
    for name, attack in ATTACKS.items():
        if not attack.options and attack.field.partition(".")[0] not in ("mp3", "mp4", "mkv", "m4a"):
            yield name, attack.field, attack.make()


def test_check_finds_what_can_t_be_decoded_and_runs_nothing(tmp_path: Path) -> None:
    code = {f"code {name}": {name: make(Opener(str(tmp_path / "ran")))} for name, make in CODE.items()}
    hostile = {name.replace(".", "-"): {field: data} for name, field, data in attacked()}
    with TarWriter(tmp_path / "a.tar", encoder=False) as writer:
        for key, fields in {**hostile, **code, "good": {"txt": b"a cat"}}.items():
            writer.write({"__key__": key.replace(".", "-"), **fields})
    done = streamwds("check", "--json", "a.tar")
    (report,) = done.json
    assert done.status == 1
    assert {problem["key"] for problem in report["problems"]} >= hostile.keys()
    assert sum(report["unchecked"].values()) >= 6
    assert not (tmp_path / "ran").exists()


def test_check_is_content_with_what_tars_make(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(5))
    (tmp_path / "b.tar").write_bytes(by_stdlib([("README", b"?"), ("1.txt", b"a")], tarfile.PAX_FORMAT))
    done = good("check", "a.tar", "b.tar")
    assert done.lines == [
        "a.tar: ok, 5 samples, 10 files, 45 B",
        "b.tar: 1 file in no sample: README",
        "b.tar: ok, 1 sample, 1 file, 1 B",
    ]


DAMAGE = {
    "cut": (archive([(b"a.txt", b"1"), (b"b.txt", b"2"), (b"b.cls", b"3")])[:2600], ["a"], "ends"),
    "no end": (archive([(b"a.txt", b"1"), (b"b.txt", b"2")], b""), ["a"], "end-of-archive"),
    "no tar": (b"<html>an error page</html>", [], "web page"),
    "field twice": (archive([(b"a.txt", b"1"), (b"b.txt", b"2"), (b"b.txt", b"3")]), ["a"], "two files"),
    "key twice": (archive([(b"a.txt", b"1"), (b"b.txt", b"2"), (b"a.cls", b"3")]), ["a", "b"], "same key"),
    "no number": (archive([(b"a.cls", b"1"), (b"b.cls", b"two")]), ["a"], "can't be decoded"),
    "bad header": (
        archive([(b"a.txt", b"1")], b"")
        + b"\xff" * 512
        + archive([(b"x", b"")] * 3 + [(b"b.txt", b"1"), (b"b.cls", b"2"), (b"c.txt", b"3"), (b"d.txt", b"4")]),
        ["c", "d"],
        "checksum",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_check_finds_damage_and_saves_what_is_whole(name: str, tmp_path: Path) -> None:
    data, kept, said = DAMAGE[name]
    (tmp_path / "bad.tar").write_bytes(data)
    done = streamwds("check", "bad.tar", "--repair", "mended.tar")
    assert done.status == 1
    assert said in done.out
    assert (tmp_path / "mended.tar").exists() == bool(kept)
    if kept:
        assert keys(tmp_path / "mended.tar") == kept
        with tarfile.open(tmp_path / "mended.tar") as archive:
            assert len(archive.getnames()) >= len(kept)
        assert good("check", "mended.tar").lines[-1].startswith("mended.tar: ok")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_check_repairs_only_the_shards_that_need_it(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(5))
    (tmp_path / "b.tar").write_bytes(DAMAGE["cut"][0])
    done = streamwds("check", "{a,b}.tar", "--repair", "out", "--json")
    assert done.status == 1
    assert [report["repaired"] for report in done.json] == [None, "out/b.tar"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.tar"]


def test_headers_are_found_again_anywhere(tmp_path: Path) -> None:
    """Whichever header is damaged, all samples are saved but that one and its neighbours."""
    data = numbers(tmp_path / "a.tar", range(8)).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        offsets = [info.offset for info in archive]
    for number, offset in enumerate(offsets):
        (tmp_path / "b.tar").write_bytes(data[:offset] + b"\xff" * 512 + data[offset + 512 :])
        assert streamwds("check", "b.tar", "--repair", "c.tar", "-f").status == 1
        saved = {int(key) for key in keys(tmp_path / "c.tar")}
        lost = set(range(8)) - saved
        assert number // 2 in lost
        assert lost <= {number // 2 - 1, number // 2, number // 2 + 1}
        for sample in urls(tmp_path / "c.tar") | tarsamples | decode():
            assert sample["txt"] == f"number {sample['cls']}"


def test_what_can_be_read_once_is_saved_up_to_the_damage(tmp_path: Path) -> None:
    data = bytearray(numbers(tmp_path / "a.tar", range(8)).read_bytes())
    data[2048 * 4] ^= 255
    done = streamwds("check", "-", "--repair", "b.tar", stdin=bytes(data))
    assert (done.status, "checksum" in done.out) == (1, True)
    assert keys(tmp_path / "b.tar") == ["0000", "0001", "0002"]


# ---- index


def test_index_is_kept_and_listed(tmp_path: Path) -> None:
    for n in range(2):
        numbers(tmp_path / f"a-{n}.tar", range(5 + n))
    assert good("index", "a-{0,1}.tar").lines == [
        "a-0.tar.idx: 5 samples, 10 files",
        "a-1.tar.idx: 6 samples, 12 files",
    ]
    assert (tmp_path / "a-1.tar.idx").exists()
    (tmp_path / "list.json").write_text(good("index", "--json", "a-*.tar").out)
    assert len(good("ls", "@list.json").lines) == 11
    assert ShardFile(tmp_path / "a-0.tar").by_key("0003")["cls"] == b"3"
    numbers(tmp_path / "a.tar.gz", range(5))
    done = streamwds("index", "a.tar.gz")
    assert (done.status, "compressed" in done.err) == (1, True)


# ---- pack, unpack


def tree(folder: Path, content: Mapping[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


CONTENT = {
    "a/0001.jpg": b"\xff\xd8",
    "a/0001.seg.PNG": b"2",
    "b c/ü.cls": b"7",
    "b c/ü.json": b"{}",
    "top.txt": b"",
}


@pytest.mark.needs("GNU tar")
def test_pack_and_unpack_are_what_tar_does(tmp_path: Path) -> None:
    tree(tmp_path / "in", {**CONTENT, "README": b"?", ".hidden": b"?", "a/._x.jpg": b"?"})
    done = good("pack", "in", "-o", "a.tar")
    assert "3 files left out" in done.err
    subprocess.run(["tar", "xf", "a.tar", "--one-top-level=theirs"], check=True)
    lowered = {name.replace("PNG", "png"): data for name, data in CONTENT.items()}
    assert below(tmp_path / "theirs") == files(tmp_path / "a.tar") == lowered
    good("unpack", "a.tar", "-C", "ours")
    assert below(tmp_path / "ours") == lowered
    subprocess.run(["tar", "cf", "b.tar", "-C", "in", "."], check=True)
    good("unpack", "b.tar", "-C", "all")
    assert below(tmp_path / "all") == below(tmp_path / "in")


def test_pack_numbers_class_folders(tmp_path: Path) -> None:
    tree(tmp_path / "in", {f"{name}/{n}.jpg": b"x" for name in ("dog", "cat", "ape") for n in range(2)})
    good("pack", "--imagefolder", "in", "-o", "a-%d.tar", "--maxcount", "4")
    found = list(urls(str(tmp_path / "a-{0,1}.tar")) | tarsamples | decode())
    assert [(sample["__key__"], sample["cls"]) for sample in found] == [
        *[("ape/0", 0), ("ape/1", 0), ("cat/0", 1), ("cat/1", 1), ("dog/0", 2), ("dog/1", 2)]
    ]
    (tmp_path / "in" / "top.jpg").touch()
    done = streamwds("pack", "--imagefolder", "in", "-o", "b.tar")
    assert (done.status, "no folder of a class" in done.err) == (1, True)


def test_pack_does_not_pack_its_own_shards(tmp_path: Path) -> None:
    tree(tmp_path, {"1.txt": b"a", "a-0.tar": b"old"})
    good("pack", ".", "-o", "a-%d.tar", "-f")
    assert files(tmp_path / "a-0.tar") == {"1.txt": b"a"}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_pack_makes_a_sample_of_each_row_of_a_list(kind: str, tmp_path: Path) -> None:
    tree(tmp_path / "in", {"x/1.jpg": b"one", "2.jpg": b"two"})
    rows = [
        {"id": "a", "jpg": "x/1.jpg", "cls": 3, "txt": 'a "cat",\nblack'},
        {"id": "b", "jpg": "2.jpg", "cls": 4, "txt": "ü"},
    ]
    with open(tmp_path / "in" / f"list.{kind}", "w", newline="", encoding="utf-8") as file:
        if kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    good("pack", f"in/list.{kind}", "--key", "id", "--files", "jpg", "-o", "a.tar")
    expected = [
        {"__key__": "a", "jpg": b"one", "cls": 3, "txt": 'a "cat",\nblack'},
        {"__key__": "b", "jpg": b"two", "cls": 4, "txt": "ü"},
    ]
    found = list(urls(tmp_path / "a.tar") | tarsamples | decode())
    assert [{name: value for name, value in sample.items() if name != "__url__"} for sample in found] == expected


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("a.csv", "cls,txt\n1\n", [], "line 2 has 1 columns"),
        ("a.csv", "cls,cls\n1,2\n", [], "each once"),
        ("a.csv", 'cls\n"1\n', [], "can't be read"),
        ("a.csv", "cls\n1\n", ["--key", "id"], "no column 'id'"),
        ("a.csv", "jpg\n1.jpg\n", ["--files", "jpg"], "1.jpg: No such file"),
        ("a.csv", "__key__,cls\na,1\na,2\n", [], "a sample of this key"),
        ("a.csv", "", [], "no sample"),
        ("a.jsonl", "[1]\n", [], "line 1 is no JSON object"),
        ("a.jsonl", '{"cls": 1}\n{"cls": \n', [], "line 2 is no JSON"),
        ("a.jsonl", '{"cls": "x", "npy": 1}\n', [], "npy"),
        ("a.jsonl", '{"xyz": 1}\n', [], "no encoder"),
    ],
)
def test_pack_says_what_is_wrong_with_a_list(
    name: str, text: str, options: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    done = streamwds("pack", name, *options, "-o", "out.tar")
    assert done.status in (1, 2)
    assert said in done.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


HOSTILE = {
    "absolute": member(b"/tmp/escaped.txt", b"x"),
    "above": member(b"../escaped.txt", b"x"),
    "deep above": member(b"a/../../escaped.txt", b"x"),
    "through a link": member(b"link/escaped.txt", b"x"),
    "over a link": member(b"over.txt", b"x"),
    "a folder's name": member(b"folder", b"x"),
    "below a file": member(b"kept.txt/x.txt", b"x"),
    "with NUL": b"".join((gnu(b"a\0b.txt"), member(b"short.txt", b"x"))),
    "too long": gnu(b"l" * 300 + b".txt") + member(b"short.txt", b"x"),
    "nothing": member(b".", b"x"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_leave_the_folder(name: str, tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", {"target.txt": b"mine"})
    out = tree(tmp_path / "out", {"kept.txt": b"mine", "folder/x.txt": b"mine"})
    (out / "link").symlink_to(outside)
    (out / "over.txt").symlink_to(outside / "target.txt")
    before = below(outside), below(out)
    (tmp_path / "a.tar").write_bytes(HOSTILE[name] + archive([(b"good.txt", b"good")]))
    for force in ([], ["-f"]):
        done = streamwds("unpack", "a.tar", "-C", "out", *force)
        assert below(outside) == before[0]
        assert not Path("/tmp/escaped.txt").exists()
        assert {*tmp_path.iterdir()} == {outside, out, tmp_path / "a.tar"}
        assert (out / "good.txt").read_bytes() == b"good"
        if not force:
            refused = name != "with NUL"  # (what is behind it, tar itself does not see)
            assert done.status == int(refused)
            assert not refused or "not written" in done.err
            (out / "good.txt").unlink()
    assert (out / "kept.txt").read_bytes() == b"mine"


def test_cat_into_a_folder_stays_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive([(b"../x.txt", b"x")]))
    done = streamwds("cat", "a.tar", "../x", "-C", "out")
    assert (done.status, below(tmp_path / "out")) == (1, {})
    assert not (tmp_path / "x.txt").exists()


def test_unpack_writes_over_nothing_unasked(tmp_path: Path) -> None:
    tree(tmp_path / "out", {"0001.cls": b"mine"})
    numbers(tmp_path / "a.tar", range(2))
    done = streamwds("unpack", "a.tar", "-C", "out", "--json")
    assert (done.status, done.json) == (1, [{"files": 3, "bytes": 17, "refused": 1}])
    assert (tmp_path / "out" / "0001.cls").read_bytes() == b"mine"
    good("unpack", "a.tar", "-C", "out", "--force")
    assert below(tmp_path / "out") == files(tmp_path / "a.tar")


def test_unpack_chooses_fields_and_keeps_shards_apart(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar.gz"):
        numbers(tmp_path / name, range(1))
    good("unpack", "a.tar", "b.tar.gz", "-C", "out", "--apart", "--fields", "cls")
    assert below(tmp_path / "out") == {"a/0000.cls": b"0", "b/0000.cls": b"0"}


# ---- concat, reshard, sort, shuffle


def test_concat_goes_through_pipes_and_tar(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(3))
    numbers(tmp_path / "b.tar.gz", range(3, 5))
    whole = process("concat", "a.tar", "b.tar.gz", "-o", "-").raw
    with tarfile.open(fileobj=io.BytesIO(whole)) as found:
        assert found.getnames() == [f"{n:04d}.{field}" for n in range(5) for field in ("cls", "txt")]
    good("concat", "-", "-o", "c.tar.xz", stdin=whole)
    assert files(tmp_path / "c.tar.xz") == {**files(tmp_path / "a.tar"), **files(tmp_path / "b.tar.gz")}


def test_concat_reads_the_web_and_lists(tmp_path: Path) -> None:
    data = numbers(tmp_path / "a.tar", range(3)).read_bytes()
    with Faults({"/a.tar": data, "/b.tar": data}) as server:
        (tmp_path / "list.txt").write_text(f"{server.url}/{{a,b}}.tar\n")
        good("concat", "@list.txt", "-o", "out.tar", "--keys", "{shard}/{key}")
        good("shuffle", f"{server.url}/a.tar", "-o", "mixed.tar")
    assert keys(tmp_path / "out.tar") == ["a/0000", "a/0001", "a/0002", "b/0000", "b/0001", "b/0002"]
    assert sorted(keys(tmp_path / "mixed.tar")) == ["0000", "0001", "0002"]


def test_concat_says_how_to_make_keys_differ(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        numbers(tmp_path / name, range(2))
    done = streamwds("concat", "a.tar", "b.tar", "-o", "c.tar")
    assert done.status == 1
    assert "key '0000'" in done.err
    assert "--keys" in done.err
    good("concat", "a.tar", "b.tar", "-o", "c.tar", "--keys", "{number:02d}", "--fields", "cls")
    assert files(tmp_path / "c.tar") == {f"{n:02d}.cls": b"%d" % (n % 2) for n in range(4)}


def test_ranks_in_the_environment_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers(tmp_path / "a.tar", range(4))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    good("concat", "a.tar", "-o", "b.tar")
    good("reshard", "b.tar", "-o", "c-%d.tar", "--shards", "2")
    assert len(files(tmp_path / "b.tar")) == 2 * len(files(tmp_path / "c-1.tar")) == 8
    assert len(good("ls", "-m", "-", stdin=(tmp_path / "b.tar").read_bytes()).lines) == 8


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        (["--maxcount", "4"], [4, 4, 2]),
        (["--maxsize", "6 kB"], [3, 3, 3, 1]),
        (["--shards", "4"], [2, 3, 2, 3]),
        (["--shards", "10"], [1] * 10),
        ([], [10]),
    ],
)
@pytest.mark.parametrize("command", ["reshard", "split"])
def test_reshard_makes_shards_of_the_size(command: str, options: list[str], sizes: list[int], tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(10))
    written = good(command, "a.tar", "-o", "b-%02d.tar", "--json", *options).json
    shards = sorted(tmp_path.glob("b-*.tar"))
    assert [len(keys(path)) for path in shards] == sizes
    assert keys(*shards) == keys(tmp_path / "a.tar")
    assert written == [{"shards": len(sizes), "samples": 10, "bytes": 20480}]


def test_numbered_shards_are_written_over_only_when_asked(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(10))
    good("reshard", "a.tar", "-o", "b2-%02d.tar", "--maxcount", "3")
    before = below(tmp_path)
    done = streamwds("reshard", "a.tar", "-o", "b2-%02d.tar", "--maxcount", "5")
    assert (done.status, "b2-00.tar: it is there already" in done.err) == (2, True)
    done = streamwds("reshard", "b2-*.tar", "-o", "b2-%02d.tar", "--maxcount", "5", "--force")
    assert (done.status, "while it is read" in done.err) == (2, True)
    assert below(tmp_path) == before
    done = good("reshard", "a.tar", "-o", "b2-%02d.tar", "--maxcount", "5", "--force")
    assert "b2-02.tar and others had such a name before, and stays" in done.err
    good("sort", "a.tar", "-r", "-o", "a.tar", "--force")  # (one shard is replaced only when the new one is whole)
    assert keys(tmp_path / "a.tar") == [f"{n:04d}" for n in reversed(range(10))]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "-"])
def test_sort_puts_scattered_files_together(name: str, tmp_path: Path) -> None:
    members = [(f"{n}.{field}", f"{n}{field}".encode()) for n in range(12) for field in ("txt", "jpg")]
    random.Random(0).shuffle(members)
    path = tmp_path / name.replace("-", "b.tar")
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as found:
        for member_name, data in members:
            info = tarfile.TarInfo(member_name)
            info.size = len(data)
            found.addfile(info, io.BytesIO(data))
    stdin = path.read_bytes() if name == "-" else None
    good("sort", name, "-o", "out.tar", stdin=stdin)
    good("sort", name, "-n", "-r", "-o", "natural.tar", stdin=stdin)
    assert keys(tmp_path / "out.tar") == sorted(map(str, range(12)))
    assert keys(tmp_path / "natural.tar") == [str(n) for n in reversed(range(12))]
    assert files(tmp_path / "out.tar") == files(tmp_path / "natural.tar") == dict(members)


def test_sort_by_a_field(tmp_path: Path) -> None:
    values = [3, -1, 20, 3, 1]
    shard(tmp_path / "a.tar", {str(n): {"cls": value, "json": [1]} for n, value in enumerate(values)})
    good("sort", "a.tar", "--by", "cls", "-o", "b.tar")
    assert keys(tmp_path / "b.tar") == ["1", "4", "0", "3", "2"]
    good("sort", "a.tar", "--by", "cls", "-r", "-o", "c.tar")
    assert keys(tmp_path / "c.tar") == ["2", "0", "3", "4", "1"]
    for field, said in (("json", "numbers or text"), ("txt", "txt")):
        done = streamwds("sort", "a.tar", "--by", field, "-o", "d.tar")
        assert (done.status, said in done.err) == (1, True)
    numbers(tmp_path / "e.tar", range(2))
    done = streamwds("sort", "e.tar", "e.tar", "-o", "d.tar")
    assert (done.status, "two samples of this key have this field" in done.err) == (1, True)


def test_shuffle_is_a_permutation_that_the_seed_decides(tmp_path: Path) -> None:
    for n in range(3):
        numbers(tmp_path / f"a-{n}.tar", range(100 * n, 100 * n + 100))
    orders = []
    for seed in ("0", "0", "1"):
        good("shuffle", "a-*.tar", "--seed", seed, "-o", "b-%d.tar", "--maxcount", "128", "-f")
        orders.append(keys(*sorted(tmp_path.glob("b-*.tar"))))
    assert orders[0] == orders[1] != orders[2]
    assert [sorted(order) for order in orders] == [[f"{n:04d}" for n in range(300)]] * 3
    moved = sum(int(key) // 100 != place // 100 for place, key in enumerate(orders[0]))
    assert moved > 150  # (two thirds are expected to leave their shard)


def peak(*args: str, stdin: Path) -> int:
    """The peak memory of a command, in bytes."""
    with open(stdin, "rb") as file:
        pid = os.posix_spawn(
            sys.executable, [*PROGRAM, *args], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 0)]
        )
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("command", ["sort", "shuffle"])
def test_more_than_memory_can_be_put_in_order(command: str, tmp_path: Path) -> None:
    shard(tmp_path / "small.tar", {"0": {"bin": bytes(500_000)}})
    shard(tmp_path / "large.tar", {str(n): {"bin": bytes(500_000)} for n in range(160)})
    small = peak(command, "-", "-o", "a.tar", stdin=tmp_path / "small.tar")
    large = peak(command, "-", "-o", "b.tar", stdin=tmp_path / "large.tar")
    assert sorted(keys(tmp_path / "b.tar")) == sorted(map(str, range(160)))
    assert large - small < 20_000_000  # of 80 million


# ---- proc


def test_proc_makes_samples_of_what_a_command_leaves(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(20))
    command = 'wc -c < sample.txt > sample.len; rm sample.cls; echo "$SAMPLE_KEY" > sample.key; touch other.txt'
    for jobs in ("1", "4"):
        good("proc", "a.tar", "-c", command, "-j", jobs, "-o", f"b{jobs}.tar")
        found = list(urls(tmp_path / f"b{jobs}.tar") | tarsamples | decode())
        assert [int(sample["len"]) for sample in found] == [len(f"number {n}") for n in range(20)]
        assert [sample["key"] for sample in found] == [sample["__key__"].encode() + b"\n" for sample in found]
        assert {*found[0]} == {"__key__", "__url__", "len", "key", "txt"}


def test_proc_leaves_out_what_a_command_removes(tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(10))
    done = good("proc", "a.tar", "-c", "grep -q '[13579]' sample.cls || rm sample.*", "-o", "b.tar")
    assert keys(tmp_path / "b.tar") == ["0001", "0003", "0005", "0007", "0009"]
    assert "5 samples left out" in done.err


def test_proc_runs_nothing_of_a_shard(tmp_path: Path) -> None:
    evil = b"$(touch ran); touch ran; `touch ran`"
    (tmp_path / "a.tar").write_bytes(archive([(evil.replace(b"/", b"") + b".$(touch ran)", evil)]))
    good("proc", "a.tar", "-c", 'cat sample.* > sample.out; echo "$SAMPLE_KEY" >> sample.out', "-o", "b.tar")
    (found,) = urls(tmp_path / "b.tar") | tarsamples
    assert found["out"] == evil + evil + b"\n"
    assert not [*tmp_path.rglob("ran")]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 3", "the command exited with 3"),
        ("kill -9 $$", "ended by signal 9"),
        ("ln -s /etc/passwd sample.link", "no file, but a link"),
        ("nothing-of-this-name", "exited with 127"),
    ],
)
def test_proc_stops_at_a_command_that_fails(command: str, said: str, tmp_path: Path) -> None:
    numbers(tmp_path / "a.tar", range(3))
    done = streamwds("proc", "a.tar", "-c", command, "-o", "b.tar", "-j", "2")
    assert done.status == 1
    assert "key '0000'" in done.err
    assert said in done.err
    assert not (tmp_path / "b.tar").exists()


# ---- progress


def test_bars_are_shown_on_terminals_only(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    numbers(tmp_path / "a.tar", range(50))
    assert process("concat", "a.tar", "-o", "b.tar").err == "streamwds: wrote 50 samples to 1 shard, 102.4 kB\n"
    ours, theirs = pty.openpty()
    with subprocess.Popen([*PROGRAM, "concat", "a.tar", "-o", "c.tar"], stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # (the end of a terminal whose other side is closed)
            while more := os.read(ours, 1 << 16):
                shown += more
    os.close(ours)
    assert running.returncode == 0
    assert "writing" in shown.decode()
    assert "1/1 files" in shown.decode()
    assert files(tmp_path / "b.tar") == files(tmp_path / "c.tar")
    assert tar.count(tmp_path / "c.tar") == {str(tmp_path / "c.tar"): 50}


def test_descriptors_of_a_thousand_shards_are_few(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with TarWriter(tmp_path / "x.tar") as writer:
        writer.dwrite("k", cls=1)
    for n in range(150):
        (tmp_path / f"a-{n:03d}.tar").write_bytes((tmp_path / "x.tar").read_bytes())
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        done = good("shuffle", "a-*.tar", "-o", "b.tar", "--keys", "{shard}")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "150 samples" in done.err


# ---- stores


def test_shards_are_written_to_stores(tmp_path: Path) -> None:
    source = numbers(tmp_path / "a.tar", range(10))
    store = f"memory://{tmp_path.name}"
    good("concat", source, "-o", f"{store}/b.tar")
    good("split", source, "-o", f"{store}/c-%d.tar", "--maxcount", "4")
    expected = keys(source)
    assert [sample["__key__"] for sample in urls(f"{store}/b.tar") | tarsamples] == expected
    assert [sample["__key__"] for sample in urls(f"{store}/c-{{0..2}}.tar") | tarsamples] == expected
    again = streamwds("concat", source, "-o", f"{store}/b.tar")
    assert (again.status, again.err) == (
        2,
        f"streamwds: {store}/b.tar: it is there already; --force writes over it\n",
    )
    again = streamwds("split", source, "-o", f"{store}/c-%d.tar", "--maxcount", "4")
    assert (again.status, again.err) == (
        1,
        f"streamwds: {store}/c-0.tar: it is there already; --force writes over it\n",
    )
    good("split", source, "-o", f"{store}/c-%d.tar", "--maxcount", "4", "--force")
    good("concat", source, "-o", f"{store}/b.tar", "--force")


@pytest.mark.parametrize("name", ["pipe:cat > b.tar", "http://127.0.0.1:9/b.tar", "nosuch://a/b.tar"])
def test_where_no_shards_can_be_written(name: str, tmp_path: Path) -> None:
    source = numbers(tmp_path / "a.tar", range(3))
    done = streamwds("concat", source, "-o", name)
    assert done.status == 2
    assert "shards are written to local files, and to stores" in done.err
    assert sorted(below(tmp_path)) == ["a.tar"]
