"""Streams for torch: `TorchStream`, the IterableDataset that `to_torch` makes of a stream.

What a DataLoader wants of a dataset in its several processes is told here; what a stream can do without torch is not.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from multiprocessing import parent_process
from multiprocessing.context import get_spawning_popen
from types import FrameType
from typing import Any, Generic, TypeVar

import attrs
import torch
from torch.utils.data import IterableDataset, get_worker_info

from streamwds.context import Context
from streamwds.errors import DistributionError, DoubleBatchWarning
from streamwds.stage import Stream
from streamwds.stages.batching import Batched, Unbatched
from streamwds.steps import FunctionStep

__all__ = ["TorchStream"]

B = TypeVar("B", covariant=True)

WORKERS = 1024  # at most so many may one DataLoader have
FLAGS = 256
ANY = -1  # (the number of workers of an epoch that none of them has read)


class _Shared:
    """What a dataset shares with its DataLoader workers: who reads which epoch, and which warnings were given.

    Each reader (number 0 is the process of the DataLoader itself, n + 1 its worker n) writes down the last epoch that
    it began and how many workers the DataLoader had. Nobody writes for another, so nothing is to be locked.
    """

    def __init__(self, epoch: int) -> None:
        self.last: torch.Tensor = _share(torch.tensor([[epoch - 1, ANY]] * (WORKERS + 1)))
        self.flags: torch.Tensor = _share(torch.zeros(FLAGS, dtype=torch.bool))

    def copy(self) -> _Shared:
        other = _Shared(0)
        other.last.copy_(self.last)
        other.flags.copy_(self.flags)
        return other

    def set_epoch(self, epoch: int) -> None:
        self.last[:, 0] = epoch - 1
        self.last[:, 1] = ANY

    def begin(self) -> int:
        """The epoch that this reader is to begin now: its next, and the same as that of the others in this iteration.

        Of those with as many workers, some may have begun it already. All others ended theirs before.
        """
        worker = get_worker_info()
        mine, workers = (0, 0) if worker is None else (worker.id + 1, worker.num_workers)
        if mine > WORKERS:
            raise DistributionError(f"a DataLoader with {workers} workers; at most {WORKERS} can share a dataset")
        epochs, whose = self.last[:, 0], self.last[:, 1]
        beside, before = epochs[whose == workers].tolist(), epochs[whose != workers].tolist()
        epoch = max(int(epochs[mine]) + 1, max(before, default=-1) + 1, max(beside, default=0))
        self.last[mine] = torch.tensor([epoch, workers])
        return epoch


class _Told(set[str]):
    """The warnings that were given, in whichever process of a dataset: by a hash of each."""

    def __init__(self, flags: torch.Tensor) -> None:
        super().__init__()
        self._flags = flags

    def __contains__(self, message: object) -> bool:
        return bool(self._flags[self._place(str(message))])

    def add(self, message: str, /) -> None:
        self._flags[self._place(message)] = True

    def _place(self, message: str) -> int:
        return int.from_bytes(blake2b(message.encode(), digest_size=2).digest(), "little") % FLAGS


@attrs.frozen
class _Handed:
    """What a process hands on with a dataset to one that it spawns (a forked one has it anyway)."""

    parent: int
    ranks: dict[str, int]
    shared: _Shared


class TorchStream(IterableDataset[B], Generic[B]):
    """A stream as a torch IterableDataset; made by `to_torch`.

    Each iteration is the next epoch, in all workers; the first is the stream's own (0 unless it is fixed).

    A copy, pickled or not, is a dataset of its own, with its own epoch; DataLoader workers share that of their dataset.
    """

    def __init__(self, stream: Stream[B]) -> None:
        super().__init__()
        self.stream = stream
        self._shared = _Shared(stream.fixed.get("epoch", 0))
        self._handed: _Handed | None = None

    def set_epoch(self, epoch: int) -> None:
        """Read the next iteration as this epoch, in all workers, persistent ones too; the one after it is the next.

        For those who count epochs themselves, as with torch's DistributedSampler. Call it before an iteration, not
        during one. A stream that was put at a position goes on from there in the
        position's epoch, and starts at the beginning in any other.
        """
        self._known()[1].set_epoch(Context(epoch=epoch).epoch)

    def __len__(self) -> int:
        """What `with_length` says, if that is the stream's last stage."""
        return len(self.stream)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[B]:
        if _gives_batches(self.stream):
            self._warn_of_batches_of_batches(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
        # Opened in the first next(): an error in iter() would end a persistent worker, and the user not learn of it.
        return chain.from_iterable([self._now()])

    def _now(self) -> Stream[B]:
        """The stream as this process is to read it now."""
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
        epoch = shared.begin()
        start = self.stream.start if fixed.get("epoch") == epoch else None
        stream = attrs.evolve(self.stream, start=start, fixed={**fixed, "epoch": epoch})
        object.__setattr__(stream, "skipped", self.stream.skipped)  # one count, over all epochs that are read here
        object.__setattr__(stream, "told", _Told(shared.flags))
        return stream

    def _known(self) -> tuple[dict[str, int], _Shared]:
        """The ranks, where only the process that spawned this DataLoader worker knows them, and what is shared."""
        handed, parent = self._handed, parent_process()
        if handed is None or get_worker_info() is None or parent is None or parent.pid != handed.parent:
            return {}, self._shared
        return handed.ranks, handed.shared

    def _warn_of_batches_of_batches(self, caller: FrameType) -> None:
        """Warn once if a DataLoader is about to make batches: it tells no dataset, so we look who asks for items."""
        message = (
            "the stream is batched already, and the DataLoader makes batches of its batches: give it batch_size=None"
        )
        worker, told = get_worker_info(), _Told(self._known()[1].flags)
        makes_batches = getattr(caller.f_locals.get("self"), "auto_collation", False) is True
        if not makes_batches or message in told or (worker is not None and worker.id != 0):
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

    def __repr__(self) -> str:
        return f"to_torch({self.stream!r})"


def _share(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.share_memory_()  # type: ignore[no-any-return, no-untyped-call]


def _gives_batches(stream: Stream[Any]) -> bool:
    """Whether its items are surely batches: what a function of the user's makes of them, nobody knows."""
    found = [step for step in stream.steps if isinstance(step, (Batched, Unbatched, FunctionStep))]
    return bool(found) and isinstance(found[-1], Batched)
