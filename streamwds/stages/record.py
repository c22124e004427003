"""How far a stream was written: a record beside the shards, from which `write_to(resume=True)` goes on.

A shard is published first, then recorded, each at once (by a rename, or as an object of a store), and the record is
there before the first shard. So whenever the writer is killed, all shards that the record tells of are complete, and at
most one more is there: the next, which is removed and written again when the stream goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import attrs

from streamwds.errors import OpenError, WriteError
from streamwds.position import Position
from streamwds.redacted import redacted
from streamwds.shards.gopen import Gopen
from streamwds.shards.local import local_path, scheme_of
from streamwds.threads import in_order

__all__ = ["Progress", "Record"]

FORMAT = 1
ASKING = 16  # shards that a store is asked about at a time


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


@attrs.frozen
class Record:
    """The record of shards.

    name: from a shard's number to its path or URL; start: the number of the first.
    moved: shards may be gone because `post` moved them away.
    """

    name: Callable[[int], str]
    start: int
    opener: Gopen
    moved: bool
    fsync: bool

    @property
    def url(self) -> str:
        """Where it lies: hidden beside the first shard, and named after it."""
        first = self.name(self.start)
        if scheme_of(first) in ("", "file"):
            folder, first = os.path.split(local_path(first))
            return os.path.join(folder, f".{first}.progress.json")
        folder, slash, first = first.rpartition("/")
        return f"{folder}{slash}.{first}.progress.json"

    def save(self, progress: Progress) -> None:
        """Replace the record, all at once."""
        there = progress.shards and not self.moved
        progress = attrs.evolve(progress, length=(there and self._size(progress.shard - 1)) or 0)
        target = self.opener.create(self.url)
        try:
            target.write(json.dumps({"streamwds": FORMAT, **attrs.asdict(progress)}).encode())
            target.publish(fsync=self.fsync)
        except BaseException as error:
            target.discard()
            if isinstance(error, OSError):
                raise WriteError(f"the record of progress can't be written: {error.strerror}", url=self.url) from error
            raise

    def forget(self) -> None:
        """Remove the record, if there is one. (Where one can't be written, or not be looked for, there is none.)"""
        with contextlib.suppress(WriteError):
            self.opener.place(self.url).remove()

    def restore(self) -> Progress:
        """The progress that the record tells of, if what lies there agrees with it; the first time, none.

        Changes nothing. Shards that no record tells of, or recorded ones that are gone or changed, are a `WriteError`.
        """
        found = self._read()
        if found is None:
            why = "is there, and no record tells from which stream, and how far that was written"
            self._check_free(self.start, why)
            return Progress(self.start)
        if not self.moved:
            self._check_written(found)
        why = f"is there, and {redacted(self.url)} tells of none behind number {found.shard}"
        self._check_free(found.shard + 1, why)
        return found

    def tidy(self, found: Progress) -> None:
        """Remove what a killed writer left: partial files, and a shard that was published and not yet recorded."""
        following = self.opener.place(self.name(found.shard))
        self.opener.place(self.url).tidy()
        following.tidy()
        following.remove()

    def _read(self) -> Progress | None:
        if self.opener.place(self.url).size() is None:
            return None
        try:
            with self.opener(self.url) as file:
                values: dict[str, Any] = json.loads(file.read())
            if values.pop("streamwds") != FORMAT:
                raise ValueError("another format")
            return Progress(**values)
        except (OpenError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = error.message if isinstance(error, OpenError) else error
            raise WriteError(
                f"the record of progress can't be read ({reason}): remove it, and the shards, to begin anew",
                url=self.url,
            ) from error

    def _size(self, number: int) -> int | None:
        return self.opener.place(self.name(number)).size()

    def _check_free(self, number: int, why: str) -> None:
        if self._size(number) is not None:
            raise WriteError(
                f"it {why}: remove it, or give another pattern, or write without resume", url=self.name(number)
            )

    def _check_written(self, found: Progress) -> None:
        asked = in_order(self._size, range(self.start, found.shard), ASKING)
        gone = [number for number, size in asked if size.result() is None]
        if gone:
            raise WriteError("it was written, and is gone; write without resume to begin anew", url=self.name(gone[0]))
        if found.shards and (length := self._size(found.shard - 1)) != found.length:
            raise WriteError(
                f"it was written with {found.length} bytes, and has {length} now; write without resume to begin anew",
                url=self.name(found.shard - 1),
            )
