r"""tenbin: lists of arrays as bytes that can be used where they lie, in files, streams and messages.

The format is webdataset's (the docstring of its module `tenbin`, and before it tensorcom's); files end in `.ten` or
`.tb`. All numbers are little-endian int64. There is a sequence of chunks, without anything before, between or after:

| bytes | a chunk |
|---|---|
| 8 | the magic, `~TenBin~` |
| 8 | the length of the content in bytes |
| length | the content |
| -length % 64 | padding: zeros, which readers don't look at |

Each array is two chunks. The content of the first is its header, that of the second its elements in C order:

| bytes | a header |
|---|---|
| 8 | the dtype, in ASCII, filled up with NUL |
| 8 | the array's info, a name of up to 8 ASCII characters, filled up with NUL |
| 8 | how many dimensions there are |
| 8 each | the dimensions |

| dtype | elements |
|---|---|
| `f2` `f4` `f8` | IEEE floating point of 2, 4, 8 bytes |
| `i1` `i2` `i4` `i8` | signed integers of so many bytes |
| `u1` `u2` `u4` `u8` | unsigned integers |
| `b1` | an extension of ours: bool, a byte that is 0 or 1 |
| `bf2` | an extension of ours: bfloat16, the upper half of a float of 4 bytes |

For the dtypes that webdataset writes, the bytes are the same. It misspelt uint32, so it neither writes nor reads `u4`;
`b1` and `bf2` it refuses as an "unsupported array type". It writes arrays of 0 dimensions but can't read them, and
reads more than 9 but doesn't write them. The format has no place for pickles, objects, or anything that could run code.

**Arrays in:** numpy arrays and scalars, and torch tensors from any device. Other byte orders and arrays that are not
contiguous are converted. All else (complex, text, times, structures, Python objects, lists of numbers) is an
`EncodeError`.

**Arrays out:** numpy arrays that share the memory from which they were read and can't be written to; they are copies
only where they would not be aligned. bfloat16 gets the dtype of the package ml_dtypes where that is installed
(`pip install ml_dtypes`), and else becomes float32, which holds the same values.

**Infos** are written where they are given, as many as arrays. Readers return arrays alone (`infos=False`), arrays and
infos (`infos=True`), or verify that the infos are those of a list (`infos=["image", "class"]`).

**Damaged bytes** of whatever kind raise a `TenbinError` that says at which byte; no length that they tell is believed
before so many bytes are there.
"""

from __future__ import annotations

import functools
import math
import mmap as maps
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.codec import Codec, describe, to_array
from streamwds.errors import EncodeError, TenbinError
from streamwds.memo import Memo
from streamwds.shards.local import replacing

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CODECS",
    "decode_buffer",
    "encode_buffer",
    "encode_field",
    "load",
    "read",
    "save",
    "sctp_recv",
    "sctp_send",
    "write",
    "zrecv_multipart",
    "zrecv_single",
    "zsend_multipart",
    "zsend_single",
]

Array: TypeAlias = NDArray[Any]
Infos: TypeAlias = "Sequence[str] | bool | None"


class Readable(Protocol):
    """What arrays are read from: a binary file, or whatever reads like one."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """What arrays are written to. None for the number of bytes written means that all were."""

    def write(self, data: memoryview, /) -> int | None: ...


MAGIC = b"~TenBin~"
CHUNK = 64  # contents are filled up to a multiple of this
HEAD = 8 + 8 + CHUNK + 8 + 8  # bytes before the elements of an array of up to 5 dimensions, and the least there are
MOST_DIMENSIONS = 64  # numpy has no more
PIECE = 1 << 20  # how much is asked of a stream on a length's word alone

_chunk = struct.Struct("<8sq")
_header = struct.Struct("<8s8sq")


# ---- element types


def _checked_bools(bools: Array) -> Array:
    """The same; a bool of another byte than 0 and 1 would be neither true nor false to numpy."""
    octets = bools.view(np.uint8)
    if octets.max(initial=0) > 1:
        at = int((octets > 1).argmax())
        raise TenbinError(f"a bool is the byte 0 or 1, not {octets.flat[at]}", offset=at)
    return bools


@functools.cache
def _bfloat16() -> Any:
    """The scalar type bfloat16, which numpy itself doesn't have; None where ml_dtypes isn't installed."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    return ml_dtypes.bfloat16


