"""Samples from shards to shards, as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamwds import tar
from streamwds.cli.output import Output, with_keys
from streamwds.cli.progress import meter
from streamwds.cli.sources import bytes_of, found, samples_of, verbatim
from streamwds.cli.telling import UsageError

__all__ = ["copied", "fields_of"]


def fields_of(names: str) -> set[str] | None:
    """The fields in a list of them, `jpg,cls`; None: all.

    >>> sorted(fields_of("jpg, seg.png"))
    ['jpg', 'seg.png']
    """
    if not names:
        return None
    fields = {name.strip() for name in names.split(",")}
    if bad := [field for field in fields if not field or field != field.strip(".")]:
        raise UsageError(f"--fields has names of fields, such as jpg,cls,seg.png, not {bad[0]!r}")
    return fields


def copied(
    shards: list[str],
    output: str,
    *,
    maxcount: int | None,
    maxsize: int | None,
    number: int | None = None,
    keys: str,
    fields: str,
    force: bool,
    json: bool,
) -> None:
    """Write the samples of shards; number: to so many shards; None: as many as it takes."""
    names = found(shards)
    out = Output(output, force, reads=names, maxcount=maxcount, maxsize=maxsize, json=json)
    only = fields_of(fields)
    of = 0
    if number:
        if not out.numbered or maxcount or maxsize:
            raise UsageError(
                "--shards needs a place for their number (-o 'out-%06d.tar'), and no --maxcount or --maxsize"
            )
        if "-" in names:
            raise UsageError("--shards counts the samples first, and standard input can be read only once")
        of = sum(tar.count(map(verbatim, names)).values())
        if number > of:
            raise UsageError(f"{of} samples don't fill {number} shards")
    with meter("writing", bytes_of(names), len(names)) as progress:
        samples: Iterable[dict[str, Any]] = samples_of(names, progress.opener, suffixes=only)
        out.write(with_keys(keys, samples) if keys else samples, shards=number or 0, of=of)
