"""What is found in shards, for people: lines and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from streamwds.bench import FieldSize, Measured
from streamwds.cli.checking import Report
from streamwds.cli.listing import ListedMember, ListedSample
from streamwds.cli.telling import count, shown, size
from streamwds.show.fields import viewed
from streamwds.tables import text_table

__all__ = ["fields_lines", "member_line", "report_lines", "sample_line", "sample_lines", "summary"]

WIDTH = 72  # of a value that is text


def member_line(member: ListedMember) -> str:
    return f"{size(member.size):>9}  {member.name}"


def sample_line(sample: ListedSample) -> str:
    return f"{size(sample.size):>9}  {sample.key}  {' '.join(sample.fields)}"


def fields_lines(fields: Mapping[str, FieldSize]) -> list[str]:
    """How many samples have each field, and how large it is."""
    rows = [
        [shown(name), f"{of.samples:,}", *map(size, (of.bytes, of.least, of.mean, of.most))]
        for name, of in fields.items()
    ]
    return text_table(("field", "samples", "bytes", "least", "mean", "most"), rows, right=range(1, 6)).splitlines()


def measured_lines(result: Measured) -> Iterator[str]:
    """What a pipeline did, and how fast."""
    total = result.total
    yield f"{count(total.samples, 'sample')}, {size(total.bytes)}, in {result.seconds:.2f} s"
    yield f"{result.samples_per_second:,.0f} samples/s, {size(result.bytes_per_second)}/s"
    if result.items != total.samples:
        yield f"{count(result.items, 'item')} came out"


def sample_lines(sample: dict[str, Any]) -> Iterator[str]:
    """A sample in lines: its key and shard, and for each field name, size and what it holds."""
    yield f"{sample['__key__']}  ({sample['__url__']})"
    fields = {name: value for name, value in sample.items() if name not in ("__key__", "__url__")}
    width = min(24, max(map(len, fields)))
    for name, data in fields.items():
        yield f"  {name:<{width}}  {size(len(data)):>9}  {summary(name, data)}"


def summary(field: str, data: bytes) -> str:
    """What a field holds, in less than a line: text, numbers, the size of a picture, dtype and shape of an array.

    >>> summary("cls", b"7"), summary("json", b'{"a": [1]}'), summary("cls", b"?")
    ('7', '{ "a": [ 1 ] }', "can't be decoded: ...")
    """
    view = viewed(field, data)
    if view.kind in ("picture", "sound", "film"):
        return shown(view.caption)
    text = shown(" ".join(view.text.split()))
    text = text if len(text) <= WIDTH else f"{text[: WIDTH - 2]} …"
    return f"can't be decoded: {text}" if view.kind == "error" else text


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
