"""What positions mean, in words; and checkpoints that earlier releases wrote, which are to be good for ever.

tests/checkpoints/ holds a file for each format of positions: pipelines by name, and for each some of its positions with
the items that came next. `write()` writes that of the present format, and is to be called only when a release begins to
write another one (then the older files stay, and `PositionError` says why they are not read).
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamwds import (
    Sample,
    Stream,
    batched,
    chain,
    decode,
    interleave,
    join,
    map,
    mix,
    repeat,
    resampled,
    round_robin,
    rsample,
    select,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    split_samples,
    take,
    tarsamples,
    unbatched,
    urls,
    with_epoch,
)
from streamwds.errors import PositionError
from streamwds.position import FORMAT, describe

CHECKPOINTS = Path(__file__).parent / "checkpoints"


# ---- in words


@pytest.fixture
def shards(tmp_path: Path) -> str:
    write_shards(tmp_path)
    return str(tmp_path / "train-{000000..000005}.tar")


def words(stream: Stream[Any], k: int) -> str:
    """What the position after the k-th item means."""
    return describe(next(islice(stream.tracked(), k, None))[1], stream)


def test_words_name_shard_byte_epoch_and_block(shards: str) -> None:
    stream = urls(shards) | tarsamples | repeat() | shuffle(4, initial=4)
    assert words(stream, 29) == "shard 1 train-000001.tar, byte 2560, epoch 1, shuffle block 7 (2 given)"
    assert words(urls(shards) | tarsamples, 3) == "shard 1 train-000001.tar, byte 2560, epoch 0"


def test_the_shard_is_the_one_that_is_read(shards: str) -> None:
    stream = urls(shards) | shuffle_shards | split_by_worker | tarsamples
    for epoch in range(3):
        reader = stream.within(worker=1, workers=2, epoch=epoch)
        for sample, position in reader.tracked():
            number = int(sample["__url__"][-10:-4])
            assert describe(position, reader).startswith(f"shard {number} train-00000{number}.tar, ")
            assert describe(position, reader).endswith(f", epoch {epoch}, worker 1 of 2")
    resampling = urls(shards) | resampled() | tarsamples
    for sample, position in islice(resampling.tracked(), 50):
        assert f"train-00000{sample['__url__'][-5]}.tar" in describe(position, resampling)


def test_words_of_all_sorts(shards: str) -> None:
    read = urls(shards) | tarsamples
    assert words(range(9) | batched(4, collate=list) | unbatched | take(7), 5) == (
        "item 4, unbatched: 2 given, take: 6 given, epoch 0"
    )
    assert words(range(9) | repeat() | with_epoch(4), 2) == ("item 3, epoch 0, with_epoch: 3 given since epoch 0 began")
    assert words(chain([range(2), range(5)]), 3) == "chain of 1: item 2, epoch 0"
    assert words(round_robin([range(1), range(5)]), 4) == "round_robin of 1: item 4, epoch 0"
    assert words(mix([read, range(5)]), 0) == "mix of 0: shard 0 train-000000.tar byte 2560 + 1: item 0, epoch 0"
    assert words(urls(shards) | interleave(tarsamples, 2), 2) == (
        "item 2, interleave of shard 0 train-000000.tar byte 5120 + shard 1 train-000001.tar byte 2560, epoch 0"
    )
    assert words(read | select(bool) | join(read | map(only_key)), 1) == (
        "shard 0 train-000000.tar, byte 5120, join with shard 0 train-000000.tar byte 5120, epoch 0"
    )


def test_the_end_and_what_is_no_position_of_it(shards: str) -> None:
    stream = urls(shards) | tarsamples
    *_, (_, position) = stream.tracked()
    assert describe(position, stream).startswith("shard 5 train-000005.tar, byte ")
    with pytest.raises(PositionError, match="its pipeline was tarsamples"):
        describe(position, stream | take(2))
    with pytest.raises(PositionError, match="is no position"):
        describe([1, 2], stream)


# ---- checkpoints


def write_shards(folder: Path) -> None:
    """Six shards of 3, 4, 5, 3, 4, 5 samples, the same bytes always."""
    for number in range(6):
        with tarfile.open(folder / f"train-{number:06}.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
            for n in range(3 + number % 3):
                for field, value in (("cls", n), ("txt", f"{number}-{n}" * 200)):
                    data = str(value).encode()
                    info = tarfile.TarInfo(f"{number}{n}.{field}")
                    info.size = len(data)
                    shard.addfile(info, io.BytesIO(data))


def only_key(sample: Sample) -> Sample:
    return {"__key__": sample["__key__"]}


def drawn(sample: Sample, rng: np.random.Generator) -> Sample:
    return {**sample, "drawn": int(rng.bit_generator.random_raw()) % 1000}


def keys(batch: Any) -> Any:
    return [batch["__key__"], batch["cls"], batch.get("drawn")] if isinstance(batch, dict) else batch


def pipelines(folder: Path) -> dict[str, Stream[Any]]:
    """Streams that use the whole vocabulary."""
    shards = str(folder / "train-{000000..000005}.tar")
    read = shuffle_shards | split_by_node | split_by_worker | interleave(tarsamples, 2) | shuffle(5) | decode()
    augmented = map(drawn, rng=True, seed=3) | map(keys)
    mixed = mix([urls(shards) | read | repeat(), urls(shards) | read | rsample(0.5) | repeat()], weights=[2, 1])
    found = {
        "title": urls(shards) | split_by_worker | tarsamples | decode("rgb") | batched(2) | map(len),
        "nested": mixed | augmented | batched(3, collate=list) | with_epoch(20),
        "resampled": urls(shards) | resampled(1) | tarsamples | shuffle(4) | decode() | augmented | take(40),
        "joined": (
            urls(shards)
            | split_by_worker
            | tarsamples
            | join(urls(shards) | split_by_worker | tarsamples | map(only_key))
            | repeat(2)
            | map(keys)
        ),
        "unbatched": (
            round_robin([urls(shards) | tarsamples, chain([urls(shards) | tarsamples])])
            | split_samples
            | batched(4, collate=list)
            | shuffle(2)
            | unbatched
            | map(keys)
        ),
    }
    context = {"seed": 5, "epoch": 2, "rank": 0, "world_size": 1, "worker": 1, "workers": 2}
    return {name: stream.within(**context) for name, stream in found.items()}


def plain(items: Any) -> Any:
    return json.loads(json.dumps(items, default=lambda value: value.decode() if isinstance(value, bytes) else value))


def write() -> None:
    """Write the checkpoints of the present format: positions, each with the items after it."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder))
        for name, stream in pipelines(Path(folder)).items():
            pairs = list(stream.tracked())
            following = ([item for item, _ in pairs[k + 1 : k + 6]] for k in range(0, len(pairs), 4))
            found[name] = [{"position": at, "next": plain(items)} for (_, at), items in zip(pairs[::4], following)]
    CHECKPOINTS.mkdir(exist_ok=True)
    (CHECKPOINTS / f"format-{FORMAT}.json").write_text(json.dumps(found) + "\n")


@pytest.mark.parametrize("name", ["title", "nested", "resampled", "joined", "unbatched"])
def test_checkpoints_that_were_written_once(name: str, tmp_path: Path) -> None:
    write_shards(tmp_path)
    stream = pipelines(tmp_path)[name]
    checkpoints = json.loads((CHECKPOINTS / f"format-{FORMAT}.json").read_text())[name]
    assert len(checkpoints) >= 2
    for checkpoint in checkpoints:
        assert plain(list(islice(stream.at(checkpoint["position"]), 5))) == checkpoint["next"]
        assert describe(checkpoint["position"], stream)
