"""Streams of samples from tar shards: typed stages, joined with `|`, that resume exactly where they stopped.

    urls("train-{000000..000146}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32)

README.md is the way in; ARCHITECTURE.md tells which room is for what.
"""

from __future__ import annotations

from streamwds import errors, iterators
from streamwds.codecs import tenbin
from streamwds.context import Context
from streamwds.ends import to_torch
from streamwds.errors import StreamwdsError
from streamwds.handlers import (
    ignore_and_continue,
    ignore_and_stop,
    reraise_exception,
    skip_at_most,
    warn_and_continue,
    warn_and_stop,
)
from streamwds.position import Position
from streamwds.shards.gopen import Gopen, gopen, gopen_schemes
from streamwds.shards.opening import Shard, open_shards
from streamwds.shards.prefetching import prefetch_shards
from streamwds.shards.splitting import everywhere, split_by_node, split_by_worker
from streamwds.shards.urls import urls, urls_from
from streamwds.stage import Batch, Sample, Stage, Stream, identity, stage
from streamwds.stages.batching import batched, collate, unbatched
from streamwds.stages.counting import take
from streamwds.stages.decoding import decode
from streamwds.stages.fields import to_tuple
from streamwds.stages.mapping import map, select
from streamwds.stages.shuffling import shuffle
from streamwds.tar.members import Member, tarfiles
from streamwds.tar.samples import group_by_keys, tarsamples
from streamwds.tar.writer import TarWriter

__all__ = [
    "Batch",
    "Context",
    "Gopen",
    "Member",
    "Position",
    "Sample",
    "Shard",
    "Stage",
    "Stream",
    "StreamwdsError",
    "TarWriter",
    "batched",
    "collate",
    "decode",
    "errors",
    "everywhere",
    "gopen",
    "gopen_schemes",
    "group_by_keys",
    "identity",
    "ignore_and_continue",
    "ignore_and_stop",
    "iterators",
    "map",
    "open_shards",
    "prefetch_shards",
    "reraise_exception",
    "select",
    "shuffle",
    "skip_at_most",
    "split_by_node",
    "split_by_worker",
    "stage",
    "take",
    "tarfiles",
    "tarsamples",
    "tenbin",
    "to_torch",
    "to_tuple",
    "unbatched",
    "urls",
    "urls_from",
    "warn_and_continue",
    "warn_and_stop",
]
