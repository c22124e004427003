"""What `streamwds.bench` counts, and which texts it takes for stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamwds import TarWriter, batched, decode, select, shuffle, tarsamples, urls, warn_and_continue
from streamwds.bench import TotalSize, measured, stages_of
from streamwds.errors import CompositionError

TO_BATCHES = decode(only={"cls"}) | batched(4)


@pytest.fixture
def shard(tmp_path: Path) -> str:
    with TarWriter(tmp_path / "a.tar") as writer:
        for n in range(10):
            writer.write({"__key__": str(n), "txt": "x" * n, "cls": n})
    return str(tmp_path / "a.tar")


def test_sizes() -> None:
    total = TotalSize()
    sample = {
        "__key__": "not counted",
        "a": b"1234",
        "b": "äö",
        "c": np.zeros((2, 3), "f4"),
        "d": torch.zeros(5, dtype=torch.int16),
        "e": [b"12", {"x": (b"345", 7)}],
        "f": 7,
    }
    assert total(sample) is sample
    assert [field.bytes for field in total.fields.values()] == [4, 4, 24, 10, 5, 0]
    assert (total.samples, total.bytes) == (1, 47)
    total(b"an item that is no sample")
    assert (total.samples, total.bytes) == (2, 72)


def test_fields(shard: str) -> None:
    total = measured(urls(shard) | tarsamples).total
    assert (total.samples, total.bytes) == (10, 45 + 10)
    text = total.fields["txt"]
    assert (text.samples, text.bytes, text.least, text.most, text.mean) == (10, 45, 0, 9, 4.5)


def test_items_are_what_comes_out(shard: str) -> None:
    result = measured(urls(shard) | tarsamples, decode() | batched(4))
    assert (result.items, result.total.samples) == (3, 10)
    assert result.samples_per_second == pytest.approx(10 / result.seconds)
    assert result.bytes_per_second == pytest.approx(55 / result.seconds)


def test_it_stops(shard: str) -> None:
    assert measured(urls(shard) | tarsamples, batched(2), items=2).total.samples == 4
    assert measured(urls(shard) | tarsamples, seconds=0).items == 1
    assert measured(urls(shard) | tarsamples, items=0).items == 0
    nothing_comes = measured(urls(shard) | tarsamples, select(lambda sample: False), seconds=0)
    assert (nothing_comes.items, nothing_comes.total.samples) == (0, 1)


@pytest.mark.parametrize(
    ("code", "stages"),
    [
        ("batched(4)", batched(4)),
        (" tarsamples|batched(+4) ", tarsamples | batched(4)),
        ("decode('rgb8', handler=warn_and_continue)", decode("rgb8", handler=warn_and_continue)),
        ("shuffle(10, initial=3) | (decode(only={'cls'}) | batched(4))", shuffle(10, initial=3) | TO_BATCHES),
    ],
)
def test_texts_for_stages(code: str, stages: object) -> None:
    assert stages_of(code) == stages


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "no stages"),
        ("batched(", "no stages"),
        ("batched", r"batched makes a stage: write batched\(n\)"),
        ("7", "no stages, but a int"),
        ("nothing(3)", "'nothing' is no stage of streamwds"),
        ("__import__('os')", "'__import__' is no stage"),
        ("batched.__class__", "'batched.__class__' is no stage"),
        ("batched(open('/etc/passwd'))", "'open' is no stage"),
        ("map(lambda x: x)", "'lambda x: x' is no stage"),
        ("batched(4 if 1 else 2)", "'4 if 1 else 2' is no stage"),
        ("urls('a.tar')", "no stages, but a Stream"),
        ("shuffle(10, **options)", r"'shuffle\(10, \*\*options\)' is no stage"),
        ("batched()", "no stages: .*missing 1 required positional argument"),
        ("batched(-1)", "no stages: .*-1"),
        ("batched({[]})", "no stages: unhashable"),
        ("take(3) | 7", "no stages: unsupported operand"),
        ("batched(4)\0", "no stages"),
        pytest.param("(" * 10_000 + ")" * 10_000, "no stages", id="deep"),
    ],
)
def test_other_texts(code: str, message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        stages_of(code)
