"""Streams into shards: `tee` writes what passes by, `write_to` ends a stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import attrs

from streamwds.context import Context
from streamwds.errors import CompositionError, DistributionError, EncodeError, WriteError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.shards.gopen import Gopen
from streamwds.stage import Same, Sample, Stream, identity, maker
from streamwds.stages import replay
from streamwds.stages.record import Progress, Record
from streamwds.steps import At, Pair, Run, Step, Upstream, option
from streamwds.tar.shard_names import PLACES, Pattern, filled, places, shard_namer
from streamwds.tar.shard_writer import ShardOptions, ShardWriter, check_shard_options
from streamwds.values import FrozenMapping, code, fingerprint

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Tee", "Written", "tee", "write_to"]


# ---- who writes which shards


def _check_pattern(pattern: Any) -> None:
    if not callable(pattern):
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern is a str, a path or a function of the shard's number, not {pattern!r}")
        shard_namer(filled(pattern, dict.fromkeys(PLACES, 0)))


def _as_pattern(pattern: Any) -> Any:
    if isinstance(pattern, Iterator) or hasattr(pattern, "steps"):
        raise CompositionError("give a pattern first: stream | write_to('out-%06d.tar')")
    return os.fspath(pattern) if isinstance(pattern, os.PathLike) else pattern


def _readers_pattern(pattern: Any, context: Context, name: str) -> Any:
    """The pattern of this reader's shards; an error if another reader would write the same."""
    needed = [
        place
        for place, several in (("rank", context.world_size > 1), ("worker", context.workers > 1))
        if several and (callable(pattern) or place not in places(pattern))
    ]
    if needed:
        wanted = " and ".join(f"{{{place}}}" for place in needed)
        readers = f"{context.world_size} ranks × {context.workers} workers"
        raise DistributionError(
            f"{name}: {readers} would write the same shards: put {wanted} into the pattern, as in "
            f"'out-{''.join(f'{{{place}}}-' for place in needed)}%06d.tar'"
        )
    return pattern if callable(pattern) else filled(pattern, attrs.asdict(context))


def _as_code(name: str, pattern: Any, options: Mapping[str, Any]) -> str:
    defaults = {"handler": reraise_exception, "resume": False}
    given = (f", {k}={code(v)}" for k, v in options.items() if k not in defaults or v is not defaults[k])
    return f"{name}({code(pattern)}{''.join(given)})"


def _wrote(writer: ShardWriter, sample: Any, guard: Guard) -> bool:
    """Write a sample. Of one that is refused the handler is told; false if it has it skipped, or ends the stream."""
    guard.seen += 1
    try:
        writer.write(sample)
    except (WriteError, EncodeError) as error:
        if writer.failed:
            raise
        guard(error)
        return False
    return True


# ---- tee


@attrs.frozen(repr=False, slots=False)
class Tee(Step[Any, Any]):
    """Remembers how many shards it finished, how many samples of the open one it passed on, a checksum of their keys
    (to notice when upstream does not replay the same) and, as its upstream's position, where the open shard starts.
    """

    name: ClassVar[str] = "tee"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"shards": 0, "given": 0, "mark": 0}
    pattern: Any = option(convert=_as_pattern, check=_check_pattern, decides=False)
    handler: Handler = option(reraise_exception, decides=False)
    settings: Mapping[str, Any] = option(
        FrozenMapping(), convert=FrozenMapping, check=lambda given: check_shard_options(**given)
    )

    def identity(self) -> Any:
        """What decides where a shard ends."""
        deciding = ("maxcount", "maxsize", "encoder", "keep_meta")
        return [self.name, {k: fingerprint(v) for k, v in self.settings.items() if k in deciding}]

    def __repr__(self) -> str:
        return _as_code(self.name, self.pattern, {"handler": self.handler, **self.settings})

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        pattern = _readers_pattern(self.pattern, run.context, self.name)
        return self._pairs(pattern, run.guard(self.handler), upstream, at)

    def _pairs(self, pattern: Any, guard: Guard, upstream: Upstream, at: At) -> Iterator[Pair]:
        shards, again, expected, start = self.recall(at)
        settings: dict[str, Any] = {"start_shard": 0, **self.settings}
        settings["start_shard"] += shards
        writer = ShardWriter(pattern, **settings)
        given = mark = 0
        try:
            for item, inner in upstream(start):
                if not _wrote(writer, item, guard):
                    if guard.ended:
                        break
                    continue
                given += 1
                mark = crc32(item["__key__"].encode("utf-8", "surrogatepass"), mark)
                if given <= again:  # it was passed on before, and is written again, for its shard was not finished
                    if given == again:
                        self._check_replay(expected, mark, writer.shard, item)
                    continue
                if not writer.count:
                    shards, given, again, mark, start = shards + 1, 0, 0, 0, inner
                yield item, (shards, given, mark, start)
                del item
            if given < again:
                self._check_replay(expected, None, writer.shard, None)
            writer.close()
        finally:
            writer.abort()

    def _check_replay(self, then: int, now: int | None, shard: int, item: Any) -> None:
        replay.check(str(then), str(now), f"{self.name}: shard {shard}", [item])


