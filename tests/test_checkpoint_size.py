"""How large a checkpoint is: at most 2 kB a worker, for a pipeline that has everything, wherever it is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from streamwds import (
    Stream,
    TarWriter,
    batched,
    decode,
    interleave,
    mix,
    repeat,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    tarsamples,
    to_torch,
    urls,
)
from streamwds.torch import Progress

LIMIT, SHARDS, WORKERS = 2000, 24, 2


@pytest.fixture
def everything(tmp_path: Path) -> Stream[Any]:
    for name in "abc":
        for shard in range(SHARDS):
            with TarWriter(tmp_path / f"{name}-{shard:06}.tar") as writer:
                for n in range(30):
                    writer.write({"__key__": f"{name}-{shard:06}-{n:06}", "txt": "x" * 3000, "cls": n})
    parts = [
        urls(tmp_path / f"{name}-{{000000..{SHARDS - 1:06}}}.tar")
        | shuffle_shards
        | split_by_node
        | split_by_worker
        | interleave(tarsamples, 8)
        | decode()
        for name in "abc"
    ]
    return mix(parts, weights=[5, 3, 1]) | shuffle(100) | batched(8) | repeat(2)


def test_a_position_has_at_most_2_kilobytes(everything: Stream[Any]) -> None:
    reader = everything.within(rank=1, world_size=2, worker=1, workers=2, epoch=3)
    sizes = [len(json.dumps(position)) for _, position in reader.tracked()]
    assert len(sizes) > 100
    assert max(sizes) <= LIMIT


def test_a_checkpoint_has_at_most_2_kilobytes_a_worker(everything: Stream[Any]) -> None:
    dataset = to_torch(everything.within(rank=0, world_size=1)).with_position()
    progress = Progress(DataLoader(dataset, batch_size=None, num_workers=WORKERS))
    sizes = [len(json.dumps(progress.state_dict())) for _ in progress]
    assert len(sizes) > 100
    assert max(sizes) <= LIMIT * WORKERS
