"""What mypy --strict and pyright strict both infer: every assert_type is exact. `tests/test_typing.py` asks them.

The lines are here to be checked, never to run. What is told of one checker alone can't be had in the other.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np
from typing_extensions import assert_type

from streamwds import (
    Batch,
    CacheStream,
    ChunkedSampler,
    Context,
    Continue,
    DBCache,
    Gopen,
    Member,
    Position,
    Sample,
    Shard,
    ShardCache,
    ShardWriter,
    Stage,
    Stream,
    TarWriter,
    Written,
    associate,
    batched,
    bucket_batched,
    by_glob,
    by_table,
    cache_samples,
    cache_shards,
    chain,
    collate,
    compose,
    decode,
    decompress,
    equalize,
    everywhere,
    extract_keys,
    fraction,
    getfirst,
    group_by_keys,
    guess_shard,
    handle_extension,
    identity,
    info,
    interleave,
    join,
    log_keys,
    map,
    map_dict,
    map_tuple,
    mix,
    mock,
    non_empty,
    numpy_audio,
    open_shards,
    pack,
    pipeline,
    prefetch_shards,
    rename,
    rename_keys,
    repeat,
    reraise_exception,
    resampled,
    round_robin,
    rsample,
    select,
    shard_uuid,
    shuffle,
    shuffle_shards,
    skip,
    skip_at_most,
    slice,
    split_by_node,
    split_by_worker,
    split_samples,
    stage,
    take,
    tarfiles,
    tarsamples,
    tee,
    to_torch,
    to_tuple,
    torch_audio,
    torch_video,
    transform_with,
    unbatched,
    unlisted,
    urls,
    urls_from,
    warn_and_continue,
    with_epoch,
    with_length,
    write_to,
    xdecode,
    zip_,
)
from streamwds.codecs import jpeg, png, webp
from streamwds.fluid import Dataset
from streamwds.stage import Batching, Into, Ready, Same, Unbatching
from streamwds.torch import TorchStream

T = TypeVar("T")


def size(sample: Sample) -> int:
    return len(sample)


def same(x: T) -> T:
    return x


def add(x: int, y: int) -> int:
    return x + y


def streams() -> None:
    assert_type(
        urls("train-{000000..000146}.tar") | split_by_worker | tarsamples | decode("rgb") | batched(32), Stream[Batch]
    )
    assert_type(urls("a", Path("b"), ["c", Path("d")]), Stream[str])
    assert_type(urls("a") | split_by_node | split_by_worker | everywhere | identity, Stream[str])
    assert_type(urls("a") | tarsamples, Stream[Sample])
    assert_type(urls("a") | tarsamples(handler=warn_and_continue) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples(eof="lenient", handler=skip_at_most(3)), Stream[Sample])
    assert_type(urls("a") | open_shards, Stream[Shard])
    assert_type(urls("a") | open_shards | tarfiles, Stream[Member])
    assert_type(urls_from("a.txt") | open_shards(opener=Gopen()) | prefetch_shards(4) | tarfiles, Stream[Member])
    assert_type(urls("a") | tarsamples(opener=Gopen(timeout=5), prefetch=4), Stream[Sample])
    assert_type(urls("a") | open_shards | tarfiles | group_by_keys, Stream[Sample])
    assert_type(urls("a") | open_shards(handler=reraise_exception) | tarfiles(eof="strict"), Stream[Member])
    assert_type(urls("a") | tarsamples | shuffle(3) | take(5) | to_tuple("jpg", "cls"), Stream[tuple[Any, ...]])
    assert_type(urls("a") | tarsamples | shuffle(3, initial=2, seed=None), Stream[Sample])
    assert_type(urls("a") | tarsamples | map(size), Stream[int])
    assert_type(urls("a") | map(len), Stream[int])
    assert_type(urls("a") | map(str.upper), Stream[str])
    assert_type(urls("a") | map(same), Stream[str])
    assert_type(urls("a") | map(sorted), Stream[list[str]])
    assert_type(urls("a") | map(list) | map(tuple), Stream[tuple[str, ...]])
    assert_type(tarsamples | map(same), Stage[str, Sample])
    assert_type(urls("a") | map(len) | map(float), Stream[float])
    assert_type(urls("a") | map(len) | map(functools.partial(add, y=1)), Stream[int])
    assert_type(urls("a") | tarsamples | map(operator.itemgetter("jpg")), Stream[Any])


def jitter(sample: Sample, rng: np.random.Generator) -> Sample:
    return {**sample, "x": rng.random()}


def noisy(key: str, data: bytes, rng: np.random.Generator) -> bytes | None:
    return data + rng.bytes(3) if key == ".raw" else None


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[int(rng.integers(len(data))) :]


def epochs_and_readers() -> None:
    assert_type(urls("a") | shuffle_shards | split_by_node | repeat() | tarsamples | repeat(2), Stream[Sample])
    assert_type(urls("a") | shuffle_shards(seed=3) | resampled(1), Stream[str])
    assert_type(urls("a") | tarsamples | split_samples | equalize(9), Stream[Sample])
    assert_type(urls("a") | tarsamples | with_epoch(5) | with_length(7), Stream[Sample])
    assert_type(len(urls("a") | with_length(7)), int)
    assert_type(range(9) | skip(2) | slice(3) | slice(1, None) | slice(1, 5, 2) | rsample(0.5), Stream[int])
    assert_type(urls("a") | tarsamples | fraction(0, 0.9) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | map(jitter, rng=True, seed=None) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | map(lambda s, rng: rng.random(), rng=True), Stream[float])
    assert_type(urls("a") | tarsamples | decode(noisy, {"dna": cut}, "rgb", rng=True, seed=None), Stream[Sample])
    assert_type(urls("a") | interleave(tarsamples, 8) | shuffle(9), Stream[Sample])
    assert_type(urls("a") | interleave(tarsamples | decode(), 8) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | join(urls("b") | tarsamples) | to_tuple("jpg"), Stream[tuple[Any, ...]])
    assert_type(shuffle_shards | tarsamples, Stage[str, Sample])
    assert_type(repeat(2) | equalize(3), Same)
    assert_type(interleave(tarsamples, 8), Stage[str, Sample])
    assert_type(shuffle_shards(["a"]), Stream[str])


def several_streams() -> None:
    samples = urls("a") | tarsamples
    assert_type(mix([samples, samples | decode()], weights=[1, 2.5], seed=None, stop="first"), Stream[Sample])
    assert_type(mix([samples, samples]) | batched(2), Stream[Batch])
    assert_type(mix([range(3) | shuffle(2), range(4)]) | batched(2), Stream[list[int]])
    assert_type(round_robin([[1, 2], range(3) | take(2)]), Stream[int])
    assert_type(round_robin([range(3), range(4)]) | map(float), Stream[float])
    assert_type(chain([urls("a"), urls("b")]) | tarsamples, Stream[Sample])
    assert_type(zip_([samples, urls("a"), range(3)], stop="last", fill=0), Stream[tuple[Any, ...]])
    assert_type(chain([mix([samples, samples]), samples]) | repeat() | list, list[Sample])


class Photo(TypedDict):
    jpg: bytes
    cls: int


class Pair(NamedTuple):
    jpg: bytes
    cls: int


def photo(sample: Sample) -> Photo:
    return {"jpg": sample["jpg"], "cls": sample["cls"]}


def pair(sample: Sample) -> Pair:
    return Pair(sample["jpg"], sample["cls"])


def batches() -> None:
    assert_type(urls("a") | tarsamples | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | batched(2) | unbatched, Stream[Sample])
    assert_type(urls("a") | tarsamples | to_tuple("jpg") | batched(2), Stream[tuple[Any, ...]])
    assert_type(urls("a") | tarsamples | to_tuple("jpg") | batched(2) | unbatched, Stream[tuple[Any, ...]])
    assert_type(urls("a") | batched(2), Stream[list[str]])
    assert_type(urls("a") | batched(2) | batched(3), Stream[list[list[str]]])
    assert_type(urls("a") | batched(2) | batched(3) | unbatched | unbatched, Stream[str])
    assert_type(urls("a") | tarsamples | map(size) | batched(3), Stream[list[int]])
    assert_type(urls("a") | tarsamples | map(photo) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | map(pair) | batched(2), Stream[tuple[Any, ...]])
    assert_type(urls("a") | tarsamples | batched(2) | batched(3), Stream[Batch])
    assert_type(batched(4), Batching)
    assert_type(batched(4, partial=False, handler=warn_and_continue), Batching)
    assert_type(Batch({"jpg": [b""]}, cls=[1])["jpg"], Any)


def count(samples: Sequence[Sample]) -> int:
    return len(samples)


def stack(samples: list[Sample]) -> dict[str, list[Any]]:
    return {"jpg": [sample["jpg"] for sample in samples]}


def in_a_row(names: list[str]) -> str:
    return ",".join(names)


def batches_of_ones_own() -> None:
    assert_type(batched(4, collate=stack), Stage[Sample, dict[str, list[Any]]])
    assert_type(urls("a") | tarsamples | batched(4, collate=stack), Stream[dict[str, list[Any]]])
    assert_type(urls("a") | tarsamples | batched(4, collate=count, partial=False), Stream[int])
    assert_type(tarsamples | batched(4, collate=count), Stage[str, int])
    assert_type(urls("a") | batched(4, collate=in_a_row), Stream[str])
    assert_type(urls("a") | tarsamples | batched(4, collate=lambda b: len(b)), Stream[int])
    assert_type(urls("a") | tarsamples | batched(4, collate=lambda b: {"n": len(b)}), Stream[dict[str, int]])
    assert_type(urls("a") | tarsamples | batched(4, collate=lambda b: [s["cls"] for s in b]), Stream[list[Any]])
    assert_type(urls("a") | tarsamples | batched(4, collate=collate), Stream[Any])
    assert_type(range(9) | batched(4, collate=list), Stream[list[Any]])
    assert_type(tarsamples | batched(4, collate=list), Stage[str, list[Any]])
    assert_type(range(9) | batched(4, collate=np.array) | map(len), Stream[int])


def lambdas() -> None:
    # their parameter is the item's type in mypy, and Any in pyright; these results agree
    assert_type(urls("a") | tarsamples | map(lambda s: s["__key__"]), Stream[Any])
    assert_type(urls("a") | tarsamples | map(lambda s: (s["jpg"], int(s["cls"]))), Stream[tuple[Any, int]])
    assert_type(urls("a") | map(lambda u: len(u)) | sum, int)
    assert_type(["a"] | map(lambda u: len(u)), Stream[int])
    assert_type(urls("a") | tarsamples | select(lambda s: s["cls"] > 3), Stream[Sample])
    assert_type(urls("a") | tarsamples | select(lambda s: "jpg" in s) | batched(2), Stream[Batch])
    assert_type(tarsamples | select(lambda s: "jpg" in s) | batched(2), Stage[str, Batch])
    assert_type(tarsamples | map(lambda s: len(s)) | batched(2), Stage[str, list[int]])
    assert_type(urls("a") | tarsamples | map(lambda s: {**s, "cls": int(s["cls"])}) | decode(), Stream[Sample])
    assert_type(urls("a") | tarsamples | map(lambda s: {"jpg": s["jpg"]}) | batched(2), Stream[Batch])
    assert_type(urls("a") | tarsamples | map(lambda s: sorted(s) if s else None) | map(str), Stream[str])
    assert_type(urls("a") | tarsamples | map(lambda s: tuple(s[k] for k in ("jpg", "cls"))), Stream[tuple[Any, ...]])
    assert_type(shuffle(3) | map(lambda s: s["k"]), Stage[Any, Any])
    assert_type(urls("a") | (shuffle(3) | map(lambda u: len(u))), Stream[int])
    _annotated: Stream[tuple[str, int]] = urls("a") | map(lambda u: (u, len(u)))
    later = map(lambda s: s["k"])
    assert_type(urls("a") | tarsamples | later, Stream[Any])


def any_iterable_at_the_left() -> None:
    assert_type(["a"] | tarsamples, Stream[Sample])
    assert_type("a.tar" | tarsamples, Stream[Sample])
    assert_type("a.tar" | tarsamples(handler=reraise_exception), Stream[Sample])
    assert_type("a.tar" | split_by_worker | tarsamples, Stream[Sample])
    assert_type("a" | (tarsamples | decode("rgb") | batched(4)), Stream[Batch])
    assert_type(["a"] | split_by_worker, Stream[str])
    assert_type(["a"] | batched(3), Stream[list[str]])
    assert_type([["a"]] | unbatched, Stream[str])
    assert_type(range(9) | batched(3), Stream[list[int]])
    assert_type(range(9) | (shuffle(3) | batched(3)), Stream[list[int]])
    assert_type(range(9) | map(float), Stream[float])
    assert_type([{"__key__": "a", "cls": 1}] | batched(3), Stream[Batch])
    assert_type([("a", 1)] | batched(3), Stream[tuple[Any, ...]])
    assert_type({"a"} | tarsamples, Stream[Sample])
    assert_type({"a": 1} | tarsamples, Stream[Sample])
    assert_type((x for x in "ab") | tarsamples, Stream[Sample])


def called() -> None:
    assert_type(tarsamples(["a"]), Stream[Sample])
    assert_type(tarsamples(handler=reraise_exception), Stage[str, Sample])
    assert_type(tarsamples(handler=reraise_exception)(["a"]), Stream[Sample])
    assert_type(next(iter(tarsamples(["a"]))), Sample)
    assert_type(split_by_worker(["a"]), Stream[str])
    assert_type(decode("rgb")([{"a": 1}]), Stream[Sample])
    assert_type(batched(3)(range(9)), Stream[list[int]])
    assert_type(batched(3)([{"__key__": "a", "cls": 1}]), Stream[Batch])
    assert_type(unbatched([[1]]), Stream[int])
    assert_type(unbatched(urls("a") | tarsamples | batched(2)), Stream[Sample])
    assert_type(unbatched(handler=reraise_exception), Unbatching)
    assert_type(unbatched(handler=reraise_exception)([[1]]), Stream[int])
    assert_type((tarsamples | decode("rgb"))(["a"]), Stream[Sample])


def joins() -> None:
    assert_type(tarsamples | decode("rgb") | batched(4), Stage[str, Batch])
    assert_type(tarsamples | (decode("rgb") | batched(4)), Stage[str, Batch])
    assert_type(tarsamples | split_by_worker, Stage[str, Sample])
    assert_type(tarsamples | batched(4) | unbatched, Stage[str, Sample])
    assert_type(tarsamples | map(size), Stage[str, int])
    assert_type(tarsamples | to_tuple("jpg") | batched(4) | unbatched, Stage[str, tuple[Any, ...]])
    assert_type(open_shards | tarfiles | group_by_keys, Stage[str, Sample])
    assert_type(open_shards | (tarfiles | group_by_keys), Stage[str, Sample])


def joins_that_begin_with_an_open_kind() -> None:
    assert_type(shuffle(3) | tarsamples, Stage[str, Sample])
    assert_type(shuffle(3) | map(size), Stage[Sample, int])
    assert_type(shuffle(3) | split_by_worker, Same)
    assert_type(shuffle(3) | batched(4), Batching)
    assert_type(shuffle(3) | unbatched | take(3), Unbatching)
    assert_type(batched(4) | shuffle(3), Batching)
    assert_type(batched(4) | unbatched, Same)
    assert_type(split_by_worker | tarsamples | batched(4), Stage[str, Batch])
    assert_type(urls("a") | (shuffle(3) | batched(4)), Stream[list[str]])
    assert_type(urls("a") | tarsamples | (shuffle(3) | batched(4)), Stream[Batch])
    assert_type(urls("a") | tarsamples | (batched(4) | shuffle(3) | unbatched), Stream[Sample])
    assert_type(tarsamples | (shuffle(3) | batched(4)), Stage[str, Batch])
    assert_type(tarsamples | (batched(4) | (shuffle(3) | unbatched)), Stage[str, Sample])
    # what comes in is not known here, so neither is all of what comes out
    assert_type(batched(4) | map(len), Stage[Any, int])
    assert_type(batched(4) | batched(4), Stage[Any, Any])
    assert_type(unbatched | decode("rgb"), Stage[Any, Sample])
    assert_type(unbatched | batched(4), Stage[Any, Any])


@stage
def evens(numbers: Iterable[int], *, of: int = 2) -> Iterator[int]:
    for number in numbers:
        if number % of == 0:
            yield number


@stage(buffers=True)
def pairs(samples: Iterable[Sample], *, key: str) -> Iterator[tuple[Sample, Sample]]:
    before: Sample = {}
    for sample in samples:
        if key in before:
            yield before, sample
        before = sample


def stages_of_ones_own() -> None:
    assert_type(range(9) | evens, Stream[int])
    assert_type(range(9) | evens(of=3) | evens, Stream[int])
    assert_type(evens([1]), Stream[int])
    assert_type(evens(of=3), Stage[int, int])
    assert_type(evens(of=3)([1]), Stream[int])
    assert_type(evens | batched(2), Stage[int, list[int]])
    assert_type(urls("a") | tarsamples | pairs(key="jpg"), Stream[tuple[Sample, Sample]])
    assert_type(tarsamples | pairs(key="jpg") | batched(2), Stage[str, tuple[Any, ...]])
    _ready: Ready[str, Sample, ...] = tarsamples


class Numbered(Stage[Any, tuple[int, Any]]):
    """T -> (int, T): a kind of one's own."""

    def __call__(self, xs: Iterable[T], /) -> Stream[tuple[int, T]]:
        return super().__call__(xs)

    def __ror__(self, xs: Iterable[T], /) -> Stream[tuple[int, T]]:
        return super().__ror__(xs)


