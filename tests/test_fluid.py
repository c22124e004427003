"""The fluid interface: the same items as the pipeline that it stands for, and what `len` can say."""

from __future__ import annotations

import copy
import gzip
import inspect
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

import streamwds
from streamwds import (
    Stage,
    Stream,
    TarWriter,
    batched,
    decode,
    everywhere,
    ignore_and_continue,
    map,
    resampled,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    split_samples,
    take,
    tarsamples,
    to_tuple,
    urls,
)
from streamwds.errors import CompositionError, DistributionError, SkippedWarning, TruncatedError
from streamwds.fluid import Dataset
from streamwds.stage import Maker
from streamwds.testing import same_items

OF_SHARDS = {  # stages that stand before there are samples: `splitter=` takes them, or a stream that is given to `of`
    "cache_shards",
    "everywhere",
    "group_by_keys",
    "identity",
    "interleave",
    "non_empty",  # (it takes no arguments, so `compose` takes it)
    "open_shards",
    "prefetch_shards",
    "resampled",
    "shuffle_shards",
    "split_by_node",
    "split_by_worker",
    "split_samples",
    "tarfiles",
    "tarsamples",
}


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for shard in range(3):
        with TarWriter(tmp_path / f"{shard}.tar") as writer:
            for n in range(4):
                writer.write({"__key__": f"{shard}{n}", "txt": f"text {n}", "cls": 10 * shard + n})
    return f"{tmp_path}/{{0..2}}.tar"


def plus_one(n: int) -> int:
    return n + 1


def test_the_fluid_pipeline_is_the_piped_one(shards: str) -> None:
    dataset = Dataset(shards).shuffle(3, initial=2).decode().to_tuple("png;txt", "cls").batched(2)
    stream = urls(shards) | split_by_worker | tarsamples | shuffle(3, initial=2) | decode() | to_tuple("png;txt", "cls")
    assert dataset.stream == stream | batched(2)
    assert same_items(list(dataset), list(stream | batched(2)))


def test_options_of_the_dataset(shards: str) -> None:
    made = Dataset(shards, shuffle=True, splitter=split_by_node | split_by_worker, handler=ignore_and_continue).stream
    behind = tarsamples(handler=ignore_and_continue)
    assert made == urls(shards) | shuffle_shards | split_by_node | split_by_worker | behind
    assert Dataset([shards, shards], splitter=resampled()).stream == urls(shards, shards) | resampled() | tarsamples


def test_every_stage_on_samples_is_a_method() -> None:
    found = {name: getattr(streamwds, name) for name in streamwds.__all__}
    stages = {name for name, value in found.items() if isinstance(value, (Stage, Maker))}
    methods = {name for name, value in inspect.getmembers(Dataset) if isinstance(value, (Stage, Maker))}
    assert stages - methods == OF_SHARDS
    assert methods <= stages
    for name in methods:
        assert getattr(Dataset, name) is found[name]


def test_methods_tell_what_they_take(shards: str) -> None:
    method = Dataset(shards).shuffle
    assert method.__doc__ == streamwds.shuffle.__doc__
    assert list(inspect.signature(method).parameters) == ["size", "initial", "seed"]


def test_each_call_gives_a_new_dataset(shards: str) -> None:
    dataset = Dataset(shards)
    ten, all_ = dataset.take(10), dataset.decode()
    assert len(list(ten)) == 10
    assert len(list(dataset)) == 12
    assert {type(dataset), type(ten), type(all_)} == {Dataset}
    dataset.set_epoch(5)
    assert dataset.take(1)._shared.next_epoch() == 5  # (it starts where that was, and counts for itself)
    list(dataset)
    assert ten._shared.next_epoch() == 1


def test_ones_own_stage(shards: str) -> None:
    dataset = Dataset(shards).decode().compose(to_tuple("cls"), map(len))
    assert list(dataset) == [1] * 12
    with pytest.raises(CompositionError, match="compose takes stages"):
        dataset.compose(list)  # type: ignore[arg-type]
    with pytest.raises(CompositionError, match="to_tuple yields tuple, decode takes Sample"):
        Dataset(shards).to_tuple("cls").decode()  # type: ignore[arg-type]


def test_of_anything() -> None:
    assert list(Dataset.of([1, 2, 3]).map(plus_one)) == [2, 3, 4]
    assert list(Dataset.of(range(4) | batched(2)).unbatched()) == [0, 1, 2, 3]


# ---- len


def test_the_samples_are_counted(shards: str) -> None:
    dataset = Dataset(shards)
    assert len(dataset) == 12
    assert len(dataset.decode().shuffle(5).to_tuple("cls").map(len)) == 12


def test_samples_are_not_counted_by_reading_through(shards: str, tmp_path: Path) -> None:
    path = tmp_path / "1.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(TypeError, match=r"can't be counted \(.*1\.tar.*\.with_length\(n\)"):
        len(Dataset(shards))
    assert len(list(Dataset(shards))) == 12
    os.mkfifo(tmp_path / "pipe.tar")  # (which nobody writes to, so whoever opened it would wait)
    for url in ("http://127.0.0.1:9/a.tar", tmp_path / "pipe.tar", tmp_path / "missing.tar"):
        with pytest.raises(TypeError, match="only the samples of local files are counted"):
            len(Dataset(url))


