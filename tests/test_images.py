"""Pictures: every image spec for every kind of file, beside webdataset, and what is refused."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from typing import Any

import numpy as np
import PIL
import pytest
import torch
import webdataset.autodecode
import webdataset.writer
from numpy.typing import NDArray
from PIL import Image, ImageOps

import streamwds as wds
from streamwds.codecs.images import FORMATS, SPECS, encode_image, image_decoder, image_spec
from streamwds.codecs.resizing import resized
from streamwds.errors import EncodeError

# spec: library, dtype, channels. Written out once more, so that a slip in the package's own table shows.
TABLE: dict[str, tuple[Any, Any, int]] = {
    "l8": (np.ndarray, np.uint8, 1),
    "rgb8": (np.ndarray, np.uint8, 3),
    "rgba8": (np.ndarray, np.uint8, 4),
    "l": (np.ndarray, np.float32, 1),
    "rgb": (np.ndarray, np.float32, 3),
    "rgba": (np.ndarray, np.float32, 4),
    "torchl8": (torch.Tensor, torch.uint8, 1),
    "torchrgb8": (torch.Tensor, torch.uint8, 3),
    "torchrgba8": (torch.Tensor, torch.uint8, 4),
    "torchl": (torch.Tensor, torch.float32, 1),
    "torchrgb": (torch.Tensor, torch.float32, 3),
    "torch": (torch.Tensor, torch.float32, 3),
    "torchrgba": (torch.Tensor, torch.float32, 4),
    "pill": (Image.Image, "L", 1),
    "pil": (Image.Image, "RGB", 3),
    "pilrgb": (Image.Image, "RGB", 3),
    "pilrgba": (Image.Image, "RGBA", 4),
}
WIDTH, HEIGHT = 23, 17


def decode(data: bytes, spec: str) -> Any:
    return image_decoder(spec)(data)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(pixels: NDArray[Any], depth: int, color: int, *chunks: bytes) -> bytes:
    """A PNG put together by hand, for the kinds that Pillow doesn't write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = pixels.shape[0], pixels.shape[1] * max(1, 8 // depth)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    extra = b"".join(chunk(c[:4], c[4:]) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def picture() -> Image.Image:
    """Smooth, so that lossy formats keep it, with colour and some of every level."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [x * 255 / (WIDTH - 1), y * 255 / (HEIGHT - 1), (x + y) * 255 / (WIDTH + HEIGHT - 2)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


RGB = picture()
ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1)))
RGBA = RGB.copy()
RGBA.putalpha(ALPHA)
GRAY = RGB.convert("L")
GRAY16 = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 167
LEFT_TO_RIGHT = RGB.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

PILLOW = int(PIL.__version__.partition(".")[0])

FILES: dict[str, bytes] = {
    "jpeg": saved(RGB, "JPEG"),
    "jpeg progressive": saved(RGB, "JPEG", progressive=True),
    "jpeg 4:4:4": saved(RGB, "JPEG", subsampling=0),
    "jpeg gray": saved(GRAY, "JPEG"),
    "jpeg cmyk": saved(RGB.convert("CMYK"), "JPEG"),
    "jpeg of several pictures": saved(RGB, "MPO", save_all=True, append_images=[LEFT_TO_RIGHT]),
    "jpeg exif": saved(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    "png": saved(RGB, "PNG"),
    "png gray": saved(GRAY, "PNG"),
    "png gray and alpha": saved(RGBA.convert("LA"), "PNG"),
    "png alpha": saved(RGBA, "PNG"),
    "png 1 bit": saved(GRAY.convert("1"), "PNG"),
    "png 1 bit, transparent": saved(GRAY.convert("1"), "PNG", transparency=255),
    "png 2 bit": png(np.full((HEIGHT, 6), 0b00011011, np.uint8), 2, 0),
    "png palette": saved(RGB.quantize(100), "PNG"),
    "png palette of 4 bit": saved(RGB.quantize(11), "PNG"),
    "png palette, one transparent": saved(RGB.quantize(100), "PNG", transparency=3),
    "png palette, alpha": saved(RGB.quantize(100), "PNG", transparency=bytes(range(100))),
    "png gray, transparent": saved(GRAY, "PNG", transparency=GRAY.getpixel((3, 3))),
    "png transparent": saved(RGB, "PNG", transparency=RGB.getpixel((3, 3))),
    "png 16 bit colour": png(np.full((HEIGHT, WIDTH, 3), (0x1234, 0x80FF, 0xFFFF), ">u2"), 16, 2),
    "png 16 bit gray": saved(Image.fromarray(GRAY16), "PNG"),
    "png interlaced": saved(RGB, "PNG", interlace=1),
    "png animated": saved(RGB, "PNG", save_all=True, append_images=[LEFT_TO_RIGHT]),
    "webp": saved(RGB, "WEBP"),
    "webp lossless": saved(RGB, "WEBP", lossless=True),
    "webp alpha": saved(RGBA, "WEBP"),
    "webp animated": saved(RGB, "WEBP", save_all=True, append_images=[LEFT_TO_RIGHT], lossless=True),
    "gif": saved(RGB.quantize(100), "GIF"),
    "gif gray": saved(GRAY, "GIF"),
    "gif transparent": saved(RGB.quantize(100), "GIF", transparency=3),
    "gif animated": saved(RGB.quantize(100), "GIF", save_all=True, append_images=[LEFT_TO_RIGHT]),
    "tiff": saved(RGB, "TIFF"),
    "tiff lzw": saved(RGB, "TIFF", compression="tiff_lzw"),
    "tiff deflate": saved(RGB, "TIFF", compression="tiff_deflate"),
    "tiff jpeg": saved(RGB, "TIFF", compression="jpeg"),
    "tiff gray": saved(GRAY, "TIFF"),
    "tiff gray, white is 0": saved(GRAY, "TIFF", tiffinfo={262: 0}),
    "tiff gray and alpha": saved(RGBA.convert("LA"), "TIFF"),
    "tiff alpha": saved(RGBA, "TIFF"),
    "tiff 1 bit": saved(GRAY.convert("1"), "TIFF"),
    "tiff palette": saved(RGB.quantize(100), "TIFF"),
    "tiff palette and alpha": saved(RGB.quantize(100).convert("PA"), "TIFF"),
    "tiff cmyk": saved(RGB.convert("CMYK"), "TIFF"),
    # (Pillow 12, the last for Python 3.10, can't read the raw ones that it writes)
    "tiff ycbcr": saved(RGB.convert("YCbCr"), "TIFF", compression=None if PILLOW >= 13 else "tiff_deflate"),
    "tiff lab": saved(RGB.convert("LAB"), "TIFF"),
    "tiff 16 bit gray": saved(Image.fromarray(GRAY16), "TIFF"),
    "tiff of several pages": saved(RGB, "TIFF", save_all=True, append_images=[LEFT_TO_RIGHT.copy()]),
    "bmp": saved(RGB, "BMP"),
    "bmp gray": saved(GRAY, "BMP"),
    "bmp palette": saved(RGB.quantize(100), "BMP"),
    "bmp 1 bit": saved(GRAY.convert("1"), "BMP"),
    "ppm": saved(RGB, "PPM"),
    "pgm": saved(GRAY, "PPM"),
    "pbm": saved(GRAY.convert("1"), "PPM"),
    "pgm 16 bit": b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + GRAY16.astype(">u2").tobytes(),
    "ppm in text": b"P3 2 1 255\n1 2 3 4 5 6\n",
    "pgm of 100 levels": b"P5 2 1 100\n\x32\x64",
    "one pixel": saved(RGB.crop((3, 5, 4, 6)), "PNG"),
    "one row": saved(RGB.crop((0, 0, WIDTH, 1)), "PNG"),
    "one column": saved(RGB.crop((0, 0, 1, HEIGHT)), "PNG"),
}
GRAY_16_BIT = {"png 16 bit gray", "tiff 16 bit gray", "pgm 16 bit"}


# ---- what the specs promise


def test_the_table_has_every_spec() -> None:
    assert SPECS.keys() == TABLE.keys()


@pytest.mark.parametrize("file", FILES)
def test_library_dtype_shape_and_range(file: str) -> None:
    for spec in TABLE:
        check_library_dtype_shape_and_range(FILES[file], spec)


def check_library_dtype_shape_and_range(data: bytes, spec: str) -> None:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    library, dtype, channels = TABLE[spec]
    decoded = decode(data, spec)
    if library is Image.Image:
        assert type(decoded) is Image.Image  # and none of a file's classes
        assert (decoded.mode, decoded.size) == (dtype, (width, height))
        assert pickle.loads(pickle.dumps(decoded)) == decoded
        return
    assert type(decoded) is library
    assert decoded.dtype == dtype
    if library is np.ndarray:
        assert decoded.shape == ((height, width) if channels == 1 else (height, width, channels))
        assert decoded.flags.writeable
        assert decoded.flags.c_contiguous
        assert decoded.flags.owndata
    else:
        assert decoded.shape == (channels, height, width)
        assert decoded.is_contiguous()
    eight = {"torch": "torchrgb8"}.get(spec, spec if spec.endswith("8") else f"{spec}8")
    levels = np.asarray(decode(data, eight))
    assert levels.any()
    if dtype in (np.float32, torch.float32):
        expected = levels.astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(np.asarray(decoded), expected, strict=True)


@pytest.mark.parametrize("spec", ["rgb8", "rgb", "torchrgb8", "torchrgb"])
def test_two_decoded_pictures_share_no_memory(spec: str) -> None:
    first, second = decode(FILES["png"], spec), decode(FILES["png"], spec)
    first[:] = 0
    assert second.max() > 0
    np.testing.assert_array_equal(second, decode(FILES["png"], spec))


def test_every_level_is_the_nearest_float() -> None:
    levels = np.arange(256, dtype=np.uint8)[np.newaxis]
    expected = np.array([[np.float32(k / 255) for k in range(256)]], np.float32)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(levels), "PNG"), "l"), expected, strict=True)
    np.testing.assert_array_equal(expected, levels.astype("f") / 255.0, strict=True)


def test_pixels_are_where_they_belong() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 1], pixels[1, 2] = (255, 0, 51), (0, 102, 255)
    data = saved(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(decode(data, "rgb8"), pixels)
    tensor = decode(data, "torchrgb")
    assert tensor[:, 0, 1].tolist() == [1, 0, np.float32(0.2)]
    assert tensor[:, 1, 2].tolist() == [0, np.float32(0.4), 1]
    assert decode(data, "rgba8")[..., 3].tolist() == [[255] * 3] * 2
    assert decode(data, "rgba")[0, 1].tolist() == [1, 0, np.float32(0.2), 1]


# ---- what the kinds of files become


@pytest.mark.parametrize("file", ["png animated", "webp animated", "gif animated", "tiff of several pages"])
def test_the_first_frame_counts(file: str) -> None:
    still = RGB.quantize(100).convert("RGB") if file.startswith("gif") else RGB
    np.testing.assert_array_equal(decode(FILES[file], "rgb8"), np.asarray(still))


def test_of_several_jpegs_in_one_the_first_counts() -> None:
    np.testing.assert_array_equal(decode(FILES["jpeg of several pictures"], "rgb8"), decode(FILES["jpeg"], "rgb8"))


@pytest.mark.parametrize("file", ["png 16 bit gray", "tiff 16 bit gray", "pgm 16 bit"])
def test_16_bit_gray_is_scaled_and_not_cut_off(file: str) -> None:
    expected = np.round(GRAY16 / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(decode(FILES[file], "l8"), expected)
    np.testing.assert_array_equal(decode(FILES[file], "rgb8"), np.stack([expected] * 3, axis=2))
    np.testing.assert_array_equal(decode(FILES[file], "rgba8")[..., 3], 255)
    assert len(np.unique(decode(FILES[file], "l"))) > 250


def test_16_bit_gray_can_be_transparent() -> None:
    levels = np.array([[0, 1000, 1001, 65535]], ">u2")
    decoded = decode(png(levels, 16, 0, b"tRNS" + struct.pack(">H", 1000)), "rgba8")
    assert decoded.tolist() == [[[0, 0, 0, 255], [4, 4, 4, 0], [4, 4, 4, 255], [255, 255, 255, 255]]]


@pytest.mark.parametrize(("mode", "dtype", "order"), [("I;16", "<u2", b"II"), ("I;16B", ">u2", b"MM")])
def test_16_bit_tiff_in_either_byte_order(mode: str, dtype: str, order: bytes) -> None:
    data = saved(Image.frombytes(mode, (3, 1), np.array([0, 257, 65535], dtype).tobytes()), "TIFF")
    assert data[:2] == order
    assert decode(data, "l8").tolist() == [[0, 1, 255]]


def test_12_bit_tiff_is_scaled_from_12_bits() -> None:
    entries = [
        (256, 3, 2),
        (257, 3, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (278, 3, 1),
    ]
    entries.append((279, 4, 3))
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, n) for tag, kind, n in entries)
    data = (b"II*\0\x08\0\0\0" + ifd + bytes(4)).ljust(200, b"\0") + bytes([0x80, 0x0F, 0xFF])
    assert decode(data, "l8").tolist() == [[128, 255]]


def test_pgm_of_1023_levels() -> None:
    assert decode(b"P5 3 1 1023\n" + struct.pack(">3H", 0, 512, 1023), "l8").tolist() == [[0, 128, 255]]


def test_1_bit_is_black_and_white() -> None:
    expected = np.asarray(GRAY.convert("1").convert("L"))
    assert set(np.unique(expected)) == {0, 255}
    for file in ("png 1 bit", "tiff 1 bit", "bmp 1 bit", "pbm"):
        np.testing.assert_array_equal(decode(FILES[file], "l8"), expected)


@pytest.mark.parametrize("file", ["png alpha", "tiff alpha"])
def test_alpha_is_kept_or_dropped(file: str) -> None:
    np.testing.assert_array_equal(decode(FILES[file], "rgba8"), np.asarray(RGBA))
    np.testing.assert_array_equal(decode(FILES[file], "rgb8"), np.asarray(RGB))
    np.testing.assert_array_equal(decode(FILES[file], "torchrgba")[3], np.asarray(ALPHA, "f4") / np.float32(255))


def test_a_palette_keeps_its_alpha() -> None:
    places = np.asarray(RGB.quantize(100))
    np.testing.assert_array_equal(decode(FILES["png palette, alpha"], "rgba8")[..., 3], places)
    np.testing.assert_array_equal(
        decode(FILES["png palette, one transparent"], "rgba8")[..., 3], np.where(places == 3, 0, 255)
    )
    np.testing.assert_array_equal(decode(FILES["png palette, alpha"], "rgb8"), decode(FILES["png palette"], "rgb8"))


def test_a_transparent_colour_becomes_alpha() -> None:
    pixels = np.asarray(RGB)
    expected = np.where((pixels == pixels[3, 3]).all(axis=2), 0, 255)
    np.testing.assert_array_equal(decode(FILES["png transparent"], "rgba8")[..., 3], expected)


@pytest.mark.parametrize("file", ["jpeg cmyk", "tiff cmyk", "tiff ycbcr", "tiff lab", "webp", "tiff jpeg"])
def test_other_colour_spaces_are_near_the_original(file: str) -> None:
    off = np.abs(decode(FILES[file], "rgb8").astype(int) - np.asarray(RGB))
    assert off.mean() < 8


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_white_level_are_refused(mode: str) -> None:
    data = saved(GRAY.convert(mode), "TIFF")
    for spec in TABLE:
        with pytest.raises(ValueError, match=f"mode {mode} .*no certain white level"):
            decode(data, spec)


def test_a_format_is_known_by_its_bytes() -> None:
    # A PNG that is called .jpg is common in shards made of the web.
    assert decode(FILES["png"], "rgb8").shape == (HEIGHT, WIDTH, 3)
    assert set(FORMATS) == {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM"}


# ---- size


@pytest.mark.parametrize("size", [5, 17, 40, (9, 30), (40, 12), (1, 1)], ids=str)
@pytest.mark.parametrize("file", ["jpeg", "jpeg gray", "jpeg cmyk", "png", "png palette, alpha", "png 16 bit gray"])
def test_every_spec_has_the_size(file: str, size: Any) -> None:
    height, width = size if isinstance(size, tuple) else (size, round(WIDTH * size / HEIGHT))
    for name, (library, dtype, channels) in TABLE.items():
        sized = image_decoder(image_spec(name, size))(FILES[file])
        assert type(sized) is library
        if library is Image.Image:
            assert (sized.mode, sized.size) == (dtype, (width, height))
        elif library is np.ndarray:
            assert sized.shape == ((height, width) if channels == 1 else (height, width, channels))
            assert sized.dtype == dtype
            assert sized.flags.writeable
            assert sized.flags.owndata
        else:
            assert (sized.shape, sized.dtype) == ((channels, height, width), dtype)


@pytest.mark.parametrize("size", [5, 17, 40, (9, 30)], ids=str)
@pytest.mark.parametrize("name", ["rgb8", "l8", "rgba8"])
def test_resizing_is_pillows_bilinear(name: str, size: Any) -> None:
    spec = image_spec(name, size)
    whole = Image.fromarray(decode(FILES["png alpha"], name))
    expected = np.asarray(whole.resize(spec.fit(*whole.size, None), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(image_decoder(spec)(FILES["png alpha"]) - expected).max() <= 1
    assert (
        np.abs(np.asarray(image_decoder(image_spec(f"pil{name[:-1]}", size))(FILES["png alpha"])) - expected).max() == 0
    )


def test_resizing_is_near_pillows_on_average() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for pixels in (noise, noise[..., 0]):
        for target in ((100, 75), (299, 224), (301, 33)):
            expected = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR)).astype(int)
            off = np.abs(resized(pixels, target) - expected)
            assert off.max() <= 1
            assert off.mean() <= 0.3  # (of noise; of photographs, half of that)


def test_a_large_jpeg_shrinks_while_it_is_decoded_and_stays_what_it_was() -> None:
    y, x = np.mgrid[0:600, 0:900]
    large = Image.fromarray(np.stack([x / 4, y / 3, (x + y) / 6], axis=2).astype(np.uint8))
    expected = np.asarray(large.resize((105, 70), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(image_decoder(image_spec("rgb8", 70))(saved(large, "JPEG")) - expected).mean() < 1


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    for file in ("jpeg", "png"):
        for size in (HEIGHT, (HEIGHT, WIDTH)):
            np.testing.assert_array_equal(
                image_decoder(image_spec("rgb8", size))(FILES[file]), decode(FILES[file], "rgb8")
            )


def test_invisible_colours_do_not_bleed() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0], pixels[1] = (255, 0, 0, 255), (0, 255, 0, 0)
    assert image_decoder(image_spec("rgba8", 1))(saved(Image.fromarray(pixels), "PNG"))[0, 0].tolist() == [
        255,
        0,
        0,
        128,
    ]


@pytest.mark.parametrize("size", [0, -1, (0, 5), (5, 0)], ids=str)
def test_a_size_has_pixels(size: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 × 1 pixels"):
        image_spec("rgb8", size)
    with pytest.raises(ValueError, match="at least 1 × 1 pixels"):
        wds.decode("rgb8", size=size)


@pytest.mark.parametrize("size", ["224", 2.5, True, (1, 2, 3), (1,), (1, None), [5]], ids=str)
def test_a_size_is_one_length_or_two(size: Any) -> None:
    with pytest.raises(TypeError, match=r"the length of the shorter side, or \(height, width\)"):
        image_spec("rgb8", size)


@pytest.mark.parametrize("file", ["one row", "jpeg"])
def test_a_size_can_not_make_a_bomb(file: str) -> None:
    with pytest.raises(Image.DecompressionBombError, match="pixels are more than the 100000"):
        image_decoder(image_spec("rgb8", 999), max_pixels=100_000)(FILES[file])


# ---- orientation


def turned(orientation: int, kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return saved(RGB, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})], ids=str)
def test_orientation_is_applied_when_it_is_asked_for(orientation: int, kind: str, options: dict[str, Any]) -> None:
    data = turned(orientation, kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(image_decoder(image_spec("rgb8", orient=True))(data), expected)
    np.testing.assert_array_equal(image_decoder(image_spec("pil", orient=True))(data), expected)
    np.testing.assert_array_equal(decode(data, "rgb8"), decode(saved(RGB, kind, **options), "rgb8"))
    if orientation > 4:
        assert expected.shape == (WIDTH, HEIGHT, 3)
    for size in (8, (9, 4), (40, 40)):
        width, height = image_spec("l8", size).fit(expected.shape[1], expected.shape[0], None)
        assert image_decoder(image_spec("l8", size, orient=True))(data).shape == (height, width)


def test_orientation_may_be_told_in_xmp() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    data = saved(RGB, "JPEG", xmp=xmp)
    np.testing.assert_array_equal(
        image_decoder(image_spec("rgb8", orient=True))(data), decode(data, "rgb8")[::-1, ::-1]
    )


def test_a_picture_without_exif_is_upright() -> None:
    for file in ("jpeg", "png", "gif", "tiff", "bmp", "ppm"):
        np.testing.assert_array_equal(
            image_decoder(image_spec("rgb8", orient=True))(FILES[file]), decode(FILES[file], "rgb8")
        )


# ---- as options of decode


def test_decode_takes_size_and_orientation() -> None:
    sample = {"__key__": "a", "jpg": turned(6, "JPEG"), "png": FILES["png"], "cls": b"3"}
    decoded = next(iter([sample] | wds.decode("rgb8", size=(20, 10), orient=True)))
    assert decoded["jpg"].shape == decoded["png"].shape == (20, 10, 3)
    assert decoded["cls"] == 3
    stage = wds.decode("torchl", size=(20, 10), orient=True, threads=2)
    assert repr(stage) == "decode('torchl', size=(20, 10), orient=True, threads=2)"
    assert pickle.loads(pickle.dumps(stage)) == stage


# ---- beside webdataset


def theirs(data: bytes, spec: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of palettes with alpha
        return webdataset.autodecode.ImageHandler(spec)(".jpg", data)


@pytest.mark.parametrize("file", [file for file in FILES if file not in GRAY_16_BIT])
def test_decodes_as_webdataset(file: str) -> None:
    for spec in TABLE:
        if file == "tiff lab" and TABLE[spec][2] == 1:
            with pytest.raises(ValueError, match="LAB"):
                theirs(FILES[file], spec)
        else:
            check_decodes_as_webdataset(FILES[file], spec)


def check_decodes_as_webdataset(data: bytes, spec: str) -> None:
    ours, other = decode(data, spec), theirs(data, spec)
    if isinstance(ours, Image.Image):
        assert (ours.mode, ours.size) == (other.mode, other.size)
        assert ours.tobytes() == other.tobytes()
        return
    if isinstance(ours, torch.Tensor) and TABLE[spec][2] == 1:
        assert other.shape == ours.shape[1:]
        other = other[np.newaxis]
    assert ours.dtype == other.dtype
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(other), strict=True)


@pytest.mark.parametrize("file", sorted(GRAY_16_BIT))
def test_webdataset_cuts_16_bit_gray_off(file: str) -> None:
    assert (theirs(FILES[file], "l8")[1:] == 255).all()


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "png", "ppm", "tif", "tiff"])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)], ids=str)
def test_encodes_as_webdataset(extension: str, shape: tuple[int, ...]) -> None:
    pixels = np.asarray(RGB if len(shape) == 3 else GRAY)
    assert encode_image(pixels, extension) == webdataset.writer.default_handlers[extension](pixels)
    assert encode_image(Image.fromarray(pixels), extension) == encode_image(pixels, extension)


def test_webdataset_cuts_floats_off() -> None:
    floats = np.array([[0.5, 0.9999]])
    assert decode(webdataset.writer.imageencoder(floats, "png"), "l8").tolist() == [[127, 254]]
    assert decode(encode_image(floats, "png"), "l8").tolist() == [[128, 255]]


# ---- bad input


@pytest.mark.parametrize("spec", ["rgb8", "torchl", "pil"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>not found</html>",
        b"\xff\xd8\xff",
        bytes(1000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        b"%PDF-1.4\n",
        saved(RGB, "ICO"),
        saved(RGB, "PCX"),
        saved(RGB, "TGA"),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_none_of_the_formats_is_an_error(data: bytes, spec: str) -> None:
    with pytest.raises(
        OSError, match=r"(?s)no readable image in one of the formats JPEG.*: \d+ bytes that begin"
    ) as caught:
        decode(data, spec)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("file", ["jpeg", "png", "webp", "gif", "tiff", "bmp", "ppm"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # so that we see Pillow's errors
def test_a_picture_cut_in_its_header_is_an_error(file: str) -> None:
    for end in range(15):
        with pytest.raises((OSError, ValueError)):
            decode(FILES[file][:end], "rgb8")


def test_ghostscript_is_never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    eps = saved(RGB, "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(pytest.fail.Exception):
        theirs(eps, "rgb8")
    with pytest.raises(OSError, match="no readable image"):
        decode(eps, "rgb8")


# How many of the last bytes hold no pixel: end marks, checksums, and what fills up a row.
TRAILER = {
    "jpeg": 0,
    "jpeg progressive": 0,
    "png": 21,
    "png palette": 21,
    "webp": 0,
    "webp lossless": 0,
    "gif": 2,
    "tiff": 0,
    "tiff lzw": 0,
    "tiff deflate": 0,
    "bmp": 3,
    "ppm": 0,
    "pgm 16 bit": 0,
}


@pytest.mark.parametrize("file", TRAILER)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")  # so that we see Pillow's errors
def test_no_cut_gives_half_a_picture(file: str) -> None:
    data = FILES[file]
    expected = decode(data, "rgb8")
    for end in range(len(data)):
        try:
            decoded = decode(data[:end], "rgb8")
        except Exception:  # whatever Pillow raises; the decode stage catches it all
            continue
        assert end >= len(data) - TRAILER[file]
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("file", ["png", "jpeg", "gif", "webp", "tiff", "bmp", "ppm"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_an_error(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (WIDTH * HEIGHT - 1, WIDTH * HEIGHT // 2 + 1, 10):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(Image.DecompressionBombError):
            decode(FILES[file], "rgb8")
    for allowed in (WIDTH * HEIGHT, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)
        assert decode(FILES[file], "rgb8").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_never_explodes() -> None:
    small = png(np.zeros((1, 1), np.uint8), 8, 0)
    header = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(Image.DecompressionBombError, match="10000×10000 pixels are more than"):
        decode(data, "rgb8")


@pytest.mark.parametrize("spec", ["", "RGB", "rgb16", "torchrgb16", "pil8", "jpg"])
def test_an_unknown_spec_is_an_error_that_lists_all(spec: str) -> None:
    with pytest.raises(ValueError, match="no image spec is called") as caught:
        image_decoder(spec)
    assert all(known in str(caught.value) for known in TABLE)


def test_heavy_modules_are_loaded_when_needed() -> None:
    code = """
