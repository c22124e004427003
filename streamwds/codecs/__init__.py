"""Bytes to values and back, by a field's extension: one table for both directions.

A codec knows bytes and values only; samples, streams and shards may not enter here. Decoders run no code from the
data. Heavy libraries are imported with the first value that needs them.
"""

from streamwds.codecs.codec import Codec
from streamwds.codecs.table import CODECS, decoder, encoder

__all__ = ["CODECS", "Codec", "decoder", "encoder"]
