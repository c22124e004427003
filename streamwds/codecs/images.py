"""Pictures: bytes to arrays, tensors and Pillow images by an image spec, and back by the extension.

Pillow reads them all, or simplejpeg the JPEGs where it is installed, with the same pixels (`fastjpeg`). Pillow is
imported with the first picture, and torch with the first tensor. Only formats for which Pillow starts no other program
are ever opened, whatever the extension says.

| spec | library | dtype | shape | range |
|---|---|---|---|---|
| `l8` | numpy | uint8 | H×W | 0..255 |
| `rgb8` | numpy | uint8 | H×W×3 | 0..255 |
| `rgba8` | numpy | uint8 | H×W×4 | 0..255 |
| `l` | numpy | float32 | H×W | 0..1 |
| `rgb` | numpy | float32 | H×W×3 | 0..1 |
| `rgba` | numpy | float32 | H×W×4 | 0..1 |
| `torchl8` | torch | uint8 | 1×H×W | 0..255 |
| `torchrgb8` | torch | uint8 | 3×H×W | 0..255 |
| `torchrgba8` | torch | uint8 | 4×H×W | 0..255 |
| `torchl` | torch | float32 | 1×H×W | 0..1 |
| `torchrgb`, `torch` | torch | float32 | 3×H×W | 0..1 |
| `torchrgba` | torch | float32 | 4×H×W | 0..1 |
| `pill` | Pillow | mode L | | 0..255 |
| `pil`, `pilrgb` | Pillow | mode RGB | | 0..255 |
| `pilrgba` | Pillow | mode RGBA | | 0..255 |

The values are webdataset's, with these differences: gray tensors are 1×H×W (there H×W); 16-bit gray is scaled to
8 bits and rounded (there everything above 255 is clipped to white); LAB can become gray (there an error); 32-bit and
floating-point TIFF and PFM are refused, as nothing says which value is white (there clipped to 0..255); numpy arrays
are writable.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.codec import Codec, Decode, Encode, describe, to_array
from streamwds.codecs.fastjpeg import read_jpeg
from streamwds.codecs.resizing import Size, check_size, fitted, resized
from streamwds.errors import EncodeError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "ALLOWED",
    "CODECS",
    "FORMATS",
    "SPECS",
    "ImageSpec",
    "decode_image",
    "encode_image",
    "image_decoder",
    "image_spec",
    "jpeg",
    "png",
    "webp",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
"""Pillow's names of the formats that are opened. Never EPS, for which Pillow starts Ghostscript."""

_WEB = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "bmp"), _WEB),
        **dict.fromkeys(("tif", "tiff"), ("TIFF",)),
        **dict.fromkeys(("ppm", "pgm", "pbm", "pnm"), ("PPM",)),
    }
)
"""As which formats a picture of an extension is opened.

Servers on the web call JPEG, PNG, WebP, GIF and BMP by each other's names so often that browsers go by the first bytes
alone (WHATWG, MIME Sniffing), and shards made of the web keep the names. So these five are opened under each other's
extensions; TIFF and PNM, with which that does not happen, only under their own.
"""

Mode: TypeAlias = Literal["L", "RGB", "RGBA"]


def _check_size(spec: ImageSpec, attribute: attrs.Attribute[Any], size: Size) -> None:
    check_size(size)


@attrs.frozen
class ImageSpec:
    """What a decoded picture is: an array of `library` and `dtype` (None for Pillow images) in Pillow's `mode`.

    size: the length that its shorter side gets, or its (height, width); None: as it comes.
    orient: whether it is turned as its EXIF data say.
    """

    library: Literal["numpy", "torch", "pil"]
    dtype: Literal["uint8", "float32"] | None
    mode: Mode
    size: Size | None = attrs.field(default=None, validator=attrs.validators.optional(_check_size))
    orient: bool = False

    def fit(self, width: int, height: int, limit: int | None) -> tuple[int, int]:
        """The width and height that a picture of this width and height gets, which are within the limit of pixels."""
        target = (width, height) if self.size is None else fitted(self.size, width, height)
        _check_pixels(*target, limit)
        return target


