"""How fast a pipeline is, and what is in its samples. (What its stages take, `Stream.profile` tells.)"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

import attrs

from streamwds.errors import CompositionError
from streamwds.stage import Maker, Stage, Stream, identity, stage
from streamwds.stages.mapping import map as map_stage

__all__ = ["FieldSize", "Measured", "TotalSize", "measured", "stages_of"]

T = TypeVar("T")


@attrs.define
class FieldSize:
    """A field's samples and bytes, over all of them: the number of samples that have it, its bytes, least and most."""

    samples: int = 0
    bytes: int = 0
    least: int = 0
    most: int = 0

    @property
    def mean(self) -> float:
        return self.bytes / self.samples if self.samples else 0.0

    def add(self, size: int) -> None:
        self.least = min(self.least, size) if self.samples else size
        self.most = max(self.most, size)
        self.samples += 1
        self.bytes += size


@attrs.define(eq=False)
class TotalSize:
    """Counts samples, their bytes, and those of each field, while they pass by: `… | map(total) | …`.

    The bytes of a value are those of its data: of bytes and text (in UTF-8) their length, of arrays and tensors
    `nbytes`; lists, tuples and dicts count what is in them, other values nothing. Fields with names like `__key__` are
    no data.

    >>> total = TotalSize()
    >>> samples = [{"__key__": "a", "txt": b"a cat", "x": np.zeros(3)}, {"__key__": "b", "txt": b"a dog!"}]
    >>> for sample in samples:
    ...     _ = total(sample)
    >>> total.samples, total.bytes, total.fields["txt"].mean
    (2, 35, 5.5)
    """

    samples: int = 0
    bytes: int = 0
    fields: dict[str, FieldSize] = attrs.field(factory=dict[str, FieldSize])

    def __call__(self, sample: T) -> T:
        self.samples += 1
        if isinstance(sample, Mapping):
            for name, value in sample.items():
                if not str(name).startswith("__"):
                    size = _size(value)
                    self.bytes += size
                    self.fields.setdefault(str(name), FieldSize()).add(size)
        else:
            self.bytes += _size(sample)
        return sample


def _size(value: Any) -> int:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).nbytes
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return int(getattr(value, "nbytes", 0))


@attrs.frozen
class Measured:
    """What a pipeline did: the items that came out, the samples and bytes that went in, and the seconds it took."""

    items: int
    seconds: float
    total: TotalSize

    @property
    def samples_per_second(self) -> float:
        return self.total.samples / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.total.bytes / self.seconds if self.seconds else 0.0

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        fields = {name: {**attrs.asdict(field), "mean": field.mean} for name, field in self.total.fields.items()}
        rates = {"samples_per_second": self.samples_per_second, "bytes_per_second": self.bytes_per_second}
        whole = {"samples": self.total.samples, "bytes": self.total.bytes, "items": self.items, "seconds": self.seconds}
        return {**whole, **rates, "fields": fields}


def measured(
    samples: Stream[Any], stages: Stage[Any, Any] = identity, *, items: int | None = None, seconds: float | None = None
) -> Measured:
    """Run stages on samples, and count what goes in and what comes out.

    samples: such as `urls(…) | tarsamples`. items, seconds: stop after so many items, or so much time (after which no
    sample goes in); at the end, if neither is given.

    >>> measured([{"__key__": "a", "txt": b"a cat"}] | identity, batched(2)).total.bytes
    5
    """
    total = TotalSize()
    start = monotonic()
    until = float("inf") if seconds is None else start + seconds

    @stage
    def in_time(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            if monotonic() >= until:
                return

    stream: Iterable[Any] = samples | in_time | map_stage(total) | stages
    count = 0
    for count, _ in enumerate(islice(stream, items), start=1):  # noqa: B007
        if monotonic() >= until:
            break
    return Measured(count, monotonic() - start, total)


def stages_of(code: str) -> Stage[Any, Any]:
    """The stages that a text names: `"shuffle(100) | decode('rgb8') | batched(32)"`.

    Public names of streamwds may stand there, calls of them, and plain Python values; nothing else is ever run.

    >>> stages_of("shuffle(100) | decode('rgb8')")
    shuffle(100) | decode('rgb8')
    """
    try:
        found = _value(ast.parse(code.strip(), mode="eval").body, code)
    except CompositionError:
        raise
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise CompositionError(f"{code!r:.200} are no stages: {getattr(error, 'msg', error)}") from error
    if isinstance(found, Maker):
        raise found.bare()
    if not isinstance(found, Stage):
        raise CompositionError(f"{code!r} are no stages, but a {type(found).__name__}")
    return found


def _value(node: ast.expr, code: str) -> Any:
    import streamwds

    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _value(node.left, code) | _value(node.right, code)
    if isinstance(node, ast.Name) and node.id in streamwds.__all__:
        return getattr(streamwds, node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and all(word.arg for word in node.keywords):
        options = {str(keyword.arg): _value(keyword.value, code) for keyword in node.keywords}
        return _value(node.func, code)(*(_value(argument, code) for argument in node.args), **options)
    try:
        return ast.literal_eval(node)
    except ValueError:
        what = ast.get_source_segment(code.strip(), node) or code
        raise CompositionError(f"{what!r} is no stage of streamwds, and no plain value") from None
