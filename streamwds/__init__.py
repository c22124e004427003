"""Streams of samples from tar shards: typed stages, joined with `|`, that resume exactly where they stopped.

    urls("train-{000000..000146}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32)

README.md is the way in; ARCHITECTURE.md tells which room is for what.
"""

from __future__ import annotations

from streamwds import errors, iterators
from streamwds.codecs import (
    Continue,
    by_table,
    decompress,
    handle_extension,
    numpy_audio,
    numpy_video,
    tenbin,
    torch_audio,
    torch_video,
)
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
from streamwds.shards.opening import Shard, open_shards
from streamwds.shards.splitting import everywhere, split_by_node, split_by_worker
from streamwds.shards.urls import urls
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
    "Continue",
    "Member",
    "Position",
    "Sample",
    "Shard",
    "Stage",
    "Stream",
    "StreamwdsError",
    "TarWriter",
    "batched",
    "by_table",
    "collate",
    "decode",
    "decompress",
    "errors",
    "everywhere",
    "group_by_keys",
    "handle_extension",
    "identity",
    "ignore_and_continue",
    "ignore_and_stop",
    "iterators",
    "map",
    "numpy_audio",
    "numpy_video",
    "open_shards",
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
    "torch_audio",
    "torch_video",
    "unbatched",
    "urls",
    "warn_and_continue",
    "warn_and_stop",
]
