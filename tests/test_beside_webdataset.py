"""Our codecs beside webdataset's, in both directions: the same values, or a difference that the docs name.

The differences stand in one table, in `streamwds.codecs`; here each is shown by an example.
"""

from __future__ import annotations

import datetime
import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cbor2
import numpy as np
import pytest
import torch
import webdataset
import webdataset.autodecode as theirs
import webdataset.tariterators as tariterators
import webdataset.writer
from PIL import Image

import streamwds.codecs
from conftest import SHARED
from streamwds import TarWriter, decode, handle_extension, tarsamples, urls
from streamwds.codecs import CODECS, Rules, decoder, encoder
from streamwds.codecs.images import ALLOWED
from streamwds.errors import DecodeError, EncodeError, UntrustedDataError
from streamwds.testing import same_items
from tests.attacks import ATTACKS

TRUSTED = Rules(trust={"pickle", "torch"})
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

DATA: list[Any] = [{"a": [1, 2.5, "naïve", True]}, [], 7]
ARRAYS: list[Any] = [np.arange(6, dtype="f4").reshape(2, 3), np.zeros((0, 2), "i8"), np.array(1.5)]
_KINDS: dict[str, list[Any]] = {
    "txt text transcript html htm": ["", "naïve 猫\n"],
    "cls cls2 class count index inx id": [0, 7, -12, 10**20],
    "json jsn": [{"a": [1, 2.5, "naïve", None]}, [], 7],
    "mp msgpack msg cbor": [*DATA, {"b": b"\xff", "none": None}],
    "pyd pickle pkl": [*DATA, {1, 2}, datetime.date(2020, 1, 2)],
    "pth pt": [torch.arange(3), {"w": torch.ones(2, 2), "n": [1]}],
    "npy": ARRAYS,
    "npz": [{"a": ARRAYS[0], "b": ARRAYS[1]}, {}],
    "ten tb tenbin": [ARRAYS[:2]],
    "png ppm tif tiff jpg jpeg img image": [RGB, RGB[..., 0]],
    "pgm webp bmp gif pnm": [RGB[..., 0]],
    "pbm": [Image.fromarray(RGB[..., 0] > 99)],
}
VALUES = {extension: values for kind, values in _KINDS.items() for extension in kind.split()}
"""By extension, values that both should hold."""

BOTH_READ = sorted((theirs.decoders.keys() & CODECS.keys()) | (set(theirs.IMAGE_EXTENSIONS) & ALLOWED.keys()))
BOTH_WRITE = sorted(webdataset.writer.default_handlers.keys() & CODECS.keys() - {"pbm", "pgm"})  # (see DIFFERENCES)


def read_by_us(field: str, data: bytes) -> Any:
    function = decoder(field, "rgb8", rules=TRUSTED)
    return data if function is None else function(data)


def read_by_them(field: str, data: bytes, *decoders: Any) -> Any:
    return theirs.Decoder([*decoders, theirs.imagehandler("rgb8")]).decode({field: data})[field]


def written_by_us(field: str, value: Any) -> bytes:
    function = encoder(field)
    assert function is not None
    return function(value)


def written_by_them(field: str, value: Any) -> bytes:
    return bytes(webdataset.writer.encode_based_on_extension1(value, field, webdataset.writer.default_handlers))


def test_there_is_a_value_for_each_extension_that_both_know() -> None:
    assert {*BOTH_READ, *BOTH_WRITE} <= VALUES.keys()
    assert len(BOTH_READ) > 30
    assert len(BOTH_WRITE) > 30


@pytest.mark.parametrize("extension", BOTH_READ)
@pytest.mark.parametrize("prefix", ["", "a.b."])
def test_what_we_write_both_read_alike(extension: str, prefix: str) -> None:
    field = prefix + extension
    for value in VALUES[extension]:
        for data in (written_by_us(field, value), written_by_us(f"{field}.gz", value)):
            name = f"{field}.gz" if data[:2] == b"\x1f\x8b" else field
            assert same_items(read_by_us(name, data), read_by_them(name, data))


@pytest.mark.parametrize("extension", sorted({*BOTH_READ} & {*BOTH_WRITE}))
def test_what_they_write_both_read_alike(extension: str) -> None:
    for value in VALUES[extension]:
        for name in (extension, f"seg.{extension}", f"{extension}.gz"):
            data = written_by_them(name, value)
            assert same_items(read_by_us(name, data), read_by_them(name, data))


@pytest.mark.parametrize("extension", BOTH_WRITE)
def test_both_write_what_reads_alike(extension: str) -> None:
    for value in VALUES[extension]:
        ours, them = written_by_us(extension, value), written_by_them(extension, value)
        assert same_items(read_by_us(extension, ours), read_by_us(extension, them))
        if extension in ("txt", "cls", "npy", "jpg", "pyd", "mp"):
            assert ours == them


# ---- the differences


def outcome(function: Callable[[], Any]) -> Any:
    """What a function gives, or the class of what it raises."""
    try:
        return function()
    except Exception as error:
        return type(error)


