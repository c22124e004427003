"""Codecs that need nothing but the standard library and numpy: text, integers, JSON, and single arrays.

Pictures, sound and whatever needs another library have modules of their own.
"""

from __future__ import annotations

import functools
import io
import json
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.codec import Codec, describe, to_array
from streamwds.errors import EncodeError

__all__ = [
    "CODECS",
    "decode_integer",
    "decode_json",
    "decode_npy",
    "decode_text",
    "encode_integer",
    "encode_json",
    "encode_npy",
    "encode_text",
]


# ---- txt text transcript


def decode_text(data: bytes) -> str:
    """The text, which must be UTF-8: anything else is a `UnicodeDecodeError`. Nothing is stripped.

    >>> decode_text("naïve\\n".encode())
    'naïve\\n'
    """
    return data.decode("utf-8")


def encode_text(value: Any) -> bytes:
    """A `str` as UTF-8; `EncodeError` for any other type, and for lone surrogates.

    >>> encode_text("naïve")
    b'na\\xc3\\xafve'
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise EncodeError(f"expected str (or bytes, already encoded), got {describe(value)}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EncodeError(f"the text can't be written as UTF-8: {error}") from error


# ---- cls cls2 class count index inx id


def decode_integer(data: bytes) -> int:
    """A decimal integer in ASCII. White space around it is allowed, since files end in newlines.

    Anything else is a `ValueError`: an empty file, a fraction, a name, and underscores, which `int` would skip.

    >>> decode_integer(b"-7\\n")
    -7
    >>> decode_integer(b"1_0")
    Traceback (most recent call last):
    ...
    ValueError: not a decimal integer: b'1_0'
    """
    if b"_" in data:
        raise ValueError(f"not a decimal integer: {data[:100]!r}")
    try:
        return int(data)
    except ValueError:
        raise ValueError(f"not a decimal integer: {data[:100]!r}") from None


def encode_integer(value: Any) -> bytes:
    """An integer in decimal ASCII digits: an `int`, a numpy integer, or an array or tensor that holds just one.

    `EncodeError` for anything else, `bool` among it, since True would be read back as 1.

    >>> encode_integer(np.int64(7))
    b'7'
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, bool):
        try:
            return str(operator.index(value)).encode("ascii")
        except (TypeError, ValueError):  # no integer; or one of more digits than Python converts
            pass
    raise EncodeError(f"expected an integer (or bytes, already encoded), got {describe(value)}")


# ---- json jsn


def decode_json(data: bytes) -> Any:
    """The value of a JSON document in UTF-8 (16 and 32 are found out); `json.JSONDecodeError` if it is none.

    >>> decode_json(b'{"label": [1, 2.5, null]}')
    {'label': [1, 2.5, None]}
    """
    return json.loads(data)


def encode_json(value: Any) -> bytes:
    """Compact JSON in UTF-8, keys in the order they have, so that equal input gives equal bytes.

    A `str` becomes a JSON string and is not taken for a finished document: that would be `bytes`. As JSON has it,
    tuples are read back as lists, and keys as strings. `EncodeError` for what JSON can't hold.

    >>> encode_json({"label": (1, 2.5, None), "name": "naïve"}).decode()
    '{"label":[1,2.5,null],"name":"naïve"}'
    """
    if isinstance(value, bytes):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: cycles, surrogates
        raise EncodeError(
            f"expected plain JSON data (or bytes, already encoded), got {describe(value)}: {error}"
        ) from error


# ---- npy


@functools.lru_cache(maxsize=256)
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    # Kept, since a data set's files mostly have the same header, and parsing it takes longer than a small array.
    stream = io.BytesIO(header)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = read[np.lib.format.read_magic(stream)](stream)
    if dtype.hasobject:
        raise ValueError("the file holds pickled objects, which could run code; they are not read")
    if any(length < 0 for length in shape):  # numpy takes -1 for "as many as there are"
        raise ValueError(f"the header says shape {shape}")
    return shape, fortran, dtype


def decode_npy(data: bytes) -> NDArray[Any]:
    """The array of a `.npy` file, of its dtype, shape and order; it owns its memory and is writable.

    Raises `ValueError` for a file that is no `.npy`, is cut, or holds pickled objects. A header that claims more than
    the file has costs no memory.

    >>> decode_npy(encode_npy(np.arange(3.0)))
    array([0., 1., 2.])
    """
    if data[:7] == b"\x93NUMPY\x01":
        start = 10 + int.from_bytes(data[8:10], "little")
    elif data[:7] == b"\x93NUMPY\x02":
        start = 12 + int.from_bytes(data[8:12], "little")
    else:  # version 3, which only exotic field names need, or an error
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    shape, fortran, dtype = _npy_header(data[:start])
    try:
        array: NDArray[Any] = np.ndarray(shape, dtype, data, start, order="F" if fortran else "C")
    except TypeError:
        raise ValueError(
            f"the file is cut: its header says {dtype} of shape {shape}, {len(data) - start} bytes follow"
        ) from None
    return np.array(array)


def encode_npy(value: Any) -> bytes:
    """A numpy array or scalar, or a torch tensor, as a `.npy` file.

    `EncodeError` for anything else (lists have no certain dtype), and for arrays of Python objects.

    >>> encode_npy(np.zeros((2, 3), np.uint8))[:6]
    b'\\x93NUMPY'
    """
    if isinstance(value, bytes):
        return value
    array = to_array(value)
    if array is None:
        raise EncodeError(
            f"expected a numpy array or a torch tensor (or bytes, already encoded), got {describe(value)}"
        )
    stream = io.BytesIO()
    try:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    except ValueError as error:
        raise EncodeError(f"can't write a {describe(value)} without pickling it, which readers refuse") from error
    return stream.getvalue()


CODECS = (
    Codec(("txt", "text", "transcript"), decode_text, encode_text),
    Codec(("cls", "cls2", "class", "count", "index", "inx", "id"), decode_integer, encode_integer),
    Codec(("json", "jsn"), decode_json, encode_json),
    Codec(("npy",), decode_npy, encode_npy),
)
