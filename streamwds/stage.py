"""The algebra: typed stages, joined with `|`, and the streams that they make of data.

`x | f` is `f(x)`: a `Stage[A, B]` is a function from an iterable of A to a `Stream[B]` that can also be joined to the
next one. `Stage` says A -> B outright; a few kinds say what comes out for whatever goes in: `Same` (T -> T), `Batching`
(T -> list[T], Sample -> Batch) and `Unbatching` (back). The right operand is read through one Protocol, `Into`, so that
a new kind is a subclass with a generic `__call__` and `__ror__`, and no new overload. (Only for `Batching`, whose own
are overloaded, do the `|` of streams and stages say it all once more.)

What stages do when they run is told in `steps.py`; positions in `position.py`.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

import attrs

from streamwds import position as positions
from streamwds.context import Context
from streamwds.errors import CompositionError, DistributionError, PositionError
from streamwds.position import Position
from streamwds.steps import READY, FunctionStep, Items, Once, Run, Source, Step, Upstream, check_fit, first
from streamwds.values import FrozenMapping

if TYPE_CHECKING:
    from typing_extensions import Never
    from typing_extensions import TypeVar as DefaultTypeVar

    from streamwds.describe import Description
    from streamwds.profile import Profile

    class Batch(MutableMapping[str, Any]):
        """A batch of samples: field name -> column. To a type checker no dict, lest a stage take it for a Sample."""

        def __init__(self, columns: Mapping[str, Any] = ..., /, **more: Any) -> None: ...
        def __getitem__(self, field: str, /) -> Any: ...
        def __setitem__(self, field: str, column: Any, /) -> None: ...
        def __delitem__(self, field: str, /) -> None: ...
        def __iter__(self) -> Iterator[str]: ...
        def __len__(self) -> int: ...

    class _Item(Any):  # type: ignore[misc]
        """What a lambda's parameter is to pyright: something that can do all (a bare Any can't do `{**item}`)."""

        def keys(self) -> list[Any]: ...
        def _any(self, *args: Any) -> Any: ...

        __getitem__ = __iter__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __pos__ = __abs__ = __invert__ = _any
        __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _any
        __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _any
        __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = _any
        __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = _any

    I = DefaultTypeVar("I", bound="_Item | Any", default=Any)  # noqa: E741
    O = DefaultTypeVar("O", default=Any)  # noqa: E741
else:

    class Batch(dict):
        """A batch of samples: a dict from field names to columns (arrays, tensors or lists, one element a sample)."""

    I = TypeVar("I")  # noqa: E741
    O = TypeVar("O")  # noqa: E741

__all__ = [
    "Batch",
    "Batching",
    "Into",
    "Ready",
    "Same",
    "Sample",
    "Stage",
    "Stream",
    "Unbatching",
    "identity",
    "maker",
    "ready",
    "stage",
]

Sample: TypeAlias = dict[str, Any]
A = TypeVar("A", contravariant=True)
B = TypeVar("B", covariant=True)
C = TypeVar("C")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
Steps: TypeAlias = tuple[Step[Any, Any], ...]


class Into(Protocol[A, B]):
    """What a stage looks like from its left."""

    @property
    def steps(self) -> Steps: ...
    def __ror__(self, xs: Iterable[A], /) -> B: ...


# ---- streams


def _fixed(values: Mapping[str, int]) -> Mapping[str, int]:
    unknown = [name for name in values if name not in attrs.fields_dict(Context)]
    if unknown:
        raise TypeError(f"within() takes {', '.join(attrs.fields_dict(Context))}, not {', '.join(unknown)}")
    pairs = {"rank": "world_size", "worker": "workers"}
    # (whether there is such a rank can only be said when the world_size is known)
    lone = [name for name, count in pairs.items() if name in values and count not in values]
    enough = {pairs[name]: values[name] + 1 for name in lone if type(values[name]) is int}
    Context(**{**enough, **values})
    return FrozenMapping(values)


def _enveloped(head: dict[str, Any], pairs: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Position]]:
    for item, at in pairs:
        yield item, (head, at)
        del item  # (before the next is asked for, so that an item lives no longer than its consumer wants)


def _tuples(position: Any) -> Any:
    """The position with its lists as tuples: as it was before it went through JSON."""
    return tuple(map(_tuples, position)) if isinstance(position, (list, tuple)) else position


@attrs.frozen(eq=False, repr=False)
class Stream(Iterable[B]):
    """A pipeline bound to its data: items of type B, begun afresh by each `iter`.

    Built by `|`, never by hand: `urls("a-{0..9}.tar") | tarsamples`. Immutable; every method returns a new value.

    >>> stream = range(6) | batched(2)
    >>> stream | list
    [[0, 1], [2, 3], [4, 5]]
    >>> batch, position = next(stream.tracked())
    >>> stream.at(position) | list
    [[2, 3], [4, 5]]
    """

    source: Source
    steps: Steps = ()
    fixed: Mapping[str, int] = attrs.field(factory=dict, converter=_fixed)
    start: Position | None = attrs.field(default=None, converter=_tuples)
    forced: bool = False
    skipped: Counter[str] = attrs.field(factory=Counter, init=False)
    """How many items handlers let this stream skip in this process, by class of error."""
    told: set[str] = attrs.field(factory=set, init=False)
    """What this stream has warned of in this process, and won't again."""

    # ---- as an iterable

    def __iter__(self) -> Iterator[B]:
        run = self._run()
        if self.start is not None:
            return map(first, self._pairs(run))
        return Upstream(self.source, self.steps, run).items()

    def tracked(self) -> Iterator[tuple[B, Position]]:
        """The items, each with the position from which the stream goes on after it (see `at`)."""
        self.source.check_replays()
        run = self._run()
        head = positions.head(run.context, self.source, self.steps)
        return _enveloped(head, self._pairs(run))

    def at(self, position: Position, *, force: bool = False) -> Stream[B]:
        """The same stream from a position on: the very next item comes first.

        Seed and epoch are the position's, unless `within` fixed them. A position of another pipeline, source, seed,
        epoch or worker is refused by a `PositionError` that says what differs; with `force`, it is taken all the same.
        """
        if buffering := Upstream(self.source, self.steps).buffering:
            raise PositionError(
                f"{buffering} keeps items back (@stage(buffers=True)), so a position can't tell what comes after it; "
                "take positions of the stream before it, or start the epoch anew"
            )
        head, _ = positions.split(position)
        self.source.check_replays()
        if not force:
            positions.check(head, self.fixed, self.source, self.steps)
        fixed = {"seed": head["seed"], "epoch": head["epoch"], **self.fixed}
        return attrs.evolve(self, start=position, fixed=fixed, forced=force)

    def within(self, **context: int) -> Stream[B]:
        """The same stream with parts of its `Context` fixed: seed, epoch, rank, world_size, worker, workers.

        >>> stream = ["a.tar", "b.tar", "c.tar"] | split_by_worker
        >>> stream.within(worker=1, workers=2) | list
        ['b.tar']
        """
        if self.start is not None:
            raise PositionError("within() belongs before at(): stream.within(…).at(position)")
        return attrs.evolve(self, fixed={**self.fixed, **context})

    # ---- for people

    def describe(self) -> Description:
        """The stages with their options, the types of their items, and what they remember, as a table. Nothing runs.

        >>> (urls("a.tar") | split_by_worker | tarsamples | batched(32)).describe()
           stage            gives   remembers
        -  ---------------  ------  ----------------
        0  urls('a.tar')    str     how many it gave
        1  split_by_worker  str     passed
        2  tarsamples       Sample  offset
        3  batched(32)      Batch
        """
        from streamwds.describe import described

        return described(self.source, self.steps)

    def profile(self, n: int | None = None) -> Profile:
        """Run the first n items (None: all), and tell how long each stage took: a table with bars.

        It runs in this process, as in a plain `for` loop; what runs as one stage, or in threads, is told as it is. The
        clocks cost about a third of a microsecond an item and stage.

        >>> profile = (range(1000) | map(str) | batched(10)).profile(50)
        >>> [(row.stage, row.items) for row in profile.rows]
        [('range(0, 1000)', 500), ('map(str)', 500), ('batched(10)', 50)]
        """
        from streamwds.profile import profiled

        if n is None and Upstream(self.source, self.steps).endless:
            raise ValueError("this stream never ends: say how many items to run, profile(n)")
        return profiled(self, n)

    def _repr_html_(self) -> str:
        return self.describe()._repr_html_()  # pyright: ignore[reportPrivateUsage]  (the name is IPython's)

    def _run(self) -> Run:
        context = Context.current(**self.fixed)
        splits = Upstream(self.source, self.steps).splits
        for here, whose, several, name in (
            ("node", "rank", context.world_size, "split_by_node"),
            ("worker", "worker", context.workers, "split_by_worker"),
        ):
            if several > 1 and here not in splits:
                raise DistributionError(
                    f"each of {several} {whose}s would get all the data: put {name} behind the source "
                    f"(urls(…) | {name} | …), or `everywhere` if that is what you want"
                )
        if self.start is not None and not self.forced:
            positions.check_reader(positions.split(self.start)[0], context)
        return Run(context, self.skipped, self.told)

    def _pairs(self, run: Run) -> Iterator[tuple[Any, Any]]:
        return Upstream(self.source, self.steps, run)(None if self.start is None else positions.split(self.start)[1])

    # ---- as an operand

    @overload  # pyright reads a bare `list` as list[Unknown], so the containers are spelled out
    def __or__(self, other: type[list[Any]], /) -> list[B]: ...
    @overload
    def __or__(self, other: type[set[Any]], /) -> set[B]: ...
    @overload
    def __or__(self, other: type[frozenset[Any]], /) -> frozenset[B]: ...
    @overload
    def __or__(self, other: type[tuple[Any, ...]], /) -> tuple[B, ...]: ...
    # (batched through Into: a wrong annotation of what comes out would pick the overload that suits it. `object`, not
    # Any, in what self is: else pyright finds them ambiguous)
    @overload
    def __or__(self: Stream[Never], other: Batching, /) -> Stream[Any]: ...
    @overload
    def __or__(self: Stream[Mapping[str, object]], other: Batching, /) -> Stream[Batch]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __or__(self: Stream[tuple[object, ...]], other: Batching, /) -> Stream[tuple[Any, ...]]: ...  # type: ignore[overload-overlap]
    @overload
    def __or__(self: Stream[T], other: Batching, /) -> Stream[list[T]]: ...
    @overload
    def __or__(self, other: Into[B, C] | Callable[[Iterable[B]], C], /) -> C: ...
    def __or__(self, other: Any, /) -> Any:
        if isinstance(other, Stage):
            return other.__ror__(self)
        if isinstance(other, Maker):
            raise other.bare()
        if not callable(other):
            return NotImplemented
        result = other(self)
        if isinstance(result, Iterator):
            raise CompositionError(
                f"{_called(other)} returns an iterator, which has no positions: make it a stage with @stage, "
                f"or call it: {_called(other)}(stream)"
            )
        return result

    # ---- as a value

    def __len__(self) -> int:
        """What `with_length` says, if that is the last stage."""
        length = self.steps[-1].length if self.steps else None
        if length is None:
            raise TypeError("a stream has no length until it is read; say it with … | with_length(n)")
        return length

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.source, self.steps))

    def _key(self) -> tuple[Any, ...]:
        return (self.source, self.steps, self.fixed, self.start, self.forced)

    def __repr__(self) -> str:
        text = repr(self.source)
        if self.steps or not self.source.bound:
            text += f" | {Stage(self.steps)!r}"
        if not self.fixed and self.start is None:
            return text
        theirs = {} if self.start is None else positions.split(self.start)[0]
        fixed = {k: v for k, v in self.fixed.items() if k not in ("seed", "epoch") or v != theirs.get(k)}
        text = f"({text})" if " | " in text else text
        if fixed:
            text += f".within({', '.join(f'{k}={v}' for k, v in fixed.items())})"
        if self.start is not None:
            text += f".at({self.start!r}{', force=True' if self.forced else ''})"
        return text

    def __getstate__(self) -> tuple[Any, ...]:
        return self._key()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        names = ("source", "steps", "fixed", "start", "forced", "skipped", "told")
        for name, value in zip(names, (*state, Counter(), set())):
            object.__setattr__(self, name, value)


