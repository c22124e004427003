"""to_torch: what a user of DataLoader and DistributedDataParallel counts on.

A spawned process takes seconds to start, so each of these tests asks several things of one.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import pickle
import re
import socket
import traceback
import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from torch._utils import ExceptionWrapper
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data._utils.pin_memory import pin_memory

from streamwds import (
    Batch,
    Stage,
    Stream,
    TarWriter,
    batched,
    decode,
    errors,
    everywhere,
    ignore_and_continue,
    map,
    shuffle,
    split_by_node,
    split_by_worker,
    stage,
    tarsamples,
    to_torch,
    unbatched,
    urls,
    with_length,
)
from streamwds.errors import (
    CompositionError,
    DecodeError,
    DistributionError,
    DoubleBatchWarning,
    FewShardsWarning,
    PositionError,
    SkippedWarning,
    SourceError,
    StreamwdsError,
)
from streamwds.torch import TorchStream
from streamwds.torch.shared import Shared

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create .* worker processes:UserWarning"
)  # few cores

ERRORS = [kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), StreamwdsError)]
mixed = range(24) | split_by_node | split_by_worker | shuffle(4)  # another order for each epoch, rank and worker


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def load(dataset: IterableDataset[Any], workers: int = 0, how: str = "fork", **options: Any) -> DataLoader[Any]:
    """A DataLoader of the items as they are, with workers that are forked or spawned."""
    context = {"multiprocessing_context": how} if workers else {}
    return DataLoader(dataset, **{"batch_size": None, "num_workers": workers, **context, **options})


def read(workers: int = 1, **context: int) -> list[int]:
    """What a DataLoader should give of `mixed`: an item of each worker in turn."""
    parts = [mixed.within(worker=n, workers=workers, **context) | list for n in range(workers)]
    return [item for row in zip(*parts, strict=True) for item in row]


def failure(loader: DataLoader[Any], kind: type[Exception]) -> str:
    """What the error says that a DataLoader ends with."""
    try:
        list(loader)
    except kind as error:
        # The workers live as long as these frames, and torch's are a cycle. Where it is the garbage collector that ends
        # them, torch waits for each of them for five seconds.
        traceback.clear_frames(error.__traceback__)
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


@contextlib.contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """As outside of pytest, which keeps them: then a forked worker's would be seen by nobody."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        os.write(2, f"{category.__name__}: {message}\n".encode())

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Seven shards of different length, 28 samples in all."""
    names = [str(tmp_path / f"{shard}.tar") for shard in range(7)]
    for shard, name in enumerate(names):
        with TarWriter(name) as writer:
            for n in range(shard + 1):
                array = np.full((2, 3), n, np.float32)
                writer.write({"__key__": f"{shard}-{n}", "cls": n, "txt": "ä", "npy": array})
    return names


def samples_of(*names: str) -> Stream[dict[str, Any]]:
    return urls(*names) | split_by_worker | tarsamples | decode("rgb")


# ---- what it is


def test_is_an_iterable_dataset_of_a_stream_or_of_a_stage_and_a_source() -> None:
    dataset = to_torch(batched(2), range(5))
    assert isinstance(dataset, IterableDataset)
    assert isinstance(dataset, TorchStream)
    assert list(dataset) == list(dataset) == list(to_torch(range(5) | batched(2))) == [[0, 1], [2, 3], [4]]
    assert repr(dataset) == "to_torch(range(0, 5) | batched(2))"
    assert list(eval(repr(dataset))) == list(dataset)
    assert list(to_torch(batched(2), "ab.tar")) == [["ab.tar"]]  # a str is one URL, as in a pipe
    assert list(range(3) | split_by_worker | to_torch) == [0, 1, 2]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((range(3),), "not range"),
        ((batched(2),), "a stage and its source"),
        ((range(3), batched(2)), "not range and Batching"),
        ((range(3) | batched(2), range(3)), "not Stream and range"),
        ((batched, range(3)), r"write batched\(n\)"),
        ((batched(2), 3), "takes an iterable, not int"),
    ],
)
def test_what_it_can_not_be_made_of(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        to_torch(*arguments)


# ---- workers


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_every_sample_comes_once(shards: list[str], workers: int) -> None:
    samples = samples_of(*shards)
    expected = sorted(sample["__key__"] for sample in samples)
    assert len(expected) == 28
    loader = load(to_torch(samples), workers, persistent_workers=workers > 1)
    for _ in range(2):
        assert sorted(sample["__key__"] for sample in loader) == expected


def test_every_sample_comes_once_from_spawned_workers_of_which_one_has_nothing_to_do(
    shards: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    few = samples_of(*shards[3:5])
    loaded = list(load(to_torch(few), 3, "spawn"))
    assert sorted(sample["__key__"] for sample in loaded) == sorted(sample["__key__"] for sample in few)
    error = capfd.readouterr().err
    assert error.count("FewShardsWarning: split_by_worker: 2 shards for 3 workers") == error.count("Warning:") == 1


def test_fewer_shards_than_workers_are_one_warning(shards: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    few = to_torch(samples_of(*shards[3:5]))
    with warnings_on_stderr():
        assert len(list(load(few, 3))) == 9
        assert len(list(load(few, 3, persistent_workers=True))) == 9
    assert capfd.readouterr().err.count("FewShardsWarning: ") == 1  # (in all epochs)
    again = load(to_torch(samples_of(*shards[3:5])), 3)
    assert "2 shards for 3 workers" in failure(again, FewShardsWarning)  # where warnings are errors, it is one
    assert len(list(load(few, 2))) == 9


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_stream_that_every_worker_would_repeat_is_refused(how: str) -> None:
    message = failure(load(to_torch(range(4) | shuffle(2)), 2, how), DistributionError)
    assert "each of 2 workers would get all the data: put split_by_worker behind the source" in message
    assert "Caught DistributionError in DataLoader worker process" in message


def test_what_is_repeated_knowingly_is_not_refused() -> None:
    assert list(load(to_torch(range(3) | everywhere), 2)) == [0, 0, 1, 1, 2, 2]
    assert list(load(to_torch(range(3) | shuffle(1)), 1)) == [0, 1, 2]


def test_a_stream_that_is_fixed_to_one_worker_is_refused_by_several() -> None:
    second = to_torch(mixed.within(worker=1, workers=2))
    assert list(load(second, 0)) == list(mixed.within(worker=1, workers=2))
    assert list(load(second, 1)) == list(mixed.within(worker=1, workers=2, epoch=1))
    message = failure(load(second, 2), DistributionError)
    assert "within(worker=1, workers=2) says what to read, and the DataLoader has 2 workers" in message
    assert "within(workers=4) says" in failure(load(to_torch(mixed.within(workers=4)), 2), DistributionError)
    assert list(load(to_torch(mixed.within(workers=2)), 2)) == read(2)


def test_a_stream_that_every_rank_would_repeat_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = to_torch(range(4) | split_by_worker)
    for workers in (0, 2):
        message = failure(load(dataset, workers), DistributionError)
        assert "each of 2 ranks would get all the data: put split_by_node behind the source" in message
    assert list(to_torch(dataset.stream.within(rank=0, world_size=1))) == [0, 1, 2, 3]


# ---- errors


@pytest.mark.parametrize(("workers", "how"), [(0, ""), (1, "fork"), (1, "spawn")])
def test_an_error_in_a_worker_says_where_it_happened(tmp_path: Path, workers: int, how: str) -> None:
    shard = str(tmp_path / "bad.tar")
    with TarWriter(shard) as writer:
        writer.write({"__key__": "good", "cls": 1, "jpg": np.zeros((8, 8, 3), np.uint8)})
        writer.write({"__key__": "cut", "cls": 1, "jpg": b"\xff\xd8\xff\xe0 no picture"})
    message = failure(load(to_torch(samples_of(shard)), workers, how), DecodeError)
    assert f"{shard}, key 'cut', field 'jpg': " in message
    assert ("Caught DecodeError in DataLoader worker process 0" in message) == (workers > 0)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_survives_the_way_from_a_worker(kind: type[StreamwdsError]) -> None:
    try:
        raise kind("no\nsuch thing", url="a.tar", offset=512, key="k", field="f")
    except StreamwdsError:
        sent = pickle.dumps(ExceptionWrapper(where="in a worker"))  # type: ignore[no-untyped-call]
    with pytest.raises(kind) as caught:
        pickle.loads(sent).reraise()
    assert type(caught.value) is kind
    assert f"Caught {kind.__name__} in a worker" in str(caught.value)
    assert "a.tar, byte 512, key 'k', field 'f': no\nsuch thing" in str(caught.value)


def test_an_error_in_the_second_epoch_of_a_persistent_worker_reaches_the_user() -> None:
    loader = load(to_torch(iter([1, 2]) | split_by_worker), 1, persistent_workers=True)
    assert list(loader) == [1, 2]
    assert "was read already" in failure(loader, SourceError)


@pytest.mark.filterwarnings("ignore:Got pickle error:UserWarning")  # newer releases of torch add advice of their own
def test_spawning_says_which_function_can_not_be_pickled() -> None:
    loader = load(to_torch(range(4) | split_by_worker | map(lambda n: n)), 1, "spawn")
    assert re.match(r"map: <.*<lambda> at test_torch\.py:\d+> can't be pickled", failure(loader, pickle.PicklingError))


def fail_on_odd(n: int) -> int:
    if n % 2:
        raise ValueError(n)
    return n


def test_what_is_skipped_in_this_process_is_counted_over_all_epochs() -> None:
    dataset = to_torch(range(6) | map(fail_on_odd, handler=ignore_and_continue))
    with pytest.warns(SkippedWarning):
        assert list(load(dataset)) == [0, 2, 4]
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        assert list(load(dataset)) == [0, 2, 4]  # (a second warning would be an error)
    assert dataset.stream.skipped == {"ValueError": 9}


# ---- batches


@stage
def rows(batches: Iterable[list[int]], /) -> Iterator[int]:
    for batch in batches:
        yield from batch


def test_batches_of_batches_are_one_warning_at_the_line_that_makes_them() -> None:
    loader = load(to_torch(range(8) | batched(2)), batch_size=2)
    with pytest.warns(DoubleBatchWarning, match="batch_size=None") as record:
        list(loader)
    assert [warning.filename for warning in record] == [__file__]
    list(loader)  # (a second warning would be an error)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_batches_of_batches_are_one_warning_of_all_workers_and_epochs(
    how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loader = load(to_torch(range(16) | split_by_worker | batched(2)), 2, how, batch_size=2)
    with warnings_on_stderr():
        for _ in range(1 if how == "spawn" else 3):
            assert len(list(loader)) == 4
    error = capfd.readouterr().err
    assert error.count("DoubleBatchWarning: ") == error.count("batch_size=None") == 1


@pytest.mark.parametrize(
    ("then", "batch_size"),
    [
        (batched(2), None),
        (shuffle(2), 2),
        (batched(2) | unbatched, 2),
        (batched(2) | rows, 2),  # nobody knows what a function of the user's gives
    ],
)
def test_what_is_no_batch_of_batches_is_no_warning(then: Stage[int, Any], batch_size: int | None) -> None:
    dataset = to_torch(range(8) | split_by_worker | then)
    for workers in (0, 2):
        list(load(dataset, workers, batch_size=batch_size))  # (a warning would be an error)


def test_a_loop_of_ones_own_is_no_warning() -> None:
    class Mine(IterableDataset[Any]):
        auto_collation = False

        def __iter__(self) -> Iterator[Any]:
            for batch in to_torch(range(8) | batched(2)):
                yield from batch

    assert list(to_torch(range(4) | batched(2))) == [[0, 1], [2, 3]]
    assert [batch.tolist() for batch in DataLoader(Mine(), batch_size=4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("workers", [0, 1])
def test_torch_batches_samples_that_are_no_batches_yet(shards: list[str], workers: int) -> None:
    first = next(iter(DataLoader(to_torch(samples_of(shards[6])), batch_size=4, num_workers=workers)))
    assert first["__key__"] == ["6-0", "6-1", "6-2", "6-3"]
    assert first["__url__"] == [shards[6]] * 4
    assert first["txt"] == ["ä"] * 4
    assert torch.equal(first["cls"], torch.arange(4))
    assert torch.equal(first["npy"], torch.arange(4.0)[:, None, None].expand(4, 2, 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_our_batches_pass_through_a_loader_as_tensors(shards: list[str], workers: int) -> None:
    first, last = load(to_torch(samples_of(shards[6]) | batched(5)), workers)
    assert type(first) is type(last) is Batch
    assert first["__key__"] == [f"6-{n}" for n in range(5)]
    assert torch.equal(first["cls"], torch.arange(5))
    assert (first["npy"].shape, first["npy"].dtype) == ((5, 2, 3), torch.float32)
    assert last["npy"].shape == (2, 2, 3)


def test_tensors_are_stacked() -> None:
    samples = [{"equal": torch.full((2,), n), "unequal": torch.ones(n)} for n in range(3)]
    (batch,) = load(to_torch(samples | split_by_worker | batched(3)), 1)
    assert torch.equal(batch["equal"], torch.tensor([[0, 0], [1, 1], [2, 2]]))
    assert [tuple(tensor.shape) for tensor in batch["unequal"]] == [(0,), (1,), (2,)]


def test_a_batch_can_be_pinned_and_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *device: -tensor)  # (here is nothing to pin for)
    (batch,) = load(to_torch([{"x": torch.ones(2), "txt": "a"}] | batched(1)))
    assert issubclass(Batch, MutableMapping)  # which is what torch looks for
    moved = pin_memory(batch)  # type: ignore[no-untyped-call]
    assert type(moved) is Batch
    assert moved is not batch
    assert moved["txt"] == ["a"]
    assert torch.equal(moved["x"], -batch["x"])
    rebuilt = type(batch)(dict(batch))  # as older releases of torch do
    assert type(rebuilt) is Batch
    assert rebuilt.keys() == batch.keys()


# ---- epochs


@pytest.mark.parametrize(
    ("how", "persistent"), [("fork", False), ("fork", True), ("spawn", True), ("forkserver", True)]
)
def test_all_workers_read_the_epoch_that_was_set(how: str, persistent: bool) -> None:
    dataset = to_torch(mixed)
    loader = load(dataset, 2, how, persistent_workers=persistent)
    assert list(loader) == read(2)
    for epoch in (1, 5, 0):
        dataset.set_epoch(epoch)
        assert list(loader) == read(2, epoch=epoch)
    assert len({tuple(read(2, epoch=epoch)) for epoch in (0, 1, 5)}) == 3


def test_an_epoch_is_that_of_the_beginning_of_an_iteration() -> None:
    dataset = to_torch(mixed)
    items = iter(dataset)
    dataset.set_epoch(1)
    assert list(items) == read()
    assert list(dataset) == read(epoch=1)
    assert list(load(dataset)) == read(epoch=2)


@pytest.mark.parametrize(
    ("workers", "how", "persistent"),
    [
        (0, "", False),
        (1, "fork", False),
        (3, "fork", False),
        (3, "fork", True),
        (1, "spawn", False),
        (2, "spawn", True),
    ],
)
def test_each_iteration_is_the_next_epoch(workers: int, how: str, persistent: bool) -> None:
    dataset = to_torch(mixed)
    loader = load(dataset, workers, how, **({"persistent_workers": persistent} if workers else {}))
    for epoch in range(2):
        assert list(loader) == read(max(workers, 1), epoch=epoch)
    if how == "spawn" and not persistent:
        return  # (each of its iterations starts processes that import torch)
    dataset.set_epoch(7)
    for epoch in (7, 8):
        assert list(loader) == read(max(workers, 1), epoch=epoch)


def test_an_iteration_that_is_broken_off_was_an_epoch() -> None:
    for workers in (0, 2):
        loader = load(to_torch(mixed), workers)
        assert next(iter(loader)) == read(max(workers, 1))[0]
        assert list(loader) == read(max(workers, 1), epoch=1)


def test_workers_that_are_given_an_older_epoch_at_the_same_time_begin_the_same_one_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(One that was slow once took back what another had written, which then read the epoch a second time.)"""
    workers = [SimpleNamespace(id=n, num_workers=3) for n in range(3)]
    shared = Shared(0)

    def begins(worker: int, epoch: int | None = None) -> int:
        monkeypatch.setattr("streamwds.torch.shared.get_worker_info", lambda: workers[worker])
        return shared.begin(epoch)

    for epoch in range(3):
        assert [begins(n) for n in range(3)] == [epoch] * 3
    # Worker 1 begins, too, but what worker 0 writes for it comes last (it had looked before that).
    assert [begins(n, 1) for n in (0, 2)] == [1, 1]
    for epoch in (2, 3):
        assert [begins(n) for n in (1, 0, 2)] == [epoch] * 3


