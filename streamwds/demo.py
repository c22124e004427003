"""The main job on real input: photographs into shards, shards into batches, in this process and in a DataLoader.

The photographs are those that lie in the wheels of scikit-image and scikit-learn, so nothing is downloaded. Crops of
them are kept as shards in a cache folder and found again by the next run. What this module needs beyond the package
(rich, and those wheels) comes with the extra `demo`; torch and webdataset take part where they are installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from operator import truediv
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamwds import Batch, Stream, TarWriter, batched, decode, split_by_worker, tarsamples, urls
from streamwds.errors import SourceError
from streamwds.show.sheet import Tile, sheet_of

__all__ = [
    "PHOTOGRAPHS",
    "Crop",
    "contact_sheet",
    "default_cache",
    "draw_crop",
    "loader",
    "make_shards",
    "pipeline",
    "run",
    "throughput",
    "webdataset_pipeline",
]

# Where each lies: the package that ships it, and the path in there. A photograph's number here is the label of its
# crops, so a new one goes to the end.
PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/chelsea.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/coins.png"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/retina.jpg"),
    ("skimage", "data/rocket.jpg"),
)

SHARDS = 6
WIDTH, HEIGHT = 500, 375
WORKERS = 2


@attrs.frozen
class Crop:
    """A rectangle of a photograph: where its centre lies, how wide it is, how far it is turned; all in pixels, degrees.

    Its sides are as WIDTH to HEIGHT, and it is turned clockwise.
    """

    label: int
    centre: tuple[float, float]
    width: float
    angle: float
    flipped: bool

    def json(self, seed: int) -> bytes:
        """The metadata of the crop; `box` is left, top, right, bottom before it is turned about its centre."""
        package, path = PHOTOGRAPHS[self.label]
        (x, y), width, height = self.centre, self.width, self.width * HEIGHT / WIDTH
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return json.dumps(
            {
                "source": f"{package}/{path}",
                "label": Path(path).stem,
                "box": [round(side, 1) for side in box],
                "angle": round(self.angle, 1),
                "flipped": self.flipped,
                "seed": seed,
            }
        ).encode()


def draw_crop(random: random.Random, photographs: Sequence[Image.Image]) -> Crop:
    """Draw a photograph and a crop of it that lies wholly inside, at a random place, scale and angle.

    >>> from random import Random
    >>> crop = draw_crop(Random(1), [Image.new("RGB", (640, 480))])
    >>> crop.label, 240 <= crop.width <= 640, abs(crop.angle) <= 12
    (0, True, True)
    """
    label = random.randrange(len(photographs))
    width, height = photographs[label].size
    angle = random.uniform(-12, 12)
    cos, sin = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    ratio = HEIGHT / WIDTH
    # The widest that still fits when it is turned; of a large photograph less, for nothing smooths before it shrinks.
    widest = min(width / (cos + ratio * sin), height / (sin + ratio * cos), 1.6 * WIDTH)
    crop_width = widest * random.uniform(0.6, 1)
    margin_x = crop_width * (cos + ratio * sin) / 2
    margin_y = crop_width * (sin + ratio * cos) / 2
    centre = random.uniform(margin_x, width - margin_x), random.uniform(margin_y, height - margin_y)
    return Crop(label, centre, crop_width, angle, flipped=random.random() < 0.5)


def _cut(crop: Crop, photograph: Image.Image) -> Image.Image:
    """The crop as a picture of WIDTH × HEIGHT."""
    scale = crop.width / WIDTH
    cos, sin = scale * math.cos(math.radians(crop.angle)), scale * math.sin(math.radians(crop.angle))
    side = -1 if crop.flipped else 1
    x, y = crop.centre
    affine = (
        *(side * cos, -sin, x - side * cos * WIDTH / 2 + sin * HEIGHT / 2),
        *(side * sin, cos, y - side * sin * WIDTH / 2 - cos * HEIGHT / 2),
    )
    return photograph.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)


def _sample(photographs: Sequence[Image.Image], seed: int, index: int) -> dict[str, str | bytes]:
    crop = draw_crop(random.Random(f"{seed}/{index}"), photographs)
    jpeg = io.BytesIO()
    _cut(crop, photographs[crop.label]).save(jpeg, "JPEG", quality=92)
    return {
        "__key__": f"{index:06d}",
        "jpg": jpeg.getvalue(),
        "cls": str(crop.label).encode(),
        "json": crop.json(seed),
    }


def _open_photographs() -> list[Image.Image]:
    photographs: list[Image.Image] = []
    for package, path in PHOTOGRAPHS:
        # Looked for without importing, since scikit-learn takes a second to import.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SourceError(f"the demo takes its photographs from {package}: pip install 'streamwds[demo]'")
        file = Path(spec.submodule_search_locations[0], path)
        if not file.is_file():
            raise SourceError(f"this version of {package} ships no {path}", url=str(file))
        photograph = Image.open(file)
        photographs.append(photograph if photograph.mode == "L" else photograph.convert("RGB"))
        photograph.load()
    return photographs


def make_shards(
    folder: Path, count: int = 2400, *, seed: int = 0, report: Callable[[int], object] = lambda done: None
) -> str:
    """Cut `count` crops into shards below `folder` and give their URL pattern; shards that are there already stay.

    Each shard appears under its name only when it is whole, and depends on nothing but `count` and `seed`, so a run
    that was interrupted goes on where it stopped. `report` is called with the samples done since the last call.
    """
    if count < SHARDS:
        raise SourceError(f"{count} samples don't fill {SHARDS} shards")
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [count * shard // SHARDS for shard in range(SHARDS + 1)]
    shards = {folder / f"photos-{shard:06d}.tar": range(*bounds[shard : shard + 2]) for shard in range(SHARDS)}
    missing = {path: indices for path, indices in shards.items() if not path.exists()}
    report(count - sum(map(len, missing.values())))
    if missing:
        make = partial(_sample, _open_photographs(), seed)
        # Threads will do: Pillow releases the interpreter's lock where the time goes.
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            for path, indices in missing.items():
                with TarWriter(path, mtime=0, encoder=False) as writer:
                    for sample in executor.map(make, indices):
                        writer.write(sample)
                        report(1)
    return str(folder / f"photos-{{000000..{SHARDS - 1:06d}}}.tar")


def pipeline(pattern: str) -> Stream[Batch]:
    """The pipeline that the README opens with."""
    return urls(pattern) | split_by_worker | tarsamples | decode("rgb") | batched(32)


def webdataset_pipeline(pattern: str) -> Any:
    """The same work by webdataset."""
    webdataset: Any = importlib.import_module("webdataset")
    return webdataset.WebDataset(pattern, shardshuffle=False).decode("rgb").batched(32)


def loader(batches: Any) -> Iterable[Batch]:
    """Let the workers of a DataLoader make the batches, of ours or of webdataset's pipeline."""
    from torch.utils.data import DataLoader

    from streamwds import to_torch

    dataset: Any = to_torch(cast("Stream[Batch]", batches)) if isinstance(batches, Stream) else batches
    return DataLoader(dataset, batch_size=None, num_workers=WORKERS)