def _called(f: Any) -> str:
    return str(getattr(f, "__name__", None) or type(f).__name__)


def _source(xs: Any) -> Source | None:
    """The source that this is at the left of a stage; None if it can't be one."""
    if isinstance(xs, Source):
        return xs
    if isinstance(xs, str):
        from streamwds.shards.urls import Urls  # (a str is a URL pattern, and only that room expands patterns)

        return Urls((xs,))
    if isinstance(xs, (bytes, bytearray, memoryview)):
        raise CompositionError(
            f"bytes are no source of a stream: {bytes(xs[:40])!r}; give a str (a URL pattern) or a list of items"
        )
    if isinstance(xs, Iterator):
        return Once(xs)
    if (hasattr(xs, "__iter__") or hasattr(xs, "__getitem__")) and not isinstance(xs, type):
        return Items(xs)
    return None


# ---- stages


@attrs.frozen(eq=False, repr=False, slots=False)
class Stage(Generic[A, B]):
    """A -> B: what a pipeline is made of. Immutable, comparable, picklable; its repr is the code that builds it.

    >>> take(3) | batched(2)
    take(3) | batched(2)
    >>> take(3) | batched(2) == (take(3) | batched(2))
    True
    >>> (take(3) | batched(2))(range(9)) | list
    [[0, 1], [2]]
    """

    steps: Steps = ()

    __array_ufunc__ = None  # else numpy would broadcast `array | stage` over the array's elements

    def __call__(self, xs: Iterable[A], /) -> Stream[B]:
        if isinstance(xs, (Stage, Maker)):
            raise CompositionError(f"{xs!r} is a stage and no data: join stages with `|`")
        stream = self.__ror__(xs)
        if stream is NotImplemented:
            raise CompositionError(f"{self!r} takes an iterable, not {type(xs).__name__}")
        return stream

    def __ror__(self, xs: Iterable[A], /) -> Stream[B]:
        if isinstance(xs, Stage):
            return NotImplemented  # (asked first where our class derives from the left one's; its `__or__` joins them)
        if isinstance(xs, Stream):
            return self._bind(xs)
        source = _source(xs)
        if source is None:
            return NotImplemented
        return self._bind(Stream(source))

    def _bind(self, stream: Stream[Any]) -> Stream[Any]:
        if stream.start is not None:
            raise CompositionError("at() belongs at the end of a pipeline: (stream | stage).at(position)")
        kind = check_fit(stream.source.kind, stream.source.name, stream.steps)
        last = stream.steps[-1].name if stream.steps else stream.source.name
        check_fit(kind, last, self.steps)
        return attrs.evolve(stream, steps=(*stream.steps, *self.steps))

    @overload
    def __or__(self, other: Same, /) -> Stage[A, B]: ...
    @overload
    def __or__(self: Stage[A, Never], other: Batching, /) -> Stage[A, Any]: ...
    @overload
    def __or__(self: Stage[A, Mapping[str, object]], other: Batching, /) -> Stage[A, Batch]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __or__(self: Stage[A, tuple[object, ...]], other: Batching, /) -> Stage[A, tuple[Any, ...]]: ...  # type: ignore[overload-overlap]
    @overload
    def __or__(self: Stage[A, T], other: Batching, /) -> Stage[A, list[T]]: ...
    @overload
    def __or__(self: Stage[A, list[T]], other: Unbatching, /) -> Stage[A, T]: ...
    @overload
    def __or__(self, other: Into[B, Stream[C]], /) -> Stage[A, C]: ...
    def __or__(self, other: Any, /) -> Any:
        return self._join(other, Stage)

    def _join(self, other: Any, kind: type[Stage[Any, Any]]) -> Any:
        if isinstance(other, Maker):
            raise other.bare()
        if not isinstance(other, Stage):
            if callable(other):
                raise CompositionError(
                    f"{_called(other)} is no stage: a plain function can end a stream, not stand in a stage; "
                    "make it one with @stage, or apply it to each item with map(…)"
                )
            return NotImplemented
        steps = (*self.steps, *other.steps)
        check_fit(None, "", steps)
        return kind(steps)

    if not TYPE_CHECKING:

        def __iter__(self) -> Any:
            raise TypeError(
                f"a stage is not iterable ({self!r}); for a dict's keys or items write list(d.keys()) | stage, "
                "for they take `|` as the union of sets"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stage):
            return NotImplemented
        return self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.steps,))

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps)) or "identity"


