"""Files that are never there by half: written under another name beside their place, and renamed when complete."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import Any

from streamwds.errors import OpenError, WriteError
from streamwds.shards.opening import local_path

__all__ = ["Partial", "Whole", "remove_partials"]


class Whole:
    """A file all of whose writes are whole, whatever the file itself does (a raw one may take fewer bytes)."""

    def __init__(self, file: Any) -> None:
        self._file: Any = file

    def write(self, data: Any) -> int:
        """Write all of it; the number of bytes."""
        left = memoryview(data)
        while left and self._file is not None:
            written = self._file.write(left)
            left = left[len(left) if written is None else written :]  # (None: from files that don't count)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def let_go(self) -> None:
        """Write nothing more: a compressor that is closed after this leaves no trace of its end."""
        self._file = None


class Partial(Whole):
    """A file to be written under a temporary name, `.NAME.….partial` in the same folder; `publish` renames it.

    What can't be done is a `WriteError`. A process that is killed leaves its partial file behind.
    """

    def __init__(self, url: str, *, fsync: bool = False) -> None:
        self.url = url
        self.fsync = fsync
        try:
            self.path = local_path(url)
            self.folder, name = os.path.split(self.path)
            self.temporary = os.path.join(self.folder, f".{name}.{secrets.token_hex(4)}.partial")
            super().__init__(open(self.temporary, "xb", buffering=0))  # noqa: SIM115
        except OpenError as error:
            raise WriteError(error.message, url=url) from error
        except (OSError, ValueError) as error:  # (ValueError: a path with a NUL)
            reason = getattr(error, "strerror", None) or error
            raise WriteError(f"it can't be written: {reason}", url=url) from error
        self._raw: Any = self._file

    def publish(self) -> None:
        """The file appears under its name now, in the place of an older one; with `fsync`, once the disk has it."""
        if self.fsync:
            os.fsync(self._raw.fileno())
        self._raw.close()
        os.replace(self.temporary, self.path)
        if self.fsync and os.name == "posix":
            folder = os.open(self.folder or ".", os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Leave nothing of it."""
        self.let_go()
        with contextlib.suppress(OSError):
            self._raw.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


def remove_partials(path: str) -> None:
    """Remove what killed writers of this file left beside its place."""
    folder, name = os.path.split(path)
    partial = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(folder or "."):
            if partial.fullmatch(entry):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, entry))
