"""Fields that attack their reader: bombs, lies about lengths, endless nesting, code. Made here, never found.

Each is a field's name, its bytes, and the options with which `decode` gets it (bounds that keep the tests quick).
"""

from __future__ import annotations

import functools
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import soundfile
import torch
from PIL import Image

from tests.archives import PACK

__all__ = ["ATTACKS", "EPS", "MIB", "Attack", "Opener", "npy_header", "packed_zeros", "png"]

MIB = 1 << 20


@attrs.frozen
class Attack:
    field: str
    make: Callable[[], bytes]
    options: dict[str, Any] = attrs.field(factory=dict[str, Any])


def packed_zeros(name: str, mib: int) -> bytes:
    """Some MiB of zeros, compressed: a stream or frame for each, one after the other, as all these formats allow."""
    return PACK[name](bytes(MIB)) * mib


# ---- pictures


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = (
        _chunk(b"IDAT", zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)) if width * height < 1 << 27 else b""
    )
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + _chunk(b"IEND", b"")


def _saved(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind, **options)
    return stream.getvalue()


def _patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1, "the place isn't found"
    return data.replace(old, new)


def _jpeg() -> bytes:
    frame = b"\xff\xc0\x00\x11\x08"  # SOF0: its length, 8 bits, and then height and width
    return _patched(_saved("JPEG"), frame + struct.pack(">HH", 8, 8), frame + struct.pack(">HH", 65000, 65000))


def _gif() -> bytes:
    wide = struct.pack("<HH", 8, 8)
    return _saved("GIF").replace(wide, struct.pack("<HH", 65000, 65000))


def _webp() -> bytes:
    data = bytearray(_saved("WEBP", lossless=True))
    start = data.index(b"VP8L") + 9  # behind the chunk's length and a byte of its own: 14 bits each
    data[start : start + 4] = struct.pack("<I", 16382 | 16382 << 14)
    return bytes(data)


def _bmp() -> bytes:
    return _patched(
        _saved("BMP"), struct.pack("<iiiHH", 40, 8, 8, 1, 24), struct.pack("<iiiHH", 40, 70000, 70000, 1, 24)
    )