class Same(Stage[Any, Any]):
    """T -> T, whatever T comes."""

    def __call__(self, xs: Iterable[T], /) -> Stream[T]:
        return super().__call__(xs)

    def __ror__(self, xs: Iterable[T], /) -> Stream[T]:
        return super().__ror__(xs)

    @overload
    def __or__(self, other: Same, /) -> Same: ...
    @overload
    def __or__(self, other: Batching, /) -> Batching: ...
    @overload
    def __or__(self, other: Unbatching, /) -> Unbatching: ...
    @overload
    def __or__(self, other: Into[T, Stream[C]], /) -> Stage[T, C]: ...
    def __or__(self, other: Any, /) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        kinds = (Same, Batching, Unbatching)
        return self._join(other, next((kind for kind in kinds if isinstance(other, kind)), Stage))


class Batching(Stage[Any, Any]):
    """T -> list[T]; a dict -> a Batch, a tuple -> a tuple of columns."""

    # of these and the like, the first answers for items without a type: to Never nothing else can be given
    @overload
    def __call__(self, xs: Iterable[Never], /) -> Stream[Any]: ...
    @overload
    def __call__(self, xs: Iterable[Mapping[str, object]], /) -> Stream[Batch]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, xs: Iterable[tuple[Any, ...]], /) -> Stream[tuple[Any, ...]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, xs: Iterable[T], /) -> Stream[list[T]]: ...
    def __call__(self, xs: Iterable[Any], /) -> Any:
        return super().__call__(xs)

    @overload
    def __ror__(self, xs: Iterable[Never], /) -> Stream[Any]: ...
    @overload
    def __ror__(self, xs: Iterable[Mapping[str, object]], /) -> Stream[Batch]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __ror__(self, xs: Iterable[tuple[Any, ...]], /) -> Stream[tuple[Any, ...]]: ...  # type: ignore[overload-overlap]
    @overload
    def __ror__(self, xs: Iterable[T], /) -> Stream[list[T]]: ...
    def __ror__(self, xs: Iterable[Any], /) -> Any:
        return super().__ror__(xs)

    @overload  # type: ignore[override]
    def __or__(self, other: Same, /) -> Batching: ...
    @overload
    def __or__(self, other: Unbatching, /) -> Same: ...
    @overload
    def __or__(self, other: Into[Any, Stream[C]], /) -> Stage[Any, C]: ...
    def __or__(self, other: Any, /) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        kind = Batching if isinstance(other, Same) else Same if isinstance(other, Unbatching) else Stage
        return self._join(other, kind)


