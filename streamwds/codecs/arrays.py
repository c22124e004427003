"""Codecs of arrays: one in a `.npy`, several by name in a `.npz` or `.safetensors`.

All are read as numpy arrays that own their memory and are writable. None is ever unpickled.
"""

from __future__ import annotations

import ast
import functools
import io
import zipfile
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.codec import Codec, Rules, describe, library, to_array
from streamwds.errors import EncodeError

__all__ = [
    "CODECS",
    "decode_npy",
    "decode_npz",
    "decode_safetensors",
    "encode_npy",
    "encode_npz",
    "encode_safetensors",
]


# ---- npy

NPY = b"\x93NUMPY"


@functools.lru_cache(maxsize=256)
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    # Kept, since a data set's files mostly have the same header, and parsing it takes longer than a small array.
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    if version == (3, 0):  # (which only exotic field names need; numpy has no public function for its header)
        if len(header) > 10_000:  # (numpy's own limit: literal_eval takes much memory)
            raise ValueError(f"a header of {len(header)} bytes is too long")
        fields = ast.literal_eval(header[12:].decode("utf-8"))
        shape, fortran, dtype = fields["shape"], fields["fortran_order"], np.lib.format.descr_to_dtype(fields["descr"])
    else:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read[version](stream)
    if dtype.hasobject:
        raise ValueError("the file holds pickled objects, which could run code; they are never read")
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
    if data[:7] == NPY + b"\x01":
        start = 10 + int.from_bytes(data[8:10], "little")
    elif data[:6] == NPY:
        start = 12 + int.from_bytes(data[8:12], "little")
    else:
        raise ValueError(f"a .npy begins with {NPY!r}, this one with {data[:6]!r}")
    if start > len(data):
        raise ValueError("the file is cut within its header")
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


# ---- npz


def decode_npz(data: bytes, rules: Rules) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz` file by their names, each as by `decode_npy`.

    Raises `ValueError` for arrays that together take more than `rules.max_bytes`, before any is unpacked, and for two
    of one name; `zipfile.BadZipFile` for what is no intact zip.

    >>> decode_npz(encode_npz({"a": np.arange(3)}), Rules())
    {'a': array([0, 1, 2])}
    """
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        rules.check_bytes(sum(member.file_size for member in members), "the .npz, unpacked,")  # (more is never read)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"there are two arrays called {name!r}")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r} is compressed by a method that numpy does not use")
            arrays[name] = decode_npy(archive.read(member))
    return arrays


def encode_npz(value: Any) -> bytes:
    """A dict of arrays or tensors as a `.npz` file, compressed as by `numpy.savez_compressed`.

    Equal arrays give equal bytes.

    >>> encode_npz({"a": np.arange(3)})[:2]
    b'PK'
    """
    if isinstance(value, bytes):
        return value
    arrays = _by_name(value)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = encode_npy(array)
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=len(data) >= 1 << 31) as member:
                member.write(data)
    return stream.getvalue()


def _by_name(value: Any) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, array in value.items() if isinstance(value, Mapping) else [(None, None)]:
        converted = to_array(array)
        if not isinstance(name, str) or converted is None:
            raise EncodeError(
                "expected a dict from names to numpy arrays or torch tensors (or bytes, already encoded), got "
                f"{describe(value) if name is None else f'{name!r}: {describe(array)}'}"
            )
        arrays[name] = converted
    return arrays


# ---- safetensors


def decode_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a `.safetensors` file by their names; needs the extra `safetensors`.

    Raises `ValueError` for a dtype that numpy has not, such as bfloat16, and `safetensors.SafetensorError` for a
    header that is broken or does not fit the data.
    """
    load = library("safetensors.numpy", "safetensors").load
    try:
        return {name: array if array.flags.writeable else array.copy() for name, array in load(data).items()}
    except KeyError as error:
        raise ValueError(
            f"numpy has no {error.args[0]}: use decode(handle_extension('safetensors', safetensors.torch.load))"
        ) from error


def encode_safetensors(value: Any) -> bytes:
    """A dict of arrays or tensors as a `.safetensors` file; needs the extra `safetensors`.

    It is little-endian whatever the arrays are, and has its own order of the names.
    """
    if isinstance(value, bytes):
        return value
    # (the library writes the memory as it lies; asarray, since ascontiguousarray would give 0-d arrays a dimension)
    arrays = {name: np.asarray(array, order="C") for name, array in _by_name(value).items()}
    try:
        return cast("bytes", library("safetensors.numpy", "safetensors").save(arrays))
    except (ValueError, library("safetensors", "safetensors").SafetensorError) as error:
        raise EncodeError(f"safetensors can't hold these arrays: {error}") from error


CODECS = (
    Codec(("npy",), decode_npy, encode_npy),
    Codec(("npz",), decode_npz, encode_npz, ruled=True),
    Codec(("safetensors",), decode_safetensors, encode_safetensors),
)
