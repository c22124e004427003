"""`Progress`: how far the workers of a DataLoader are, known where its batches are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from streamwds.errors import CompositionError
from streamwds.torch.dataset import State, TorchStream

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

__all__ = ["Progress"]

B = TypeVar("B")


class Progress(Generic[B]):
    """The batches of a DataLoader, and how far it is with them: a checkpoint for every step, whatever it read ahead.

    loader: a DataLoader of `to_torch(…).with_position()`, with any number of workers, forked or spawned, persistent or
        not. It keeps its order (`in_order`) unless told otherwise; without, each item still comes once.

    Each iteration is an epoch, which gives the batches without their positions. `state_dict`, in the loop or anywhere
    else, says what was given so far, in plain JSON data of one or two kilobytes a worker. After `load_state_dict` in a
    process like the first, with as many workers, the next iteration begins with the batch that would have come next.

    >>> from torch.utils.data import DataLoader
    >>> dataset = to_torch(range(8) | split_by_worker | batched(2)).with_position()
    >>> progress = Progress(DataLoader(dataset, batch_size=None))
    >>> for batch in progress:
    ...     if 3 in batch:
    ...         checkpoint = progress.state_dict()
    ...         break
    >>> dataset = to_torch(range(8) | split_by_worker | batched(2)).with_position()
    >>> progress = Progress(DataLoader(dataset, batch_size=None))
    >>> progress.load_state_dict(checkpoint)
    >>> list(progress)
    [[4, 5], [6, 7]]
    """

    def __init__(self, loader: DataLoader[tuple[B, Any]]) -> None:
        dataset: Any = loader.dataset
        if not isinstance(dataset, TorchStream) or not dataset.positioned:
            raise CompositionError(
                "Progress takes a DataLoader of to_torch(stream).with_position(), whose items say how far their worker "
                f"is; this one's dataset is {dataset!r:.200}"
            )
        self.loader = loader
        self._dataset = cast("TorchStream[tuple[B, Any]]", dataset)
        self._workers = max(loader.num_workers, 1)
        self._in_order = bool(getattr(loader, "in_order", True))  # (what older releases of torch always are)
        self._state: State | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the batch that was given last; behind an epoch, and at first, the next."""
        state = self._now()
        return state.epoch + state.over

    def __iter__(self) -> Iterator[B]:
        self._state = self._dataset.state_before(self._workers)
        for batch, position in self.loader:
            self._state = self._state.after(position, in_order=self._in_order)
            yield batch
            del batch
        self._state = self._state.at_end()

    def __len__(self) -> int:
        """The length of the DataLoader: what `with_length` says."""
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """How far it is, after the batch that was given last."""
        return self._now().data()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where a state was taken. Call it before the first one."""
        self._dataset.load_state_dict(state)
        self._state = None

    def _now(self) -> State:
        return self._dataset.state_before(self._workers) if self._state is None else self._state
