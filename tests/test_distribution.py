"""split_samples and equalize: examples and edges; their laws are in properties/test_split.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamwds import (
    TarWriter,
    batched,
    decode,
    equalize,
    ignore_and_continue,
    map,
    shuffle,
    split_by_node,
    split_by_worker,
    split_samples,
    tarsamples,
    urls,
)
from streamwds.errors import DistributionError, FewShardsWarning


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Three shards of 7, 2 and 4 samples."""
    for number, size in enumerate((7, 2, 4)):
        with TarWriter(tmp_path / f"{number}.tar") as writer:
            for n in range(size):
                writer.write({"__key__": f"{number}{n}", "cls": b"x" if n == 1 else b"7"})
    return str(tmp_path / "{0..2}.tar")


def test_fewer_shards_than_workers_split_by_sample(shards: str) -> None:
    stream = urls(shards) | tarsamples | split_samples
    parts = [
        [sample["__key__"] for sample in stream.within(rank=rank, world_size=2, worker=worker, workers=3)]
        for rank in range(2)
        for worker in range(3)
    ]
    assert sorted(len(part) for part in parts) == [2, 2, 2, 2, 2, 3]
    assert len({key for part in parts for key in part}) == 13


def test_fewer_samples_than_workers_is_a_warning() -> None:
    stream = [1, 2] | split_samples
    with pytest.warns(FewShardsWarning, match="2 samples for 4 workers, so 2 of them .*; use fewer workers") as told:
        list(stream.within(rank=0, world_size=2, worker=0, workers=2))
    assert len(told) == 1


def test_few_shards_say_what_to_do() -> None:
    with pytest.warns(FewShardsWarning, match=r"1 shard for 2 nodes.*more, smaller shards, use fewer nodes, or split"):
        list((["a"] | split_by_node).within(rank=0, world_size=2))


def test_every_reader_gets_exactly_so_many_batches(shards: str) -> None:
    """Whatever is skipped, and however uneven the shards are."""
    read = split_by_node | tarsamples | decode(handler=ignore_and_continue) | shuffle(3) | batched(2)
    for rank in range(3):
        with pytest.warns(match="can't be decoded"):
            assert len(list((urls(shards) | read | equalize(4)).within(rank=rank, world_size=3))) == 4


def test_a_reader_with_nothing_is_an_error_at_once(shards: str) -> None:
    stream = urls(shards) | split_by_node | split_by_worker | tarsamples | equalize(4)
    with pytest.raises(DistributionError, match=r"worker 1 of 2 on rank 1 of 2 has no item at all.*split_samples"):
        next(iter(stream.within(rank=1, world_size=2, worker=1, workers=2)))
    with pytest.raises(DistributionError, match="split_samples"):
        next(stream.within(rank=1, world_size=2, worker=1, workers=2).tracked())
    samples = urls(shards) | tarsamples | split_samples | equalize(4)
    assert len(list(samples.within(rank=1, world_size=2, worker=1, workers=2))) == 4


def test_all_of_it_skipped_is_an_error_too() -> None:
    def fails(item: Any) -> Any:
        raise ValueError("no")

    with (
        pytest.warns(match="no"),
        pytest.raises(DistributionError, match="or all of its samples were skipped"),
    ):
        list(range(4) | map(fails, handler=ignore_and_continue) | equalize(2))


def test_nothing_is_read_for_nothing() -> None:
    assert list(iter(()) | equalize(0)) == []
    for wrong in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match="a number of items"):
            equalize(wrong)  # type: ignore[arg-type]