SPECS: Mapping[str, ImageSpec] = MappingProxyType(
    {
        "l8": ImageSpec("numpy", "uint8", "L"),
        "rgb8": ImageSpec("numpy", "uint8", "RGB"),
        "rgba8": ImageSpec("numpy", "uint8", "RGBA"),
        "l": ImageSpec("numpy", "float32", "L"),
        "rgb": ImageSpec("numpy", "float32", "RGB"),
        "rgba": ImageSpec("numpy", "float32", "RGBA"),
        "torchl8": ImageSpec("torch", "uint8", "L"),
        "torchrgb8": ImageSpec("torch", "uint8", "RGB"),
        "torchrgba8": ImageSpec("torch", "uint8", "RGBA"),
        "torchl": ImageSpec("torch", "float32", "L"),
        "torchrgb": ImageSpec("torch", "float32", "RGB"),
        "torch": ImageSpec("torch", "float32", "RGB"),
        "torchrgba": ImageSpec("torch", "float32", "RGBA"),
        "pill": ImageSpec("pil", None, "L"),
        "pil": ImageSpec("pil", None, "RGB"),
        "pilrgb": ImageSpec("pil", None, "RGB"),
        "pilrgba": ImageSpec("pil", None, "RGBA"),
    }
)


# ---- bytes to pictures


def image_spec(name: str, size: Size | None = None, *, orient: bool = False) -> ImageSpec:
    """The spec of that name, with a size and an orientation; `ValueError` if there is none.

    >>> image_spec("torchl8", size=224)
    ImageSpec(library='torch', dtype='uint8', mode='L', size=224, orient=False)
    """
    if name not in SPECS:
        raise ValueError(f"no image spec is called {name!r}; there are {', '.join(SPECS)}")
    return attrs.evolve(SPECS[name], size=size, orient=orient)


Empty: TypeAlias = Callable[..., NDArray[Any]]
"""What makes an array of a shape and dtype, as `numpy.empty` does."""


def image_decoder(
    spec: str | ImageSpec,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int | None = None,
    empty: Empty = np.empty,
) -> Decode:
    """The function that decodes a picture's bytes as `spec` says; `ValueError` for a spec that is none.

    It can be pickled. See the table above for what it gives, and `decode_image` for what it raises.

    >>> image_decoder("rgb8")(encode_image(np.zeros((2, 3), np.uint8), "png")).shape
    (2, 3, 3)
    >>> image_decoder(image_spec("torchl", size=4))(encode_image(np.zeros((2, 3), np.uint8), "png")).shape
    torch.Size([1, 4, 6])
    """
    spec = image_spec(spec) if isinstance(spec, str) else spec
    return functools.partial(decode_image, spec=spec, formats=formats, max_pixels=max_pixels, empty=empty)


def decode_image(
    data: bytes,
    spec: ImageSpec,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int | None = None,
    empty: Empty = np.empty,
) -> Any:
    """One picture as `spec` says: a numpy array or torch tensor, contiguous, writable and sharing its memory with no
    other, or a Pillow image, loaded and without a file behind it. Large arrays are made by `empty`.

    Of an animation, the first frame. Transparency is dropped unless the spec has alpha, as Pillow does, without a
    background put behind it. EXIF orientation is not applied unless the spec says so. 16-bit gray is rounded to the
    nearest of 256 levels; of 16-bit colour, Pillow keeps the high byte.

    A picture gets the spec's size by bilinear interpolation with antialiasing, after it has its mode; a JPEG is first
    shrunk while it is decoded, to the smallest of 1/8, 1/4 and 1/2 that is no smaller than wanted. An int is the length
    of the shorter side, and the longer is rounded to the nearest pixel.

    Raises `PIL.UnidentifiedImageError` (an `OSError`) for what is none of `formats`, `OSError` or `ValueError` for a
    picture that is cut or broken as far as its format shows it, `PIL.Image.DecompressionBombError` for more pixels,
    before or after it got its size, than `max_pixels` (None: than `PIL.Image.MAX_IMAGE_PIXELS`, which are 89 million
    unless you set it; if that is None, too, any number; of WebP, GIF and tiled TIFF never more than twice that), and
    `ValueError` for 32-bit and floating-point pixels.

    >>> decode_image(encode_image(np.full((1, 2), 255, np.uint8), "png"), SPECS["rgb"])
    array([[[1., 1., 1.],
            [1., 1., 1.]]], dtype=float32)
    """
    limit = _pillow().MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if spec.library == "pil":
        image, target = _open(data, spec, formats, limit)
        image = image.copy() if image.mode == spec.mode else _convert(image, spec.mode)
        return image if image.size == target else image.resize(target, _pillow().Resampling.BILINEAR)
    pixels = None
    if "JPEG" in formats and not (spec.orient and any(mark in data for mark in _TURNED)):
        pixels = read_jpeg(data, spec.mode, limit, spec.fit, empty)
    if pixels is None:
        image, target = _open(data, spec, formats, limit)
        pixels = resized(np.array(image if image.mode == spec.mode else _convert(image, spec.mode)), target)
    if spec.library == "numpy":
        return pixels if spec.dtype == "uint8" else _unit(pixels, empty)

    import torch

    planes = empty((len(spec.mode), *pixels.shape[:2]), np.uint8)
    planes.reshape(len(spec.mode), -1)[...] = pixels.reshape(-1, len(spec.mode)).T  # (in one go, without Python's lock)
    tensor: torch.Tensor = torch.from_numpy(planes if spec.dtype == "uint8" else _unit(planes, empty))
    return tensor


