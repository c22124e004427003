"""Samples for people: lines, tables, and what a field's value looks like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamwds.cli.checking import Report
from streamwds.cli.listing import FieldTotals, ListedMember, ListedSample
from streamwds.cli.telling import count, shown, size
from streamwds.codecs import decoder
from streamwds.errors import MissingExtraError

__all__ = ["fields_table", "member_line", "report_lines", "sample_line", "sample_lines", "summary", "table"]

WIDTH = 72  # of a value that is text


def member_line(member: ListedMember) -> str:
    return f"{size(member.size):>9}  {member.name}"


def sample_line(sample: ListedSample) -> str:
    return f"{size(sample.size):>9}  {sample.key}  {' '.join(sample.fields)}"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> None:
    """Print a table, of which the first columns (`left`) hold names and the others numbers."""
    drawn = Table(box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(drawn)


def fields_table(totals: Iterable[FieldTotals]) -> None:
    """Print how many samples have each field, and how large it is."""
    table(
        ("field", "samples", "bytes", "least", "mean", "most"),
        (
            (f.field, f"{f.samples:,}", size(f.bytes), size(f.least or 0), size(f.bytes / f.samples), size(f.most))
            for f in totals
        ),
    )


def sample_lines(sample: dict[str, Any]) -> Iterator[str]:
    """A sample in lines: its key and shard, and for each field name, size and what it holds."""
    yield f"{sample['__key__']}  ({sample['__url__']})"
    fields = {name: value for name, value in sample.items() if name not in ("__key__", "__url__")}
    width = min(24, max(map(len, fields)))
    for name, data in fields.items():
        yield f"  {name:<{width}}  {size(len(data)):>9}  {summary(name, data)}"


def report_lines(report: Report) -> Iterator[str]:
    """What was found in a shard: its problems, and then what is intact."""
    for problem in report.problems:
        yield str(problem)
    for reason, number in report.unchecked.items():
        yield f"{report.url}: not decoded, {count(number, 'field')}: {reason}"
    if report.others:
        some = ", ".join(report.others[:3]) + (" …" if report.others[3:] else "")
        yield f"{report.url}: {count(len(report.others), 'file')} in no sample: {some}"
    state = f"{count(len(report.problems), 'problem')}; intact are" if report.problems else "ok,"
    intact = f"{count(report.samples, 'sample')}, {count(report.files, 'file')}, {size(report.bytes)}"
    yield f"{report.url}: {state} {intact}"
    if report.repaired is not None:
        yield f"{report.url}: what is intact was written to {report.repaired}"


def summary(field: str, data: bytes) -> str:
    """What a field holds, in less than a line: text, numbers, the size of a picture, dtype and shape of an array.

    >>> summary("cls", b"7"), summary("json", b'{"a": [1]}'), summary("cls", b"?")
    ('7', '{"a": [1]}', "can't be decoded: ...")
    """
    try:
        decode = decoder(field, "pil")
        value: Any = data if decode is None else decode(data)
    except MissingExtraError as error:
        return error.message
    except Exception as error:
        return f"can't be decoded: {type(error).__name__}: {error}"
    if isinstance(value, Image.Image):
        return f"picture, {value.width} × {value.height}, {value.mode}"
    if isinstance(value, np.ndarray) or (hasattr(value, "dtype") and hasattr(value, "shape")):
        return f"array, {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, bytes):
        return _cut("".join(map(chr, value[:WIDTH]))) if value[:WIDTH].isascii() else f"bytes, {value[:8].hex(' ')} …"
    if isinstance(value, str):
        return _cut(value.rstrip("\n"))
    try:
        return _cut(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError):
        return f"{type(value).__name__}, {_cut(repr(value))}"


def _cut(text: str) -> str:
    text = shown(text[: WIDTH + 1])
    return text if len(text) <= WIDTH else text[: WIDTH - 2] + " …"
