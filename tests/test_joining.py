"""join: examples and edges; its laws are in properties/test_several.py."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from streamwds import (
    Sample,
    Stream,
    TarWriter,
    identity,
    ignore_and_continue,
    ignore_and_stop,
    join,
    map,
    repeat,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    split_samples,
    tarsamples,
    urls,
)
from streamwds.errors import CompositionError, DistributionError, JoinError, PositionError, SourceError

PHOTOS: list[Sample] = [{"__key__": f"{n}", "__url__": "photos.tar", "jpg": n} for n in range(6)]
LABELS: list[Sample] = [{"__key__": f"{n}", "__url__": "labels.tar", "cls": 10 * n} for n in range(6)]


def joined(stream: Stream[Sample]) -> list[tuple[int, int]]:
    return [(sample["jpg"], sample["cls"]) for sample in stream]


def shards(folder: Path, name: str, field: str, missing: tuple[int, ...] = ()) -> str:
    for number in range(3):
        with TarWriter(folder / f"{name}-{number}.tar") as writer:
            for n in range(4 * number, 4 * number + 4):
                if n not in missing:
                    writer.write({"__key__": f"{n:02}", field: f"{n}".encode()})
    return str(folder / f"{name}-{{0..2}}.tar")


def test_fields_come_together() -> None:
    first = next(iter(PHOTOS | join(LABELS)))
    assert first == {"__key__": "0", "__url__": "photos.tar", "jpg": 0, "cls": 0}


def test_parallel_shards_shuffled_and_split_alike(tmp_path: Path) -> None:
    shared = shuffle_shards | split_by_worker | tarsamples
    photos, labels = shards(tmp_path, "photos", "jpg"), shards(tmp_path, "labels", "cls")
    stream = urls(photos) | shared | join(urls(labels) | shared) | repeat(2)
    found: list[Any] = []
    for worker in range(3):
        found += stream.within(worker=worker, workers=3)
    assert all(sample["jpg"] == sample["cls"] for sample in found)
    assert sorted(int(sample["jpg"]) for sample in found) == sorted([*range(12), *range(12)])


def test_a_sample_without_a_partner(tmp_path: Path) -> None:
    photos, labels = shards(tmp_path, "photos", "jpg"), shards(tmp_path, "labels", "cls", missing=(0, 5, 6, 11))
    stream = urls(photos) | tarsamples | join(urls(labels) | tarsamples)
    with pytest.raises(JoinError, match=r"photos-0\.tar, key '00': the sample has no partner"):
        list(stream)
    skipping = urls(photos) | tarsamples | join(urls(labels) | tarsamples, handler=ignore_and_continue)
    with pytest.warns(match="has no partner"):
        assert [int(sample["cls"]) for sample in skipping] == [1, 2, 3, 4, 7, 8, 9, 10]
    assert skipping.skipped == {"JoinError": 4}
    assert list(urls(photos) | tarsamples | join(urls(labels) | tarsamples, handler=ignore_and_stop)) == []


def test_a_sample_too_many_on_the_other_side() -> None:
    with pytest.raises(JoinError, match=r"labels\.tar, key '0': the sample has no partner"):
        list(PHOTOS[1:] | join(LABELS))
    with pytest.raises(JoinError, match="key '4'"):
        list(PHOTOS[:4] | join(LABELS))
    stream = PHOTOS[2:4] | join(LABELS, handler=ignore_and_continue)
    with pytest.warns(match="has no partner"):
        assert joined(stream) == [(2, 20), (3, 30)]
    assert stream.skipped == {"JoinError": 3}  # (of those behind the last partner, only the first is looked at)


def test_another_order_is_found_within_reach() -> None:
    with pytest.warns(match="has no partner"):
        assert joined(PHOTOS | join(LABELS[::-1], handler=ignore_and_continue)) == [(0, 0)]
    with pytest.raises(JoinError, match="not within 3 samples"):
        list(PHOTOS[4:] | join(LABELS, ahead=3))


def test_it_goes_by_any_field() -> None:
    photos = [{**photo, "id": 7 - photo["jpg"]} for photo in PHOTOS]
    labels = [{"__key__": "?", "id": 7 - label["cls"] // 10, "cls": label["cls"]} for label in LABELS]
    stream = photos | join(labels, on="id")
    assert joined(stream) == joined(PHOTOS | join(LABELS))
    assert [sample["__key__"] for sample in stream] == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(JoinError, match="field 'id': the sample can't be joined without it"):
        list(PHOTOS | join(labels, on="id"))
    with pytest.raises(JoinError, match=r"its 'id' is 7\)"):
        list(photos | join(labels[1:], on="id"))


def test_a_field_that_both_have() -> None:
    with pytest.raises(JoinError, match="field 'jpg': both samples have it"):
        list(PHOTOS | join(PHOTOS))


def test_what_is_no_sample() -> None:
    with pytest.raises(JoinError, match="join takes samples"):
        list(PHOTOS | map(len) | join(LABELS))  # type: ignore[operator]
    with pytest.raises(CompositionError, match="the other yields str; is tarsamples missing"):
        join(urls("a.tar"))  # type: ignore[arg-type]
    with pytest.raises(CompositionError, match=r"call within\(\) of the whole"):
        join((LABELS | identity).within(epoch=3))
    wrong: Any
    for wrong in ({"on": ""}, {"on": 3}, {"ahead": 0}):
        with pytest.raises(ValueError, match="join "):
            join(LABELS, **wrong)


def test_both_are_split_or_none() -> None:
    context = {"worker": 1, "workers": 2, "rank": 0, "world_size": 1}
    photos = PHOTOS | split_by_worker
    with pytest.raises(DistributionError, match="split by worker, the other is not"):
        list((photos | join(LABELS)).within(**context))
    with pytest.raises(DistributionError, match="split by worker, only the other is"):
        list((PHOTOS | join(LABELS | split_by_worker) | split_samples).within(**context))
    assert joined((photos | join(LABELS | split_by_worker)).within(**context)) == [(1, 10), (3, 30), (5, 50)]
    assert joined((PHOTOS | join(LABELS) | split_samples).within(**context)) == [(1, 10), (3, 30), (5, 50)]
    with pytest.raises(DistributionError, match="put split_by_worker"):
        list((PHOTOS | join(LABELS | split_by_worker)).within(**context))
    nodes = PHOTOS | split_by_node | join(LABELS | split_by_node)
    assert joined(nodes.within(rank=1, world_size=3)) == [(1, 10), (4, 40)]


def test_it_is_a_value() -> None:
    made = join(LABELS[:1], ahead=3)
    assert repr(made) == f"join({LABELS[:1]!r} | identity, ahead=3)"
    assert pickle.loads(pickle.dumps(made)) == made == join(LABELS[:1], ahead=3)
    assert hash(made) == hash(join(LABELS[:1], ahead=3))
    assert made != join(LABELS[:2], ahead=3)


def test_positions_of_another_partner_are_refused() -> None:
    _, position = next((PHOTOS | join(LABELS)).tracked())
    assert len(list((PHOTOS | join(LABELS, handler=ignore_and_continue)).at(position))) == 5
    with pytest.raises(PositionError, match="other options were given to join"):
        (PHOTOS | join(LABELS[:5])).at(position)
    once = PHOTOS | join(iter(LABELS))
    with pytest.raises(SourceError, match="has no positions"):
        list(once.tracked())
    assert len(list(PHOTOS | join(iter(LABELS)))) == 6
