"""The demo on a few samples: what it cuts, writes, reads and draws."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from streamwds import demo, tarsamples, urls
from streamwds.cli import app
from streamwds.errors import SourceError
from streamwds.show.sheet import CAPTION, GAP, HEADER, TILE_HEIGHT, TILE_WIDTH

COUNT = 42

Test = TypeVar("Test", bound=Callable[..., None])


def beside_webdataset(test: Test) -> Test:
    """For a test that runs webdataset, which leaves its shards open until they are collected."""
    pytest.mark.usefixtures("collect_within_the_test")(test)
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")(test)
    return test


@pytest.fixture
def collect_within_the_test() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    return demo.make_shards(tmp_path_factory.mktemp("shards"), COUNT)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def photograph(source: str) -> Image.Image:
    package, _, path = source.partition("/")
    return Image.open(str(files(package).joinpath(path))).convert("RGB")


def test_shards_hold_the_samples(pattern: str) -> None:
    samples = list(urls(pattern) | tarsamples)
    assert [sample["__key__"] for sample in samples] == [f"{index:06d}" for index in range(COUNT)]
    assert len(shards(Path(pattern).parent)) == demo.SHARDS
    for sample in samples:
        assert Image.open(io.BytesIO(sample["jpg"])).size == (500, 375)
        label, meta = int(sample["cls"]), json.loads(sample["json"])
        assert meta["source"] == "/".join(demo.PHOTOGRAPHS[label])


def test_metadata_tells_where_a_crop_is_from(pattern: str) -> None:
    for sample in list(urls(pattern) | tarsamples)[:12]:
        meta = json.loads(sample["json"])
        left, top, right, bottom = meta["box"]
        centre = ((left + right) / 2, (top + bottom) / 2)
        turned = photograph(meta["source"]).rotate(meta["angle"], Image.Resampling.BILINEAR, center=centre)
        expected = turned.resize((500, 375), Image.Resampling.BILINEAR, box=tuple(meta["box"]))
        if meta["flipped"]:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        actual = Image.open(io.BytesIO(sample["jpg"])).convert("RGB")
        assert np.abs(np.asarray(actual, float) - np.asarray(expected, float)).mean() < 6


def test_shards_depend_on_the_seed_alone(pattern: str, tmp_path: Path) -> None:
    demo.make_shards(tmp_path / "same", COUNT)
    assert shards(tmp_path / "same") == shards(Path(pattern).parent)
    demo.make_shards(tmp_path / "other", COUNT, seed=1)
    assert shards(tmp_path / "other") != shards(Path(pattern).parent)


def test_a_second_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    demo.make_shards(tmp_path, COUNT)
    before = shards(tmp_path)
    (tmp_path / "photos-000001.tar").unlink()
    reports: list[int] = []
    demo.make_shards(tmp_path, COUNT, report=reports.append)
    assert reports == [COUNT - COUNT // demo.SHARDS, *[1] * (COUNT // demo.SHARDS)]
    assert shards(tmp_path) == before
    reports.clear()
    demo.make_shards(tmp_path, COUNT, report=reports.append)
    assert reports == [COUNT]


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="5 samples"):
        demo.make_shards(tmp_path, 5)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PHOTOGRAPHS", (("skimage_is_not_here", "data/a.png"),))
    with pytest.raises(SourceError, match=r"skimage_is_not_here.*pip install 'streamwds\[demo\]'"):
        demo.make_shards(tmp_path, 6)


def test_a_missing_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PHOTOGRAPHS", (("skimage", "data/gone.png"),))
    with pytest.raises(SourceError, match=r"skimage ships no data/gone\.png"):
        demo.make_shards(tmp_path, 6)


def test_the_pipeline_gives_batches(pattern: str) -> None:
    whole, rest = demo.pipeline(pattern)
    assert whole["jpg"].shape == (32, 375, 500, 3)
    assert whole["jpg"].dtype == np.float32
    assert 0 <= whole["jpg"].min() < whole["jpg"].max() <= 1
    assert len(rest["__key__"]) == COUNT - 32
    for batch in (whole, rest):
        assert batch["cls"].dtype.kind == "i"
        named = ["/".join(demo.PHOTOGRAPHS[label]) for label in batch["cls"]]
        assert named == [meta["source"] for meta in batch["json"]]


@beside_webdataset
def test_webdataset_is_given_the_same_work(pattern: str) -> None:
    theirs = list(demo.webdataset_pipeline(pattern))
    for batch, other in zip(demo.pipeline(pattern), theirs, strict=True):
        assert batch["__key__"] == other["__key__"]
        assert batch["json"] == other["json"]
        np.testing.assert_array_equal(batch["cls"], other["cls"])
        np.testing.assert_array_equal(batch["jpg"], other["jpg"])


def keys(batches: Iterable[Any]) -> list[str]:
    return sorted(key for batch in batches for key in batch["__key__"])


@beside_webdataset
def test_workers_share_the_samples(pattern: str) -> None:
    expected = [f"{index:06d}" for index in range(COUNT)]
    assert keys(demo.loader(demo.pipeline(pattern))) == expected
    assert keys(demo.loader(demo.webdataset_pipeline(pattern))) == expected


def test_the_contact_sheet_shows_every_sample(pattern: str) -> None:
    batch = next(iter(demo.pipeline(pattern)))
    sheet = demo.contact_sheet(batch, "title")
    tile = np.asarray(sheet, float)[HEADER:, GAP:][:TILE_HEIGHT, :TILE_WIDTH]
    shrunk = Image.fromarray((batch["jpg"][0] * 255).astype(np.uint8)).resize((TILE_WIDTH, TILE_HEIGHT))
    assert np.abs(tile - np.asarray(shrunk, float)).mean() < 4
    assert sheet.size == (8 * 256 + 16, HEADER + 4 * (TILE_HEIGHT + CAPTION + GAP))


@beside_webdataset
def test_a_run_prints_plainly_where_nobody_watches(tmp_path: Path) -> None:
    out = io.StringIO()
    sheet = demo.run(tmp_path, count=COUNT, rounds=1, console=Console(file=out, width=80))
    text = out.getvalue()
    assert "\x1b" not in text
    assert f"contact sheet: {sheet}\n" in text
    assert str(tmp_path / "demo" / f"photos-{COUNT}-seed-0" / "photos-{000000..000005}.tar") in text
    assert all(word in text for word in ("in this process", "2 workers", "webdataset", "ratio", "float32"))
    assert Image.open(sheet).format == "PNG"
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "contact-sheet.png",
        f"photos-{COUNT}-seed-0",
    ]


def test_a_run_says_what_it_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_installed", lambda package: False)
    out = io.StringIO()
    demo.run(tmp_path, count=COUNT, rounds=1, console=Console(file=out, width=80))
    assert "pip install torch" in out.getvalue()
    assert "pip install webdataset" in out.getvalue()
    assert "workers" not in out.getvalue()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STREAMWDS_CACHE": "chosen", "XDG_CACHE_HOME": "/xdg"}, "{here}/chosen"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/streamwds"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/streamwds"),
        ({"HOME": "/home/me"}, "/home/me/.cache/streamwds"),
    ],
)
def test_the_cache_folder(
    environment: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STREAMWDS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert demo.default_cache() == Path(expected.format(here=tmp_path))


@beside_webdataset
def test_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--cache", str(tmp_path), "--count", str(COUNT), "--rounds", "1"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "demo" / "contact-sheet.png").is_file()