def kinds_of_ones_own() -> None:
    assert_type(urls("a") | tarsamples | Numbered(), Stream[tuple[int, Sample]])
    assert_type(["a"] | Numbered(), Stream[tuple[int, str]])
    assert_type(tarsamples | Numbered(), Stage[str, tuple[int, Sample]])
    assert_type(tarsamples | Numbered() | batched(2), Stage[str, tuple[Any, ...]])
    assert_type(urls("a") | (identity | Numbered()) | map(str), Stream[str])


class Count:
    def __init__(self, items: Iterable[object]) -> None: ...


def total(sizes: Iterable[float]) -> float:
    return sum(sizes)


def functions_end_a_pipe() -> None:
    assert_type(urls("a") | tarsamples | list, list[Sample])
    assert_type(urls("a") | tarsamples | batched(2) | list, list[Batch])
    assert_type(urls("a") | set, set[str])
    assert_type(urls("a") | frozenset, frozenset[str])
    assert_type(urls("a") | tuple, tuple[str, ...])
    assert_type(urls("a") | sorted, list[str])
    assert_type(urls("a") | ",".join, str)
    assert_type(urls("a") | map(len) | sum, int)
    assert_type(urls("a") | map(len) | max, int)
    assert_type(urls("a") | map(len) | total, float)
    assert_type(urls("a") | Count, Count)


