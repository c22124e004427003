"""The law of indexes: what is read by number is what is read as a stream, its errors too, whatever the shard holds."""

from __future__ import annotations

import contextlib
import os
import random
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from properties.strategies import FOLDER, shard_specs, written
from properties.test_hostile import SHARDS, mutated, of_others, told
from properties.test_round_trip import nearly_regular
from streamwds import ShardFile, ShardFiles, tar, tarsamples
from streamwds.errors import DamagedIndexWarning, SkippedWarning, SourceError, StreamwdsError
from streamwds.tar.buffers import Buffer
from streamwds.tar.stream import is_compressed
from tests.archives import Damaged, Entry, Sample, entries, key_and_field

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"

Random = random.Random


class Notes:
    """A handler that notes the errors, and goes on or not."""

    def __init__(self, goes_on: bool) -> None:
        self.goes_on = goes_on
        self.errors: list[tuple[Any, ...]] = []

    def __call__(self, error: Exception) -> bool:
        assert isinstance(error, StreamwdsError)
        counts = error.skipped, error.seen
        self.errors.append((type(error), error.url, error.offset, error.key, error.field, error.message, counts))
        return self.goes_on


def streamed(path: str, eof: str, handler: Notes) -> list[Sample]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        return list([path] | tarsamples(handler=handler, eof=eof))


def indexed(path: str, eof: str, handler: Notes) -> list[Sample]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        with ShardFile(path, handler=handler, eof=eof) as samples:
            assert len(samples) == len(samples.keys())
            return list(samples)


def check(path: str) -> list[Sample]:
    """Read a shard in both ways, and give the samples that are whole."""
    with open(path, "rb") as file:
        looks_compressed = is_compressed(file.read(512), path)
    if looks_compressed:  # (mutated bytes may happen to say so)
        with pytest.raises(SourceError, match="compressed"):
            indexed(path, "strict", Notes(True))
        return []
    samples: list[Sample] = []
    for eof in ("strict", "lenient"):
        for goes_on in (False, True):
            theirs, ours = Notes(goes_on), Notes(goes_on)
            samples = streamed(path, eof, theirs)
            assert indexed(path, eof, ours) == samples
            assert ours.errors == theirs.errors
    return samples


@contextlib.contextmanager
def scanned_in(r: Random) -> Iterator[None]:
    """Any sizes of what is read at once, and any taste for walking."""
    capacity = 1024 * r.choice([1, 2, 10, 64, 500])

    @contextlib.contextmanager
    def small() -> Iterator[Buffer]:
        yield Buffer(capacity)

    patches: dict[str, Any] = {
        "LEAST": 512 * r.randint(1, 99),
        "FEW": r.choice([1, 2, 7, 64]),
        "SPARSE": r.choice([0, 600, 1 << 14]),
        "borrowed": small,
    }
    with mock.patch.multiple("streamwds.tar.indexing", **patches):
        yield


@given(shard_specs().filter(lambda spec: spec.suffix == ".tar"))
def test_by_number_as_by_stream(spec: Any) -> None:
    check(written(spec))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5000 if DEEP else 40, suppress_health_check=[HealthCheck.too_slow])
def test_by_number_as_by_stream_of_nearly_regular_shards(seed: int) -> None:
    r = Random(seed)
    path = FOLDER / "nearly.tar"
    path.write_bytes(nearly_regular(r))
    with scanned_in(r):
        check(str(path))
    check(str(path))


@pytest.mark.parametrize("chunk", range(4))
def test_by_number_as_by_stream_of_mutated_shards(chunk: int, tmp_path: Path) -> None:
    each = 2_500 if DEEP else 50
    made = [make() for make in SHARDS.values()]
    for seed in range(chunk * each, (chunk + 1) * each):
        with told(seed):
            r = Random(seed)
            path = tmp_path / "mutated.tar"
            path.write_bytes(mutated(r, made[seed % len(made)]))
            check(str(path))


@pytest.mark.needs("../shared")
def test_by_number_as_by_stream_of_mutated_shards_of_others(tmp_path: Path) -> None:
    made = of_others()
    path = tmp_path / "mutated.tar"
    for seed in range(2_500 if DEEP else 100):
        with told(seed):
            path.write_bytes(mutated(Random(seed), made[seed % len(made)]))
            check(str(path))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000 if DEEP else 30, suppress_health_check=[HealthCheck.too_slow])
