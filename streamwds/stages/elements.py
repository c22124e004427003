"""Stages that apply functions to the elements of items: map_dict to fields, map_tuple to tuples; and transform_with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs

from streamwds.errors import FunctionError, MissingFieldError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import Sample, Stage, maker
from streamwds.stages.fields import check_sample, missing_field
from streamwds.stages.mapping import check_callable, each_item, failed
from streamwds.steps import Lifted, Run, option
from streamwds.values import function_name

__all__ = ["MapDict", "MapTuple", "map_dict", "map_dict_items", "map_tuple", "map_tuple_items", "transform_with"]

Function: TypeAlias = Callable[[Any], Any]


# ---- fields


def _check_functions(functions: Mapping[Any, Any]) -> None:
    if not functions:
        raise ValueError("map_dict takes functions by field, as in map_dict(cls=str)")
    for function in functions.values():
        check_callable(function)


def map_dict_items(
    functions: Mapping[str, Function], samples: Iterable[Mapping[str, Any]], *, handler: Handler = reraise_exception
) -> Iterator[Sample]:
    """Samples with some of their fields changed, each by its function."""
    pairs = list(functions.items())

    def changed(sample: Any) -> Sample:
        check_sample("map_dict", sample)
        result: Sample = {**sample}
        field, function = pairs[0]
        try:
            for field, function in pairs:
                result[field] = function(sample[field])
        except Exception as error:
            if field not in sample:
                raise missing_field(sample, field) from None
            raise failed(error, "map_dict", function, sample, field=field) from error
        return result

    return each_item(changed, samples, handler=handler)


@attrs.frozen(repr=False, slots=False)
class MapDict(Lifted[Sample, Sample]):
    name: ClassVar[str] = "map_dict"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    functions: Mapping[str, Function] = option(check=_check_functions)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return map_dict_items(self.functions, items, handler=run.guard(self.handler))


@maker
def map_dict(
    functions: Mapping[str, Function] | None = None,
    /,
    *,
    handler: Handler = reraise_exception,
    **more: Function,
) -> Stage[Sample, Sample]:
    """Apply functions to fields of each sample: `map_dict(jpg=augment, cls=one_hot)`. Other fields stay as they are.

    functions: field -> function of its value, for names that can't be keywords: `map_dict({"seg.png": binary})`.
    handler: gets a `FunctionError` that names the field when one raises, and a `MissingFieldError` for a sample without
        one of the fields.

    >>> [{"__key__": "a", "cls": 7}] | map_dict(cls=str) | list
    [{'__key__': 'a', 'cls': '7'}]
    """
    return Stage((MapDict({**(functions or {}), **more}, handler),))


# ---- tuples


def transform_with(values: Sequence[Any], functions: Sequence[Function | None] | None) -> tuple[Any, ...]:
    """The values of a tuple or list, each changed by the function in its place; None, or none there, leaves it alone.

    More functions than values are a `MissingFieldError`.

    >>> transform_with((1, 2, 3), [None, str])
    (1, '2', 3)
    """
    functions = functions or ()
    if len(functions) > len(values):
        raise MissingFieldError(f"there are {len(functions)} functions, and {len(values)} values: {values!r:.80}")
    changed = (value if function is None else function(value) for function, value in zip(functions, values))
    return (*changed, *values[len(functions) :])


def _check_each(functions: tuple[Any, ...]) -> None:
    if not any(function is not None for function in functions):
        raise ValueError("map_tuple takes functions, one for each element or None, as in map_tuple(None, str)")
    for function in functions:
        if function is not None:
            check_callable(function)


def map_tuple_items(
    functions: Sequence[Function | None], items: Iterable[Sequence[Any]], *, handler: Handler = reraise_exception
) -> Iterator[tuple[Any, ...]]:
    """Tuples with some of their elements changed, each by its function."""
    names = ", ".join("None" if function is None else function_name(function) for function in functions)

    def changed(item: Any) -> tuple[Any, ...]:
        if not isinstance(item, (tuple, list)):
            raise MissingFieldError(f"map_tuple takes tuples, not {item!r:.80}; is to_tuple missing?")
        try:
            return transform_with(item, functions)
        except MissingFieldError:
            raise
        except Exception as error:
            raise FunctionError(f"map_tuple({names}) raised {type(error).__name__}: {error}") from error

    return each_item(changed, items, handler=handler)


@attrs.frozen(repr=False, slots=False)
class MapTuple(Lifted["tuple[Any, ...]", "tuple[Any, ...]"]):
    name: ClassVar[str] = "map_tuple"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "tuple"
    yields: ClassVar[str | None] = "tuple"
    functions: tuple[Function | None, ...] = option(star=True, check=_check_each)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return map_tuple_items(self.functions, items, handler=run.guard(self.handler))


@maker
def map_tuple(
    *functions: Function | None, handler: Handler = reraise_exception
) -> Stage[tuple[Any, ...], tuple[Any, ...]]:
    """Apply functions to the elements of each tuple, in their order; None leaves an element alone, and so do fewer.

    handler: gets a `FunctionError` when one raises, and a `MissingFieldError` for a tuple with fewer elements than
        there are functions.

    >>> [(1, 2, 3)] | map_tuple(None, str) | list
    [(1, '2', 3)]
    """
    return Stage((MapTuple(functions, handler),))
