"""Files written to a folder, by names that a stranger chose: none of them leaves it, and none is there by half."""

from __future__ import annotations

import os

from streamwds import gopen
from streamwds.cli.telling import UsageError, bare, say
from streamwds.errors import StreamwdsError

__all__ = ["Folder"]

TOLD = 10  # refusals that are told one by one


class Folder:
    """A folder, made if it isn't there, in which files are written; names that can't be are told of and passed over."""

    def __init__(self, path: str, force: bool = False) -> None:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UsageError("it is no folder", url=path)
        os.makedirs(path, exist_ok=True)
        self._path = os.path.realpath(path)
        self._force = force
        self._made: set[str] = {self._path}
        self.files = self.bytes = self.refused = 0

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or tell why not."""
        try:
            path = self._place(name)
            with gopen(path, "wb") as file:
                file.write(data)
        except (OSError, ValueError) as error:
            self.refused += 1
            if self.refused <= TOLD:
                say(f"{name!r} is not written: {bare(error)}")
            return
        self.files += 1
        self.bytes += len(data)

    def _place(self, name: str) -> str:
        """The path for a name, below the folder; a ValueError if there is none, or a file is there already."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or name.startswith("/") or os.path.splitdrive(name)[0] or "\0" in name:
            raise ValueError("no plain name of a file in a folder")
        if os.sep != "/" and os.sep in name:
            raise ValueError(f"it has a {os.sep} in it")
        folder = self._path
        for part in parts[:-1]:
            folder = os.path.join(folder, part)
            if folder not in self._made:
                self._make(folder)
        path = os.path.join(folder, parts[-1])
        if os.path.isdir(path):
            raise ValueError("there is a folder of this name")
        if not self._force and os.path.lexists(path):
            raise ValueError("it is there already (--force writes over it)")
        return path

    def _make(self, folder: str) -> None:
        if os.path.islink(folder):
            raise ValueError("there is a link on the way to it")
        if not os.path.isdir(folder):
            os.mkdir(folder)
        self._made.add(folder)

    def check(self) -> None:
        """An error if not everything was written."""
        if self.refused:
            raise StreamwdsError(f"{self.refused} files were not written", url=self._path)
