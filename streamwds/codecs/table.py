"""The one table of codecs, and how a field's name finds its codec.

Codecs are made in the modules beside this one; here they are only put together.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from streamwds.codecs import arrays, basic, images, media, objects, pickles, tenbin
from streamwds.codecs.codec import Codec, Encode
from streamwds.codecs.compressed import pack, unwrap

__all__ = ["CODECS", "encoder", "longest_extension"]

_MODULES = (basic, arrays, tenbin, objects, pickles, images, media)

CODECS: Mapping[str, Codec] = MappingProxyType(
    {extension: codec for module in _MODULES for codec in module.CODECS for extension in codec.extensions}
)
"""Extension to codec, for every extension that is known. Any of them may be followed by a compression (`json.gz`)."""


def longest_extension(field: str, extensions: Mapping[str, object]) -> str | None:
    """The longest of `extensions` that the field's name is or ends in, by whole words between dots; None if none is.

    >>> longest_extension("left.seg.png", {"png": 1, "seg.png": 2})
    'seg.png'
    >>> longest_extension("maskpng", {"png": 1}) is None
    True
    """
    rest = field
    while rest not in extensions:
        _, dot, rest = rest.partition(".")
        if not dot:
            return None
    return rest


def encoder(field: str, own: Mapping[str, Encode] | None = None) -> Encode | None:
    """The function that encodes a value for a field, by the longest extension that is known; None if none is.

    `own` has encoders of your own by extension, which go before the table's. The function gives bytes back as they are,
    for they count as encoded (and compressed) already, and raises `EncodeError` for a value that the extension can't
    hold.

    >>> encoder("cls")(7), encoder("cls")(b"as it is"), encoder("xyz")
    (b'7', b'as it is', None)
    >>> encoder("seg.xyz", {"xyz": str.encode})("a")
    b'a'
    """
    own = own or {}
    table = {**CODECS, **own}
    if (extension := longest_extension(field, table)) is not None:
        return own.get(extension) or CODECS[extension].encode
    rest, names = unwrap(field)
    encode = encoder(rest, own) if names else None
    return encode and functools.partial(_compressed, encode=encode, names=names)


def _compressed(value: Any, encode: Encode, names: tuple[str, ...]) -> bytes:
    if isinstance(value, bytes):
        return value
    data: Any = encode(value)
    # (what is no bytes, the caller complains of)
    return pack(bytes(data), names) if isinstance(data, (bytes, bytearray, memoryview)) else data
