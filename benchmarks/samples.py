"""How fast small samples go through a whole pipeline, where the time goes into the stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import webdataset

from benchmarks.frame import Row, seconds_of
from benchmarks.reading import SMALL, small, write
from streamwds import batched, decode, shuffle, tarsamples, to_tuple, urls

__all__ = ["rows"]


def rows(folder: Path) -> Iterator[Row]:
    """A text and a label, through decode alone, and through all that training does with them."""
    pattern = write(folder / "small.tar", small())
    decoded = urls(pattern) | tarsamples | decode()
    contenders = {
        "streamwds": seconds_of(decoded.tracked),
        "webdataset": seconds_of(lambda: webdataset.WebDataset(pattern, shardshuffle=False).decode()),
    }
    yield Row("small samples: decode()", contenders, samples=SMALL)

    whole = urls(pattern) | tarsamples | shuffle(1000) | decode() | to_tuple("txt", "cls") | batched(32)
    contenders = {
        "streamwds": seconds_of(whole.tracked),
        "webdataset": seconds_of(
            lambda: (
                webdataset.WebDataset(pattern, shardshuffle=False)
                .shuffle(1000)
                .decode()
                .to_tuple("txt", "cls")
                .batched(32)
            )
        ),
    }
    goal = ("webdataset", 20.0)
    yield Row("small samples: shuffle, decode, to_tuple, batched(32)", contenders, samples=SMALL, goal=goal)
