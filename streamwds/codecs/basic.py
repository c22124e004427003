"""Codecs that need no other library: text, integers, JSON.

Arrays, pictures, sound and whatever needs another library have modules of their own.
"""

from __future__ import annotations

import json
import operator
from typing import Any

import numpy as np

from streamwds.codecs.codec import Codec, describe
from streamwds.errors import EncodeError

__all__ = [
    "CODECS",
    "decode_integer",
    "decode_json",
    "decode_json_lines",
    "decode_text",
    "encode_integer",
    "encode_json",
    "encode_json_lines",
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
    try:
        if data.isdigit() or b"_" not in data:  # (most are digits, which is seen sooner)
            return int(data)
    except ValueError:
        pass
    raise ValueError(f"not a decimal integer: {data[:100]!r}")


def encode_integer(value: Any) -> bytes:
    """An integer in decimal ASCII digits: an `int`, a numpy integer, or an array or tensor that holds just one.

    `EncodeError` for anything else, `bool` among it, since True would be read back as 1.

    >>> encode_integer(np.int64(7))
    b'7'
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, (bool, np.bool_)):
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
    return value if isinstance(value, bytes) else _dumps(value)


def _dumps(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: cycles, surrogates
        raise EncodeError(
            f"expected plain JSON data (or bytes, already encoded), got {describe(value)}: {error}"
        ) from error


# ---- jsonl


def decode_json_lines(data: bytes) -> list[Any]:
    """The values of JSON Lines, a list: a JSON document in UTF-8 on each line. Blank lines are passed over.

    Raises `ValueError` with the line's number where one is no JSON.

    >>> decode_json_lines(b'{"a": 1}\\n[2]\\n')
    [{'a': 1}, [2]]
    """
    values: list[Any] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line and not line.isspace():
            try:
                values.append(json.loads(line.decode("utf-8")))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return values


def encode_json_lines(value: Any) -> bytes:
    """A list or tuple as JSON Lines, each of its values written as by `encode_json`, each line with its end.

    >>> encode_json_lines([{"a": 1}, [2]])
    b'{"a":1}\\n[2]\\n'
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, (list, tuple)):
        raise EncodeError(f"expected a list of JSON values (or bytes, already encoded), got {describe(value)}")
    return b"".join(_dumps(line) + b"\n" for line in value)


CODECS = (
    Codec(("txt", "text", "transcript"), decode_text, encode_text),
    # of these, what the text means is left to the reader
    Codec(("csv", "html", "htm"), None, encode_text),
    Codec(("cls", "cls2", "class", "count", "index", "inx", "id"), decode_integer, encode_integer),
    Codec(("json", "jsn"), decode_json, encode_json),
    Codec(("jsonl",), decode_json_lines, encode_json_lines),
)
