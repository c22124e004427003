"""Stages that pick fields of samples: to_tuple by their names, extract_keys by patterns; and getfirst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any, ClassVar, cast

import attrs

from streamwds.errors import MissingFieldError, RenameError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.memo import Memo
from streamwds.stage import Sample, Stage, maker
from streamwds.stages.mapping import each_item
from streamwds.steps import Lifted, Run, option

__all__ = [
    "ExtractKeys",
    "ToTuple",
    "alternatives",
    "check_pattern",
    "check_sample",
    "extract_keys",
    "extract_keys_items",
    "getfirst",
    "matches",
    "missing_field",
    "to_tuple",
    "to_tuple_items",
]


def alternatives(names: str) -> tuple[str, ...]:
    """The names in `"jpg;png"`, of which the first that a sample has counts."""
    return tuple(name.strip() for name in names.split(";"))


def check_sample(name: str, item: object) -> None:
    """Raise if this is no sample, for a stage that takes samples."""
    if type(item) is not dict and not isinstance(item, Mapping):
        raise MissingFieldError(f"{name} takes samples (dicts of fields), not {item!r:.80}")


def missing_field(sample: Mapping[str, Any], wanted: str) -> MissingFieldError:
    """The error about a sample that has no field of this name, or pattern."""
    there = ", ".join(name for name in map(str, sample) if not name.startswith("__"))
    return MissingFieldError.about(sample, f"the sample has no such field; it has {there}", field=wanted)


def getfirst(
    sample: Mapping[str, Any], names: str | Sequence[str], default: Any = None, *, missing_is_error: bool = True
) -> Any:
    """The first of some fields that the sample has: `names` is "jpg;png", or a list of names.

    If it has none of them that is a `MissingFieldError`, or with `missing_is_error=False` the default.

    >>> getfirst({"png": b"...", "cls": 1}, "jpg;png")
    b'...'
    >>> getfirst({"cls": 1}, ["jpg", "png"], missing_is_error=False) is None
    True
    """
    wanted = alternatives(names) if isinstance(names, str) else tuple(names)
    for name in wanted:
        if name in sample:
            return sample[name]
    if missing_is_error:
        raise missing_field(sample, ";".join(wanted))
    return default


# ---- by their names


def _check_fields(fields: tuple[Any, ...]) -> None:
    if not fields:
        raise ValueError('to_tuple takes at least one field, as in to_tuple("jpg;png", "cls")')
    for field in fields:
        if not isinstance(field, str) or not all(alternatives(field)):
            raise ValueError(f'to_tuple takes field names, alternatives apart by ";" ("jpg;png"), not {field!r}')


def to_tuple_items(
    fields: tuple[str, ...],
    samples: Iterable[Mapping[str, Any]],
    *,
    missing_is_error: bool = True,
    handler: Handler = reraise_exception,
) -> Iterator[tuple[Any, ...]]:
    """The named fields of each sample, as a tuple."""
    guard = Guard.of(handler)
    choices = tuple(map(alternatives, fields))
    pick = _picker(choices) if missing_is_error else _lenient_picker(choices)
    for sample in samples:
        guard.seen += 1
        try:
            values = pick(sample)
        except (KeyError, StopIteration, AttributeError, TypeError):
            if guard(_missing(choices, sample)):
                continue
            return
        del sample
        yield values
        del values  # (before the next is asked for: a batch's memory is used again when nobody holds it)


def _picker(choices: tuple[tuple[str, ...], ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives the tuple of a sample, by the shortest way."""
    if all(len(names) == 1 for names in choices):
        first = [names[0] for names in choices]
        if len(first) > 1:
            return itemgetter(*first)
        (only,) = first
        return lambda sample: (sample[only],)
    return lambda sample: tuple([sample[next(filter(sample.__contains__, names))] for names in choices])


def _lenient_picker(choices: tuple[tuple[str, ...], ...]) -> Callable[[Any], tuple[Any, ...]]:
    """The same, with None for what is missing."""
    return lambda sample: tuple([sample.get(next(filter(sample.__contains__, names), None)) for names in choices])


def _missing(choices: tuple[tuple[str, ...], ...], sample: Any) -> MissingFieldError:
    if not isinstance(sample, Mapping):
        return MissingFieldError(f"to_tuple takes samples (dicts of fields), not {sample!r:.80}")
    known = cast("Mapping[str, Any]", sample)
    missing = next(names for names in choices if not any(name in known for name in names))
    return missing_field(known, ";".join(missing))


@attrs.frozen(repr=False, slots=False)
class ToTuple(Lifted[Sample, "tuple[Any, ...]"]):
    name: ClassVar[str] = "to_tuple"
    hands_on: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "tuple"
    decides: ClassVar[bool] = False
    fields: tuple[str, ...] = option(star=True, check=_check_fields)
    missing_is_error: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        guard = run.guard(self.handler)
        return to_tuple_items(self.fields, items, missing_is_error=self.missing_is_error, handler=guard)


