"""`streamwds concat`: the samples of several shards, one after the other."""

from __future__ import annotations

from streamwds.cli.options import Force, Json, Keys, MaxCount, MaxSize, Only, Output, Sources

__all__ = ["concat"]


def concat(
    shards: Sources,
    output: Output,
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    keys: Keys = "",
    fields: Only = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the samples of shards, one after the other, as one shard (tarp's cat).

    Files that belong to no sample are left out. A sample at a time is in memory, and the keys of an output shard.

    Examples:

    - `streamwds concat part-*.tar -o whole.tar`
    - `streamwds concat 'https://host/a-{0..9}.tar' -o - | tar tv`
    """
    from streamwds.cli.copying import copied

    copied(shards, output, maxcount=maxcount, maxsize=maxsize, keys=keys, fields=fields, force=force, json=json)
