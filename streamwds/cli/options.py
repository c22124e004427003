"""Arguments and options that several commands have."""

from __future__ import annotations

import re
from typing import Annotated

import typer

__all__ = [
    "Force",
    "Json",
    "Keys",
    "MaxCount",
    "MaxSize",
    "Only",
    "Output",
    "Seed",
    "Sources",
    "Temporary",
    "number_of",
]


def number_of(text: str) -> int:
    """A number of bytes, as people write it.

    >>> number_of("1.5GB"), number_of("64 KiB"), number_of("1e6")
    (1500000000, 65536, 1000000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:[eE]\d+)?)\s*(?:([kKMGT])(i?))?[bB]?\s*", text)
    if found is None:
        raise typer.BadParameter(f"a size is a number of bytes, such as 3e9, 500MB or 2GiB, not {text!r}")
    base, power = (1024 if found[3] else 1000), " KMGT".index((found[2] or " ").upper())
    number = int(float(found[1]) * base**power)
    if number < 1:
        raise typer.BadParameter(f"a size is at least 1 byte, not {text!r}")
    return number


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SHARDS",
        help="What is read: paths, globs, 'a-{000..146}.tar', URLs (http, s3 …), @list.txt; - is standard input.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="What is written: one shard (a.tar, a.tar.gz), shards with a place for their number (a-%06d.tar), "
        "objects in a store (s3://…), or - for standard output.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Write over what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
MaxCount = Annotated[
    int | None,
    typer.Option("--maxcount", min=1, metavar="N", help="A shard is full with so many samples.", show_default=False),
]
MaxSize = Annotated[
    int | None,
    typer.Option(
        "--maxsize",
        parser=number_of,
        metavar="SIZE",
        help="A shard is full with so many bytes: 3e9, 500MB, 2GiB.",
        show_default=False,
    ),
]
Keys = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="FORMAT",
        help="The keys that samples get: '{shard}/{key}', '{number:08d}'.",
        show_default=False,
    ),
]
Only = Annotated[
    str,
    typer.Option("--fields", metavar="LIST", help="Only these fields: jpg,cls,seg.png.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="What the order is drawn with: the same seed, the same order.")]
Temporary = Annotated[
    str | None,
    typer.Option("--tmp", metavar="FOLDER", help="Where temporary files are put.", show_default="$TMPDIR"),
]
