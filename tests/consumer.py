"""A program that reads a stream through a DataLoader and writes down what it got; test_kill_training.py kills it.

    python -m tests.consumer FOLDER BATCHES

Each batch's keys and the state after it are one line of FOLDER/log, which is on the disk before the next batch is asked
for. Started again, it goes on after the last whole line.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from streamwds import (
    Stream,
    batched,
    decode,
    map,
    mix,
    repeat,
    shuffle,
    shuffle_shards,
    split_by_worker,
    tarsamples,
    to_torch,
    unbatched,
    urls,
    with_epoch,
)
from streamwds.torch import Progress

EPOCHS, WORKERS = 3, 3


def noted(sample: dict[str, Any], rng: Any) -> dict[str, Any]:
    return {"id": f"{sample['__key__']}:{rng.integers(100)}"}


def stream_of(folder: Path, batches: int) -> Stream[Any]:
    """Two datasets, shuffled, augmented, each repeated without end, mixed, batched; so many batches an epoch."""
    parts = [
        urls(str(folder / f"{name}-{{0..5}}.tar"))
        | shuffle_shards
        | split_by_worker
        | tarsamples
        | decode()
        | shuffle(size)
        | map(noted, rng=True)
        | repeat()
        for name, size in (("a", 20), ("b", 7))
    ]
    return mix(parts, weights=[3, 1]) | batched(5) | unbatched | shuffle(11) | batched(4) | with_epoch(batches)


def last_line(log: Path) -> Any:
    """What the last whole line says; what comes behind it is cut off."""
    written = log.read_bytes() if log.exists() else b""
    whole = written.rpartition(b"\n")[0]
    with log.open("ab") as file:
        file.truncate(len(whole) + 1 if whole else 0)
    return json.loads(whole.rpartition(b"\n")[2]) if whole else None


def main(folder: Path, batches: int) -> None:
    dataset = to_torch(stream_of(folder, batches)).with_position()
    progress = Progress(DataLoader(dataset, batch_size=None, num_workers=WORKERS))
    last = last_line(folder / "log")
    if last is not None:
        progress.load_state_dict(last["state"])
    with (folder / "log").open("ab", buffering=0) as log:
        while progress.epoch < EPOCHS:
            for batch in progress:
                line = {"epoch": progress.epoch, "ids": batch["id"], "state": progress.state_dict()}
                log.write(json.dumps(line).encode() + b"\n")
                os.fsync(log.fileno())


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # (of few cores)
    main(Path(sys.argv[1]), int(sys.argv[2]))
