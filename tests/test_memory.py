"""Memory that is used again, and columns of batches that are filled in it: never while somebody can see it."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import pickle
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import streamwds as wds
from streamwds.errors import SkippedWarning
from streamwds.memory import SMALL, Memory
from streamwds.stages import columns
from streamwds.stages.batching import collate
from streamwds.stages.columns import Gathering, Seat
from streamwds.stages.decoding import DecodeBatches
from streamwds.steps import Step
from streamwds.testing import check_resume, same_items

LARGE = (SMALL // 4 + 1,)


@pytest.fixture(autouse=True)
def _no_help_from_the_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def _every_column_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small columns are filled as they come, too."""
    monkeypatch.setattr(columns, "LARGE", 0)


def place(array: Any) -> int:
    """Where an array's memory is."""
    return int(array.__array_interface__["data"][0])


# ---- memory

HOLDERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "a slice": lambda array: array[3:5],
    "a slice of a slice": lambda array: array[3:9][1:2],
    "another shape": lambda array: array[: SMALL // 4].reshape(-1, 4).T,
    "other bytes": lambda array: array.view(np.uint8)[::2],
    "an element's view": lambda array: array[0:1].reshape(()),
    "a tensor": torch.from_numpy,
    "a tensor's array": lambda array: torch.from_numpy(array)[5:].numpy(),
    "a memoryview": lambda array: array.data,
    "an array of a memoryview": lambda array: np.asarray(array.data[4:8]),
    "a buffer": lambda array: np.frombuffer(array, np.uint8),
    "strides": lambda array: np.lib.stride_tricks.as_strided(array, (2, 2), (4, 4)),
    "dlpack": lambda array: torch.utils.dlpack.from_dlpack(array),
    "an iterator": lambda array: array.flat,
    "a field": lambda array: array.view([("a", "f4")])["a"],
    "a broadcast": lambda array: np.broadcast_to(array, (3, *array.shape)),
    "a masked array": lambda array: np.ma.masked_array(array),
    "a matrix": lambda array: array.view(np.matrix),
    "the base": lambda array: array.base,
}


@pytest.mark.parametrize("how", HOLDERS)
def test_memory_is_not_used_again_as_long_as_it_is_seen(how: str) -> None:
    memory = Memory(spare=4)
    array = memory.empty(LARGE, np.float32)
    where, holder = place(array), HOLDERS[how](array)
    del array
    others = [memory.empty(LARGE, np.float32) for _ in range(3)]
    assert where not in map(place, others)
    del others, holder
    assert where in map(place, [memory.empty(LARGE, np.float32) for _ in range(4)])


def test_an_array_is_as_any_other() -> None:
    array = Memory(spare=1).empty((3, 500, 100), ">f4")
    assert array.shape == (3, 500, 100)
    assert array.dtype == np.dtype(">f4")
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned
    array[:] = 5
    assert pickle.loads(pickle.dumps(array)).tolist() == array.tolist()


def test_small_arrays_are_left_to_the_system() -> None:
    assert Memory(spare=1).empty((SMALL,), np.uint8).flags.owndata
    assert Memory(spare=1).empty((0, 5), np.uint8).shape == (0, 5)
    assert Memory(spare=1).empty((), np.uint8).shape == ()


def test_only_so_much_is_kept() -> None:
    memory = Memory(spare=2)
    held = [memory.empty(LARGE, np.float32) for _ in range(9)]
    assert len(memory._held) == 9
    held.clear()
    assert (len(memory._held), len(memory._free)) == (0, 2)
    memory.empty((4 * LARGE[0],), np.float32)
    assert len(memory._free) == 2  # (and of those that are too small, the oldest is gone)


def test_a_much_smaller_array_gets_memory_of_its_own() -> None:
    memory = Memory(spare=2)
    where = place(memory.empty((9 * LARGE[0],), np.float32))
    assert place(memory.empty(LARGE, np.float32)) != where
    assert place(memory.empty((8 * LARGE[0],), np.float32)) == where


