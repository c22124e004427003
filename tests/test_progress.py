"""Resuming in torch's DataLoader, by Progress, and in torchdata's StatefulDataLoader: the order is the very same."""

from __future__ import annotations

import json
import pickle
import random
import re
import traceback
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data._utils.pin_memory import pin_memory
from torchdata.stateful_dataloader import StatefulDataLoader

from streamwds import (
    Stream,
    batched,
    mix,
    redistribute,
    repeat,
    shuffle,
    split_by_node,
    split_by_worker,
    split_samples,
    stage,
    take,
    to_torch,
    unbatched,
    with_length,
)
from streamwds.errors import CompositionError, PositionError, SourceError
from streamwds.torch import Progress

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create .* worker processes:UserWarning",  # few cores
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore:'set_vital' is deprecated:UserWarning",  # (torchdata 0.11 calls it, and newer releases of torch mind)
)

# Seven "shards" of 0 to 6 numbers: workers have much, little or nothing to do.
SHARDS = [list(range(10 * n, 10 * n + n)) for n in (5, 0, 1, 6, 2, 3, 0)]
uneven = SHARDS | split_by_node | split_by_worker | unbatched | shuffle(3)
lots = mix([uneven | repeat(2), range(100, 120) | split_samples]) | batched(2)


def load(dataset: IterableDataset[Any], workers: int = 0, how: str = "fork", **options: Any) -> DataLoader[Any]:
    """A DataLoader of the items as they are, with workers that are forked or spawned."""
    context = {"multiprocessing_context": how} if workers else {}
    return DataLoader(dataset, **{"batch_size": None, "num_workers": workers, **context, **options})


def progress_of(stream: Stream[Any], workers: int = 0, how: str = "fork", **options: Any) -> Progress[Any]:
    return Progress(load(to_torch(stream).with_position(), workers, how, **options))


def in_turns(stream: Stream[Any], workers: int, epoch: int = 0) -> list[Any]:
    """What a DataLoader gives: an item of each worker in its turn, without those that have ended."""
    left = [iter(stream.within(worker=n, workers=max(workers, 1), epoch=epoch)) for n in range(max(workers, 1))]
    found: list[Any] = []
    while left:
        for own in list(left):
            try:
                found.append(next(own))
            except StopIteration:
                left.remove(own)
    return found


def run(progress: Progress[Any]) -> list[tuple[Any, str]]:
    """One epoch: each item, and the state after it as JSON."""
    return [(item, json.dumps(progress.state_dict())) for item in progress]


def failure(items: Any, kind: type[Exception]) -> str:
    """What the error says that an iteration ends with. (The frames that keep workers alive are let go.)"""
    try:
        list(items)
    except kind as error:
        traceback.clear_frames(error.__traceback__)
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


# ---- torch's own DataLoader


@pytest.mark.parametrize("stream", [uneven, lots], ids=["uneven", "lots"])
@pytest.mark.parametrize("workers", [0, 1, 3, 5])
def test_the_order_of_batches_is_the_undisturbed_one(stream: Stream[Any], workers: int) -> None:
    whole = run(progress_of(stream, workers))
    items = [item for item, _ in whole]
    assert items == in_turns(stream, workers) != []
    following = in_turns(stream, workers, 1)
    places = range(len(items)) if workers < 2 else random.Random(workers).sample(range(len(items)), 3)
    for place in places:
        again = progress_of(stream, workers)
        again.load_state_dict(json.loads(whole[place][1]))
        assert again.epoch == 0
        assert json.dumps(again.state_dict()) == whole[place][1]
        assert run(again) == whole[place + 1 :], f"after item {place}"  # (the same states, too)
        assert again.epoch == 1
        if place == places[0]:
            assert list(again) == following


