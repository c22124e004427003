"""Where streams end in other libraries: each is imported when its end is called, never with the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from streamwds.errors import CompositionError
from streamwds.stage import Maker, Stage, Stream

if TYPE_CHECKING:
    from streamwds.torch import TorchStream

__all__ = ["to_torch"]

A = TypeVar("A")
B = TypeVar("B")


@overload
def to_torch(pipeline: Stream[B]) -> TorchStream[B]: ...
@overload
def to_torch(pipeline: Stage[A, B], source: Iterable[A]) -> TorchStream[B]: ...
def to_torch(pipeline: Any, source: Any = None) -> TorchStream[Any]:
    """A stream, or a stage and its source, as a torch `IterableDataset`.

    In a DataLoader with several workers the pipeline needs `split_by_worker`, and with several ranks `split_by_node`:
    else it is refused (`DistributionError`) when iteration starts. A stream that makes its own batches wants
    `batch_size=None`. Each iteration over the DataLoader is the next epoch, and the first is 0; `set_epoch` says which
    comes next, as with torch's DistributedSampler. `len` is what `with_length` says.

    >>> dataset = to_torch(range(8) | split_by_worker | batched(2))
    >>> from torch.utils.data import DataLoader
    >>> list(DataLoader(dataset, batch_size=None))
    [[0, 1], [2, 3], [4, 5], [6, 7]]
    """
    from streamwds.torch import TorchStream

    if isinstance(pipeline, Stage) and source is not None:
        return TorchStream(pipeline(source))
    if isinstance(pipeline, Stream) and source is None:
        return TorchStream(pipeline)
    if isinstance(pipeline, Maker):
        raise pipeline.bare()
    raise CompositionError(
        f"to_torch takes a stream, or a stage and its source: not {type(pipeline).__name__}"
        f"{'' if source is None else f' and {type(source).__name__}'}"
    )