def test_epochs_are_counted_over_all_loaders_of_a_dataset() -> None:
    dataset = to_torch(mixed)
    loaders = {workers: load(dataset, workers) for workers in (0, 1, 2, 3)}
    for epoch, workers in enumerate((2, 3, 2, 0, 3, 3, 1, 2, 0)):
        assert list(loaders[workers]) == read(max(workers, 1), epoch=epoch)


def test_len_is_what_with_length_says() -> None:
    dataset = to_torch(range(12) | split_by_worker | batched(2) | with_length(6))
    assert len(dataset) == len(load(dataset, 2)) == len(list(load(dataset, 2))) == 6
    with pytest.raises(TypeError, match="with_length"):
        len(to_torch(mixed))
    assert to_torch(mixed)


def test_a_set_epoch_goes_before_a_fixed_one() -> None:
    dataset = to_torch(mixed.within(epoch=3, seed=4))
    assert list(dataset) == read(epoch=3, seed=4)
    assert list(dataset) == read(epoch=4, seed=4)
    dataset.set_epoch(0)
    assert list(dataset) == read(seed=4)
    assert repr(dataset.stream) == repr(mixed.within(epoch=3, seed=4))


@pytest.mark.parametrize("epoch", [-1, 1.0, None, True])
def test_an_epoch_is_a_count(epoch: Any) -> None:
    dataset = to_torch(mixed)
    with pytest.raises(ValueError, match=r"^epoch must be an integer of at least 0"):
        dataset.set_epoch(epoch)
    assert list(dataset) == read()


