"""How fast photographs become arrays, tensors, and batches of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import webdataset
from braceexpand import braceexpand
from PIL import Image

from benchmarks.frame import Contender, Row, seconds_of
from streamwds import batched, decode, tarsamples, urls
from streamwds.demo import make_shards

__all__ = ["rows"]

PHOTOGRAPHS, PASSES = 320, 3
SAMPLES = PHOTOGRAPHS * PASSES
SIDE = 224


def _shrunk(sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with its picture as `decode(size=SIDE)` makes it, by the same filter."""
    picture: Image.Image = sample["jpg"]
    shorter = min(picture.size)
    size = (round(picture.width * SIDE / shorter), round(picture.height * SIDE / shorter))
    return {**sample, "jpg": picture.resize(size, Image.Resampling.BILINEAR)}


def _tjbench(program: str, folder: Path, shards: list[str]) -> Contender:
    """libjpeg-turbo's own benchmark: some of the photographs, each decoded again and again into the same memory."""
    files: list[Path] = []
    for number, sample in enumerate(urls(shards) | tarsamples):
        if number % (PHOTOGRAPHS // 20) == 0:
            files.append(folder / f"{number}.jpg")
            files[-1].write_bytes(sample["jpg"])

    def contender() -> float:
        seconds = 0.0
        for file in files:
            command = [program, str(file), "-rgb", "-nowrite", "-benchtime", "0.05", "-warmup", "0.01"]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rate = re.search(r"Frame rate:\s*([\d.]+) fps", told)
            assert rate is not None
            seconds += 1 / float(rate[1])
        return seconds / len(files) * SAMPLES

    return contender


def rows(folder: Path) -> Iterator[Row]:
    """The photographs of the demo, JPEG of 500 × 375, several times over; ours with positions, as training reads them.

    Where libjpeg-turbo's `tjbench` is installed, the row of it tells our share of what the machine can do.
    """
    shards = list(braceexpand(make_shards(folder, PHOTOGRAPHS)))
    source = urls(shards * PASSES) | tarsamples

    def theirs(spec: str) -> Any:
        return webdataset.WebDataset(shards * PASSES, shardshuffle=False).decode(spec)

    stream = source | decode("rgb8")
    contenders = {"streamwds": seconds_of(stream.tracked), "webdataset": seconds_of(lambda: theirs("rgb8"))}
    if (program := shutil.which("tjbench")) is not None:
        contenders["tjbench, 1 thread"] = _tjbench(program, folder, shards)
    yield Row('decode("rgb8")', contenders, samples=SAMPLES, goal=("webdataset", 1.8))

    for threads, goal in ((1, 2.5), (2, 4.5)):
        batches = source | decode("rgb", threads=threads) | batched(32)
        contenders = {
            "streamwds": seconds_of(batches.tracked),
            "webdataset": seconds_of(lambda: theirs("rgb").batched(32)),
        }
        work = f'decode("rgb") | batched(32), {threads} thread{"s" * (threads > 1)}'
        yield Row(work, contenders, samples=SAMPLES, goal=("webdataset", goal))

    tensors = source | decode("torchrgb8", threads=2)
    contenders = {"streamwds": seconds_of(tensors.tracked), "webdataset": seconds_of(lambda: theirs("torchrgb8"))}
    yield Row('decode("torchrgb8"), 2 threads', contenders, samples=SAMPLES, goal=("webdataset", 3))

    small = source | decode("rgb8", size=SIDE)
    contenders = {
        "streamwds": seconds_of(small.tracked),
        "webdataset, resized by Pillow": seconds_of(lambda: theirs("pil").map(_shrunk)),
    }
    work = f'decode("rgb8", size={SIDE})'
    yield Row(work, contenders, samples=SAMPLES, goal=("webdataset, resized by Pillow", 4))
