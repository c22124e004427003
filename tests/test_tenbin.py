"""tenbin by example: every dtype, infos, files, messages, and what is refused. The laws are in properties/."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import webdataset.autodecode
import webdataset.tenbin
import zmq

from streamwds import TarWriter, decode, tarsamples, tenbin, urls
from streamwds.errors import DecodeError, EncodeError, TenbinError
from tests.test_tar_reader import by_webdataset

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
BY_WEBDATASET = tuple(code for code in NUMBERS if code != "u4")


def chunk(content: bytes, length: int | None = None) -> bytes:
    length = len(content) if length is None else length
    return b"~TenBin~" + struct.pack("<q", length) + content + bytes(-len(content) % 64)


def head(code: bytes, *shape: int, info: bytes = b"", dimensions: int | None = None) -> bytes:
    return struct.pack(f"<8s8s{1 + len(shape)}q", code, info, len(shape) if dimensions is None else dimensions, *shape)


def same(found: Any, expected: Any) -> bool:
    return bool(found.dtype == expected.dtype and found.shape == expected.shape and (found == expected).all())


# ---- the bytes


@pytest.mark.parametrize("code", [*NUMBERS, "b1"])
def test_the_bytes_of_every_dtype(code: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(code)
    elements = array.astype(array.dtype.newbyteorder("<")).tobytes()
    data = chunk(head(code.encode(), 2, 3, info=b"abc")) + chunk(elements)
    assert tenbin.encode_buffer([array], ["abc"]) == data
    (found,), infos = tenbin.decode_buffer(data, True)
    assert same(found, array)
    assert infos == ["abc"]


@pytest.mark.parametrize("code", BY_WEBDATASET)
def test_the_bytes_are_webdatasets(code: str) -> None:
    arrays = [np.arange(784).reshape(28, 28).astype(code), np.zeros(0, code), np.ones((1,) * 9, code)]
    data = tenbin.encode_buffer(arrays, ["one", "", "12345678"])
    assert data == webdataset.tenbin.encode_buffer(arrays, infos=["one", "", "12345678"])
    assert all(map(same, webdataset.tenbin.decode_buffer(data), arrays))


@pytest.mark.parametrize(
    "array",
    [np.array([True, False]), np.ones(3, ml_dtypes.bfloat16), torch.ones(3, dtype=torch.bfloat16)],
    ids=["bool", "bfloat16", "tensor of bfloat16"],
)
def test_webdataset_refuses_what_it_does_not_know(array: Any) -> None:
    with pytest.raises(ValueError, match="unsupported array type"):
        webdataset.tenbin.decode_buffer(tenbin.encode_buffer([array]))


def test_no_arrays_are_no_bytes() -> None:
    assert tenbin.encode_buffer([]) == b""
    for nothing in (b"", bytearray(), memoryview(b""), np.empty((0, 3))):
        assert tenbin.decode_buffer(nothing, True) == ([], [])
    assert tenbin.read(io.BytesIO()) == []


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,) * 5, (1,) * 6, (2, 1) * 12])
def test_shapes(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, "f4")
    for found in (
        *tenbin.decode_buffer(tenbin.encode_buffer([array])),
        *tenbin.read(io.BytesIO(tenbin.encode_buffer([array]))),
    ):
        assert same(found, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4"),
        np.arange(6.0, dtype=">f8").reshape(2, 3).T,
        np.array(7, ">u2"),
        np.arange(10)[::-3],
        np.asfortranarray(np.eye(3)),
        np.broadcast_to(np.float32(2), (2, 3)),
        np.float16(0.5),
        np.bool_(True),
        np.arange(4, dtype=np.longlong),
        np.memmap,
    ],
    ids=repr,
)
def test_layouts_and_byte_orders_are_converted(array: Any, tmp_path: Path) -> None:
    if array is np.memmap:
        array = np.memmap(tmp_path / "map", "i2", "w+", shape=(2, 2))
    (found,) = tenbin.decode_buffer(tenbin.encode_buffer([array]))
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.shape == array.shape
    assert (found == array).all()


# ---- torch, bfloat16


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(2.5, requires_grad=True),
        torch.tensor([True, False]),
        torch.zeros(2, 0),
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=lambda tensor: str(tensor.dtype),
)
def test_tensors(tensor: torch.Tensor) -> None:
    (found,) = tenbin.decode_buffer(tenbin.encode_buffer([tensor]))
    assert same(found, tensor.numpy(force=True))


BFLOATS = [1.0, -2.5, 0.0, float("inf"), 3.140625]


@pytest.mark.parametrize(
    "array",
    [
        np.array(BFLOATS, ml_dtypes.bfloat16),
        torch.tensor(BFLOATS, dtype=torch.bfloat16),
        torch.tensor(BFLOATS, dtype=torch.bfloat16, requires_grad=True),
    ],
    ids=["ml_dtypes", "torch", "torch with a gradient"],
)
def test_bfloat16(array: Any) -> None:
    data = tenbin.encode_buffer([array])
    assert data[16:24] == b"bf2\0\0\0\0\0"
    (found,) = tenbin.decode_buffer(data)
    assert found.dtype == ml_dtypes.bfloat16
    assert found.tolist() == BFLOATS
    assert not found.flags.writeable
    assert np.shares_memory(found.view(np.uint16), np.frombuffer(data, np.uint8))


def test_bfloat16_is_float32_without_ml_dtypes(tmp_path: Path) -> None:
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    tenbin.save(tmp_path / "all.ten", bits.reshape(256, 256))
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; from streamwds import tenbin; import numpy as np;"
        f"found, = tenbin.load({str(tmp_path / 'all.ten')!r});"
        "assert found.dtype == np.float32 and found.shape == (256, 256) and not found.flags.writeable;"
        "assert (found.view(np.uint32).ravel() == np.arange(1 << 16) << 16).all()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_bfloat16_needs_no_ml_dtypes_to_be_written() -> None:
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; from streamwds import tenbin; import torch;"
        "sys.stdout.buffer.write(tenbin.encode_buffer([torch.ones(3, 2, dtype=torch.bfloat16).T]))"
    )
    data = subprocess.check_output([sys.executable, "-c", code])
    (found,) = tenbin.decode_buffer(data)
    assert same(found, np.ones((2, 3), ml_dtypes.bfloat16))


@pytest.mark.parametrize("value", [2, 255])
def test_a_bool_is_0_or_1(value: int) -> None:
    data = chunk(head(b"b1", 2, 2)) + chunk(bytes([0, 1, value, 1]))
    with pytest.raises(TenbinError, match="a bool is") as caught:
        tenbin.decode_buffer(data)
    assert caught.value.offset == 96 + 2


# ---- what is refused


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(2, "i4,f4"),
        np.zeros(2, "c8"),
        np.array(["a"]),
        np.array([b"a"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, "V2"),
        np.zeros(2, ml_dtypes.float8_e4m3fn),
        np.zeros(2, np.longdouble),
        np.ma.masked_array([1, 2], [True, False]),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, device="meta"),
        torch.zeros(2, 2, dtype=torch.bfloat16).to_sparse(),
        torch.zeros(2, device="meta", dtype=torch.bfloat16),
        [1, 2],
        1.5,
        "abc",
        None,
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_what_the_format_cannot_hold(value: Any) -> None:
    with pytest.raises(EncodeError):
        tenbin.encode_buffer([np.zeros(2), value])


@pytest.mark.parametrize("arrays", [np.zeros((2, 2)), torch.zeros(2, 2), iter([np.zeros(2)]), {"a": np.zeros(2)}, None])
def test_only_lists_are_encoded(arrays: Any) -> None:
    with pytest.raises(EncodeError, match="expected a list of arrays, got"):
        tenbin.encode_buffer(arrays)


# ---- infos


def test_infos_are_verified() -> None:
    data = tenbin.encode_buffer([np.zeros(2), np.ones(3)], infos=["image", "class"])
    for equal in (["image", "class"], ("image", "class")):
        assert len(tenbin.decode_buffer(data, infos=equal)) == 2
    different: list[Any] = [["image", "mask"], ["image"], [], ["image", "class", "x"], ["class", "image"], [None, None]]
    for infos in different:
        with pytest.raises(TenbinError, match=r"the infos are \['image', 'class'\], not"):
            tenbin.decode_buffer(data, infos=infos)
    assert tenbin.decode_buffer(data, infos=True)[1] == ["image", "class"]
    assert len(tenbin.decode_buffer(data, infos=None)) == 2


@pytest.mark.parametrize("infos", ["image", {"image": 1}, 1, 0])
def test_infos_to_verify_are_a_list(infos: Any) -> None:
    with pytest.raises(TypeError, match="infos is True, False, or a list"):
        tenbin.decode_buffer(b"", infos=infos)


@pytest.mark.parametrize(
    "infos", [["123456789"], ["ü"], ["a\0"], [b"a"], [None], [], ["a", "b"], "a", {"a": 1}], ids=repr
)
def test_infos_that_cannot_be_written(infos: Any) -> None:
    with pytest.raises(EncodeError, match="info"):
        tenbin.encode_buffer([np.zeros(2)], infos=infos)


# ---- views


def test_arrays_are_views_that_cannot_be_written_to() -> None:
    data = bytearray(tenbin.encode_buffer([np.arange(3), np.zeros(2, "u1")]))
    for array in tenbin.decode_buffer(data):
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_arrays_that_would_not_be_aligned_are_copies() -> None:
    data = memoryview(b"1" + tenbin.encode_buffer([np.arange(3), np.arange(3, dtype="u1")]))[1:]
    numbers, octets = tenbin.decode_buffer(data)
    assert numbers.tolist() == octets.tolist() == [0, 1, 2]
    assert numbers.flags.aligned
    assert not numbers.flags.writeable
    assert not np.shares_memory(numbers, np.frombuffer(data, np.uint8))
    assert np.shares_memory(octets, np.frombuffer(data, np.uint8))


# ---- damage

GOOD = chunk(head(b"f4", 2, info=b"a")) + chunk(bytes(8))
HUGE = 1 << 60

DAMAGED: dict[str, tuple[bytes, int]] = {
    "another magic": (b"~TenBin-" + GOOD[8:], 0),
    "another magic of the elements": (GOOD[:80] + b"~TenBin-" + GOOD[88:], 80),
    "garbage behind": (GOOD + bytes(100), 160),
    "a negative length": (chunk(head(b"f4", 2), -32), 8),
    "a huge header": (chunk(head(b"f4", 2), HUGE), 8),
    "an empty header": (chunk(b"") + bytes(64) + chunk(b""), 8),
    "a header too short": (chunk(head(b"f4", 2)[:20]) + chunk(bytes(8)), 8),
    "a header too long": (chunk(head(b"f4", 2) + bytes(8)) + chunk(bytes(8)), 32),
    "a negative length of elements": (chunk(head(b"f4", 2)) + chunk(bytes(8), -8), 88),
    "a huge length of elements": (chunk(head(b"u1", HUGE)) + chunk(bytes(8), HUGE), 96),
    "another length of elements": (chunk(head(b"f4", 2)) + chunk(bytes(8), 12), 40),
    "no dtype": (chunk(head(b"", 2)) + chunk(bytes(8)), 16),
    "a dtype that nobody knows": (chunk(head(b"c8", 1)) + chunk(bytes(8)), 16),
    "objects": (chunk(head(b"O8", 1)) + chunk(bytes(8)), 16),
    "more behind the dtype": (chunk(head(b"f4\0f4", 2)) + chunk(bytes(8)), 16),
    "an info that is not ASCII": (chunk(head(b"f4", 2, info=b"\xff")) + chunk(bytes(8)), 24),
    "negative dimensions": (chunk(head(b"f4", 2, dimensions=-1)) + chunk(bytes(8)), 32),
    "too many dimensions": (chunk(head(b"f4", 2, dimensions=2)) + chunk(bytes(8)), 32),
    "too few dimensions": (chunk(head(b"f4", 2, dimensions=0)) + chunk(bytes(8)), 32),
    "a huge number of dimensions": (chunk(head(b"f4", 2, dimensions=HUGE)) + chunk(bytes(8)), 32),
    "more dimensions than numpy has": (chunk(head(b"u1", *[1] * 65)) + chunk(bytes(1)), 8),
    "a negative dimension": (chunk(head(b"f4", -2)) + chunk(bytes(8)), 40),
    "two negative dimensions": (chunk(head(b"f4", -2, -1)) + chunk(bytes(8)), 40),
    "a product that overflows": (chunk(head(b"f4", 2**32, 2**32, 2)) + chunk(bytes(8)), 40),
    "a product that overflows to what is there": (chunk(head(b"f4", 2**62 + 2)) + chunk(bytes(8)), 40),
    "a product that overflows but for a 0": (chunk(head(b"f4", 0, 2**62, 2**62)) + chunk(b""), 96),
    "elements that are missing": (GOOD[:80], 80),
    "half a number": (GOOD + GOOD[:12], 160),
    **{f"cut at {at}": (GOOD[:at], 0) for at in (1, 8, 15)},
    **{f"cut at {at}": (GOOD[:at], at) for at in (16, 40, 79)},
    **{f"cut at {at}": (GOOD[:at], 80) for at in (80, 95)},
    **{f"cut at {at}": (GOOD[:at], 96) for at in (96, 100, 104, 159)},
}
WAYS: dict[str, Callable[[bytes], Any]] = {
    "decode_buffer": tenbin.decode_buffer,
    "memoryview": lambda data: tenbin.decode_buffer(memoryview(data)),
    "read": lambda data: tenbin.read(io.BytesIO(data)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_error_that_says_where(name: str, way: str) -> None:
    data, offset = DAMAGED[name]
    with pytest.raises(TenbinError) as caught:
        WAYS[way](data)
    assert caught.value.offset == offset, caught.value
    assert str(caught.value).startswith(f"byte {offset}: ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (TenbinError, str(caught.value))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DAMAGED)
def test_an_error_of_the_second_array_counts_from_the_beginning(name: str, way: str) -> None:
    data, offset = DAMAGED[name]
    with pytest.raises(TenbinError) as caught:
        WAYS[way](GOOD + data)
    assert caught.value.offset == len(GOOD) + offset, caught.value


def peak(function: Any, data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(TenbinError):
            function(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_takes_no_memory(name: str, way: str) -> None:
    assert peak(WAYS[way], DAMAGED[name][0]) < 100_000


@pytest.mark.parametrize("length", [10_000_001, 1 << 40, (1 << 63) - 1])
def test_a_length_takes_memory_for_what_is_there(length: int) -> None:
    data = chunk(head(b"u1", length)) + chunk(bytes(10_000_000), length)
    assert peak(WAYS["decode_buffer"], data) < 100_000
    assert peak(WAYS["read"], data) < 1.5 * len(data)


# ---- streams


def test_read_leaves_the_rest() -> None:
    stream = io.BytesIO()
    tenbin.write(stream, [np.array(n) for n in range(5)], [f"n{n}" for n in range(5)])
    stream.seek(0)
    assert tenbin.read(stream, 0) == []
    assert tenbin.read(stream, 2, True)[1] == ["n0", "n1"]
    assert tenbin.read(stream, n=1, infos=["n2"]) == [2]
    assert tenbin.read(stream) == [3, 4]
    assert tenbin.read(stream) == []


def test_webdataset_reads_and_writes_the_same_streams() -> None:
    arrays = [np.arange(100_000.0), np.zeros((2, 3), "u1")]
    ours, theirs = io.BytesIO(), io.BytesIO()
    tenbin.write(ours, arrays, ["a", "b"])
    webdataset.tenbin.write(theirs, arrays, ["a", "b"])
    assert ours.getvalue() == theirs.getvalue()
    ours.seek(0)
    theirs.seek(0)
    assert all(map(same, tenbin.read(theirs), arrays))
    assert all(map(same, webdataset.tenbin.read(ours), arrays))


def test_a_pipe() -> None:
    ends = os.pipe()
    arrays = [np.arange(400_000), np.array(7)]
    with open(ends[0], "rb", buffering=0) as reading, open(ends[1], "wb", buffering=0) as writing:
        writer = threading.Thread(target=tenbin.write, args=(writing, arrays))
        writer.start()
        large, seven = tenbin.read(reading, 2)
        writer.join()
    assert (large == np.arange(400_000)).all()
    assert seven == 7
    assert not large.flags.writeable


# ---- files


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.ten"
    arrays = [np.eye(28), np.arange(7, dtype="u4")]
    tenbin.save(str(path), *arrays, infos=["eye", "range"])
    assert path.read_bytes() == tenbin.encode_buffer(arrays, ["eye", "range"])
    for mmap in (False, True):
        found, infos = tenbin.load(path, infos=True, mmap=mmap)
        assert all(map(same, found, arrays))
        assert infos == ["eye", "range"]
        with pytest.raises(TenbinError, match=r"a\.ten: the infos are"):
            tenbin.load(path, ["eye", "ear"], mmap=mmap)
    assert os.listdir(tmp_path) == ["a.ten"]


def test_names_of_files(tmp_path: Path) -> None:
    for name in ("a.ten", "a.tb", "a.tenbin", "a.b.ten"):
        tenbin.save(tmp_path / name, np.array(1))
        assert tenbin.load(tmp_path / name) == [1]
    for name in ("a", "ten", "a.npy", "a.TEN"):
        with pytest.raises(ValueError, match=r"should end in \.ten or \.tb or \.tenbin; nocheck=True"):
            tenbin.save(tmp_path / name, np.array(1))
        with pytest.raises(ValueError, match="should end in"):
            tenbin.load(tmp_path / name)
        tenbin.save(tmp_path / name, np.array(1), nocheck=True)
        assert tenbin.load(tmp_path / name, nocheck=True) == [1]
    with pytest.raises(FileNotFoundError):
        tenbin.load(tmp_path / "missing.ten")


@pytest.mark.parametrize("mmap", [False, True])
def test_an_empty_file_holds_no_arrays(mmap: bool, tmp_path: Path) -> None:
    tenbin.save(tmp_path / "a.ten")
    assert (tmp_path / "a.ten").read_bytes() == b""
    assert tenbin.load(tmp_path / "a.ten", mmap=mmap) == []


@pytest.mark.parametrize("mmap", [False, True])
def test_a_cut_file_is_an_error_that_names_it(mmap: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ten"
    path.write_bytes(GOOD[:100])
    with pytest.raises(TenbinError) as caught:
        tenbin.load(path, mmap=mmap)
    assert (caught.value.url, caught.value.offset) == (str(path), 96)


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.ten"
    tenbin.save(path, np.array(1))
    with pytest.raises(EncodeError):
        tenbin.save(path, np.array(2), np.array(["two"]))
    assert tenbin.load(path) == [1]
    assert os.listdir(tmp_path) == ["a.ten"]


def test_a_mapped_file_is_read_when_it_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.ten"
    tenbin.save(path, np.zeros(5_000_000), np.array(7))
    tracemalloc.start()
    try:
        zeros, seven = tenbin.load(path, mmap=True)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert seven == 7
    assert not zeros.flags.writeable
    with path.open("r+b") as file:  # (so they share the file's memory)
        file.seek(96)
        file.write(struct.pack("<d", 2.5))
    assert zeros[:2].tolist() == [2.5, 0.0]


def test_a_mapped_file_may_be_saved_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.ten"
    tenbin.save(path, np.arange(1_000_000))
    (before,) = tenbin.load(path, mmap=True)
    tenbin.save(path, before[:10] * 2)
    assert tenbin.load(path)[0].tolist() == list(range(0, 20, 2))
    assert (before == np.arange(1_000_000)).all()


# ---- ZMQ


@contextmanager
def zmq_pair(address: str) -> Iterator[tuple[Any, Any]]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        for end in (sender, receiver):
            end.setsockopt(zmq.LINGER, 0)
            end.setsockopt(zmq.SNDTIMEO, 20_000)
            end.setsockopt(zmq.RCVTIMEO, 20_000)
        sender.bind(address)
        receiver.connect(sender.getsockopt_string(zmq.LAST_ENDPOINT))
        yield sender, receiver


SENT: list[list[Any]] = [
    [np.arange(784.0).reshape(28, 28), np.int32(7), np.zeros((0, 3), "u1"), np.ones((1,) * 7, "f2")],
    [np.arange(500_000), np.ones(3, ml_dtypes.bfloat16), np.array([True, False])],
    [np.eye(3)[::2].T],
    [],
]


@pytest.mark.parametrize("kind", ["single", "multipart"])
@pytest.mark.parametrize("address", ["inproc://tenbin", "tcp://127.0.0.1:*"])
def test_zmq(address: str, kind: str) -> None:
    send, receive = getattr(tenbin, f"zsend_{kind}"), getattr(tenbin, f"zrecv_{kind}")
    with zmq_pair(address) as (sender, receiver):
        for arrays in SENT:
            infos = [f"n{n}" for n in range(len(arrays))]
            for asked in (False, True, infos):
                send(sender, arrays, infos)
                found = receive(receiver, asked)
                if asked is True:
                    found, told = found
                    assert told == infos
                assert len(found) == len(arrays)
                assert all(map(same, found, map(np.asarray, arrays)))
                assert not any(array.flags.writeable for array in found)
        send(sender, [np.zeros(2)], ["a"])
        with pytest.raises(TenbinError, match="infos"):
            receive(receiver, ["b"])


@pytest.mark.parametrize(
    ("parts", "offset"),
    [
        ([b"", b""], 0),
        ([b"", b"", b""], 0),
        ([head(b"f4", 2)], 0),
        ([head(b"f4", 2), bytes(8), head(b"f4", 2)], 40),
        ([head(b"f4", 2), bytes(7)], 24),
        ([head(b"f4", 2), bytes(8), head(b"f4", 2)[:30], bytes(8)], 56),
        ([head(b"f4", 2), bytes(8), head(b"b1", 2), b"\1\2"], 40 + 32 + 1),
    ],
)
def test_damaged_messages(parts: list[bytes], offset: int) -> None:
    with zmq_pair("inproc://tenbin") as (sender, receiver):
        sender.send_multipart(parts)
        with pytest.raises(TenbinError) as caught:
            tenbin.zrecv_multipart(receiver)
        assert caught.value.offset == offset, caught.value
        sender.send(GOOD[:100])
        with pytest.raises(TenbinError):
            tenbin.zrecv_single(receiver)


# ---- SCTP


class SctpSocket:
    """A socket that keeps messages apart, with the calls of pysctp's."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain

    def sctp_send(self, msg: bytes, to: Any = ("", 0)) -> int:
        return self.plain.sendto(msg, to)

    def sctp_recv(self, maxlen: int) -> tuple[Any, int, bytes, None]:
        data, _, flags, sender = self.plain.recvmsg(maxlen)
        return sender, flags, data, None


