"""Random data, random shards and random pipelines over every built-in stage, for the laws in this folder.

A `Pipeline` is drawn with the kind of its items in mind, so that its stages fit each other. Each built-in stage
stands in one table, `_after`; test_resume.py fails if a new `Step` of the package can't come out of it. All functions
given to stages are at the top of this module, so that everything drawn can be pickled and its repr evaluated.
"""

from __future__ import annotations

import atexit
import functools
import io
import operator
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import count, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np
from hypothesis import strategies as st

import streamwds as wds
from streamwds.errors import StreamwdsError
from streamwds.tar.names import split_name
from streamwds.testing import same_items

__all__ = [
    "EVERYTHING",
    "Again",
    "Outcome",
    "Pipeline",
    "ShardSpec",
    "contexts",
    "each_stage",
    "outcome",
    "pipelines",
    "same_outcome",
    "samples",
    "shard_specs",
    "sources",
    "stages",
    "written",
]

# ---- functions that stages are given


def name_of(item: Any) -> str:
    """What an item is called: the same in every process, though shards lie in another folder each time."""
    if isinstance(item, dict):
        return repr(item.get("__key__", sorted(item)))
    named = getattr(item, "url", item)
    return Path(named).name if isinstance(named, str) else repr(item)


def chance(item: Any, salt: int) -> int:
    """A number from 0 to 99 that an item draws by its name."""
    return zlib.crc32(f"{salt} {name_of(item)}".encode("utf-8", "backslashreplace")) % 100


def wanted(item: Any) -> bool:
    return chance(item, 1) < 70


def same(item: Any) -> Any:
    return item


def sometimes_fails(item: Any) -> Any:
    if chance(item, 2) < 25:
        raise ValueError("it is one of those")
    return item


def add(item: int, more: int) -> int:
    return item + more


def as_sample(item: int) -> wds.Sample:
    return {"__key__": f"{item}", "cls": b"%d" % item, "txt": b"abc"[: item % 4], "npy": np.arange(item % 3)}


def numbered(item: wds.Sample, *, field: str) -> wds.Sample:
    return {**item, field: chance(item, 3)}


def partner(n: int) -> wds.Sample:
    return {"__key__": f"{n}", "__url__": "partners", "more": n}


def length_of(item: Any) -> int:
    return chance(item, 5) % 9


def tagged(key: str) -> wds.Sample | None:
    return {"tag": key * 2} if chance(key, 6) < 80 else None


def doubled(value: Any) -> Any:
    return value * 2


def nowhere(text: str) -> None:
    """What `info` writes to, so that nobody has to read it."""


def jittered(item: wds.Sample, rng: np.random.Generator) -> wds.Sample:
    return {**item, "drawn": int(rng.integers(1000))}


def noisy(key: str, data: bytes, rng: np.random.Generator) -> tuple[bytes, int] | None:
    return (data, int(rng.integers(1000))) if key == ".txt" else None


class Scale:
    """A function with a state."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, item: int) -> int:
        return item * self.factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and self.factor == other.factor

    def __hash__(self) -> int:
        return hash(self.factor)

    def __repr__(self) -> str:
        return f"{Scale.__module__}.Scale({self.factor})"


@wds.stage
def thinned(items: Iterable[Any], *, below: int = 60) -> Iterator[Any]:
    """A user's own stage."""
    for item in items:
        if chance(item, 4) < below:
            yield item


@wds.stage
def in_runs(items: Iterable[Any]) -> Iterator[list[Any]]:
    """A user's own stage that yields several for one: all rows up to one that is unwanted, as a list."""
    run: list[Any] = []
    for item in items:
        run.append(item)
        if not wanted(item):
            yield run
            run = []
    if run:
        yield run


# ---- shards