def a_streams_methods() -> None:
    stream = urls("a") | split_by_worker | tarsamples | decode("rgb") | batched(32)
    assert_type(stream, Stream[Batch])
    assert_type(stream.tracked(), Iterator[tuple[Batch, Position]])
    for batch, position in stream.tracked():
        assert_type(batch, Batch)
        assert_type(position, Position)
        assert_type(stream.at(position), Stream[Batch])
        assert_type(stream.at(position, force=True) | list, list[Batch])
    assert_type(stream.within(worker=1, workers=4, epoch=3), Stream[Batch])
    assert_type(stream.within(worker=1).at([]).tracked(), Iterator[tuple[Batch, Position]])
    assert_type(iter(stream), Iterator[Batch])
    assert_type([batch["cls"] for batch in stream], list[Any])
    for sample in urls("a") | tarsamples:
        assert_type(sample, Sample)
        assert_type(sample["cls"], Any)
    for images, labels in urls("a") | tarsamples | to_tuple("jpg", "cls") | batched(8):
        assert_type(images, Any)
        assert_type(labels, Any)
    assert_type(Context(epoch=3).epoch, int)


def torch() -> None:
    stream = urls("a") | tarsamples | batched(2)
    assert_type(to_torch(stream), TorchStream[Batch])
    assert_type(to_torch(stream).stream, Stream[Batch])
    assert_type(next(iter(to_torch(stream))), Batch)
    assert_type(to_torch(tarsamples | batched(2), ["a"]), TorchStream[Batch])


