"""Stages that pick fields of samples: to_tuple."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, ClassVar, cast

import attrs

from streamwds.errors import MissingFieldError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.stage import Sample, Stage, maker
from streamwds.steps import Lifted, Run, option

__all__ = ["ToTuple", "to_tuple", "to_tuple_items"]


def _alternatives(fields: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.strip() for name in field.split(";")) for field in fields)


def _check(fields: tuple[Any, ...]) -> None:
    if not fields:
        raise ValueError('to_tuple takes at least one field, as in to_tuple("jpg;png", "cls")')
    for field in fields:
        if not isinstance(field, str) or not all(_alternatives((field,))[0]):
            raise ValueError(f'to_tuple takes field names, alternatives apart by ";" ("jpg;png"), not {field!r}')


def to_tuple_items(
    fields: tuple[str, ...], samples: Iterable[Mapping[str, Any]], *, handler: Handler = reraise_exception
) -> Iterator[tuple[Any, ...]]:
    """The named fields of each sample, as a tuple."""
    guard = Guard.of(handler)
    choices = _alternatives(fields)
    pick = _picker(choices)
    for sample in samples:
        guard.seen += 1
        try:
            values = pick(sample)
        except (KeyError, StopIteration, AttributeError, TypeError):
            if guard(_missing(choices, sample)):
                continue
            return
        yield values


def _picker(choices: tuple[tuple[str, ...], ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives the tuple of a sample, by the shortest way."""
    if all(len(names) == 1 for names in choices):
        first = [names[0] for names in choices]
        if len(first) > 1:
            return itemgetter(*first)
        (only,) = first
        return lambda sample: (sample[only],)
    return lambda sample: tuple([sample[next(filter(sample.__contains__, names))] for names in choices])


def _missing(choices: tuple[tuple[str, ...], ...], sample: Any) -> MissingFieldError:
    if not isinstance(sample, Mapping):
        return MissingFieldError(f"to_tuple takes samples (dicts of fields), not {sample!r:.80}")
    known = cast("Mapping[str, Any]", sample)
    missing = next(names for names in choices if not any(name in known for name in names))
    there = ", ".join(name for name in map(str, known) if not name.startswith("__"))
    return MissingFieldError.about(known, f"the sample has no such field; it has {there}", field=";".join(missing))


@attrs.frozen(repr=False, slots=False)
class ToTuple(Lifted[Sample, "tuple[Any, ...]"]):
    name: ClassVar[str] = "to_tuple"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "tuple"
    decides: ClassVar[bool] = False
    fields: tuple[str, ...] = option(star=True, check=_check)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return to_tuple_items(self.fields, items, handler=run.guard(self.handler))


@maker
def to_tuple(*fields: str, handler: Handler = reraise_exception) -> Stage[Sample, tuple[Any, ...]]:
    """The named fields of each sample, as a tuple; `"jpg;png"` takes the first of them that the sample has.

    A sample that has none of them is a `MissingFieldError`, which goes to the handler.

    >>> [{"__key__": "a", "png": b"...", "cls": 1}] | to_tuple("jpg;png", "cls") | list
    [(b'...', 1)]
    """
    return Stage((ToTuple(fields, handler),))
