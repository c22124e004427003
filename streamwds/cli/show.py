"""`streamwds show`: samples as a page for the browser and as a contact sheet."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Only, Sources

__all__ = ["show"]


def show(
    shards: Sources,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="What is drawn: a page (.html) or a contact sheet (.png, .jpg). May be given several times.",
            show_default="samples.html",
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, metavar="N", help="How many samples.")] = 48,
    skip: Annotated[int, typer.Option("--skip", min=0, metavar="N", help="How many to pass over before.")] = 0,
    fields: Only = "",
    browser: Annotated[bool, typer.Option("--open", help="Open what was drawn.")] = False,
    force: Force = False,
) -> None:
    """Draw samples: pictures, texts, numbers, sounds and films to play, arrays as heat maps.

    A page needs nothing but itself, and nothing that lies in a shard can run in it.

    Examples:

    - `streamwds show a.tar --open`
    - `streamwds show 'a-{000..146}.tar' -n 200 --skip 1000 -o page.html -o sheet.png`
    - `streamwds show s3://bucket/a.tar --fields jpg,cls`
    """
    from streamwds import skip as skipped
    from streamwds import take
    from streamwds.cli.copying import fields_of
    from streamwds.cli.drawing import Drawings
    from streamwds.cli.sources import found, samples_of
    from streamwds.cli.telling import count, say

    names = found(shards)
    drawings = Drawings(output or ["samples.html"], force=force)
    samples = [*(samples_of(names, suffixes=fields_of(fields)) | skipped(skip) | take(number))]
    drawings.draw(samples, ", ".join(names))
    say(f"drew {count(len(samples), 'sample')}: {', '.join(drawings.paths)}")
    if browser:
        for path in drawings.paths:
            typer.launch(path)
