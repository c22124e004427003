"""What a dataset shares with its DataLoader workers, however they were started: a few numbers, in one memory."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch.utils.data import get_worker_info

from streamwds.errors import DistributionError

__all__ = ["Shared", "Told"]

WORKERS = 1024  # at most so many may one DataLoader have
FLAGS = 256
ANY = -1  # (the number of workers of an epoch that none of them has read)


class Shared:
    """Who reads which epoch, which warnings were given, and how often a state was loaded.

    Each reader (number 0 is the process of the DataLoader itself, n + 1 its worker n) writes down the last epoch that
    it began and how many workers the DataLoader had, as one number (`_note`). Nobody writes for another but what that
    one writes itself, and a number is written and read as a whole, so nothing is to be locked.
    """

    def __init__(self, epoch: int) -> None:
        self.last: torch.Tensor = _share(torch.full((WORKERS + 1,), _note(epoch - 1)))
        self.flags: torch.Tensor = _share(torch.zeros(FLAGS, dtype=torch.bool))
        self.loads: torch.Tensor = _share(torch.zeros(1, dtype=torch.int64))

    def copy(self) -> Shared:
        other = Shared(0)
        other.last.copy_(self.last)
        other.flags.copy_(self.flags)
        other.loads.copy_(self.loads)
        return other

    def set_epoch(self, epoch: int) -> None:
        """Have all readers begin this epoch next."""
        self.last.fill_(_note(epoch - 1))

    def next_epoch(self) -> int:
        """The epoch that is begun next, where no iteration is just about to start."""
        return max(epoch for epoch, _ in self._noted()) + 1

    def begin(self, epoch: int | None = None) -> int:
        """The epoch that this reader is to begin now: its next, and the same as that of the others in this iteration.

        Of those with as many workers, some may have begun it already. All others ended theirs before. An epoch that is
        given is given to all of them, so whoever has a later one counts as having begun it, too: many may write that
        at a time, and all write the same.
        """
        worker = get_worker_info()
        mine, workers = (0, 0) if worker is None else (worker.id + 1, worker.num_workers)
        if mine > WORKERS:
            raise DistributionError(f"a DataLoader with {workers} workers; at most {WORKERS} can share a dataset")
        noted = self._noted()
        if epoch is None:
            epoch = max(last if whose == workers else last + 1 for last, whose in noted)
            epoch = max(epoch, noted[mine][0] + 1)
        else:
            for reader, (last, _) in enumerate(noted):
                if last > epoch:
                    self.last[reader] = _note(epoch, workers)
        self.last[mine] = _note(epoch, workers)
        return epoch

    def _noted(self) -> list[tuple[int, int]]:
        return [(number >> 16, (number & 0xFFFF) + ANY) for number in self.last.tolist()]


def _note(epoch: int, workers: int = ANY) -> int:
    """An epoch, and of how many workers it is, as one number."""
    return epoch << 16 | workers - ANY


class Told(set[str]):
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


def _share(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.share_memory_()  # type: ignore[no-any-return, no-untyped-call]
