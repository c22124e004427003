"""Bytes to samples and back: headers, members, samples, the writer, and indexes. No decoding in this room."""

from __future__ import annotations

from streamwds.tar.access import ShardFile, ShardFiles
from streamwds.tar.indexes import Index, count, index

__all__ = ["Index", "ShardFile", "ShardFiles", "count", "index"]