class Unbatching(Stage[Any, Any]):
    """list[T] -> T; a Batch -> a Sample, a tuple of columns -> a tuple."""

    @overload
    def __call__(self, xs: Iterable[Never], /) -> Stream[Any]: ...
    @overload
    def __call__(self, xs: Iterable[Batch], /) -> Stream[Sample]: ...
    @overload
    def __call__(self, xs: Iterable[tuple[Any, ...]], /) -> Stream[tuple[Any, ...]]: ...
    @overload
    def __call__(self, xs: Iterable[list[T]], /) -> Stream[T]: ...
    def __call__(self, xs: Iterable[Any], /) -> Any:
        return super().__call__(xs)

    @overload
    def __ror__(self, xs: Iterable[Never], /) -> Stream[Any]: ...
    @overload
    def __ror__(self, xs: Iterable[Batch], /) -> Stream[Sample]: ...
    @overload
    def __ror__(self, xs: Iterable[tuple[Any, ...]], /) -> Stream[tuple[Any, ...]]: ...
    @overload
    def __ror__(self, xs: Iterable[list[T]], /) -> Stream[T]: ...
    def __ror__(self, xs: Iterable[Any], /) -> Any:
        return super().__ror__(xs)

    @overload
    def __or__(self, other: Same, /) -> Unbatching: ...
    @overload
    def __or__(self, other: Into[Any, Stream[C]], /) -> Stage[Any, C]: ...
    def __or__(self, other: Any, /) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._join(other, Unbatching if isinstance(other, Same) else Stage)


