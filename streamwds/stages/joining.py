"""join: samples of parallel shards, put together by their key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.errors import CompositionError, DistributionError, JoinError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import Sample, Stage, Stream, maker
from streamwds.stages.mixing import part
from streamwds.steps import At, Pair, Reopening, Run, Upstream, check_fit, option

__all__ = ["Join", "join"]

LACKS = object()
OURS = frozenset({"__key__", "__url__"})  # (the fields of both that are taken from this stream)


def _field(on: object) -> None:
    if not isinstance(on, str) or not on:
        raise ValueError(f"join takes the name of a field to go by, not {on!r}")


def _ahead(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"join looks ahead by at least 1 sample, not {n!r}")


def _fits(other: Stream[Any]) -> None:
    kind = check_fit(other.source.kind, "", other.steps)
    if kind not in (None, "dict", "Sample"):
        raise CompositionError(f"join takes a stream of samples, and the other yields {kind}; is tarsamples missing?")


class _Ahead:
    """The other stream: samples that were looked at already, and the position before the first of them."""

    def __init__(self, pairs: Iterator[Pair], at: At, on: str) -> None:
        self.at = at
        self._pairs = pairs
        self._on = on
        self._held: deque[tuple[Any, Any, At]] = deque()  # (key, sample, position behind it)

    def find(self, key: Any, most: int) -> int | None:
        """How many samples come before that with the key; None if it is not among the next `most`."""
        for place in range(most):
            if place == len(self._held) and not self._pull():
                return None
            if self._held[place][0] == key:
                return place
        return None

    def pop(self) -> Any:
        """The next sample, which the stream is then behind."""
        _, sample, self.at = self._held.popleft()
        return sample

    def rest(self) -> bool:
        """Whether there is another sample."""
        return bool(self._held) or self._pull()

    def _pull(self) -> bool:
        pair = next(self._pairs, None)
        if pair is None:
            return False
        self._held.append((_key(pair[0], self._on), *pair))
        return True


def _key(sample: Any, on: str) -> Any:
    return sample.get(on, LACKS) if isinstance(sample, Mapping) else LACKS


@attrs.frozen(repr=False, slots=False)
class Join(Reopening[Sample, Sample]):
    """Remembers the position in the other stream, before the first sample that was not joined or passed over."""

    name: ClassVar[str] = "join"
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    memory: ClassVar[Mapping[str, Any]] = {"other": ()}  # (the start of the other stream; else a position in it)
    other: Stream[Any] = option(check=_fits)
    on: str = option("__key__", check=_field)
    ahead: int = option(1000, check=_ahead)
    handler: Handler = option(reraise_exception, decides=False)

    @property
    def buffers(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return Upstream(self.other.source, self.other.steps).buffering is not None

    @property
    def varies(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return Upstream(self.other.source, self.other.steps).varying is not None

    def identity(self) -> Any:
        return [self.name, self.on, self.ahead, Upstream(self.other.source, self.other.steps).identity()]

    def words(self, upstream: Upstream, at: At) -> list[str]:
        there, here = self.recall(at)
        other = Upstream(self.other.source, self.other.steps, upstream.run).words(None if there == () else there)
        return [*upstream.words(here), f"{self.name} with {' '.join(other)}"]

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        there, here = self.recall(at)
        others = Upstream(self.other.source, self.other.steps, run, upstream.tracked)
        self._check_splits(run, upstream, others)
        if upstream.tracked:
            self.other.source.check_replays()
        there = None if there == () else there
        ahead = _Ahead(others(there), there, self.on)
        guard = run.guard(self.handler)
        for sample, here in upstream(here):  # noqa: B020
            guard.seen += 1
            key = _key(sample, self.on)
            place = None if key is LACKS else ahead.find(key, self.ahead)
            if place is None:
                if not guard(self._alone(sample, key)):
                    return
                continue
            for _ in range(place):
                passed = ahead.pop()
                if not guard(self._alone(passed, _key(passed, self.on))):
                    return
            partner = ahead.pop()
            twice = [name for name in partner if name in sample and name != self.on and name not in OURS]
            if twice:
                error = JoinError.about(sample, "both samples have it; rename or drop one first", field=twice[0])
                if not guard(error):
                    return
                continue
            yield {**partner, **sample}, (ahead.at, here)
        if ahead.rest():
            passed = ahead.pop()
            guard(self._alone(passed, _key(passed, self.on)))

    def _check_splits(self, run: Run, upstream: Upstream, others: Upstream) -> None:
        several = {"node": run.context.world_size > 1, "worker": run.context.workers > 1}
        for here in ("node", "worker"):
            if several[here] and (here in upstream.splits) != (here in others.splits):
                whole = "the other is not" if here in upstream.splits else "only the other is"
                raise DistributionError(
                    f"join: one stream is split by {here}, {whole}, so that samples would miss their partners: "
                    "split both in the same way, before join"
                )

    def _alone(self, sample: Any, key: Any) -> JoinError:
        if not isinstance(sample, Mapping):
            return JoinError(f"join takes samples (dicts of fields), not {sample!r:.80}")
        if key is LACKS:
            return JoinError.about(sample, "the sample can't be joined without it", field=self.on)
        found = "" if self.on == "__key__" else f" (its {self.on!r} is {key!r:.80})"
        return JoinError.about(
            sample,
            f"the sample has no partner in the other stream{found}: not in the same order there, or not within "
            f"{self.ahead} samples; handler=ignore_and_continue passes such samples over",
        )


@maker
def join(
    other: Iterable[Sample],
    *,
    on: str = "__key__",
    ahead: int = 1000,
    handler: Handler = reraise_exception,
) -> Stage[Sample, Sample]:
    """Put each sample together with that of another stream which has the same key: for parallel shards.

    other: a stream of samples in the same order, such as `urls("labels-{0..9}.tar") | tarsamples`. It is read in the
        same context, so shuffle and split its shards as those of this stream.
    on: the field that tells which belong together.
    ahead: how far to look for a partner, in samples of the other stream; at most so many are held in memory.
    handler: gets a `JoinError` for each sample of either stream that has no partner, and for one that has a field
        which its partner has, too. True passes it over. (Of what is left of the other stream behind the last partner,
        the first sample only.)

    The joined sample has the fields of both, and this stream's `__key__` and `__url__`.

    >>> photos = [{"__key__": "1", "jpg": b"..."}, {"__key__": "2", "jpg": b"..."}]
    >>> labels = [{"__key__": "1", "cls": 7}, {"__key__": "2", "cls": 5}]
    >>> photos | join(labels) | to_tuple("jpg", "cls") | list
    [(b'...', 7), (b'...', 5)]
    """
    return Stage((Join(part("join", other), on, ahead, handler),))