def writing() -> None:
    assert_type(urls("a") | tarsamples | tee("a-%06d.tar", maxcount=3, mtime=0) | batched(2), Stream[Batch])
    assert_type(tee("a-{rank}-{:06d}.tar", handler=warn_and_continue), Same)
    assert_type(tarsamples | tee(lambda n: f"{n}.tar", compress=("zst", 9)), Stage[str, Sample])
    assert_type(urls("a") | tarsamples | decode() | write_to("a-%06d.tar", resume=True, post=print), Written)
    assert_type([{"__key__": "1", "cls": 7}] | write_to("a-%06d.tar", encoder={"cls": bytes}), Written)
    assert_type((urls("a") | tarsamples | write_to("a-%06d.tar")).samples, int)
    with ShardWriter("a-%06d.tar", 100, 1e6, start_shard=3, user="me", keep_meta=True) as shards:
        assert_type(shards.write({"__key__": "1", "txt": ""}), int)
    with TarWriter("a.tar", "me", "us", 0o600, "gz", False, mtime=0.0, fsync=True) as writer:
        assert_type(writer.dwrite("1", txt=b""), int)


# ---- decoders


def parse(data: bytes) -> list[str]:
    return data.decode().split()


def by_key(key: str, data: bytes) -> object | None:
    return Continue(key[:-4], data) if key.endswith(".enc") else None


