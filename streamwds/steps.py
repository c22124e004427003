"""What runs inside a stage: steps that turn pairs (item, position) into pairs, and the sources they start from.

A stream is an iterator of `(item, position)`, where the position is that from which the stream goes on after the item.
A step turns one such stream into another; it gets its upstream as a function from a position to the pairs after it, so
that it can go on from anywhere:

    open(run, upstream, at) -> Iterator[(item, position after it)]

A position is nested plain data: a step that remembers nothing passes its upstream's on; any other wraps it, as the last
element behind what it remembers itself. How stages are typed, joined and shown is told in `stage.py`.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice, repeat
from operator import itemgetter
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import attrs

from streamwds.context import Context
from streamwds.errors import CompositionError, PositionError, SourceError
from streamwds.handlers import Guard, Handler
from streamwds.values import FrozenMapping, code, freeze, function_key, function_name, importable

__all__ = ["At", "FunctionStep", "Items", "Lifted", "Once", "Pair", "Run", "Source", "Step", "Upstream", "option"]

A = TypeVar("A", contravariant=True)
B = TypeVar("B", covariant=True)

At: TypeAlias = Any  # a position without its envelope: None (the start), or what a step or source gave, through JSON
Pair: TypeAlias = tuple[Any, At]
Upstream: TypeAlias = Callable[[At], Iterator[Pair]]

first = itemgetter(0)


@attrs.frozen
class Run:
    """One iteration of a stream: its context, and the count of what it skips."""

    context: Context = attrs.field(factory=Context)
    tally: Counter[str] = attrs.field(factory=Counter, eq=False)

    def guard(self, handler: Handler) -> Guard:
        return Guard(handler, self.tally)


# ---- options: the fields of a step


def option(
    default: Any = attrs.NOTHING,
    *,
    decides: bool = True,
    star: bool = False,
    positional: bool = False,
    check: Callable[[Any], object] | None = None,
    convert: Callable[[Any], Any] = freeze,
) -> Any:
    """A field of a step: frozen, compared by what it names, and shown in the repr.

    decides: whether it decides which items come, in what order; only then does a position depend on it.
    star, positional: whether the maker takes it as *args, or without its name although it has a default.
    check: raises for a wrong value.
    """

    def validate(step: Step[Any, Any], attribute: attrs.Attribute[Any], value: Any) -> None:
        if check is not None:
            check(value)

    return attrs.field(
        default=default,
        converter=convert,
        validator=validate,
        eq=function_key,
        metadata={"decides": decides, "star": star, "positional": positional},
    )


class Step(Generic[A, B]):
    """One step of a pipeline: an immutable attrs class whose fields are its options.

    A subclass says what it `takes` and `yields` (names of item types; None: any, or not known), what it remembers in
    its positions (`memory`: name -> initial value), and how it goes on from one (`open`).
    """

    name: ClassVar[str]
    ready: ClassVar[bool] = False
    takes: ClassVar[str | None] = None
    yields: ClassVar[str | None] = None
    same: ClassVar[bool] = False
    decides: ClassVar[bool] = True
    splits: ClassVar[frozenset[str]] = frozenset()
    buffers: bool = False  # (keeps items back that no position tells of: what comes after it can't be resumed)
    memory: ClassVar[Mapping[str, Any]] = {}

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        """The pairs that come after a position of this step."""
        raise TypeError(f"{type(self).__name__} does not say how it opens")

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        """The items alone, from the start: the same by law, and faster where a step knows a shorter way."""
        pairs = zip(items, repeat(None))
        return map(first, self.open(run, lambda at: pairs, None))

    def recall(self, at: At) -> Any:
        """What a position of this step remembers, and last the upstream's own position."""
        if at is None:
            return (*self.memory.values(), None)
        if not isinstance(at, (list, tuple)) or len(at) != len(self.memory) + 1:  # pyright: ignore[reportUnknownArgumentType]
            raise PositionError(f"{self.name}: {at!r} is no position of this stage")
        for value, (name, initial) in zip(at, self.memory.items()):
            wrong = isinstance(initial, int) and (type(value) is not int or value < 0)
            if wrong or (initial is None and not isinstance(value, (str, type(None)))):
                raise PositionError(f"{self.name}: {value!r} can't be its {name} in a position")
        return at

    def flow(self, kind: str | None) -> str | None:
        """The name of the item type that comes out when `kind` goes in."""
        return kind if self.same else self.yields

    # ---- as a value

    def options(self) -> dict[str, Any]:
        """The options by name, those that have their default left out."""
        found: dict[str, Any] = {}
        for field in attrs.fields(type(self)):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            value = getattr(self, field.name)
            if field.default is attrs.NOTHING or function_key(value) != function_key(field.default):
                found[field.name] = value
        return found

    def identity(self) -> Any:
        """What of this step decides order and membership, as plain data; None: nothing."""
        if not self.decides:
            return None
        kept = {
            field.name: code(getattr(self, field.name))
            for field in attrs.fields(type(self))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            if field.metadata.get("decides", True)
        }
        return [self.name, kept]

    def __repr__(self) -> str:
        arguments: list[str] = []
        for field in attrs.fields(type(self)):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            value = getattr(self, field.name)
            if field.metadata.get("star"):
                arguments.extend(map(code, value))
            elif field.default is attrs.NOTHING or function_key(value) != function_key(field.default):
                named = field.default is not attrs.NOTHING and not field.metadata.get("positional")
                arguments.append(f"{field.name}={code(value)}" if named else code(value))
        return self.name if self.ready and not arguments else f"{self.name}({', '.join(arguments)})"

    def __getstate__(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}  # pyright: ignore
        for value in state.values():
            _check_picklable(self.name, value)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _check_picklable(name: str, value: Any) -> None:
    if isinstance(value, tuple):
        for part in value:  # pyright: ignore[reportUnknownVariableType]
            _check_picklable(name, part)
    elif hasattr(value, "__code__") and not importable(value):
        raise pickle.PicklingError(
            f"{name}: {function_name(value)} can't be pickled, for it has no name that another process could import; "
            "define it at the top of a module"
        )


