"""The law of options that concern names: leaving out while reading is leaving out what was read."""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from properties.test_round_trip import EXTENSIONS, nearly_regular
from streamwds import Sample, Stage, group_by_keys, open_shards, tarfiles, tarsamples
from streamwds.errors import DuplicateFieldError, SkippedWarning, StreamwdsError
from tests.archives import at_most, expected, header, member, shards

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
NAMES = sorted({extension.decode().lower() for extension in EXTENSIONS} - {""})

Outcome = tuple[list[Sample], list[Any], list[tuple[type, str | None, int | None, str]]]


def outcome(make: Callable[[Any], Stage[Any, Sample]], source: Any) -> Outcome:
    """Samples, where each ends, and errors behind which reading went on; alike with and without positions."""
    errors: list[StreamwdsError] = []

    def note(error: Exception) -> bool:
        assert isinstance(error, StreamwdsError)
        errors.append(error)
        return True

    stream = source | make(note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)
        pairs = list(stream.tracked())
        told = [(type(error), error.url, error.offset, error.message) for error in errors]
        assert list(stream) == [sample for sample, _ in pairs]
    assert len(errors) == 2 * len(told)
    return [sample for sample, _ in pairs], [position[1][-2] for _, position in pairs], told


def spread(r: random.Random, data: bytes) -> bytes:
    """A shard with large members strewn in, at whose ends reading with gaps has to go on."""
    blobs = [b"big%d.%s" % (n, r.choice(EXTENSIONS) or b"x") for n in range(3)]
    return b"".join(member(name, bytes(r.randrange(9_000, 90_000))) for name in blobs) + data


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5_000 if DEEP else 100, suppress_health_check=[HealthCheck.too_slow])
def test_to_want_some_fields_is_to_drop_the_others(seed: int) -> None:
    """On disk, where what is not wanted is not read, and in memory; and errors are the same."""
    r = random.Random(seed)
    data = nearly_regular(r)
    if r.randrange(2):
        data = spread(r, data)
    if r.randrange(4) == 0:
        data = data[: r.randrange(len(data) + 1)]
    suffixes = frozenset(r.sample(NAMES, r.choice([0, 1, 1, 2])))
    with tempfile.TemporaryDirectory() as folder, at_most(60):
        path = Path(folder, "0.tar")
        path.write_bytes(data)
        whole, ends, errors = outcome(lambda note: tarsamples(handler=note), [str(path)])
        kept = [{k: v for k, v in s.items() if k in ("__key__", "__url__") or k in suffixes} for s in whole]
        sizes: dict[str, Any] = {"WORTH": r.choice([1, 600, 8 << 10]), "WINDOW": 512 * r.choice([1, 2, 5, 8])}
        with mock.patch.multiple("streamwds.tar.skipping", **sizes):
            found = outcome(lambda note: tarsamples(suffixes=suffixes, handler=note), [str(path)])
    if any(kind is DuplicateFieldError for kind, *_ in errors):  # (an error no more, where the field is not wanted)
        following = iter(found[0])
        assert all(sample in following for sample in kept)
    else:
        assert found == (kept, ends, errors)
    in_memory = outcome(lambda note: tarsamples(suffixes=suffixes, handler=note), shards(data))
    assert [*map(without_url, in_memory[0])] == [*map(without_url, found[0])]
    assert in_memory[1] == found[1]


def without_url(sample: Sample) -> Sample:
    return {name: value for name, value in sample.items() if name != "__url__"}


def renamed(name: str) -> str:
    return f"{name[::-1].lower()}.new" if len(name) % 5 == 0 else name


def selected(name: str) -> bool:
    return len(name) % 3 != 0


def named(name: str) -> tuple[str, str] | None:
    return (name[:4], name[4:]) if len(name) > 5 else None


@given(seed=st.integers(0, 2**32), lower=st.booleans(), skip_meta=st.booleans(), chosen=st.integers(0, 7))
@settings(max_examples=2_000 if DEEP else 60, suppress_health_check=[HealthCheck.too_slow])
def test_all_options_mean_the_same_in_one_stage_and_in_its_parts(
    seed: int, lower: bool, skip_meta: bool, chosen: int
) -> None:
    r = random.Random(seed)
    data = nearly_regular(r)
    rename, select, keys = (
        function if chosen & bit else None for function, bit in ((renamed, 1), (selected, 2), (named, 4))
    )
    suffixes = r.choice([None, frozenset(r.sample(NAMES, 2))])
    files: dict[str, Any] = {"rename_files": rename, "select_files": select, "skip_meta": skip_meta}
    fields: dict[str, Any] = {"keys": keys, "lower": lower, "suffixes": suffixes}
    with at_most(60):
        one = outcome(
            lambda note: tarsamples(**files, **fields, handler=note), shards(data, most=r.choice([None, 900]))
        )
        parts = outcome(
            lambda note: open_shards | tarfiles(**files, handler=note) | group_by_keys(**fields, handler=note),
            shards(data),
        )
    assert one[0] == parts[0]
    assert one[2] == parts[2]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=500 if DEEP else 30, suppress_health_check=[HealthCheck.too_slow])
def test_functions_see_each_name_that_the_archive_has(seed: int) -> None:
    """`select_files` and `keys` by hand give what the reader gives without them."""
    data = nearly_regular(random.Random(seed))
    samples, damaged = expected(data)

    def by_hand(name: str) -> tuple[str, str] | None:
        folder, slash, last = name.rpartition("/")
        key, dot, field = last.partition(".")
        return (f"{folder}{slash}{key}", field) if key and dot else None

    found, _, errors = outcome(lambda note: tarsamples(keys=by_hand, select_files=len, handler=note), shards(data))
    assert found == samples
    assert sum(kind is not DuplicateFieldError for kind, *_ in errors) == damaged


def test_a_header_in_the_data_of_a_member_does_not_fool_the_gaps(tmp_path: Path) -> None:
    """Members that hold tars themselves, where the reader expects the next large member."""
    inner = b"".join(member(b"%d.jpg" % n, bytes(9_000)) for n in range(3))
    data = b"".join(
        member(b"%02d.cls" % n, b"1") + member(b"%02d.jpg" % n, inner if n % 2 else bytes(9_000 + n)) for n in range(40)
    )
    lure = header(b"01.jpg", 9_000)
    data += b"".join(member(b"b%02d.jpg" % n, bytes(9_000)) + member(b"b%02d.txt" % n, lure) for n in range(40))
    path = tmp_path / "a.tar"
    path.write_bytes(data + bytes(1024))
    found = [str(path)] | tarsamples(suffixes={"cls", "txt"}) | list
    assert [s.get("cls", s.get("txt")) for s in found] == [b"1"] * 40 + [lure] * 40