def test_stopped_again_and_again_and_gone_on_in_the_next_epoch() -> None:
    expected = in_turns(lots, 3) + in_turns(lots, 3, 1)
    found: list[Any] = []
    state: Any = None
    random_ = random.Random(5)
    while len(found) < len(expected):
        progress = progress_of(lots, 3, persistent_workers=bool(random_.getrandbits(1)))
        if state is not None:
            progress.load_state_dict(json.loads(state))
        stop = len(found) + random_.randrange(1, 14)
        while progress.epoch < 2 and len(found) < stop:
            for item in progress:
                found.append(item)
                state = json.dumps(progress.state_dict())
                if len(found) == stop:
                    break
            else:
                state = json.dumps(progress.state_dict())
    assert found == expected


def test_spawned_workers_resume_as_forked_ones_do() -> None:
    whole = run(progress_of(lots, 2))
    again = progress_of(lots, 2, "spawn")
    again.load_state_dict(json.loads(whole[6][1]))
    assert run(again) == whole[7:]


def test_persistent_workers_begin_with_worker_0_in_the_epoch_after_the_resumed_one() -> None:
    whole = run(progress_of(lots, 3))
    again = progress_of(lots, 3, persistent_workers=True)
    again.load_state_dict(json.loads(whole[3][1]))
    assert run(again) == whole[4:]
    assert list(again) == in_turns(lots, 3, 1)
    assert list(again) == in_turns(lots, 3, 2)


def test_a_state_loaded_too_late_is_an_error() -> None:
    progress = progress_of(lots, 1, persistent_workers=True)
    state = run(progress)[2][1]
    progress.load_state_dict(json.loads(state))
    assert "had been started already" in failure(progress, PositionError)


def test_an_epoch_that_is_set_is_that_of_the_state_or_begins_anew() -> None:
    whole = run(progress_of(lots))
    for epoch, expected in ((0, [item for item, _ in whole[5:]]), (1, in_turns(lots, 0, 1))):
        dataset = to_torch(lots).with_position()
        progress = Progress(load(dataset))
        progress.load_state_dict(json.loads(whole[4][1]))
        dataset.set_epoch(epoch)
        assert progress.epoch == epoch
        assert list(progress) == expected


def test_a_state_before_the_first_item_and_after_the_last() -> None:
    progress = progress_of(lots, 2)
    before = progress.state_dict()
    assert (progress.epoch, before["turn"], before["ended"], len(before["positions"])) == (0, 0, [], 2)
    whole = list(progress)
    after = progress.state_dict()
    assert (progress.epoch, after["ended"]) == (1, [0, 1])
    for state, expected in ((before, whole), (after, in_turns(lots, 2, 1))):
        again = progress_of(lots, 2)
        again.load_state_dict(json.loads(json.dumps(state)))
        assert list(again) == expected


def test_who_is_passed_over_has_ended() -> None:
    whole = [json.loads(state) for _, state in run(progress_of(uneven, 3))]
    lengths = [len(list(uneven.within(worker=n, workers=3))) for n in range(3)]
    ended = [state["ended"] for state in whole]
    assert ended[0] == []
    assert ended[-1] == [n for n in range(3) if lengths[n] + 1 < max(lengths)]
    assert all(set(before) <= set(after) for before, after in pairwise(ended))


def test_out_of_order_nobody_counts_as_ended_and_nothing_is_lost() -> None:
    progress = progress_of(uneven, 2, in_order=False)
    found, states = zip(*run(progress), strict=True)
    assert all(json.loads(state)["ended"] == [] for state in states)
    again = progress_of(uneven, 2, in_order=False)
    again.load_state_dict(json.loads(states[4]))
    assert sorted([*found[:5], *again]) == sorted(in_turns(uneven, 2))


def test_every_rank_has_its_own_state() -> None:
    for rank in range(2):
        own = uneven.within(rank=rank, world_size=2)
        whole = run(progress_of(own, 2))
        again = progress_of(own, 2)
        again.load_state_dict(json.loads(whole[2][1]))
        assert run(again) == whole[3:] != []
    other = progress_of(uneven.within(rank=0, world_size=2))
    with pytest.raises(PositionError, match="it has rank 1, and the stream has rank 0"):
        other.load_state_dict(json.loads(whole[2][1]))


