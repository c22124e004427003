"""pack: sequences put together into samples of one fixed length, as language models are trained on.

Two ways, as Grain has them (first-fit packing; concatenate and split): whole sequences, with padding where none fits;
or one long row of all sequences, cut wherever a sample is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from streamwds.errors import CollateError, StreamwdsError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import Sample, Stage, maker
from streamwds.stages import replay
from streamwds.stages.batching import collated
from streamwds.stages.fields import check_sample, missing_field
from streamwds.stages.windows import Windowed, check_window
from streamwds.steps import At, Pair, Run, Upstream, option

__all__ = ["Pack", "pack"]


class Piece(NamedTuple):
    """Part of the sequences of a sample."""

    sample: Mapping[str, Any]
    start: int
    stop: int


@attrs.define
class _Bins:
    """The packs of a window that have room left."""

    step: Pack
    room: list[int] = attrs.field(factory=list[int])
    packs: list[list[Piece]] = attrs.field(factory=list[list[Piece]])

    def add(self, sample: Any) -> list[list[Piece]]:
        """The first pack that has room takes it; if none has, the fullest is given out."""
        n = self.step.measured(sample)
        if n > self.step.size:
            message = f"its sequences have {n} elements, and a pack has {self.step.size}: cut them, or say split=True"
            raise CollateError.about(sample, message)
        if n == 0:
            return []
        given: list[list[Piece]] = []
        place = next((place for place, room in enumerate(self.room) if room >= n), None)
        if place is None:
            if len(self.room) == self.step.bins:
                given.append(self._take(self.room.index(min(self.room))))
            self.room.append(self.step.size)
            self.packs.append([])
            place = len(self.room) - 1
        self.packs[place].append(Piece(sample, 0, n))
        self.room[place] -= n
        if self.room[place] == 0:
            given.append(self._take(place))
        return given

    def _take(self, place: int) -> list[Piece]:
        self.room.pop(place)
        return self.packs.pop(place)

    def rest(self) -> list[list[Piece]]:
        return self.packs


def _check_length(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"pack takes a length, and a number of bins, of at least 1, not {n!r}")


def _check_fields(fields: tuple[Any, ...]) -> None:
    if not fields or not all(isinstance(field, str) and field for field in fields):
        raise ValueError(f'pack takes the fields that hold sequences, as in pack(2048, "tokens"), not {fields!r}')
    if taken := {"__key__", "segment_ids", "positions"}.intersection(fields):
        raise ValueError(f"pack makes a field {min(taken)!r} itself; rename that of the samples before")


def _check_pad(pad: Any) -> None:
    for fill in pad.values() if isinstance(pad, Mapping) else (pad,):
        if not isinstance(fill, (int, float)):
            raise ValueError(f'pad is a number, or a dict from fields to numbers ({{"labels": -100}}), not {pad!r}')


@attrs.frozen(repr=False, slots=False)
class Pack(Windowed):
    """Whole sequences: remembers what `Windowed` does. With `split`: how many elements were given of the first sample
    of which not all were, a mark of its length and end and, as its upstream's position, where it is.
    """

    name: ClassVar[str] = "pack"
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    size: int = option(check=_check_length)
    fields: tuple[str, ...] = option(star=True, check=_check_fields)
    split: bool = option(False)
    pad: float | Mapping[str, float] = option(0, decides=False, check=_check_pad)
    bins: int = option(16, check=_check_length)
    window: int = option(10_000, check=check_window)
    handler: Handler = option(reraise_exception, decides=False)

    # ---- samples

    def measured(self, sample: Any) -> int:
        """How many elements the sequences of a sample have; an error of ours if they differ."""
        check_sample(self.name, sample)
        lengths: dict[str, int] = {}
        for field in self.fields:
            if field not in sample:
                raise missing_field(sample, field)
            value = sample[field]
            if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or getattr(value, "shape", None) == ():
                message = f"pack takes sequences (arrays, tensors, lists of numbers), not a {type(value).__name__}"
                raise CollateError.about(sample, message, field=field)
            lengths[field] = len(value)
        if len(set(lengths.values())) > 1:
            raise CollateError.about(sample, f"the sequences of a sample have different lengths: {lengths}")
        return lengths[self.fields[0]]

    def made(self, group: list[Piece]) -> Sample:
        made: Sample = collated(self._packed, group)
        return made

    def _packed(self, pieces: list[Piece]) -> Sample:
        first = pieces[0]
        key = first.sample.get("__key__")
        made: Sample = {}
        if isinstance(key, str):
            made["__key__"] = f"{key}+{first.start}" if first.start else key
        sizes = [piece.stop - piece.start for piece in pieces]
        for field in self.fields:
            parts = [np.asarray(piece.sample[field])[piece.start : piece.stop] for piece in pieces]
            fill = self.pad.get(field, 0) if isinstance(self.pad, Mapping) else self.pad
            made[field] = self._filled(np.concatenate(parts), fill)
        made["segment_ids"] = self._filled(np.repeat(np.arange(1, len(sizes) + 1, dtype=np.int32), sizes), 0)
        made["positions"] = self._filled(np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]), 0)
        return made

    def _filled(self, array: NDArray[Any], fill: float) -> NDArray[Any]:
        missing = self.size - len(array)
        return np.concatenate([array, np.full((missing, *array.shape[1:]), fill, array.dtype)]) if missing else array

    # ---- whole, or split

    def holding(self) -> _Bins:
        return _Bins(self)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        return self._open_split(run, upstream, at) if self.split else super().open(run, upstream, at)

    def _open_split(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        used, expected, before = self.recall(at)
        guard = run.guard(self.handler)
        pieces: list[Piece] = []
        room = self.size
        for sample, end in upstream(before):
            guard.seen += 1
            try:
                n = self.measured(sample)
            except StreamwdsError as error:
                if not guard(error):
                    break
                n = 0
            mark = replay.mark((n, end))
            replay.check(expected, mark, f"pack: the sample of which {used} elements were given", (sample,))
            expected = None
            while used < n:
                size = min(room, n - used)
                pieces.append(Piece(sample, used, used + size))
                used, room = used + size, room - size
                if not room:
                    full, pieces, room = pieces, [], self.size
                    try:
                        made = self.made(full)
                    except StreamwdsError as error:
                        if not guard(error):
                            return
                        continue
                    yield made, ((used, mark, before) if used < n else (0, None, end))
            used, before = 0, end
        replay.check(expected, None, f"pack: the sample of which {used} elements were given", ())
        if pieces:
            try:
                made = self.made(pieces)
            except StreamwdsError as error:
                guard(error)
                return
            yield made, (0, None, before)


@maker
def pack(
    length: int,
    *fields: str,
    split: bool = False,
    pad: float | Mapping[str, float] = 0,
    bins: int = 16,
    window: int = 10_000,
    handler: Handler = reraise_exception,
) -> Stage[Sample, Sample]:
    """Put sequences together into samples of one fixed length: what a language model is trained on.

    Parameters
    ----------
    length: how many elements a pack has.
    fields: the fields that hold sequences (arrays, tensors, lists of numbers; n elements along the first axis), equally
        many elements in each: `pack(2048, "tokens", "labels")`. Other fields are left out.
    split: cut sequences where a pack is full, and go on with them in the next: no padding but at the very end. Else
        they stay whole, and one that is longer than `length` is an error.
    pad: what fills a pack up; by field, if not 0: `{"labels": -100}`.
    bins: how many packs are filled at a time, unless `split`: each sequence goes to the first that has room, and if
        none has, the fullest is given out.
    window: after how many samples all packs are given out, unless `split`: so many at most are read again when
        resuming, and at most bins × length elements are held.
    handler: gets a `MissingFieldError` or `CollateError` for a sample that can't be packed; true skips it.

    A pack is a sample with numpy arrays of `length` elements: the fields; `segment_ids` (int32), which sequence of the
    pack an element is of, from 1, and 0 for padding; `positions` (int32), its place in what the pack has of that
    sequence. Its `__key__` is the first sequence's, with +n if it begins at its n-th element. Empty sequences go by.

    >>> texts = [{"tokens": [5, 6, 7]}, {"tokens": [8, 9]}, {"tokens": [4, 3]}]
    >>> for sample in texts | pack(5, "tokens"):
    ...     print(sample["tokens"], sample["segment_ids"], sample["positions"])
    [5 6 7 8 9] [1 1 1 2 2] [0 1 2 0 1]
    [4 3 0 0 0] [1 1 0 0 0] [0 1 0 0 0]
    >>> [sample["tokens"].tolist() for sample in texts | pack(4, "tokens", split=True)]
    [[5, 6, 7, 8], [9, 4, 3, 0]]
    """
    return Stage((Pack(length, fields, split, pad, bins, window, handler),))
