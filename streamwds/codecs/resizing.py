"""How large a picture becomes, and making it so.

All is bilinear with antialiasing: each new pixel is the mean of all old ones under a triangle as wide as two new
pixels, as in Pillow, and in torchvision's `Resize`. The extra `resize` does the same sums with SIMD instructions; its
levels are at most one off, and it is used wherever it is installed.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Size", "check_size", "fitted", "fraction", "resized"]

Size: TypeAlias = "int | tuple[int, int]"


def check_size(size: object) -> None:
    """Raise unless it is the length of a shorter side, or (height, width)."""
    lengths: tuple[Any, ...] = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    if not all(type(length) is int for length in lengths):
        raise TypeError(f"size is the length of the shorter side, or (height, width), not {size!r}")
    if not all(length >= 1 for length in lengths):
        raise ValueError(f"a picture has at least 1 × 1 pixels; size={size!r} has fewer")


def fitted(size: Size, width: int, height: int) -> tuple[int, int]:
    """The new width and height. An int is the shorter side: the other keeps the ratio, rounded to the nearest pixel.

    >>> fitted(224, 500, 375), fitted((224, 300), 500, 375), fitted(1, 3, 1000)
    ((299, 224), (300, 224), (1, 333))
    """
    if isinstance(size, tuple):
        return size[1], size[0]
    shorter = min(width, height)
    return (2 * width * size + shorter) // (2 * shorter), (2 * height * size + shorter) // (2 * shorter)


def fraction(width: int, height: int, target: tuple[int, int]) -> int:
    """The largest of 8, 4, 2, 1 by which a JPEG decoder may divide both sides and still reach the target.

    >>> fraction(500, 375, (299, 224)), fraction(4000, 3000, (299, 224))
    (1, 8)
    """
    most = min(width // target[0], height // target[1])
    return next(by for by in (8, 4, 2, 1) if by <= most or by == 1)


@functools.cache
def _simd() -> Any:
    try:
        return importlib.import_module("cykooz_resizer")
    except ImportError:
        return None


@functools.cache
def _bilinear() -> Any:
    simd = _simd()
    return simd.ResizeOptions(resize_alg=simd.ResizeAlg.convolution(simd.FilterType.bilinear))


def resized(pixels: NDArray[np.uint8], target: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels H×W, H×W×3 or H×W×4 (the last are alpha, by which colours are weighted) at the target's width and height.

    >>> resized(np.array([[0, 0, 90, 90]], np.uint8), (2, 1))
    array([[13, 77]], dtype=uint8)
    """
    height, width = pixels.shape[:2]
    if (width, height) == target:
        return pixels
    simd = _simd()
    if simd is None or pixels.shape[2:] == (4,):
        from PIL import Image

        return np.array(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR))
    kind = simd.PixelType.U8 if pixels.ndim == 2 else simd.PixelType.U8x3
    after = simd.ImageData(*target, kind)
    simd.Resizer().resize(simd.ImageData(width, height, kind, pixels.tobytes()), after, _bilinear())
    shape = (target[1], target[0], *pixels.shape[2:])
    found: NDArray[np.uint8] = np.ndarray(shape, np.uint8, after.get_buffer()).copy()  # (bytes can't be written to)
    return found
