"""`streamwds sort`: samples in the order of their keys."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, MaxCount, MaxSize, Output, Sources, Temporary

__all__ = ["sort"]


def sort(
    shards: Sources,
    output: Output,
    by: Annotated[
        str, typer.Option("--by", metavar="FIELD", help="By the value of this field, not by key.", show_default=False)
    ] = "",
    numeric: Annotated[bool, typer.Option("--numeric", "-n", help="Numbers in text count as numbers: 9 < 10.")] = False,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The largest first.")] = False,
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    temporary: Temporary = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sort the samples of all shards by key, or by a field (tarp's sort).

    What has the same key becomes one sample: files of a sample that lie apart come together.

    Shards may be larger than memory: local ones are read sample by sample through an index of their headers; others
    (URLs, compressed ones, standard input) are copied to temporary files first. In memory are about 50 bytes for each
    file, 200 for each sample and its key, and one sample.

    Examples:

    - `streamwds sort scattered.tar -o sorted.tar`
    - `streamwds sort 'a-*.tar' --by cls -o 'b-%06d.tar' --maxcount 10000`
    """
    from streamwds.cli.ordering import sorted_by
    from streamwds.cli.output import Output
    from streamwds.cli.sources import found

    names = found(shards)
    out = Output(output, force, reads=names, maxcount=maxcount, maxsize=maxsize, json=json)
    sorted_by(names, out, field=by, numeric=numeric, reverse=reverse, temporary=temporary)