class Lifted(Step[A, B]):
    """A step made of a plain iterator: its position is that of the last item it pulled.

    Allowed only if its future depends on nothing but the items not yet pulled: it keeps no item and no count, never
    looks ahead, and yields at most once per input, or only when it is done with the input.
    """

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        raise TypeError(f"{type(self).__name__} does not say what it does with its items")

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        last = at

        def pulled() -> Iterator[Any]:
            nonlocal last
            for item, last in upstream(at):  # noqa: B020
                yield item

        for item in self.plain(run, pulled()):
            yield item, last


# ---- a user's own generator


def _revive(module: str, qualname: str, options: dict[str, Any]) -> FunctionStep:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    step: FunctionStep = found.steps[0]
    return step.with_options(options)


@attrs.frozen(repr=False, eq=False, slots=False)
class FunctionStep(Lifted[Any, Any]):
    """The step of a function `Iterable -> Iterator` that `@stage` made a stage of."""

    ready: ClassVar[bool] = True
    function: Callable[..., Iterator[Any]]
    buffers: bool = False
    options_: FrozenMapping = attrs.field(converter=FrozenMapping, alias="options", default=FrozenMapping())

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.function.__name__

    def with_options(self, options: Mapping[str, Any]) -> FunctionStep:
        """The step with these options; a TypeError if the function has no such parameter."""
        merged = {**self.options_, **options}
        inspect.signature(self.function).bind((), **merged)
        return FunctionStep(self.function, self.buffers, merged)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return iter(self.function(items, **self.options_))

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        if not self.buffers:
            return super().open(run, upstream, at)
        return ((item, [self.name]) for item in self.plain(run, map(first, upstream(None))))

    def options(self) -> dict[str, Any]:
        return dict(self.options_)

    def identity(self) -> Any:
        return [self.name, {k: code(v) for k, v in self.options_.items()}]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionStep):
            return NotImplemented
        return self.function is other.function and self.options_ == other.options_

    def __hash__(self) -> int:
        return hash((self.function, self.options_))

    def __repr__(self) -> str:
        f = self.function
        named = f"{f.__module__}.{f.__qualname__}" if f.__module__ != "__main__" else f.__qualname__
        if "<locals>" in f.__qualname__:
            named = function_name(f)
        options = ", ".join(f"{k}={code(v)}" for k, v in self.options_.items())
        return f"{named}({options})" if options else named

    def __reduce__(self) -> tuple[Any, ...]:
        if "<locals>" in self.function.__qualname__:
            _check_picklable(self.name, self.function)
        for value in self.options_.values():
            _check_picklable(self.name, value)
        return (_revive, (self.function.__module__, self.function.__qualname__, dict(self.options_)))


# ---- sources