import sys
from streamwds.codecs.images import *
import numpy as np
loaded = lambda: {"PIL", "torch", "PIL.EpsImagePlugin"} & set(sys.modules)
assert loaded() == set()
for extension in ("jpg", "png", "webp", "tif", "gif", "bmp", "ppm"):
    image_decoder("rgb8")(encode_image(np.zeros((2, 2), np.uint8), extension))
try:
    image_decoder("rgb8")(b"?")
except OSError:
    pass
assert loaded() == {"PIL"}, loaded()
image_decoder("torch")(encode_image(np.zeros((2, 2), np.uint8), "png"))
assert loaded() == {"PIL", "torch"}, loaded()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- writing

RANDOM = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
LOSSLESS = {
    1: ("png", "ppm", "pnm", "pgm", "webp", "tif", "tiff", "bmp", "gif"),
    3: ("png", "ppm", "pnm", "webp", "tif", "tiff", "bmp"),
    4: ("png", "webp", "tif", "tiff"),
}
ROUND_TRIPS = [(channels, extension) for channels, extensions in LOSSLESS.items() for extension in extensions]


@pytest.mark.parametrize(("channels", "extension"), ROUND_TRIPS)
@pytest.mark.parametrize("kind", ["8", "", "torch8", "torch", "pil"])
def test_goes_round(channels: int, extension: str, kind: str) -> None:
    colour = {1: "l", 3: "rgb", 4: "rgba"}[channels]
    spec = {"8": f"{colour}8", "": colour, "torch8": f"torch{colour}8", "torch": f"torch{colour}"}.get(
        kind, f"pil{colour}"
    )
    pixels = RANDOM[..., 0] if channels == 1 else RANDOM[..., :channels]
    value = decode(saved(Image.fromarray(pixels), "PNG"), spec)
    again = decode(encode_image(value, extension), spec)
    if kind == "pil":
        assert again.tobytes() == value.tobytes() == pixels.tobytes()
    else:
        np.testing.assert_array_equal(np.asarray(again), np.asarray(value), strict=True)
        assert encode_image(value, extension) == encode_image(pixels, extension)


