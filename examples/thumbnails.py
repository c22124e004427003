"""Thumbnails of a folder of photos: as shards, and some of them on one sheet.

    python examples/thumbnails.py [--photos ~/Pictures] [--size 128] [--folder thumbnails]

JPEGs are taken from the folder and all in it, turned as the camera says, and made small by several threads, in order.
One that can't be read is passed over with a warning. A thumbnail's key is its photo's path, so that `tar xf` gives the
folder again, in small. Without `--photos` it draws some first, and breaks one.
"""

from __future__ import annotations

import argparse
import colorsys
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamwds import (
    Sample,
    Stream,
    batched,
    decode,
    map,
    take,
    tarsamples,
    urls,
    warn_and_continue,
    write_to,
)
from streamwds.codecs import jpeg

Pixels = NDArray[np.uint8]

ENDINGS = (".jpg", ".jpeg")
ORIENTATION = 0x0112  # (the number of this tag in EXIF)


def make_photos(folder: Path) -> Path:
    """Draw pictures of various colours and shapes, one of them lying on its side and one cut in half."""
    for number in range(24):
        year = folder / str(2020 + number % 3)
        year.mkdir(parents=True, exist_ok=True)
        height, width = (240, 360) if number % 4 else (360, 240)
        down, right = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        light = np.cos(3 * np.hypot(down, right) * (1 + number % 5)) / 2 + 0.5
        colour = np.array(colorsys.hsv_to_rgb(number / 24, 0.6, 1))
        picture = Image.fromarray((255 * light[..., None] * colour).astype(np.uint8))
        exif = Image.Exif()
        exif[ORIENTATION] = 6 if number == 5 else 1
        picture.save(year / f"photo {number:02}.jpg", exif=exif)
    broken = folder / "2021" / "photo 07.jpg"
    broken.write_bytes(broken.read_bytes()[:1000])
    return folder


def photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)


def thumbnails(photos: Path, size: int) -> Stream[Sample]:
    """Samples of a key and `jpg`: an array (height, width, 3) of uint8, whose shorter side is `size`."""

    def read(path: Path) -> Sample:
        place = path.relative_to(photos)
        key = place.with_name(place.stem.replace(".", "-"))  # (a key ends at a dot)
        return {"__key__": key.as_posix(), "jpg": path.read_bytes()}

    threads = os.cpu_count() or 1
    return (
        photos_in(photos)
        | map(read, handler=warn_and_continue)
        | decode("rgb8", size=size, orient=True, threads=threads, handler=warn_and_continue)
    )


def tile(sample: Sample) -> Pixels:
    """The middle of a thumbnail, as a square."""
    pixels: Pixels = sample["jpg"]
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def sheet(pattern: str, columns: int = 8, rows: int = 6) -> Pixels:
    """The first of the thumbnails in rows, on white."""

    def row(tiles: list[Pixels]) -> Pixels:
        missing = [np.full_like(tiles[0], 255)] * (columns - len(tiles))
        return np.hstack([*tiles, *missing])

    tiles = urls(pattern) | tarsamples | decode("rgb8") | take(columns * rows) | map(tile)
    return np.vstack(tiles | batched(columns, collate=row) | list)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make thumbnails of a folder of photos.")
    parser.add_argument("--photos", type=Path, help="the folder (default: some photos are drawn)")
    parser.add_argument("--size", type=int, default=128, help="pixels of the shorter side (default: 128)")
    parser.add_argument("--folder", type=Path, default=Path("thumbnails"), help="for what is written")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = options.photos or make_photos(options.folder / "photos")
    shards = options.folder / "thumbnails-%03d.tar"
    small = thumbnails(photos, options.size)
    written = small | write_to(shards, maxcount=1000, encoder={"jpg": jpeg(quality=85)})
    broken = small.skipped.total()
    print(f"{written.samples} thumbnails, {written.bytes / 1e6:.1f} MB; {broken} of the photos can't be read")
    if written.samples:
        Image.fromarray(sheet(f"{options.folder}/thumbnails-*.tar")).save(options.folder / "sheet.png")


if __name__ == "__main__":
    main()