def test_what_does_not_fit_is_refused() -> None:
    state = json.loads(run(progress_of(lots, 3))[3][1])
    no_states: list[Any] = [{}, [], {**state, "positions": []}, {**state, "turn": 3}, {**state, "ended": [7]}]
    for no_state in no_states:
        with pytest.raises(PositionError, match="is no state"):
            progress_of(lots).load_state_dict(no_state)
    with pytest.raises(PositionError, match="it comes from another source"):
        progress_of(uneven).load_state_dict(state)
    with pytest.raises(PositionError, match="it has seed 0, and the stream has seed 3"):
        progress_of(lots.within(seed=3)).load_state_dict(state)
    fewer = progress_of(lots, 2)
    fewer.load_state_dict(state)
    assert re.search(r"of 3 workers, and now there are 2: .*redistribute", failure(fewer, PositionError))
    single = json.loads(run(progress_of(lots))[3][1])
    more = progress_of(lots, 2)
    more.load_state_dict(single)
    assert "is of the reader" in failure(more, PositionError)


def test_none_is_as_good_as_one_worker() -> None:
    state = run(progress_of(lots))[3][1]
    one = progress_of(lots, 1)
    one.load_state_dict(json.loads(state))
    assert list(one) == in_turns(lots, 1)[4:]


def test_progress_wants_positions() -> None:
    with pytest.raises(CompositionError, match=r"with_position\(\)"):
        Progress(load(to_torch(uneven)))
    assert repr(to_torch(range(3) | take(2)).with_position()) == "to_torch(range(0, 3) | take(2)).with_position()"


@pytest.mark.parametrize("workers", [0, 1])
def test_positions_and_batches_of_torch_do_not_go_together(workers: int) -> None:
    loader = load(to_torch(uneven).with_position(), workers, batch_size=2)
    assert "batch_size=None" in failure(loader, CompositionError)


def test_an_iterator_has_no_positions() -> None:
    assert "no positions" in failure(progress_of(iter([1, 2]) | split_by_worker), SourceError)


@stage(buffers=True)
def held(items: Iterable[int], /) -> Iterator[int]:
    yield from sorted(items)


def test_what_can_not_be_resumed_is_refused_when_it_is_loaded() -> None:
    stream = uneven | held
    (_, state), *_ = run(progress_of(stream))
    with pytest.raises(PositionError, match="keeps items back"):
        progress_of(stream).load_state_dict(json.loads(state))


def test_a_positioned_batch_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *device: -tensor)  # (here is nothing to pin for)
    samples = [{"x": torch.ones(2)}] * 4 | split_by_worker | batched(2)
    batch, position = pin_memory(next(iter(to_torch(samples).with_position())))  # type: ignore[no-untyped-call]
    assert torch.equal(batch["x"], -torch.ones(2, 2))
    assert len(list(samples.at(position))) == 1


def test_a_copy_goes_on_as_its_original_would() -> None:
    (_, state), *_ = whole = run(progress_of(lots))
    dataset = to_torch(lots).with_position()
    dataset.load_state_dict(json.loads(state))
    for copy in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert run(Progress(load(copy))) == whole[1:]


def test_the_length_is_the_loaders() -> None:
    assert len(progress_of(range(10) | split_by_worker | batched(2) | with_length(5))) == 5


# ---- other numbers of workers and ranks