def _bfloat16s(halves: Array) -> Array:
    bfloat16 = _bfloat16()
    halves = halves.astype(np.uint16, copy=False)  # (a copy only where the machine's byte order is another)
    if bfloat16 is not None:
        return halves.view(bfloat16)
    floats = (halves.astype(np.uint32) << 16).view(np.float32)
    floats.flags.writeable = False
    return floats


class _Elements(NamedTuple):
    """What stands under a dtype's code: numpy's dtype, and what is left to do to an array of it that was read."""

    dtype: np.dtype[Any]
    finish: Callable[[Array], Array] | None = None


_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
_ELEMENTS = {
    **{code: _Elements(np.dtype(f"<{code}")) for code in _NUMBERS},
    "b1": _Elements(np.dtype(bool), _checked_bools),
    "bf2": _Elements(np.dtype("<u2"), _bfloat16s),
}
_OF_CODE = {code.encode().ljust(8, b"\0"): elements for code, elements in _ELEMENTS.items()}
_CODE_OF = {elements.dtype: code.encode() for code, elements in _ELEMENTS.items() if code != "bf2"}


# ---- arrays to bytes


def _coded(value: Any) -> tuple[bytes, Array]:
    """The code of an array's dtype, and the array as it is written: little-endian, in C order."""
    if type(value) is np.ndarray and (code := _CODE_OF.get(value.dtype)) is not None:
        array: Array = value
    else:
        code, array = _converted(value)
    return code, array if array.flags.c_contiguous else array.copy("C")


def _converted(value: Any) -> tuple[bytes, Array]:
    torch = sys.modules.get("torch")
    bits = value
    try:
        if torch is not None and isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16:
            bits = value.detach().view(torch.int16)
        array = to_array(bits)
    except RuntimeError as error:  # (of a sparse tensor)
        raise EncodeError(f"the elements of a {describe(value)} don't lie in memory") from error
    if array is None or isinstance(value, np.ma.MaskedArray):
        raise EncodeError(f"expected numpy arrays or torch tensors, got {describe(value)}")
    if bits is not value or array.dtype.name == "bfloat16":
        return b"bf2", array.view(np.uint16).astype("<u2", copy=False)
    little = array.dtype.newbyteorder("<")
    code = _CODE_OF.get(little)
    if code is None:
        raise EncodeError(f"tenbin holds {', '.join(_ELEMENTS)} (bool is b1, bfloat16 bf2), not {describe(value)}")
    return code, array.astype(little, copy=False)


def _packer(dimensions: int) -> Callable[..., bytes]:
    length = _header.size + 8 * dimensions
    return struct.Struct(f"<8sq8s8s{1 + dimensions}q{-length % CHUNK}x8sq").pack


_PACKERS = Memo(_packer)


def _names(arrays: Any, infos: Any) -> list[bytes]:
    """The infos as bytes, one for each array."""
    if not isinstance(arrays, (list, tuple)):
        raise EncodeError(f"expected a list of arrays, got {describe(arrays)}")
    if infos is None:
        return [b""] * len(arrays)
    if not isinstance(infos, (list, tuple)) or len(infos) != len(arrays):
        raise EncodeError(f"{len(arrays)} arrays need a list of {len(arrays)} infos, not {infos!r:.200}")
    for info in infos:
        if not isinstance(info, str) or not info.isascii() or len(info) > 8 or "\0" in info:
            raise EncodeError(f"an info is a str of at most 8 ASCII characters, not {info!r:.200}")
    return [info.encode() for info in infos]


def _parts(arrays: Any, infos: Any) -> list[Any]:
    """What is written, in order: for each array all that stands before its elements, they, and the padding."""
    parts: list[Any] = []
    for value, info in zip(arrays, _names(arrays, infos)):
        code, array = _coded(value)
        shape, nbytes = array.shape, array.nbytes
        dimensions = len(shape)
        length = _header.size + 8 * dimensions
        parts += (
            _PACKERS[dimensions](MAGIC, length, code, info, dimensions, *shape, MAGIC, nbytes),
            array,
            bytes(-nbytes % CHUNK),
        )
    return parts


def encode_buffer(arrays: Sequence[Any], infos: Sequence[str] | None = None) -> bytes:
    """A list of arrays as bytes.

    arrays: a list or tuple of numpy arrays and scalars, and torch tensors; see above for the dtypes.
    infos: a name for each, of at most 8 ASCII characters; none: empty ones.

    `EncodeError` for what the format can't hold. No arrays are no bytes.

    >>> data = encode_buffer([np.eye(2), np.int32(7)], infos=["matrix", "class"])
    >>> len(data), data[:8]
    (320, b'~TenBin~')
    """
    return b"".join(_parts(arrays, infos))


