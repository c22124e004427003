"""The codecs of arrays: npy, npz, safetensors."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

from streamwds.codecs import decoder, encoder
from streamwds.codecs.arrays import decode_npy, encode_npy
from streamwds.errors import EncodeError


def decode(field: str, data: bytes) -> Any:
    function = decoder(field)
    assert function is not None
    return function(data)


def encode(field: str, value: Any) -> bytes:
    function = encoder(field)
    assert function is not None
    return function(value)


# ---- npy


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version, allow_pickle=True)
    return stream.getvalue()


ARRAYS = [
    np.arange(6, dtype="<f4").reshape(2, 3),
    np.arange(6, dtype=">i8").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(12.0)[::3],
    np.array(1.5),
    np.zeros((0, 3), np.uint8),
    np.zeros((2, 0)),
    np.array([True, False]),
    np.array(["naïve", "a"]),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    np.array(["2020-01-01"], "M8[D]"),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
def test_npy(array: Any, version: tuple[int, int]) -> None:
    for _ in range(2):  # the second time, the header is known
        decoded = decode("npy", npy(array, version))
        assert decoded.dtype == array.dtype
        np.testing.assert_array_equal(decoded, array, strict=True)
        assert decoded.flags.writeable
        assert decoded.flags.f_contiguous == (array.flags.fnc or array.ndim < 2 or array.size == 0)


def test_two_decoded_arrays_share_no_memory() -> None:
    data = npy(np.zeros(3))
    first, second = decode_npy(data), decode_npy(data)
    first[:] = 1
    assert second.tolist() == [0, 0, 0]
    assert data == npy(np.zeros(3))


def test_npy_with_field_names_in_unicode() -> None:
    with pytest.warns(UserWarning, match="Stored array in format 3"):
        data = npy(np.array([(1,)], [("猫", "i4")]))
    assert decode("npy", data).dtype.names == ("猫",)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
def test_every_cut_npy_is_an_error(version: tuple[int, int]) -> None:
    data = npy(np.arange(5.0), version)
    for end in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011  (what numpy says about it differs from cut to cut)
            decode_npy(data[:end])


def test_npy_with_pickled_objects_is_an_error() -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    with pytest.raises(ValueError, match="pickled objects"):
        decode("npy", npy(np.array([Attack()], object)))


@pytest.mark.parametrize("shape", ["(-1,)", "(3, -1)", "(1000000000000,)", "(4,)", "(9, 99999999999999999999)", "'x'"])
def test_a_header_that_lies_is_an_error(shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    with pytest.raises(ValueError):  # noqa: PT011
        decode("npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY\x09\x00", b"<html>"])
def test_what_is_no_npy_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode("npy", data)


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(7), torch.arange(3), torch.ones(2, requires_grad=True)])
def test_scalars_and_tensors_are_written_as_arrays(value: Any) -> None:
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    np.testing.assert_array_equal(decode("npy", encode("npy", value)), array, strict=True)


@pytest.mark.parametrize("value", [[1, 2], 1.5, "text", np.array([object()]), torch.zeros(2, dtype=torch.bfloat16)])
def test_what_is_no_array_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match=r"expected a numpy array|without pickling|can't hold"):
        encode("npy", value)


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_npy_goes_round(array: Any) -> None:
    decoded = decode_npy(encode_npy(array))
    np.testing.assert_array_equal(decoded, array, strict=True)
    assert decoded.dtype == array.dtype


# ---- npz and safetensors


@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_arrays_by_name(extension: str) -> None:
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "a.b/c": np.array(7), "": np.zeros((0, 3), np.uint8)}
    decoded = decode(extension, encode(extension, arrays))
    assert decoded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(decoded[name], array, strict=True)
        assert decoded[name].flags.writeable
    assert decode(extension, encode(extension, {})) == {}


@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_the_layout_of_an_array_does_not_matter(extension: str) -> None:
    array = np.arange(24, dtype="i4").reshape(2, 3, 4)
    views = [array.T, array[::-1, :, ::2], np.asfortranarray(array), array.astype(">i4")]
    for view in (*views, torch.from_numpy(array).permute(2, 0, 1)):
        np.testing.assert_array_equal(decode(extension, encode(extension, {"a": view}))["a"], np.asarray(view))


@pytest.mark.parametrize("extension", ["npz", "safetensors"])
@pytest.mark.parametrize("value", [[np.zeros(2)], {"a": [1]}, {1: np.zeros(2)}, np.zeros(2), {"a": np.array([{}])}])
def test_what_are_no_arrays_by_name_is_not_written(extension: str, value: Any) -> None:
    with pytest.raises(EncodeError, match=r"expected a dict from names|without pickling|can't hold"):
        encode(extension, value)


def test_npz_is_numpys() -> None:
    arrays: dict[str, Any] = {"a": np.arange(1000), "b": np.ones((2, 2), ">f8")}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    for data in (encode("npz", arrays), stream.getvalue()):
        theirs = dict(np.load(io.BytesIO(data)))
        np.testing.assert_equal(decode("npz", data), theirs)
        np.testing.assert_equal(theirs, arrays)
    assert encode("npz", arrays) == encode("npz", dict(arrays))
    assert zipfile.ZipFile(io.BytesIO(encode("npz", arrays))).testzip() is None


def test_safetensors_are_those_of_others() -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True])}
    expected = {name: tensor.numpy() for name, tensor in tensors.items()}
    np.testing.assert_equal(decode("safetensors", safetensors.torch.save(tensors)), expected)
    theirs = safetensors.torch.load(encode("safetensors", tensors))
    assert {k: v.tolist() for k, v in theirs.items()} == {k: v.tolist() for k, v in tensors.items()}


def test_bfloat16_has_no_numpy() -> None:
    with pytest.raises(ValueError, match="numpy has no BF16: use decode"):
        decode("safetensors", safetensors.torch.save({"w": torch.zeros(2, dtype=torch.bfloat16)}))


@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_every_cut_file_is_an_error(extension: str) -> None:
    data = encode(extension, {"a": np.arange(3), "b": np.zeros(2)})
    for end in range(len(data)):
        with pytest.raises(Exception):  # noqa: B017, PT011  (the libraries' own errors)
            decode(extension, data[:end])
