"""Elastic resume: an epoch that some readers began, finished by other numbers of ranks and workers.

The old readers, each a (rank, worker), are logical streams: what is left of each is what it would still have given,
from its own position on, whoever reads it now. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, TypeVar

import attrs

from streamwds import position as positions
from streamwds.context import Context
from streamwds.errors import CompositionError, PositionError
from streamwds.position import Position
from streamwds.stage import Stream
from streamwds.stages.chance import Resampled
from streamwds.steps import At, Pair, Run, Source, Upstream, check_fit, first
from streamwds.values import code

__all__ = ["Elastic", "Part", "beginning", "goes_on_at", "redistribute", "whole_epochs"]

B = TypeVar("B")


@attrs.frozen
class Part:
    """What is left of one old reader's stream: from `at` on, without the first `skip`, each `every`-th item."""

    rank: int
    world_size: int
    worker: int
    workers: int
    skip: int
    every: int
    at: At

    @classmethod
    def of(cls, data: Any) -> Part:
        """The part that stands in a position as plain data."""
        if isinstance(data, (list, tuple)) and len(data) == 7 and all(type(n) is int for n in data[:6]):
            rank, world_size, worker, workers, skip, every = data[:6]
            if 0 <= rank < world_size and 0 <= worker < workers and skip >= 0 and every >= 1:
                return cls(*data)
        raise PositionError(f"redistribute: {data!r:.80} is no part of a stream")

    def shared(self, number: int, readers: int) -> Part:
        """The part of this part that is for one of several readers, who take its items in turns."""
        return attrs.evolve(self, skip=self.skip + number * self.every, every=self.every * readers)

    def within(self, now: Context) -> Context:
        """The context in which this is read: that of the old reader."""
        return attrs.evolve(now, rank=self.rank, world_size=self.world_size, worker=self.worker, workers=self.workers)


def _data(part: Part) -> tuple[Any, ...]:
    """A part as plain data, as it stands in positions."""
    return attrs.astuple(part, recurse=False)