@contextmanager
def sctp_sockets(folder: Path) -> Iterator[tuple[str, SctpSocket, SctpSocket, Any]]:
    """What is below, two sockets, and the address of the second: SCTP where the kernel has it, else UNIX datagrams."""
    address: Any
    try:
        plain = [socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET, socket.IPPROTO_SCTP) for _ in range(2)]
        kind, address = "the kernel's SCTP", ("127.0.0.1", 0)
    except (OSError, AttributeError):
        plain = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        kind, address = "UNIX datagrams, for this kernel has no SCTP", str(folder / "socket")
    with plain[0], plain[1]:
        plain[1].bind(address)
        if kind.startswith("the kernel"):
            plain[1].listen(1)
        for end in plain:
            end.settimeout(20)
        yield kind, SctpSocket(plain[0]), SctpSocket(plain[1]), plain[1].getsockname()


def test_sctp(tmp_path: Path, record_property: Any) -> None:
    with sctp_sockets(tmp_path) as (kind, sender, receiver, address):
        record_property("SCTP was tested over", kind)
        arrays = [np.arange(784.0).reshape(28, 28), np.int32(7)]
        for infos in (False, ["image", "class"]):
            assert tenbin.sctp_send(sender, address, arrays, ["image", "class"]) == len(tenbin.encode_buffer(arrays))
            assert all(map(same, tenbin.sctp_recv(receiver, infos), map(np.asarray, arrays)))
        tenbin.sctp_send(sender, address, arrays, ["image", "class"])
        assert tenbin.sctp_recv(receiver, infos=True)[1] == ["image", "class"]
        if "UNIX" in kind:  # (SCTP would give the rest with the next call, and has no empty message to send)
            tenbin.sctp_send(sender, address, arrays)
            with pytest.raises(TenbinError, match="cut"):
                tenbin.sctp_recv(receiver, maxsize=1000)
            sender.sctp_send(b"", address)
            assert tenbin.sctp_recv(receiver) is None