identity: Same = Same()
"""The stage that does nothing: `identity | s == s == s | identity`."""


# ---- ready stages, stage makers


@attrs.frozen(eq=False, repr=False, slots=False)
class Ready(Stage[A, B], Generic[A, B, P]):
    """A -> B, good as it is; called with options P it is the stage that has them."""

    @overload
    def __call__(self, xs: Iterable[A], /) -> Stream[B]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, *args: P.args, **options: P.kwargs) -> Stage[A, B]: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        return call_ready(self, super().__call__, Stage, args, options)


def call_ready(
    stage: Stage[Any, Any],
    run: Callable[[Any], Any],
    kind: type[Stage[Any, Any]],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    step = stage.steps[0]
    if args and (options or len(args) > 1):
        raise CompositionError(
            f"{step.name} takes data or options, not both: {step.name}(…options…)(data); options go by keyword"
        )
    if args:
        return run(args[0])
    if isinstance(step, FunctionStep):
        return kind((step.with_options(options),))
    return kind((attrs.evolve(cast("Any", step), **options),))


def ready(step: Callable[P, Step[A, B]]) -> Ready[A, B, P]:
    """A ready stage of a step whose options all have defaults."""
    made = cast("Any", step)()
    READY[made.name] = made
    stage: Ready[A, B, P] = Ready((made,))
    object.__setattr__(stage, "__doc__", type(made).__doc__)
    return stage


class Maker:
    """A function that makes a stage of its arguments. Bare in a pipe, it is an error that says how to call it."""

    __array_ufunc__ = None

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)

    def bare(self) -> CompositionError:
        name = self.function.__name__
        needed = [
            f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name
            for p in inspect.signature(self.function).parameters.values()
            if p.default is p.empty
            and p.kind is not p.VAR_KEYWORD
            and not (p.kind is p.VAR_POSITIONAL and self._goes_without())
        ]
        return CompositionError(f"{name} makes a stage: write {name}({', '.join(needed)})")

    def _goes_without(self) -> bool:
        """Whether it can be called without arguments; of `*args` the signature doesn't say."""
        try:
            self.function()
        except (TypeError, ValueError):
            return False
        return True

    def __or__(self, other: Any) -> Any:
        raise self.bare()

    def __ror__(self, other: Any) -> Any:
        raise self.bare()

    def __iter__(self) -> Any:
        raise self.bare()

    def __reduce__(self) -> str:
        return str(self.function.__qualname__)

    def __repr__(self) -> str:
        return f"<stage maker {self.function.__name__}>"


