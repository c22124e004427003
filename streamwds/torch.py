"""Streams for torch: `TorchStream`, the IterableDataset that `to_torch` makes of a stream.

What a DataLoader wants of a dataset in its several processes is told here; what a stream can do without torch is not.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
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

_EPOCH, _WARNED = 0, 1  # the numbers that a dataset shares with its DataLoader workers
_UNSET = -1


@attrs.frozen
class _Handed:
    """What a process hands on with a dataset to one that it spawns (a forked one has it anyway)."""

    parent: int
    ranks: dict[str, int]
    shared: torch.Tensor


class TorchStream(IterableDataset[B], Generic[B]):
    """A stream as a torch IterableDataset; made by `to_torch`.

    A copy, pickled or not, is a dataset of its own, with its own epoch; DataLoader workers share that of their dataset.
    """

    def __init__(self, stream: Stream[B]) -> None:
        super().__init__()
        self.stream = stream
        self._shared = _share(torch.tensor([_UNSET, 0]))
        self._handed: _Handed | None = None

    def set_epoch(self, epoch: int) -> None:
        """From the next iteration on, read as this epoch (other random orders), in all workers, persistent ones too.

        Call it before an iteration, not during one. A stream that was put at a position goes on from there in the
        position's epoch, and starts at the beginning in any other.
        """
        self._known()[1][_EPOCH] = Context(epoch=epoch).epoch

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
        epoch, start = int(shared[_EPOCH]), self.stream.start
        if epoch != _UNSET:
            start = start if fixed.get("epoch") == epoch else None
            fixed["epoch"] = epoch
        stream = attrs.evolve(self.stream, start=start, fixed=fixed)
        object.__setattr__(stream, "skipped", self.stream.skipped)  # one count, over all epochs that are read here
        return stream

    def _known(self) -> tuple[dict[str, int], torch.Tensor]:
        """The ranks, where only the process that spawned this DataLoader worker knows them, and the shared numbers."""
        handed, parent = self._handed, parent_process()
        if handed is None or get_worker_info() is None or parent is None or parent.pid != handed.parent:
            return {}, self._shared
        return handed.ranks, handed.shared

    def _warn_of_batches_of_batches(self, caller: FrameType) -> None:
        """Warn once if a DataLoader is about to make batches: it tells no dataset, so we look who asks for items."""
        worker, shared = get_worker_info(), self._known()[1]
        makes_batches = getattr(caller.f_locals.get("self"), "auto_collation", False) is True
        if not makes_batches or shared[_WARNED] or (worker is not None and worker.id != 0):
            return
        shared[_WARNED] = 1
        level, frame = 3, caller
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("torch."):
            level, frame = level + 1, frame.f_back
        warnings.warn(
            "the stream is batched already, and the DataLoader makes batches of its batches: give it batch_size=None",
            DoubleBatchWarning,
            stacklevel=level,
        )

    def __getstate__(self) -> dict[str, Any]:
        handed = self._handed
        if get_spawning_popen() is not None:  # a spawned worker can't ask torch.distributed who it works for
            known, shared = self._known()
            context = Context.current(**{**known, **self.stream.fixed, "worker": 0, "workers": 1})
            handed = _Handed(os.getpid(), {"rank": context.rank, "world_size": context.world_size}, shared)
        return {**self.__dict__, "_handed": handed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared = _share(self._shared.clone())

    def __repr__(self) -> str:
        return f"to_torch({self.stream!r})"


def _share(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.share_memory_()  # type: ignore[no-any-return, no-untyped-call]


def _gives_batches(stream: Stream[Any]) -> bool:
    """Whether its items are surely batches: what a function of the user's makes of them, nobody knows."""
    found = [step for step in stream.steps if isinstance(step, (Batched, Unbatched, FunctionStep))]
    return bool(found) and isinstance(found[-1], Batched)
