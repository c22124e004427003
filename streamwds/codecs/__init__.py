"""Bytes to values and back, by a field's extension: one table for both directions.

A codec knows bytes and values only; samples, streams and shards may not enter here. Decoders run no code from the
data. Heavy libraries are imported with the first value that needs them.
"""

from streamwds.codecs.codec import Codec, Rules
from streamwds.codecs.images import jpeg, png, webp
from streamwds.codecs.plan import (
    Continue,
    by_table,
    decoder,
    decompress,
    handle_extension,
    numpy_audio,
    numpy_video,
    torch_audio,
    torch_video,
)
from streamwds.codecs.table import CODECS, encoder

__all__ = [
    "CODECS",
    "Codec",
    "Continue",
    "Rules",
    "by_table",
    "decoder",
    "decompress",
    "encoder",
    "handle_extension",
    "jpeg",
    "numpy_audio",
    "numpy_video",
    "png",
    "torch_audio",
    "torch_video",
    "webp",
]
