"""Codecs of plain nested data in binary: MessagePack and CBOR. Each needs the extra of its name.

A length that a file claims is only believed as far as the file has bytes, so lies cost no memory.
"""

from __future__ import annotations

import io
from typing import Any, cast

from streamwds.codecs.codec import Codec, describe, library
from streamwds.errors import EncodeError

__all__ = ["CODECS", "decode_cbor", "decode_msgpack", "encode_cbor", "encode_msgpack"]


# ---- mp msgpack msg


def decode_msgpack(data: bytes) -> Any:
    """The value of a MessagePack file: arrays as lists, strings as str, binary as bytes; what `msgpack.unpackb` says.

    Raises what msgpack raises, mostly a `ValueError`. Maps with keys other than str and bytes are refused, as a
    defence against keys that all hash alike.
    """
    return library("msgpack", "msgpack").unpackb(data)


def encode_msgpack(value: Any) -> bytes:
    """Plain data as MessagePack; tuples are read back as lists. `EncodeError` for what it can't hold.

    A numpy array is not plain data: write `array.tolist()`, or another extension, such as npy or ten.
    """
    if isinstance(value, bytes):
        return value
    try:
        return cast("bytes", library("msgpack", "msgpack").packb(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"expected plain data (or bytes, already encoded), got {describe(value)}: {error}") from error


# ---- cbor


def decode_cbor(data: bytes) -> Any:
    """The value of a CBOR file, which is one item of data (RFC 8949); dates, decimals and the like as cbor2 has them.

    Raises what cbor2 raises, a `CBORDecodeError`, and `ValueError` if something follows the item.
    """
    stream = io.BytesIO(data)
    value = library("cbor2", "cbor").load(stream)
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell()} bytes follow the item of data")
    return value


def encode_cbor(value: Any) -> bytes:
    """Plain data, dates, decimals and sets as CBOR; tuples are read back as lists. `EncodeError` for anything else."""
    if isinstance(value, bytes):
        return value
    try:
        return cast("bytes", library("cbor2", "cbor").dumps(value))
    except (library("cbor2", "cbor").CBORError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"expected plain data (or bytes, already encoded), got {describe(value)}: {error}") from error


CODECS = (
    Codec(("mp", "msgpack", "msg"), decode_msgpack, encode_msgpack),
    Codec(("cbor",), decode_cbor, encode_cbor),
)
