"""Stages that work on one item at a time: map, select."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import attrs

from streamwds import draws
from streamwds.errors import FunctionError, MissingFieldError, StreamwdsError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.stage import I, O, Same, Stage, maker
from streamwds.stages.chance import sample_generator
from streamwds.steps import Lifted, Run, option
from streamwds.values import function_name

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Map", "Select", "check_callable", "each_item", "failed", "map", "map_items", "select", "select_items"]


def check_callable(f: Any) -> None:
    if not callable(f):
        raise TypeError(f"a function is wanted, not {f!r}")


def each_item(work: Callable[[Any], Any], items: Iterable[Any], *, handler: Handler) -> Iterator[Any]:
    """What a function of ours makes of each item; the handler gets the errors of ours that it raises."""
    guard = Guard.of(handler)
    for item in items:
        guard.seen += 1
        try:
            result = work(item)
        except StreamwdsError as error:
            if guard(error):
                continue
            return
        del item
        yield result
        del result  # (before the next is asked for: a batch's memory is used again when nobody holds it)


def failed(error: Exception, name: str, f: Any, item: Any, *, field: str | None = None) -> FunctionError:
    """The error that says in which stage, function, sample and field a user's function raised."""
    message = f"{name}({function_name(f)}) raised {type(error).__name__}: {error}"
    found = FunctionError.about(item, message, field=field)
    found.__cause__ = error
    return found


def map_items(f: Callable[[Any], Any], items: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """Apply a function to each item."""
    guard = Guard.of(handler)
    for item in items:
        guard.seen += 1
        try:
            result = f(item)
        except Exception as error:
            if guard(failed(error, "map", f, item)):
                continue
            return
        yield result


def _map_by_chance(
    f: Callable[[Any, Generator], Any],
    generator_of: Callable[[Any], Generator],
    items: Iterator[Any],
    guard: Guard,
) -> Iterator[Any]:
    """Apply a function to each item and the item's own random generator."""
    for item in items:
        guard.seen += 1
        try:
            generator = generator_of(item)
        except MissingFieldError as error:
            if guard(error):
                continue
            return
        try:
            result = f(item, generator)
        except Exception as error:
            if guard(failed(error, "map", f, item)):
                continue
            return
        yield result


def select_items(
    predicate: Callable[[Any], object], items: Iterable[Any], *, handler: Handler = reraise_exception
) -> Iterator[Any]:
    """Keep the items for which the predicate is true."""
    guard = Guard.of(handler)
    for item in items:
        guard.seen += 1
        try:
            keep = bool(predicate(item))
        except Exception as error:
            if guard(failed(error, "select", predicate, item)):
                continue
            return
        if keep:
            yield item


@attrs.frozen(repr=False, slots=False)
class Map(Lifted[Any, Any]):
    name: ClassVar[str] = "map"
    keeps: ClassVar[bool] = True
    f: Callable[..., Any] = option(check=check_callable)
    rng: bool = option(False)
    seed: int = option(0, check=draws.check_seed)
    handler: Handler = option(reraise_exception, decides=False)

    @property
    def varies(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rng

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        guard = run.guard(self.handler)
        if self.rng:
            return _map_by_chance(self.f, partial(sample_generator, run.context, self.name, self.seed), items, guard)
        return map_items(self.f, items, handler=guard)


@attrs.frozen(repr=False, slots=False)
class Select(Lifted[Any, Any]):
    name: ClassVar[str] = "select"
    same: ClassVar[bool] = True
    predicate: Callable[[Any], object] = option(check=check_callable)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return select_items(self.predicate, items, handler=run.guard(self.handler))


@overload
def map(f: Callable[[I], O], *, handler: Handler = reraise_exception) -> Stage[I, O]: ...
@overload
def map(
    f: Callable[[I, Generator], O], *, rng: Literal[True], seed: int | None = 0, handler: Handler = reraise_exception
) -> Stage[I, O]: ...
@maker
def map(
    f: Callable[..., Any], *, rng: bool = False, seed: int | None = 0, handler: Handler = reraise_exception
) -> Stage[Any, Any]:
    """Apply a function to each item.

    f: called with the item; with `rng=True`, with the item and a `numpy.random.Generator`.
    rng: give each sample a generator of its own, for augmentation. What it draws depends on (Context.seed, seed, epoch,
        the shard's name in `__url__`, `__key__`) alone: it is the same for the same sample in the same epoch, whatever
        the number of workers, and however the stream was resumed. Two such stages in one pipeline want different
        seeds, and a stage behind `repeat` draws the same in each pass. For samples only, before they are batched: an
        item without a `__key__` is a `MissingFieldError`.
    seed: None draws one when the stage is built.
    handler: gets a `FunctionError`, which names the sample and is chained to its cause, when `f` raises.

    The generator's raw words are the same always and everywhere; what its methods make of them is up to numpy, which
    keeps it from release to release unless it has to mend it (NEP 19).

    >>> range(3) | map(float) | list
    [0.0, 1.0, 2.0]
    >>> def jitter(sample: Sample, rng: np.random.Generator) -> Sample:
    ...     return {**sample, "x": sample["x"] + int(rng.integers(10))}
    >>> [{"__key__": "a", "x": 100}, {"__key__": "b", "x": 200}] | map(jitter, rng=True) | list
    [{'__key__': 'a', 'x': 100}, {'__key__': 'b', 'x': 201}]
    """
    return Stage((Map(f, rng, draws.fresh_seed(seed), handler),))


@maker
def select(predicate: Callable[[Any], object], *, handler: Handler = reraise_exception) -> Same:
    """Keep the items for which the predicate is true.

    >>> range(6) | select(lambda n: n % 2) | list
    [1, 3, 5]
    """
    return Same((Select(predicate, handler),))
