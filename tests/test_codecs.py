"""The codec table, and the codecs of text, integers, JSON and plain data."""

from __future__ import annotations

import datetime
import decimal
import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamwds.codecs import CODECS, Codec, decoder, encoder, jpeg, numpy_audio, numpy_video, png, webp
from streamwds.codecs.table import longest_extension
from streamwds.errors import EncodeError
from tests.archives import PACK

TEXT = ("txt", "text", "transcript")
MARKUP = ("csv", "html", "htm")
INTEGER = ("cls", "cls2", "class", "count", "index", "inx", "id")
JSON = ("json", "jsn")
OBJECTS = ("mp", "msgpack", "msg", "cbor")
ARRAYS = ("npy", "npz", "safetensors")
TENBIN = ("ten", "tb", "tenbin")
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")
AUDIO = ("flac", "mp3", "ogg", "opus", "wav", "m4a", "aac", "wma", "sox")
VIDEO = ("mp4", "ogv", "mjpeg", "avi", "mov", "h264", "mpg", "webm", "wmv", "mkv")
WRITTEN_ONLY = ("img", "image")
IMAGES = ("jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm", "webp", "tif", "tiff", "bmp", "gif")


def decode(field: str, data: bytes) -> Any:
    function = decoder(field, "rgb8")
    assert function is not None
    return function(data)


def encode(field: str, value: Any) -> bytes:
    function = encoder(field)
    assert function is not None
    return function(value)


# ---- the table


def test_holds_every_extension_once() -> None:
    known = (
        TEXT,
        MARKUP,
        INTEGER,
        JSON,
        ["jsonl"],
        OBJECTS,
        ARRAYS,
        TENBIN,
        PICKLES,
        IMAGES,
        WRITTEN_ONLY,
        AUDIO,
        VIDEO,
    )
    assert sorted(CODECS) == sorted(extension for group in known for extension in group)
    assert all(extension in codec.extensions for extension, codec in CODECS.items())
    with pytest.raises(TypeError):
        CODECS["txt"] = Codec(("txt",))  # type: ignore[index]


WRITTEN = [extension for extension, codec in CODECS.items() if codec.encode is not None]


@pytest.mark.parametrize("extension", [*WRITTEN, "txt.gz", "seg.npy.zst"])
def test_bytes_count_as_encoded(extension: str) -> None:
    assert encode(extension, b"\xffanything") == b"\xffanything"


@pytest.mark.parametrize("extension", [*WRITTEN, "txt.gz", "json.xz"])
def test_every_encoder_says_what_it_expected(extension: str) -> None:
    with pytest.raises(EncodeError, match=r"expected .*got (object|function|.*<lambda>)"):
        encode(extension, (lambda: None) if extension in PICKLES else object())


@pytest.mark.parametrize("extension", [*WRITTEN, "json.gz"])
def test_encoders_can_be_pickled(extension: str) -> None:
    assert callable(pickle.loads(pickle.dumps(encoder(extension))))


def test_what_is_only_read_is_not_written() -> None:
    assert {extension for extension in CODECS if extension not in WRITTEN} == {*VIDEO, "m4a", "aac", "wma", "sox"}
    assert {extension for extension, codec in CODECS.items() if codec.decode is None} == {
        *MARKUP,
        *IMAGES,
        *WRITTEN_ONLY,
    }


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


@pytest.mark.parametrize("field", ["ran", "trans", "t", "tx", "txt.bak", "jp", "__key__", "__url__", "pydx", "xml", ""])
def test_no_part_of_a_word_is_an_extension(field: str) -> None:
    assert decoder(field, "rgb") is None
    assert encoder(field) is None


def test_what_must_be_asked_for_stays_bytes() -> None:
    asked = (*IMAGES, *WRITTEN_ONLY, *AUDIO, *VIDEO, *MARKUP)
    assert [decoder(extension) for extension in asked] == [None] * len(asked)
    assert [decoder(extension, "rgb") for extension in WRITTEN_ONLY] == [None] * len(WRITTEN_ONLY)
    assert all(decoder(f"a.{extension}", "rgb8") is not None for extension in IMAGES)
    assert decoder("cls", "rgb8") is decoder("cls")


@pytest.mark.parametrize("field", ["jpg", "cls", "unknown"])
def test_an_unknown_spec_is_an_error_for_every_field(field: str) -> None:
    with pytest.raises(ValueError, match=r"'rgb16'; there are l8, rgb8, .*pilrgba"):
        decoder(field, "rgb16")


