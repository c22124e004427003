"""Pictures of what is none: arrays as heat maps, sound as a wave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["heat_map", "numbers", "wave"]

SIDE = 240  # (pixels of the longer side, at least)

_VIRIDIS = np.array(  # matplotlib's colour map viridis (CC0), nine of its colours
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ]
)  # fmt: skip


def _plane(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Two of its dimensions: the last, or those before a last one of at most 4; of the others the first element."""
    if array.ndim > 2 and array.shape[-1] <= 4 < array.shape[-2]:
        array = array[..., 0]
    while array.ndim > 2:
        array = array[0]
    return array.reshape(1, -1) if array.ndim < 2 else array


def heat_map(array: NDArray[np.generic]) -> Image.Image | None:
    """The values from dark (the smallest) to bright; gray where they are no finite numbers. None: nothing to draw.

    An array of more than two dimensions shows its first plane, one of a single dimension a strip.

    >>> heat_map(np.arange(12.0).reshape(3, 4)).size
    (240, 180)
    """
    if array.dtype.kind not in "biufc" or not array.size:
        return None
    plane = _plane(np.abs(array).astype(np.float64) if array.dtype.kind == "c" else array.astype(np.float64))
    step = tuple(max(1, side // 1024) for side in plane.shape)
    plane = plane[:: step[0], :: step[1]]
    finite = np.isfinite(plane)
    low, high = (float(plane[finite].min()), float(plane[finite].max())) if finite.any() else (0.0, 0.0)
    # (halves, for the difference of two finite numbers may be none)
    place = np.where(finite, plane / 2 - low / 2, 0) / ((high / 2 - low / 2) or 1) * (len(_VIRIDIS) - 1)
    colours = [np.interp(place, range(len(_VIRIDIS)), channel) for channel in _VIRIDIS.T]
    pixels = np.where(finite[..., None], np.stack(colours, axis=-1), 128).astype(np.uint8)
    height, width = plane.shape
    scale = max(1, SIDE // max(height, width))
    return Image.fromarray(pixels).resize((width * scale, height * max(scale, 16 // height)), Image.Resampling.NEAREST)


def numbers(array: NDArray[np.generic]) -> str:
    """Its dtype, shape and range, in words.

    >>> numbers(np.arange(12, dtype="u1").reshape(3, 4))
    'uint8 3×4, 0 to 11, mean 5.5'
    """
    shape = "×".join(map(str, array.shape)) or "a single number"
    if array.dtype.kind not in "biuf" or not array.size:
        return f"{array.dtype} {shape}"
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    odd = values.size - finite.size
    missing = f", {odd} not finite" if odd else ""
    if not finite.size:
        return f"{array.dtype} {shape}{missing}"
    with np.errstate(over="ignore"):
        return f"{array.dtype} {shape}, {finite.min():.6g} to {finite.max():.6g}, mean {finite.mean():.6g}{missing}"


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
