"""associate: fields from a table or function, added to the samples with their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

import attrs

from streamwds.errors import CompositionError, FunctionError, JoinError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import Sample, Stage, maker
from streamwds.stages.fields import check_sample, missing_field
from streamwds.stages.mapping import each_item, failed
from streamwds.steps import Lifted, Run, option
from streamwds.values import code

__all__ = ["Associate", "Table", "associate", "associate_items"]

Fields: TypeAlias = "Mapping[str, Any]"
Associator: TypeAlias = "Mapping[str, Fields] | Callable[[str], Fields | None]"


@attrs.frozen(eq=False, repr=False)
class Table:
    """A mapping from keys to fields as an option: it may be large and hold arrays, so it isn't copied or hashed."""

    rows: Mapping[str, Fields]

    def get(self, key: str) -> Fields | None:
        return self.rows.get(key)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        try:
            return self.rows is other.rows or (self.rows == other.rows) is True
        except ValueError:  # (arrays among the values: they don't say whether they are equal)
            return False

    def __hash__(self) -> int:
        return hash(len(self.rows))

    def __repr__(self) -> str:
        return code(self.rows) if len(self.rows) <= 20 else f"<{type(self.rows).__name__} of {len(self.rows)} keys>"


def _associator(value: Any) -> Any:
    return Table(value) if isinstance(value, Mapping) else value


def _check(associator: object) -> None:
    if not isinstance(associator, Table) and not callable(associator):
        raise CompositionError(f"associate takes a mapping from keys to fields, or a function, not {associator!r:.80}")


def associate_items(
    associator: Any,
    samples: Iterable[Mapping[str, Any]],
    *,
    on: str = "__key__",
    missing_is_error: bool = True,
    handler: Handler = reraise_exception,
) -> Iterator[Sample]:
    """Samples with the fields added that a table or function has for their keys."""
    of = associator.get if isinstance(associator, (Table, Mapping)) else associator

    def extended(sample: Any) -> Sample:
        check_sample("associate", sample)
        if on not in sample:
            raise missing_field(sample, on)
        try:
            more = of(sample[on])
        except Exception as error:
            raise failed(error, "associate", associator, sample) from error
        if isinstance(more, Mapping):
            return {**sample, **more}
        if more is not None:
            raise FunctionError.about(sample, f"associate takes fields (a dict) for a key, not {more!r:.80}")
        if missing_is_error:
            raise JoinError.about(
                sample,
                f"nothing is known for {sample[on]!r:.80}; missing_is_error=False leaves such samples as they are",
                field=on,
            )
        return {**sample}

    return each_item(extended, samples, handler=handler)


@attrs.frozen(repr=False, slots=False)
class Associate(Lifted[Sample, Sample]):
    name: ClassVar[str] = "associate"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    decides: ClassVar[bool] = False
    associator: Any = option(convert=_associator, check=_check)
    on: str = option("__key__")
    missing_is_error: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return associate_items(
            self.associator,
            items,
            on=self.on,
            missing_is_error=self.missing_is_error,
            handler=run.guard(self.handler),
        )


@maker
def associate(
    associator: Associator,
    *,
    on: str = "__key__",
    missing_is_error: bool = True,
    handler: Handler = reraise_exception,
) -> Stage[Sample, Sample]:
    """Add to each sample the fields that a table has for its key: labels, captions, scores that came later.

    associator: a mapping from keys to dicts of fields, or a function from a key to such a dict, or to None if nothing
        is known. The mapping is not copied, so leave it as it is. (For parallel shards there is `join`.)
    on: the field whose value is looked up.
    missing_is_error: whether a key of which nothing is known is a `JoinError`; else the sample stays as it is.
    handler: gets it, and a `FunctionError` if the function raises or gives no dict. True skips the sample.

    Where the sample has a field already, the table's takes its place.

    >>> [{"__key__": "a", "jpg": b"..."}] | associate({"a": {"cls": 7}}) | list
    [{'__key__': 'a', 'jpg': b'...', 'cls': 7}]
    """
    return Stage((Associate(associator, on, missing_is_error, handler),))
