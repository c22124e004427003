"""Values of samples as bytes, and back exactly as they were: for caches, without pickle.

A value is a tag and what belongs to it; lengths and counts are unsigned integers of 4 bytes, and all is little-endian:

| tag | value | what follows |
|---|---|---|
| `N` `T` `F` | None, True, False | |
| `i` | int | length; two's complement |
| `f` `c` | float, complex | one IEEE double, or two |
| `s` `b` | str, bytes | length; UTF-8 (lone surrogates as if they were characters), or the bytes |
| `l` `u` | list, tuple | count; the items |
| `d` | dict | count; each key and its value, in their order |
| `a` `n` | numpy array, numpy scalar | length; a tenbin of one array |
| `t` | torch tensor | the same, with the info `bfloat16` where the elements are the bits of those |

Values are told apart by their exact types: those of any other, subclasses of these too, are an `EncodeError`. The
dtypes are those of tenbin. Arrays and tensors come back as copies, which can be written to.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from streamwds.codecs import tenbin
from streamwds.codecs.codec import describe
from streamwds.errors import DecodeError, EncodeError

__all__ = ["pack", "unpack"]

Put: TypeAlias = Callable[[bytes], None]
Get: TypeAlias = Callable[[bytes, int], "tuple[Any, int]"]

_length = struct.Struct("<cI")
_float, _complex = struct.Struct("<cd"), struct.Struct("<cdd")
_MOST = (1 << 32) - 1


def pack(value: Any) -> bytes:
    """A value as bytes; an `EncodeError` for one that would come back as another, or not at all.

    >>> from streamwds.codecs.packed import pack
    >>> pack(["abc", None])
    b'l\\x02\\x00\\x00\\x00s\\x03\\x00\\x00\\x00abcN'
    >>> pack(object())
    Traceback (most recent call last):
    ...
    streamwds.errors.EncodeError: a object can't be kept ...
    """
    parts: list[bytes] = []
    try:
        _put(value, parts.append)
    except RecursionError as error:
        raise EncodeError("a value can't be kept that lies too deep in others, or in itself") from error
    return b"".join(parts)


def unpack(data: bytes) -> Any:
    """The value that was packed; a `DecodeError` for bytes that no value gives.

    >>> from streamwds.codecs.packed import pack
    >>> unpack(pack((1, [2.5], {"a": None})))
    (1, [2.5], {'a': None})
    """
    try:
        value, end = _get(data, 0)
    except (LookupError, struct.error, TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"these bytes are no packed value: {type(error).__name__}: {error}") from error
    if end != len(data):
        raise DecodeError(f"these bytes are no packed value: {end} of {len(data)} belong to it")
    return value


def _put(value: Any, put: Put) -> None:
    (_PUT.get(type(value)) or _put_other)(value, put)


def _get(data: bytes, at: int) -> tuple[Any, int]:
    return _GET[data[at]](data, at + 1)


# ---- each kind of values, in both directions


def _content(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + 4
    end = start + int.from_bytes(data[at:start], "little")
    if end > len(data):
        raise ValueError(f"it is cut: {end - len(data)} bytes are missing")
    return data[start:end], end


def _sized(tag: bytes, content: bytes, put: Put) -> None:
    if len(content) > _MOST:
        raise EncodeError(f"{len(content)} bytes can't be kept in one value")
    put(_length.pack(tag, len(content)))
    put(content)


def _put_bool(value: bool, put: Put) -> None:
    put(b"T" if value else b"F")


def _constant(value: Any) -> Get:
    return lambda data, at: (value, at)


def _put_int(value: int, put: Put) -> None:
    _sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), put)


def _get_int(data: bytes, at: int) -> tuple[int, int]:
    content, at = _content(data, at)
    return int.from_bytes(content, "little", signed=True), at


def _put_str(value: str, put: Put) -> None:
    _sized(b"s", value.encode("utf-8", "surrogatepass"), put)


def _get_str(data: bytes, at: int) -> tuple[str, int]:
    content, at = _content(data, at)
    return content.decode("utf-8", "surrogatepass"), at


def _put_float(value: float, put: Put) -> None:
    put(_float.pack(b"f", value))


def _get_float(data: bytes, at: int) -> tuple[float, int]:
    return struct.unpack_from("<d", data, at)[0], at + 8


def _put_complex(value: complex, put: Put) -> None:
    put(_complex.pack(b"c", value.real, value.imag))


def _get_complex(data: bytes, at: int) -> tuple[complex, int]:
    return complex(*struct.unpack_from("<dd", data, at)), at + 16


def _put_items(tag: bytes, values: Any, put: Put) -> None:
    put(_length.pack(tag, len(values)))
    for value in values:
        _put(value, put)


def _get_items(data: bytes, at: int) -> tuple[list[Any], int]:
    count = int.from_bytes(data[at : at + 4], "little")
    at += 4
    values: list[Any] = []
    for _ in range(count):
        value, at = _get(data, at)
        values.append(value)
    return values, at


def _get_tuple(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    values, at = _get_items(data, at)
    return tuple(values), at


def _put_dict(values: dict[Any, Any], put: Put) -> None:
    put(_length.pack(b"d", len(values)))
    for key, value in values.items():
        _put(key, put)
        _put(value, put)


def _get_dict(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
    count = int.from_bytes(data[at : at + 4], "little")
    at += 4
    values: dict[Any, Any] = {}
    for _ in range(count):
        key, at = _get(data, at)
        values[key], at = _get(data, at)
    return values, at


def _put_other(value: Any, put: Put) -> None:
    """Put a value whose very type is in no table: a numpy scalar, or a tensor if there are any."""
    torch = sys.modules.get("torch")
    if isinstance(value, np.generic):
        _put_array(b"n", value, put)
    elif torch is not None and type(value) is torch.Tensor:
        _put_tensor(value, put)
    else:
        raise _cannot(value)


def _cannot(value: Any) -> EncodeError:
    return EncodeError(
        f"a {describe(value)} can't be kept as it is: what can is None, bool, int, float, complex, str, bytes, arrays "
        "and tensors of numbers, and lists, tuples and dicts of these"
    )


def _put_array(tag: bytes, value: Any, put: Put) -> None:
    if not value.dtype.isnative:
        raise _cannot(value)
    _sized(tag, tenbin.encode_buffer([value]), put)


def _put_tensor(value: Any, put: Put) -> None:
    torch = sys.modules["torch"]
    if value.device.type != "cpu" or value.layout is not torch.strided or value.requires_grad:
        raise _cannot(value)
    if value.dtype is torch.bfloat16:
        _sized(b"t", tenbin.encode_buffer([value.view(torch.int16)], ["bfloat16"]), put)
    else:
        _sized(b"t", tenbin.encode_buffer([value]), put)


def _array_at(data: bytes, at: int) -> tuple[Any, str, int]:
    content, at = _content(data, at)
    (array,), (info,) = tenbin.decode_buffer(content, infos=True)
    return array.copy(), info, at


def _get_array(data: bytes, at: int) -> tuple[Any, int]:
    array, _, at = _array_at(data, at)
    return array, at


def _get_scalar(data: bytes, at: int) -> tuple[Any, int]:
    array, _, at = _array_at(data, at)
    return array[()], at


def _get_tensor(data: bytes, at: int) -> tuple[Any, int]:
    import torch

    array, info, at = _array_at(data, at)
    tensor = torch.from_numpy(array)
    return (tensor.view(torch.bfloat16) if info == "bfloat16" else tensor), at


_PUT: dict[type[Any], Callable[[Any, Put], None]] = {
    type(None): lambda value, put: put(b"N"),
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: functools.partial(_sized, b"b"),
    list: functools.partial(_put_items, b"l"),
    tuple: functools.partial(_put_items, b"u"),
    dict: _put_dict,
    np.ndarray: functools.partial(_put_array, b"a"),
}
_GET: dict[int, Get] = {
    ord("N"): _constant(None),
    ord("T"): _constant(True),
    ord("F"): _constant(False),
    ord("i"): _get_int,
    ord("f"): _get_float,
    ord("c"): _get_complex,
    ord("s"): _get_str,
    ord("b"): _content,
    ord("l"): _get_items,
    ord("u"): _get_tuple,
    ord("d"): _get_dict,
    ord("a"): _get_array,
    ord("n"): _get_scalar,
    ord("t"): _get_tensor,
}
