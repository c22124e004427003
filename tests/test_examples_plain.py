"""The examples that have nothing to do with ML, where torch can't be imported; and stages among toolz's functions."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toolz
from PIL import Image, ImageOps
from toolz import curried

from streamwds import TarWriter, batched, decode, identity, map, select, tarsamples, to_tuple, urls
from streamwds.errors import CompositionError

ROOT = Path(__file__).parent.parent

# an interpreter in which nobody can import torch, and nobody tries
WITHOUT_TORCH = """
import runpy
import sys


class NoTorch:
    asked = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "torchdata", "torchvision"):
            self.asked.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoTorch())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not NoTorch.asked, f"torch was asked for: {NoTorch.asked}"
assert "streamwds" in sys.modules and "torch" not in sys.modules
"""


def run_without_torch(example: str, *options: str) -> str:
    """What an example prints."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT / "examples" / example), *options]
    found = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert found.returncode == 0, found.stderr
    return found.stdout


def files_in(shard: Path) -> dict[str, bytes]:
    """The files in an archive by their names, in their order, as Python's own tarfile reads them."""
    with tarfile.open(shard) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def lines_of(shards: list[Path]) -> dict[str, list[dict[str, Any]]]:
    files = toolz.merge([files_in(shard) for shard in shards])
    return {name: [json.loads(line) for line in data.splitlines()] for name, data in files.items()}