def encode_field(value: Any) -> bytes:
    """The bytes of a sample's field: of a list or tuple of arrays, or of one array, which is read back in a list.

    `bytes` are given back unchanged; `EncodeError` for what the format can't hold.

    >>> decode_buffer(encode_field(np.arange(3)))
    [array([0, 1, 2])]
    """
    if isinstance(value, bytes):
        return value
    return encode_buffer(value if isinstance(value, (list, tuple)) else [value])


# ---- bytes to arrays


class _Head(NamedTuple):
    """What stands before elements: what they are, how many bytes come before them, and how many they take."""

    elements: _Elements
    shape: tuple[int, ...]
    info: str
    start: int
    nbytes: int
    padded: int


def _text(word: bytes) -> str:
    return word.decode("ascii").strip("\0")


def _described(header: bytes, nbytes: int, start: int, base: int) -> _Head:
    """The head of an array, of its header and the length of its elements; errors count bytes from `base`."""
    if len(header) < _header.size:
        raise TenbinError(f"a header has at least {_header.size} bytes, not {len(header)}", offset=base)
    code, name, dimensions = _header.unpack_from(header)
    elements = _OF_CODE.get(code)
    if elements is None:
        raise TenbinError(f"{code!r} is none of the dtypes {', '.join(_ELEMENTS)}", offset=base)
    if not name.isascii():
        raise TenbinError(f"the info {name!r} is not ASCII", offset=base + 8)
    if not 0 <= dimensions <= MOST_DIMENSIONS or len(header) != _header.size + 8 * dimensions:
        raise TenbinError(f"{dimensions} dimensions in a header of {len(header)} bytes", offset=base + 16)
    shape = struct.unpack_from(f"<{dimensions}q", header, _header.size)
    if min(shape, default=0) < 0 or math.prod(shape) * elements.dtype.itemsize != nbytes:
        raise TenbinError(
            f"the header says {_text(code)} of shape {shape!s:.200}, and there are {nbytes} bytes of elements",
            offset=base + 24,
        )
    return _Head(elements, shape, _text(name), start, nbytes, nbytes + -nbytes % CHUNK)


def _length(data: bytes, at: int) -> int:
    """The length that the chunk at a place tells."""
    if len(data) < at + _chunk.size:
        raise TenbinError("the data is cut within what comes before a chunk", offset=min(at, len(data)))
    magic, length = _chunk.unpack_from(data, at)
    if magic != MAGIC:
        raise TenbinError(f"a chunk begins with {MAGIC!r}, not with {magic!r}", offset=at)
    if length < 0:
        raise TenbinError(f"a chunk can't have {length} bytes", offset=at + 8)
    return int(length)


def _span(data: bytes) -> int:
    """How many bytes come before the elements of the array that begins here."""
    length = _length(data, 0)
    if not _header.size <= length <= _header.size + 8 * MOST_DIMENSIONS:
        raise TenbinError(f"a header can't have {length} bytes", offset=8)
    return _chunk.size + length + -length % CHUNK + _chunk.size


def _head(data: bytes) -> _Head:
    """The head of the array that begins here; errors count bytes from here."""
    span = _span(data)
    nbytes = _length(data, span - _chunk.size)
    begin = _chunk.size
    return _described(data[begin : begin + _length(data, 0)], nbytes, span, begin)


def _usual_head(data: bytes) -> _Head | None:
    """The head of an array of up to 5 dimensions, whose head is then all of the data; None for more."""
    return _head(data) if _span(data) == HEAD else None


# Kept, since arrays of a data set mostly have the same few heads, and one takes longer to read than a small array.
_HEADS = Memo(_usual_head, most=4096)


def _head_at(at: int, begin: bytes, more: Callable[[int], bytes]) -> _Head:
    """The head of the array at a place, of the bytes that it begins with, and as many more as it says there are."""
    try:
        return _HEADS[begin] or _head(begin + more(_span(begin) - HEAD))
    except TenbinError as error:
        error.offset = at + (error.offset or 0)
        raise


# The elements of an array lie in some data, from a place on, which is so many bytes from where everything began.
_Found: TypeAlias = tuple[_Head, Any, int, int]