def _itself(batches: Iterable[Batch]) -> Iterable[Batch]:
    return batches


def throughput(batches: Iterable[Batch]) -> float:
    """Samples a second of one whole pass."""
    start = time.perf_counter()
    samples = sum(len(batch["__key__"]) for batch in batches)
    return samples / (time.perf_counter() - start)


# ---- the contact sheet


def contact_sheet(batch: Mapping[str, Any], title: str = "") -> Image.Image:
    """Draw a batch: each picture of `jpg`, float (n, height, width, 3) in 0…1, with its key and label below.

    >>> meta = {"label": "night", "angle": 0.0, "flipped": False}
    >>> batch = {"__key__": ["a"], "jpg": np.zeros((1, 75, 100, 3)), "cls": np.array([4]), "json": [meta]}
    >>> contact_sheet(batch).size
    (272, 344)
    """
    samples = zip(batch["__key__"], batch["jpg"], batch["cls"], batch["json"], strict=True)
    return sheet_of([_tile(*sample) for sample in samples], title)


def _tile(key: str, picture: NDArray[np.float32], label: int, meta: Mapping[str, Any]) -> Tile:
    return Tile(
        Image.fromarray(np.rint(picture * np.float32(255)).astype(np.uint8)),
        above=(key, meta["label"].replace("_", " ")),
        below=(f"turned {round(meta['angle']):+d}°{', flipped' * meta['flipped']}", f"cls {label}"),
        colour=f"hsl({int(label) * 137.5 % 360:.1f}, 50%, 42%)",  # the golden angle: neighbours differ most
    )


