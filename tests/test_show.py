"""Samples to look at: pages and contact sheets say what is in a sample, run nothing of it, and stay bounded."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
import tracemalloc
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamwds import TarWriter, tarsamples, urls
from streamwds.codecs import Rules, encoder
from streamwds.errors import CompositionError
from streamwds.show import contact_sheet, html_page, viewed
from streamwds.show import page as page_module
from streamwds.show.drawing import heat_map, numbers, wave
from streamwds.show.fields import views_of
from streamwds.show.sheet import CAPTION, GAP, HEADER, TILE_HEIGHT, TILE_WIDTH
from tests.attacks import ATTACKS


def encoded(field: str, value: Any) -> bytes:
    encode = encoder(field)
    assert encode is not None
    return encode(value)


TONE = (np.sin(np.arange(4000, dtype=np.float32) / 9), 8000)
RED = Image.new("RGB", (640, 480), "red")
SAMPLES: list[dict[str, Any]] = [
    {"__key__": "cats/1", "__url__": "https://me:secret@host/a.tar?sig=abc", "jpg": encoded("jpg", RED), "cls": b"7"},
    {"__key__": "sound", "flac": encoded("flac", TONE), "txt": "ein Ton, läßlich".encode()},
    {"__key__": "arrays", "npy": encoded("npy", np.arange(12.0).reshape(3, 4)), "json": b'{"a": [1, 2]}'},
    {"__key__": "odd", "pyd": b"cos\nsystem\n(S'true'\ntR.", "bin": bytes(range(200)), "png": b"broken"},
]
HOSTILE = '"><script>document.title = "run"</script><img src=x onerror="document.title=1">\0\ud800&amp;'


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def sources(self, tag: str) -> list[str]:
        return [str(found["src"]) for name, found in self.tags if name == tag]


# ---- fields


@pytest.mark.parametrize(
    ("field", "value", "kind", "caption", "text"),
    [
        ("cls", b"7", "text", "int", "7"),
        ("txt", b"a cat", "text", "5 letters", "a cat"),
        ("json", b'{"a":1}', "text", "dict", '{\n  "a": 1\n}'),
        ("json", b"null", "text", "NoneType", "null"),
        ("xyz", b"some words", "bytes", "10 bytes", "some words"),
        ("bin", b"\0\1", "bytes", "2 bytes", "00 01"),
        ("bin", b"\xff" * 3000, "bytes", "3.0 kB", " ".join(["ff"] * 64) + " …"),
        ("jpg", b"broken", "error", "6 bytes", "no readable image"),
        ("pyd", b"cos\nsystem\n(S'true'\ntR.", "error", "23 bytes", "reading a pickle can run any code"),
        ("json", b"{", "error", "1 byte", ""),
        ("txt", b"\xff", "error", "1 byte", ""),
        ("avi", b"some film", "film", "9 bytes, which browsers don't play", ""),
        ("cls", 7, "text", "int", "7"),
        ("x", np.float32(1.5), "picture", "float32 a single number, 1.5 to 1.5, mean 1.5", "[1.5]"),
    ],
)
def test_fields(field: str, value: Any, kind: str, caption: str, text: str) -> None:
    view = viewed(field, value)
    assert (view.kind, view.caption) == (kind, caption)
    assert view.text.startswith(text)


def test_pictures_are_made_small() -> None:
    view = viewed("jpg", encoded("jpg", RED))
    assert (view.kind, view.caption) == ("picture", "640×480 RGB")
    assert view.picture is not None
    assert view.picture.size == (480, 360)
    assert np.asarray(view.picture)[0, 0].tolist() == pytest.approx([254, 0, 0], abs=2)


def test_arrays_are_heat_maps() -> None:
    one, several = np.arange(12.0).reshape(3, 4), [np.arange(3), np.ones((2, 2), "f4")]
    view = viewed("npy", encoded("npy", one))
    assert view.caption == "float64 3×4, 0 to 11, mean 5.5"
    assert view.picture is not None
    assert view.picture.size == (240, 180)
    view = viewed("ten", encoded("ten", several))
    assert view.caption == "0: int64 3, 0 to 2, mean 1; 1: float32 2×2, 1 to 1, mean 1"
    view = viewed("npz", encoded("npz", {"a": one, "b": np.zeros(3, "?")}))
    assert view.caption == "a: float64 3×4, 0 to 11, mean 5.5; b: bool 3, 0 to 0, mean 0"


def test_sound_is_a_wave_and_a_player() -> None:
    view = viewed("flac", data := encoded("flac", TONE))
    assert view.caption == f"0.5 s, 1 × 8000 Hz, {len(data) / 1000:.1f} kB"
    assert view.played == ("audio/flac", data)
    assert view.picture is not None
    assert viewed("wav", b"no sound").played == ("audio/wav", b"no sound")  # (the player says so)


def test_what_is_too_long_is_cut() -> None:
    assert viewed("txt", b"x" * 5000).text == "x" * 2000 + " …"
    assert viewed("xyz", "xä".encode() * 5000).text == "xä" * 1000 + " …"
    assert viewed("xyz", b"x\xc3").text == "78 c3"
    assert viewed("json", json.dumps(["x" * 5000, 1]).encode()).text == '[\n  "' + "x" * 1995 + " …"
    assert viewed("x", np.array("x" * 5000)).text == "['" + "x" * 1998 + " …"
    assert len(viewed("x", np.zeros(2, [(f"field{n}", "i4") for n in range(500)])).caption) < 100
    caption = viewed("x", {f"{n}": np.zeros(n) for n in range(1000)}).caption
    assert caption.startswith("0: float64 0; 1: float64 1, 0 to 0, mean 0; ")
    assert caption.endswith("; 7: float64 7, 0 to 0, mean 0; … (1000 arrays)")
    assert viewed("mp4", bytes(9 << 20)).played is None
    assert "too much for a page" in viewed("mp4", bytes(9 << 20)).caption


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words for it")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "kind", "caption", "text"),
    [
        (bytearray(b"\0\1"), "bytes", "2 bytes", "00 01"),
        (memoryview(b"\0\1"), "bytes", "2 bytes", "00 01"),
        (Image.new("RGB", (0, 5)), "picture", "0×5 RGB", ""),
        (nested(5000), "text", "list", "[\n  [\n"),
        (Unspeakable(), "error", "Unspeakable", "no words for it"),
        (Image.open(io.BytesIO(encoded("png", Image.effect_noise((99, 99), 99))[:-999])), "error", "PngImageFile", ""),
    ],
)
def test_odd_values(value: Any, kind: str, caption: str, text: str) -> None:
    view = viewed("x", value)
    assert (view.kind, view.caption) == (kind, caption)
    assert view.text.startswith(text)
    assert html_page([{"x": value}], "").count("<section") == 1
    contact_sheet([{"x": value}])


def test_pictures_of_numbers_are_heat_maps() -> None:
    depths = Image.fromarray(np.arange(1, 13, dtype="f4").reshape(3, 4) / 12)
    assert depths.mode == "F"
    picture = viewed("depth", depths).picture
    assert picture is not None
    assert np.asarray(picture)[0, 0].tolist() == [68, 1, 84]
    assert np.asarray(picture)[-1, -1].tolist() == [253, 231, 37]


def test_bounds_are_kept() -> None:
    view = viewed("png", encoded("png", RED), Rules(max_pixels=1000))
    assert view.kind == "error"
    assert "max_pixels" in view.text


# ---- drawing


@given(
    st.sampled_from(["?", "u1", "i8", "f2", "f4", "f8", "c8", "U3", "O"]),
    st.lists(st.integers(0, 5), max_size=5).map(tuple),
    st.sampled_from([0.0, 1.0, -3e38, 3e38, np.inf, -np.inf, np.nan]),
)
def test_any_array_can_be_drawn(dtype: str, shape: tuple[int, ...], value: float) -> None:
    array = np.zeros(shape, dtype)
    if array.size and dtype in ("f4", "f8", "c8"):
        array.flat[0] = value
    picture = heat_map(array)
    assert (picture is None) == (dtype in ("U3", "O") or not array.size)
    assert picture is None or max(picture.size) <= 1100
    assert numbers(array).startswith(str(array.dtype))


def test_a_heat_map_goes_from_dark_to_bright() -> None:
    picture = heat_map(np.array([[0.0, np.nan, 5.0]]))
    assert picture is not None
    found = np.asarray(picture)[0, [0, 100, 200]]
    assert found.tolist() == [[68, 1, 84], [128, 128, 128], [253, 231, 37]]


def test_large_arrays_are_thinned() -> None:
    picture = heat_map(np.zeros((5000, 3), "f4"))
    assert picture is not None
    assert picture.size == (15, 500)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_a_large_array_is_not_copied(dtype: str) -> None:
    array = np.zeros((5000, 5000), dtype)
    tracemalloc.start()
    try:
        viewed("x", array)
        assert tracemalloc.get_traced_memory()[1] < 30e6 + array.size  # (a float for each number takes 200 MB)
    finally:
        tracemalloc.stop()


def test_numbers_are_those_that_are_there() -> None:
    assert numbers(np.array([2**63 + 2048], "u8")) == "uint64 1, 9.22337e+18 to 9.22337e+18, mean 9.22337e+18"
    assert numbers(np.array([60000, 60000, np.inf], "f2")) == "float16 3, 60000 to 60000, mean 60000, 1 not finite"
    assert numbers(np.array([np.nan])) == "float64 1, 1 not finite"
    assert heat_map(np.array([np.longdouble("1e4000"), 1])) is not None


def test_a_wave_is_as_high_as_it_is_loud() -> None:
    loud = wave(np.array([[1, -1] * 2000 + [0] * 4000], np.float32))
    assert loud is not None
    dark = (np.asarray(loud) < 200).any(axis=2).sum(axis=0)
    assert dark[10] == 60
    assert dark[-10] <= 2
    assert wave(np.zeros((1, 0), np.float32)) is None


# ---- pages


def test_a_page_shows_everything() -> None:
    page = Page(html_page(SAMPLES, "four samples"))
    words = "\n".join(page.words)
    for text in (
        "four samples",
        "4 samples",
        "cats/1",
        "640×480 RGB",
        "ein Ton, läßlich",
        "0.5 s",
        "0 to 11",
        '"a": [',
    ):
        assert text in words
    pictures = [Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) for src in page.sources("img")]
    assert [picture.size for picture in pictures] == [(480, 360), (240, 60), (240, 180)]
    assert [src[:22] for src in page.sources("audio")] == ["data:audio/flac;base64"]


def test_a_page_needs_nothing_from_anywhere() -> None:
    page = Page(html_page(SAMPLES, "four samples"))
    for _, found in page.tags:
        for name in ("src", "href", "action", "data", "poster"):
            assert (found.get(name) or "data:").startswith("data:")
    policies = [found["content"] for _, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"]


def test_a_page_tells_no_secrets() -> None:
    assert not re.search("secret|sig=abc", html_page(SAMPLES, ""))


def test_what_a_sample_says_is_never_markup() -> None:
    sample = {"__key__": HOSTILE, "__url__": HOSTILE, HOSTILE: HOSTILE.encode("utf-8", "replace"), "txt": HOSTILE}
    text = html_page([sample, {**sample, "json": json.dumps([HOSTILE]).encode()}], HOSTILE)
    page = Page(text)
    assert {tag for tag, _ in page.tags} == {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "main", "article", "h2", "p", "section"),
        *("b", "pre"),
    }
    assert {name for _, found in page.tags for name in found} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
    }
    assert "document.title" in "".join(page.words)
    text.encode()


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_shown_as_what_they_are(name: str) -> None:
    sample = {"__key__": "a", ATTACKS[name].field: ATTACKS[name].make()}
    assert unescape(html_page([sample], "attack"))
    contact_sheet([sample])


@pytest.mark.needs("chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    hostile = {"__key__": HOSTILE, "txt": HOSTILE, "html": b"<script>document.title = 'run'</script>"}
    page = tmp_path / "page.html"
    page.write_text(html_page([*SAMPLES, hostile], "shown"), encoding="utf-8")
    chromium = shutil.which("chromium")
    assert chromium is not None
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path}/profile", "--window-size=1200,1400", f"--screenshot={tmp_path}/page.png"),
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] > 240) & (pixels[..., 1:] < 20).all(axis=-1)
    bright = (np.abs(pixels - [253, 231, 37]) < 3).all(axis=-1)
    assert red.sum() > 20_000  # the picture
    assert bright.sum() > 1_000  # the heat map
    command[-2:] = ["--dump-dom", page.as_uri()]
    found = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True).stdout
    assert "<title>shown</title>" in found  # (nothing ran)


def test_a_page_is_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 3000)
    page = html_page(({"__key__": str(n), "txt": b"x" * 900} for n in itertools.count()), "endless")
    assert page.count("<article>") == 3
    assert "<p>3 samples</p>" in page
    assert page.count("The page is full") == 1
    page = html_page([{f"{n}.txt": b"x" * 900 for n in range(1000)}], "a large one")
    assert page.count("<section") == 4
    assert "<p>1 sample</p>" in page


def test_photographs_are_small() -> None:
    noise = Image.merge("RGB", [Image.effect_noise((480, 480), 99)] * 3)
    assert Page(html_page([{"x": noise}], "")).sources("img")[0].startswith("data:image/jpeg;")
    assert Page(html_page([{"x": noise.convert("RGBA")}], "")).sources("img")[0].startswith("data:image/png;")


@pytest.mark.parametrize("item", [(b"a tuple", 7), "text", 7])
def test_only_samples_are_shown(item: Any) -> None:
    for show in (lambda: html_page([item], ""), lambda: contact_sheet([item])):
        with pytest.raises(CompositionError, match=f"dicts of fields, and this is a {type(item).__name__}"):
            show()


def test_names_of_fields_that_are_no_texts() -> None:
    assert viewed("txt", b"a") == next(views_of({"__key__": b"", "txt": b"a"}))
    assert "<b>1</b>" in html_page([{1: b"a"}], "")  # type: ignore[dict-item]


# ---- contact sheets


def test_a_contact_sheet_shows_every_sample() -> None:
    sheet = contact_sheet([*SAMPLES, *SAMPLES, SAMPLES[0]], "nine samples")
    assert sheet.size == (8 * (TILE_WIDTH + GAP) + GAP, HEADER + 2 * (TILE_HEIGHT + CAPTION + GAP))
    pixels = np.asarray(sheet)
    for place in (0, 4, 8):
        top = HEADER + place // 8 * (TILE_HEIGHT + CAPTION + GAP) + TILE_HEIGHT // 2
        left = GAP + place % 8 * (TILE_WIDTH + GAP) + TILE_WIDTH // 2
        assert pixels[top, left].tolist() == pytest.approx([254, 0, 0], abs=2)


def test_a_contact_sheet_of_many_fields() -> None:
    sample = {"__key__": "\udcff\0\n", **{f"{n}.txt": b"\0x " * 100 for n in range(300)}, "jpg": RED}
    sheet = contact_sheet([sample], "\ud800")
    assert np.asarray(sheet)[HEADER + TILE_HEIGHT // 2, GAP + TILE_WIDTH // 2].tolist() == [255, 0, 0]


def test_a_contact_sheet_of_nothing() -> None:
    assert contact_sheet([], "nothing").size == (TILE_WIDTH + 2 * GAP, HEADER)


def test_samples_as_they_come_from_a_shard(tmp_path: Path) -> None:
    with TarWriter(tmp_path / "a.tar") as writer:
        for number in range(3):
            writer.write({"__key__": str(number), "jpg": RED, "cls": number})
    samples = list(urls(tmp_path / "a.tar") | tarsamples)
    assert html_page(samples, "").count("<article>") == 3
    assert contact_sheet(samples).size[0] == 3 * (TILE_WIDTH + GAP) + GAP