@attrs.frozen
class Difference:
    """One of the docs' rows, as its first column says it, with what comes out there and here."""

    row: str
    them: Callable[[], Any]
    theirs: Any
    us: Callable[[], Any]
    ours: Any


def _decoded(field: str, value: Any, *decoders: Any, **options: Any) -> Any:
    (sample,) = [{field: value}] | decode(*decoders, **options) | list
    return sample[field]


class Point:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point)

    def __hash__(self) -> int:
        return 0


def _is_tag(value: Any) -> bool:
    return type(value).__name__ == "Tag"


DATE = cbor2.dumps(datetime.date(2020, 1, 2), date_as_datetime=True, timezone=datetime.timezone.utc)
TORCH_OBJECT = written_by_them("pth", Point())
TIFF = ATTACKS["TIFF named jpg"].make()
TGA = io.BytesIO()
Image.fromarray(RGB).save(TGA, "TGA")

DIFFERENCES = [
    Difference(
        "`cls` with underscores",
        lambda: read_by_them("cls", b"1_0"),
        10,
        lambda: read_by_us("cls", b"1_0"),
        ValueError,
    ),
    Difference(
        "`cls` of what is no integer",
        lambda: [written_by_them("cls", value) for value in (True, 1.5)],
        [b"True", b"1.5"],
        lambda: [outcome(lambda: written_by_us("cls", value)) for value in (True, 1.5)],  # noqa: B023
        [EncodeError, EncodeError],
    ),
    Difference(
        "`class`, `count`, `msgpack`",
        lambda: [read_by_them(*pair) for pair in (("class", b"7"), ("count", b"7"), ("msgpack", b"\x07"))],
        [b"7", b"7", b"\x07"],
        lambda: [read_by_us(*pair) for pair in (("class", b"7"), ("count", b"7"), ("msgpack", b"\x07"))],
        [7, 7, 7],
    ),
    Difference(
        "`json` null, nil in `mp`, None in `pyd`",
        lambda: [read_by_them(*pair) for pair in (("json", b"null"), ("mp", b"\xc0"), ("pyd", b"N."))],
        [b"null", b"\xc0", b"N."],
        lambda: [read_by_us(*pair) for pair in (("json", b"null"), ("mp", b"\xc0"), ("pyd", b"N."))],
        [None, None, None],
    ),
    Difference(
        "`json` of a str",
        lambda: written_by_them("json", "[1]"),
        b"[1]",
        lambda: written_by_us("json", "[1]"),
        b'"[1]"',
    ),
    Difference(
        "str in a field of any name",
        lambda: [written_by_them(field, "7") for field in ("cls", "xyz")],
        [b"7", b"7"],
        lambda: (outcome(lambda: written_by_us("cls", "7")), encoder("xyz")),
        (EncodeError, None),
    ),
    Difference(
        "`json` as written",
        lambda: written_by_them("json", {"a": ["ü", 1]}),
        b'{"a": ["\\u00fc", 1]}',
        lambda: written_by_us("json", {"a": ["ü", 1]}),
        '{"a":["ü",1]}'.encode(),
    ),
    Difference(
        "`pyd` `pickle` `pkl`",
        lambda: [read_by_them(field, pickle.dumps(1)) for field in ("pyd", "pickle", "pkl")],
        [1, 1, 1],
        lambda: [outcome(lambda: _decoded(field, pickle.dumps(1))) for field in ("pyd", "pickle", "pkl")],  # noqa: B023
        [UntrustedDataError] * 3,
    ),
    Difference(
        "`pth` with objects in it",
        lambda: read_by_them("pth", TORCH_OBJECT),
        Point(),
        lambda: (outcome(lambda: _decoded("pth", TORCH_OBJECT)), _decoded("pth", TORCH_OBJECT, trust={"torch"})),
        (UntrustedDataError, Point()),
    ),
    Difference(
        "`cbor` tags",
        lambda: _is_tag(read_by_them("cbor", DATE)),
        True,
        lambda: read_by_us("cbor", DATE),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    ),
    Difference(
        "`cbor` with more behind it",
        lambda: read_by_them("cbor", b"\x01\x02"),
        1,
        lambda: read_by_us("cbor", b"\x01\x02"),
        ValueError,
    ),
    Difference(
        "`gz`",
        lambda: read_by_them("txt.xz", written_by_us("txt.xz", "a")) == written_by_us("txt.xz", "a"),
        True,
        lambda: [
            read_by_us(f"txt.{name}", written_by_us(f"txt.{name}", "a"))
            for name in ("gz", "bz2", "xz", "zst", "lz4", "gz.xz")
        ],
        ["a"] * 6,
    ),
    Difference(
        "`gz` of bytes, as written",
        lambda: gzip.decompress(written_by_them("txt.gz", b"a")),
        b"a",
        lambda: written_by_us("txt.gz", b"a"),
        b"a",
    ),
    Difference(
        "`gz` without end",
        lambda: len(read_by_them("txt.gz", gzip.compress(bytes(9)))),
        9,
        lambda: _decoded("txt.gz", gzip.compress(bytes(9)), max_bytes=8),
        DecodeError,
    ),
    Difference(
        "`pbm`, `pgm` as written",
        lambda: written_by_them("pgm", RGB[..., 0]),
        KeyError,
        lambda: written_by_us("pgm", RGB[..., 0]) == b"P5\n7 5\n255\n" + RGB[..., 0].tobytes(),
        True,
    ),
    Difference(
        "pictures of rare formats (`jp2`, `tga`, `eps` …)",
        lambda: bool((read_by_them("tga", TGA.getvalue()) == RGB).all()),
        True,
        lambda: read_by_us("tga", TGA.getvalue()) == TGA.getvalue(),
        True,
    ),
    Difference(
        "pictures named as another format",
        lambda: read_by_them("jpg", TIFF).shape,
        (8, 8, 3),
        lambda: _decoded("jpg", TIFF, "rgb8"),
        DecodeError,
    ),
    Difference("TXT", lambda: read_by_them("TXT", b"a"), b"a", lambda: read_by_us("TXT", b"a"), "a"),
    Difference(
        "several decoders for one field",
        lambda: theirs.Decoder([theirs.handle_extension("txt", len), theirs.handle_extension("seg.txt", str)]).decode(
            {"seg.txt": b"a"}
        ),
        {"seg.txt": 1},
        lambda: _decoded("seg.txt", b"a", handle_extension("txt", len), handle_extension("seg.txt", str)),
        "b'a'",
    ),
    Difference(
        "None from a function for an extension",
        lambda: read_by_them("txt", b"a", theirs.handle_extension("txt", lambda data: None)),
        "a",
        lambda: _decoded("txt", b"a", handle_extension("txt", lambda data: None)),
        None,
    ),
    Difference(
        "values that are no bytes",
        lambda: (
            outcome(lambda: theirs.Decoder([]).decode({"cls": 7})),
            theirs.Decoder([], partial=True).decode({"cls": 7}),
        ),
        (theirs.DecodingError, {"cls": 7}),
        lambda: (_decoded("cls", 7), outcome(lambda: _decoded("cls", 7, partial=False))),
        (7, DecodeError),
    ),
    Difference(
        "bytes in a field like `__url__`",
        lambda: read_by_them("__url__", b"a"),
        "a",
        lambda: _decoded("__url__", b"a"),
        b"a",
    ),
    Difference(
        "fields with one `_` before their names",
        lambda: read_by_them("_a.txt", b"a"),
        "a",
        lambda: _decoded("_a.txt", b"a"),
        b"a",
    ),
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.row)
def test_a_difference_is_what_the_docs_say(difference: Difference) -> None:
    assert outcome(difference.them) == difference.theirs
    assert outcome(difference.us) == difference.ours


