"""`streamwds index`: where samples lie, kept beside their shards."""

from __future__ import annotations

from streamwds.cli.options import Json, Sources

__all__ = ["index"]


def index(shards: Sources, json: Json = False) -> None:
    """Make an index of each shard, kept beside it (a.tar.idx), so that samples are found by number and key at once.

    Only for local shards that are not compressed. An index that is there and fits its shard stays. With --json comes a
    list of the shards with their numbers of samples, which `@list.json` reads.

    Examples:

    - `streamwds index 'a-{000..146}.tar'`
    - `streamwds index --json a-*.tar > list.json`
    """
    from streamwds import tar
    from streamwds.cli.progress import meter
    from streamwds.cli.sources import bytes_of, found
    from streamwds.cli.telling import count, line, machine

    names = found(shards)
    listed: list[dict[str, object]] = []
    with meter("indexing", bytes_of(names), len(names), prints=True) as progress:
        for name in names:
            progress.file()
            indexed = tar.index(name, save=True)
            progress.read(indexed.size)
            listed.append({"url": name, "nsamples": len(indexed), "filesize": indexed.size})
            if not json:
                line(f"{name}.idx: {count(len(indexed), 'sample')}, {count(len(indexed.sizes), 'file')}")
    if json:
        machine({"shardlist": listed})
