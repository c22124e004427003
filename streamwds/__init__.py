"""Streams of samples from tar shards: typed stages, joined with `|`, that resume exactly where they stopped.

    urls("train-{000000..000146}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32)

README.md is the way in; ARCHITECTURE.md tells which room is for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamwds import errors
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
from streamwds.later import found_later
from streamwds.position import Position
from streamwds.stage import Batch, Sample, Stage, Stream, identity, stage

if TYPE_CHECKING:
    from streamwds import checks, hooks, iterators, tar
    from streamwds.codecs import (
        Continue,
        by_glob,
        by_table,
        decompress,
        handle_extension,
        must_decode,
        numpy_audio,
        numpy_video,
        tenbin,
        torch_audio,
        torch_video,
    )
    from streamwds.composing import compose, pipeline
    from streamwds.elastic import redistribute
    from streamwds.sampling import ChunkedSampler
    from streamwds.shards.cache import ShardCache, cache_shards, guess_shard, shard_uuid
    from streamwds.shards.gopen import Gopen, gopen, gopen_schemes
    from streamwds.shards.opening import Shard, open_shards
    from streamwds.shards.prefetching import prefetch_shards
    from streamwds.shards.splitting import everywhere, split_by_node, split_by_worker, split_samples
    from streamwds.shards.storing import CacheStream
    from streamwds.shards.urls import urls, urls_from
    from streamwds.stages.associating import associate
    from streamwds.stages.batching import batched, collate, unbatched, unlisted
    from streamwds.stages.bucketing import bucket_batched
    from streamwds.stages.caching import DBCache, cache_samples
    from streamwds.stages.chance import resampled, rsample, shuffle_shards
    from streamwds.stages.counting import skip, slice, take
    from streamwds.stages.decoding import decode, xdecode
    from streamwds.stages.distribution import equalize, fraction, non_empty
    from streamwds.stages.elements import map_dict, map_tuple, transform_with
    from streamwds.stages.epochs import repeat, with_epoch, with_length
    from streamwds.stages.fields import extract_keys, getfirst, to_tuple
    from streamwds.stages.interleave import interleave
    from streamwds.stages.joining import join
    from streamwds.stages.mapping import map, select
    from streamwds.stages.mixing import chain, mix, round_robin, zip_
    from streamwds.stages.mocking import mock
    from streamwds.stages.packing import pack
    from streamwds.stages.progress import progress
    from streamwds.stages.renaming import rename, rename_keys
    from streamwds.stages.shuffling import shuffle
    from streamwds.stages.watching import info, log_keys
    from streamwds.stages.writing import Written, tee, write_to
    from streamwds.tar.access import ShardFile, ShardFiles
    from streamwds.tar.members import Member, tarfiles
    from streamwds.tar.samples import group_by_keys, tarsamples
    from streamwds.tar.shard_writer import ShardWriter
    from streamwds.tar.writer import TarWriter
else:
    __getattr__ = found_later(
        __name__,
        {
            "streamwds.iterators": "",
            "streamwds.tar": "",
            "streamwds.shards.opening": "Shard open_shards",
            "streamwds.shards.splitting": "everywhere split_by_node split_by_worker split_samples",
            "streamwds.shards.urls": "urls urls_from",
            "streamwds.stages.batching": "batched collate unbatched unlisted",
            "streamwds.stages.counting": "skip slice take",
            "streamwds.stages.fields": "extract_keys getfirst to_tuple",
            "streamwds.stages.mapping": "map select",
            "streamwds.stages.shuffling": "shuffle",
            "streamwds.tar.members": "Member tarfiles",
            "streamwds.tar.samples": "group_by_keys tarsamples",
            "streamwds.codecs": "Continue by_glob by_table decompress handle_extension must_decode numpy_audio "
            "numpy_video torch_audio torch_video",
            "streamwds.codecs.tenbin": "",
            "streamwds.checks": "",
            "streamwds.composing": "compose pipeline",
            "streamwds.hooks": "",
            "streamwds.sampling": "ChunkedSampler",
            "streamwds.stages.associating": "associate",
            "streamwds.stages.bucketing": "bucket_batched",
            "streamwds.stages.elements": "map_dict map_tuple transform_with",
            "streamwds.stages.mocking": "mock",
            "streamwds.stages.packing": "pack",
            "streamwds.stages.renaming": "rename rename_keys",
            "streamwds.stages.watching": "info log_keys",
            "streamwds.elastic": "redistribute",
            "streamwds.shards.cache": "ShardCache cache_shards guess_shard shard_uuid",
            "streamwds.shards.gopen": "Gopen gopen gopen_schemes",
            "streamwds.shards.prefetching": "prefetch_shards",
            "streamwds.shards.storing": "CacheStream",
            "streamwds.stages.caching": "DBCache cache_samples",
            "streamwds.stages.chance": "resampled rsample shuffle_shards",
            "streamwds.stages.decoding": "decode xdecode",
            "streamwds.stages.distribution": "equalize fraction non_empty",
            "streamwds.stages.epochs": "repeat with_epoch with_length",
            "streamwds.stages.interleave": "interleave",
            "streamwds.stages.joining": "join",
            "streamwds.stages.mixing": "chain mix round_robin zip_",
            "streamwds.stages.progress": "progress",
            "streamwds.stages.writing": "Written tee write_to",
            "streamwds.tar.access": "ShardFile ShardFiles",
            "streamwds.tar.shard_writer": "ShardWriter",
            "streamwds.tar.writer": "TarWriter",
        },
    )

__all__ = [
    "Batch",
    "CacheStream",
    "ChunkedSampler",
    "Context",
    "Continue",
    "DBCache",
    "Gopen",
    "Member",
    "Position",
    "Sample",
    "Shard",
    "ShardCache",
    "ShardFile",
    "ShardFiles",
    "ShardWriter",
    "Stage",
    "Stream",
    "StreamwdsError",
    "TarWriter",
    "Written",
    "associate",
    "batched",
    "bucket_batched",
    "by_glob",
    "by_table",
    "cache_samples",
    "cache_shards",
    "chain",
    "checks",
    "collate",
    "compose",
    "decode",
    "decompress",
    "equalize",
    "errors",
    "everywhere",
    "extract_keys",
    "fraction",
    "getfirst",
    "gopen",
    "gopen_schemes",
    "group_by_keys",
    "guess_shard",
    "handle_extension",
    "hooks",
    "identity",
    "ignore_and_continue",
    "ignore_and_stop",
    "info",
    "interleave",
    "iterators",
    "join",
    "log_keys",
    "map",
    "map_dict",
    "map_tuple",
    "mix",
    "mock",
    "must_decode",
    "non_empty",
    "numpy_audio",
    "numpy_video",
    "open_shards",
    "pack",
    "pipeline",
    "prefetch_shards",
    "progress",
    "redistribute",
    "rename",
    "rename_keys",
    "repeat",
    "reraise_exception",
    "resampled",
    "round_robin",
    "rsample",
    "select",
    "shard_uuid",
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
    "tar",
    "tarfiles",
    "tarsamples",
    "tee",
    "tenbin",
    "to_torch",
    "to_tuple",
    "torch_audio",
    "torch_video",
    "transform_with",
    "unbatched",
    "unlisted",
    "urls",
    "urls_from",
    "warn_and_continue",
    "warn_and_stop",
    "with_epoch",
    "with_length",
    "write_to",
    "xdecode",
    "zip_",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
