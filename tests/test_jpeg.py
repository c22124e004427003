"""JPEG by simplejpeg: the same pixels and the same errors as by Pillow alone."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamwds.codecs import fastjpeg, resizing
from streamwds.codecs.fastjpeg import read_jpeg
from streamwds.codecs.images import SPECS, image_decoder, image_spec

ARRAYS = [name for name, spec in SPECS.items() if spec.library != "pil"]


def picture(height: int, width: int, seed: int = 0, noise: int = 20) -> Image.Image:
    """Waves of strong colours, and noise: what JPEG has to cut off."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / draw.uniform(1, 30) + y / draw.uniform(1, 30)) * 160 + 128 for _ in range(3)]
    pixels = np.stack(waves, axis=2) + draw.normal(0, noise, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


RGB = picture(45, 67)
KINDS: dict[str, bytes] = {
    "4:4:4": saved(RGB, subsampling=0),
    "4:2:2": saved(RGB, subsampling=1),
    "4:2:0": saved(RGB, subsampling=2),
    "low quality": saved(RGB, quality=5),
    "best": saved(RGB, quality=100),
    "progressive": saved(RGB, progressive=True),
    "optimized": saved(RGB, optimize=True),
    "restarts": saved(RGB, restart_marker_blocks=1),
    "gray": saved(RGB.convert("L")),
    "gray, progressive": saved(RGB.convert("L"), progressive=True),
    "RGB inside": saved(RGB, keep_rgb=True),
    "profile and comment": saved(RGB, icc_profile=bytes(70_000), comment=b"\xff\xd9"),
    "one pixel": saved(picture(1, 1)),
    "one row": saved(picture(1, 50)),
    "one column": saved(picture(50, 1)),
    "trailing bytes": saved(RGB) + bytes(99),
    "two in a row": saved(RGB) + saved(picture(9, 9)),
}
LEFT_TO_PILLOW: dict[str, bytes] = {
    "CMYK": saved(RGB.convert("CMYK")),
    "CMYK, progressive": saved(RGB.convert("CMYK"), progressive=True),
}


def by_pillow(data: bytes, spec: str, **options: Any) -> Any:
    """The picture as it comes where no extra is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastjpeg, "_simplejpeg", lambda: None)
        patch.setattr(resizing, "_simd", lambda: None)
        return decoded(data, spec, **options)


def decoded(data: bytes, spec: str, **options: Any) -> Any:
    return image_decoder(image_spec(spec, **options))(data)


def check_near(data: bytes, spec: str, *, most: int = 2, **options: Any) -> None:
    ours, pillow = decoded(data, spec, **options), by_pillow(data, spec, **options)
    assert type(ours) is type(pillow)
    ours, pillow = np.asarray(ours), np.asarray(pillow)
    assert (ours.dtype, ours.shape) == (pillow.dtype, pillow.shape)
    scale = 255 if ours.dtype == np.float32 else 1
    off = np.abs(ours.astype(float) - pillow) * scale
    assert off.max() <= most + 0.001
    assert off.mean() <= 0.2 or "size" in options  # (the mean of a few pixels tells nothing)


def is_fast(data: bytes, spec: str) -> bool:
    return read_jpeg(data, SPECS[spec].mode, None, SPECS[spec].fit) is not None


# ---- the same pixels


@pytest.mark.parametrize("kind", [*KINDS, *LEFT_TO_PILLOW])
@pytest.mark.parametrize("spec", SPECS)
def test_pixels_are_pillows(kind: str, spec: str) -> None:
    check_near((KINDS | LEFT_TO_PILLOW)[kind], spec)


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_simplejpeg_reads_it_does_read(kind: str) -> None:
    assert is_fast(KINDS[kind], "rgb8")
    assert is_fast(KINDS[kind], "rgba8")
    assert is_fast(KINDS[kind], "l8") is kind.startswith("gray")


@pytest.mark.parametrize("kind", LEFT_TO_PILLOW)
def test_what_it_does_not_read_is_left_to_pillow(kind: str) -> None:
    assert not any(is_fast(LEFT_TO_PILLOW[kind], spec) for spec in ARRAYS)


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 9),
    st.sampled_from(["RGB", "L", "CMYK"]),
    st.fixed_dictionaries(
        {"quality": st.integers(1, 100), "progressive": st.booleans(), "subsampling": st.sampled_from([0, 1, 2])}
    ),
    st.sampled_from(ARRAYS),
    st.none() | st.integers(1, 90) | st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_pixels_of_random_pictures_are_pillows(
    height: int, width: int, seed: int, mode: str, options: dict[str, Any], spec: str, size: Any
) -> None:
    check_near(
        saved(picture(height, width, seed).convert(mode), **options), spec, **({} if size is None else {"size": size})
    )


@pytest.mark.parametrize("by", [2, 4, 8])
@pytest.mark.parametrize("kind", ["RGB", "L"])
def test_the_decoder_shrinks_as_pillows_does(by: int, kind: str) -> None:
    data = saved(picture(400, 600).convert(kind))
    size = (400 // by, 600 // by)
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, size[::-1])
        expected = np.asarray(image.convert("RGB"))
    assert expected.shape[:2] == size
    np.testing.assert_array_equal(decoded(data, "rgb8", size=size), expected)
    np.testing.assert_array_equal(by_pillow(data, "rgb8", size=size), expected)


# ---- the same errors


def outcome(read: Any, data: bytes, spec: str) -> Any:
    try:
        return np.asarray(read(data, spec))
    except Exception as error:  # (whatever Pillow raises)
        return type(error), str(error)


def check_same_outcome(data: bytes, spec: str) -> bool:
    """Whether it was an error, the same either way."""
    ours, pillow = outcome(decoded, data, spec), outcome(by_pillow, data, spec)
    if isinstance(pillow, tuple) or isinstance(ours, tuple):
        assert ours == pillow
        return True
    assert ours.shape == pillow.shape
    assert np.abs(ours.astype(int) - pillow).max(initial=0) <= 2
    return False


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "gray", "restarts", "CMYK", "RGB inside"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_cut_picture_is_pillows_error(kind: str) -> None:
    data = (KINDS | LEFT_TO_PILLOW)[kind]
    for end in range(0, len(data), 7):
        assert check_same_outcome(data[:end], "rgb8"), f"cut after {end} bytes"
    assert check_same_outcome(data[:-1], "rgb8")


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "gray", "restarts"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Image appears to be a malformed MPO")
def test_a_broken_picture_is_what_pillow_makes_of_it(kind: str) -> None:
    draw = random.Random(kind)
    for _ in range(150):
        data = bytearray(KINDS[kind])
        for _ in range(draw.choice([1, 1, 1, 5])):
            data[draw.randrange(draw.choice([len(data), 700]))] = draw.choice([0, 0xFF, draw.randrange(256)])
        check_same_outcome(bytes(data), draw.choice(["rgb8", "l8", "rgba8"]))


def with_size(data: bytes, height: int, width: int) -> bytes:
    at = next(data.index(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker, 0]) in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def test_a_bomb_takes_no_memory() -> None:
    data = with_size(KINDS["4:2:0"], 65_000, 65_000)
    tracemalloc.start()
    try:
        for size in (None, 10, (5, 5)):
            with pytest.raises(Image.DecompressionBombError, match="65000×65000 pixels"):
                decoded(data, "rgb8", size=size)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_holds_to_the_pixel() -> None:
    at_most = image_decoder("rgb8", max_pixels=45 * 67)
    assert at_most(KINDS["4:2:0"]).shape == (45, 67, 3)
    with pytest.raises(Image.DecompressionBombError, match="67×45 pixels are more than the 3014"):
        image_decoder("rgb8", max_pixels=45 * 67 - 1)(KINDS["4:2:0"])


def test_a_jpeg_is_read_only_where_jpeg_is_allowed() -> None:
    with pytest.raises(OSError, match="no readable image in one of the formats TIFF"):
        image_decoder("rgb8", formats=("TIFF",))(KINDS["4:2:0"])


def test_pictures_share_no_memory() -> None:
    for spec in ("rgb8", "l8", "rgba8"):
        first, second = (decoded(KINDS["gray"], spec) for _ in range(2))
        first[:] = 7
        assert second.max() > 7
        assert first.flags.owndata
        assert first.flags.writeable