@maker
def to_tuple(
    *fields: str, missing_is_error: bool = True, handler: Handler = reraise_exception
) -> Stage[Sample, tuple[Any, ...]]:
    """The named fields of each sample, as a tuple; `"jpg;png"` takes the first of them that the sample has.

    A sample that has none of them is a `MissingFieldError`, which goes to the handler; with `missing_is_error=False`
    there is None in its place.

    >>> [{"__key__": "a", "png": b"...", "cls": 1}] | to_tuple("jpg;png", "cls") | list
    [(b'...', 1)]
    >>> [{"cls": 1}] | to_tuple("jpg;png", "cls", missing_is_error=False) | list
    [(None, 1)]
    """
    return Stage((ToTuple(fields, missing_is_error, handler),))


# ---- by patterns


def check_pattern(name: str, pattern: object) -> None:
    """Raise if this is no pattern for the names of fields."""
    if not isinstance(pattern, str) or not all(alternatives(pattern)):
        raise ValueError(f'{name} takes patterns such as "*.jpg;*.png", not {pattern!r}')


def matches(field: str, pattern: str) -> bool:
    """Whether a field is one that a pattern means: globs, alternatives apart by ";", whatever the case.

    A name counts with a dot before it, too, so that "*.png" means png as well as seg.png. Metadata such as `__key__` is
    meant only by patterns that begin with "__".

    >>> [matches(field, "*.png;mask*") for field in ("png", "seg.PNG", "mask.npy", "pngs", "__key__")]
    [True, True, True, False, False]
    >>> matches("__key__", "*"), matches("__key__", "__*")
    (False, True)
    """
    name = field.lower()
    return any(
        (fnmatchcase(name, glob) or fnmatchcase(f".{name}", glob)) and (name[:2] != "__" or glob[:2] == "__")
        for glob in alternatives(pattern.lower())
    )


def _check_patterns(patterns: tuple[Any, ...]) -> None:
    if not patterns:
        raise ValueError('extract_keys takes at least one pattern, as in extract_keys("*.jpg;*.png", "*.cls")')
    for pattern in patterns:
        check_pattern("extract_keys", pattern)


def extract_keys_items(
    patterns: tuple[str, ...],
    samples: Iterable[Mapping[str, Any]],
    *,
    duplicate_is_error: bool = True,
    ignore_missing: bool = False,
    handler: Handler = reraise_exception,
) -> Iterator[tuple[Any, ...]]:
    """The fields of each sample that patterns mean, as a tuple."""

    def found(names: tuple[str, ...]) -> list[list[str]]:
        return [[name for name in names if matches(name, pattern)] for pattern in patterns]

    memo = Memo(found, most=4096)

    def extracted(sample: Any) -> tuple[Any, ...]:
        check_sample("extract_keys", sample)
        fields = memo[tuple(sample)]
        for pattern, names in zip(patterns, fields):
            if not names and not ignore_missing:
                raise missing_field(sample, pattern)
            if len(names) > 1 and duplicate_is_error:
                raise RenameError.about(
                    sample,
                    f"the pattern means several fields: {', '.join(names)}; make it narrower, or take the first with "
                    "duplicate_is_error=False",
                    field=pattern,
                )
        return tuple([sample[names[0]] if names else None for names in fields])

    return each_item(extracted, samples, handler=handler)


@attrs.frozen(repr=False, slots=False)
class ExtractKeys(Lifted[Sample, "tuple[Any, ...]"]):
    name: ClassVar[str] = "extract_keys"
    hands_on: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "tuple"
    decides: ClassVar[bool] = False
    patterns: tuple[str, ...] = option(star=True, check=_check_patterns)
    duplicate_is_error: bool = option(True)
    ignore_missing: bool = option(False)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return extract_keys_items(
            self.patterns,
            items,
            duplicate_is_error=self.duplicate_is_error,
            ignore_missing=self.ignore_missing,
            handler=run.guard(self.handler),
        )


@maker
def extract_keys(
    *patterns: str,
    duplicate_is_error: bool = True,
    ignore_missing: bool = False,
    handler: Handler = reraise_exception,
) -> Stage[Sample, tuple[Any, ...]]:
    """The fields of each sample that patterns mean, as a tuple with one element for each pattern.

    patterns: globs such as "*.png", alternatives apart by ";"; "*.png" means `png` and `seg.png`. Case does not count.
        Metadata (`__key__`) is meant only by patterns that begin with "__".
    duplicate_is_error: whether a pattern that means several fields is a `RenameError`; else the first is taken.
    ignore_missing: put None where a pattern means no field; else that is a `MissingFieldError`.
    handler: gets these errors; true skips the sample.

    >>> [{"__key__": "a", "left.png": b"...", "cls": 1}] | extract_keys("left.*", "*.cls") | list
    [(b'...', 1)]
    """
    return Stage((ExtractKeys(patterns, duplicate_is_error, ignore_missing, handler),))
