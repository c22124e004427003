"""What runs inside a stage: steps that turn pairs (item, position) into pairs, and the sources they start from.

A stream is an iterator of `(item, position)`, where the position is that from which the stream goes on after the item.
A step turns one such stream into another; it gets its upstream as a function from a position to the pairs after it, so
that it can go on from anywhere, and again from the start, in this run or in another one (`Upstream`):

    open(run, upstream, at) -> Iterator[(item, position after it)]

A position is nested plain data: a step that remembers nothing passes its upstream's on; any other wraps it, as the last
element behind what it remembers itself. How stages are typed, joined and shown is told in `stage.py`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import count, islice, repeat, takewhile
from operator import itemgetter
from types import MethodType
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import attrs

from streamwds.context import Context
from streamwds.errors import CompositionError, PositionError, SourceError
from streamwds.handlers import Guard, Handler
from streamwds.values import FrozenMapping, code, fingerprint, freeze, function_key, function_name, importable, lookup

__all__ = [
    "At",
    "FunctionStep",
    "Items",
    "Lifted",
    "Once",
    "Pair",
    "Reopening",
    "Run",
    "Source",
    "Step",
    "Upstream",
    "kind_of",
    "option",
]

A = TypeVar("A", contravariant=True)
B = TypeVar("B", covariant=True)

At: TypeAlias = Any  # a position without its envelope: None (the start), or what a step or source gave, through JSON
Pair: TypeAlias = tuple[Any, At]

first = itemgetter(0)


@attrs.frozen
class Run:
    """One iteration of a stream: its context, the count of what it skips, and what its stream was told already."""

    context: Context = attrs.field(factory=Context)
    tally: Counter[str] = attrs.field(factory=Counter, eq=False)
    told: set[str] = attrs.field(factory=set, eq=False)

    def guard(self, handler: Handler) -> Guard:
        return Guard(handler, self.tally)

    def tell(self, message: str, category: type[Warning]) -> None:
        """Warn, but only once of the same."""
        if message not in self.told:
            self.told.add(message)
            warnings.warn(message, category, stacklevel=3)

    def in_epoch(self, epoch: int) -> Run:
        """The same run, in another epoch."""
        return attrs.evolve(self, context=attrs.evolve(self.context, epoch=epoch))


@attrs.frozen
class Upstream:
    """What comes before a step: called with a position it gives the pairs after it; None is the start.

    It may be called more than once, and `within` another run. Unless `tracked` it is read by the ways that know no
    positions: then the start is all there is, and the positions that come are None.
    """

    source: Source
    steps: tuple[Step[Any, Any], ...] = ()
    run: Run = attrs.field(factory=Run)
    tracked: bool = True

    def __call__(self, at: At) -> Iterator[Pair]:
        if not self.tracked:
            return zip(self.items(), repeat(None))
        if not self.steps:
            return self.source.open(self.run, at)
        step, before = self._last()
        return step.open(self.run, before, at)

    def items(self) -> Iterator[Any]:
        """The items alone, from the start."""
        if not self.steps:
            return self.source.plain(self.run)
        step, before = self._last()
        return step.untracked(self.run, before)

    def within(self, run: Run) -> Upstream:
        """The same, in another run."""
        return attrs.evolve(self, run=run)

    def words(self, at: At) -> list[str]:
        """What a position means, in words."""
        if not self.steps:
            return self.source.words(self.run, at)
        return self.steps[-1].words(self._before(), at)

    def shard_words(self, at: At) -> list[str]:
        """Those words, where what comes after the position is a shard: which one it is."""
        pair = next(self(at), None)
        if pair is None:
            return ["behind the last shard"]
        url = str(getattr(pair[0], "url", pair[0]))
        name = os.path.basename(url.partition("?")[0] if "://" in url else url)
        number = self.source.number(url)
        return [f"shard {name}" if number is None else f"shard {number} {name}", *self.words(at)[1:]]

    def _before(self) -> Upstream:
        return attrs.evolve(self, steps=self.steps[:-1])

    def _last(self) -> tuple[Step[Any, Any], Upstream]:
        """The last step, or several that run as one; and what comes before."""
        count = len(self.steps)
        start = count - max(1, sum(1 for _ in takewhile(lambda step: step.chains, reversed(self.steps))))
        if start and self.steps[start].chains:
            before, first = start - 1, self.steps[start - 1]
            while start < count and (joined := first.joined(self.steps[start])) is not None:
                first, start = joined, start + 1  # (it runs as one with what comes before)
            if start == count:
                return first, attrs.evolve(self, steps=self.steps[:before])
        last = self.steps[start] if start + 1 == count else Chain(self.steps[start:])
        return last, attrs.evolve(self, steps=self.steps[:start])

    @property
    def splits(self) -> frozenset[str]:
        """Between whom the items are split: nodes, workers."""
        return self.source.splits.union(*(step.splits for step in self.steps))

    @property
    def buffering(self) -> str | None:
        """The name of a stage that keeps items back that no position tells of; None if there is none."""
        return next((step.name for step in self.steps if step.buffers), self.source.buffering)

    @property
    def varying(self) -> str | None:
        """The name of a stage that makes each epoch another; None if all epochs are alike."""
        return next((step.name for step in self.steps if step.varies), self.source.varying)

    @property
    def endless(self) -> bool:
        """Whether it surely never ends."""
        return functools.reduce(lambda before, step: step.endless(before), self.steps, self.source.endless)

    def identity(self) -> Any:
        """What of source and steps decides order and membership, as plain data."""
        return [self.source.identity(), *(found for step in self.steps if (found := step.identity()) is not None)]


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


def _fields(step: Step[Any, Any]) -> tuple[attrs.Attribute[Any], ...]:
    cls: Any = type(step)  # (all steps are attrs classes, though Step itself is none)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return fields


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
    keeps: ClassVar[bool] = False  # (all readers together give an item for each, but for those that a handler skips)
    decides: ClassVar[bool] = True
    splits: ClassVar[frozenset[str]] = frozenset()
    goes_on: ClassVar[bool] = False  # (from the last position of the epoch before, if it is given that)
    length: int | None = None  # (what `len` of a stream is that ends with this step)
    chains: bool = False  # (may be run as one with other steps that may)
    hands_on: ClassVar[bool] = False  # (its items have the values of those that come in, which nobody else sees)
    buffers: bool = False  # (keeps items back that no position tells of: what comes after it can't be resumed)
    varies: bool = False  # (gives other items in each epoch, or in another order, or with other positions)
    memory: ClassVar[Mapping[str, Any]] = {}

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        """The pairs that come after a position of this step."""
        raise TypeError(f"{type(self).__name__} does not say how it opens")

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        """The items alone, from the start: the same by law, and faster where a step knows a shorter way."""
        return map(first, self.open(run, Upstream(Once(items), run=run, tracked=False), None))

    def untracked(self, run: Run, upstream: Upstream) -> Iterator[Any]:
        """The items alone, of what comes before."""
        return self.plain(run, upstream.items())

    def joined(self, following: Step[Any, Any]) -> Step[Any, Any] | None:
        """One step that does what this one and the following do, with the same positions, but faster; None: none."""
        return None

    def recall(self, at: At) -> Any:
        """What a position of this step remembers, and last the upstream's own position."""
        if at is None:
            return (*self.memory.values(), None)
        if not isinstance(at, (list, tuple)) or len(at) != len(self.memory) + 1:
            raise PositionError(f"{self.name}: {at!r} is no position of this stage")
        for value, (name, initial) in zip(at, self.memory.items()):
            wrong = isinstance(initial, int) and (type(value) is not int or value < 0)
            if wrong or (initial is None and not isinstance(value, (str, type(None)))):
                raise PositionError(f"{self.name}: {value!r} can't be its {name} in a position")
        return at

    def flow(self, kind: str | None) -> str | None:
        """The name of the item type that comes out when `kind` goes in."""
        return kind if self.same else self.yields

    def words(self, upstream: Upstream, at: At) -> list[str]:
        """What a position of this step means: words for what it remembers, behind those of its upstream's."""
        if not self.memory:
            return upstream.words(at)
        *remembered, inner = self.recall(at)
        if "offset" in self.memory:
            return [*upstream.shard_words(inner), f"byte {remembered[0]}"]
        numbers = [f"{value} {name}" for name, value in zip(self.memory, remembered) if isinstance(value, int)]
        return [*upstream.words(inner), f"{self.name}: {', '.join(numbers)}"]

    def endless(self, before: bool) -> bool:
        """Whether the items surely never end, if those before never do."""
        return before

    # ---- as a value

    def options(self) -> dict[str, Any]:
        """The options by name, those that have their default left out."""
        found: dict[str, Any] = {}
        for field in _fields(self):
            value = getattr(self, field.name)
            if field.default is attrs.NOTHING or function_key(value) != function_key(field.default):
                found[field.name] = value
        return found

    def identity(self) -> Any:
        """What of this step decides order and membership, as plain data; None: nothing.

        Options that have their default are left out, so that a new option doesn't make older positions invalid.
        """
        if not self.decides:
            return None
        deciding = {field.name for field in _fields(self) if field.metadata.get("decides", True)}
        return [self.name, {name: fingerprint(value) for name, value in self.options().items() if name in deciding}]

    def __repr__(self) -> str:
        arguments: list[str] = []
        for field in _fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("star"):
                arguments.extend(map(code, value))
            elif field.default is attrs.NOTHING or function_key(value) != function_key(field.default):
                named = field.default is not attrs.NOTHING and not field.metadata.get("positional")
                arguments.append(f"{field.name}={code(value)}" if named else code(value))
        return self.name if self.ready and not arguments else f"{self.name}({', '.join(arguments)})"

    def __getstate__(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in _fields(self)}
        for value in state.values():
            _check_picklable(self.name, value)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _check_picklable(name: str, value: Any) -> None:
    parts: Iterable[Any] = ()
    if isinstance(value, (tuple, frozenset)):
        parts = value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, functools.partial):
        parts = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        parts = (value.__self__,)
    elif not importable(value) if hasattr(value, "__code__") else "<locals>" in _class_of(value).__qualname__:
        raise _not_picklable(name, value)
    for part in parts:
        _check_picklable(name, part)


