"""`TorchStream`: a stream as a torch IterableDataset, and what a DataLoader wants of one in its several processes."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from itertools import repeat
from multiprocessing import parent_process
from multiprocessing.context import get_spawning_popen
from types import FrameType
from typing import Any, Generic, TypeVar, cast

import attrs
from torch.utils.data import IterableDataset, get_worker_info

from streamwds import position as positions
from streamwds.context import Context
from streamwds.elastic import beginning, goes_on_at, whole_epochs
from streamwds.errors import CompositionError, DistributionError, DoubleBatchWarning, PositionError, SourceError
from streamwds.position import Position
from streamwds.stage import Stream
from streamwds.stages.batching import Batched, Unbatched
from streamwds.steps import FunctionStep
from streamwds.torch.shared import Shared, Told

__all__ = ["State", "TorchStream"]

B = TypeVar("B", covariant=True)


@attrs.frozen
class State:
    """How far the workers of one DataLoader are in an epoch: all that is to be known for going on.

    positions: of each worker, in their order; a dataset without workers counts as one.
    turn: the worker whose turn is next.
    ended: those of the workers that are known to have no more to give.
    """

    positions: tuple[Position, ...]
    turn: int = 0
    ended: frozenset[int] = frozenset()

    @classmethod
    def of(cls, data: Any) -> State:
        """The state that stands in plain data; a `PositionError` if none does."""
        found = data if isinstance(data, Mapping) else {}
        each, turn, ended = (found.get(name) for name in ("positions", "turn", "ended"))
        if isinstance(each, (list, tuple)) and each and isinstance(turn, int) and isinstance(ended, (list, tuple)):
            heads = [positions.split(position)[0] for position in each]
            if 0 <= turn < len(each) and all(worker in range(len(each)) for worker in ended):
                if len({(head["epoch"], head["seed"]) for head in heads}) > 1:
                    raise PositionError("the positions of this state are of different epochs or seeds")
                return cls(tuple(each), turn, frozenset(ended))
        raise PositionError(f"{data!r:.80} is no state: give what state_dict() gave, through JSON or not")

    def data(self) -> dict[str, Any]:
        """The state as plain data."""
        return {"positions": list(self.positions), "turn": self.turn, "ended": sorted(self.ended)}

    @property
    def epoch(self) -> int:
        return int(positions.split(self.positions[0])[0]["epoch"])

    @property
    def over(self) -> bool:
        """Whether the epoch is known to be at its end."""
        return len(self.ended) == len(self.positions)

    def after(self, position: Position, *, in_order: bool) -> State:
        """The state after an item with its position, from one of the workers.

        A DataLoader asks its workers in turns. So, if it keeps them `in_order`, a worker that was passed over has
        nothing to give any more.
        """
        worker, workers = int(positions.split(position)[0]["worker"]), len(self.positions)
        passed_over = {(self.turn + n) % workers for n in range((worker - self.turn) % workers)} if in_order else set()
        each = (*self.positions[:worker], position, *self.positions[worker + 1 :])
        return State(each, (worker + 1) % workers, self.ended | passed_over)

    def at_end(self) -> State:
        """The state when the DataLoader has given all of the epoch."""
        return attrs.evolve(self, ended=frozenset(range(len(self.positions))))


@attrs.define
class _Place:
    """Where one iteration over a dataset is, in this process. (It keeps nothing open, as the iterator does.)"""

    epoch: int
    position: Position | None = None


@attrs.frozen
class _Handed:
    """What a process hands on with a dataset to one that it spawns (a forked one has it anyway)."""

    parent: int
    ranks: dict[str, int]
    shared: Shared


class TorchStream(IterableDataset[B], Generic[B]):
    """A stream as a torch IterableDataset; made by `to_torch`.

    Each iteration is the next epoch, in all workers; the first is the stream's own (0 unless it is fixed).

    With torchdata's StatefulDataLoader, whose state then holds what `state_dict` gives in each worker, nothing more is
    needed to go on exactly. With torch's own DataLoader, see `with_position` and `Progress`.

    A copy, pickled or not, is a dataset of its own, with its own epoch; DataLoader workers share that of their dataset.
    """

    def __init__(self, stream: Stream[B]) -> None:
        super().__init__()
        self.stream = stream
        self.positioned = False
        self._shared = Shared(stream.fixed.get("epoch", 0))
        self._handed: _Handed | None = None
        self._state: State | None = None
        self._loads = 0
        self._restored: int | None = None  # (the epoch of a state that this worker was given, until it begins it)
        self._place: _Place | None = None

    def with_position(self) -> TorchStream[tuple[B, Position]]:
        """The dataset of the same items, each with the position from which the stream goes on after it.

        So the process of a DataLoader learns how far each of its workers is, whatever they have read ahead. (`Progress`
        keeps count of it.) The DataLoader wants `batch_size=None`.

        >>> dataset = to_torch(range(8) | split_by_worker | batched(4)).with_position()
        >>> batch, position = next(iter(dataset))
        >>> list(dataset.stream.at(position))
        [[4, 5, 6, 7]]
        """
        other: Any = copy.copy(self)
        other.positioned = True
        return cast("TorchStream[tuple[B, Position]]", other)

    def set_epoch(self, epoch: int) -> None:
        """Read the next iteration as this epoch, in all workers, persistent ones too; the one after it is the next.

        For those who count epochs themselves, as with torch's DistributedSampler. Call it before an iteration, not
        during one. A stream that was put at a position, and a dataset that was given a state, go on from there in that
        epoch, and start at the beginning in any other.
        """
        self._known()[1].set_epoch(Context(epoch=epoch).epoch)

    def __len__(self) -> int:
        """What `with_length` says, if that is the stream's last stage."""
        return len(self.stream)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[B]:
        collates = _collates(caller := sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
        if collates and _gives_batches(whole_epochs(self.stream)) and not self.positioned:
            self._warn_of_batches_of_batches(caller)
        self._place = _Place(self._known()[1].begin(self._restored))
        self._restored = None
        # Opened in the first next(): an error in iter() would end a persistent worker, and the user not learn of it.
        return self._read(self._place, collates)

    def _read(self, place: _Place, collates: bool) -> Iterator[Any]:
        if self.positioned and collates:
            raise CompositionError(
                "with_position() gives each item of the stream its position, and the DataLoader makes batches of them: "
                "batch in the stream (… | batched(n)), and give the DataLoader batch_size=None"
            )
        for item, position in self._pairs(self._now(place.epoch)):
            place.position = position
            yield (item, position) if self.positioned else item
            del item

    def _pairs(self, stream: Stream[B]) -> Iterator[tuple[B, Position | None]]:
        try:
            stream.source.check_replays()
        except SourceError:
            if self.positioned:
                raise
            return zip(stream, repeat(None))
        return stream.tracked()

    def _now(self, epoch: int) -> Stream[B]:
        """The stream as this process is to read it in an epoch."""
        ranks, shared = self._known()
        fixed = {**ranks, **self.stream.fixed}
        worker = get_worker_info()
        several = 1 if worker is None else worker.num_workers
        if several > 1 and ("worker" in fixed or fixed.get("workers", several) != several):
            within = ", ".join(f"{name}={fixed[name]}" for name in ("worker", "workers") if name in fixed)
            raise DistributionError(
                f"within({within}) says what to read, and the DataLoader has {several} workers, which would repeat "
                "data or leave some out: take that out of within(), or give the DataLoader one worker or none"
            )
        if self._loads != int(shared.loads):
            raise PositionError(
                "load_state_dict was called when these persistent workers had been started already, so they don't know "
                "of it: call it before the first iteration over the DataLoader, or make a new DataLoader"
            )
        if self._state is not None and self._state.epoch == epoch:
            stream = self._at(self._state, fixed, 0 if worker is None else worker.id, several)
        else:
            stream = attrs.evolve(self._opened(epoch), fixed={**fixed, "epoch": epoch})
        object.__setattr__(stream, "skipped", self.stream.skipped)  # one count, over all epochs that are read here
        object.__setattr__(stream, "told", Told(shared.flags))
        return stream

    def _opened(self, epoch: int) -> Stream[B]:
        """The stream in an epoch: where it was put if that is in this epoch, else at the beginning."""
        if self.stream.fixed.get("epoch", epoch) == epoch:
            return self.stream
        return attrs.evolve(whole_epochs(self.stream), start=None)

    # ---- how far it is

    def state_dict(self) -> dict[str, Any]:
        """How far this process is in the iteration that it began last: plain JSON data, for `load_state_dict`.

        That is all there is to know where a DataLoader has no workers. StatefulDataLoader asks each of its workers; for
        those of a plain DataLoader see `Progress`.
        """
        place = self._place
        if place is None:
            return self.state_before(1).data()
        if place.position is not None:
            return State((place.position,)).data()
        stream = self._now(place.epoch)
        return State((beginning(stream, Context.current(**stream.fixed)),)).data()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where a state was taken, by `state_dict` or by `Progress`.

        Call it before the workers of a DataLoader start. It wants as many of them as there were then (none is as good
        as one); `redistribute` goes on with other numbers. A state of another pipeline, other shards or another seed is
        a `PositionError`.
        """
        loaded = State.of(state)
        fixed = {"seed": 0, **{name: value for name, value in self.stream.fixed.items() if name != "epoch"}}
        for position in loaded.positions:
            goes_on_at(attrs.evolve(self.stream, start=None, fixed=fixed), position)
        self._state = loaded
        if get_worker_info() is not None:
            self._restored = loaded.epoch
            return
        _, shared = self._known()
        shared.set_epoch(loaded.epoch + loaded.over)
        shared.loads += 1
        self._loads = int(shared.loads)

    def state_before(self, workers: int) -> State:
        """The state before the iteration that is begun next, by so many workers."""
        ranks, shared = self._known()
        epoch = shared.next_epoch()
        if self._state is not None and self._state.epoch == epoch:
            return self._state
        stream = self._opened(epoch)
        context = Context.current(**{**ranks, **stream.fixed, "epoch": epoch})
        if workers == 1:
            return State((beginning(stream, context),))
        each = (attrs.evolve(context, worker=worker, workers=workers) for worker in range(workers))
        return State(tuple(beginning(stream, own) for own in each))

    def _at(self, state: State, fixed: dict[str, int], worker: int, workers: int) -> Stream[B]:
        """The stream where a state says that one of the workers is."""
        then = len(state.positions)
        if then not in (1, workers):  # (the state of a single worker is for that alone, wherever it is loaded)
            raise PositionError(
                f"this state is of {then} workers, and now there are {workers}: give the DataLoader {then}, or go on "
                "with other numbers by redistribute"
            )
        # A DataLoader begins with its worker 0, so the one whose turn it was is now number 0.
        number = (worker + state.turn) % then
        if then > 1:
            fixed = {**fixed, "worker": number, "workers": then}
        stream = attrs.evolve(self.stream, start=None, fixed={**fixed, "epoch": state.epoch})
        return goes_on_at(stream, state.positions[number])

    # ---- in its processes

    def _known(self) -> tuple[dict[str, int], Shared]:
        """The ranks, where only the process that spawned this DataLoader worker knows them, and what is shared."""
        handed, parent = self._handed, parent_process()
        if handed is None or get_worker_info() is None or parent is None or parent.pid != handed.parent:
            return {}, self._shared
        return handed.ranks, handed.shared

    def _warn_of_batches_of_batches(self, caller: FrameType) -> None:
        """Warn once if a DataLoader is about to make batches of our batches."""
        message = (
            "the stream is batched already, and the DataLoader makes batches of its batches: give it batch_size=None"
        )
        worker, told = get_worker_info(), Told(self._known()[1].flags)
        if message in told or (worker is not None and worker.id != 0):
            return
        told.add(message)
        level, frame = 3, caller
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("torch."):
            level, frame = level + 1, frame.f_back
        warnings.warn(message, DoubleBatchWarning, stacklevel=level)

    def __getstate__(self) -> dict[str, Any]:
        handed = self._handed
        if get_spawning_popen() is not None:  # a spawned worker can't ask torch.distributed who it works for
            known, shared = self._known()
            context = Context.current(**{**known, **self.stream.fixed, "worker": 0, "workers": 1})
            handed = _Handed(os.getpid(), {"rank": context.rank, "world_size": context.world_size}, shared)
        return {**self.__dict__, "_handed": handed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared = self._shared.copy()
        self._place = copy.copy(self._place)

    def __repr__(self) -> str:
        return f"to_torch({self.stream!r}){'.with_position()' if self.positioned else ''}"


def _collates(caller: FrameType) -> bool:
    """Whether a DataLoader asks that makes batches of what it gets. (It tells no dataset, so we look who asks.)"""
    return getattr(caller.f_locals.get("self"), "auto_collation", False) is True


def _gives_batches(stream: Stream[Any]) -> bool:
    """Whether its items are surely batches: what a function of the user's makes of them, nobody knows."""
    found = [step for step in stream.steps if isinstance(step, (Batched, Unbatched, FunctionStep))]
    return bool(found) and isinstance(found[-1], Batched)