@maker
def tee(pattern: Pattern, *, handler: Handler = reraise_exception, **options: Unpack[ShardOptions]) -> Same:
    """Write the samples to shards, and pass them on unchanged.

    Parameters
    ----------
    pattern: the shards' names, as for `ShardWriter`. Several ranks or workers need a place each: "a-{rank}-{worker}-
        %06d.tar"; `{epoch}` keeps the shards of each epoch apart, which otherwise replace each other.
    handler: gets the error of a sample that can't be written. True: it is neither written nor passed on.
    options: those of `ShardWriter` and `TarWriter`.

    Nothing is opened before iteration starts; each iteration writes anew. A shard appears when it is full, the last one
    at the end of the input. When the consumer stops early or fails, the open shard is discarded; a stream that is
    resumed (`at`) reads it again from its start, and so writes the very shards that it would have written. If upstream
    does not replay the same it is a `ReplayError`.

    >>> samples = [{"__key__": str(n), "cls": n} for n in range(5)]
    >>> samples | tee(f"{tmp_path}/a-%06d.tar", maxcount=2) | map(lambda sample: sample["cls"]) | list
    [0, 1, 2, 3, 4]
    >>> urls(f"{tmp_path}/a-{{000000..000002}}.tar") | tarsamples | decode() | to_tuple("cls") | list
    [(0,), (1,), (2,), (3,), (4,)]
    """
    return Same((Tee(pattern, handler, options),))


# ---- write_to


@attrs.frozen
class Written:
    """What `write_to` wrote: how many shards and samples, the bytes that the samples take in the shards (uncompressed),
    and how many samples its handler skipped."""

    shards: int
    samples: int
    bytes: int
    skipped: int = 0


@attrs.frozen(repr=False)
class WriteTo:
    """Ends a stream: see `write_to`."""

    pattern: Any = attrs.field(converter=_as_pattern, validator=lambda self, field, value: _check_pattern(value))
    resume: bool
    handler: Handler
    settings: Mapping[str, Any] = attrs.field(
        converter=FrozenMapping, validator=lambda self, field, value: check_shard_options(**value)
    )

    def __repr__(self) -> str:
        return _as_code("write_to", self.pattern, {"resume": self.resume, "handler": self.handler, **self.settings})

    __array_ufunc__ = None  # else numpy would broadcast `array | write_to(…)` over the array's elements

    def __ror__(self, xs: Iterable[Sample], /) -> Written:
        return self(xs)

    def __call__(self, xs: Iterable[Sample], /) -> Written:
        stream: Stream[Any] = xs if isinstance(xs, Stream) else identity(xs)
        pattern = _readers_pattern(self.pattern, Context.current(**stream.fixed), "write_to")
        record = self._record(pattern)
        if not self.resume:
            record.forget()  # (it would tell of other shards than those that are there from now on)
            pairs: Iterator[Pair] = ((item, None) for item in stream)
            return self._write(stream, pairs, pattern, Progress(record.start), lambda now: None)
        before = record.restore()
        if before.position is not None:
            stream = stream.at(before.position)
        pairs = stream.tracked()  # (only what can be read again: to here, nothing was touched)
        record.tidy(before)
        record.save(before)
        return self._write(stream, pairs, pattern, before, record.save)

    def _record(self, pattern: Any) -> Record:
        settings = self.settings
        return Record(
            shard_namer(pattern),
            start=settings.get("start_shard", 0),
            opener=settings.get("opener") or Gopen(),
            moved=settings.get("post") is not None,
            fsync=settings.get("fsync", False),
        )

    def _write(
        self,
        stream: Stream[Any],
        pairs: Iterator[Pair],
        pattern: Any,
        before: Progress,
        save: Callable[[Progress], None],
    ) -> Written:
        guard = Guard(self.handler, stream.skipped)
        position = before.position
        settings: dict[str, Any] = {**self.settings, "start_shard": before.shard}
        with ShardWriter(pattern, **settings) as writer:

            def now() -> Progress:
                return Progress(
                    shard=writer.shard,
                    shards=before.shards + writer.shards,
                    samples=before.samples + writer.samples,
                    bytes=before.bytes + writer.bytes,
                    skipped=before.skipped + guard.skipped,
                    position=position,
                )

            for item, after in pairs:
                written = _wrote(writer, item, guard)
                if guard.ended:
                    break
                position = after
                if written and not writer.count:
                    save(now())
            writer.close()
            save(now())
        done = now()
        return Written(done.shards, done.samples, done.bytes, done.skipped)


def write_to(
    pattern: Pattern,
    *,
    resume: bool = False,
    handler: Handler = reraise_exception,
    **options: Unpack[ShardOptions],
) -> WriteTo:
    """End a stream of samples: write it to shards.

    Parameters
    ----------
    pattern: the shards' names, as for `tee`.
    resume: go on where an earlier call with this pattern was stopped or killed, and write each sample once. A record of
        the stream's position, hidden beside the first shard, tells with every shard how far it is. The stream must be
        the same (else it is a `PositionError`) and its source one that can be read again. The shards lie in a local
        folder or in a store that replaces objects at once, such as s3 or gs; elsewhere it is a `WriteError`.
    handler: gets the error of a sample that can't be written. True: it is skipped. False: the stream ends before it.
    options: those of `ShardWriter` and `TarWriter`. With resume, `post` may be called twice for a shard, if the writer
        was killed right behind it. What holds when a process is killed holds when a machine is, with `fsync=True`.

    Gives a `Written`: shards, samples, bytes, skipped; with resume, of all calls together.

    >>> samples = [{"__key__": str(n), "cls": n} for n in range(5)]
    >>> samples | write_to(f"{tmp_path}/a-%06d.tar", maxcount=2)
    Written(shards=3, samples=5, bytes=5120, skipped=0)
    """
    return WriteTo(pattern, resume, handler, options)
