"""Packed values: each comes back as it was, to the bit; others are refused, and so are bytes that no value gives."""

from __future__ import annotations

import collections
import enum
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamwds.codecs.packed import pack, unpack
from streamwds.errors import DecodeError, EncodeError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.binary(),
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def bits(value: Any) -> Any:
    """A value in which floats are their bits and every part has its type with it."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, complex):
        return struct.pack("<dd", value.real, value.imag)
    if isinstance(value, (list, tuple)):
        return (type(value), [bits(part) for part in value])
    if isinstance(value, dict):
        return (type(value), [(bits(key), bits(part)) for key, part in value.items()])
    return (type(value), value)


@given(values)
def test_values_come_back(value: Any) -> None:
    assert bits(unpack(pack(value))) == bits(value)


@given(
    arrays.arrays(
        st.sampled_from(["?", "u1", "i2", "u4", "i8", "f2", "f4", "f8"]), arrays.array_shapes(min_dims=0, min_side=0)
    )
)
def test_arrays_come_back(array: Any) -> None:
    for made in (array, array.T, array[()]):
        found = unpack(pack([made]))[0]
        assert type(found) is type(made)
        assert found.dtype == made.dtype
        assert found.shape == made.shape
        assert found.tobytes() == made.tobytes()
        assert not isinstance(found, np.ndarray) or found.flags.writeable


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_tensors_come_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    raw = torch.randint(0, 2, shape, dtype=torch.uint8)
    tensor = (raw * 3).to(dtype)
    for made in (tensor, tensor.t() if tensor.ndim == 2 else tensor):
        found = unpack(pack(made))
        assert type(found) is torch.Tensor
        assert found.dtype is dtype
        assert found.shape == made.shape
        assert torch.equal(found, made)
        found.fill_(1)


def test_bfloat16_to_the_bit() -> None:
    made = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    assert torch.equal(unpack(pack(made)).view(torch.int16), made.view(torch.int16))


class Colour(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


def in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [
        object,
        lambda: {1},
        lambda: bytearray(b"x"),
        lambda: memoryview(b"x"),
        lambda: Colour.RED,
        lambda: Point(1, 2),
        collections.OrderedDict,
        lambda: collections.Counter("a"),
        lambda: Path("x"),
        lambda: len,
        in_itself,
        lambda: np.array(["a"]),
        lambda: np.array([object()]),
        lambda: np.zeros(2, ">f4"),
        lambda: np.zeros(2, "c8"),
        lambda: np.datetime64("2026-01-01"),
        lambda: np.str_("x"),
        lambda: np.ma.masked_array([1]),
        lambda: np.zeros(2, [("a", "i4")]),
        lambda: torch.zeros(2, requires_grad=True),
        lambda: torch.nn.Parameter(torch.zeros(2)),
        lambda: torch.zeros(2).to_sparse(),
        lambda: torch.zeros(2, dtype=torch.complex64),
        lambda: torch.zeros(2, device="meta"),
    ],
)
def test_what_can_not_come_back_is_refused(make: Callable[[], Any]) -> None:
    value = make()
    with pytest.raises(EncodeError):
        pack(value)
    with pytest.raises(EncodeError):
        pack({"a": [value]})


@given(st.binary(max_size=40))
def test_other_bytes_are_one_clear_error(data: bytes) -> None:
    try:
        value = unpack(data)
    except DecodeError:
        return
    assert bits(unpack(pack(value))) == bits(value)


@given(values, st.data())
def test_cut_bytes_are_an_error(value: Any, data: st.DataObject) -> None:
    packed = pack({"value": value, "array": np.arange(3)})
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(DecodeError):
        unpack(packed[:cut])
    with pytest.raises(DecodeError, match="belong to it"):
        unpack(packed + b"N")


@pytest.mark.parametrize(
    "data", [b"", b"?", b"l\xff\xff\xff\xff", b"s\xff\xff\xff\xff", b"l\x01\0\0\0" * 100_000, b"d\x01\0\0\0l\0\0\0\0N"]
)
def test_hostile_bytes_take_no_memory_and_no_stack(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(data)


def test_a_nan_keeps_its_bits() -> None:
    odd = struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\xff")[0]
    assert struct.pack("<d", unpack(pack(odd))) == b"\x01\0\0\0\0\0\xf8\xff"
    assert math.copysign(1, unpack(pack(-0.0))) == -1