def _not_picklable(name: str, value: Any) -> pickle.PicklingError:
    return pickle.PicklingError(
        f"{name}: {function_name(value)} can't be pickled, for it has no name that another process could import; "
        "define it at the top of a module"
    )


def _class_of(value: Any) -> type[Any]:
    return value if isinstance(value, type) else type(value)


class Lifted(Step[A, B]):
    """A step made of a plain iterator: its position is that of the last item it pulled.

    Allowed only if its future depends on nothing but the items not yet pulled: it keeps no item and no count, never
    looks ahead, and yields at most once per input, or only when it is done with the input.
    """

    chains = True

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        raise TypeError(f"{type(self).__name__} does not say what it does with its items")

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        last = at

        def pulled() -> Iterator[Any]:
            nonlocal last
            for item, last in upstream(at):  # noqa: B007  (nonlocal)
                yield item

        for item in self.plain(run, pulled()):
            yield item, last
            del item  # (before the next is made, which may use its memory)


@attrs.frozen(repr=False)
class Chain(Lifted[Any, Any]):
    """Lifted steps that follow each other, as one: positions are passed around them once, and not around each."""

    name: ClassVar[str] = "chain of stages"
    steps: tuple[Step[Any, Any], ...]

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        plan: list[Step[Any, Any]] = []
        for step in self.steps:
            joined = plan[-1].joined(step) if plan else None
            if joined is None:
                plan.append(step)
            else:
                plan[-1] = joined
        for step in plan:
            items = step.plain(run, items)
        return items