def test_importing_loads_no_heavy_library() -> None:
    heavy = "PIL torch webdataset msgpack cbor2 safetensors soundfile av lz4 backports.zstd isal"
    code = f"import sys, streamwds.codecs; print(set({heavy.split()}) & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# ---- text


@pytest.mark.parametrize("extension", TEXT)
@pytest.mark.parametrize("text", ["", "a cat\n", "naïve 猫\r\n\t", "\ufeff\x00"])
def test_text(extension: str, text: str) -> None:
    assert encode(extension, text) == text.encode("utf-8")
    assert decode(extension, text.encode("utf-8")) == text


@pytest.mark.parametrize("extension", MARKUP)
def test_markup_is_written_from_text_and_read_as_bytes(extension: str) -> None:
    assert encode(extension, "é,1") == "é,1".encode()
    assert decoder(extension) is None


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


# ---- JSON lines


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b"\n \n", []),
        (b"1", [1]),
        (b'{"a": 1}\n[2]\r\n\n"x"', [{"a": 1}, [2], "x"]),
        ('"\u2028é"\n'.encode(), ["\u2028é"]),
    ],
)
def test_json_lines(data: bytes, values: list[Any]) -> None:
    assert decode("jsonl", data) == values
    assert decode("jsonl", encode("jsonl", values)) == values


@pytest.mark.parametrize("data", [b"1\n{", b"1\n2 3", b"1\n\xff", "1\n2".encode("utf-16")])
def test_a_broken_line_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"line [12]: "):
        decode("jsonl", data)


@pytest.mark.parametrize("value", [{"a": 1}, "text", 7, [object()], [[1], {2}]])
def test_what_are_no_json_lines_is_not_written(value: Any) -> None:
    with pytest.raises(EncodeError, match="expected"):
        encode("jsonl", value)


# ---- MessagePack and CBOR


@pytest.mark.parametrize("extension", OBJECTS)
def test_plain_data(extension: str) -> None:
    value = {"a": [1, -2.5, None, True, "é", b"\xff", [], {}], "b": 2**63}
    assert decode(extension, encode(extension, value)) == value


def test_cbor_holds_dates_and_sets() -> None:
    moment = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
    value = {"at": moment, "of": {1, 2}, "x": decimal.Decimal("1.5")}
    assert decode("cbor", encode("cbor", value)) == value


@pytest.mark.parametrize("extension", OBJECTS)
@pytest.mark.parametrize("value", [np.zeros(2), 1 + 2j, [object()]])
def test_what_is_no_plain_data_is_not_written(extension: str, value: Any) -> None:
    if extension != "cbor" or not isinstance(value, complex):  # (which cbor2 writes)
        with pytest.raises(EncodeError, match="expected plain data"):
            encode(extension, value)


@pytest.mark.parametrize("extension", OBJECTS)
def test_cut_data_is_an_error(extension: str) -> None:
    data = encode(extension, {"a": [1, 2.5, "text"]})
    for end in range(len(data)):
        with pytest.raises(Exception):  # noqa: B017, PT011  (the libraries' own errors)
            decode(extension, data[:end])


# ---- compressed fields


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst", "lz4", "gz.xz"])
@pytest.mark.parametrize("field", ["txt", "seg.json", "npz"])
def test_compressed_fields(name: str, field: str) -> None:
    value: Any = {"a": np.arange(3)} if field == "npz" else "a text" * 99
    data = encode(f"{field}.{name}", value)
    assert encode(f"{field}.{name}", value) == data
    np.testing.assert_equal(decode(f"{field}.{name}", data), value)


def outcome(field: str, data: bytes) -> Any:
    """What becomes of the data, with all that must be asked for: the value, or of what type the error is."""
    function = decoder(field, "rgb8", numpy_audio, numpy_video)
    try:
        return data if function is None else function(data)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst", "lz4"])