FOLDER = Path(tempfile.mkdtemp(prefix="streamwds-laws-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

Files: TypeAlias = tuple[tuple[str, bytes], ...]


@attrs.frozen
class ShardSpec:
    """What a shard holds, and how many of its bytes are left (None: all).

    Unless `odd`, the files are samples, and TarWriter writes them.
    """

    files: Files
    suffix: str = ".tar"
    odd: bool = False
    left: int | None = None

    def write(self, path: Path) -> None:
        """Write the shard."""
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            partial = Path(folder) / f"shard{self.suffix}"
            if self.odd:
                self._tarfile(partial)
            else:
                self._tarwriter(partial)
            if self.left is not None:
                with partial.open("r+b") as file:
                    file.truncate(min(self.left, partial.stat().st_size))
            partial.rename(path)

    def _tarwriter(self, path: Path) -> None:
        samples: dict[str, wds.Sample] = {}
        for name, data in self.files:
            key, field = split_name(name) or ("", "")
            samples.setdefault(key, {"__key__": key})[field] = data
        with wds.TarWriter(path, mtime=0) as writer:
            for sample in samples.values():
                writer.write(sample)

    def _tarfile(self, path: Path) -> None:
        with tarfile.open(path, "w:gz" if self.suffix.endswith("gz") else "w") as archive:
            for name, data in self.files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def written(spec: ShardSpec) -> str:
    """The path of a shard with these contents, written if it isn't there."""
    name = blake2b(repr(spec).encode(), digest_size=6).hexdigest() + spec.suffix
    path = FOLDER / name
    if not path.exists():
        spec.write(path)
    return str(path)


FIELDS = ("cls", "npy", "txt")
NPY = io.BytesIO()
np.save(NPY, np.arange(3))


def _file(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
    values: dict[str, st.SearchStrategy[bytes]] = {
        "cls": st.sampled_from([b"7", b"12", b"x"]),  # (the last can't be decoded)
        "npy": st.just(NPY.getvalue()),
    }
    return values.get(name.rpartition(".")[2].lower(), st.binary(max_size=3)).map(lambda data: (name, data))


def _sample_files(key: str) -> st.SearchStrategy[Files]:
    fields = st.lists(st.sampled_from(FIELDS), unique=True, min_size=1, max_size=3) | st.just(list(FIELDS))
    return fields.flatmap(lambda names: st.tuples(*(_file(f"{key}.{name}") for name in sorted(names))))


_keys = st.lists(st.sampled_from(["a", "b", "c/d", "e", "f.dir/g", "0001", "ü"]), unique=True, min_size=1, max_size=6)
_any_names = [
    "a.txt",
    "a.cls",
    "A.TXT",
    "b.txt",
    "b.seg.txt",
    "b.cls",
    ".hidden",
    "README",
    "__meta__.json",
    "__x__/a.txt",
]


@st.composite
def shard_specs(draw: st.DrawFn, *, whole: bool = False) -> ShardSpec:
    """Shards: samples or files of any names, plain or compressed, and unless `whole` at times cut somewhere."""
    suffix = draw(st.sampled_from([".tar", ".tar", ".tar", ".tar.gz"]))
    if whole or draw(st.integers(0, 4)):
        spec = ShardSpec(
            tuple(
                file for key in (draw(_keys) if draw(st.integers(0, 9)) else []) for file in draw(_sample_files(key))
            ),
            suffix,
        )
    else:
        spec = ShardSpec(
            tuple(draw(st.lists(st.sampled_from(_any_names).flatmap(_file), max_size=8))), suffix, odd=True
        )
    if whole or draw(st.integers(0, 5)):
        return spec
    size = Path(written(spec)).stat().st_size
    return attrs.evolve(spec, left=draw(st.integers(0, size)))


Drawn: TypeAlias = st.SearchStrategy[tuple[Any, str]]  # (a stage or source, the kind of the items that come out)


# ---- sources: (something that stands at the left of a pipe, the kind of its items)


class Again:
    """An iterable of numbers that has no length and can't be indexed."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Again) and self.n == other.n

    def __hash__(self) -> int:
        return hash(self.n)

    def __repr__(self) -> str:
        return f"{Again.__module__}.Again({self.n})"


def samples(*, regular: bool = False) -> st.SearchStrategy[list[wds.Sample]]:
    """Samples that are in memory; `regular`: all have the same fields."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "cls": st.sampled_from([b"7", b"12", b"x", 5]),
        "txt": st.binary(max_size=3) | st.text(max_size=2),
        "npy": st.integers(0, 2).map(np.arange),
    }
    sample = st.fixed_dictionaries(fields) if regular else st.fixed_dictionaries({}, optional=fields)
    numbered = st.lists(sample, max_size=12).map(lambda found: [{"__key__": f"{n}", **s} for n, s in enumerate(found)])
    return numbered


_counts = st.sampled_from([0, *range(1, 40)])
_numbers: st.SearchStrategy[Any] = st.one_of(
    _counts.map(range),
    _counts.flatmap(lambda n: st.lists(st.integers(-9, 99), min_size=n, max_size=n)),
    st.lists(st.integers(-9, 99), max_size=6).map(tuple),
    _counts.map(Again),
)
_missing = st.just(str(FOLDER / "missing.tar"))


def _mostly(usual: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any], times: int = 12) -> st.SearchStrategy[Any]:
    """The seldom once in so many times."""
    return st.sampled_from(range(times)).flatmap(lambda n: seldom if n == times - 1 else usual)


def _paths(*, whole: bool) -> st.SearchStrategy[list[str]]:
    path = shard_specs(whole=whole).map(written)
    return _mostly(st.lists(path if whole else _mostly(path, _missing), min_size=1, max_size=4), st.just([]))


def sources(
    *, whole: bool = False, kinds: Iterable[str] = ("number", "sample", "url", "url"), several: bool = True
) -> st.SearchStrategy[tuple[Any, str]]:
    """What stands at the left of a pipe, and the kind of its items; with `several`, at times several streams as one."""
    paths = _paths(whole=whole)
    found: dict[str, st.SearchStrategy[Any]] = {
        "number": _numbers | st.builds(wds.mock, st.sampled_from([7, abs]), _counts),
        "sample": samples() | samples(regular=True) | st.builds(wds.mock, st.just(as_sample), _counts),
        "url": paths | paths.filter(bool).map(lambda urls: wds.urls(urls)),
    }
    return st.sampled_from(list(kinds)).flatmap(
        lambda kind: (
            _mostly(_to(kind, found[kind]), _several(kind, found[kind]), times=5) if several else _to(kind, found[kind])
        )
    )


def _several(kind: str, data: st.SearchStrategy[Any]) -> Drawn:
    """Several streams as one."""
    behind = st.deferred(lambda: _step_to(kind, kind))
    parts = st.lists(data | st.builds(operator.or_, data, behind), min_size=1, max_size=3)
    stops = st.sampled_from(["first", "last"])

    def mixed(streams: list[Any], stop: Any, seed: int, weighed: bool) -> wds.Stream[Any]:
        return wds.mix(streams, weights=[1, 2.5, 4][: len(streams)] if weighed else None, seed=seed, stop=stop)

    return st.one_of(
        _to(kind, st.builds(mixed, parts, stops, _seeds, st.booleans())),
        _to(kind, st.builds(wds.round_robin, parts, stop=stops)),
        _to(kind, st.builds(wds.chain, parts)),
        _to("tuple", st.builds(wds.zip_, parts, stop=stops, fill=st.sampled_from([None, 7]))),
    )


# ---- stages

_handlers = st.sampled_from(
    [
        wds.reraise_exception,
        wds.ignore_and_continue,
        wds.ignore_and_continue,
        wds.ignore_and_continue,
        wds.warn_and_continue,
        wds.ignore_and_stop,
        wds.warn_and_stop,
    ]
)
_sizes = st.sampled_from([1, 2, 2, 3, 4, 7])
_seeds = st.integers(-2, 2)
_outputs = st.sampled_from([f"{FOLDER}/out{n}-{{rank}}-{{worker}}-%d.tar" for n in range(3)])
_eofs = st.sampled_from(["strict", "lenient"])
_threads = st.sampled_from([1, 1, 2, 3])


def _batch_of(kind: str) -> str:
    return {"sample": "columns of sample", "tuple": "columns of tuple"}.get(
        kind, "columns of " + kind if kind.startswith("columns of ") else "list of " + kind
    )


def _batching(kind: str) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    options = {"partial": st.sampled_from([True, True, True, False]), "handler": _handlers}
    yield (_batch_of(kind), st.builds(wds.batched, _sizes, **options))
    yield (
        "list of " + kind,
        st.builds(wds.batched, _sizes, collate=st.sampled_from([list, sorted_by_name]), **options),
    )


def _bucketing(kind: str) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    large = [{"max_items": 2}, {"max_items": 3, "max_tokens": 10}, {"max_tokens": 6}]
    options = {"window": _sizes | st.just(20), "partial": st.sampled_from([True, True, False]), "handler": _handlers}

    def made(large: Any, bounds: Any, pad: Any, collate: Any, **options: Any) -> Any:
        collated: Any = {} if collate is None else {"collate": collate}
        return wds.bucket_batched(length_of, **large, bounds=bounds, pad=pad, **collated, **options)

    for after, collate in ((_batch_of(kind), None), ("list of " + kind, list)):
        bounds = st.sampled_from([None, (2, 5)])
        yield (
            after,
            st.builds(made, st.sampled_from(large), bounds, st.sampled_from([None, 0]), st.just(collate), **options),
        )


_few = st.sampled_from(range(12))
_counting: list[st.SearchStrategy[Any]] = [
    st.builds(wds.skip, st.sampled_from(range(5))),
    st.builds(wds.slice, _few, st.none() | _few, st.integers(1, 3)),
    st.builds(wds.slice, _few),
]
_watching: list[st.SearchStrategy[Any]] = [
    st.builds(wds.info, n=_few, every=st.sampled_from([None, 2]), to=st.just(nowhere)),
    st.builds(wds.log_keys, st.just(str(FOLDER / "keys.log"))),
    st.just(wds.non_empty),
]
_passes: list[st.SearchStrategy[Any]] = [
    st.builds(wds.repeat, st.sampled_from([1, 2, 2, 3])),
    st.builds(lambda n: wds.repeat() | wds.take(n), st.integers(0, 20)),
    st.builds(lambda n: wds.repeat() | wds.with_epoch(n), st.integers(1, 20)),
    st.builds(wds.with_epoch, st.integers(1, 20)),
    st.builds(wds.with_length, st.integers(0, 20)),
    st.builds(wds.equalize, st.integers(0, 20)),
]
_partners = (st.just(list(range(14))) | st.lists(st.sampled_from(range(14)), unique=True, min_size=1)).flatmap(
    lambda found: st.sampled_from(
        [
            wds.identity([partner(n) for n in sorted(found)]),
            sorted(found) | wds.map(partner),
            [partner(n) for n in sorted(found)] | wds.shuffle(2),
        ]
    )
)


_numbers_of_files = count()
_databases = st.builds(lambda: str(FOLDER / f"{next(_numbers_of_files)}.db"))
_caches = st.builds(wds.ShardCache, st.just(str(FOLDER / "cache")), st.sampled_from([0, 20_000, 1e15]))
"""One folder for all, so that what a shard of one pipeline leaves there another finds, or has evicted."""


def sorted_by_name(items: list[Any]) -> list[Any]:
    return sorted(items, key=name_of)


def _on_fields() -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    """The stages that go by the fields of samples."""
    yes = st.booleans()
    names = st.sampled_from([{"txt2": "txt"}, {"seg.x": "npy;txt"}, {"cls": "txt"}])
    options = {"missing_is_error": yes, "handler": _handlers}
    yield ("sample", st.builds(wds.rename, names, keep=yes, **options))
    pairs = st.sampled_from([("all", "*"), ("text", "*.txt;*.cls")])
    yield (
        "sample",
        st.builds(
            wds.rename_keys, pairs, keep_unselected=yes, must_match=yes, duplicate_is_error=yes, handler=_handlers
        ),
    )
    patterns = st.sampled_from(["*", "*.t?t", "__*", "cls;npy"])
    yield (
        "tuple",
        st.builds(wds.extract_keys, patterns, duplicate_is_error=yes, ignore_missing=yes, handler=_handlers),
    )
    yield ("sample", st.builds(wds.map_dict, st.sampled_from([{"txt": doubled}, {"cls": str}]), handler=_handlers))
    yield ("sample", st.builds(wds.associate, st.sampled_from([{"1": {"tag": 1}, "a": {}}, tagged]), **options))
    yield ("sample", st.builds(wds.xdecode, st.just(("t*", bytes.upper)), must_decode=yes, handler=_handlers))
    packed = {"split": yes, "bins": _sizes, "window": _sizes | st.just(20), "handler": _handlers}
    for _ in range(2):
        yield ("sample", st.builds(wds.pack, st.sampled_from([1, 2, 3, 5]), st.just("npy"), **packed))


def _after_any(kind: str) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    """The stages that can come after items of any kind, each with the kind of the items that come out."""
    yield (kind, st.just(wds.identity))
    yield (kind, st.builds(wds.take, st.sampled_from(range(16))))
    yield (kind, st.builds(wds.shuffle, _sizes, initial=st.none() | _sizes, seed=_seeds))
    yield (kind, st.builds(wds.shuffle, _sizes, initial=st.none() | _sizes, seed=_seeds))
    yield (kind, st.builds(wds.select, st.sampled_from([wanted, functools.partial(wanted)]), handler=_handlers))
    yield (kind, st.builds(wds.map, st.sampled_from([same, sometimes_fails]), handler=_handlers))
    for _ in range(2):
        yield (kind, st.sampled_from([wds.split_by_node, wds.split_by_worker, wds.split_samples, wds.everywhere]))
    yield (kind, st.one_of(_counting))
    yield (kind, st.one_of(_passes))
    if kind in ("number", "sample"):
        yield (kind, st.builds(wds.cache_samples, _databases, st.sampled_from([0, 2, 100])))
    yield (kind, st.builds(wds.rsample, st.sampled_from([0.3, 0.8, 1.0]), _seeds))
    yield ("list of " + kind, st.builds(wds.interleave, st.just(wds.batched(2, collate=list)), _sizes))
    yield (kind, st.sampled_from([thinned, thinned(below=30)]))
    yield (kind, st.builds(wds.progress, st.just("bar"), total=st.sampled_from([None, 3])))
    yield ("list of " + kind, st.just(in_runs))
    yield from _batching(kind)
    yield from _bucketing(kind)
    yield (kind, st.one_of(_watching))


def _after(kind: str) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
    """The stages that can come after items of this kind, and not of any other."""
    if kind == "number":
        yield (
            kind,
            st.builds(wds.map, st.sampled_from([functools.partial(add, more=1), abs, Scale(3), Scale(3).__call__])),
        )
        yield ("sample", st.just(wds.map(as_sample)))
    elif kind == "sample":
        yield (kind, st.builds(wds.decode, st.sampled_from([None, "rgb8", "pil"]), threads=_threads, handler=_handlers))
        yield (kind, st.builds(wds.decode, st.just(noisy), rng=st.just(True), seed=_seeds, threads=_threads))
        yield (kind, st.just(wds.map(functools.partial(numbered, field="n"))))
        fields = st.sampled_from([("__key__", "txt"), ("__key__", "cls;txt", "npy"), ("__key__",)])
        yield ("tuple", st.builds(lambda names, handler: wds.to_tuple(*names, handler=handler), fields, _handlers))
        yield (
            kind,
            st.builds(wds.tee, _outputs, maxcount=_sizes, compress=st.sampled_from([False, "gz"]), handler=_handlers),
        )
        yield from _on_fields()
        yield (kind, st.builds(wds.map, st.just(jittered), rng=st.just(True), seed=_seeds, handler=_handlers))
        yield (kind, st.builds(wds.fraction, st.sampled_from([0.0, 0.2]), st.sampled_from([0.7, 1]), _seeds))
        for _ in range(2):
            yield (kind, st.builds(wds.join, _partners, ahead=_sizes | st.just(20), handler=_handlers))
        yield ("number", st.just(wds.map(len)))
        yield ("field", st.just(wds.map(operator.itemgetter("__key__"))))
    elif kind == "tuple":
        functions = st.sampled_from([(repr,), (None, doubled), (sometimes_fails, None)])
        for _ in range(2):
            yield (kind, st.builds(lambda found, handler: wds.map_tuple(*found, handler=handler), functions, _handlers))
        yield ("field", st.just(wds.unlisted) | st.builds(wds.unlisted, handler=_handlers))
    elif kind == "url":
        ahead = st.sampled_from([0, 0, 1, 3])
        yield ("sample", st.just(wds.tarsamples))
        yield ("sample", st.builds(wds.tarsamples, eof=_eofs, prefetch=ahead, handler=_handlers))
        yield ("sample", st.builds(wds.tarsamples, eof=_eofs, cache=_caches, prefetch=ahead, handler=_handlers))
        yield ("sample", st.builds(wds.interleave, st.builds(wds.tarsamples, handler=_handlers), _sizes))
        yield (kind, st.just(wds.shuffle_shards) | st.builds(wds.shuffle_shards, seed=_seeds))
        for _ in range(2):
            yield (kind, st.builds(lambda seed, n: wds.resampled(seed) | wds.take(n), _seeds, st.integers(0, 9)))
        yield ("shard", st.just(wds.open_shards) | st.builds(wds.open_shards, handler=_handlers))
    elif kind == "shard":
        for _ in range(9):
            yield (kind, st.builds(wds.prefetch_shards, st.sampled_from([0, 1, 3])))
            yield (kind, st.builds(lambda cache: wds.cache_shards(cache.cache_dir, cache.cache_size), _caches))
        yield ("member", st.just(wds.tarfiles) | st.builds(wds.tarfiles, eof=_eofs, handler=_handlers))
    elif kind == "member":
        yield ("sample", st.just(wds.group_by_keys) | st.builds(wds.group_by_keys, handler=_handlers))
    elif kind.startswith(("list of ", "columns of ")):
        inner = kind.partition(" of ")[2]
        for _ in range(4):
            yield (inner, st.just(wds.unbatched) | st.builds(wds.unbatched, handler=_handlers))
        if kind.startswith("list of "):
            yield (inner, st.just(wds.unlisted) | st.builds(wds.unlisted, handler=_handlers))
        yield (
            inner,
            st.builds(wds.interleave, st.sampled_from([wds.unbatched, wds.unbatched | wds.shuffle(3)]), _sizes),
        )


def _to(kind: str, made: st.SearchStrategy[Any]) -> Drawn:
    return made.map(lambda stage: (stage, kind))


def _either(lists: Iterable[list[st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    """One of the strategies of one of the lists: the few of a short list are not lost among those of a long one."""
    return st.sampled_from([found for found in lists if found]).flatmap(st.one_of)


@functools.cache
def _stage_after(kind: str) -> Drawn:
    return _either([_to(after, made) for after, made in found(kind)] for found in (_after_any, _after))


@functools.cache
def _step_to(before: str, after: str) -> st.SearchStrategy[wds.Stage[Any, Any]]:
    """A stage that leads from one kind to another."""
    return _either([made for kind, made in found(before) if kind == after] for found in (_after_any, _after))


@st.composite
def _reading(draw: st.DrawFn) -> list[wds.Stage[Any, Any]]:
    """From URLs to samples, by one stage or by its three parts, and with something in between at times."""
    way = draw(st.sampled_from([("url", "sample"), ("url", "shard", "member", "sample")]))
    found: list[wds.Stage[Any, Any]] = []
    for before, after in pairwise(way):
        if draw(st.integers(0, 3)) == 0:
            found.append(draw(_step_to(before, before)))
        found.append(draw(_step_to(before, after)))
    return found


@st.composite
def _chains(draw: st.DrawFn, kind: str, most: int) -> tuple[wds.Stage[Any, Any], ...]:
    found: list[wds.Stage[Any, Any]] = []
    if kind == "url" and draw(st.integers(0, 9)):  # (else most pipelines of URLs would never open one)
        found, kind = draw(_reading()), "sample"
    for _ in range(draw(st.integers(0, most))):
        stage, kind = draw(_stage_after(kind))
        found.append(stage)
    return tuple(found)


KINDS = ("number", "sample", "url", "shard", "member", "tuple", "field", "list of number", "columns of sample")


def stages() -> st.SearchStrategy[wds.Stage[Any, Any]]:
    """A single stage, whatever it takes."""
    return st.sampled_from(KINDS).flatmap(_stage_after).map(operator.itemgetter(0))


# ---- pipelines


def contexts(*, several: bool) -> st.SearchStrategy[dict[str, int]]:
    """What is fixed of a context; with `several` ranks and workers at times."""
    alone = st.fixed_dictionaries({}, optional={"seed": st.integers(-1, 3), "epoch": st.integers(0, 3)})
    if not several:
        return alone
    counts = st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (1, 3)])

    def ranks(count: tuple[int, int]) -> st.SearchStrategy[dict[str, int]]:
        rank, worker = st.integers(0, count[0] - 1), st.integers(0, count[1] - 1)
        return st.fixed_dictionaries(
            {"rank": rank, "world_size": st.just(count[0]), "worker": worker, "workers": st.just(count[1])}
        )

    return st.tuples(alone, counts.flatmap(ranks)).map(lambda pair: {**pair[0], **pair[1]})


@attrs.frozen
class Pipeline:
    """A source, the stages after it, and the context that is fixed."""

    source: Any
    stages: tuple[wds.Stage[Any, Any], ...]
    fixed: dict[str, int] = attrs.field(factory=dict)

    @property
    def stage(self) -> wds.Stage[Any, Any]:
        return functools.reduce(operator.or_, self.stages, wds.identity)

    @property
    def stream(self) -> wds.Stream[Any]:
        return self.stage(self.source).within(**self.fixed)


def splits(chain: Iterable[wds.Stage[Any, Any]]) -> frozenset[str]:
    return frozenset[str]().union(*(step.splits for stage in chain for step in stage.steps))


@st.composite
def pipelines(draw: st.DrawFn, source: st.SearchStrategy[tuple[Any, str]] | None = None, most: int = 6) -> Pipeline:
    """Random stages on random data in a random context."""
    data, kind = draw(sources() if source is None else source)
    chain = draw(_chains(kind, most))
    return Pipeline(data, chain, draw(contexts(several=splits(chain) == {"node", "worker"})))


_LEADING: dict[str, tuple[str, tuple[wds.Stage[Any, Any], ...]]] = {
    "shard": ("url", (wds.open_shards,)),
    "member": ("url", (wds.open_shards, wds.tarfiles)),
    "tuple": ("sample", (wds.to_tuple("__key__"),)),
    "field": ("sample", (wds.map(operator.itemgetter("__key__")),)),
    "list of number": ("number", (wds.batched(2, collate=list),)),
    "columns of sample": ("sample", (wds.to_tuple("__key__") | wds.batched(2),)),
}


def each_stage() -> Iterator[st.SearchStrategy[Pipeline]]:
    """For each stage of the tables from which `pipelines` are drawn, short pipelines that end with it; and sources."""
    for kind in ("number", "sample", "url"):
        yield _several(
            kind, _numbers if kind == "number" else samples() if kind == "sample" else _paths(whole=True)
        ).map(lambda pair: Pipeline(pair[0], ()))
    for found in (_after, _after_any):
        for kind in KINDS:
            first, leading = _LEADING.get(kind, (kind, ()))
            data = sources(whole=True, kinds=(first,), several=False)
            for _, made in found(kind):
                yield st.builds(
                    lambda pair, stage, fixed, leading=leading: Pipeline(pair[0], (*leading, stage), fixed),
                    data,
                    made,
                    contexts(several=False),
                )


EVERYTHING: dict[str, Any] = {name: getattr(wds, name) for name in wds.__all__}
"""The names with which the repr of a pipeline can be evaluated, but for modules."""


# ---- what comes out

Outcome: TypeAlias = tuple[list[Any], tuple[str, str] | None]


def outcome(items: Callable[[], Iterable[Any]]) -> Outcome:
    """The items that come, and the error of ours that ends them (its class and message), if one does."""
    found: list[Any] = []
    try:
        found.extend(items())
    except StreamwdsError as error:
        return found, (type(error).__name__, str(error))
    return found, None


def same_outcome(a: Outcome, b: Outcome) -> bool:
    """Whether the same items came, and the same error after them."""
    return same_items(a[0], b[0]) and a[1] == b[1]
