"""Several streams as one: mix, round_robin, chain, zip_. They are sources: what is put together stands at the left.

The parts are read in the context of the whole, and their positions are in its position.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import attrs

from streamwds import draws
from streamwds.errors import CompositionError, PositionError
from streamwds.stage import Stream, identity
from streamwds.steps import At, Pair, Run, Source, Upstream, check_fit, first
from streamwds.values import code, freeze

__all__ = ["Chain", "Mix", "RoundRobin", "Zip", "chain", "mix", "part", "round_robin", "zip_"]

T = TypeVar("T")
Stop: TypeAlias = Literal["first", "last"]


# ---- the parts


def part(name: str, xs: Any) -> Stream[Any]:
    """One of several streams that are put together: a stream, or something that may stand at the left of a pipe."""
    found = xs if isinstance(xs, Stream) else identity(xs)
    if found.start is not None or found.fixed:
        method = "within" if found.start is None else "at"
        raise CompositionError(
            f"{name} reads its streams in one context, from positions that it remembers itself: call {method}() of the "
            f"whole, not of a part ({found!r:.200})"
        )
    return found


def _parts(name: str, streams: Any) -> tuple[Stream[Any], ...]:
    if isinstance(streams, (str, bytes, Stream)):
        raise CompositionError(f"{name} takes a list of streams, as in {name}([a, b]), not {streams!r:.80}")
    found = tuple(part(name, xs) for xs in streams)
    if not found:
        raise CompositionError(f"{name} takes at least one stream")
    return found


class _Several(Source):
    """A source of several streams. `merged` says in what order their items come."""

    bound: ClassVar[bool] = True
    streams: tuple[Stream[Any], ...]

    def merged(self, run: Run, upstreams: Sequence[Upstream], at: At) -> Iterator[Pair]:
        """The pairs after a position of this source."""
        raise TypeError(f"{type(self).__name__} does not say how it puts its streams together")

    def open(self, run: Run, at: At) -> Iterator[Pair]:
        return self.merged(run, [upstream.within(run) for upstream in self.upstreams], at)

    def plain(self, run: Run) -> Iterator[Any]:
        untracked = [attrs.evolve(upstream, run=run, tracked=False) for upstream in self.upstreams]
        return map(first, self.merged(run, untracked, None))

    # ---- what is true of the whole

    @property
    def upstreams(self) -> list[Upstream]:
        return [Upstream(stream.source, stream.steps) for stream in self.streams]

    @property
    def kind(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        kinds = {check_fit(stream.source.kind, "", stream.steps) for stream in self.streams}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def splits(self) -> frozenset[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset.intersection(*(upstream.splits for upstream in self.upstreams))

    @property
    def buffering(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return next(filter(None, (upstream.buffering for upstream in self.upstreams)), None)

    @property
    def endless(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        those = any if getattr(self, "stop", "last") == "last" else all
        return those(upstream.endless for upstream in self.upstreams)

    def check_replays(self) -> None:
        for stream in self.streams:
            stream.source.check_replays()

    # ---- as a value

    def identity(self) -> Any:
        options = {name: code(value) for name, value in self._options()}
        return [self.name, options, [upstream.identity() for upstream in self.upstreams]]

    def _options(self) -> Iterator[tuple[str, Any]]:
        cls: Any = type(self)  # (all of these are attrs classes, though this base is none)
        for field in attrs.fields(cls)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                yield field.name, value

    def __repr__(self) -> str:
        options = "".join(f", {name}={code(value)}" for name, value in self._options())
        return f"{self.name}([{', '.join(map(repr, self.streams))}]{options})"

    # ---- positions

    def parts_at(self, at: At) -> list[tuple[int, At]]:
        """The number of each stream that is still read, and the position in it."""
        _, ended, each = self._turns(at)
        return [(number, position) for number, position in enumerate(each) if number not in ended]

    def words(self, run: Run, at: At) -> list[str]:
        upstreams = [upstream.within(run) for upstream in self.upstreams]
        told = [f"{number}: {' '.join(upstreams[number].words(position))}" for number, position in self.parts_at(at)]
        return [f"{self.name} of {' + '.join(told)}"]

    def no_position(self, at: At) -> PositionError:
        return PositionError(f"{self.name}: {at!r:.80} is no position of {len(self.streams)} streams")

    def _each(self, at: At) -> list[At]:
        """A position for each stream."""
        if at is None:
            return [None] * len(self.streams)
        if not isinstance(at, (list, tuple)) or len(at) != len(self.streams):
            raise self.no_position(at)
        return list(at)

    def _turns(self, at: At) -> tuple[int, list[int], list[At]]:
        """A number that counts, which of the streams have ended, and a position for each."""
        if at is None:
            return 0, [], self._each(None)
        if not isinstance(at, (list, tuple)) or len(at) != 3 or not isinstance(at[1], (list, tuple)):
            raise self.no_position(at)
        counter, ended, each = at
        if not all(type(n) is int and n >= 0 for n in (counter, *ended)):
            raise self.no_position(at)
        return counter, list(ended), self._each(each)


def _stop(instance: object, attribute: attrs.Attribute[Any], stop: object) -> None:
    if stop not in ("first", "last"):
        raise ValueError(f'stop is "first" (end with the first stream that ends) or "last", not {stop!r}')


# ---- mix


def _weights(source: Mix, attribute: attrs.Attribute[Any], weights: Any) -> None:
    if weights is None:
        return
    right = isinstance(weights, tuple) and all(
        isinstance(w, (int, float)) and not isinstance(w, bool) and 0 < w < math.inf for w in weights
    )
    if not right or len(weights) != len(source.streams):
        raise ValueError(f"mix takes a weight above 0 for each of its {len(source.streams)} streams, not {weights!r}")


@attrs.frozen(repr=False)
class Mix(_Several):
    """Remembers how many draws it made, which streams have ended, and the position of each."""

    name: ClassVar[str] = "mix"
    streams: tuple[Stream[Any], ...]
    weights: tuple[float, ...] | None = attrs.field(default=None, converter=freeze, validator=_weights)
    seed: int = attrs.field(
        default=0,
        converter=draws.fresh_seed,
        validator=lambda source, attribute, seed: draws.check_seed(seed),
    )
    stop: Stop = attrs.field(default="last", validator=_stop)

    def merged(self, run: Run, upstreams: Sequence[Upstream], at: At) -> Iterator[Pair]:
        drawn, ended, each = self._turns(at)
        units = draws.Units(run.context, self.name, self.seed)
        open_ = {n: upstreams[n](each[n]) for n in range(len(upstreams)) if n not in ended}
        while open_:
            numbers = list(open_)
            bounds = list(accumulate(1 if self.weights is None else self.weights[n] for n in numbers))
            while True:
                place = bisect_right(bounds, units[drawn] * bounds[-1])
                chosen = numbers[min(place, len(numbers) - 1)]  # (the product may round up to the last bound)
                drawn += 1
                pair = next(open_[chosen], None)
                if pair is None:
                    break
                each[chosen] = pair[1]
                yield pair[0], (drawn, tuple(ended), tuple(each))
            if self.stop == "first":
                return
            del open_[chosen]
            ended.append(chosen)


def mix(
    streams: Iterable[Iterable[T]],
    *,
    weights: Sequence[float] | None = None,
    seed: int | None = 0,
    stop: Stop = "last",
) -> Stream[T]:
    """Items of several streams, each the next of one that is drawn at random.

    streams: streams, or what may stand at the left of a pipe. They are read side by side.
    weights: how likely each is to be drawn, as numbers above 0 in any scale; all the same unless given.
    seed: the draws depend on (Context.seed, seed, epoch, rank, worker). None draws one when the source is built.
    stop: "last" goes on with the others when a stream has ended, so that no item is lost; "first" ends with the first
        stream that is drawn and has ended. (For weights that hold to the end, mix streams that `repeat()`.)

    >>> mix([range(3), range(10, 16)], seed=1) | list
    [10, 11, 0, 1, 2, 12, 13, 14, 15]
    >>> mix([range(3), range(10, 16)], weights=[1, 9], seed=1, stop="first") | list
    [10, 11, 12, 13, 0, 14, 1, 15]
    """
    return Stream(Mix(_parts("mix", streams), weights, seed, stop))


# ---- round_robin


@attrs.frozen(repr=False)
class RoundRobin(_Several):
    """Remembers whose turn is next, which streams have ended, and the position of each."""

    name: ClassVar[str] = "round_robin"
    streams: tuple[Stream[Any], ...]
    stop: Stop = attrs.field(default="last", validator=_stop)

    def merged(self, run: Run, upstreams: Sequence[Upstream], at: At) -> Iterator[Pair]:
        turn, ended, each = self._turns(at)
        pairs = [upstream(position) for upstream, position in zip(upstreams, each)]
        while len(ended) < len(pairs):
            chosen, turn = turn, (turn + 1) % len(pairs)
            if chosen in ended:
                continue
            pair = next(pairs[chosen], None)
            if pair is not None:
                each[chosen] = pair[1]
                yield pair[0], (turn, tuple(ended), tuple(each))
            elif self.stop == "first":
                return
            else:
                ended.append(chosen)


def round_robin(streams: Iterable[Iterable[T]], *, stop: Stop = "last") -> Stream[T]:
    """Items of several streams, one of each in turn.

    stop: "last" goes on with the others when a stream has ended, so that no item is lost; "first" ends when it is the
        turn of a stream that has ended.

    >>> round_robin([range(2), range(10, 14)]) | list
    [0, 10, 1, 11, 12, 13]
    >>> round_robin([range(2), range(10, 14)], stop="first") | list
    [0, 10, 1, 11]
    """
    return Stream(RoundRobin(_parts("round_robin", streams), stop))


# ---- chain


@attrs.frozen(repr=False)
class Chain(_Several):
    """Remembers which stream it reads, and the position in it."""

    name: ClassVar[str] = "chain"
    streams: tuple[Stream[Any], ...]

    def merged(self, run: Run, upstreams: Sequence[Upstream], at: At) -> Iterator[Pair]:
        ((number, start),) = self.parts_at(at)
        for number in range(number, len(upstreams)):  # noqa: B020
            for item, end in upstreams[number](start):
                yield item, (number, end)
            start = None

    def parts_at(self, at: At) -> list[tuple[int, At]]:
        if at is None:
            return [(0, None)]
        pair = isinstance(at, (list, tuple)) and len(at) == 2 and type(at[0]) is int
        if not pair or not 0 <= at[0] < len(self.streams):
            raise self.no_position(at)
        return [(at[0], at[1])]


def chain(streams: Iterable[Iterable[T]]) -> Stream[T]:
    """All items of the first stream, then all of the second, and so on.

    >>> chain([range(2), range(10, 12) | batched(2)]) | list
    [0, 1, [10, 11]]
    """
    return Stream(Chain(_parts("chain", streams)))


# ---- zip_


@attrs.frozen(repr=False)
class Zip(_Several):
    """Remembers the position of each stream."""

    name: ClassVar[str] = "zip_"
    streams: tuple[Stream[Any], ...]
    stop: Stop = attrs.field(default="first", validator=_stop)
    fill: Any = attrs.field(default=None, converter=freeze)

    @property
    def kind(self) -> str | None:  # type: ignore[override]
        return "tuple"

    def parts_at(self, at: At) -> list[tuple[int, At]]:
        return list(enumerate(self._each(at)))

    def merged(self, run: Run, upstreams: Sequence[Upstream], at: At) -> Iterator[Pair]:
        each = self._each(at)
        pairs = [upstream(position) for upstream, position in zip(upstreams, each)]
        while True:
            row = [next(one, None) for one in pairs]
            ended = row.count(None)
            if ended == len(row) or (ended and self.stop == "first"):
                return
            each = [before if pair is None else pair[1] for pair, before in zip(row, each)]
            yield tuple(self.fill if pair is None else pair[0] for pair in row), tuple(each)


def zip_(streams: Iterable[Iterable[Any]], *, stop: Stop = "first", fill: Any = None) -> Stream[tuple[Any, ...]]:
    """Tuples of one item of each stream.

    stop: "first" ends with the shortest stream, as `zip` does, and drops the rest of the others; "last" goes on to the
        end of the longest, with `fill` for what has ended.

    >>> zip_([range(2), ["a", "b", "c"]]) | list
    [(0, 'a'), (1, 'b')]
    >>> zip_([range(2), ["a", "b", "c"]], stop="last", fill=-1) | list
    [(0, 'a'), (1, 'b'), (-1, 'c')]
    """
    return Stream(Zip(_parts("zip_", streams), stop, fill))