@pytest.mark.parametrize("extension", ["jpg", "jpeg"])
def test_jpeg_keeps_most(extension: str) -> None:
    data = encode_image(np.asarray(RGB), extension)
    assert data[:2] == b"\xff\xd8"
    assert np.abs(decode(data, "rgb8").astype(int) - np.asarray(RGB)).mean() < 4


def test_gif_keeps_256_colours() -> None:
    few = np.asarray(RGB.quantize(200).convert("RGB"))
    np.testing.assert_array_equal(decode(encode_image(few, "gif"), "rgb8"), few)


def test_pbm_takes_black_and_white() -> None:
    pixels = np.where(RANDOM[..., 0] > 99, 255, 0).astype(np.uint8)
    assert encode_image(pixels, "pbm")[:2] == b"P4"
    np.testing.assert_array_equal(decode(encode_image(pixels, "pbm"), "l8"), pixels)
    np.testing.assert_array_equal(decode(encode_image(pixels / 255, "pbm"), "l8"), pixels)
    with pytest.raises(EncodeError, match="pbm holds pictures of the modes 1, not L"):
        encode_image(RANDOM[..., 0], "pbm")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_floats_are_rounded(dtype: str) -> None:
    levels = np.arange(256)[np.newaxis]
    for off in (-0.3, 0, 0.3):
        floats = np.clip((levels + off) / 255, 0, 1).astype(dtype)
        np.testing.assert_array_equal(decode(encode_image(floats, "png"), "l8"), levels)