class Source:
    """Where the items of a stream come from; its positions count the items given."""

    kind: str | None = None
    steps: ClassVar[tuple[()]] = ()

    def items(self, start: int) -> Iterator[Any]:
        """The items from the start-th on."""
        raise TypeError(f"{type(self).__name__} does not say what its items are")

    def plain(self, run: Run) -> Iterator[Any]:
        return self.items(0)

    def open(self, run: Run, at: At) -> Iterator[Pair]:
        start = 0 if at is None else at
        if type(start) is not int or start < 0:
            raise PositionError(f"{at!r} is no position in the source of this stream")
        return zip(self.items(start), count(start + 1))

    def identity(self) -> Any:
        """What of this source decides order and membership, as plain data."""
        raise TypeError(f"{type(self).__name__} does not say what it is")


def _kind_of(item: object) -> str:
    return "dict" if isinstance(item, dict) else "str" if hasattr(item, "__fspath__") else type(item).__name__


@attrs.frozen(eq=False, repr=False)
class Items(Source):
    """An iterable that can be read again and again."""

    iterable: Iterable[Any]

    @property
    def kind(self) -> str | None:  # type: ignore[override]
        sequence = self.iterable
        return _kind_of(sequence[0]) if isinstance(sequence, (list, tuple, range)) and sequence else None  # pyright: ignore

    def items(self, start: int) -> Iterator[Any]:
        if start and isinstance(self.iterable, range):
            return iter(self.iterable[start:])
        return islice(self.iterable, start, None) if start else iter(self.iterable)

    def identity(self) -> Any:
        length = len(self.iterable) if hasattr(self.iterable, "__len__") else None  # type: ignore[arg-type]
        return ["items", type(self.iterable).__name__, length]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items):
            return NotImplemented
        a, b = self.iterable, other.iterable
        return a is b or (type(a) is type(b) and isinstance(a, (list, tuple, range, set, dict)) and bool(a == b))  # pyright: ignore

    def __hash__(self) -> int:
        return hash(type(self.iterable))

    def __repr__(self) -> str:
        shown: str = repr(self.iterable)  # pyright: ignore[reportUnknownArgumentType]
        return shown if len(shown) <= 2000 else f"{shown[:1000]} … {shown[-1000:]}"


@attrs.frozen(eq=False, repr=False)
class Once(Source):
    """An iterator: it runs once, and nobody can go back in it."""

    iterator: Iterator[Any]
    used: list[bool] = attrs.field(factory=list)

    def plain(self, run: Run) -> Iterator[Any]:
        if self.used:
            raise SourceError(
                f"{self!r} is an iterator and was read already; give the stream something that can be read again "
                "(a list, a range, an object with __iter__), or build it anew for each pass"
            )
        self.used.append(True)
        return self.iterator

    def open(self, run: Run, at: At) -> Iterator[Pair]:
        raise SourceError(
            f"{self!r} is an iterator: it runs once and has no positions; give the stream something that can be read "
            "again (a list, a range, an object with __iter__)"
        )

    def identity(self) -> Any:
        return ["iterator"]

    def __repr__(self) -> str:
        return repr(self.iterator)


# ---- do they fit?


def fits(kind: str | None, takes: str | None) -> bool:
    """Whether items of one named type can go where another is taken."""
    return kind is None or takes is None or kind == takes or (kind == "dict" and takes in ("Sample", "Batch"))


READY: dict[str, Step[Any, Any]] = {}  # the ready stages by name: what may be missing between two that don't fit


def _bridge(have: str, want: str) -> str | None:
    """The shortest row of ready stages that leads from one item type to the other."""
    ways: list[tuple[str, list[str]]] = [(have, [])]
    seen = {have}
    for kind, way in ways:
        if kind == want:
            return " | ".join(way)
        for name, step in READY.items():
            after = step.flow(kind) if step.takes is not None and _accepts(step, kind) else None
            if after is not None and after not in seen:
                seen.add(after)
                ways.append((after, [*way, name]))
    return None


def _accepts(step: Step[Any, Any], kind: str | None) -> bool:
    if step.takes == "list":
        return kind is None or kind in ("Batch", "dict", "list", "tuple") or kind.startswith("list[")
    return fits(kind, step.takes)


def check_fit(kind: str | None, last: str, steps: Iterable[Step[Any, Any]]) -> str | None:
    """Walk the steps with the type that comes in from `last`; the type that comes out, or an error that helps."""
    for step in steps:
        if kind is not None and not _accepts(step, kind):
            want = "a batch or list" if step.takes == "list" else step.takes
            message = f"{last} yields {kind}, {step.name} takes {want}"
            if step.name == last and kind == step.yields:
                message += f"; is {step.name} there twice?"
            elif step.takes == "list":
                message += "; is batched(n) missing?"
            elif between := _bridge(kind, step.takes or ""):
                message += f"; is {between} missing?"
            raise CompositionError(message)
        kind, last = step.flow(kind), step.name
    return kind
