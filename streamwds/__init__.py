"""Streams of samples from tar shards: typed stages, joined with `|`, that resume exactly where they stopped.

    urls("train-{000000..000146}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32)

README.md is the way in; ARCHITECTURE.md tells which room is for what.
"""

from __future__ import annotations

from streamwds import errors, iterators
from streamwds.context import Context
from streamwds.elastic import redistribute
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
from streamwds.shards.splitting import everywhere, split_by_node, split_by_worker, split_samples
from streamwds.shards.urls import urls
from streamwds.stage import Batch, Sample, Stage, Stream, identity, stage
from streamwds.stages.batching import batched, collate, unbatched
from streamwds.stages.chance import resampled, rsample, shuffle_shards
from streamwds.stages.counting import skip, slice, take
from streamwds.stages.decoding import decode
from streamwds.stages.distribution import equalize, fraction
from streamwds.stages.epochs import repeat, with_epoch, with_length
from streamwds.stages.fields import to_tuple
from streamwds.stages.interleave import interleave
from streamwds.stages.joining import join
from streamwds.stages.mapping import map, select
from streamwds.stages.mixing import chain, mix, round_robin, zip_
from streamwds.stages.shuffling import shuffle
from streamwds.tar.members import Member, tarfiles
from streamwds.tar.samples import group_by_keys, tarsamples
from streamwds.tar.writer import TarWriter

__all__ = [
    "Batch",
    "Context",
    "Member",
    "Position",
    "Sample",
    "Shard",
    "Stage",
    "Stream",
    "StreamwdsError",
    "TarWriter",
    "batched",
    "chain",
    "collate",
    "decode",
    "equalize",
    "errors",
    "everywhere",
    "fraction",
    "group_by_keys",
    "identity",
    "ignore_and_continue",
    "ignore_and_stop",
    "interleave",
    "iterators",
    "join",
    "map",
    "mix",
    "open_shards",
    "redistribute",
    "repeat",
    "reraise_exception",
    "resampled",
    "round_robin",
    "rsample",
    "select",
    "shuffle",
    "shuffle_shards",
    "skip",
    "skip_at_most",
    "slice",
    "split_by_node",
    "split_by_worker",
    "split_samples",
    "stage",
    "take",
    "tarfiles",
    "tarsamples",
    "to_torch",
    "to_tuple",
    "unbatched",
    "urls",
    "warn_and_continue",
    "warn_and_stop",
    "with_epoch",
    "with_length",
    "zip_",
]