class Reopening(Step[A, B]):
    """A step that opens its upstream itself, more than once or in another run."""

    def untracked(self, run: Run, upstream: Upstream) -> Iterator[Any]:
        return map(first, self.open(run, attrs.evolve(upstream, tracked=False), None))


# ---- a user's own generator


def _revive(module: str, qualname: str, buffers: bool, options: dict[str, Any]) -> FunctionStep:
    importlib.import_module(module)
    found = lookup(module, qualname)
    function = found.steps[0].function if hasattr(found, "steps") else found  # (@stage over it, or stage(it) elsewhere)
    return FunctionStep(function, buffers, options)


@attrs.frozen(repr=False, eq=False, slots=False)
class FunctionStep(Lifted[Any, Any]):
    """The step of a function `Iterable -> Iterator` that `@stage` made a stage of."""

    ready: ClassVar[bool] = True
    function: Callable[..., Iterator[Any]]
    buffers: bool = False
    options_: FrozenMapping = attrs.field(converter=FrozenMapping, alias="options", default=FrozenMapping())

    @property
    def name(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.function.__name__

    @property
    def chains(self) -> bool:  # type: ignore[override]
        return not self.buffers

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
        return [self.name, {k: fingerprint(v) for k, v in self.options_.items()}]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionStep):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.function, self.buffers, self.options_)

    def __repr__(self) -> str:
        named = function_name(self.function)
        # (not decorated where it stands)
        if lookup(self.function.__module__, self.function.__qualname__) is self.function:
            named = f"stage({named}{', buffers=True' if self.buffers else ''})"
        options = ", ".join(f"{k}={code(v)}" for k, v in self.options_.items())
        return f"{named}({options})" if options else named

    def __reduce__(self) -> tuple[Any, ...]:
        if not importable(self.function):
            raise _not_picklable(self.name, self.function)
        _check_picklable(self.name, self.options_)
        return (_revive, (self.function.__module__, self.function.__qualname__, self.buffers, dict(self.options_)))