def _tiff() -> bytes:
    def sides(n: int) -> bytes:
        return struct.pack("<HHII", 256, 4, 1, n) + struct.pack("<HHII", 257, 4, 1, n)

    tags = sides(100_000) + struct.pack("<HHII", 258, 3, 1, 8) + struct.pack("<HHII", 262, 3, 1, 1)
    tags += struct.pack("<HHII", 273, 4, 1, 8) + struct.pack("<HHII", 279, 4, 1, 1)
    return b"II*\0" + struct.pack("<IH", 8, len(tags) // 12) + tags + bytes(4)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
(a file) (w) file closefile
showpage
%%EOF
"""


# ---- arrays


def npy_header(shape: str, version: int = 1, descr: str = "'<f8'", rest: bytes = bytes(24)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode() + b"\n"
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + rest


def _npz(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def _zeros() -> bytes:
    return npy_header(f"({8 * MIB // 8},)", rest=bytes(8 * MIB))


def _npz_that_lies() -> bytes:
    """A zip that says its member is 100 bytes long, which gives 8 MiB when it is unpacked."""
    data = _npz({"a.npy": _zeros()})
    size = struct.pack("<I", len(_zeros()))
    assert data.count(size) == 2
    return data.replace(size, struct.pack("<I", 100))


def _saved_array(value: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([value], object), allow_pickle=True)
    return stream.getvalue()


# ---- code


class Opener:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def _torch(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def _torch_bomb() -> bytes:
    """A file of torch.save, compressed, which torch reads."""
    with zipfile.ZipFile(io.BytesIO(_torch(torch.zeros(MIB)))) as archive:
        return _npz({info.filename: archive.read(info) for info in archive.infolist()})


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


# ---- sound and films


def _wav_that_lies() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(20_000_000))
    return stream.getvalue()


def _silence() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((4 * MIB, 1), np.float32), 8000, format="FLAC")
    return stream.getvalue()


SMALL = {"max_bytes": MIB}
BIG = b"\xff" * 4

ATTACKS: dict[str, Attack] = {
    **{f"bomb in {name}": Attack(f"txt.{name}", functools.partial(packed_zeros, name, 64), SMALL) for name in PACK},
    "bomb in a bomb": Attack("txt.gz.gz", lambda: gzip.compress(packed_zeros("gz", 64)), SMALL),
    "no gzip": Attack("txt.gz", lambda: b"text"),
    "cut gzip": Attack("txt.gz", lambda: gzip.compress(b"text")[:-1]),
    "PNG of a header": Attack("png", lambda: png(100_000, 100_000)),
    "PNG of few bytes": Attack("png", lambda: png(3_000, 3_000), {"max_pixels": 1_000_000}),
    "PNG with a long text": Attack(
        "png", lambda: png(8, 8, *[_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(16 * MIB)))])
    ),
    "JPEG": Attack("jpg", _jpeg),
    "GIF": Attack("gif", _gif),
    "WebP": Attack("webp", _webp),
    "BMP": Attack("bmp", _bmp),
    "TIFF": Attack("tif", _tiff),
    "PPM": Attack("ppm", lambda: b"P6 100000 100000 255\n"),
    "TIFF named jpg": Attack("jpg", functools.partial(_saved, "TIFF")),
    "JPEG named tif": Attack("tif", functools.partial(_saved, "JPEG")),
    "PPM named png": Attack("png", functools.partial(_saved, "PPM")),
    **{f"EPS named {name}": Attack(name, lambda: EPS) for name in ("jpg", "png", "tif", "ppm", "webp", "gif", "bmp")},
    **{f"npy {v} of 8 TB": Attack("npy", functools.partial(npy_header, "(1000000000000,)", v)) for v in (1, 2, 3)},
    "npy of negative length": Attack("npy", lambda: npy_header("(-1,)")),
    "npy of huge items": Attack("npy", lambda: npy_header("(1,)", descr="('<f8', (1000000000000,))")),
    "npy with code in its header": Attack("npy", lambda: npy_header("__import__('os').abort()")),
    "npy with a deep header": Attack("npy", lambda: npy_header("(" * 5000, 2)),
    "npy with a long header": Attack("npy", lambda: npy_header("(1," + "0," * MIB + ")", 3)),
    "npy of objects": Attack("npy", lambda: _saved_array({})),
    "npz of objects": Attack("npz", lambda: _npz({"a.npy": _saved_array({})})),
    "npz bomb": Attack("npz", lambda: _npz({"a.npy": _zeros()}), SMALL),
    "npz bomb of many": Attack("npz", lambda: _npz({str(n): bytes(MIB) for n in range(4)}), SMALL),
    "npz that lies": Attack("npz", _npz_that_lies, SMALL),
    "npz by LZMA": Attack("npz", lambda: _npz({"a.npy": npy_header("(3,)")}, zipfile.ZIP_LZMA)),
    "npz with a name twice": Attack("npz", lambda: _npz({"a.npy": npy_header("(3,)"), "a": npy_header("(3,)")})),
    "no npz": Attack("npz", lambda: b"PK\x05\x06"),
    "safetensors with a long header": Attack("safetensors", lambda: struct.pack("<Q", 1 << 40) + b"{}"),
    "safetensors of 8 TB": Attack(
        "safetensors",
        lambda: struct.pack("<Q", 67) + b'{"a":{"dtype":"F64","shape":[1000000],"data_offsets":[0,8000000]}}   ',
    ),
    **{
        f"msgpack {kind}": Attack("mp", functools.partial(bytes.__add__, head, BIG + b"abc"))
        for kind, head in {"array": b"\xdd", "map": b"\xdf", "str": b"\xdb", "bin": b"\xc6", "ext": b"\xc9"}.items()
    },
    "deep msgpack": Attack("mp", lambda: b"\x91" * MIB),
    "deep and wide msgpack": Attack("mp", lambda: b"\xdd\x00\x00\xff\xff" * 1000),
    **{
        f"cbor {kind}": Attack("cbor", functools.partial(bytes.__add__, head, b"\0\0\0\1" + BIG + b"abc"))
        for kind, head in {"array": b"\x9b", "map": b"\xbb", "text": b"\x7b", "bytes": b"\x5b"}.items()
    },
    "deep cbor": Attack("cbor", lambda: b"\x81" * MIB),
    "cbor with tags in tags": Attack("cbor", lambda: b"\xc1" * MIB),
    "cbor with more behind": Attack("cbor", lambda: b"\x01\x01"),
    "deep JSON": Attack("json", lambda: b"[" * MIB),
    "deep JSON objects": Attack("json", lambda: b'{"a":' * MIB),
    "deep JSON lines": Attack("jsonl", lambda: b"1\n" + b"[" * MIB),
    "JSON with a long number": Attack("json", lambda: b"9" * MIB),
    "long number": Attack("cls", lambda: b"9" * MIB),
    "torch file, unpacked": Attack("pth", _torch_bomb, SMALL),
    "tar as old torch wrote it": Attack("pth", _tar),
    "no torch file": Attack("pt", lambda: b"PK\x03\x04 but no zip"),
    "empty torch file": Attack("pt", lambda: b""),
    "long wav": Attack("wav", _wav_that_lies, SMALL),
    "long silence": Attack("flac", _silence, SMALL),
    "no sound": Attack("mp3", lambda: b"no sound"),
    "playlist named mp4": Attack("mp4", lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"),
    "list of files named mkv": Attack("mkv", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "list of files named m4a": Attack("m4a", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
}

CODE: dict[str, Callable[[Any], bytes]] = {
    "pyd": pickle.dumps,
    "pickle": pickle.dumps,
    "pkl": functools.partial(pickle.dumps, protocol=0),
    "pkl.gz": lambda value: gzip.compress(pickle.dumps(value)),
    "pth": _torch,
    "pt": functools.partial(_torch, _use_new_zipfile_serialization=False),
    "npy": _saved_array,
    "npz": lambda value: _npz({"a.npy": _saved_array(value)}),
    "pt.xz": lambda value: lzma.compress(_torch(value)),
}
"""By field, what writes a value so that a careless reader would run its code."""