def maker(function: F) -> F:
    """Make a stage maker of a function that returns a stage."""
    return cast("F", Maker(function))


@overload
def stage(function: Callable[Concatenate[Iterable[C], P], Iterable[T]], /) -> Ready[C, T, P]: ...
@overload
def stage(
    *, buffers: bool = False
) -> Callable[[Callable[Concatenate[Iterable[C], P], Iterable[T]]], Ready[C, T, P]]: ...
def stage(function: Any = None, /, *, buffers: bool = False) -> Any:
    """Make a stage of your own generator function: first parameter the items, then options by keyword.

    To be resumable, its future must depend on nothing but the items it has not pulled yet: it keeps no item and no
    count, never looks ahead, and yields at most once for each input, or only when it is done with it (prove it with
    `streamwds.testing.check_resume`). If it does keep something back, say `@stage(buffers=True)`: such a stage runs
    anywhere, and resuming behind it is refused.

    >>> @stage
    ... def evens(numbers: Iterable[int], *, of: int = 2) -> Iterator[int]:
    ...     for number in numbers:
    ...         if number % of == 0:
    ...             yield number
    >>> range(7) | evens | list
    [0, 2, 4, 6]
    >>> range(7) | evens(of=3) | list
    [0, 3, 6]
    """
    if function is None:
        return functools.partial(_stage, buffers=buffers)
    return _stage(function, buffers=buffers)


def _stage(function: Callable[..., Any], *, buffers: bool) -> Ready[Any, Any, Any]:
    if isinstance(function, (Stage, Maker, type)) or not hasattr(function, "__qualname__"):
        raise CompositionError(f"@stage takes a function (def) Iterable -> Iterator, not {function!r}")
    made: Ready[Any, Any, Any] = Ready((FunctionStep(function, buffers),))
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        object.__setattr__(made, name, getattr(function, name))
    object.__setattr__(made, "__wrapped__", function)  # (so that doctest and inspect find the function)
    return made
