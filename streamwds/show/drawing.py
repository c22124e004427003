"""Pictures of what is none: arrays as heat maps, sound as a wave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["heat_map", "numbers", "wave"]

SIDE = 240  # (pixels of the longer side, at least)
MOST = 512  # (values of a side that are drawn, at most: of a longer one each second, third …)

_VIRIDIS = np.array(  # matplotlib's colour map viridis (CC0), nine of its colours
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ]
)  # fmt: skip


def _plane(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """Two of its dimensions: the last, or those before a last one of at most 4; of the others the first element."""
    if array.ndim > 2 and array.shape[-1] <= 4 < array.shape[-2]:
        array = array[..., 0]
    while array.ndim > 2:
        array = array[0]
    plane: NDArray[Any] = array.reshape(1, -1) if array.ndim < 2 else array
    height, width = (-(-side // MOST) for side in plane.shape)
    plane = plane[::height, ::width]
    return (np.abs(plane) if plane.dtype.kind == "c" else plane).astype(np.float64)


def heat_map(array: NDArray[np.generic]) -> Image.Image | None:
    """The values from dark (the smallest) to bright; gray where they are no finite numbers. None: nothing to draw.

    An array of more than two dimensions shows its first plane, one of a single dimension a strip.

    >>> heat_map(np.arange(12.0).reshape(3, 4)).size
    (240, 180)
    """
    if array.dtype.kind not in "biufc" or not array.size:
        return None
    with np.errstate(all="ignore"):  # (a float of 80 bits may be too large, and then it is infinite)
        plane = _plane(array)
    finite = np.isfinite(plane)
    low, high = (float(plane[finite].min()), float(plane[finite].max())) if finite.any() else (0.0, 0.0)
    # (halves, for the difference of two finite numbers may be none)
    place = np.where(finite, plane / 2 - low / 2, 0) / ((high / 2 - low / 2) or 1) * (len(_VIRIDIS) - 1)
    colours = [np.interp(place, range(len(_VIRIDIS)), channel) for channel in _VIRIDIS.T]
    pixels = np.where(finite[..., None], np.stack(colours, axis=-1), 128).astype(np.uint8)
    height, width = plane.shape
    scale = max(1, SIDE // max(height, width))
    size = (width * max(scale, 16 // width), height * max(scale, 16 // height))
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def numbers(array: NDArray[np.generic]) -> str:
    """Its dtype, shape and range, in words.

    >>> numbers(np.arange(12, dtype="u1").reshape(3, 4))
    'uint8 3×4, 0 to 11, mean 5.5'
    """
    values: NDArray[Any] = array
    what = f"{array.dtype!s:.80} {'×'.join(map(str, array.shape)) or 'a single number'}"
    if array.dtype.kind not in "biuf" or not array.size:
        return what
    finite = np.isfinite(values)
    odd = values.size - int(np.count_nonzero(finite))
    missing = f", {odd} not finite" if odd else ""
    if odd == values.size:
        return f"{what}{missing}"
    if odd:
        values = values[finite]
    with np.errstate(over="ignore"):
        mean = values.mean(dtype=np.result_type(values, np.float64))
    return f"{what}, {values.min():.6g} to {values.max():.6g}, mean {mean:.6g}{missing}"


def wave(samples: NDArray[np.float32]) -> Image.Image | None:
    """Sound, channels × frames in −1..1, as its wave: of each column of pixels the lowest and highest value.

    >>> wave(np.zeros((1, 500), np.float32)).size
    (240, 60)
    """
    if not samples.size:
        return None
    mono = samples.mean(axis=0)
    width, height = SIDE, 60
    edges = np.linspace(0, len(mono), width, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(mono, edges), np.maximum.reduceat(mono, edges)
    rows = np.linspace(1, -1, height)[:, None]
    half = 1 / (height - 1)
    inside = (rows <= high + half) & (rows >= low - half)
    return Image.fromarray(np.where(inside[..., None], _VIRIDIS[3], 244).astype(np.uint8))