# ---- the whole


def default_cache() -> Path:
    """`$STREAMWDS_CACHE`, or else the user's cache folder by the XDG rules, by which a relative path is none."""
    if chosen := os.environ.get("STREAMWDS_CACHE"):
        return Path(chosen).absolute()
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "streamwds"


def _progress(console: Console, *, auto_refresh: bool) -> Progress:
    """A bar that is silent where nobody watches. With `auto_refresh` it has a thread, beside which nothing may fork."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    silent = not console.is_terminal
    return Progress(*columns, console=console, auto_refresh=auto_refresh, transient=True, disable=silent)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _compare(pattern: str, rounds: int, console: Console) -> Table:
    """Let every library that is installed do the same work `rounds` times in turn."""
    libraries: dict[str, Callable[[str], Any]] = {"streamwds": pipeline}
    if _installed("webdataset"):
        libraries["webdataset"] = webdataset_pipeline
    ways: dict[str, Callable[[Any], Iterable[Batch]]] = {"in this process": _itself}
    if _installed("torch"):
        ways[f"DataLoader, {WORKERS} workers"] = loader

    speeds: dict[tuple[str, str], list[float]] = {pair: [] for pair in product(ways, libraries)}
    with _progress(console, auto_refresh=False) as progress:
        task = progress.add_task("", total=rounds * len(speeds))
        for _ in range(rounds):
            for way, library in speeds:
                progress.update(task, description=f"{library}, {way}", refresh=True)
                speeds[way, library].append(throughput(ways[way](libraries[library](pattern))))
                progress.advance(task)

    table = Table(box=SIMPLE_HEAD)
    table.add_column(f"samples/s, medians of {rounds}")
    for library in libraries:
        table.add_column(library, justify="right")
    if "webdataset" in libraries:
        table.add_column("ratio", justify="right", style="bold")
    for way in ways:
        passes = [speeds[way, library] for library in libraries]
        medians = [f"{statistics.median(library):,.0f}" for library in passes]
        # Ratios of the same round, since a machine's speed drifts.
        ratio = [f"{statistics.median(map(truediv, *passes)):.2f} ×"] if len(passes) > 1 else []
        table.add_row(way, *medians, *ratio)
    return table


def _summary(column: Any) -> str:
    if isinstance(column, np.ndarray):
        array = cast("NDArray[Any]", column)
        return f"{array.dtype} {array.shape}"
    return f"{len(column)} × {type(column[0]).__name__}"


def run(
    cache: Path | None = None,
    *,
    count: int = 2400,
    seed: int = 0,
    rounds: int = 3,
    console: Console | None = None,
) -> Path:
    """Make or find the shards, read them in each way, print how fast that was, and give the contact sheet's path.

    Everything lies in the folder `demo` below `cache`, which is `$STREAMWDS_CACHE` unless given, or else
    `~/.cache/streamwds`.
    """
    console = console or Console()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    home = (default_cache() if cache is None else cache.absolute()) / "demo"
    folder = home / f"photos-{count}-seed-{seed}"

    start = time.perf_counter()
    with _progress(console, auto_refresh=True) as progress:
        task = progress.add_task(f"cutting crops of {len(PHOTOGRAPHS)} photographs", total=count)
        pattern = make_shards(folder, count, seed=seed, report=partial(progress.advance, task))
    seconds = time.perf_counter() - start
    megabytes = sum(shard.stat().st_size for shard in folder.glob("*.tar")) / 1e6
    say(f"{count:,} crops of {len(PHOTOGRAPHS)} photographs, {megabytes:,.0f} MB, made or found in {seconds:.1f} s:")
    say(f"{pattern}\n")

    batch = next(iter(pipeline(pattern)))
    code = repr(pipeline(Path(pattern).name))
    say(code)
    for field, column in batch.items():
        say(f"  {field:9}{_summary(column)}")

    say()
    console.print(_compare(pattern, rounds, console))
    for package in ("torch", "webdataset"):
        if not _installed(package):
            say(f"without {package}, which is not installed: pip install {package}")

    sheet = home / "contact-sheet.png"
    partly = sheet.with_name(f".{sheet.name}.{os.getpid()}")
    contact_sheet(batch, code).save(partly, "PNG")
    partly.replace(sheet)
    say(f"\ncontact sheet: {sheet}")
    return sheet
