"""Fields from strangers: whatever they hold, decoding them runs no code, and takes little memory and little time."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamwds import decode, ignore_and_continue, numpy_audio, numpy_video
from streamwds.errors import DecodeError, UntrustedDataError
from tests.attacks import ATTACKS, CODE, EPS, MIB, Opener, packed_zeros, png

ROOT = Path(__file__).parent.parent
EVERYTHING = ("rgb8", numpy_audio, numpy_video)


def decoded(field: str, data: bytes, **options: Any) -> Any:
    (sample,) = [{"__url__": "a.tar", "__key__": "1", field: data}] | decode(*EVERYTHING, **options) | list
    return sample[field]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_an_attack_is_one_clear_error(name: str) -> None:
    attack = ATTACKS[name]
    with pytest.raises(DecodeError) as caught:
        decoded(attack.field, attack.make(), **attack.options)
    error = caught.value
    assert (error.url, error.key, error.field) == ("a.tar", "1", attack.field)
    assert error.__cause__ is not None
    assert len(str(error)) < 1000


def test_attacks_take_little_memory() -> None:
    code = """
import resource
from streamwds import decode, numpy_audio, numpy_video
from streamwds.errors import DecodeError
from tests.attacks import ATTACKS

attacks = [({attack.field: attack.make()}, attack.options) for attack in ATTACKS.values()]
list([{"png": b""}] | decode("rgb8", handler=lambda error: True))  # (what the libraries themselves take)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for sample, options in attacks:
    try:
        [sample] | decode("rgb8", numpy_audio, numpy_video, **options) | list
    except DecodeError:
        pass
    else:
        raise AssertionError(sample.keys())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) < 100, f"{done.stdout} MB"


# ---- bounds


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst", "lz4"])
def test_the_bound_of_bytes_can_be_moved(name: str) -> None:
    data = packed_zeros(name, 3)
    assert decoded(f"txt.{name}", data) == "\0" * 3 * MIB
    assert len(decoded(f"txt.{name}", data, max_bytes=3 * MIB)) == 3 * MIB
    with pytest.raises(
        DecodeError, match=rf"takes more than the {3 * MIB - 1} bytes.*decode\(max_bytes=…\) allows more"
    ):
        decoded(f"txt.{name}", data, max_bytes=3 * MIB - 1)


def test_the_usual_bound_is_256_mib() -> None:
    with pytest.raises(DecodeError, match="more than the 268435456 bytes"):
        decoded("txt.gz", packed_zeros("gz", 257))


def test_the_bound_of_pixels_can_be_moved() -> None:
    data = png(12_000, 8_000)  # more than Pillow likes
    with pytest.raises(DecodeError, match=r"12000×8000 pixels are more than the 89478485 .*decode\(max_pixels=…\)"):
        [{"png": data}] | decode("l8") | list
    (sample,) = [{"png": data}] | decode("l8", max_pixels=96_000_000) | list
    assert sample["png"].shape == (8_000, 12_000)
    with pytest.raises(DecodeError, match="more than the 95999999 that"):
        [{"png": data}] | decode("l8", max_pixels=95_999_999) | list


@pytest.mark.parametrize(
    ("option", "value"), [("max_bytes", 0), ("max_bytes", 1.5), ("max_bytes", None), ("max_pixels", -1)]
)
def test_a_bound_is_a_number(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} is a whole number above 0, not"):
        decode(**{option: value})


# ---- code


@pytest.mark.parametrize("field", CODE)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_code_in_a_field_is_run(field: str, tmp_path: Path) -> None:
    data = CODE[field](Opener(str(tmp_path / "run")))
    with pytest.raises(DecodeError) as caught:
        decoded(field, data)
    assert isinstance(caught.value, UntrustedDataError) == ("np" not in field)
    assert (caught.value.url, caught.value.key, caught.value.field) == ("a.tar", "1", field)
    assert list(tmp_path.iterdir()) == []


def test_other_trust_does_not_help() -> None:
    for field, trust in (("pkl", "torch"), ("pth", "pickle")):
        with pytest.raises(UntrustedDataError, match="decode\\(trust="):
            decoded(field, CODE[field](Opener("never")), trust={trust})
    for field in ("npy", "npz"):
        with pytest.raises(DecodeError, match="pickled objects"):
            decoded(field, CODE[field](Opener("never")), trust={"pickle", "torch"})


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


def test_what_is_trusted_is_read() -> None:
    for field in ("pyd", "pickle", "pkl"):
        assert decoded(field, pickle.dumps(Point(3)), trust={"pickle"}) == Point(3)
    for field in ("pth", "pt"):
        assert decoded(field, CODE[field](Point(3)), trust={"torch"}) == Point(3)


def test_tensors_need_no_trust() -> None:
    for field in ("pth", "pt"):
        value = decoded(field, CODE[field]({"weight": torch.arange(3), "names": ["a"]}))
        assert value["names"] == ["a"]
        assert value["weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("version", ["2.1.0", "2.5.1+cu121", "1.13"])
def test_old_torch_reads_nothing_from_strangers(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(UntrustedDataError, match=r"install 2\.6 or later"):
        decoded("pth", CODE["pth"](torch.arange(3)))
    assert decoded("pth", CODE["pth"](torch.arange(3)), trust={"torch"}).tolist() == [0, 1, 2]


@pytest.mark.parametrize("trust", [{"pickles"}, "pickle", ["torch", "all"]])
def test_trust_is_a_set_of_known_names(trust: Any) -> None:
    with pytest.raises(ValueError, match="trust is a set of pickle, torch"):
        decode(trust=trust)


def test_untrusted_data_goes_to_the_handler() -> None:
    with pytest.warns(UserWarning, match="UntrustedDataError"):
        assert [{"pkl": b"."}, {"cls": b"1"}] | decode(handler=ignore_and_continue) | list == [{"cls": 1}]


# ---- programs that libraries start


def test_ghostscript_is_never_started(tmp_path: Path) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    code = f"""
import io, sys
from pathlib import Path
from PIL import Image
from streamwds import decode
from streamwds.codecs.images import ALLOWED
from streamwds.errors import DecodeError

Image.init()  # (all of Pillow's plugins are there)
eps, started = {EPS!r}, Path({str(tmp_path / "started")!r})
for extension in (*ALLOWED, "eps", "ps"):
    for data in (eps, b"\\xc5\\xd0\\xd3\\xc6" + bytes(28) + eps):
        try:
            [{{extension: data}}] | decode("rgb") | list
        except DecodeError:
            pass
print(started.exists())
try:
    Image.open(io.BytesIO(eps)).load()  # (to see that the trap is a trap)
except Exception:
    pass
print(started.exists())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == ["False", "True"]


def test_web_formats_are_read_under_each_others_names() -> None:
    for extension in ("jpg", "jpeg", "png", "webp", "gif", "bmp"):
        data = ATTACKS["JPEG named tif"].make()
        assert decoded(extension, data).shape == (8, 8, 3)
    np.testing.assert_array_equal(decoded("tiff", ATTACKS["TIFF named jpg"].make()), np.zeros((8, 8, 3), np.uint8))