@pytest.mark.parametrize("extension", sorted(CODECS))
def test_every_extension_may_be_compressed(extension: str, name: str) -> None:
    """Some read this as a value, and the others say that it is none, each in its own way."""
    assert outcome(f"a.{extension}.{name}", PACK[name](b"5")) == outcome(f"a.{extension}", b"5")


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst", "lz4"])
def test_pictures_and_sound_may_be_compressed(name: str) -> None:
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(outcome(f"png.{name}", PACK[name](encode("png", pixels))), pixels)
    samples, rate = outcome(f"wav.{name}", PACK[name](encode("wav", (np.linspace(-1, 1, 9), 8000))))
    assert np.allclose(samples, np.linspace(-1, 1, 9))
    assert rate == 8000


@pytest.mark.parametrize("name", PACK)
def test_other_programs_compress_as_we_do(name: str) -> None:
    assert decode(f"txt.{name}", PACK[name](b"a text")) == "a text"
    assert decode(f"txt.{name}", PACK[name](b"a text") * 2) == "a texta text"
    assert decode(f"txt.{name}", PACK[name](b"")) == ""


@pytest.mark.parametrize("field", ["gz", "xyz.gz", "a.pdf.zst"])
def test_what_is_unknown_is_only_unpacked(field: str) -> None:
    assert decode(field, PACK[field.rpartition(".")[2]](b"any")) == b"any"
    assert encoder("xyz.gz") is None


# ---- encoders of one's own


def test_own_encoders_go_before_the_table() -> None:
    own: dict[str, Any] = {"jpg": jpeg(quality=50), "seg.png": png(compress_level=0), "up": str.upper}
    for field in ("jpg", "a.jpg", "jpg.gz", "seg.png"):
        function = encoder(field, own)
        assert function is not None
        assert function(np.zeros((9, 9), np.uint8)) != encode(field, np.zeros((9, 9), np.uint8))
    wrong: Any = encoder("up.gz", own)
    assert wrong("a") == "A"  # (whoever writes it says that it is no bytes)
    assert encoder("jpeg", own) is encoder("jpeg")
    assert encoder("png", own) is encoder("png")


def test_encoders_have_options() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = [len(jpeg(quality=quality)(noise)) for quality in (10, 50, 90, 100)]
    assert sizes == sorted(set(sizes))
    assert len(jpeg(90, subsampling="4:4:4")(noise)) > len(jpeg(90)(noise))
    assert len(jpeg(progressive=True)(noise)) != len(jpeg()(noise))
    assert len(png(compress_level=9)(noise * 0)) < len(png(compress_level=0)(noise * 0))
    assert len(webp(20)(noise)) < len(webp(95)(noise)) < len(webp()(noise))
    np.testing.assert_array_equal(decode("webp", webp(effort=0)(noise)), noise)
    np.testing.assert_array_equal(decode("png", png(compress_level=1)(noise)), noise)
    assert jpeg()(b"as it is") == b"as it is"
    assert pickle.loads(pickle.dumps(jpeg(50)))(noise) == jpeg(50)(noise)


@pytest.mark.parametrize("make", [lambda: jpeg(101), lambda: png(compress_level=10), lambda: webp(-1)])
def test_options_of_encoders_are_checked(make: Any) -> None:
    with pytest.raises(ValueError, match="is a whole number from 0 to"):
        make()


# ---- libraries that are not there


@pytest.mark.parametrize(
    ("field", "extra"),
    [
        ("mp", "msgpack"),
        ("cbor", "cbor"),
        ("safetensors", "safetensors"),
        ("wav", "audio"),
        ("mkv", "video"),
        ("pt", "torch"),
        ("txt.zst", "zstd"),
        ("txt.lz4", "lz4"),
    ],
)
def test_a_missing_library_is_an_error_that_names_the_extra(field: str, extra: str) -> None:
    code = f"""
import sys
import numpy as np
for name in "msgpack cbor2 safetensors soundfile av torch compression.zstd backports.zstd lz4.frame".split():
    sys.modules[name] = None  # (so that importing it fails)
from streamwds import *
from streamwds.codecs import encoder
try:
    [{{{field!r}: b"abc"}}] | decode(numpy_audio, numpy_video, handler=ignore_and_continue) | list
except errors.MissingExtraError as error:
    print(error)
encode = encoder({field!r})  # (there is none for films)
try:
    encode and encode({{"wav": (np.zeros((1, 9)), 8000), "safetensors": {{"a": np.zeros(3)}}}}.get({field!r}, "text"))
except errors.MissingExtraError as error:
    print(error)
"""
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.count(f"not installed: pip install 'streamwds[{extra}]'") == (1 if field == "mkv" else 2)
