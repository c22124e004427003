"""How fast lists of arrays become bytes, and bytes lists of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import webdataset.tenbin

from benchmarks.frame import Row, seconds_of
from streamwds import tenbin

__all__ = ["rows"]

LISTS = {
    "two 28×28 f8": ([np.ones((28, 28)) for _ in range(2)], 2_000, {"decode": 4.0, "encode": 3.0}),
    "eight 1 MB f4": ([np.ones((512, 512), "f4") for _ in range(8)], 50, {"decode": 100.0, "encode": 3.0}),
}


def _times(n: int, function: Callable[[Any], object], value: Any) -> Callable[[], float]:
    return seconds_of(lambda: (function(value) for _ in range(n)))


def rows(folder: Path) -> Iterator[Row]:
    """Encoding can't be faster than one copy of the elements, so that has a row of its own for the large arrays."""
    for name, (arrays, times, goals) in LISTS.items():
        data = tenbin.encode_buffer(arrays)
        decoders = {
            "streamwds": _times(times, tenbin.decode_buffer, data),
            "webdataset": _times(times, webdataset.tenbin.decode_buffer, data),
        }
        yield Row(f"tenbin: decode {name}", decoders, samples=times, goal=("webdataset", goals["decode"]))
        encoders = {
            "streamwds": _times(times, tenbin.encode_buffer, arrays),
            "webdataset": _times(times, webdataset.tenbin.encode_buffer, arrays),
        }
        yield Row(f"tenbin: encode {name}", encoders, samples=times, goal=("webdataset", goals["encode"]))
    arrays, times, _ = LISTS["eight 1 MB f4"]
    limit = {
        "streamwds": _times(times, tenbin.encode_buffer, arrays),
        "one copy of the elements": _times(times, b"".join, arrays),
    }
    yield Row("tenbin: encode eight 1 MB f4, the limit", limit, samples=times)
