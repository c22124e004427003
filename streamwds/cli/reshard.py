"""`streamwds reshard` and `streamwds split`: the same samples in shards of another size."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, Keys, MaxCount, MaxSize, Only, Output, Sources

__all__ = ["reshard"]


def reshard(
    shards: Sources,
    output: Output,
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--shards", "-n", min=1, metavar="N", help="So many shards, as equal as can be.", show_default=False
        ),
    ] = None,
    keys: Keys = "",
    fields: Only = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Put samples into shards of another size, in their order (tarp's split).

    A sample at a time is in memory, and the keys of an output shard.

    Examples:

    - `streamwds reshard big.tar -o 'part-%06d.tar' --maxsize 1GB`
    - `streamwds split 'a-*.tar' -o 'b-{:04d}.tar' --shards 64`
    """
    from streamwds.cli.copying import copied

    copied(
        shards,
        output,
        maxcount=maxcount,
        maxsize=maxsize,
        number=number,
        keys=keys,
        fields=fields,
        force=force,
        json=json,
    )