def _in_buffer(data: bytes | memoryview) -> Iterator[_Found]:
    at, size = 0, len(data)
    while at < size:
        begin = bytes(data[at : at + HEAD])
        head = _HEADS.get(begin)
        if head is None:
            head = _head_at(at, begin, functools.partial(_piece, data, at + HEAD))
        start = at + head.start
        at = start + head.padded
        if at > size:
            raise _cut(head, size - start, start)
        yield head, data, start, start


def _piece(data: bytes | memoryview, at: int, size: int) -> bytes:
    return bytes(data[at : at + size])


def _in_stream(stream: Readable, n: int) -> Iterator[_Found]:
    at = 0
    for _ in range(n):
        begin = bytes(_pulled(stream, HEAD))
        if not begin:
            return
        head = _head_at(at, begin, lambda more: bytes(_pulled(stream, more)))
        start = at + head.start
        data = _pulled(stream, head.nbytes)
        found = len(data)
        if found == head.nbytes:
            found += len(_pulled(stream, head.padded - head.nbytes))
        if found < head.padded:
            raise _cut(head, found, start)
        yield head, data, 0, start
        at = start + head.padded


def _in_parts(parts: Sequence[bytes]) -> Iterator[_Found]:
    if list(parts) == [b""]:
        return
    at = 0
    for header, data in zip(parts[::2], parts[1::2]):
        start = at + len(header)
        yield _described(header, len(data), 0, at), data, 0, start
        at = start + len(data)
    if len(parts) % 2:
        raise TenbinError(f"a message of {len(parts)} parts ends with a header", offset=at)


def _cut(head: _Head, found: int, start: int) -> TenbinError:
    message = f"the data is cut: {head.padded} bytes of elements and padding should come here, and {found} do"
    return TenbinError(message, offset=start)


def _pulled(stream: Readable, size: int) -> bytes | memoryview:
    """So many bytes of a stream, or as many as there are; memory is taken for what came, not for what may come."""
    piece = stream.read(min(size, PIECE))
    if len(piece) == size:
        return piece
    pieces = bytearray(piece)
    while piece and len(pieces) < size:
        piece = stream.read(min(size - len(pieces), PIECE))
        pieces += piece
    return memoryview(pieces).toreadonly()


def _arrays(found: Iterator[_Found], infos: Any) -> Any:
    """The arrays that were found, and what is asked of their infos."""
    arrays: list[Array] = []
    names: list[str] = []
    for head, data, start, offset in found:
        elements = head.elements
        try:
            array: Array = np.ndarray(head.shape, elements.dtype, data, start)
            if not array.flags.aligned:
                array = array.copy()
                array.flags.writeable = False
            if elements.finish is not None:
                array = elements.finish(array)
        except TenbinError as error:
            error.offset = offset + (error.offset or 0)
            raise
        except ValueError as error:  # 0 elements of dimensions whose product overflows; an older numpy's 32 dimensions
            raise TenbinError(
                f"numpy can't hold an array of shape {head.shape!s:.200}: {error}", offset=offset
            ) from error
        arrays.append(array)
        names.append(head.info)
    if infos is True:
        return arrays, names
    if infos is not False and infos is not None:
        if not isinstance(infos, (list, tuple)):
            raise TypeError(f"infos is True, False, or a list of those that must be there, not {infos!r:.200}")
        if list(infos) != names:
            raise TenbinError(f"the infos are {names!r:.200}, not {list(infos)!r:.200}")
    return arrays


@overload
def decode_buffer(buf: Buffer | Array, infos: Literal[False] | Sequence[str] | None = ...) -> list[Array]: ...
@overload
def decode_buffer(buf: Buffer | Array, infos: Literal[True]) -> tuple[list[Array], list[str]]: ...
@overload
def decode_buffer(buf: Buffer | Array, infos: Infos) -> Any: ...
def decode_buffer(buf: Buffer | Array, infos: Infos = False) -> Any:
    """The arrays in a buffer (bytes, a bytearray, memoryview, mmap …), as views of it that can't be written to.

    infos: True returns `(arrays, infos)`; a list must be that of the infos, else a `TenbinError`.

    `TenbinError` for anything but intact tenbin, with its offset in bytes. An array is a copy only where its elements
    don't lie at multiples of their size in memory; in bytes, bytearrays, and files mapped into memory they always do.

    >>> data = encode_buffer([np.eye(2), np.int32(7)], infos=["matrix", "class"])
    >>> decode_buffer(data, infos=True)
    ([array([[1., 0.],
           [0., 1.]]), array(7, dtype=int32)], ['matrix', 'class'])
    >>> decode_buffer(data[:150])
    Traceback (most recent call last):
    ...
    streamwds.errors.TenbinError: byte 96: the data is cut: 64 bytes of elements and padding should come here, and 54 do
    """
    if type(buf) is bytes:
        return _arrays(_in_buffer(buf), infos)
    anything: Any = buf
    view = memoryview(anything)
    return _arrays(_in_buffer(view.cast("B").toreadonly() if view.nbytes else b""), infos)


