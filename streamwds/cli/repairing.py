"""Copies of damaged shards, with what is intact in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

from streamwds import TarWriter
from streamwds.cli.telling import UsageError, say
from streamwds.shards.urls import shard_name
from streamwds.stage import Sample

__all__ = ["Copy", "Repairs"]


class Copy:
    """A copy of a shard in the making, which is dropped unless it is finished. path: None for no copy at all."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._writer: TarWriter | None = None

    def write(self, sample: Sample) -> None:
        if self._path is not None:
            if self._writer is None:
                self._writer = TarWriter(self._path, encoder=False, keep_meta=True)
            self._writer.write(sample)

    def finish(self) -> str | None:
        """Let the copy appear, and give its path; None if there is none."""
        if self._writer is None:
            if self._path is not None:
                say(f"nothing is intact, so there is no {self._path}")
            return None
        self._writer.close()
        return self._path

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.abort()


class Repairs:
    """Where copies of damaged shards are put: of one shard the file `out`, unless that is a folder; of several, the
    folder `out`, in which they are called as they are. "": there are none."""

    def __init__(self, out: str, shards: list[str], force: bool) -> None:
        self._paths = dict.fromkeys(shards) if not out else self._named(out, shards)
        for path in self._paths.values():
            if path is not None and os.path.lexists(path) and not force:
                raise UsageError("it is there already; --force writes over it", url=path)

    def _named(self, out: str, shards: list[str]) -> dict[str, str | None]:
        if len(shards) == 1 and not out.endswith("/") and not os.path.isdir(out):
            if not os.path.isdir(folder := os.path.dirname(out) or "."):
                raise UsageError(f"there is no folder {folder}", url=out)
            return {shards[0]: out}
        paths = {shard: os.path.join(out, "stdin.tar" if shard == "-" else shard_name(shard)) for shard in shards}
        if len(set(paths.values())) < len(paths):
            raise UsageError("some shards have the same name, and can't be put into one folder", url=out)
        try:
            os.makedirs(out, exist_ok=True)
        except FileExistsError as error:
            raise UsageError("several shards are repaired into a folder, and it is none", url=out) from error
        return {**paths}

    @contextlib.contextmanager
    def of(self, shard: str) -> Generator[Copy]:
        """The copy of a shard, dropped in the end unless it was finished."""
        copy = Copy(self._paths[shard])
        try:
            yield copy
        finally:
            copy.drop()
