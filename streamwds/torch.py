"""Streams for torch: `to_torch` makes an IterableDataset of a stream."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, cast, overload

import attrs
import torch
from torch.utils.data import IterableDataset, get_worker_info

from streamwds.context import Context
from streamwds.errors import CompositionError, DoubleBatchWarning
from streamwds.position import split
from streamwds.stage import Stage, Stream
from streamwds.stages.batching import Batched, Unbatched

__all__ = ["TorchStream", "to_torch"]

A = TypeVar("A")
B = TypeVar("B", covariant=True)

_UNSET = -1


class TorchStream(IterableDataset[B], Generic[B]):
    """A stream as a torch IterableDataset; made by `to_torch`."""

    def __init__(self, stream: Stream[B]) -> None:
        super().__init__()
        self.stream = stream
        self._ranks: dict[str, int] = {}
        # in shared memory, so that an epoch set here reaches workers that are running already
        self._epoch = torch.full((), _UNSET, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """From the next iteration on, read as this epoch (other random orders), in all workers, persistent ones too.

        A stream that was put at a position goes on from there in the position's epoch, and starts at the beginning in
        any other.
        """
        self._epoch.fill_(Context(epoch=epoch).epoch)

    def __iter__(self) -> Iterator[B]:
        _warn_of_double_batches(self.stream)
        return iter(self._now())

    def _now(self) -> Stream[B]:
        stream = attrs.evolve(self.stream, fixed={**self._ranks, **self.stream.fixed})
        epoch = int(self._epoch.item())
        if epoch == _UNSET:
            return stream
        if stream.start is not None and split(stream.start)[0]["epoch"] == epoch:
            return stream
        return attrs.evolve(stream, start=None, fixed={**stream.fixed, "epoch": epoch})

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker can't ask torch.distributed, so it is told here who we are
        context = Context.current(worker=0, workers=1)
        return {**self.__dict__, "_ranks": {"rank": context.rank, "world_size": context.world_size, **self._ranks}}

    def __repr__(self) -> str:
        return f"to_torch({self.stream!r})"


@overload
def to_torch(pipeline: Stream[B]) -> TorchStream[B]: ...
@overload
def to_torch(pipeline: Stage[A, B], source: Iterable[A]) -> TorchStream[B]: ...
def to_torch(pipeline: Any, source: Any = None) -> TorchStream[Any]:
    """A stream, or a stage and its source, as a torch `IterableDataset`.

    In a DataLoader with workers the pipeline needs `split_by_worker`, and with several ranks `split_by_node`, else it is
    refused (`DistributionError`) when iteration starts. A stream that makes its own batches wants `batch_size=None`.
    Random stages read as epoch 0 until `set_epoch` is called, as with torch's DistributedSampler.

    >>> dataset = to_torch(range(8) | split_by_worker | batched(2))
    >>> from torch.utils.data import DataLoader
    >>> list(DataLoader(dataset, batch_size=None))
    [[0, 1], [2, 3], [4, 5], [6, 7]]
    """
    if isinstance(pipeline, Stage) and source is not None:
        return TorchStream(cast("Stage[Any, Any]", pipeline)(source))
    if isinstance(pipeline, Stream) and source is None:
        return TorchStream(cast("Stream[Any]", pipeline))
    raise CompositionError(
        f"to_torch takes a stream, or a stage and its source: not {type(pipeline).__name__}"
        f"{'' if source is None else f' and {type(source).__name__}'}"
    )


def _warn_of_double_batches(stream: Stream[Any]) -> None:
    """Warn if a DataLoader is about to batch batches (it does not tell, so we look who asks for the iterator)."""
    batches = [isinstance(step, Batched) for step in stream.steps if isinstance(step, (Batched, Unbatched))]
    worker = get_worker_info()
    if not batches or not batches[-1] or (worker is not None and worker.id != 0):
        return
    fetcher = sys._getframe(2).f_locals.get("self")  # pyright: ignore[reportPrivateUsage]
    if getattr(fetcher, "auto_collation", False) is True:
        warnings.warn(
            "the stream is batched already, and the DataLoader makes batches of its batches: give it batch_size=None",
            DoubleBatchWarning,
            stacklevel=4,
        )