def test_all_goes_with_the_last_user() -> None:
    memory = Memory(spare=2)
    array = memory.empty(LARGE, np.float32)
    memory.empty(LARGE, np.float32)
    kept = [weakref.ref(block) for block in (*memory._free, *(block for _, block in memory._held.values()))]
    assert len(kept) == 2
    del memory
    array[:] = 3
    assert [block() is None for block in kept] == [True, False]
    del array
    assert kept[1]() is None


def test_threads_never_get_the_same_memory() -> None:
    memory, wrong = Memory(spare=3), list[int]()

    def work(number: int) -> None:
        draw = random.Random(number)
        held: list[NDArray[Any]] = []
        for _ in range(400):
            array = memory.empty((LARGE[0] + draw.randrange(9),), np.float32)
            array[::97] = number
            held.append(array)
            if len(held) > draw.randrange(5):
                held.pop(draw.randrange(len(held)))
            wrong.extend(number for array in held if (array[::97] != number).any())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- columns


def pictures(n: int, shape: tuple[int, ...] = (2, 3), dtype: str = "f4") -> list[wds.Sample]:
    return [{"__key__": f"{k}", "cls": k, "jpg": np.full(shape, k, dtype)} for k in range(n)]


def as_tensors(sample: wds.Sample) -> wds.Sample:
    return {**sample, "jpg": torch.from_numpy(sample["jpg"])}


@pytest.mark.usefixtures("_every_column_counts")
@pytest.mark.parametrize("form", ["dicts", "tuples", "tensors"])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 11, 12])
def test_batches_are_what_collate_makes(n: int, form: str) -> None:
    items: list[Any] = pictures(n)
    if form == "tuples":
        items = [(sample["__key__"], sample["jpg"], sample["jpg"][0]) for sample in items]
    elif form == "tensors":
        items = [as_tensors(sample) for sample in items]
    before = pickle.dumps(items)
    expected = [collate(items[k : k + 4]) for k in range(0, n, 4)]
    found = list(items | wds.batched(4))
    assert same_items(found, expected)
    assert pickle.dumps(items) == before
    assert check_resume(items | wds.batched(4) | wds.unbatched) == n
    assert list(map(type, found)) == list(map(type, expected))


ODD: dict[str, Any] = {
    "another shape": np.zeros((3, 3), "f4"),
    "another dtype": np.zeros((2, 3), "f8"),
    "another byte order": np.zeros((2, 3), ">f4"),
    "a tensor": torch.zeros((2, 3)),
    "text": "a picture",
    "none": None,
    "a number": 5,
    "a masked array": np.ma.masked_array(np.zeros((2, 3), "f4")),
    "an array of objects": np.full((2, 3), None),
}


@pytest.mark.usefixtures("_every_column_counts")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 3, 4, 6, 7])
@pytest.mark.parametrize("tensors", [False, True])
def test_one_that_does_not_fit_makes_what_collate_makes(odd: str, at: int, tensors: bool) -> None:
    items = [as_tensors(sample) if tensors else sample for sample in pictures(12)]
    items[at]["jpg"] = ODD[odd]
    found = list(items | wds.batched(4))
    assert same_items(found, [collate(items[k : k + 4]) for k in range(0, 12, 4)])


@pytest.mark.usefixtures("_every_column_counts")
def test_a_missing_field_is_the_same_error() -> None:
    items = pictures(12)
    del items[6]["jpg"]
    stream = items | wds.batched(4)
    with pytest.raises(wds.errors.CollateError, match="key '6', field 'jpg': the sample lacks it"):
        list(stream)


@pytest.mark.usefixtures("_every_column_counts")
@pytest.mark.parametrize("held", [1, 2, 5, 30])
def test_a_batch_stays_what_it_was_while_others_come(held: int) -> None:
    shape = (SMALL,)
    kept: list[tuple[int, Any]] = []
    for number, batch in enumerate(pictures(60, shape, "u1") | wds.batched(2)):
        kept.append((number, batch["jpg"][1:]))
        del batch
        kept = kept[-held:]
        assert all((row == 2 * k + 1).all() for k, row in kept)


def test_a_batch_of_all_there_is_takes_no_more_memory_than_that() -> None:
    items = pictures(3, (columns.LARGE,), "u1")
    assert same_items(list(items | wds.batched(1 << 50)), [collate(items)])