def test_the_columns_are_where_a_second_reader_finds_members(seed: int) -> None:
    r = Random(seed)
    data = nearly_regular(r)
    path = FOLDER / "columns.tar"
    path.write_bytes(data)
    with scanned_in(r), warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        found = tar.index(path, handler=Notes(True))
    members: list[Entry] = []
    with contextlib.suppress(Damaged):
        members.extend(entries(data))  # (keeps those before the damage)
    assert found.names() == [member.name for member in members]
    assert found.offsets.tolist() == [member.start for member in members]
    assert found.starts.tolist() == [member.begins for member in members]
    assert found.sizes.tolist() == [len(member.data) for member in members]
    fields = [found.field_names[field] if field >= 0 else None for field in found.fields]
    assert all(field is None or (key_and_field(name) or "")[1] == field for name, field in zip(found.names(), fields))
    if found.intact:
        assert [field is None for field in fields] == [key_and_field(name) is None for name in found.names()]


# ---- as a sequence


@given(shard_specs(whole=True).filter(lambda spec: spec.suffix == ".tar"), st.data())
def test_numbers_and_slices_are_those_of_a_list(spec: Any, data: st.DataObject) -> None:
    path = written(spec)
    listed = list([path] | tarsamples)
    with ShardFile(path) as samples:
        assert len(samples) == len(listed)
        number = data.draw(st.integers(-len(listed) - 2, len(listed) + 2))
        outcomes: list[Any] = []
        for sequence in (listed, samples):
            try:
                outcomes.append(sequence[number])
            except IndexError:
                outcomes.append(None)
        assert outcomes[0] == outcomes[1]
        one, two = data.draw(st.slices(len(listed) + 1)), data.draw(st.slices(len(listed) + 1))
        assert list(samples[one]) == listed[one]
        assert list(samples[one][two]) == listed[one][two]
        assert list(reversed(samples)) == listed[::-1]
        assert [samples.by_key(sample["__key__"]) for sample in listed] == listed


@given(st.lists(shard_specs(whole=True).filter(lambda spec: spec.suffix == ".tar"), min_size=1, max_size=4), st.data())
@settings(max_examples=1000 if DEEP else 40)
def test_many_shards_are_one_sequence(specs: list[Any], data: st.DataObject) -> None:
    paths = [written(spec) for spec in specs]
    listed = list(paths | tarsamples)
    with ShardFiles(paths, open_files=data.draw(st.integers(1, 3))) as samples:
        assert list(samples) == listed
        assert sum(tar.count(set(paths)).values()) == len(list(set(paths) | tarsamples))
        numbers = data.draw(st.lists(st.integers(-len(listed), len(listed) - 1) if listed else st.nothing()))
        assert samples.__getitems__(numbers) == [listed[number] for number in numbers]
        part = data.draw(st.slices(len(listed)))
        assert samples[part].__getitems__(range(len(listed[part]))) == listed[part]  # type: ignore[attr-defined]


# ---- kept beside the shard


def kept(r: Random) -> tuple[Path, Path, tar.Index]:
    """A shard, its index in a file, and the same index."""
    path, beside = FOLDER / "kept.tar", FOLDER / "kept.tar.idx"
    path.write_bytes(r.choice([make() for make in SHARDS.values()]))
    beside.unlink(missing_ok=True)
    fresh = tar.index(path, save=True)
    assert tar.index(path) == fresh
    return path, beside, fresh


def damage(r: Random, data: bytearray) -> None:
    at = r.randrange(len(data))
    kind = r.randrange(5)
    if kind == 0:
        data[at] ^= 1 << r.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = r.randbytes(r.randrange(1, 20))
    elif kind == 3:
        del data[at : at + r.choice([1, 8, 100])]
    else:
        data[at : at + 8] = r.choice([bytes(8), b"\xff" * 8, r.randrange(1 << 20).to_bytes(8, "little")])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000 if DEEP else 60, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_index_is_made_anew_with_one_warning(seed: int) -> None:
    r = Random(seed)
    path, beside, fresh = kept(r)
    data = beside.read_bytes()
    damage(r, changed := bytearray(data))
    beside.write_bytes(changed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert tar.index(path) == fresh
    assert [warning.category for warning in caught] == ([] if changed == data else [DamagedIndexWarning])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000 if DEEP else 60, suppress_health_check=[HealthCheck.too_slow])
def test_a_forged_index_does_no_harm(seed: int) -> None:
    """Its checksum is right, so it is taken if it makes sense; what it gives lies in the shard, or is an error."""
    r = Random(seed)
    path, beside, _ = kept(r)
    damage(r, changed := bytearray(beside.read_bytes()))
    changed[-4:] = zlib.crc32(changed[:-4]).to_bytes(4, "little")
    beside.write_bytes(changed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedIndexWarning)
        samples = ShardFile(path)
    for number in range(min(len(samples), 50)):
        with contextlib.suppress(StreamwdsError):
            assert all(len(value) <= path.stat().st_size for value in samples[number].values())
