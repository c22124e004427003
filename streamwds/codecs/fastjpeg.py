"""JPEG straight into an array, by simplejpeg (the extra `jpeg`), without the copies that Pillow makes on the way.

Both decode with libjpeg-turbo, so the pixels are the same. What simplejpeg can't read, or finds fault with, is left to
Pillow: so pictures and errors are Pillow's whether or not the extra is installed, and only the time differs.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.resizing import fraction, resized

__all__ = ["read_jpeg"]


@functools.cache
def _simplejpeg() -> Any:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def read_jpeg(
    data: bytes,
    mode: Literal["L", "RGB", "RGBA"],
    limit: int | None,
    fit: Callable[[int, int, int | None], tuple[int, int]],
    empty: Callable[..., NDArray[Any]] = np.empty,
) -> NDArray[np.uint8] | None:
    """The pixels, H×W, H×W×3 or H×W×4 by the mode, in an array by `empty`; None if Pillow is to do it.

    limit: how many pixels a picture may have; of larger ones none is allocated. fit: from width, height and limit to
    the width and height that are wanted; the decoder shrinks to the smallest of 1/8, 1/4, 1/2 that is no smaller, and
    the rest is resized.

    Left to Pillow: what is no JPEG or too large, CMYK, colours in gray (which is not their luma: Pillow goes through
    RGB, where they are cut off), and everything broken, cut, or odd enough for a warning.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or data[:3] != b"\xff\xd8\xff":
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space not in _SPACES or (mode == "L" and space != "Gray") or (limit is not None and width * height > limit):
            return None
        target = fit(width, height, limit)
        by = fraction(width, height, target)
        least = (-(-height // by), -(-width // by))
        pixels = empty(least if mode == "L" else (*least, len(mode)), np.uint8)
        colors = "GRAY" if mode == "L" else mode
        read = simplejpeg.decode_jpeg(data, colors, min_height=least[0], min_width=least[1], buffer=pixels)
    except ValueError:
        return None
    return resized(pixels, target) if read.shape[:2] == least else None


_SPACES = ("Gray", "YCbCr", "RGB")
