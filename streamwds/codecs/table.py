"""The one table of codecs, and how a field's name finds its codec.

Codecs are made in the modules beside this one; here they are only put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streamwds.codecs import basic, images, tenbin
from streamwds.codecs.codec import Codec, Decode, Encode

__all__ = ["CODECS", "decoder", "encoder", "longest_extension"]

CODECS: Mapping[str, Codec] = MappingProxyType(
    {extension: codec for codec in (*basic.CODECS, *images.CODECS, *tenbin.CODECS) for extension in codec.extensions}
)
"""Extension to codec, for every extension that is known."""

_IMAGE_CODECS = frozenset(images.CODECS)


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


def decoder(field: str, image: str | None = None) -> Decode | None:
    """The function that decodes the bytes of a field, by the longest extension that is known.

    `field` is in lower case, as the tar reader gives it. Pictures are decoded as the image spec `image` says (the
    table is in `streamwds.codecs.images`) and stay bytes without one. None: the field stays bytes. What the function
    raises for bad bytes depends on the codec. An unknown image spec is a `ValueError`, whatever the field.

    >>> decoder("cls")(b"7"), decoder("caption.txt")(b"a cat")
    (7, 'a cat')
    >>> decoder("jpg") is None, decoder("ran") is None
    (True, True)
    """
    decode_picture = None if image is None else images.image_decoder(image)
    extension = longest_extension(field, CODECS)
    if extension is None:
        return None
    codec = CODECS[extension]
    return decode_picture if codec in _IMAGE_CODECS else codec.decode


def encoder(field: str) -> Encode | None:
    """The function that encodes a value for a field, by the longest extension that is known; None if none is.

    It gives bytes back as they are, and raises `EncodeError` for a value that the extension can't hold.

    >>> encoder("cls")(7), encoder("cls")(b"as it is"), encoder("xyz")
    (b'7', b'as it is', None)
    """
    extension = longest_extension(field, CODECS)
    return None if extension is None else CODECS[extension].encode
