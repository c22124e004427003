"""Files and lists into samples: a folder, a tree of class folders (an ImageFolder), a CSV, TSV or JSON-lines list."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import attrs

from streamwds.cli.telling import UsageError, count, say
from streamwds.codecs import encoder
from streamwds.errors import DuplicateFieldError, EncodeError, SourceError
from streamwds.tar.names import is_meta, split_name

__all__ = ["LISTS", "Row", "Tree", "rows", "samples_of_files", "samples_of_rows"]

Row: TypeAlias = dict[str, Any]

LISTS = (".csv", ".tsv", ".jsonl", ".ndjson")
"""How the names of lists end."""


# ---- folders


@attrs.frozen
class Tree:
    """The files below a folder that belong to samples, in the order of their keys: (key, field, path below it).

    others: those that belong to none, for they have no extension, or are hidden, or no files.
    bytes: what all files have together.
    """

    folder: str
    files: list[tuple[str, str, str]]
    others: list[str]
    bytes: int

    @classmethod
    def of(cls, folder: str, without: Iterable[str]) -> Tree:
        """Look for files; those in `without` (paths) don't count. Links to files are followed, those to folders not."""
        left = {*map(os.path.realpath, without)}
        files: list[tuple[str, str, str]] = []
        others: list[str] = []
        total = 0
        for here, folders, names in os.walk(folder, onerror=_raise):
            folders.sort()
            for name in names:
                path = os.path.join(here, name)
                below = os.path.relpath(path, folder)
                parts = split_name(below.replace(os.sep, "/"))
                if os.path.realpath(path) in left:
                    continue
                if parts is None or is_meta(below) or not os.path.isfile(path):
                    others.append(below)
                    continue
                files.append((*parts, below))
                total += os.path.getsize(path)
        files.sort()
        return cls(folder, files, others, total)

    @property
    def classes(self) -> list[str]:
        """The top folders, of which the number is the class: as torchvision's ImageFolder counts them."""
        return sorted({key.partition("/")[0] for key, _, _ in self.files if "/" in key})


def _raise(error: OSError) -> None:
    raise error


def samples_of_files(tree: Tree, *, classes: bool) -> Iterator[Row]:
    """A sample for each key; with `classes`, the number of its top folder is its field cls."""
    if tree.others:
        some = ", ".join(tree.others[:3]) + (" …" if tree.others[3:] else "")
        say(f"{count(len(tree.others), 'file')} left out, without an extension or hidden or no plain file: {some}")
    numbers = {name: number for number, name in enumerate(tree.classes)} if classes else {}
    if numbers:
        say(f"classes: {', '.join(f'{number} {name}' for name, number in numbers.items())}")
    for key, files in groupby(tree.files, itemgetter(0)):
        sample: Row = {"__key__": key}
        for _, field, below in files:
            path = os.path.join(tree.folder, below)
            if field in sample:
                raise DuplicateFieldError("two files of the sample give it this field", url=path, key=key, field=field)
            sample[field] = _contents(path)
        if classes:
            top, slash, _ = key.partition("/")
            if not slash:
                raise SourceError("it is in no folder of a class", url=os.path.join(tree.folder, key))
            if "cls" in sample:
                raise DuplicateFieldError("it has a file .cls, and would get another class", key=key, field="cls")
            sample["cls"] = b"%d" % numbers[top]
        yield sample


def _contents(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# ---- lists


def rows(path: str) -> Iterator[tuple[int, Row]]:
    """The rows of a list, each with the number of its line; a `SourceError` where one can't be read."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _objects(file, path) if path.endswith((".jsonl", ".ndjson")) else _records(file, path)
    except UnicodeDecodeError as error:
        raise SourceError(f"it is no UTF-8 text: {error}", url=path) from error


def _objects(lines: Iterable[str], path: str) -> Iterator[tuple[int, Row]]:
    for number, text in enumerate(lines, start=1):
        if text.strip():
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"line {number} is no JSON: {error}", url=path) from error
            if not isinstance(row, dict):
                raise SourceError(f"line {number} is no JSON object: {text.strip()[:60]}", url=path)
            yield number, row


def _records(lines: Iterable[str], path: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter="\t" if path.endswith(".tsv") else ",", strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names) or "" in names:
            raise SourceError(f"its first line names the columns, each once, and is {','.join(names)!r}", url=path)
        for record in reader:
            if record and len(record) != len(names):
                message = f"line {reader.line_num} has {len(record)} columns, and the first one {len(names)}"
                raise SourceError(message, url=path)
            if record:
                yield reader.line_num, dict(zip(names, record))
    except csv.Error as error:
        raise SourceError(f"line {reader.line_num} can't be read: {error}", url=path) from error


def samples_of_rows(path: str, *, key: str, files: Iterable[str], root: str) -> Iterator[Row]:
    """A sample for each row: a field for each column, but those without a value (null, or no file's name).

    key: the column of keys; "": `__key__`, or else rows are numbered. files: the columns that name files, below `root`.
    """
    wanted = set(files)
    for place, (number, row) in enumerate(rows(path)):
        column = key or "__key__"
        needed = {key} if path.endswith((".jsonl", ".ndjson")) else {key, *wanted}
        if missing := needed - {"", *row}:
            raise UsageError(f"line {number} has no column {min(missing)!r}, but {', '.join(row)}", url=path)
        value = row.pop(column, f"{place:08d}")
        sample: Row = {"__key__": str(value)}
        for name, cell in row.items():
            if cell is None or (name in wanted and cell == ""):
                continue
            if name in wanted:
                sample[name] = _contents(os.path.join(root, str(cell)))
            else:
                sample[name] = _encoded(name, cell, f"{path}, line {number}")
        yield sample


def _encoded(name: str, cell: Any, where: str) -> bytes:
    """The bytes of a value. (Text is taken as it is: in a CSV, everything is text.)"""
    try:
        if isinstance(cell, str) and not name.endswith("json"):
            return cell.encode()
        encode = encoder(name)
        if encode is None:
            raise EncodeError(f"no encoder knows this extension, and the value is a {type(cell).__name__}")
        return encode(cell)
    except Exception as error:
        raise EncodeError(str(error), url=where, field=name) from error
