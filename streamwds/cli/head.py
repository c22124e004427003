"""`streamwds head`: the first samples, and what is in them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from streamwds.cli.options import Json, Sources

__all__ = ["head"]


def head(
    shards: Sources,
    number: Annotated[int, typer.Option("--number", "-n", min=1, metavar="N", help="How many samples.")] = 3,
    json: Json = False,
) -> None:
    """Show the first samples: each field with its size and what it holds.

    Examples:

    - `streamwds head a.tar`
    - `streamwds head -n 1 --json https://host/a-000000.tar`
    """
    from streamwds.cli.printing import sample_lines, summary
    from streamwds.cli.sources import found, samples_of
    from streamwds.cli.telling import line, machine

    for sample in islice(samples_of(found(shards)), number):
        if json:
            fields = {name: value for name, value in sample.items() if name not in ("__key__", "__url__")}
            shown = {name: {"size": len(data), "holds": summary(name, data)} for name, data in fields.items()}
            machine({"url": sample["__url__"], "key": sample["__key__"], "fields": shown})
        else:
            for text in sample_lines(sample):
                line(text)