def test_len_is_what_was_said(shards: str) -> None:
    assert len(Dataset(shards, length=7).decode()) == 7
    assert len(Dataset(shards, length=7).batched(5).with_length(3)) == 3
    assert len(Dataset(shards, length=False).with_length(3)) == 3
    assert len(Dataset(shards, length=0)) == 0
    assert len(Dataset(shards, length=np.int64(5))) == 5


@pytest.mark.parametrize("length", [-5, 3.5, "12"])
def test_a_length_is_a_number(shards: str, length: Any) -> None:
    with pytest.raises(ValueError, match="a number of items"):
        Dataset(shards, length=length)


def test_a_splitter_that_leaves_out_or_repeats_has_no_len(shards: str) -> None:
    for splitter in (resampled(), take(1), everywhere):
        with pytest.raises(TypeError, match=f"how many items {splitter.steps[0].name} gives"):
            len(Dataset(shards, splitter=splitter))
        assert len(Dataset(shards, splitter=splitter, length=7)) == 7
    assert len(Dataset(shards, shuffle=True, splitter=split_by_node | split_by_worker)) == 12
    assert len(Dataset(shards).compose(split_samples)) == 12


@pytest.mark.parametrize("length", [True, 7])
def test_no_len_where_it_is_not_known(shards: str, length: Any) -> None:
    with pytest.raises(TypeError, match=r"how many items batched gives isn't known .* \.with_length\(n\)"):
        len(Dataset(shards, length=length).decode().batched(5))
    with pytest.raises(TypeError, match="how many items select gives"):
        len(Dataset(shards, length=length).select(bool))


@pytest.mark.parametrize("length", [False, None])
def test_no_len_where_none_is_wanted(shards: str, length: Any) -> None:
    with pytest.raises(TypeError, match="has no length"):
        len(Dataset(shards, length=length))
    with pytest.raises(TypeError, match="has no length"):
        len(Dataset.of(range(4)))


def test_no_len_of_one_rank_of_several(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(shards, splitter=split_by_node)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(TypeError, match="which of 2 ranks"):
        len(dataset)
    assert len(list(dataset)) == 4
    with pytest.raises(DistributionError, match="split_by_node"):
        list(Dataset(shards))


def test_resized(shards: str) -> None:
    dataset = Dataset(shards).decode().to_tuple("cls").resized(30, nominal=15)
    first, second = list(dataset), list(dataset)
    assert len(dataset) == 15
    assert len(first) == len(second) == 30
    assert first[:12] == first[12:24]


# ---- as a torch dataset


def test_in_a_loader_with_workers(shards: str) -> None:
    dataset = Dataset(shards).decode().to_tuple("cls")
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=4, num_workers=2)
    found = np.sort(np.concatenate([batch.numpy() for (batch,) in loader]))
    assert found.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert len(loader) == 3


def test_pickled_it_is_the_same(shards: str) -> None:
    dataset = Dataset(shards).decode().take(5)
    twin = pickle.loads(pickle.dumps(dataset))
    assert twin.stream == dataset.stream
    assert list(twin.to_tuple("cls")) == list(dataset.to_tuple("cls"))


def test_its_repr_is_code(shards: str) -> None:
    dataset = Dataset(shards).decode().with_length(12)
    found = eval(
        repr(dataset), {**vars(streamwds), **{n: getattr(streamwds, n) for n in streamwds.__all__}, "Dataset": Dataset}
    )
    assert isinstance(found, Dataset)
    assert isinstance(found.stream, Stream)
    assert found.stream == dataset.stream


def test_it_goes_on_where_it_stopped(shards: str) -> None:
    dataset, other = (Dataset(shards).shuffle(4).decode().to_tuple("cls").batched(2) for _ in range(2))
    items = iter(dataset)
    next(items)
    other.load_state_dict(dataset.state_dict())
    assert same_items(list(other), list(items))


def test_what_is_made_of_it_has_a_place_of_its_own(shards: str) -> None:
    dataset, batches = (Dataset(shards).decode().to_tuple("cls") for _ in range(2))
    items = iter(dataset)
    next(items)
    twin, state = copy.copy(dataset), dataset.state_dict()
    next(items)
    assert twin.state_dict() == state != dataset.state_dict()
    batches.batched(2).load_state_dict(dataset.batched(2).state_dict())  # (which has not begun)


def test_its_handler_is_asked(shards: str, tmp_path: Path) -> None:
    cut = tmp_path / "1.tar"
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(TruncatedError):
        list(Dataset(shards))
    dataset = Dataset(shards, handler=ignore_and_continue)
    with pytest.warns(SkippedWarning):
        assert len(list(dataset)) == 8
    assert dataset.stream.skipped == {"TruncatedError": 1}