def test_the_docs_name_these_differences_and_no_others() -> None:
    rows = [line.split(" | ")[0] for line in str(streamwds.codecs.__doc__).splitlines() if line.startswith("| ")]
    assert [row.removeprefix("| ") for row in rows][1:] == [difference.row for difference in DIFFERENCES]


# ---- whole shards


def _theirs(path: Path, spec: str) -> list[dict[str, Any]]:
    """The decoded samples of a shard; from a file that is closed again, which webdataset itself would leave open."""
    decode_sample = theirs.Decoder([theirs.imagehandler(spec)])
    with path.open("rb") as file:
        members = tariterators.tar_file_expander([{"url": str(path), "stream": file}])
        return [decode_sample(sample) for sample in tariterators.group_by_keys(members)]


def _without_origin(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in sample.items() if k not in ("__url__", "__local_path__")} for sample in samples]


@pytest.mark.needs("../shared")
@pytest.mark.parametrize("name", ["compressed.tar", "sample.tgz", "testgz.tar"])
@pytest.mark.parametrize("spec", ["rgb8", "torchrgb"])
def test_shards_of_others_are_decoded_alike(name: str, spec: str) -> None:
    ours = urls(SHARED / "data" / name) | tarsamples | decode(spec) | list
    assert len(ours) > 2
    assert same_items(_without_origin(ours), _without_origin(_theirs(SHARED / "data" / name, spec)))


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_shards_of_both_are_decoded_alike(whose: str, tmp_path: Path) -> None:
    path = tmp_path / "a-000000.tar"
    extensions = sorted({*BOTH_READ} & {*BOTH_WRITE})
    with TarWriter(path) if whose == "ours" else webdataset.TarWriter(str(path)) as writer:
        for n in range(3):
            fields = {e: VALUES[e][n % len(VALUES[e])] for e in extensions}
            writer.write({"__key__": f"{n:03d}", **fields, "seg.txt": "a", "json.gz": {"a": n}})
    trust: Any = {"pickle", "torch"}
    ours = urls(path) | tarsamples | decode("rgb8", trust=trust) | list
    assert [sample["json.gz"] for sample in ours] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert same_items(_without_origin(ours), _without_origin(_theirs(path, "rgb8")))
