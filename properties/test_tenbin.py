"""The laws of tenbin: what is encoded is decoded, by every way; the bytes are the format; damage is one error.

`entries` is a second reader of the format, as simple as can be, written from its description alone.
"""

from __future__ import annotations

import io
import math
import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import ml_dtypes
import numpy as np
import pytest
import torch
import webdataset.tenbin
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamwds import tenbin
from streamwds.errors import TenbinError
from tests.archives import at_most

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
CHUNKS = range(8)
EACH = 10_000 // len(CHUNKS) if DEEP else 1_000 // len(CHUNKS)

Arrays: TypeAlias = list[Any]

# ---- a second reader

SIZES = {b"b1": 1, b"bf2": 2, b"f2": 2, b"f4": 4, b"f8": 8}
SIZES |= {b"%s%d" % (sign, size): size for sign in (b"i", b"u") for size in (1, 2, 4, 8)}


class NotTenbinError(Exception):
    pass


def require(truth: object) -> None:
    if not truth:
        raise NotTenbinError


def word(data: bytes, at: int) -> int:
    require(len(data) >= at + 8)
    return int.from_bytes(data[at : at + 8], "little", signed=True)


def chunks(data: bytes, *, zeros: bool) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        require(data[at : at + 8] == b"~TenBin~")
        length = word(data, at + 8)
        require(length >= 0)
        at += 16
        padded = math.ceil(length / 64) * 64 if length < 2**50 else length
        require(len(data) >= at + padded)
        require(not zeros or not any(data[at + length : at + padded]))
        yield data[at : at + length]
        at += padded


@attrs.frozen
class Entry:
    """An array as the format has it."""

    code: str
    info: str
    shape: tuple[int, ...]
    elements: bytes


def entries(data: bytes, *, zeros: bool = True) -> list[Entry]:
    """The arrays; `zeros`: whether the padding must be zeros."""
    found = list(chunks(data, zeros=zeros))
    require(len(found) % 2 == 0)
    return [entry(header, elements) for header, elements in zip(found[::2], found[1::2], strict=True)]


def entry(header: bytes, elements: bytes) -> Entry:
    code = header[:8].rstrip(b"\0")
    require(code in SIZES and header[8:16].isascii())
    dimensions = word(header, 16)
    require(0 <= dimensions <= 64 and len(header) == 24 + 8 * dimensions)
    shape = tuple(word(header, 24 + 8 * n) for n in range(dimensions))
    require(all(length >= 0 for length in shape))
    require(math.prod(shape) * SIZES[code] == len(elements))
    require(math.prod(length or 1 for length in shape) * SIZES[code] < 2**63)  # (numpy takes no more)
    require(code != b"b1" or set(elements) <= {0, 1})
    return Entry(code.decode(), header[8:16].decode().strip("\0"), shape, elements)


def code_of(array: Any) -> str:
    special = {"bool": "b1", "bfloat16": "bf2"}
    return special.get(array.dtype.name, f"{array.dtype.kind}{array.dtype.itemsize}")


def as_entry(array: Any, info: str = "") -> Entry:
    """The entry that an array should have."""
    if isinstance(array, torch.Tensor):
        array = array.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if array.dtype is torch.bfloat16 else array
        array = np.asarray(array)
    return Entry(code_of(array), info, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes())


def same(decoded: Arrays, arrays: Arrays) -> bool:
    """Whether arrays are the same to the bit."""
    return [as_entry(array) for array in decoded] == [as_entry(array) for array in arrays]


# ---- random arrays

TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=7, min_side=0, max_side=3)


@st.composite
def any_arrays(draw: st.DrawFn) -> Any:
    """An array of any dtype and shape that the format holds, in either byte order and in any layout."""
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["numpy", "numpy", "numpy", "scalar", "bfloat16", "tensor", "bfloat16 tensor"]))
    if kind.startswith("bfloat16"):
        bits = draw(hnp.arrays(np.uint16, shape))
        array: Any = bits.view(ml_dtypes.bfloat16)
        if "tensor" in kind:
            array = torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)
    elif kind == "tensor":
        array = torch.from_numpy(draw(hnp.arrays(draw(st.sampled_from(["f2", "f4", "i8", "u1", "?"])), shape)))
    else:
        dtype = draw(st.sampled_from("<>")) + draw(st.sampled_from(TYPES))
        if kind == "scalar":
            return draw(hnp.arrays(dtype, ()))[()]
        array = np.asarray(draw(hnp.arrays(dtype, shape)), order=draw(st.sampled_from(["C", "F"])))
    if array.ndim and array.shape[0]:
        array = array[draw(st.sampled_from([np.s_[:], np.s_[::2], np.s_[1:], np.s_[..., 1:], np.s_[0]]))]
    if array.ndim > 1 and draw(st.booleans()):
        array = array.transpose(0, -1) if isinstance(array, torch.Tensor) else array.swapaxes(0, -1)[::-1]
    return array