# ---- files and streams


def write(stream: Writable, arrays: Sequence[Any], infos: Sequence[str] | None = None) -> None:
    """Write a list of arrays to a binary stream, straight from their memory; see `encode_buffer`.

    If an array can't be written, an `EncodeError` says so before the first byte is.

    >>> with open(tmp_path / "stream", "wb") as stream:
    ...     write(stream, [np.arange(3)], infos=["numbers"])
    """
    for part in _parts(arrays, infos):
        left = _octets(part)
        while left:
            written = stream.write(left)
            left = left[len(left) if written is None else written :]


def _octets(part: Any) -> memoryview:
    return memoryview(part if isinstance(part, bytes) else part.reshape(-1).view(np.uint8))


@overload
def read(stream: Readable, n: int = ..., infos: Literal[False] | Sequence[str] | None = ...) -> list[Array]: ...
@overload
def read(stream: Readable, n: int = ..., *, infos: Literal[True]) -> tuple[list[Array], list[str]]: ...
@overload
def read(stream: Readable, n: int = ..., infos: Infos = ...) -> Any: ...
def read(stream: Readable, n: int = sys.maxsize, infos: Infos = False) -> Any:
    """The arrays in a binary stream, at most `n`; then the stream stands at the next one.

    infos: as for `decode_buffer`, and so are the errors, whose offset counts from where reading began.

    A length takes memory for what is there and not for what it promises. Reading a whole file, `load` is faster.

    >>> with open(tmp_path / "stream", "wb") as stream:
    ...     write(stream, [np.arange(3), np.float32(0.5)])
    >>> with open(tmp_path / "stream", "rb") as stream:
    ...     read(stream, 1), read(stream)
    ([array([0, 1, 2])], [array(0.5, dtype=float32)])
    """
    return _arrays(_in_stream(stream, n), infos)


def _file_name(path: str | os.PathLike[str], nocheck: bool) -> str:
    name = os.fspath(path)
    if not nocheck and not name.endswith(_SUFFIXES):
        raise ValueError(f"{name!r} should end in {' or '.join(_SUFFIXES)}; nocheck=True takes any name")
    return name


def save(path: str | os.PathLike[str], *arrays: Any, infos: Sequence[str] | None = None, nocheck: bool = False) -> None:
    """Write arrays to a file, which appears under its name when it is complete, in place of one that was there.

    path: ends in .ten, .tb or .tenbin, unless `nocheck`; else a `ValueError`.
    arrays, infos: see `encode_buffer`.

    >>> save(tmp_path / "a.ten", np.eye(2), np.arange(3), infos=["matrix", "numbers"])
    >>> load(tmp_path / "a.ten", infos=["matrix", "numbers"])[1]
    array([0, 1, 2])
    """
    with replacing(_file_name(path, nocheck)) as file:
        write(file, arrays, infos)


@overload
def load(
    path: str | os.PathLike[str],
    infos: Literal[False] | Sequence[str] | None = ...,
    nocheck: bool = ...,
    *,
    mmap: bool = ...,
) -> list[Array]: ...
@overload
def load(
    path: str | os.PathLike[str], infos: Literal[True], nocheck: bool = ..., *, mmap: bool = ...
) -> tuple[list[Array], list[str]]: ...
@overload
def load(path: str | os.PathLike[str], infos: Infos, nocheck: bool = ..., *, mmap: bool = ...) -> Any: ...
def load(path: str | os.PathLike[str], infos: Infos = False, nocheck: bool = False, *, mmap: bool = False) -> Any:
    """The arrays in a file.

    path: ends in .ten, .tb or .tenbin, unless `nocheck`; else a `ValueError`.
    infos: as for `decode_buffer`, and so are the errors, which also tell the path.
    mmap: map the file into memory instead of reading it: nothing is read until an element is looked at (but bools,
        which are verified), and processes share it. The file must not be cut while its arrays are in use; to `save`
        others under its name is fine.

    >>> save(tmp_path / "a.ten", np.eye(2))
    >>> load(tmp_path / "a.ten", mmap=True)
    [array([[1., 0.],
           [0., 1.]])]
    """
    name = _file_name(path, nocheck)
    with open(name, "rb") as file:
        mapped = mmap and os.fstat(file.fileno()).st_size  # (an empty file can't be mapped)
        data = maps.mmap(file.fileno(), 0, access=maps.ACCESS_READ) if mapped else file.read()
    try:
        return decode_buffer(data, infos)
    except TenbinError as error:
        error.url = name
        raise


