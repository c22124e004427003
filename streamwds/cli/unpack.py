"""`streamwds unpack`: the files of shards into a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, Only, Sources

__all__ = ["unpack"]


def unpack(
    shards: Sources,
    folder: Annotated[
        str, typer.Option("--folder", "-C", metavar="FOLDER", help="Where files are put; made if missing.")
    ] = ".",
    apart: Annotated[bool, typer.Option("--apart", help="A folder for each shard, named as it is.")] = False,
    fields: Only = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the files in shards to a folder.

    No name in a shard leads out of the folder, links are never made, and no file is there by half. What can't be
    written is told, and left out; then the exit status is 1.

    Examples:

    - `streamwds unpack a.tar -C photos`
    - `streamwds unpack 'a-*.tar' --apart --fields jpg,cls`
    """
    import os

    from streamwds.cli.copying import fields_of
    from streamwds.cli.files import Folder
    from streamwds.cli.progress import meter
    from streamwds.cli.sources import bytes_of, found, members_of
    from streamwds.cli.telling import count, machine, say, size
    from streamwds.shards.urls import shard_name
    from streamwds.tar.names import split_name

    names, only = found(shards), fields_of(fields)
    into = Folder(folder, force)
    with meter("unpacking", bytes_of(names), len(names)) as progress:
        for member in members_of(names, progress.opener):
            parts = split_name(member.name)
            if only is None or (parts is not None and parts[1] in only):
                shard = shard_name(member.url).partition(".")[0]
                into.write(f"{shard}/{member.name}" if apart else member.name, member.data)
    if json:
        machine({"files": into.files, "bytes": into.bytes, "refused": into.refused})
    else:
        say(f"wrote {count(into.files, 'file')}, {size(into.bytes)}, to {os.path.join(folder, '')}")
    into.check()
