"""Who reads, and which time round: the few numbers on which, with a position, all that a pipeline gives depends."""

from __future__ import annotations

import os
import sys
from typing import Any

import attrs

from streamwds.errors import DistributionError

__all__ = ["Context"]


def _count(instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    least = 1 if attribute.name in ("world_size", "workers") else 0
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{attribute.name} must be an integer of at least {least}, not {value!r}")


def _seed(instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{attribute.name} must be an integer, not {value!r}")


@attrs.frozen
class Context:
    """The reader of a stream: an immutable value.

    Parameters
    ----------
    seed: what all random stages of a pipeline start from. 0 unless given, never torch's.
    epoch: how many times the data was read before.
    rank, world_size: which node of how many (torch.distributed's words).
    worker, workers: which DataLoader worker of this node, of how many.

    >>> Context(epoch=3)
    Context(seed=0, epoch=3, rank=0, world_size=1, worker=0, workers=1)
    >>> Context(worker=4, workers=4)
    Traceback (most recent call last):
    ...
    ValueError: worker 4 of 4 workers: they are counted from 0
    """

    seed: int = attrs.field(default=0, validator=_seed)
    epoch: int = attrs.field(default=0, validator=_count)
    rank: int = attrs.field(default=0, validator=_count)
    world_size: int = attrs.field(default=1, validator=_count)
    worker: int = attrs.field(default=0, validator=_count)
    workers: int = attrs.field(default=1, validator=_count)

    def __attrs_post_init__(self) -> None:
        if self.rank >= self.world_size:
            raise ValueError(f"rank {self.rank} of world_size {self.world_size}: they are counted from 0")
        if self.worker >= self.workers:
            raise ValueError(f"worker {self.worker} of {self.workers} workers: they are counted from 0")

    @classmethod
    def current(cls, **fixed: int) -> Context:
        """The context of this process, but for what is `fixed`.

        Ranks come from torch.distributed where it is initialised, else from RANK and WORLD_SIZE; workers from the
        DataLoader that this process works for. torch is asked only if it is already imported.

        >>> Context.current(epoch=2).epoch
        2
        """
        found: dict[str, int] = {}
        if not {"rank", "world_size"} <= fixed.keys():
            found.update(_ranks())
        if not {"worker", "workers"} <= fixed.keys():
            found.update(_workers())
        return cls(**{**found, **fixed})


def _ranks() -> dict[str, int]:
    torch: Any = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return {"rank": distributed.get_rank(), "world_size": distributed.get_world_size()}
    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if not size:
        return {}  # (RANK alone is nobody's way to start ranks, and a word that others use, too)
    try:
        world_size = int(size)
        ours = int(rank) if rank else 0
        if 0 <= ours < world_size and (rank or world_size == 1):
            return {"rank": ours, "world_size": world_size}
    except ValueError:
        pass
    raise DistributionError(
        f"RANK={rank or ''} and WORLD_SIZE={size} in the environment don't say which rank this is: set both, or "
        "neither, or fix both by within(rank=…, world_size=…)"
    )


def _workers() -> dict[str, int]:
    data: Any = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return {} if info is None else {"worker": info.id, "workers": info.num_workers}
