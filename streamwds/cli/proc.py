"""`streamwds proc`: a command of the user's on the files of each sample."""

from __future__ import annotations

from typing import Annotated

import typer

from streamwds.cli.options import Force, Json, MaxCount, MaxSize, Output, Sources, Temporary

__all__ = ["proc"]


def proc(
    shards: Sources,
    output: Output,
    command: Annotated[
        str, typer.Option("--command", "-c", metavar="COMMAND", help="What the shell runs.", show_default=False)
    ],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, metavar="N", help="So many commands at a time.")] = 1,
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    temporary: Temporary = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run a shell command on the files of each sample, and write the samples that it makes (tarp's proc).

    The command runs in a temporary folder, in which the sample's fields are the files sample.jpg, sample.cls …; what
    is called sample.* there afterwards are the fields of the new sample. If nothing is, the sample is left out. Its key
    is in the variable SAMPLE_KEY: a stranger's words, so quote it. The shell sees nothing else of a shard, and reads
    nothing from standard input; what it prints comes on standard error. The first command that fails ends it all.

    Examples:

    - `streamwds proc a.tar -c 'mogrify -resize 256x256 *.jpg' -o b.tar`
    - `streamwds proc 'a-*.tar' -j 8 -c 'gzip sample.json' -o 'b-%06d.tar' --maxsize 1GB`
    """
    from streamwds.cli.output import Output
    from streamwds.cli.progress import meter
    from streamwds.cli.running import processed
    from streamwds.cli.sources import bytes_of, found, samples_of

    names = found(shards)
    out = Output(output, force, reads=names, maxcount=maxcount, maxsize=maxsize, json=json)
    with meter("running", bytes_of(names), len(names)) as progress:
        samples = samples_of(names, progress.opener)
        out.write(processed(samples, command, jobs=jobs, temporary=temporary))
