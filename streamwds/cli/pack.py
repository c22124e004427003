"""`streamwds pack`: files into shards."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, MaxCount, MaxSize, Output

__all__ = ["pack"]


def pack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A folder, or a list: .csv, .tsv (with a first line of names), .jsonl, .ndjson."
        ),
    ],
    output: Output,
    classes: Annotated[
        bool,
        typer.Option("--imagefolder", help="A folder for each class: its number is each sample's cls."),
    ] = False,
    key: Annotated[
        str, typer.Option("--key", metavar="COLUMN", help="The list's column of keys.", show_default="__key__, if any")
    ] = "",
    files: Annotated[
        str,
        typer.Option(
            "--files", metavar="LIST", help="The list's columns that name files: jpg,png.", show_default=False
        ),
    ] = "",
    root: Annotated[
        str,
        typer.Option("--root", metavar="FOLDER", help="Where these files are.", show_default="the list's folder"),
    ] = "",
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put files into shards (tarp's create).

    Of a folder, files that have the same name up to the first dot are a sample, as everywhere: 0001.jpg and 0001.cls.
    Samples come in the order of their names. With --imagefolder, each gets the number of its top folder as cls.

    Of a list, each row is a sample, and each column a field: its value, or with --files the file that it names. So
    columns are called jpg, cls, txt … Rows without a key are numbered.

    Examples:

    - `streamwds pack photos -o 'photos-%06d.tar' --maxsize 1GB`
    - `streamwds pack --imagefolder train -o 'train-%06d.tar'`
    - `streamwds pack list.csv --files jpg -o a.tar`
    """
    import os
    from collections.abc import Iterator
    from typing import Any

    from streamwds.cli import packing
    from streamwds.cli.copying import fields_of
    from streamwds.cli.output import Output
    from streamwds.cli.progress import meter
    from streamwds.cli.telling import UsageError

    out = Output(output, force, maxcount=maxcount, maxsize=maxsize, json=json)
    columns = fields_of(files) or set()
    if os.path.isdir(source):
        if key or files or root:
            raise UsageError("--key, --files and --root are for lists, and this is a folder", url=source)
        tree = packing.Tree.of(source, out.paths())
        samples, total = packing.samples_of_files(tree, classes=classes), tree.bytes
    elif os.path.isfile(source) and source.lower().endswith(packing.LISTS):
        if classes:
            raise UsageError("--imagefolder is for folders, and this is a list", url=source)
        below = root or os.path.dirname(source)
        samples, total = packing.samples_of_rows(source, key=key, files=columns, root=below), None
    elif os.path.exists(source):
        raise UsageError(f"it is no folder, and no list, whose name ends in {', '.join(packing.LISTS)}", url=source)
    else:
        raise UsageError("there is no such file or folder", url=source)

    with meter("packing", total) as progress:

        def measured() -> Iterator[dict[str, Any]]:
            for sample in samples:
                yield sample
                progress.read(sum(len(value) for value in sample.values()))

        out.write(measured())
