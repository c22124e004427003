"""`streamwds shuffle`: samples in a random order."""

from __future__ import annotations

from streamwds.cli.options import Force, Json, Keys, MaxCount, MaxSize, Output, Seed, Sources, Temporary

__all__ = ["shuffle"]


def shuffle(
    shards: Sources,
    output: Output,
    seed: Seed = 0,
    keys: Keys = "",
    maxcount: MaxCount = None,
    maxsize: MaxSize = None,
    temporary: Temporary = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Mix the samples of all shards: each order of all of them is as likely.

    Shards may be larger than memory: local ones are read sample by sample through an index of their headers; others
    (URLs, compressed ones, standard input) are copied to temporary files first. In memory are about 50 bytes for each
    file and for each sample, and one sample.

    Examples:

    - `streamwds shuffle 'a-*.tar' -o 'mixed-%06d.tar' --maxsize 1GB`
    - `streamwds shuffle 'a-*.tar' -o mixed.tar --seed 7`
    """
    from streamwds.cli.ordering import shuffled
    from streamwds.cli.output import Output
    from streamwds.cli.sources import found

    names = found(shards)
    out = Output(output, force, reads=names, maxcount=maxcount, maxsize=maxsize, json=json)
    shuffled(names, out, seed=seed, keys=keys, temporary=temporary)