class Parser:
    def __call__(self, key: str, data: bytes) -> float | None: ...


def decoders() -> None:
    assert_type(decode(), Stage[Sample, Sample])
    assert_type(decode(None), Stage[Sample, Sample])
    assert_type(decode("rgb", by_key, {"xml": parse}), Stage[Sample, Sample])
    assert_type(decode({"xml": parse, "n": len, "json": json.loads, "x": lambda data: data}), Stage[Sample, Sample])
    assert_type(decode(handle_extension("seg.png mask.png", parse), "torchrgb"), Stage[Sample, Sample])
    assert_type(decode(Parser(), lambda key, data: None, torch_audio, torch_video), Stage[Sample, Sample])
    assert_type(decode(numpy_audio, pre=[by_key, decompress], post=(by_table, Parser())), Stage[Sample, Sample])
    assert_type(decode("rgb", only={"jpg"}, partial=True, trust={"pickle"}), Stage[Sample, Sample])
    assert_type(decode("rgb", only=["jpg"], trust=["torch", "pickle"]), Stage[Sample, Sample])
    assert_type(decode("rgb", max_bytes=1 << 30, max_pixels=None), Stage[Sample, Sample])
    assert_type(urls("a") | tarsamples | decode("rgb", {"xml": parse}) | batched(2), Stream[Batch])
    _own: dict[str, Callable[[bytes], int]] = {"n": len}
    assert_type(decode(_own), Stage[Sample, Sample])
    assert_type(jpeg(quality=90)(np.zeros((2, 2))), bytes)
    TarWriter("a.tar", encoder={"jpg": jpeg(), "png": png(compress_level=1), "webp": webp(80)})