def test_other_numbers_of_workers_finish_the_epoch_and_split_the_next_by_themselves() -> None:
    old = run(progress_of(lots, 3))
    rest = redistribute(lots, [json.loads(old[6][1])])
    progress = progress_of(rest, 2)
    found = run(progress)
    assert sorted(item for item, _ in found) == sorted(item for item, _ in old[7:])
    assert progress.epoch == 1
    assert list(progress) == in_turns(lots, 2, 1)
    # stopped in the rest, and gone on as it was, with the stream alone
    state = json.loads(found[4][1])
    again = progress_of(lots, 2)
    again.load_state_dict(state)
    assert run(again) == found[5:]
    assert list(again) == in_turns(lots, 2, 1)
    # or with yet another number
    newer = progress_of(redistribute(lots, [state]), 0)
    assert sorted(newer) == sorted(item for item, _ in found[5:])
    assert list(newer) == in_turns(lots, 0, 1)


def test_ranks_become_fewer_and_workers_more() -> None:
    states, left = [], []
    for rank in range(3):
        whole = run(progress_of(uneven.within(rank=rank, world_size=3), 2))
        stop = min(rank + 1, len(whole) - 1)
        states.append(json.loads(whole[stop][1]))
        left += [item for item, _ in whole[stop + 1 :]]
    rest = redistribute(uneven, states).within(rank=0, world_size=1)
    assert sorted(progress_of(rest, 4)) == sorted(left) != []
    with pytest.raises(PositionError, match="no positions of rank 1, worker 0; no positions of rank 1, worker 1"):
        redistribute(uneven, [states[0], states[2]])
    with pytest.raises(PositionError, match="2 positions of rank 2, worker 0"):
        redistribute(uneven, [*states, states[2]])


# ---- torchdata's StatefulDataLoader


def stateful(stream: Stream[Any], workers: int, how: str = "fork", **options: Any) -> Any:
    context = {"multiprocessing_context": how} if workers else {}
    return StatefulDataLoader(to_torch(stream), batch_size=None, num_workers=workers, **context, **options)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_stateful_dataloader_resumes(workers: int, every: int, persistent: bool) -> None:
    options: dict[str, Any] = {"snapshot_every_n_steps": every, "persistent_workers": persistent and workers > 0}
    loader = stateful(lots, workers, **options)
    whole: list[tuple[Any, bytes]] = [(item, pickle.dumps(loader.state_dict())) for item in loader]
    items = [item for item, _ in whole]
    assert items == in_turns(lots, workers)
    finished = pickle.dumps(loader.state_dict())
    for place in random.Random(workers).sample(range(len(items)), 2):
        again = stateful(lots, workers, **options)
        again.load_state_dict(pickle.loads(whole[place][1]))
        assert list(again) == items[place + 1 :], f"after item {place}"
        assert list(again) == in_turns(lots, workers, 1)
    again = stateful(lots, workers, **options)
    again.load_state_dict(pickle.loads(finished))
    assert list(again) == in_turns(lots, workers, 1)
    assert list(again) == in_turns(lots, workers, 2)


def test_stateful_dataloader_resumes_with_a_spawned_worker() -> None:
    loader = stateful(lots, 1)
    for _ in zip(range(6), loader):
        state = loader.state_dict()
    again = stateful(lots, 1, "spawn")
    again.load_state_dict(state)
    assert list(again) == in_turns(lots, 1)[6:]


def test_stateful_dataloader_goes_back_to_an_older_state() -> None:
    loader = stateful(lots, 3)
    for _ in range(2):
        for _ in zip(range(6), loader):
            state = loader.state_dict()
    assert list(loader) == in_turns(lots, 3, 2)
    loader.load_state_dict(state)  # (of epoch 1)
    assert list(loader) == in_turns(lots, 3, 1)[6:]
    assert list(loader) == in_turns(lots, 3, 2)


def test_stateful_dataloader_reads_what_has_no_positions_and_does_not_resume_it() -> None:
    loader = stateful(iter([1, 2]) | split_by_worker, 0)
    found = [(item, loader.state_dict()) for item in loader]
    assert [item for item, _ in found] == [1, 2]
    again = stateful(iter([1, 2]) | split_by_worker, 0)
    again.load_state_dict(found[0][1])
    assert "has no positions" in failure(again, SourceError)
