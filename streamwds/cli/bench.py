"""`streamwds bench`: how fast shards are read and worked on, and how large their fields are."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Json, Sources

__all__ = ["bench"]


def bench(
    shards: Sources,
    stages: Annotated[
        str,
        typer.Option(
            "--stages", "-s", metavar="CODE", help="What follows tarsamples: \"decode('rgb8') | batched(32)\"."
        ),
    ] = "",
    number: Annotated[
        int | None,
        typer.Option("--number", "-n", min=1, metavar="N", help="Stop after so many items.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.0, help="Stop after so much time.", show_default=False)
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Run it once more, and tell how long each stage takes.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure a pipeline: samples and bytes a second, and the size of each field.

    Examples:

    - `streamwds bench 'a-{000..146}.tar' --seconds 10`
    - `streamwds bench a.tar -s "shuffle(1000) | decode('rgb8') | batched(32)" --profile`
    """
    from streamwds import identity
    from streamwds.bench import measured, stages_of
    from streamwds.cli.printing import fields_lines, measured_lines
    from streamwds.cli.sources import found, samples_of
    from streamwds.cli.telling import UsageError, line, machine
    from streamwds.errors import CompositionError

    samples = samples_of(found(shards))
    try:
        made = stages_of(stages) if stages else identity
        pipeline = samples | made
    except CompositionError as error:
        raise UsageError(f"--stages: {error}") from error
    result = measured(samples, made, items=number, seconds=seconds)
    if json:
        machine(result.data())
        return
    profiled = str(pipeline.profile(result.items)).splitlines() if profile else []
    for text in (*measured_lines(result), *fields_lines(result.total.fields), *profiled):
        line(text)