# ---- variables, parameters, choices


def load(url: str, last: Stage[Sample, T]) -> Stream[T]:
    return urls(url) | tarsamples | last


def load_any(url: str, last: Into[Sample, Stream[T]]) -> Stage[str, T]:
    return tarsamples | decode(url) | last


def in_lists(items: Iterable[T]) -> Stream[list[T]]:
    return items | identity | batched(2)


def mixed(first: Stage[str, T], keep: Callable[[T], bool]) -> Stage[str, T]:
    return first | select(keep) | shuffle(3)


def in_lists_of(first: Stage[str, T]) -> Stage[str, list[T]]:
    return first | batched(2)


def out_of_lists(first: Stage[str, list[T]]) -> Stage[str, T]:
    return first | unbatched


def twice(step: Stage[T, T]) -> Stage[T, T]:
    return identity | step | (shuffle(3) | step)


def train(big: bool) -> Stream[Batch]:
    return urls("a") | tarsamples | (shuffle(9) if big else take(5)) | batched(2)


def through(stages: list[Stage[Sample, Sample]]) -> Stream[Sample]:
    stream = urls("a") | tarsamples
    for step in stages:
        stream = stream | step
    return stream


def annotated() -> None:
    assert_type(load("a", map(size)), Stream[int])
    assert_type(load("a", shuffle(3) | map(size)), Stream[int])
    assert_type(load_any("a", map(size)), Stage[str, int])
    assert_type(load_any("a", shuffle(3)), Stage[str, Sample])
    _any: Stage[str, Any] = load_any("a", batched(3))
    assert_type(in_lists([1]), Stream[list[int]])
    assert_type(mixed(tarsamples, lambda s: "jpg" in s), Stage[str, Sample])
    assert_type(in_lists_of(open_shards), Stage[str, list[Shard]])
    assert_type(out_of_lists(open_shards | batched(2)), Stage[str, Shard])
    assert_type(twice(decode("rgb")), Stage[Sample, Sample])
    assert_type(through([decode("rgb"), shuffle(3), identity]), Stream[Sample])
    _augment: Stage[Sample, Sample] = decode("rgb") | shuffle(3)
    _wider: Stage[str, object] = tarsamples
    _narrower: Stage[bool, float] = map(float)
    _lengths: Stage[Any, int] = batched(2) | map(len)
    _collated: Stage[Sample, Batch] = decode() | batched(2)