# ---- positions


@pytest.mark.parametrize(("workers", "how"), [(0, ""), (1, "fork"), (1, "spawn")])
def test_a_dataset_at_a_position_goes_on_from_there(workers: int, how: str) -> None:
    whole = list(mixed.within(epoch=2).tracked())
    items, position = [item for item, _ in whole], json.loads(json.dumps(whole[9][1]))
    dataset = to_torch(mixed.at(position))
    assert list(load(dataset, workers, how)) == items[10:] != []
    if how != "spawn":
        dataset.set_epoch(2)
        assert list(load(dataset, workers, how)) == items[10:]
        dataset.set_epoch(3)
        assert list(load(dataset, workers, how)) == read(epoch=3)


def test_a_position_keeps_its_seed_in_other_epochs_and_belongs_to_one_reader() -> None:
    _, position = next(mixed.within(seed=8, epoch=2).tracked())
    dataset = to_torch(mixed.at(position))
    assert re.search(
        "is of the reader .*workers=1, and here reads .*workers=2", failure(load(dataset, 2), PositionError)
    )
    dataset.set_epoch(3)
    assert list(load(dataset, 2)) == read(2, seed=8, epoch=3)


def test_a_position_that_was_forced_into_another_epoch_goes_on_in_that() -> None:
    _, position = next(mixed.within(epoch=2).tracked())
    dataset = to_torch(mixed.within(epoch=5).at(position, force=True))
    rest = list(dataset)
    assert len(rest) == 23
    dataset.set_epoch(5)
    assert list(dataset) == rest


