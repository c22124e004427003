"""Positions: small, plain JSON data that say from where a stream goes on.

A position is a pair `[head, at]`. The head names the format, the context and the pipeline to which it belongs (shared
by all positions of one run); `at` is what source and steps remember, each stage's wrapped around its upstream's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from streamwds.context import Context
from streamwds.errors import PositionError
from streamwds.steps import At, Run, Source, Step, Upstream

if TYPE_CHECKING:
    from streamwds.stage import Stream

__all__ = ["FORMAT", "Position", "check", "describe", "digest", "head", "split"]

FORMAT = 1

Position: TypeAlias = Sequence[Any]
Steps: TypeAlias = Sequence[Step[Any, Any]]


def digest(value: Any) -> str:
    """Eight bytes, in hex, that stand for plain data.

    >>> digest([1, "a"]) == digest((1, "a"))
    True
    """
    return blake2b(json.dumps(value).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def head(context: Context, source: Source, steps: Steps) -> dict[str, Any]:
    """What all positions of one run have in common."""
    return {"streamwds": FORMAT, **attrs.asdict(context), **_pipeline(source, steps)}


def _pipeline(source: Source, steps: Steps) -> dict[str, Any]:
    marks = [(step.name, identity) for step in steps if (identity := step.identity()) is not None]
    return {
        "source": digest(source.identity()),
        "stages": [f"{name}:{digest(identity)[:8]}" for name, identity in marks],
    }


def split(position: Position) -> tuple[dict[str, Any], At]:
    """A position's head and the rest of it; an error if it is none."""
    if isinstance(position, (list, tuple)) and len(position) == 2 and isinstance(position[0], Mapping):
        found = cast("dict[str, Any]", dict(position[0]))
        if "streamwds" in found:
            if found["streamwds"] != FORMAT:
                raise PositionError(
                    f"this position has format {found['streamwds']!r}; this release of streamwds reads format {FORMAT}"
                )
            marks: list[Any] = found["stages"] if isinstance(found.get("stages"), list) else [None]
            if all(isinstance(mark, str) for mark in (found.get("source"), *marks)):
                with contextlib.suppress(ValueError):
                    _context(found)
                    return found, position[1]
    raise PositionError(
        f"{_short(position)} is no position: give what .tracked() gave with an item, through JSON or not"
    )


def _context(found: Mapping[str, Any]) -> Context:
    """The context that a head tells of; a `ValueError` if it makes no sense."""
    known: dict[str, Any] = {name: found.get(name) for name in attrs.fields_dict(Context)}
    return Context(**known)


def check(found: Mapping[str, Any], fixed: Mapping[str, int], source: Source, steps: Steps) -> None:
    """Refuse a position that another pipeline gave, or another seed, epoch or worker than the ones fixed."""
    differs: list[str] = []
    here = _pipeline(source, steps)
    if found["source"] != here["source"]:
        differs.append("it comes from another source (other shards, another order or number of them, or other streams)")
    if found["stages"] != here["stages"]:
        differs.append(_stages_differ(found["stages"], here["stages"]))
    goes_on = any(step.goes_on for step in steps)
    differs += [
        f"it has {name} {found[name]}, and the stream has {name} {value}"
        for name, value in fixed.items()
        if found[name] != value and not (name == "epoch" and goes_on and found[name] == value - 1)
    ]
    if differs:
        raise PositionError(
            f"this position is not of this stream: {'; '.join(differs)}. (force=True goes on all the same)"
        )


def check_reader(found: Mapping[str, Any], context: Context) -> None:
    """Refuse a position of another rank or worker than the one that is about to read."""
    names = ("rank", "world_size", "worker", "workers")
    if any(found[name] != getattr(context, name) for name in names):
        theirs, ours = (
            ", ".join(f"{n}={get(n)}" for n in names) for get in (found.__getitem__, context.__getattribute__)
        )
        raise PositionError(
            f"this position is of the reader {theirs}, and here reads {ours}; "
            f"fix the reader with .within({theirs}), or give each its own position. (force=True goes on all the same)"
        )


def describe(position: Position, stream: Stream[Any]) -> str:
    """What a position of a stream means, in words: where it goes on, each stage in its turn.

    For people to read, and apt to change. Shards, items, blocks and epochs are counted from 0; bytes are those of the
    uncompressed shard. A position of another stream is a `PositionError`.

    >>> import streamwds.position
    >>> stream = range(100) | shuffle(10) | repeat(2)
    >>> position = list(stream.tracked())[115][1]
    >>> streamwds.position.describe(position, stream)
    'item 10, shuffle block 1 (6 given), epoch 1'
    """
    found, at = split(position)
    check(found, {}, stream.source, stream.steps)
    context = _context(found)
    words = Upstream(stream.source, stream.steps, Run(context)).words(at)
    if not any(word.startswith("epoch ") for word in words):
        words.append(f"epoch {context.epoch}")
    if context.world_size > 1:
        words.append(f"rank {context.rank} of {context.world_size}")
    if context.workers > 1:
        words.append(f"worker {context.worker} of {context.workers}")
    return ", ".join(words)


def _stages_differ(theirs: Sequence[str], ours: Sequence[str]) -> str:
    names = ([mark.partition(":")[0] for mark in marks] for marks in (theirs, ours))
    then, now = (" | ".join(n) or "no stages" for n in names)
    if then != now:
        return f"its pipeline was {then}, and this one is {now}"
    changed = [mark.partition(":")[0] for mark, other in zip(theirs, ours) if mark != other]
    return f"other options were given to {', '.join(changed)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