class Base: ...


class Sub(Base): ...


def on_base(x: Base) -> str:
    return ""


def subclasses_and_unions(subs: list[Sub], either: list[int | str], bools: Sequence[bool]) -> None:
    assert_type(subs | map(on_base), Stream[str])
    assert_type(subs | shuffle(3) | batched(2), Stream[list[Sub]])
    assert_type(either | batched(2) | unbatched, Stream[int | str])
    assert_type(either | map(str), Stream[str])
    assert_type(bools | map(float), Stream[float])


def data_without_a_type(untyped: Stream[Any], anything: list[Any], stages: Stage[Any, Any]) -> None:
    assert_type(untyped | shuffle(3) | list, list[Any])
    assert_type(untyped | tarsamples, Stream[Sample])
    assert_type(untyped | batched(3), Stream[Any])
    assert_type(untyped | batched(3) | batched(3), Stream[Any])
    assert_type(untyped | unbatched, Stream[Any])
    assert_type(untyped | map(size), Stream[int])
    assert_type(untyped | map(lambda x: x), Stream[Any])
    assert_type(untyped | map(size) | batched(2), Stream[list[int]])
    assert_type(untyped | stages | batched(2), Stream[Any])
    assert_type(anything | batched(2), Stream[Any])
    assert_type(anything | tarsamples | batched(2), Stream[Batch])
    assert_type([] | batched(3), Stream[Any])
    assert_type(batched(3)(untyped), Stream[Any])
    assert_type(unbatched(untyped), Stream[Any])
    assert_type(tarsamples | stages, Stage[str, Any])
    assert_type(tarsamples | stages | batched(2), Stage[str, Any])
    assert_type(stages | batched(2) | unbatched, Stage[Any, Any])
    assert_type(urls("a") | tarsamples | map(lambda s: s["jpg"]) | batched(2), Stream[Any])
    assert_type(tarsamples | map(lambda s: s["jpg"]) | batched(2) | unbatched, Stage[str, Any])


def caches(numbers: Stream[int]) -> None:
    assert_type(urls("a") | open_shards | cache_shards("c", 1e12) | tarfiles, Stream[Member])
    assert_type(cache_shards(Path("c"), cache_name=shard_uuid, verbose=True, wait=2), Stage[Shard, Shard])
    assert_type(urls("a") | tarsamples(cache="c"), Stream[Sample])
    assert_type(urls("a") | tarsamples(cache=Path("c")) | batched(2), Stream[Batch])
    assert_type(tarsamples(cache=ShardCache("c", 1e12, guess_shard)), Stage[str, Sample])
    assert_type(urls("a") | tarsamples | decode() | cache_samples("a.db", 100) | shuffle(9), Stream[Sample])
    assert_type(numbers | cache_samples(Path("a.db"), 100), Stream[int])
    assert_type(cache_samples("a.db", size=100), Same)
    assert_type(batched(2) | cache_samples("a.db", 100), Batching)
    assert_type(DBCache("a.db", 100, numbers), DBCache[int])
    assert_type(list(DBCache("a.db", 100)(numbers).dbiter()), list[int])
    assert_type(DBCache("a.db", 100), DBCache[Any])
    with open("a", "rb") as file, CacheStream("b", file) as stream:
        assert_type(stream, CacheStream)