# ---- as a codec


@pytest.mark.parametrize("extension", ["ten", "tb", "tenbin"])
def test_fields_of_samples(extension: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with TarWriter(path) as writer:
        writer.write({"__key__": "one", extension: np.eye(2)})
        writer.write({"__key__": "two", extension: [np.arange(3), torch.ones(2, dtype=torch.uint8)]})
        writer.write({"__key__": "raw", f"b.{extension}": tenbin.encode_buffer([np.array(7)])})
    one, two, raw = urls(path) | tarsamples | decode()
    assert same(one[extension][0], np.eye(2))
    assert [array.tolist() for array in two[extension]] == [[0, 1, 2], [1, 1]]
    assert raw[f"b.{extension}"] == [7]


def test_webdataset_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with TarWriter(path) as writer:
        writer.write({"__key__": "one", "ten": [np.eye(2), np.arange(3)]})
    (sample,) = map(webdataset.autodecode.Decoder([]), by_webdataset(path.read_bytes()))
    assert all(map(same, sample["ten"], [np.eye(2), np.arange(3)]))


def test_a_damaged_field_is_a_decode_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with TarWriter(path) as writer:
        writer.write({"__key__": "one", "ten": GOOD[:100]})
    with pytest.raises(DecodeError, match="byte 96: the data is cut") as caught:
        list(urls(path) | tarsamples | decode())
    assert (caught.value.key, caught.value.field) == ("one", "ten")
    assert isinstance(caught.value.__cause__, TenbinError)
