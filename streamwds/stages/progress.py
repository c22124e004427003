"""How far a stream was written: a record beside the shards, from which `write_to(resume=True)` goes on.

A shard is published first, then recorded, each by one rename, and the record is there before the first shard. So
whenever the writer is killed, all shards that the record tells of are complete, and at most one more is there: the
next, which is removed and written again when the stream goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import attrs

from streamwds.errors import WriteError
from streamwds.position import Position
from streamwds.shards.opening import local_path
from streamwds.tar.partial import Partial, remove_partials

__all__ = ["Progress", "forget", "record_path", "restore", "save", "tidy"]

FORMAT = 1


@attrs.frozen
class Progress:
    """What is written: the number of the next shard, the bytes of the last one as a file, totals, and the position in
    the stream behind it all."""

    shard: int
    length: int = 0
    shards: int = 0
    samples: int = 0
    bytes: int = 0
    skipped: int = 0
    position: Position | None = None


def record_path(name: Callable[[int], str], start: int) -> str:
    """Where the record lies: hidden beside the first shard, and named after it."""
    folder, first = os.path.split(local_path(name(start)))
    return os.path.join(folder, f".{first}.progress.json")


def save(path: str, progress: Progress, *, fsync: bool) -> None:
    """Replace the record, all at once."""
    partial = Partial(path, fsync=fsync)
    try:
        partial.write(json.dumps({"streamwds": FORMAT, **attrs.asdict(progress)}).encode())
        partial.publish()
    except BaseException as error:
        partial.discard()
        if isinstance(error, OSError):
            raise WriteError(f"the record of progress can't be written: {error.strerror}", url=path) from error
        raise


def forget(path: str) -> None:
    """Remove the record, if there is one."""
    if os.path.exists(path):
        os.unlink(path)


def restore(path: str, name: Callable[[int], str], start: int, *, moved: bool) -> Progress:
    """The progress that the record tells of, if what lies there agrees with it; the first time, none. Changes nothing.

    Shards that no record tells of, or recorded ones that are gone or changed, are a `WriteError`. moved: shards may be
    gone because `post` moved them away.
    """
    found = _read(path)
    if found is None:
        _check_free(name(start), "is there, and no record tells from which stream, and how far that was written")
        return Progress(start)
    if not moved:
        _check_written(found, name, start)
    _check_free(name(found.shard + 1), f"is there, and {path} tells of none behind number {found.shard}")
    return found


def tidy(path: str, name: Callable[[int], str], found: Progress) -> None:
    """Remove what a killed writer left: partial files, and a shard that was published and not yet recorded."""
    following = local_path(name(found.shard))
    remove_partials(path)
    remove_partials(following)
    if os.path.exists(following):
        os.unlink(following)


def _read(path: str) -> Progress | None:
    try:
        with open(path, encoding="utf-8") as file:
            values: dict[str, Any] = json.load(file)
        if values.pop("streamwds") != FORMAT:
            raise ValueError("another format")
        return Progress(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WriteError(
            f"the record of progress can't be read ({error}): remove it, and the shards, to begin anew", url=path
        ) from error


def _check_free(name: str, why: str) -> None:
    if os.path.exists(local_path(name)):
        raise WriteError(f"it {why}: remove it, or give another pattern, or write without resume", url=name)


def _check_written(found: Progress, name: Callable[[int], str], start: int) -> None:
    gone = next((n for n in range(start, found.shard) if not os.path.exists(local_path(name(n)))), None)
    last = name(found.shard - 1)
    if gone is not None:
        raise WriteError("it was written, and is gone; write without resume to begin anew", url=name(gone))
    if found.shards and os.path.getsize(local_path(last)) != found.length:
        raise WriteError(
            f"it was written with {found.length} bytes, and has {os.path.getsize(local_path(last))} now; write without "
            "resume to begin anew",
            url=last,
        )
