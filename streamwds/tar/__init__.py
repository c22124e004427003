"""Bytes to samples and back: headers, members, samples, the writer, and indexes. No decoding in this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamwds.later import found_later

if TYPE_CHECKING:
    from streamwds.tar.access import ShardFile, ShardFiles
    from streamwds.tar.indexes import Index, count, count_each, index
else:
    __getattr__ = found_later(
        __name__,
        {"streamwds.tar.access": "ShardFile ShardFiles", "streamwds.tar.indexes": "Index count count_each index"},
    )

__all__ = ["Index", "ShardFile", "ShardFiles", "count", "count_each", "index"]