lists = st.lists(any_arrays(), max_size=4)
names = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=8)
named = lists.flatmap(
    lambda arrays: st.tuples(st.just(arrays), st.lists(names, min_size=len(arrays), max_size=len(arrays)))
)

# ---- the ways to and from bytes


class Parts:
    """A socket that keeps the parts of a message."""

    def __init__(self, parts: Any = ()) -> None:
        self.parts = [bytes(part) for part in parts]

    def send_multipart(self, parts: Any) -> None:
        self.parts = [bytes(part) for part in parts]

    def recv_multipart(self) -> list[bytes]:
        return self.parts


class Dripping:
    """A stream that takes and gives a few bytes at a time, as sockets and pipes do."""

    def __init__(self, data: bytes = b"", seed: int = 0) -> None:
        self.data = bytearray(data)
        self.random = random.Random(seed)

    def read(self, size: int) -> bytes:
        assert size >= 0  # (else a stream is read to its end)
        size = min(size, self.random.randint(1, 50))
        piece = bytes(self.data[:size])
        del self.data[:size]
        return piece

    def write(self, data: Any) -> int:
        piece = bytes(data)[: self.random.randint(1, 50)]
        self.data += piece
        return len(piece)


def written(arrays: Arrays, infos: list[str]) -> bytes:
    stream = Dripping()
    tenbin.write(stream, arrays, infos)
    return bytes(stream.data)


def saved(arrays: Arrays, infos: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ten"
        tenbin.save(path, *arrays, infos=infos)
        return path.read_bytes()


def loaded(data: bytes, *, mmap: bool) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ten"
        path.write_bytes(data)
        return tenbin.load(path, True, mmap=mmap)


DECODE: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda data: tenbin.decode_buffer(data, True),
    "bytearray": lambda data: tenbin.decode_buffer(bytearray(data), True),
    "a part of a buffer": lambda data: tenbin.decode_buffer(memoryview(b"123" + data + b"4")[3:-1], True),
    "an array": lambda data: tenbin.decode_buffer(np.frombuffer(data, np.uint8), True),
    "read": lambda data: tenbin.read(io.BytesIO(data), infos=True),
    "read in drips": lambda data: tenbin.read(Dripping(data), infos=True),
    "load": lambda data: loaded(data, mmap=False),
    "load, mapped": lambda data: loaded(data, mmap=True),
}

# ---- the laws


@given(named)
def test_the_bytes_are_the_format(arguments: tuple[Arrays, list[str]]) -> None:
    arrays, infos = arguments
    data = tenbin.encode_buffer(arrays, infos)
    assert entries(data) == [as_entry(array, info) for array, info in zip(arrays, infos, strict=True)]
    assert written(arrays, infos) == saved(arrays, infos) == data


@pytest.mark.parametrize("way", DECODE)
@given(named)
def test_encode_then_decode_is_the_identity(way: str, arguments: tuple[Arrays, list[str]]) -> None:
    arrays, infos = arguments
    decoded, found = DECODE[way](tenbin.encode_buffer(arrays, infos))
    assert found == infos
    assert same(decoded, arrays)
    assert all(array.flags.aligned and array.flags.c_contiguous and not array.flags.writeable for array in decoded)


@given(named)
def test_parts_of_a_message_are_the_identity(arguments: tuple[Arrays, list[str]]) -> None:
    arrays, infos = arguments
    socket = Parts()
    tenbin.zsend_multipart(socket, arrays, infos)
    decoded, found = tenbin.zrecv_multipart(socket, True)
    assert found == infos
    assert same(decoded, arrays)


@given(lists, st.integers(0, 16))
def test_arrays_are_views_wherever_that_is_aligned(arrays: Arrays, shift: int) -> None:
    data = tenbin.encode_buffer(arrays)
    room = np.empty(shift + len(data) + 16, np.uint8)
    first = shift + -room.ctypes.data % 16  # (so that the shift is from an aligned place)
    room[first : first + len(data)] = np.frombuffer(data, np.uint8)
    for array in tenbin.decode_buffer(room[first : first + len(data)]):
        assert np.shares_memory(array, room) == (shift % array.itemsize == 0 and array.size > 0)
        assert not array.flags.writeable
        assert array.flags.aligned


# ---- webdataset's own tenbin


def by_webdataset(array: Any) -> bool:
    """Whether webdataset writes an array so that it reads it again."""
    known = isinstance(array, np.ndarray) and code_of(array) not in ("u4", "b1", "bf2")
    return known and array.ndim > 0 and array.dtype.isnative


@given(named)
def test_webdataset_writes_the_same_bytes_and_reads_them(arguments: tuple[Arrays, list[str]]) -> None:
    pairs = [(array, info) for array, info in zip(*arguments, strict=True) if by_webdataset(array)]
    arrays = [np.ascontiguousarray(array) for array, _ in pairs]
    infos = [info for _, info in pairs]
    data = tenbin.encode_buffer([array for array, _ in pairs], infos)
    assert data == webdataset.tenbin.encode_buffer(arrays, infos=infos)
    theirs, found = webdataset.tenbin.decode_buffer(data, infos=True)
    assert found == infos
    assert same(theirs, arrays)
    assert same(tenbin.decode_buffer(data, infos), arrays)