@pytest.mark.parametrize("value", [-0.0009, 1.0009])
def test_a_thousandth_beyond_is_forgiven(value: float) -> None:
    assert decode(encode_image(np.full((1, 1), value), "png"), "l8").tolist() == [[round(value) * 255]]


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_floats_outside_are_not_written(value: float, make: Any) -> None:
    with pytest.raises(EncodeError, match=r"must be in 0\.\.1; these are from"):
        encode_image(make([[0.5, value]]), "png")


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4), (1, 1, 3), (3, 3, 3)], ids=str)
def test_arrays_of_these_shapes_are_pictures(shape: tuple[int, ...]) -> None:
    pixels = RANDOM.reshape(-1)[: np.prod(shape)].reshape(shape)
    decoded = decode(encode_image(pixels, "png"), {1: "l8", 3: "rgb8", 4: "rgba8"}[shape[2] if len(shape) > 2 else 1])
    np.testing.assert_array_equal(decoded, pixels.squeeze(2) if shape[2:] == (1,) else pixels)
    strided = np.asfortranarray(np.repeat(pixels, 2, axis=0))[::2]
    assert encode_image(strided, "png") == encode_image(pixels, "png")
    tensor = torch.from_numpy(pixels.copy())
    assert encode_image(tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor, "png") == encode_image(pixels, "png")