# ---- sources


class Source:
    """Where the items of a stream come from; its positions count the items given."""

    name: ClassVar[str] = "the source"
    kind: str | None = None
    steps: ClassVar[tuple[()]] = ()
    splits: frozenset[str] = frozenset()
    buffering: str | None = None
    varying: str | None = None
    endless: bool = False
    bound: ClassVar[bool] = False  # (its code gives a stream, and not only what may stand at the left of one)

    def items(self, start: int) -> Iterator[Any]:
        """The items from the start-th on."""
        raise TypeError(f"{type(self).__name__} does not say what its items are")

    def check_replays(self) -> None:
        """Raise if the items can't be read again, and so have no positions."""

    def plain(self, run: Run) -> Iterator[Any]:
        return self.items(0)

    def open(self, run: Run, at: At) -> Iterator[Pair]:
        start = 0 if at is None else at
        if type(start) is not int or start < 0:
            raise PositionError(f"{at!r} is no position in the source of this stream")
        return zip(self.items(start), count(start + 1))

    def words(self, run: Run, at: At) -> list[str]:
        """What a position of this source means, in words."""
        return [f"item {0 if at is None else at}"]

    def number(self, item: Any) -> int | None:
        """Which of its items this is, counted from 0; None where that isn't known."""
        return None

    def identity(self) -> Any:
        """What of this source decides order and membership, as plain data."""
        raise TypeError(f"{type(self).__name__} does not say what it is")


def kind_of(item: object) -> str:
    """The name of the type of an item, as steps say what they take."""
    if isinstance(item, os.PathLike):
        return "str"
    known = (kind for kind in (dict, str, tuple, list) if isinstance(item, kind))
    return next(known, type(item)).__name__


@attrs.frozen(eq=False, repr=False)
class Items(Source):
    """An iterable that can be read again and again."""

    iterable: Iterable[Any]

    @property
    def kind(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        sequence = self.iterable
        return kind_of(sequence[0]) if isinstance(sequence, (list, tuple, range)) and sequence else None

    def items(self, start: int) -> Iterator[Any]:
        if start and isinstance(self.iterable, range):
            return iter(self.iterable[start:])
        return islice(self.iterable, start, None) if start else iter(self.iterable)

    def number(self, item: Any) -> int | None:
        listed = self.iterable
        return listed.index(item) if isinstance(listed, (list, tuple)) and item in listed else None

    def identity(self) -> Any:
        length = len(self.iterable) if isinstance(self.iterable, Sized) else None
        return ["items", type(self.iterable).__name__, length]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items):
            return NotImplemented
        a, b = self.iterable, other.iterable
        try:
            return a is b or (type(a) is type(b) and (a == b) is True)
        except ValueError:  # (arrays among the items: they don't say whether they are equal)
            return False

    def __hash__(self) -> int:
        return hash(type(self.iterable))

    def __repr__(self) -> str:
        shown: str = repr(self.iterable)
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

    def check_replays(self) -> None:
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
    for room in ("shards.opening", "tar.members", "tar.samples", "stages.batching"):
        importlib.import_module(f"streamwds.{room}")  # (those that lead to another type; nobody may have used them yet)
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
        return kind is None or kind in ("dict", "list", "tuple") or kind.startswith(("Batch", "list["))
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