def test_the_memory_of_a_batch_that_is_gone_is_used_again() -> None:
    shape = (columns.LARGE,)
    places = [place(batch["jpg"]) for batch in pictures(20, shape, "u1") | wds.batched(2)]
    assert len(set(places[1:])) <= 3
    tensors = [as_tensors(sample) for sample in pictures(20, shape, "u1")]
    assert len({batch["jpg"].data_ptr() for batch in tensors | wds.batched(2)}) <= 4


# ---- pictures that are decoded into the columns


def seated(gathering: Gathering, shape: tuple[int, ...], fails: Callable[[int], bool], ahead: int) -> Iterator[Any]:
    """Items 0, 1, 2 … made at their seats, up to `ahead` before they are asked for, but for those that fail."""
    waiting: deque[tuple[Seat, int, NDArray[Any] | None]] = deque()
    for k in itertools.count():
        seat = gathering.seat()
        gathering.sit(seat)
        row = gathering.place(shape, np.uint8)
        if row is not None:
            assert gathering.place(shape, np.uint8) is None  # (once)
            row[:] = k
        waiting.append((seat, k, row))
        if len(waiting) > ahead:
            seat, number, row = waiting.popleft()
            if not fails(number):
                gathering.arrive(seat)
                yield {"jpg": np.full(shape, number, np.uint8) if row is None else row, "placed": row is not None}


@pytest.mark.parametrize("ahead", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("failing", [frozenset[int](), {4}, {3}, {5, 6}, {0, 1, 2}, {7, 9, 11, 30}])
def test_a_value_that_is_made_in_its_place_is_not_copied(failing: Set[int], ahead: int) -> None:
    """Where some fail, those that were made already move up, and those after them are made in their places again."""
    gathering, shape = Gathering(4), (columns.LARGE,)
    gathering.learn({"jpg": np.zeros((4, *shape), np.uint8)})
    assert gathering.place(shape, np.uint8) is None  # (nobody sits there)
    items = seated(gathering, shape, failing.__contains__, ahead)
    expected = (number for number in itertools.count() if number not in failing)
    for _ in range(12):
        gathered, wanted = gathering.gather(items), list(itertools.islice(expected, 4))
        column = gathering.columns["jpg"]
        assert [place(sample["jpg"]) for sample in gathered] == list(map(place, column))
        assert [(row == number).all() for row, number in zip(column, wanted, strict=True)] == [True] * 4
        gathering.learn({"jpg": column})
        if wanted[0] > max(failing, default=0) + ahead + 1 + len(failing):
            assert [sample["placed"] for sample in gathered] == [True] * 4


def jpeg(k: int, width: int = 8, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, 8), (k, 0, 255 - k)).save(stream, kind)
    return stream.getvalue()


def jpegs(n: int, what: str) -> list[wds.Sample]:
    """Samples with pictures, one of which at times is what the name says."""
    found: list[wds.Sample] = []
    for k in range(n):
        odd = k % 7 == 3
        sample: wds.Sample = {"__key__": f"{k}", "jpg": jpeg(k, kind="PNG" if odd and what == "no jpeg" else "JPEG")}
        if what == "two of the same":
            sample = {"__key__": f"{k}", "left.jpg": jpeg(k), "right.jpg": jpeg(k + 100)}
        elif what == "one compressed":
            sample = {"__key__": f"{k}", "jpg.gz": gzip.compress(jpeg(k + 100)), **sample}
        elif what == "one that varies first":
            sample = {"__key__": f"{k}", "a.jpg": jpeg(k + 100, 8 if k % 9 else 9), **sample}
        elif odd:
            sample["jpg"] = {"broken": jpeg(k)[:-9], "another size": jpeg(k, 9), "text": "no bytes"}.get(
                what, sample["jpg"]
            )
            if what == "broken after it":
                sample["cls"] = b"none"
            elif what == "a field more":
                sample["txt"] = b"?"
        if what == "broken after it":
            sample.setdefault("cls", b"5")
        found.append(sample)
    return found


WHATS = [
    "usual",
    "no jpeg",
    "broken",
    "broken after it",
    "another size",
    "text",
    "a field more",
    "two of the same",
    "one compressed",
    "one that varies first",
]


