"""`streamwds cat`: one sample, or one field, as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force

__all__ = ["cat"]


def cat(
    shards: Annotated[
        str, typer.Argument(metavar="SHARDS", help="Where to look: a shard, or a pattern of several in quotes.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A sample's KEY, or KEY.FIELD.", show_default=False)],
    folder: Annotated[
        str | None, typer.Option("--folder", "-C", metavar="FOLDER", help="Write files there.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Print a field of a sample as it is, or a whole sample as a tar; or put them into a folder.

    Examples:

    - `streamwds cat a.tar 000017.json`
    - `streamwds cat 'a-{000..146}.tar' 000017.jpg > cat.jpg`
    - `streamwds cat a.tar 000017 -C somewhere`
    - `streamwds cat a.tar 000017 | tar xv`
    """
    import sys

    from streamwds import TarWriter
    from streamwds.cli.files import Folder
    from streamwds.cli.listing import sample_of_key
    from streamwds.cli.sources import found
    from streamwds.cli.telling import UsageError
    from streamwds.errors import MissingFieldError
    from streamwds.shards.local import write_all
    from streamwds.tar.names import split_name

    key, field = split_name(name) or (name, "")
    names = found([shards])
    if not field and folder is None and sys.stdout.isatty():
        raise UsageError("a sample is printed as a tar, which is nothing to look at: KEY.FIELD, -C FOLDER, or | tar tv")
    into = None if folder is None else Folder(folder, force)
    sample = sample_of_key(names, key)
    if field and field not in sample:
        there = ", ".join(name for name in sample if name not in ("__key__", "__url__"))
        raise MissingFieldError.about(sample, f"it has no such field, but {there}", field=field)
    if into is not None:
        for name, data in sample.items():
            if name == field if field else name not in ("__key__", "__url__"):
                into.write(f"{key}.{name}", data)
        into.check()
    elif not field:
        with TarWriter(sys.stdout.buffer, encoder=False, keep_meta=True) as writer:
            writer.write(sample)
    elif sys.stdout.isatty() and not sample[field].decode("utf-8", "replace").replace("\n", "").isprintable():
        raise UsageError("it is no plain text, and standard output is a terminal: -C FOLDER, or > FILE")
    else:
        write_all(sys.stdout.buffer, sample[field])  # (unbuffered, standard output may take less at a time)
