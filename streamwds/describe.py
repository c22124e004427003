"""`Stream.describe()`: what a pipeline is made of, as a table for people, on a terminal or in a notebook.

Nothing runs for it. (Which code builds the pipeline, `repr` tells.)
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from streamwds.steps import Source, Step
from streamwds.tables import html_table, text_table

__all__ = ["Description", "Row", "described"]

HEADINGS = ("", "stage", "gives", "remembers")


@attrs.frozen
class Row:
    """stage: the code that makes it, with its options. gives: the type of its items, "" if that isn't known.
    remembers: what its positions hold besides what those before it hold."""

    stage: str
    gives: str
    remembers: str


@attrs.frozen(repr=False)
class Description:
    """The rows of a pipeline, its source first. Printed it is a table; in a notebook, one in HTML."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return text_table(HEADINGS, self._cells())

    def _repr_html_(self) -> str:
        return html_table(HEADINGS, self._cells())

    def _cells(self) -> list[tuple[str, ...]]:
        return [(str(number), row.stage, row.gives, row.remembers) for number, row in enumerate(self.rows)]


def described(source: Source, steps: Iterable[Step[object, object]]) -> Description:
    """The description of a source and the steps behind it."""
    kind = source.kind
    rows = [Row(repr(source), kind or "", "how many it gave")]
    for step in steps:
        kind = step.flow(kind)
        rows.append(Row(repr(step), kind or "", _remembered(step)))
    return Description(tuple(rows))


def _remembered(step: Step[object, object]) -> str:
    if step.buffers:
        return "more than a position can tell: resuming behind it is refused"
    return ", ".join(step.memory)
