"""`streamwds check`: whether shards are intact, and a copy of what is."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, Sources

__all__ = ["check"]


def check(
    shards: Sources,
    decode: Annotated[bool, typer.Option("--decode/--no-decode", help="Decode every field.")] = True,
    media: Annotated[bool, typer.Option("--media", help="Decode sound and films, too: all of them.")] = False,
    repair: Annotated[
        str,
        typer.Option(
            "--repair",
            metavar="OUT",
            help="Write what is intact of damaged shards: to this file, or of several shards to this folder.",
            show_default=False,
        ),
    ] = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Check shards: headers, samples, keys that come twice, and whether every field can be decoded.

    The exit status is 0 if all is well, 1 if not, 2 for what can't be checked. Nothing in a shard is run: of pickles it
    is only told that they are there. In memory are the keys of a shard and a few samples.

    With --repair, shards that are damaged are written anew: without samples that are cut, that have a key or a field
    twice or that can't be decoded. Behind a damaged header, reading goes on at the next one, less one sample.

    Examples:

    - `streamwds check 'a-{000..146}.tar'`
    - `streamwds check --no-decode --json a.tar`
    - `streamwds check broken.tar --repair mended.tar`
    """
    from streamwds.cli.checking import checked
    from streamwds.cli.printing import report_lines
    from streamwds.cli.progress import meter
    from streamwds.cli.repairing import Repairs
    from streamwds.cli.sources import bytes_of, found
    from streamwds.cli.telling import line, machine

    names = found(shards)
    repairs = Repairs(repair, names, force)
    intact = True
    with meter("checking", bytes_of(names), len(names), prints=True) as progress:
        for name in names:
            with repairs.of(name) as copy:
                report = checked(name, progress.opener, copy.write, decode=decode, media=media)
                report.repaired = copy.finish() if report.problems else None
            intact = intact and not report.problems
            if json:
                machine(report)
            else:
                for text in report_lines(report):
                    line(text)
    if not intact:
        raise typer.Exit(1)