def test_the_interpreter_without_torch_has_none(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import torch")
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        run_without_torch(str(script))
    script.write_text("import streamwds\ntry:\n    import torch\nexcept ImportError:\n    pass")
    with pytest.raises(AssertionError, match="torch was asked for"):
        run_without_torch(str(script))


def test_web_logs(tmp_path: Path) -> None:
    printed = run_without_torch("weblogs.py", "--folder", str(tmp_path))
    logs = lines_of(sorted(tmp_path.glob("logs-*.tar")))
    assert [len(hour) for hour in logs.values()] == [50] * 72

    people = {name: [line for line in hour if "bot" not in line["agent"].lower()] for name, hour in logs.items()}
    assert people != logs
    assert lines_of(sorted(tmp_path.glob("people-*.tar"))) == people

    requests, failed, sent = Counter[str](), Counter[str](), Counter[str]()
    for line in toolz.concat(people.values()):
        path = line["path"].split("?")[0]
        requests[path] += 1
        failed[path] += line["status"] >= 500
        sent[path] += line["bytes"]
    expected = {path: {"requests": requests[path], "failed": failed[path], "bytes": sent[path]} for path in requests}
    assert json.loads(files_in(tmp_path / "table-00.tar")["table.json"]) == expected
    rows = [(path, int(count)) for path, count, *_ in (line.split() for line in printed.splitlines()[1:])]
    assert rows == requests.most_common()

    again = tmp_path / "again"
    assert run_without_torch("weblogs.py", "--logs", f"{tmp_path}/logs-*.tar", "--folder", str(again)) == printed


def test_resharding_and_sorting(tmp_path: Path) -> None:
    options = ("--folder", str(tmp_path), "--count", "700", "--resume")
    printed = run_without_torch("reshard.py", *options)
    unsorted = toolz.merge([files_in(shard) for shard in sorted(tmp_path.glob("words-*.tar"))])
    keys = [name.removesuffix(".cls") for name in unsorted if name.endswith(".cls")]
    ordered = sorted(keys, key=lambda key: int(unsorted[f"{key}.cls"]))
    assert ordered != keys
    assert len(keys) == 2000

    shards = sorted(tmp_path.glob("sorted-*.tar"))
    found = [files_in(shard) for shard in shards]
    assert [len(files) // 2 for files in found] == [700, 700, 600]
    assert list(toolz.unique(name.split(".")[0] for name in toolz.concat(found))) == ordered
    assert toolz.merge(found) == unsorted

    written = [
        shard.stat().st_mtime_ns for shard in shards
    ]  # and when all is done, it says the same and writes nothing
    assert run_without_torch("reshard.py", "--shards", f"{tmp_path}/words-*.tar", *options) == printed
    assert [shard.stat().st_mtime_ns for shard in shards] == written

    by_key = ("--shards", f"{tmp_path}/sorted-*.tar", "--by", "__key__", "--folder", str(tmp_path / "by key"))
    run_without_torch("reshard.py", *by_key, "--count", "3000")
    (shard,) = (tmp_path / "by key").glob("*.tar")
    assert list(files_in(shard).items()) == sorted(unsorted.items(), key=lambda file: file[0].split(".")[0])


def test_thumbnails(tmp_path: Path) -> None:
    printed = run_without_torch("thumbnails.py", "--folder", str(tmp_path), "--size", "100")
    photos = tmp_path / "photos"
    expected: dict[str, Image.Image] = {}
    for path in sorted(photos.rglob("*.jpg")):
        with Image.open(path) as photo:
            try:
                upright = ImageOps.exif_transpose(photo)
            except OSError:
                continue  # (that one is cut)
            scale = 100 / min(upright.size)
            size = (round(upright.width * scale), round(upright.height * scale))
            expected[path.relative_to(photos).as_posix()] = upright.resize(size, Image.Resampling.BILINEAR)
    assert len(expected) == 23
    assert printed.startswith("23 thumbnails, ")
    assert printed.endswith("; 1 of the photos can't be read\n")

    thumbnails = files_in(tmp_path / "thumbnails-000.tar")
    assert list(thumbnails) == list(expected)
    for name, data in thumbnails.items():
        (tmp_path / "one.jpg").write_bytes(data)
        with Image.open(tmp_path / "one.jpg") as thumbnail:
            assert thumbnail.size == expected[name].size
            difference = np.asarray(thumbnail).astype(float) - np.asarray(expected[name])
        assert np.abs(difference).mean() < 4, name  # (JPEG's loss)

    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 100, 3 * 100)
        for number, name in enumerate(expected):
            middle = expected[name].getpixel((expected[name].width // 2, expected[name].height // 2))
            shown = sheet.getpixel((100 * (number % 8) + 50, 100 * (number // 8) + 50))
            assert np.allclose(middle, shown, atol=16), name  # type: ignore[arg-type]


def test_photos_may_be_none_and_may_have_dots_in_their_names(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    options = ("--photos", str(photos), "--folder", str(tmp_path), "--size", "10")
    assert run_without_torch("thumbnails.py", *options) == "0 thumbnails, 0.0 MB; 0 of the photos can't be read\n"
    assert not (tmp_path / "sheet.png").exists()
    Image.new("RGB", (30, 20), (200, 0, 0)).save(photos / "a 2026.11.25 ü.JPG")
    run_without_torch("thumbnails.py", *options)
    assert list(files_in(tmp_path / "thumbnails-000.tar")) == ["a 2026-11-25 ü.jpg"]


# ---- toolz


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with TarWriter(tmp_path / "a.tar") as writer:
        for number in range(20):
            writer.write({"__key__": f"{number:02}", "cls": number})
    return tmp_path / "a.tar"


def test_stages_are_functions_for_toolz_pipe(shard: Path) -> None:
    stages = (tarsamples, decode(), select(lambda sample: sample["cls"] % 2), to_tuple("cls"), batched(4), list)
    piped = toolz.pipe(urls(shard), *stages)
    assert len(piped) == 3
    (last,) = piped[-1]
    assert last.tolist() == [17, 19]
    joined = urls(shard) | tarsamples | decode() | select(lambda sample: sample["cls"] % 2) | to_tuple("cls")
    assert [list(columns[0]) for columns in joined | batched(4)] == [list(columns[0]) for columns in piped]


def test_what_toolz_pipe_makes_of_stages_is_a_stream_that_resumes(shard: Path) -> None:
    stream = toolz.pipe(str(shard), tarsamples, decode(), map(itemgetter("cls")))
    assert stream == str(shard) | tarsamples | decode() | map(itemgetter("cls"))
    *_, (seven, position) = toolz.take(8, stream.tracked())
    assert seven == 7
    assert list(stream.at(position)) == list(range(8, 20))


def test_stages_and_functions_of_toolz_compose() -> None:
    thirds = toolz.compose_left(select(lambda n: n % 3 == 0), map(str), list)
    assert thirds(range(10)) == ["0", "3", "6", "9"]


def test_curried_functions_of_toolz_end_a_stream() -> None:
    assert (range(6) | map(str) | curried.groupby(lambda text: int(text) % 2)) == {0: list("024"), 1: list("135")}
    assert (range(6) | map(lambda n: n % 2) | toolz.frequencies) == {0: 3, 1: 3}
    with pytest.raises(CompositionError, match="returns an iterator"):
        range(6) | identity | curried.map(str)