@pytest.mark.parametrize("shape", [(), (4,), (4, 4, 2), (4, 4, 5), (3, 8, 8), (1, 4, 4, 3)], ids=str)
def test_arrays_of_other_shapes_are_not_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(EncodeError, match=r"shape H×W, H×W×1, H×W×3 or H×W×4, got numpy\.ndarray of uint8, shape"):
        encode_image(np.zeros(shape, np.uint8), "png")


def test_tensors_have_channels_first() -> None:
    with pytest.raises(EncodeError, match=r"shape H×W, 1×H×W, 3×H×W or 4×H×W, got torch\.Tensor of torch\.uint8"):
        encode_image(torch.zeros((8, 8, 3), dtype=torch.uint8), "png")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "png",
        [[1, 2]],
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2), bool),
        np.zeros((2, 2), np.uint16),
        memoryview(b""),
    ],
)
def test_what_is_no_picture_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match="expected a picture: a numpy array or torch tensor of uint8 or of floats"):
        encode_image(value, "png")


@pytest.mark.parametrize("extension", ["jpg", "ppm", "pgm", "pbm", "bmp", "gif"])
@pytest.mark.parametrize("value", [RANDOM, RGBA])
def test_alpha_is_not_silently_lost(extension: str, value: Any) -> None:
    with pytest.raises(EncodeError, match="not RGBA: convert it first"):
        encode_image(value, extension)