# ---- messages


def zsend_single(socket: Any, arrays: Sequence[Any], infos: Sequence[str] | None = None) -> Any:
    """Send arrays through a ZMQ socket as one message of one part; what `socket.send` returned.

    >>> import zmq
    >>> with zmq.Context() as context, context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
    ...     bound = here.bind("inproc://example"), there.connect("inproc://example")
    ...     zsend_single(here, [np.arange(3)], infos=["numbers"])
    ...     zrecv_single(there, infos=True)
    ([array([0, 1, 2])], ['numbers'])
    """
    return socket.send(encode_buffer(arrays, infos))


def zrecv_single(socket: Any, infos: Infos = False) -> Any:
    """Receive what `zsend_single` sent (see there); `infos` and errors are as for `decode_buffer`."""
    return decode_buffer(socket.recv(), infos)


def zsend_multipart(socket: Any, arrays: Sequence[Any], infos: Sequence[str] | None = None) -> Any:
    """Send arrays through a ZMQ socket as one message, straight from their memory; what `send_multipart` returned.

    Each array is two parts, its header and its elements, without magic, length and padding. No arrays are one empty
    part.

    >>> import zmq
    >>> with zmq.Context() as context, context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
    ...     bound = here.bind("inproc://example"), there.connect("inproc://example")
    ...     zsend_multipart(here, [np.arange(3)], infos=["numbers"])
    ...     zrecv_multipart(there, infos=True)
    ([array([0, 1, 2])], ['numbers'])
    """
    parts: list[Any] = []
    written = _parts(arrays, infos)
    for head, array in zip(written[::3], written[1::3]):
        length = _header.size + 8 * array.ndim
        parts += (head[_chunk.size : _chunk.size + length], _octets(array))
    return socket.send_multipart(parts or [b""])


def zrecv_multipart(socket: Any, infos: Infos = False) -> Any:
    """Receive what `zsend_multipart` sent (see there); `infos` and errors are as for `decode_buffer`.

    The offset of an error counts through the parts as if they were joined.
    """
    return _arrays(_in_parts(socket.recv_multipart()), infos)


def sctp_send(socket: Any, dest: Any, arrays: Sequence[Any], infos: Sequence[str] | None = None) -> Any:
    """Send arrays to an address as one SCTP message; what `socket.sctp_send(data, to=dest)` returned.

    The socket is one of the package pysctp, or has its `sctp_send` and `sctp_recv`. The system limits what a message
    may hold to the socket's send buffer (SO_SNDBUF).

    >>> class Socket:  # stands in for one of pysctp's
    ...     def sctp_send(self, data, to):
    ...         self.data = data
    ...     def sctp_recv(self, maxsize):
    ...         return None, 0, self.data, None
    >>> socket = Socket()
    >>> sctp_send(socket, ("127.0.0.1", 4711), [np.arange(3)], infos=["numbers"])
    >>> sctp_recv(socket, infos=True)
    ([array([0, 1, 2])], ['numbers'])
    """
    return socket.sctp_send(encode_buffer(arrays, infos), to=dest)


def sctp_recv(socket: Any, infos: Infos = False, maxsize: int = 100_000_000) -> Any:
    """Receive what `sctp_send` sent (see there), at most `maxsize` bytes; None for a notification, and at the end.

    `infos` and errors are as for `decode_buffer`; a message of more than `maxsize` bytes is cut, and so an error.
    """
    data = socket.sctp_recv(maxsize)[2]
    return decode_buffer(data, infos) if data else None


CODECS = (Codec(("ten", "tb", "tenbin"), decode_buffer, encode_field),)

_SUFFIXES = tuple(f".{extension}" for extension in CODECS[0].extensions)