# ---- damage


def flip(r: random.Random, data: bytearray) -> None:
    if data:
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)


def flip_a_head(r: random.Random, data: bytearray) -> None:
    """A bit of what comes before the elements of an array, where most of what can be wrong is."""
    at = 0
    heads = [at := 0]
    for found in entries(bytes(data)):
        header = 24 + 8 * len(found.shape)
        at += 32 + header + -header % 64 + len(found.elements) + -len(found.elements) % 64
        heads.append(at)
    if len(heads) > 1:
        data[r.choice(heads[:-1]) + r.randrange(96)] ^= 1 << r.randrange(8)


INTERESTING = [0, 1, -1, 2, 24, 40, 63, 64, 65, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]


def set_word(r: random.Random, data: bytearray) -> None:
    if len(data) >= 8:
        at = r.randrange(len(data) // 8) * 8
        data[at : at + 8] = struct.pack("<q", r.choice(INTERESTING))


def cut(r: random.Random, data: bytearray) -> None:
    del data[r.randrange(len(data) + 1) :]


def drop(r: random.Random, data: bytearray) -> None:
    at = r.randrange(len(data) + 1)
    del data[at : at + r.choice([1, 8, 16, 64, 80])]


def insert(r: random.Random, data: bytearray) -> None:
    at = r.randrange(len(data) + 1)
    data[at:at] = r.choice([b"\0", b"~TenBin~", bytes(16), bytes(64), r.randbytes(r.randrange(100))])


def overwrite(r: random.Random, data: bytearray) -> None:
    at = r.randrange(len(data) + 1)
    data[at : at + 16] = r.randbytes(min(16, len(data) - at))


def zero_dimensions(r: random.Random, data: bytearray) -> None:
    """An array without elements whose dimensions are anything."""
    shape = [r.choice([0, 0, 1, 3, 2**31, 2**62, -1]) for _ in range(r.randrange(1, 70))]
    length = 24 + 8 * len(shape)
    header = struct.pack(f"<8s8s{1 + len(shape)}q", b"f4", b"", len(shape), *shape)
    data += (
        struct.pack("<8sq", b"~TenBin~", length) + header + bytes(-length % 64) + struct.pack("<8sq", b"~TenBin~", 0)
    )


MUTATIONS = [flip, flip_a_head, flip_a_head, set_word, set_word, cut, drop, insert, overwrite, zero_dimensions]


def random_arrays(r: random.Random) -> Arrays:
    def one() -> Any:
        shape = [r.randrange(4) for _ in range(r.choice([0, 1, 1, 2, 2, 3, 6]))]
        octets = np.frombuffer(r.randbytes(math.prod(shape) * 8), np.uint64).reshape(shape)
        return r.choice(
            [octets, octets > 2**63, octets.astype(np.uint8), octets.astype(np.uint16).view(ml_dtypes.bfloat16)]
        )

    return [one() for _ in range(r.randrange(4))]


@contextmanager
def told(seed: int) -> Iterator[None]:
    """Prints the seed if what is done with it fails, and ends it if it hangs."""
    try:
        with at_most(30):
            yield
    except BaseException:
        print(f"\nseed: {seed}")  # noqa: T201
        raise


@pytest.mark.parametrize("chunk", CHUNKS)
def test_mutated_bytes_are_decoded_where_they_are_tenbin_and_else_one_error(chunk: int) -> None:
    ways = [decode for way, decode in DECODE.items() if not way.startswith("load")]
    for seed in range(chunk * EACH, (chunk + 1) * EACH):
        with told(seed):
            r = random.Random(seed)
            changed = bytearray(tenbin.encode_buffer(random_arrays(r)))
            for mutate in r.choices(MUTATIONS, k=r.choice([1, 1, 1, 2, 3])):
                if mutate is flip_a_head and not intact(changed):
                    continue
                mutate(r, changed)
            check_decoding(bytes(changed), ways)


def intact(data: bytearray) -> bool:
    try:
        entries(bytes(data))
    except NotTenbinError:
        return False
    return True


def outcome(decode: Callable[[bytes], Any], data: bytes) -> list[Entry] | TenbinError:
    try:
        arrays, infos = decode(data)
    except TenbinError as error:
        return error
    return [as_entry(array, info) for array, info in zip(arrays, infos, strict=True)]


def check_decoding(data: bytes, ways: Iterable[Callable[[bytes], Any]]) -> None:
    found = [outcome(decode, data) for decode in ways]
    try:
        expected = entries(data, zeros=False)
    except NotTenbinError:
        errors = [error for error in found if isinstance(error, TenbinError)]
        assert len(errors) == len(found)
        (message,) = {str(error) for error in errors}
        assert len(message) < 1000
        assert errors[0].offset is not None
        assert 0 <= errors[0].offset <= len(data)
    else:
        assert all(outcome == expected for outcome in found)