_TURNED = (b"Exif\0\0", b"tiff:Orientation")
"""Where a JPEG that should be turned has one of these, and simplejpeg, which doesn't read them, can't be asked."""


def _unit(pixels: NDArray[np.uint8], empty: Empty) -> NDArray[np.float32]:
    # A division, since the product with 1/255 is not always the nearest float; in one pass over the bytes.
    floats: NDArray[np.float32] = empty(pixels.shape, np.float32)
    np.divide(pixels, np.float32(255), out=floats, dtype=np.float32)
    return floats


@functools.cache
def _pillow() -> Any:
    """`PIL.Image`, with the readers and writers of `FORMATS` registered.

    Pillow registers by itself only some of them at first, and all that it has (EPS too) when it misses one.
    """
    for name in ("Jpeg", "Png", "WebP", "Gif", "Tiff", "Bmp", "Ppm"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return importlib.import_module("PIL.Image")


def _open(
    data: bytes, spec: ImageSpec, formats: tuple[str, ...], limit: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, loaded, and turned if the spec says so, and the width and height that it should have in the end."""
    pillow = _pillow()
    image = _recognised(data, formats)
    if image is None:
        kinds = ", ".join(formats)
        raise pillow.UnidentifiedImageError(
            f"no readable image in one of the formats {kinds}: {len(data)} bytes that begin with {data[:16]!r}"
        )
    _check_pixels(*image.size, limit)
    if image.format not in ("JPEG", "MPO"):
        image.load()
        image = _turned(image) if spec.orient else image
        return image, spec.fit(*image.size, limit)
    sideways = spec.orient and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    width, height = image.size
    target = spec.fit(height, width, limit) if sideways else spec.fit(width, height, limit)
    image.draft(None, (target[1], target[0]) if sideways else target)  # (None: the mode as it is)
    image.load()
    return (_turned(image) if spec.orient else image), target


def _turned(image: Image.Image) -> Image.Image:
    upright: Image.Image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
    return upright


_ORIENTATION = 274  # the EXIF tag


def _check_pixels(width: int, height: int, limit: int | None) -> None:
    if limit is not None and width * height > limit:
        raise _pillow().DecompressionBombError(
            f"{width}×{height} pixels are more than the {limit} that a picture may have: "
            "decode(max_pixels=…) allows more"
        )


def _recognised(data: bytes, formats: tuple[str, ...]) -> Image.Image | None:
    """The picture, opened as the first format that knows it; nothing of it is decoded yet.

    (`PIL.Image.open` does no more, except that it holds to a bound of its own, which only a global can change.)
    """
    stream = io.BytesIO(data)
    for name in formats:
        factory, accept = _pillow().OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # (so it says that it is none)
            if accept(data[:16]) is True:  # (a str: why it can't)
                stream.seek(0)
                image: Image.Image = factory(stream, "")
                return image
    return None


def _convert(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = _gray8(image)
    elif image.mode in ("I", "F"):
        raise ValueError(
            f"{image.format} pixels of Pillow's mode {image.mode} (32 bits, or signed) have no certain white level, "
            "so no image spec covers them; decode the field with a function of your own"
        )
    elif image.mode == "LAB":
        image = image.convert("RGB")  # Pillow has no other way from LAB
    elif image.mode == "P" and mode != "RGBA":
        image.info.pop("transparency", None)  # Pillow would warn that it is lost
    return image.convert(mode)


def _gray8(image: Image.Image) -> Image.Image:
    """16-bit gray as 8-bit gray, with alpha where the file names a transparent level."""
    pillow = _pillow()
    levels = np.asarray(image, dtype=np.uint32)
    # Pillow gives 12-bit TIFF as it is; PNG and PNM it has scaled to 16 bits.
    white = (1 << getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]) - 1
    gray: Image.Image = pillow.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return gray
    alpha = np.where(levels == transparent, 0, 255).astype(np.uint8)
    merged: Image.Image = pillow.merge("LA", (gray, pillow.fromarray(alpha)))
    return merged


_BITS_PER_SAMPLE = 258  # the TIFF tag


# ---- pictures to bytes


@attrs.frozen
class _Writer:
    """How Pillow writes some extensions: its format, the modes that keep every pixel's meaning, its options."""

    extensions: tuple[str, ...]
    format: str
    modes: tuple[str, ...]
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


_WRITERS = (
    _Writer(("jpg", "jpeg", "img", "image"), "JPEG", ("1", "L", "RGB", "CMYK"), {"quality": 100}),
    _Writer(("png",), "PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    _Writer(("ppm", "pnm"), "PPM", ("1", "L", "RGB", "I;16")),
    _Writer(("pgm",), "PPM", ("L", "I;16")),
    _Writer(("pbm",), "PPM", ("1",)),
    _Writer(("webp",), "WEBP", ("L", "RGB", "RGBA"), {"lossless": True, "exact": True}),
    _Writer(("tif", "tiff"), "TIFF", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")),
    _Writer(("bmp",), "BMP", ("1", "L", "P", "RGB")),
    _Writer(("gif",), "GIF", ("1", "L", "P", "RGB")),
)
_WRITER_OF: Mapping[str, _Writer] = MappingProxyType({e: writer for writer in _WRITERS for e in writer.extensions})


def encode_image(value: Any, extension: str, **options: Any) -> bytes:
    """A picture as a file of `extension`: jpg jpeg png ppm pnm pgm pbm webp tif tiff bmp gif; img and image are jpg.

    `value` is a numpy array H×W, H×W×1, H×W×3 or H×W×4; a torch tensor H×W, 1×H×W, 3×H×W or 4×H×W, always channels
    first; or a Pillow image. Arrays are uint8, or floats in 0..1, which are rounded to the nearest of 256 levels;
    like webdataset we forgive a thousandth beyond, so that the rounding errors of a filter don't matter (webdataset
    cuts off instead of rounding, so that it writes 0.5 as 127). `bytes` are given back unchanged.

    jpg is written with quality 100 as by webdataset, to the byte; webp lossless; tiff uncompressed; so all but jpg,
    and gif of more than 256 colours, keep every 8-bit pixel. What a format can't hold is refused rather than dropped:
    alpha in all but png, webp and tiff, colour in pgm, gray in pbm (which takes 0 and 255 only). `options` are Pillow's
    for the format; `jpeg`, `png` and `webp` make encoders with some of them.

    Raises `EncodeError` for other types, dtypes and shapes, for values outside 0..1 (NaN too), for a picture without
    pixels, and for what the format can't hold.

    >>> encode_image(np.array([[0.0, 0.5, 1.0]]), "pgm")
    b'P5\\n3 1\\n255\\n\\x00\\x80\\xff'
    """
    if isinstance(value, bytes):
        return value
    writer = _WRITER_OF[extension]
    image = _to_image(value)
    if image.mode == "L" and "L" not in writer.modes and not any(image.histogram()[1:255]):
        image = image.convert("1")
    if image.mode not in writer.modes:
        modes = ", ".join(writer.modes)
        raise EncodeError(f"{extension} holds pictures of the modes {modes}, not {image.mode}: convert it first")
    stream = io.BytesIO()
    try:
        image.save(stream, format=writer.format, **{**writer.options, **options})
    except (
        OSError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:  # mostly: larger than the format's headers can say
        raise EncodeError(
            f"Pillow can't write {image.width}×{image.height} pixels of mode {image.mode} as {extension}: {error}"
        ) from error
    return stream.getvalue()


def _to_image(value: Any) -> Image.Image:
    pillow = _pillow()
    pixels = None if isinstance(value, pillow.Image) else _to_pixels(value)
    if 0 in (value.size if pixels is None else pixels.shape):
        raise EncodeError("a picture without pixels can't be written")
    image: Image.Image = value if pixels is None else pillow.fromarray(pixels)
    return image


def _to_pixels(value: Any) -> NDArray[np.uint8]:
    """uint8 pixels, H×W or H×W×C."""
    pixels = to_array(value)
    if pixels is None or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
        raise EncodeError(
            "expected a picture: a numpy array or torch tensor of uint8 or of floats in 0..1, or a Pillow image "
            f"(or bytes, already encoded), got {describe(value)}"
        )
    channels_first = not isinstance(value, np.ndarray)
    if channels_first and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
        shapes = "H×W, 1×H×W, 3×H×W or 4×H×W" if channels_first else "H×W, H×W×1, H×W×3 or H×W×4"
        raise EncodeError(f"expected a picture of the shape {shapes}, got {describe(value)}")
    if pixels.dtype != np.uint8 and pixels.size:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low > -0.001 and high < 1.001):  # so written, NaN is refused too
            raise EncodeError(f"floats of a picture must be in 0..1; these are from {low} to {high}")
        pixels = np.rint(pixels * np.float32(255))  # a thousandth is a quarter of a level, so this ends in 0..255
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _whole(name: str, value: int, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is a whole number from {low} to {high}, not {value!r}")
    return value


def jpeg(
    quality: int = 90, *, subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0", progressive: bool = False
) -> Encode:
    """An encoder of pictures as JPEG: `TarWriter(path, encoder={"jpg": jpeg(quality=90)})`.

    quality: 0 to 100, as libjpeg has it. subsampling: how colour is kept, from whole to a quarter of the pixels.
    progressive: smaller, and slower to decode.

    >>> noise = np.random.default_rng(0).random((64, 64, 3))
    >>> len(jpeg(quality=50)(noise)) < len(jpeg(quality=100)(noise))
    True
    """
    options = {"quality": _whole("quality", quality, 0, 100), "subsampling": subsampling, "progressive": progressive}
    return functools.partial(encode_image, extension="jpg", **options)


def png(*, compress_level: int = 6) -> Encode:
    """An encoder of pictures as PNG: `TarWriter(path, encoder={"png": png(compress_level=1)})`.

    compress_level: 0 (not at all, fast) to 9 (small, slow), as zlib has it. All keep every pixel.

    >>> len(png(compress_level=9)(np.zeros((99, 99)))) < len(png(compress_level=0)(np.zeros((99, 99))))
    True
    """
    return functools.partial(
        encode_image, extension="png", compress_level=_whole("compress_level", compress_level, 0, 9)
    )


def webp(quality: int | None = None, *, effort: int = 4) -> Encode:
    """An encoder of pictures as WebP: `TarWriter(path, encoder={"webp": webp(quality=80)})`.

    quality: 0 to 100; None: lossless, which keeps every pixel. effort: 0 (fast) to 6 (small).

    >>> decode = image_decoder("rgb8")
    >>> decode(webp()(np.full((2, 2, 3), 77, np.uint8))).tolist()[0]
    [[77, 77, 77], [77, 77, 77]]
    """
    options: dict[str, Any] = {"method": _whole("effort", effort, 0, 6)}
    if quality is not None:
        options.update(lossless=False, quality=_whole("quality", quality, 0, 100))
    return functools.partial(encode_image, extension="webp", **options)


CODECS = tuple(
    Codec(writer.extensions, encode=functools.partial(encode_image, extension=writer.extensions[0]))
    for writer in _WRITERS
)
"""The encoders of pictures. They have no decoder of their own: that depends on the image spec, see `image_decoder`."""
