"""`streamwds ls`: what is in shards."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Json, Sources

__all__ = ["ls"]


def ls(
    shards: Sources,
    members: Annotated[bool, typer.Option("--members", "-m", help="The files in the shards, not samples.")] = False,
    fields: Annotated[bool, typer.Option("--fields", "-t", help="A table of the fields, over all samples.")] = False,
    json: Json = False,
) -> None:
    """List the samples in shards: size, key, fields.

    Of local shards that are not compressed only the headers are read.

    Examples:

    - `streamwds ls 'a-{000..146}.tar' | less`
    - `streamwds ls --fields a.tar`
    - `streamwds ls --members --json a.tar`
    """
    from attrs import asdict

    from streamwds.cli import listing
    from streamwds.cli.printing import fields_lines, member_line, sample_line
    from streamwds.cli.progress import meter
    from streamwds.cli.sources import bytes_of, found
    from streamwds.cli.telling import UsageError, line, machine

    if members and fields:
        raise UsageError("--members or --fields, not both")
    names = found(shards)
    with meter("reading", bytes_of(names), len(names), shown=fields) as progress:
        if members:
            for member in listing.members(names, progress):
                machine(member) if json else line(member_line(member))
            return
        if not fields:
            for sample in listing.samples(names, progress):
                machine(sample) if json else line(sample_line(sample))
            return
        totals = listing.totals(listing.samples(names, progress))
    if json:
        for name, field in totals.items():
            machine({"field": name, **asdict(field)})
    else:
        for text in fields_lines(totals):
            line(text)