def test_colour_is_not_silently_lost() -> None:
    with pytest.raises(EncodeError, match="pgm holds pictures of the modes L, I;16, not RGB"):
        encode_image(RGB, "pgm")


@pytest.mark.parametrize("shape", [(0, 0), (0, 5, 3), (5, 0, 3)], ids=str)
def test_a_picture_without_pixels_is_not_written(shape: tuple[int, ...]) -> None:
    for dtype in (np.uint8, np.float32):
        with pytest.raises(EncodeError, match="without pixels"):
            encode_image(np.zeros(shape, dtype), "png")
    with pytest.raises(EncodeError, match="without pixels"):
        encode_image(Image.new("L", (0, 3)), "png")


@pytest.mark.parametrize(("extension", "width"), [("jpg", 66_000), ("webp", 17_000), ("gif", 66_000)])
def test_a_picture_too_large_for_its_format_is_not_written(extension: str, width: int) -> None:
    with pytest.raises(EncodeError, match=f"can't write {width}×1 pixels of mode L as {extension}") as caught:
        encode_image(np.zeros((1, width), np.uint8), extension)
    assert caught.value.__cause__ is not None


def test_writing_leaves_the_value_alone() -> None:
    pixels, floats = RANDOM.copy(), np.full((2, 2), 0.3)
    encode_image(pixels, "png")
    encode_image(floats, "png")
    np.testing.assert_array_equal(pixels, RANDOM)
    assert (floats == 0.3).all()
