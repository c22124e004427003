"""The law of codecs: decoding what was encoded gives the same value, or the loss that the docs state."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamwds import decode, numpy_audio
from streamwds.codecs import CODECS, Rules, decoder, encoder
from streamwds.codecs.compressed import WRAPPERS, unpack
from streamwds.errors import DecodeError
from streamwds.testing import same_items

Values: TypeAlias = st.SearchStrategy[Any]
Check: TypeAlias = Callable[[Any, Any], None]


def nested(leaves: Values, keys: Values | None = None) -> Values:
    keys = st.text(max_size=5) if keys is None else keys
    return st.recursive(leaves, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4), max_leaves=8)


INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
JSON = nested(st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=9))
BARE = nested(st.none() | st.booleans() | INTEGERS | FLOATS | st.text(max_size=9) | st.binary(max_size=9))
PLAIN = BARE.filter(lambda value: not isinstance(value, bytes))  # (bytes count as encoded)
DATES = st.datetimes(timezones=st.just(datetime.timezone.utc))
TAGGED = nested(BARE | st.integers() | st.frozensets(st.integers(), max_size=3).map(set) | DATES).filter(
    lambda value: not isinstance(value, bytes)
)
PYTHON = nested(TAGGED | st.tuples(st.integers(), st.text(max_size=3)) | st.complex_numbers(allow_nan=False))

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMBERS = st.sampled_from(["?", "<i1", "<i2", ">i4", "<i8", "u1", "<u2", ">u4", "<u8", "<f2", "<f4", ">f8"])
NATIVE = st.sampled_from(["?", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"])
ARRAYS = hnp.arrays(hnp.scalar_dtypes() | st.just(np.dtype([("a", "i4"), ("b", "i8", (2,))])), SHAPES)
TENSORS = hnp.arrays(NATIVE, SHAPES).map(lambda array: torch.from_numpy(array.copy()))

GRAY = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
RGB_SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3))
RGB = hnp.arrays(np.uint8, RGB_SHAPES)
RATES = st.sampled_from([8000, 16000, 48000])


def sounds(least: int) -> Values:
    shapes = st.tuples(st.integers(1, 2), st.integers(least, 50))
    return st.tuples(hnp.arrays("f4", shapes, elements=st.floats(-1, 1, width=32)), RATES)


# ---- what is lost


def as_bytes(value: Any, decoded: Any) -> None:
    """csv, html: text is read as bytes."""
    assert decoded == value.encode()


def in_rgb(value: Any, decoded: Any) -> None:
    """Pictures: nothing; here they are read as RGB."""
    np.testing.assert_array_equal(decoded, value if value.ndim == 3 else np.stack([value] * 3, axis=2), strict=True)


def nearly(value: Any, decoded: Any) -> None:
    """JPEG of quality 100: some levels."""
    expected = np.stack([value] * 3, axis=2)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= 4


def little_endian(value: Any, decoded: Any) -> None:
    """safetensors: the byte order, and the order of the names."""
    expected = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in value.items()}
    assert same_items(dict(sorted(decoded.items())), dict(sorted(expected.items())))


def exact_sound(value: Any, decoded: Any) -> None:
    """wav: nothing."""
    np.testing.assert_array_equal(decoded[0], value[0], strict=True)
    assert decoded[1] == value[1]


def in_24_bits(value: Any, decoded: Any) -> None:
    """flac: what is less than a step of 24 bits."""
    assert decoded[0].shape == value[0].shape
    assert np.abs(decoded[0] - value[0]).max(initial=0) <= 2**-23
    assert decoded[1] == value[1]


def heard(value: Any, decoded: Any) -> None:
    """ogg, opus, mp3: what one hardly hears; channels, length and rate stay."""
    assert decoded[0].shape == value[0].shape
    assert decoded[1] == value[1]


def by_name(arrays: Values) -> Values:
    return st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=5), arrays, max_size=3)


def same(value: Any, decoded: Any) -> None:
    """Nothing."""
    assert same_items(decoded, value)


LAWS: dict[str, tuple[Values, Check]] = {
    "txt text transcript": (st.text(), same),
    "csv html htm": (st.text(), as_bytes),
    "cls cls2 class count index inx id": (st.integers(), same),
    "json jsn": (JSON, same),
    "jsonl": (st.lists(JSON, max_size=4), same),
    "mp msgpack msg": (PLAIN, same),
    "cbor": (TAGGED, same),
    "pyd pickle pkl": (PYTHON, same),
    "pth pt": (nested(TENSORS | INTEGERS.filter(lambda n: n < 2**63) | st.text(max_size=5)), same),
    "npy": (ARRAYS, same),
    "ten tb tenbin": (st.lists(hnp.arrays(NATIVE, SHAPES), max_size=3), same),
    "npz": (by_name(ARRAYS), same),
    "safetensors": (by_name(hnp.arrays(NUMBERS, SHAPES)), little_endian),
    "png webp tif tiff bmp ppm pnm": (GRAY | RGB, in_rgb),
    "pgm gif": (GRAY, in_rgb),
    "pbm": (GRAY.map(lambda pixels: (pixels > 99) * np.uint8(255)), in_rgb),
    "jpg jpeg": (GRAY, nearly),
    "wav": (sounds(0), exact_sound),
    "flac": (sounds(1), in_24_bits),
    "ogg opus mp3": (sounds(1), heard),
}
OF = {extension: law for kind, law in LAWS.items() for extension in kind.split()}
TRUSTED = Rules(trust={"pickle", "torch"})


EXAMPLES = 300 if os.environ.get("STREAMWDS_PROFILE") == "deep" else 30


def test_there_is_a_law_for_every_extension_that_is_written() -> None:
    written = {extension for extension, codec in CODECS.items() if codec.encode is not None}
    assert written - {"img", "image"} == OF.keys()  # (these two are read by no one)


def coded(field: str, value: Any) -> tuple[bytes, Any]:
    """The value as bytes, and read again."""
    encode, decode_field = encoder(field), decoder(field, "rgb8", numpy_audio, rules=TRUSTED)
    assert encode is not None
    encoded = encode(value)
    return encoded, encoded if decode_field is None else decode_field(encoded)


@given(hnp.arrays(NATIVE, SHAPES))
def test_tenbin_gives_a_list_for_an_array_and_for_a_tuple(array: Any) -> None:
    assert same_items(coded("ten", array)[1], [array])
    assert same_items(coded("ten", (array, array))[1], [array, array])


@given(st.dictionaries(st.integers() | st.booleans() | st.none(), st.tuples(st.integers(), st.text()), max_size=3))
def test_json_has_lists_for_tuples_and_text_for_keys(value: Any) -> None:
    names = {True: "true", False: "false", None: "null"}
    expected = {
        (str(key) if isinstance(key, int) and not isinstance(key, bool) else names[key]): list(row)
        for key, row in value.items()
    }
    assert coded("json", value)[1] == expected


@given(hnp.arrays("f4", RGB_SHAPES, elements=st.floats(0, 1, width=32)))
def test_pictures_of_floats_are_rounded_to_256_levels(picture: Any) -> None:
    _, levels = coded("png", picture)
    assert np.abs(levels / 255 - picture).max() <= 0.5 / 255 + 1e-6
    assert same_items(coded("png", np.float32(levels) / np.float32(255))[1], levels)


# (by one extension of each codec: the others have the same functions, as the table has it)
CODEC = {CODECS[extension]: extension for extension in reversed(OF)}


@pytest.mark.parametrize("extension", CODEC.values())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_decode_after_encode(extension: str, data: st.DataObject) -> None:
    values, check = OF[extension]
    value = data.draw(values, label="value")
    encoded, decoded = coded(extension, value)
    check(value, decoded)
    # (in the others is a number drawn by chance)
    assert coded(extension, value)[0] == encoded or extension in ("ogg", "opus", "pth")


@settings(max_examples=EXAMPLES)
@given(
    extension=st.sampled_from(["txt", "cls", "json"]),
    wrappers=st.lists(st.sampled_from(sorted(WRAPPERS)), min_size=1, max_size=3),
    data=st.data(),
)
def test_wrappings_change_nothing(extension: str, wrappers: list[str], data: st.DataObject) -> None:
    value = data.draw(OF[extension][0], label="value")
    encoded, decoded = coded(".".join(["a.b", extension, *wrappers]), value)
    assert same_items(decoded, value)
    assert unpack(encoded, tuple(reversed(wrappers)), TRUSTED) == coded(extension, value)[0]


@pytest.mark.parametrize("extension", [e for e in CODEC.values() if e not in ("pyd", "csv")])
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")  # (of torch, about pickles)
def test_damaged_bytes_give_a_value_or_a_decode_error(extension: str, data: st.DataObject) -> None:
    damaged = bytearray(coded(extension, data.draw(OF[extension][0], label="value"))[0])
    places = st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=3 if damaged else 0)
    for place in data.draw(places, label="places"):
        damaged[place] = data.draw(st.integers(0, 255), label="byte")
    damaged = damaged[: data.draw(st.none() | st.integers(0, len(damaged)), label="end")]
    with contextlib.suppress(DecodeError):
        [{extension: bytes(damaged)}] | decode("rgb8", numpy_audio, max_bytes=1 << 24, max_pixels=1 << 20) | list