@attrs.frozen(repr=False)
class Elastic(Source):
    """The rest of an epoch, shared out anew. A position holds what is left for its reader, and needs nothing else."""

    name: ClassVar[str] = "redistribute"
    bound: ClassVar[bool] = True
    splits = frozenset({"node", "worker"})
    stream: Stream[Any]
    checkpoints: tuple[Any, ...] = attrs.field(default=(), hash=False)  # (plain JSON data, which has no hash)
    epoch: int = 0
    parts: tuple[Part, ...] = ()

    def assigned(self, context: Context) -> tuple[Part, ...]:
        """The parts of a reader, in the order in which it reads them."""
        reader, readers = context.rank + context.worker * context.world_size, context.world_size * context.workers
        if readers <= len(self.parts):
            return self.parts[reader::readers]
        if not self.parts:
            return ()
        mine, number = reader % len(self.parts), reader // len(self.parts)
        return (self.parts[mine].shared(number, len(range(mine, readers, len(self.parts)))),)

    def open(self, run: Run, at: At) -> Iterator[Pair]:
        parts = self._parts(run.context, at)
        for number, part in enumerate(parts):
            left = tuple(map(_data, parts[number + 1 :]))
            who, skip = _data(part)[:4], part.skip
            for item, end in self._upstream(run, part)(part.at):
                if skip:
                    skip -= 1
                else:
                    skip = part.every - 1
                    yield item, ((*who, skip, part.every, end), *left)
                del item

    def plain(self, run: Run) -> Iterator[Any]:
        return map(first, self.open(run, None))

    def words(self, run: Run, at: At) -> list[str]:
        parts = self._parts(run.context, at)
        if not parts:
            return ["nothing left"]
        words = self._upstream(run, parts[0]).words(parts[0].at)
        who = f"worker {parts[0].worker} of {parts[0].workers} on rank {parts[0].rank} of {parts[0].world_size}"
        return [*words, f"as {who} ({len(parts) - 1} more to come)"]

    def _parts(self, context: Context, at: At) -> tuple[Part, ...]:
        if isinstance(at, (list, tuple)):
            return tuple(map(Part.of, at))
        if at is not None:
            raise PositionError(f"{self.name}: {at!r:.80} is no position of this source")
        if not self.checkpoints:
            raise PositionError(f"{self.name}: there is nothing to begin with, only positions to go on from")
        if context.epoch != self.epoch:
            raise PositionError(
                f"{self.name}: this is the rest of epoch {self.epoch}; read epoch {context.epoch} from the stream that "
                "redistribute was given"
            )
        return self.assigned(context)

    def _upstream(self, run: Run, part: Part) -> Upstream:
        context = part.within(run.context)
        return Upstream(self.stream.source, self.stream.steps, attrs.evolve(run, context=context))

    # ---- what is true of it

    @property
    def kind(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return check_fit(self.stream.source.kind, "", self.stream.steps)

    @property
    def buffering(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return Upstream(self.stream.source, self.stream.steps).buffering

    def check_replays(self) -> None:
        self.stream.source.check_replays()

    def identity(self) -> Any:
        return [self.name, Upstream(self.stream.source, self.stream.steps).identity()]

    def __repr__(self) -> str:
        return f"redistribute({self.stream!r}, {code(self.checkpoints)})"


# ---- its positions


def _whole(stream: Stream[Any]) -> Stream[Any]:
    """The stream as it reads whole epochs, in no particular context."""
    if isinstance(stream.source, Elastic):
        whole = stream.source.stream
        return Stream(whole.source, (*whole.steps, *stream.steps))
    return Stream(stream.source, stream.steps)


def _made_of(stream: Stream[Any], head: Mapping[str, Any]) -> Elastic | None:
    """What `redistribute` makes of a stream, if a position with this head comes from there."""
    elastic = Elastic(_whole(stream))
    return elastic if head["source"] == positions.digest(elastic.identity()) and head["stages"] == [] else None


def whole_epochs(stream: Stream[B]) -> Stream[B]:
    """The stream of which this may be the rest of an epoch, in the same context.

    >>> stream = range(9) | split_samples
    >>> whole_epochs(redistribute(stream, [next(stream.tracked())[1]])) | list
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    return attrs.evolve(_whole(stream), fixed=stream.fixed)


def goes_on_at(stream: Stream[B], position: Position) -> Stream[B]:
    """The stream from a position on that is its own, or one that what `redistribute` made of it gave."""
    elastic = _made_of(stream, positions.split(position)[0])
    return (stream if elastic is None else Stream(elastic, fixed=stream.fixed)).at(position)


def beginning(stream: Stream[Any], context: Context) -> Position:
    """The position before the first item that a stream gives in a context."""
    at: At = None
    if stream.start is not None:
        return stream.start
    if isinstance(stream.source, Elastic) and not stream.steps and stream.source.epoch == context.epoch:
        at = tuple(map(_data, stream.source.assigned(context)))
    return positions.head(context, stream.source, stream.steps), at


# ---- sharing out


def redistribute(stream: Stream[B], checkpoints: Iterable[Any]) -> Stream[B]:
    """The rest of the epoch that a checkpoint is of, for any number of ranks and workers.

    checkpoints: of all readers that there were, whatever their number: positions, one of each reader, or what
        `Progress.state_dict` gave, one of each rank; through JSON or not.

    Gives, in whatever context it is read, exactly what the undisturbed run would still have given in this epoch, each
    item once. The old readers are logical streams, numbered by worker and then by rank, of which those that are known
    to have ended are left out. N new readers, numbered alike, share L of them: number i reads those numbered i, i + N,
    i + 2N … one after the other; where there are more readers than logical streams, those numbered i, i + L, i + 2L …
    share the i-th, of which each reads all, and, if they are m, gives every m-th item.

    It can be checkpointed and redistributed again. For the next epoch read `stream` itself (`to_torch` does so), which
    splits by the new numbers. How many items each new reader gets is not known beforehand, and may differ.

    Positions of other pipelines, seeds or epochs, and those of some of the readers only, are a `PositionError`; streams
    that never end, or draw their shards with replacement, have no rest to share out, and are a `CompositionError`.

    >>> stream = range(10) | split_samples
    >>> old = [next(stream.within(worker=n, workers=2).tracked())[1] for n in range(2)]
    >>> rest = redistribute(stream, old)
    >>> [list(rest.within(worker=n, workers=3)) for n in range(3)]
    [[2, 6], [3, 5, 7, 9], [4, 8]]
    """
    if isinstance(stream.source, Elastic) and stream.steps:
        raise CompositionError("redistribute comes last: redistribute(stream | …, checkpoints), and no stage behind it")
    whole = _whole(stream)
    _check_ends(whole)
    given = tuple(json.loads(json.dumps(list(checkpoints))))
    found = [reader for checkpoint in given for reader in _readers(stream, checkpoint)]
    head = _check_all_there([head for head, _ in found])
    found.sort(key=lambda reader: (reader[0]["worker"], reader[0]["rank"]))
    fixed = {**stream.fixed, "seed": head["seed"], "epoch": head["epoch"]}
    parts = tuple(part for _, parts in found for part in parts)
    return Stream(Elastic(whole, given, head["epoch"], parts), fixed=fixed)


def _readers(stream: Stream[Any], checkpoint: Any) -> Iterator[tuple[dict[str, Any], tuple[Part, ...]]]:
    """The head of the position of each reader of a checkpoint, and what was left for it."""
    alone = not isinstance(checkpoint, dict) or "positions" not in checkpoint
    state: dict[str, Any] = {"positions": [checkpoint], "ended": []} if alone else checkpoint
    for number, position in enumerate(state["positions"]):
        head, at = positions.split(position)
        elastic = _made_of(stream, head)
        source, steps = (stream.source, stream.steps) if elastic is None else (elastic, ())
        positions.check(head, {k: v for k, v in stream.fixed.items() if k in ("seed", "epoch")}, source, steps)
        if number in state["ended"]:
            yield head, ()
        elif elastic is None:
            who = (head["rank"], head["world_size"], head["worker"], head["workers"])
            yield head, (Part(*who, skip=0, every=1, at=at),)
        else:
            yield head, tuple(map(Part.of, at or ()))


def _check_all_there(heads: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The head of any of the positions; an error if they are not those of one run, each reader's once."""
    if not heads:
        raise PositionError("redistribute takes the positions of all readers there were, and there are none")
    for name in ("source", "seed", "epoch", "world_size", "workers"):
        if len(different := dict.fromkeys(head[name] for head in heads)) > 1:
            raise PositionError(
                f"these are not positions of one run, taken at one time: they have {name} "
                f"{', '.join(map(str, different))}"
            )
    wanted = product(range(heads[0]["world_size"]), range(heads[0]["workers"]))
    times = Counter((head["rank"], head["worker"]) for head in heads)
    wrong = [
        f"{'no' if not times[who] else times[who]} position{'s' * (times[who] != 1)} of rank {who[0]}, worker {who[1]}"
        for who in wanted
        if times[who] != 1
    ]
    if wrong:
        raise PositionError(
            f"redistribute takes one position of each reader there was, and there are {'; '.join(wrong[:5])}"
            f"{' …' if len(wrong) > 5 else ''}"
        )
    return heads[0]


def _check_ends(stream: Stream[Any]) -> None:
    if Upstream(stream.source, stream.steps).endless:
        raise CompositionError(
            f"redistribute: {stream!r:.200} never ends, so there is no rest of an epoch to share out: say how long an "
            "epoch is, with … | with_epoch(n), or begin the next epoch with the new readers"
        )
    if _resamples(stream.source, stream.steps):
        raise CompositionError(
            f"redistribute: {stream!r:.200} draws its shards with replacement, so no two readers have parts of one "
            "whole, and there is no rest of an epoch to share out: begin the next epoch with the new readers"
        )


def _resamples(source: Source, steps: Iterable[Any]) -> bool:
    inner: Iterable[Upstream] = getattr(source, "upstreams", ())
    return any(isinstance(step, Resampled) for step in steps) or any(_resamples(up.source, up.steps) for up in inner)