# ---- copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_a_copy_has_an_epoch_of_its_own_that_its_workers_share(duplicate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = to_torch(mixed)
    dataset.set_epoch(1)
    other: TorchStream[int] = duplicate(dataset)
    assert other.stream == dataset.stream
    assert list(other) == read(epoch=1)
    loader = load(other, 2, persistent_workers=True)
    assert list(loader) == read(2, epoch=2)
    other.set_epoch(5)
    assert list(loader) == read(2, epoch=5)
    assert list(dataset) == read(epoch=1)
    monkeypatch.setenv("RANK", "1")  # a copy made before the ranks were known knows them
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert list(other) == read(rank=1, world_size=2, epoch=6)
    assert list(load(other, 2)) == read(2, rank=1, world_size=2, epoch=7)


# ---- ranks


def read_as_rank(rank: int, dataset: TorchStream[int], folder: str) -> None:
    """What one rank of two reads in many ways, written to a file. Runs in a process of its own."""
    if "lo" in [name for _, name in socket.if_nameindex()]:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", timeout=timedelta(minutes=2), rank=rank, world_size=2
    )
    dataset.set_epoch(10 + rank)
    torch.distributed.barrier()  # (were the epoch shared with the other rank, one of them would now read the other's)
    found = {"alone": list(dataset), "forked": list(load(dataset, 2))}
    loader = load(dataset, 1, "spawn", persistent_workers=True)
    found["spawned"] = list(loader)
    dataset.set_epoch(20 + rank)
    torch.distributed.barrier()
    found["persistent"] = list(loader)
    os.environ.update(RANK="0", WORLD_SIZE="1")  # as where one script is started for all ranks of a machine
    found["not the environment"] = list(load(dataset, 2))
    found["not the environment, spawned"] = list(load(dataset, 1, "spawn"))
    torch.distributed.destroy_process_group()
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    found["only the environment"] = list(load(dataset, 2))
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


def test_two_ranks_read_their_own_parts_in_all_their_workers(tmp_path: Path) -> None:
    dataset = to_torch(mixed)
    dataset.set_epoch(7)
    start_processes(read_as_rank, (dataset, str(tmp_path)), nprocs=2, start_method="spawn")  # type: ignore[no-untyped-call]
    for rank in range(2):
        context = {"rank": rank, "world_size": 2}
        early, late = (itertools.count(epoch + rank) for epoch in (10, 20))
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {
            "alone": read(**context, epoch=next(early)),
            "forked": read(2, **context, epoch=next(early)),
            "spawned": read(**context, epoch=next(early)),
            "persistent": read(**context, epoch=next(late)),
            "not the environment": read(2, **context, epoch=next(late)),
            "not the environment, spawned": read(**context, epoch=next(late)),
            "only the environment": read(2, **context, epoch=next(late)),
        }
    assert list(dataset) == read(epoch=7)
