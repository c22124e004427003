"""What is written to a URL is there when it is complete, or not at all: targets that are published or discarded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

__all__ = ["Spooled", "Target"]


class Target(Protocol):
    """Something being written. It ends by one of `publish` and `discard`; after an error in `publish`, by `discard`."""

    def write(self, data: Any, /) -> int:
        """Take all of the bytes; how many they are."""
        raise NotImplementedError

    def publish(self) -> None:
        """It is complete: let it appear under its name."""

    def discard(self) -> None:
        """Leave nothing of it."""


class Spooled:
    """Kept in a temporary file until it is complete, for the store takes it whole."""

    def __init__(self, upload: Callable[[BinaryIO], None]) -> None:
        self._upload = upload
        self._file = cast("BinaryIO", tempfile.NamedTemporaryFile(suffix=".partial"))  # noqa: SIM115

    def write(self, data: Any, /) -> int:
        return self._file.write(data)

    def publish(self) -> None:
        self._file.flush()
        self._upload(self._file)
        self._file.close()

    def discard(self) -> None:
        self._file.close()
