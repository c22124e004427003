"""The law of codecs: what is written to a shard is read back equal, or with the loss that is stated here."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamwds import TarWriter, decode, tarsamples
from streamwds.testing import same_items
from tests.archives import shards


def through(extension: str, value: Any, spec: str | None = None) -> Any:
    """A value, written as a field of a sample and read back."""
    shard = io.BytesIO()
    with TarWriter(shard) as writer:
        writer.write({"__key__": "a", f"b.{extension}": value})
    (sample,) = shards(shard.getvalue()) | tarsamples | decode(spec)
    return sample[f"b.{extension}"]


arrays = hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
numbers = hnp.arrays(
    hnp.integer_dtypes(endianness="=") | hnp.floating_dtypes(sizes=(16, 32, 64), endianness="=") | hnp.boolean_dtypes(),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

EXACT: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("txt", "text", "transcript"), st.text()),
    **dict.fromkeys(("cls", "cls2", "class", "count", "index", "inx", "id"), st.integers()),
    **dict.fromkeys(("json", "jsn"), json_values),
    "npy": arrays,
    **dict.fromkeys(("ten", "tb", "tenbin"), st.lists(numbers, max_size=3)),
}


@given(st.sampled_from(list(EXACT)), st.data())
def test_decode_after_encode_is_the_identity(extension: str, data: st.DataObject) -> None:
    value = data.draw(EXACT[extension])
    assert same_items(through(extension, value), value)


@given(st.lists(numbers, min_size=1, max_size=3))
def test_tenbin_gives_a_list_for_an_array_and_for_a_tuple(values: list[Any]) -> None:
    assert same_items(through("ten", values[0]), values[:1])
    assert same_items(through("ten", tuple(values)), values)


@given(st.dictionaries(st.integers() | st.booleans() | st.none(), st.tuples(st.integers(), st.text()), max_size=3))
def test_json_has_lists_for_tuples_and_text_for_keys(value: Any) -> None:
    names = {True: "true", False: "false", None: "null"}
    expected = {
        (str(key) if isinstance(key, int) and not isinstance(key, bool) else names[key]): list(row)
        for key, row in value.items()
    }
    assert through("json", value) == expected


# ---- pictures

CHANNELS = {"l": 1, "rgb": 3, "rgba": 4}
LOSSLESS = [
    *((extension, "l") for extension in ("png", "pgm", "pnm", "ppm", "tif", "tiff", "bmp", "gif")),
    *((extension, "rgb") for extension in ("png", "ppm", "pnm", "webp", "tif", "tiff", "bmp")),
    *((extension, "rgba") for extension in ("png", "webp", "tif", "tiff")),
]


def pictures(colour: str, dtype: str) -> st.SearchStrategy[Any]:
    channels = CHANNELS[colour]
    sides = st.integers(1, 9)
    shapes = st.tuples(sides, sides) if channels == 1 else st.tuples(sides, sides, st.just(channels))
    elements = st.floats(0, 1, width=32) if dtype == "f4" else None
    return hnp.arrays(dtype, shapes, elements=elements)


@given(st.sampled_from(LOSSLESS), st.data())
def test_pictures_of_8_bits_are_kept(kind: tuple[str, str], data: st.DataObject) -> None:
    extension, colour = kind
    picture = data.draw(pictures(colour, "u1"))
    assert same_items(through(extension, picture, f"{colour}8"), picture)


@given(st.sampled_from(list(CHANNELS)), st.data())
def test_pictures_of_floats_are_rounded_to_256_levels(colour: str, data: st.DataObject) -> None:
    picture = data.draw(pictures(colour, "f4"))
    found = through("png", picture, colour)
    assert found.dtype == np.float32
    assert np.abs(found - picture).max() <= 0.5 / 255 + 1e-6
    assert same_items(through("png", found, colour), found)


@given(pictures("l", "u1"))
def test_jpeg_of_gray_is_off_by_three_levels_at_most(picture: Any) -> None:
    found = through("jpg", picture, "l8").astype(int)
    assert found.shape == picture.shape
    assert np.abs(found - picture).max() <= 3
