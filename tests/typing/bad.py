"""What mypy --strict and pyright strict both refuse: every line of `wrong`. `tests/test_typing.py` asks them.

Type checkers are not to look here otherwise (see pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from streamwds import (
    Batch,
    Context,
    DBCache,
    Member,
    Sample,
    Stage,
    Stream,
    associate,
    batched,
    bucket_batched,
    cache_samples,
    cache_shards,
    chain,
    decode,
    decompress,
    equalize,
    extract_keys,
    fraction,
    group_by_keys,
    handle_extension,
    info,
    interleave,
    join,
    log_keys,
    map,
    map_dict,
    map_tuple,
    mix,
    open_shards,
    pack,
    prefetch_shards,
    rename,
    rename_keys,
    repeat,
    resampled,
    round_robin,
    rsample,
    select,
    shuffle,
    shuffle_shards,
    slice,
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
    unbatched,
    unlisted,
    urls,
    with_epoch,
    write_to,
    xdecode,
    zip_,
)
from streamwds.codecs import jpeg
from streamwds.fluid import Dataset


def size(sample: Sample) -> int:
    return len(sample)


def add_noise(sample: Sample, rng: np.random.Generator) -> Sample:
    return {**sample, "x": rng.random()}


def double(x: int) -> int:
    return 2 * x


def stack(samples: list[Sample]) -> Batch:
    return Batch(n=len(samples))


def keys(samples: Iterable[Sample]) -> Iterator[str]:
    return (sample["__key__"] for sample in samples)


@stage
def evens(numbers: Iterable[int], *, of: int = 2) -> Iterator[int]:
    return (number for number in numbers if number % of == 0)


@stage
def every(numbers: Iterable[int], *, n: int) -> Iterator[int]:
    return iter(list(numbers)[::n])


def wrong() -> None:
    # ---- a stage that does not fit what the stream yields
    _ = urls("a") | decode("rgb")
    _ = urls("a") | split_by_worker | decode("rgb")
    _ = urls("a") | to_tuple("jpg")
    _ = urls("a") | tarsamples | tarsamples
    _ = urls("a") | tarsamples(eof="lenient") | tarsamples
    _ = urls("a") | tarfiles
    _ = urls("a") | group_by_keys
    _ = urls("a") | open_shards | tarsamples
    _ = urls("a") | prefetch_shards(2)
    _ = urls("a") | open_shards | prefetch_shards
    _ = urls("a") | open_shards | group_by_keys
    _ = urls("a") | tarsamples | open_shards
    _ = urls("a") | open_shards | tarfiles | decode()
    _ = urls("a") | map(size)
    _ = urls("a") | split_by_worker | map(size)
    _ = urls("a") | tarsamples | map(double)
    _ = urls("a") | shuffle(3) | take(3) | map(size)
    _ = urls("a") | evens
    _ = urls("a") | evens(of=3)
    _ = urls("a") | rename(x="y")
    _ = urls("a") | tarsamples | batched(2) | rename(x="y")
    _ = urls("a") | tarsamples | rename(x=3)
    _ = urls("a") | tarsamples | rename_keys("x")
    _ = urls("a") | tarsamples | extract_keys(3)
    _ = urls("a") | tarsamples | extract_keys("x") | rename(x="y")
    _ = urls("a") | tarsamples | map_tuple(len)
    _ = urls("a") | tarsamples | map_dict(x=3)
    _ = urls("a") | map_dict(x=len)
    _ = urls("a") | tarsamples | associate(3)
    _ = urls("a") | pack(9, "x")
    _ = urls("a") | tarsamples | pack("x", 9)
    _ = urls("a") | xdecode(png=len)
    _ = [1] | unlisted
    _ = urls("a") | open_shards | unlisted
    _ = urls("a") | info(n="3")
    _ = urls("a") | log_keys(3)
    # ---- batches
    _ = urls("a") | tarsamples | bucket_batched(3, max_items=2)
    _ = urls("a") | tarsamples | bucket_batched("x", max_items=2) | decode()
    _ = urls("a") | bucket_batched(len, max_items=2, collate=stack)
    _ = urls("a") | unbatched
    _ = urls("a") | tarsamples | unbatched
    _ = urls("a") | tarsamples | batched(2) | unbatched | unbatched
    _ = urls("a") | tarsamples | batched(32) | decode("rgb")
    _ = urls("a") | split_by_worker | tarsamples | batched(32) | decode("rgb")
    _ = urls("a") | tarsamples | batched(2) | shuffle(3) | decode()
    _ = urls("a") | tarsamples | batched(2) | to_tuple("jpg")
    _ = urls("a") | tarsamples | batched(2) | map(size)
    _ = urls("a") | tarsamples | batched(2) | batched(2) | decode("rgb")
    _ = urls("a") | batched(2, collate=stack)
    _ = urls("a") | tarsamples | batched(2, collate=stack) | map(size)
    _ = batched(2, collat=stack)
    _ = batched(2, collate=3)
    _ = batched(2, partial="no")
    _ = batched("2")
    _ = batched()
    # ---- any iterable at the left
    _ = ["a"] | decode("rgb")
    _ = "a" | decode("rgb")
    _ = "a" | split_by_worker | map(size)
    _ = [1] | tarsamples
    _ = [1] | unbatched
    _ = {"a": 1} | decode("rgb")
    _ = 3 | tarsamples
    _ = 3 | shuffle(3)
    _ = 3 | batched(3)
    _ = urls("a") | 3
    # ---- joins of stages, in any bracketing
    _ = tarsamples | tarsamples
    _ = tarsamples | unbatched
    _ = tarsamples | map(double)
    _ = tarsamples | batched(2) | decode("rgb")
    _ = tarsamples | to_tuple("jpg") | decode("rgb")
    _ = decode("rgb") | tarsamples
    _ = open_shards | group_by_keys
    _ = shuffle(3) | tarsamples | tarsamples
    _ = split_by_worker | decode("rgb") | tarsamples
    _ = "a" | (shuffle(3) | decode("rgb"))
    _ = urls("a") | (shuffle(3) | decode("rgb"))
    _ = urls("a") | (tarsamples | decode("rgb")) | tarsamples
    _ = urls("a") | tarsamples | (batched(2) | shuffle(3)) | decode()
    _ = urls("a") | (batched(2) | unbatched) | decode()
    _ = split_by_worker | 3
    _ = tarsamples | 3
    _ = batched(2) | 3
    # ---- functions: they can end a stream, not stand in a stage
    _ = urls("a") | tarsamples | sum
    _ = urls("a") | keys
    _ = tarsamples | keys
    # ---- stage makers without their call
    _ = urls("a") | tarsamples | decode
    _ = urls("a") | tarsamples | shuffle | batched(2)
    _ = tarsamples | batched
    # ---- options
    _ = tarsamples(handlr=None)
    _ = tarsamples(handler=3)
    _ = tarsamples(eof=True)
    _ = tarsamples(["a"], eof="lenient")
    _ = tarfiles(eof=3)
    _ = open_shards(eof="lenient")
    _ = unbatched(handler=3)
    _ = decode(3)
    _ = decode(b"rgb")
    _ = decode({"png": 3})
    _ = decode({3: len})
    _ = decode(["rgb"])
    _ = decode(len)
    _ = decode(size)
    _ = decode(shuffle)
    _ = decode(torch_audio())
    _ = decode("rgb", trust="pickle")
    _ = decode("rgb", trust={"pickles"})
    _ = decode("rgb", only=3)
    _ = decode("rgb", pre=decompress)
    _ = decode("rgb", max_bytes="1 GB")
    _ = decode("rgb", handlr=None)
    _ = handle_extension(["png"], len)
    _ = handle_extension("png", 3)
    _ = jpeg(quality="90")
    _ = jpeg(subsampling="4:1:1")
    _ = shuffle()
    _ = shuffle("3")
    _ = shuffle(3, 4)
    _ = take("3")
    _ = map()
    _ = map(3)
    _ = select(3)
    _ = to_tuple(1)
    _ = urls(1)
    _ = split_by_worker(n=3)
    _ = evens(off=3)
    _ = evens(of="3")
    _ = every(n="3")
    _ = repeat("2")
    _ = with_epoch()
    _ = with_epoch("2")
    _ = equalize()
    _ = slice()
    _ = slice(1, 2, 3, 4)
    _ = rsample("0.5")
    _ = resampled("1")
    _ = shuffle_shards(seed="1")
    _ = fraction(0)
    _ = split_samples(n=3)
    _ = map(size, rng=True)
    _ = map(add_noise)
    _ = map(add_noise, rng=False)
    _ = map(size, seed=3)
    _ = interleave(tarsamples)
    _ = interleave(decode, 3)
    _ = interleave(size, 3)
    # ---- several streams, and what becomes of them
    _ = mix(urls("a"), urls("b"))
    _ = mix([urls("a")], stop="never")
    _ = mix([urls("a")], weights="12")
    _ = chain([1, 2])
    _ = mix([urls("a"), urls("b") | tarsamples]) | take(3) | tarsamples
    _ = round_robin([urls("a")], weights=[1])
    _ = mix([urls("a"), urls("b")]) | decode()
    _ = chain([urls("a") | tarsamples]) | tarsamples
    _ = zip_([urls("a"), urls("b")]) | decode()
    _ = urls("a") | shuffle_shards | decode()
    _ = urls("a") | tarsamples | shuffle_shards
    _ = urls("a") | tarsamples | resampled(1)
    _ = urls("a") | fraction(0, 0.9)
    _ = urls("a") | map(add_noise, rng=True)
    _ = urls("a") | interleave(tarsamples, 8) | tarsamples
    _ = urls("a") | cache_shards("c")
    _ = urls("a") | tarsamples | cache_shards("c")
    _ = urls("a") | open_shards | cache_shards("c") | group_by_keys
    _ = cache_shards()
    _ = cache_shards("c", "1")
    _ = tarsamples(cache=3)
    _ = urls("a") | cache_samples
    _ = cache_samples("a.db")
    _ = cache_samples("a.db", "1")
    _ = urls("a") | tarsamples | cache_samples("a.db", 1) | tarsamples
    _ = DBCache("a.db")
    _ = urls("a") | tarsamples | interleave(tarsamples, 8)
    _ = urls("a") | join(urls("b") | tarsamples)
    _ = urls("a") | tarsamples | join(urls("b"))
    _ = urls("a") | repeat | tarsamples
    # ---- called with data that does not fit
    _ = tarsamples([1])
    _ = decode("rgb")(["a"])
    _ = decode("rgb")(urls("a"))
    _ = unbatched([1])
    _ = evens(["a"])
    _ = (tarsamples | decode())([1])
    # ---- annotations
    _a: Stage[str, str] = tarsamples
    _b: Stage[Sample, Sample] = tarsamples
    _c: Stage[str, Sample] = shuffle(3) | tarsamples | batched(3)
    _d: Stage[str, Sample] = tarsamples | batched(3)
    _e: Stage[str, list[Sample]] = tarsamples | batched(3)
    _f: Stream[str] = urls("a") | tarsamples
    _g: Stream[list[Sample]] = urls("a") | tarsamples | batched(3)
    _h: Stream[Sample] = urls("a") | tarsamples | batched(3)
    _i: Iterable[int] = urls("a") | tarsamples | batched(3)
    _j: Stream[Batch] = urls("a") | batched(3)
    _k: Stream[str] = urls("a") | batched(3)
    _l: Iterable[str] = urls("a") | tarsamples | batched(3) | unbatched
    _m: list[str] = urls("a") | tarsamples | list
    _n: Stream[Member] = urls("a") | tarsamples | shuffle(3)
    _o: dict[str, Any] = next(iter(urls("a") | tarsamples | batched(3)))
    # ---- a stream, a context
    urls("a").steps = ()
    tarsamples.steps = ()
    Context().epoch = 3
    _ = urls("a").within(epoch="3")
    _ = urls("a").at(3)
    _ = urls("a").tracked().at([])
    _ = to_torch(["a"])
    _ = to_torch(tarsamples, [1])
    _ = to_torch(urls("a"), ["a"])
    # ---- writing
    _ = urls("a") | tarsamples | tee
    _ = tee("a-%06d.tar", maxcount="3")
    _ = tee("a-%06d.tar", max_count=3)
    _ = tee(3)
    _ = urls("a") | write_to("a-%06d.tar")
    _ = urls("a") | tarsamples | batched(3) | write_to("a-%06d.tar")
    _ = urls("a") | tarsamples | write_to("a-%06d.tar", compress=3)
    _ = urls("a") | tarsamples | write_to("a-%06d.tar") | take(3)
    # ---- the fluid interface
    _ = Dataset(3)
    _ = Dataset("a.tar").shuffle("x")
    _ = Dataset("a.tar").map(len).decode("rgb")
    _ = Dataset("a.tar").to_tuple("cls").to_tuple("cls")
    _ = Dataset("a.tar").unbatched()
    _ = Dataset("a.tar").nothing()
    _ = Dataset("a.tar", splitter=tarsamples)
