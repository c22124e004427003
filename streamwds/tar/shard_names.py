"""How the shards that are written are called: a pattern with a place for their number, or a function of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["PLACES", "Pattern", "filled", "places", "shard_namer"]

Pattern: TypeAlias = "str | os.PathLike[str] | Callable[[int], str]"

PLACES = ("rank", "worker", "epoch")  # besides the number, what may stand in a pattern: `{rank}`, `{worker:02d}`
_PLACE = re.compile(r"%(?P<old>0?\d*)d|\{(?P<name>rank|worker|epoch|)(?::(?P<new>0?\d*)d?)?\}")


def places(pattern: str) -> list[str]:
    """The names of the places in a pattern, the number's as "".

    >>> places("a-{rank}-%06d.tar"), places("{worker:02d}/{:06d}.tar")
    (['rank', ''], ['worker', ''])
    """
    return [found["name"] or "" for found in _PLACE.finditer(pattern)]


def filled(pattern: str, values: Mapping[str, int]) -> str:
    """The pattern with its named places filled.

    >>> filled("a-{rank:02d}-{epoch}-%06d.tar", {"rank": 3})
    'a-03-{epoch}-%06d.tar'
    """

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        return format(values[name], found["new"] or "") if name in values else found[0]

    return _PLACE.sub(fill, pattern)


def shard_namer(pattern: Pattern) -> Callable[[int], str]:
    """From a shard's number to its name. A pattern without a place for it, or with two, is a ValueError.

    >>> shard_namer("a-%06d.tar")(7), shard_namer("a-{:03d}.tar")(7), shard_namer("a{}.tar")(7)
    ('a-000007.tar', 'a-007.tar', 'a7.tar')
    """
    if callable(pattern):
        return pattern
    text: Any = os.fspath(pattern)
    if not isinstance(text, str):
        raise ValueError(f"a pattern is a str, a path or a function of the shard's number, not {pattern!r}")
    found = places(text)
    if found.count("") != 1:
        count = "a place" if "" not in found else "only one place"
        raise ValueError(f"a pattern needs {count} for the shard's number, such as %06d or {{:06d}}: {text!r}")
    if named := [name for name in found if name]:
        raise ValueError(f"{{{named[0]}}} has a value only where a stream is written (tee, write_to): {text!r}")
    place = next(_PLACE.finditer(text))
    front, back, spec = text[: place.start()], text[place.end() :], place["old"] or place["new"] or ""
    return lambda number: f"{front}{number:{spec}d}{back}"
