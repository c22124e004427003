"""shuffle_shards, resampled, rsample, and map with a generator: examples and edges.

tests/test_draws.py pins what they draw.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamwds import (
    Sample,
    Stream,
    TarWriter,
    batched,
    everywhere,
    fraction,
    ignore_and_continue,
    map,
    repeat,
    resampled,
    rsample,
    select,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    take,
    tarsamples,
    urls,
)
from streamwds.errors import CompositionError, EmptyStreamWarning, FunctionError, MissingFieldError, ReplayError

SOME: list[Sample] = [{"x": 1}, {"__key__": "1"}]


# ---- shards


def test_each_epoch_has_another_order_and_no_shard_twice() -> None:
    shards = urls("{00..11}") | shuffle_shards | split_by_node | split_by_worker
    for epoch in range(3):
        found = [
            item
            for rank in range(2)
            for worker in range(3)
            for item in shards.within(epoch=epoch, rank=rank, world_size=2, worker=worker, workers=3)
        ]
        assert sorted(found) == sorted(urls("{00..11}"))
    mine = {"rank": 1, "world_size": 2, "worker": 2, "workers": 3}
    assert len({tuple(shards.within(epoch=epoch, **mine)) for epoch in range(5)}) > 1


def test_draws_with_replacement_go_on_for_ever_and_are_even() -> None:
    counts = Counter(islice(urls("{0..9}") | resampled(), 10_000))
    assert sorted(counts) == list("0123456789")
    assert all(900 < count < 1100 for count in counts.values())


def test_resampling_needs_no_split_and_each_reader_has_its_own() -> None:
    stream = urls("{0..9}") | resampled() | take(20)
    readers = [
        tuple(stream.within(rank=rank, world_size=2, worker=worker, workers=2)) for rank in (0, 1) for worker in (0, 1)
    ]
    assert len(set(readers)) == 4


def test_nothing_to_draw_from() -> None:
    with pytest.warns(EmptyStreamWarning, match="there is no URL to draw"):
        assert list(urls("a") | select(lambda url: url == "b") | resampled()) == []


def test_they_are_for_urls() -> None:
    for stage in (shuffle_shards, resampled()):
        with pytest.raises(CompositionError, match="takes str"):
            range(3) | stage  # type: ignore[operator]


def test_other_urls_are_noticed(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{n}.tar") for n in range(5)]
    for name in names[1:]:
        Path(name).touch()
    for stage in (shuffle_shards, resampled() | take(9)):
        (tmp_path / "0.tar").unlink(missing_ok=True)
        stream = names | select(lambda name: Path(name).exists()) | stage
        _, position = next(stream.tracked())
        assert len(list(stream.at(position))) == len(list(stream)) - 1
        (tmp_path / "0.tar").touch()
        with pytest.raises(ReplayError, match="the list of URLs was not read the same"):
            list(stream.at(position))


# ---- samples


def test_how_many_are_kept() -> None:
    assert 4800 < len(list(range(10_000) | rsample(0.5))) < 5200
    assert list(range(100) | rsample(0)) == []
    assert list(range(100) | rsample(1)) == list(range(100))
    for wrong in (-0.1, 1.1, "1", True):
        with pytest.raises(ValueError, match=r"between 0\.0 and 1\.0"):
            rsample(wrong)  # type: ignore[arg-type]


def test_fractions_are_of_the_keys_alone() -> None:
    samples: list[Sample] = [{"__key__": f"{n}", "__url__": f"{n % 7}.tar"} for n in range(10_000)]
    parts = [[s["__key__"] for s in samples | fraction(lo, hi)] for lo, hi in ((0, 0.25), (0.25, 0.9), (0.9, 1))]
    assert sorted(key for part in parts for key in part) == sorted(s["__key__"] for s in samples)
    assert [round(len(part) / 500) for part in parts] == [5, 13, 2]
    again = (samples[::-1] | everywhere | fraction(0.9, 1)).within(seed=7, epoch=3, rank=1, world_size=2)
    assert sorted(s["__key__"] for s in again) == sorted(parts[2])
    assert [s["__key__"] for s in samples | fraction(0.9, 1, 1)] != parts[2]


def test_wrong_fractions() -> None:
    for lo, hi in ((-1, 1), (0, 1.5), ("0", 1), (False, 1)):
        with pytest.raises(ValueError, match=r"two numbers between 0\.0 and 1\.0"):
            fraction(lo, hi)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give the smaller number first"):
        fraction(0.5, 0.4)
    with pytest.raises(MissingFieldError, match=r"field '__key__'.*this has none"):
        list([{"x": 1}] | fraction(0, 1))
    with pytest.raises(CompositionError, match="fraction takes Sample"):
        [{"__key__": "1"}] | batched(2) | fraction(0, 1)  # type: ignore[operator]
    with pytest.warns(match="this has none"):
        assert list(SOME | fraction(0, 1, handler=ignore_and_continue)) == [{"__key__": "1"}]


# ---- a generator for each sample


def crop(sample: Sample, rng: np.random.Generator) -> Sample:
    return {**sample, "crop": rng.integers(0, 1000, 2).tolist()}


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for number in range(6):
        with TarWriter(tmp_path / f"{number}.tar") as writer:
            for n in range(5):
                writer.write({"__key__": f"{n}", "txt": b""})
    return str(tmp_path / "{0..5}.tar")


def crops(stream: Stream[Sample]) -> dict[tuple[str, str], Any]:
    return {(sample["__url__"], sample["__key__"]): sample["crop"] for sample in stream}


def test_a_sample_has_the_same_draws_however_it_is_read(shards: str, tmp_path: Path) -> None:
    alone = crops(urls(shards) | tarsamples | map(crop, rng=True))
    assert len({tuple(one) for one in alone.values()}) == 30
    stream = urls(shards) | shuffle_shards | split_by_worker | tarsamples | shuffle(7) | map(crop, rng=True)
    for workers in (1, 2, 3):
        together: dict[Any, Any] = {}
        for worker in range(workers):
            together |= crops(stream.within(worker=worker, workers=workers))
        assert together == alone
    with ThreadPoolExecutor(4) as pool:
        assert all(found == alone for found in pool.map(crops, [stream] * 8))
    pairs = list(stream.tracked())
    for k in (0, 13, 28):
        assert list(stream.at(pairs[k][1])) == [sample for sample, _ in pairs[k + 1 :]]


def test_other_epochs_seeds_and_shards_draw_otherwise(shards: str, tmp_path: Path) -> None:
    stream = urls(shards) | tarsamples | map(crop, rng=True)
    alone = crops(stream)
    for other in (
        stream.within(epoch=1),
        stream.within(seed=1),
        urls(shards) | tarsamples | map(crop, rng=True, seed=1),
    ):
        assert not alone.items() & {key: tuple(found) for key, found in crops(other).items()}.items()
        assert crops(other) != alone
    twice = [sample["crop"] for sample in stream | repeat(2)]
    assert twice[:30] == list(alone.values())
    assert twice[30:] == list(crops(stream.within(epoch=1)).values())
    (tmp_path / "moved").mkdir()
    for path in tmp_path.glob("*.tar"):
        path.rename(tmp_path / "moved" / path.name)
    moved = urls(str(tmp_path / "moved" / "{0..5}.tar")) | tarsamples | map(crop, rng=True)
    assert list(crops(moved).values()) == list(alone.values())


def test_what_has_no_key_has_no_draws() -> None:
    with pytest.raises(MissingFieldError, match="depends on it, a str, and this is 3"):
        list([3] | map(crop, rng=True))  # type: ignore[operator]
    with pytest.raises(MissingFieldError, match=r"field '__key__'.*this has none"):
        list([{"x": 1}] | map(crop, rng=True))
    with pytest.raises(MissingFieldError, match=r"this has \['1'\] \(a batch\? Put it before batched\)"):
        list([{"__key__": "1"}] | batched(1) | map(crop, rng=True))  # type: ignore[call-overload]
    stream = SOME | map(crop, rng=True, handler=ignore_and_continue)
    with pytest.warns(match="depends on it"):
        assert len(list(stream)) == 1
    assert stream.skipped == {"MissingFieldError": 1}


def test_an_error_in_the_function_names_the_sample() -> None:
    def fails(sample: Sample, rng: np.random.Generator) -> None:
        raise ValueError("no")

    with pytest.raises(FunctionError, match=r"key '1': map\(.*fails.*\) raised ValueError: no"):
        list([{"__key__": "1"}] | map(fails, rng=True))
    assert repr(map(crop, rng=True, seed=3)).endswith("crop, rng=True, seed=3)")