def check_joined(items: list[wds.Sample], spec: str, threads: int, between: wds.Stage[Any, Any], least: int) -> None:
    """Decoding into batches gives what decoding and then batching gives, with what stands between them."""
    decode = wds.decode(spec, handler=wds.ignore_and_continue, threads=threads) | between
    batched = wds.batched(4, handler=wds.ignore_and_continue)
    joined, before = items | decode | batched, items | decode
    apart = list(before) | batched
    assert type(as_one(joined.steps)) is DecodeBatches
    found = list(joined)
    assert same_items(found, list(apart))
    assert joined.skipped == before.skipped + apart.skipped
    assert len(found) >= least
    assert same_items([batch for batch, _ in joined.tracked()], found)
    assert check_resume(joined) == len(found)


@pytest.mark.usefixtures("_every_column_counts")
@pytest.mark.parametrize("spec", ["rgb8", "rgb", "torchrgb8", "torchl", "rgba", "pil"])
@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.filterwarnings(f"ignore::{SkippedWarning.__module__}.SkippedWarning")
def test_decoding_into_batches_is_decoding_and_batching(what: str, spec: str, threads: int) -> None:
    check_joined(jpegs(30, what), spec, threads, wds.identity, 4)


@pytest.mark.usefixtures("_every_column_counts")
@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("between", ["tuples", "tuples of two", "names", "names and tuples", "left out"])
@pytest.mark.filterwarnings(f"ignore::{SkippedWarning.__module__}.SkippedWarning")
def test_what_hands_values_on_may_stand_between(what: str, threads: int, between: str) -> None:
    items = jpegs(30, what)
    if between == "left out":  # (those without a number, which is found after they were decoded)
        items = [{**sample, "n": k} if k % 3 else sample for k, sample in enumerate(items)]
    stages: dict[str, wds.Stage[Any, Any]] = {
        "tuples": wds.to_tuple("jpg;left.jpg", "__key__"),
        "tuples of two": wds.to_tuple("jpg;left.jpg", "jpg;right.jpg"),
        "names": wds.rename_keys(("image", "*jpg"), must_match=False) if what == "usual" else wds.progress(),
        "names and tuples": wds.rename(image="jpg;left.jpg") | wds.to_tuple("__key__", "image"),
        "left out": wds.to_tuple("jpg;left.jpg", "n", handler=wds.ignore_and_continue) | wds.progress(),
    }
    check_joined(items, "rgb", threads, stages[between], 3)


def as_one(steps: Sequence[Step[Any, Any]]) -> Step[Any, Any] | None:
    """The step that does the work of all; None if there is none."""
    found: Step[Any, Any] | None = steps[0]
    for step in steps[1:]:
        found = found and found.joined(step)
    return found


def test_only_decode_and_what_hands_its_values_on_are_joined() -> None:
    stages: list[wds.Stage[Any, Any]] = [
        wds.decode() | wds.batched(4),
        wds.decode() | wds.to_tuple("jpg"),
        wds.decode("rgb") | wds.shuffle(9),
        wds.decode("rgb") | wds.map(dict),
        wds.decode("rgb") | wds.select(len),
        wds.decode("rgb") | wds.batched(4, collate=list),
        wds.unbatched | wds.decode("rgb"),
        wds.map(dict) | wds.batched(4),
        wds.to_tuple("jpg") | wds.batched(4),
    ]
    for stage in stages:
        assert as_one(stage.steps) is None


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_are_made_in_their_rows_whatever_hands_them_on(threads: int) -> None:
    """The memory of a batch that is gone is used again, so that nobody between holds what was given."""
    items = [{"__key__": f"{k}", "jpg": jpeg(k, 12_000)} for k in range(40)]
    stream = items | wds.decode("rgb", threads=threads) | wds.rename(image="jpg") | wds.to_tuple("image", "__key__")
    places = [place(batch[0]) for batch in stream | wds.batched(4)]
    assert len(places) == 10
    assert len(set(places)) <= 4


def test_your_own_collate_gets_the_items_themselves() -> None:
    items = pictures(8, (columns.LARGE,), "u1")
    batches = list(items | wds.batched(2, collate=list))
    assert [id(sample) for batch in batches for sample in batch] == list(map(id, items))