def more_on_samples() -> None:
    samples = urls("a") | tarsamples
    assert_type(samples | rename(image="jpg;png", keep=False), Stream[Sample])
    assert_type(samples | rename({"seg.png": "mask"}, label="cls"), Stream[Sample])
    assert_type(samples | rename_keys(("image", "*.jpg"), label="cls", must_match=False), Stream[Sample])
    assert_type(samples | extract_keys("*.jpg;*.png", "*.cls", ignore_missing=True), Stream[tuple[Any, ...]])
    assert_type(samples | associate({"a": {"cls": 1}}) | associate(labels, on="cls"), Stream[Sample])
    assert_type(samples | map_dict(jpg=len, cls=str) | map_dict({"seg.png": len}), Stream[Sample])
    assert_type(samples | to_tuple("jpg", missing_is_error=False) | map_tuple(None, str), Stream[tuple[Any, ...]])
    assert_type(samples | xdecode(("*.raw", bytes.split), jpg=False, must_decode=False), Stream[Sample])
    assert_type(samples | decode(by_glob(("left.*", len))), Stream[Sample])
    assert_type(samples | info("{__key__}", every=100, to=print) | log_keys("a.log") | non_empty, Stream[Sample])
    assert_type(samples | pack(2048, "tokens", "labels", pad={"labels": -100}), Stream[Sample])
    assert_type(samples | bucket_batched("tokens", max_tokens=4096, pad=0), Stream[Batch])
    assert_type(samples | bucket_batched(size, max_items=8, bounds=[3, 5]) | unbatched, Stream[Sample])
    assert_type(samples | bucket_batched(size, max_items=8, collate=list), Stream[list[Any]])
    assert_type(samples | to_tuple("x") | bucket_batched(len, max_items=8), Stream[tuple[Any, ...]])
    assert_type(urls("a") | bucket_batched(len, max_items=8), Stream[list[str]])
    assert_type(tarsamples | rename(x="y") | bucket_batched("x", max_items=8), Stage[str, Batch])
    assert_type([[1], [2, 3]] | unlisted, Stream[int])
    assert_type([("a", "b")] | unlisted(handler=warn_and_continue), Stream[str])
    assert_type(urls("a") | batched(3) | unlisted | take(2), Stream[str])
    assert_type(mock("x", 3) | shuffle(2), Stream[str])
    assert_type(mock(functools.partial(add, y=1), 3) | batched(2), Stream[list[int]])
    assert_type(compose(tarsamples, decode()), Stage[Any, Any])
    assert_type(pipeline("a", tarsamples, decode()), Stream[Any])
    assert_type(list(ChunkedSampler(range(9), chunk=2)), list[int])
    assert_type(getfirst({"a": 1}, "b;a"), Any)
    assert_type(transform_with((1, 2), [None, str]), tuple[Any, ...])


def labels(key: str) -> dict[str, int] | None:
    return {"cls": len(key)}


def fluid_interface() -> None:
    dataset = Dataset("a.tar", splitter=split_by_node | split_by_worker)
    assert_type(dataset, Dataset[Sample])
    assert_type(dataset.shuffle(100, initial=10).decode("rgb"), Dataset[Sample])
    assert_type(dataset.decode("rgb").to_tuple("png;jpg", "cls"), Dataset[tuple[Any, ...]])
    assert_type(dataset.decode("rgb").to_tuple("png;jpg", "cls").batched(16), Dataset[tuple[Any, ...]])
    assert_type(dataset.batched(16), Dataset[Batch])
    assert_type(dataset.batched(16).unbatched(), Dataset[Sample])
    assert_type(dataset.map(len), Dataset[int])
    assert_type(dataset.map(len).batched(3), Dataset[list[int]])
    assert_type(dataset.map(len).batched(3).unbatched(), Dataset[int])
    assert_type(dataset.map(len).batched(3, collate=sum), Dataset[int])
    assert_type(dataset.take(3).slice(1, None).select(bool).rsample(0.5), Dataset[Sample])
    assert_type(Dataset.of(range(4)).repeat().resized(4), Dataset[int])
    assert_type(dataset.rename(x="y").associate(labels).map_dict(x=len).pack(9, "x"), Dataset[Sample])
    assert_type(dataset.info(n=1).log_keys("a.log").extract_keys("*.x").map_tuple(str), Dataset[tuple[Any, ...]])
    assert_type(dataset.batched(3, collate=list).unlisted(), Dataset[Sample])
    assert_type(dataset.bucket_batched("x", max_items=3, collate=len), Dataset[int])
    assert_type(next(iter(dataset)), Sample)
