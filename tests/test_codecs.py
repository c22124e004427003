"""The codec table, and the codecs that need no other library: text, integers, JSON, arrays."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import webdataset.autodecode
import webdataset.writer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamwds.codecs import CODECS, Codec, decoder, encoder
from streamwds.codecs.basic import decode_npy, encode_npy
from streamwds.codecs.table import longest_extension
from streamwds.errors import EncodeError

TEXT = ("txt", "text", "transcript")
INTEGER = ("cls", "cls2", "class", "count", "index", "inx", "id")
JSON = ("json", "jsn")
TENBIN = ("ten", "tb", "tenbin")
IMAGES = ("jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm", "webp", "tif", "tiff", "bmp", "gif")


def decode(field: str, data: bytes) -> Any:
    function = decoder(field)
    assert function is not None
    return function(data)


def encode(field: str, value: Any) -> bytes:
    function = encoder(field)
    assert function is not None
    return function(value)


# ---- the table


def test_holds_every_extension_once() -> None:
    assert sorted(CODECS) == sorted([*TEXT, *INTEGER, *JSON, "npy", *TENBIN, *IMAGES])
    assert all(extension in codec.extensions for extension, codec in CODECS.items())
    with pytest.raises(TypeError):
        CODECS["txt"] = Codec(("txt",))  # type: ignore[index]


@pytest.mark.parametrize("extension", CODECS)
def test_bytes_count_as_encoded(extension: str) -> None:
    assert encode(extension, b"\xffanything") == b"\xffanything"


@pytest.mark.parametrize("extension", CODECS)
def test_every_encoder_says_what_it_expected(extension: str) -> None:
    with pytest.raises(EncodeError, match=r"expected .*got object"):
        encode(extension, object())


@pytest.mark.parametrize("extension", CODECS)
def test_functions_can_be_pickled(extension: str) -> None:
    for function in (encoder(extension), decoder(extension, "rgb")):
        assert function is not None
        assert callable(pickle.loads(pickle.dumps(function)))


@pytest.mark.parametrize(
    ("field", "extension"),
    [
        ("png", "png"),
        ("seg.png", "seg.png"),
        ("left.seg.png", "seg.png"),
        ("unseg.png", "png"),
        ("a.b.c.png", "png"),
        ("png.seg", None),
        ("seg", None),
        ("xpng", None),
        ("png.", None),
        ("", None),
        (".png", "png"),
    ],
)
def test_the_longest_extension_wins(field: str, extension: str | None) -> None:
    assert longest_extension(field, {"png": 1, "seg.png": 2, "cls": 3}) == extension


@pytest.mark.parametrize("field", ["ran", "trans", "t", "tx", "txt.bak", "jp", "__key__", "__url__", "pyd", "xml", ""])
def test_no_part_of_a_word_is_an_extension(field: str) -> None:
    assert decoder(field, "rgb") is None
    assert encoder(field) is None


def test_pictures_stay_bytes_without_a_spec() -> None:
    assert [decoder(extension) for extension in IMAGES] == [None] * len(IMAGES)
    assert all(decoder(f"a.{extension}", "rgb8") is not None for extension in IMAGES)
    assert decoder("cls", "rgb8") is decoder("cls")


@pytest.mark.parametrize("field", ["jpg", "cls", "unknown"])
def test_an_unknown_spec_is_an_error_for_every_field(field: str) -> None:
    with pytest.raises(ValueError, match=r"'rgb16'; there are l8, rgb8, .*pilrgba"):
        decoder(field, "rgb16")


def test_importing_loads_neither_pillow_nor_torch() -> None:
    code = "import sys, streamwds.codecs; print({'PIL', 'torch', 'webdataset'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# ---- text


@pytest.mark.parametrize("extension", TEXT)
@pytest.mark.parametrize("text", ["", "a cat\n", "naïve 猫\r\n\t", "\ufeff\x00"])
def test_text(extension: str, text: str) -> None:
    assert encode(extension, text) == text.encode("utf-8")
    assert decode(extension, text.encode("utf-8")) == text


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", "é".encode()[:1]])
def test_text_that_is_not_utf8_is_an_error(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode("txt", data)


@pytest.mark.parametrize("value", [7, None, ["a"], bytearray(b"a"), "\ud800"])
def test_what_is_not_text_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match=r"expected str|UTF-8"):
        encode("txt", value)


# ---- integers


@pytest.mark.parametrize("extension", INTEGER)
def test_integers(extension: str) -> None:
    assert [decode(extension, data) for data in (b"7", b" 7\r\n", b"-3", b"+5", b"007", b"0")] == [7, 7, -3, 5, 7, 0]
    assert encode(extension, -12) == b"-12"
    assert type(decode(extension, b"1")) is int


@pytest.mark.parametrize(
    "data", [b"", b" ", b"\n", b"1_0", b"1.0", b"1e3", b"0x10", b"cat", b"1 2", b"--1", b"None", "٣".encode(), b"1\x00"]
)
def test_what_is_no_integer_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a decimal integer"):
        decode("cls", data)


def test_an_error_does_not_repeat_a_whole_file() -> None:
    with pytest.raises(ValueError, match="not a decimal integer") as caught:
        decode("cls", b"_" * 1_000_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value", [7, np.int64(7), np.uint8(7), np.array(7), np.array(7, np.int16), torch.tensor(7), 10**30]
)
def test_whatever_is_an_integer_is_written(value: Any) -> None:
    assert encode("cls", value) == str(int(value)).encode()


@pytest.mark.parametrize("value", [True, 7.0, "7", None, np.float32(7), np.bool_(True), np.array([1, 2]), [7]])
def test_what_is_no_integer_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match="expected an integer"):
        encode("cls", value)


@given(st.integers())
def test_integers_go_round(value: int) -> None:
    assert decode("cls", encode("cls", value)) == value


# ---- JSON


@pytest.mark.parametrize("extension", JSON)
def test_json(extension: str) -> None:
    value = {"label": [1, 2.5, None, True], "name": "naïve", "": {}}
    assert decode(extension, json.dumps(value).encode()) == value
    assert encode(extension, value) == '{"label":[1,2.5,null,true],"name":"naïve","":{}}'.encode()


def test_a_string_becomes_a_json_string() -> None:
    assert encode("json", "[1]") == b'"[1]"'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_finds_out_the_encoding(encoding: str) -> None:
    assert decode("json", '{"a": "ü"}'.encode(encoding)) == {"a": "ü"}


@pytest.mark.parametrize("data", [b"", b"{", b"[1,]", b"{'a': 1}", b"nope", b'{"a": 1} {', b"\xff"])
def test_broken_json_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSONDecodeError or UnicodeDecodeError)
        decode("json", data)


def test_endless_nesting_is_an_error() -> None:
    with pytest.raises(RecursionError):
        decode("json", b"[" * 1_000_000)


@pytest.mark.parametrize("value", [{1, 2}, np.zeros(2), np.int64(1), {"a": b"x"}, {(1, 2): 3}, "\ud800"])
def test_what_json_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match="expected plain JSON data"):
        encode("json", value)


def test_a_cycle_is_not_written() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(EncodeError, match="expected plain JSON data"):
        encode("json", cycle)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


@given(json_values)
def test_json_goes_round(value: Any) -> None:
    data = encode("json", value)
    assert decode("json", data) == value
    assert encode("json", decode("json", data)) == data


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


# ---- beside webdataset


@pytest.mark.parametrize("extension", [*TEXT, *JSON, *(e for e in INTEGER if e not in ("class", "count")), "npy"])
def test_decodes_as_webdataset(extension: str) -> None:
    # webdataset writes class and count, but doesn't decode them.
    data = {"text": "naïve\n".encode(), "integer": b" 12\n", "json": b'{"a": [1, "\\u00fc"]}', "npy": npy(np.eye(3))}
    kinds = {**dict.fromkeys(TEXT, "text"), **dict.fromkeys(INTEGER, "integer"), **dict.fromkeys(JSON, "json")}
    sample = data[kinds.get(extension, "npy")]
    np.testing.assert_equal(decode(extension, sample), webdataset.autodecode.basichandlers(f".{extension}", sample))


@pytest.mark.parametrize(
    ("extension", "value"), [("txt", "naïve"), ("cls", 7), ("count", -3), ("npy", np.eye(3)), ("json", [1])]
)
def test_encodes_as_webdataset(extension: str, value: Any) -> None:
    # Its JSON has spaces after , and : and \u escapes, so only short documents have the same bytes.
    assert encode(extension, value) == webdataset.writer.default_handlers[extension](value)


def test_where_webdataset_is_more_lenient() -> None:
    assert webdataset.autodecode.basichandlers(".cls", b"1_0") == 10
    with pytest.raises(ValueError, match="not a decimal integer"):
        decode("cls", b"1_0")
    assert webdataset.writer.default_handlers["cls"](True) == b"True"
    with pytest.raises(EncodeError):
        encode("cls", True)
    assert webdataset.writer.encode_based_on_extension1("[1]", "json", webdataset.writer.default_handlers) == b"[1]"
    assert encode("json", "[1]") == b'"[1]"'
