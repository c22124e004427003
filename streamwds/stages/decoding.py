"""decode: the bytes of a sample's fields into values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

import attrs
from numpy.typing import DTypeLike, NDArray

from streamwds import draws
from streamwds.codecs.codec import Rules
from streamwds.codecs.images import image_spec
from streamwds.codecs.plan import Decoder, Pictures, Plan, by_glob, by_table, check_decoder, decompress
from streamwds.codecs.plan import must_decode as no_decoder
from streamwds.codecs.resizing import Size, check_size
from streamwds.errors import CompositionError, DecodeError, MissingExtraError, MissingFieldError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.memo import Memo
from streamwds.memory import Memory
from streamwds.stage import Maker, Sample, Stage, maker
from streamwds.stages.batching import Batched, collate, gathered_batches
from streamwds.stages.chance import sample_generator
from streamwds.stages.columns import Gathering, Seat
from streamwds.steps import At, Lifted, Pair, Run, Step, Upstream, option
from streamwds.threads import pairs_in_order
from streamwds.values import freeze

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Decode", "decode", "decode_items", "xdecode"]

Table: TypeAlias = Mapping[str, "Callable[..., Any] | None"]  # (what decodes a field, by its name)
GeneratorOf: TypeAlias = "Callable[[Any], Generator]"


def decode_items(
    table: Table,
    samples: Iterable[Mapping[str, Any]],
    *,
    partial: bool = True,
    generator_of: GeneratorOf | None = None,
    handler: Handler = reraise_exception,
) -> Iterator[Sample]:
    """Samples with their fields decoded by the functions that `table` has for their names.

    generator_of: gives a sample its random generator, and the functions take what makes it; None: they take none.
    """
    guard = Guard.of(handler)
    for sample in samples:
        guard.seen += 1
        try:
            decoded = _decoded(table, partial, generator_of, sample)
        except (DecodeError, MissingFieldError) as error:
            if guard(error):
                continue
            return
        yield decoded
        del decoded  # (before the next is asked for, so that it lives no longer than its consumer wants)


def _decoded(table: Table, partial: bool, generator_of: GeneratorOf | None, sample: Mapping[str, Any]) -> Sample:
    field = ""
    try:
        decoded: Sample = {**sample}
        generator = None if generator_of is None else functools.partial(generator_of, sample)
        for field, value in sample.items():
            if (decode_field := table[field]) is not None:
                if type(value) is bytes:
                    decoded[field] = decode_field(value) if generator is None else decode_field(value, generator)
                elif not partial:
                    raise DecodeError("it is decoded already (partial=True leaves such values alone)")
    except (MissingExtraError, MissingFieldError):
        raise
    except Exception as cause:
        raise _failed(cause, sample, field) from cause
    return decoded


def _failed(cause: Exception, sample: Any, field: str) -> DecodeError:
    if not isinstance(sample, Mapping):
        return DecodeError(f"decode takes samples (dicts of fields), not {sample!r:.80}")
    value: Any = sample.get(field)
    what = f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
    reason = cause.message if isinstance(cause, DecodeError) else f"{type(cause).__name__}: {cause}"
    kind = type(cause) if isinstance(cause, DecodeError) else DecodeError
    return kind.about(sample, f"{what} can't be decoded: {reason}", field=field)


# ---- options


def _listed(decoders: Any) -> Any:
    if decoders is None:
        return None
    return tuple(freeze(dict(d) if isinstance(d, Mapping) else d) for d in decoders if d is not None)


def _check(decoders: tuple[Any, ...] | None) -> None:
    for decoder in decoders or ():
        if isinstance(decoder, (Stage, Maker)):
            raise CompositionError(f"{decoder!r} decodes nothing; join stages with `|`")
        check_decoder(decoder)
    specs = [decoder for decoder in decoders or () if isinstance(decoder, str)]
    if len(specs) > 1:
        raise ValueError(f"decode takes one image spec, not {' and '.join(map(repr, specs))}")


def _names(only: Any) -> Any:
    return frozenset(only.split()) if isinstance(only, str) else freeze(only if only is None else frozenset(only))


def _trusted(names: Any) -> frozenset[str]:
    return Rules(trust=names).trust


def _max_bytes(size: int) -> None:
    Rules(max_bytes=size)


def _max_pixels(number: int | None) -> None:
    Rules(max_pixels=number)


def _size(size: Any) -> None:
    if size is not None:
        check_size(size)


def _threads(threads: object) -> None:
    if type(threads) is not int or threads < 1:
        raise ValueError(f"threads is how many threads decode, at least 1, not {threads!r}")


Place: TypeAlias = Callable[[tuple[int, ...], DTypeLike], "NDArray[Any] | None"]


def _nowhere(shape: tuple[int, ...], dtype: DTypeLike) -> None:
    return None


@attrs.frozen(repr=False, slots=False)
class Decode(Lifted[Sample, Sample]):
    name: ClassVar[str] = "decode"
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    decides: ClassVar[bool] = False
    decoders: Iterable[Any] = option((), star=True, convert=_listed, check=_check)
    pre: Iterable[Decoder] | None = option(None, convert=_listed, check=_check)
    post: Iterable[Decoder] | None = option(None, convert=_listed, check=_check)
    only: Collection[str] | None = option(None, convert=_names)
    partial: bool = option(True)
    trust: Collection[str] = option(frozenset[str](), convert=_trusted)
    max_bytes: int = option(Rules().max_bytes, check=_max_bytes)
    max_pixels: int | None = option(None, check=_max_pixels)
    size: Size | None = option(None, check=_size)
    orient: bool = option(False)
    rng: bool = option(False)
    seed: int = option(0, check=draws.check_seed)
    threads: int = option(1, decides=False, check=_threads)
    handler: Handler = option(reraise_exception, decides=False)

    @property
    def varies(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.rng

    def generator_of(self, run: Run) -> GeneratorOf | None:
        """What gives a sample its generator, if functions ask for one."""
        return functools.partial(sample_generator, run.context, self.name, self.seed) if self.rng else None

    def table(self, place: Place = _nowhere) -> Memo[str, Callable[..., Any] | None]:
        """What decodes a field, by its name; None: nothing. Large arrays are made in `place`, if there is one."""
        pre = (decompress,) if self.pre is None else self.pre
        post = (by_table,) if self.post is None else self.post
        memory = Memory(spare=4 + 4 * self.threads)

        def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
            array = place(shape, dtype)
            return memory.empty(shape, dtype) if array is None else array

        own = [
            Pictures(d, image_spec(d, self.size, orient=self.orient), empty) if isinstance(d, str) else d
            for d in self.decoders
        ]
        plan = Plan((*pre, *own, *post), Rules(self.trust, self.max_bytes, self.max_pixels), rng=self.rng)

        def decoder(field: str) -> Callable[..., Any] | None:
            left = field[:1] == "_" or (self.only is not None and field not in self.only)
            return None if left else plan.decoder(field)

        return Memo(decoder, most=4096)

    @property
    def chains(self) -> bool:  # type: ignore[override]
        return self.threads == 1

    def joined(self, following: Step[Any, Any]) -> Step[Any, Any] | None:
        pictures = any(isinstance(decoder, str) for decoder in self.decoders)  # (nothing else is made in a place)
        return DecodeOn(self).joined(following) if pictures else None

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        if self.threads == 1:
            return super().open(run, upstream, at)
        return pairs_in_order(self.one(run, self.table()), upstream(at), self.threads, run.guard(self.handler))

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        if self.threads > 1:
            return Step.plain(self, run, items)
        return self.decoded(run, self.table(), items)

    def one(self, run: Run, table: Table) -> Callable[[Any], Sample]:
        """The function that decodes the fields of one sample as the table says."""
        return functools.partial(_decoded, table, self.partial, self.generator_of(run))

    def decoded(self, run: Run, table: Table, items: Iterable[Any]) -> Iterator[Sample]:
        """The samples, their fields decoded as the table says."""
        guard, generator_of = run.guard(self.handler), self.generator_of(run)
        return decode_items(table, items, partial=self.partial, generator_of=generator_of, handler=guard)


@attrs.frozen(repr=False, slots=False)
class DecodeOn(Lifted[Any, Any]):
    """decode, and steps that hand on its values, in one; for what may follow."""

    name: ClassVar[str] = "decode and more"
    decode: Decode
    more: tuple[Step[Any, Any], ...] = ()

    @property
    def chains(self) -> bool:  # type: ignore[override]
        return self.decode.chains

    def joined(self, following: Step[Any, Any]) -> Step[Any, Any] | None:
        if following.hands_on:
            return DecodeOn(self.decode, (*self.more, following))
        if isinstance(following, Batched) and following.collate is collate:
            return DecodeBatches(self, following)
        return None

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        if self.decode.threads == 1:
            yield from super().open(run, upstream, at)
            return
        last = at

        def samples() -> Iterator[Sample]:
            nonlocal last
            for sample, last in self.decode.open(run, upstream, at):  # noqa: B007  (nonlocal)
                yield sample
                del sample

        for item in self.handed_on(run, samples()):
            yield item, last
            del item

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return self.handed_on(run, self.decode.plain(run, items))

    def handed_on(self, run: Run, samples: Iterator[Any]) -> Iterator[Any]:
        """What the steps behind decode make of its samples."""
        for step in self.more:
            samples = step.plain(run, samples)
        return samples


@attrs.frozen(repr=False, slots=False)
class DecodeBatches(Lifted[Any, Any]):
    """decode and batched in one, also with steps between them: pictures are decoded into the rows of a batch."""

    name: ClassVar[str] = "decode and batched"
    on: DecodeOn
    batched: Batched

    @property
    def decode(self) -> Decode:
        return self.on.decode

    @property
    def chains(self) -> bool:  # type: ignore[override]
        return self.decode.chains

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        if self.decode.threads == 1:
            yield from super().open(run, upstream, at)
            return
        gathering = Gathering(self.batched.n)
        decode_sample, last = self.decode.one(run, self.decode.table(gathering.place)), at

        def decoded(seated: tuple[Seat, Any]) -> tuple[Seat, Sample]:
            gathering.sit(seated[0])
            return seated[0], decode_sample(seated[1])

        def samples() -> Iterator[Sample]:
            nonlocal last
            pairs = (((gathering.seat(), sample), after) for sample, after in upstream(at))
            guard = run.guard(self.decode.handler)
            ahead = pairs_in_order(decoded, pairs, self.decode.threads, guard, ahead=self.batched.n)
            for (seat, sample), last in ahead:  # noqa: B007  (nonlocal)
                gathering.arrive(seat)
                yield sample
                del seat, sample

        for batch in self._batches(run, gathering, samples()):
            yield batch, last
            del batch

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        if self.decode.threads > 1:
            return Step.plain(self, run, items)
        gathering = Gathering(self.batched.n)

        def seated() -> Iterator[Any]:
            for sample in items:
                seat = gathering.seat()
                gathering.sit(seat)
                gathering.arrive(seat)
                yield sample

        samples = self.decode.decoded(run, self.decode.table(gathering.place), seated())
        return self._batches(run, gathering, samples)

    def _batches(self, run: Run, gathering: Gathering, samples: Iterator[Sample]) -> Iterator[Any]:
        items = self.on.handed_on(run, samples)
        return gathered_batches(gathering, items, self.batched.partial, run.guard(self.batched.handler))


@maker
def decode(
    *decoders: Decoder | None,
    pre: Iterable[Decoder] | None = None,
    post: Iterable[Decoder] | None = None,
    only: Collection[str] | None = None,
    partial: bool = True,
    trust: Collection[Literal["pickle", "torch"]] = (),
    max_bytes: int = 1 << 28,
    max_pixels: int | None = None,
    size: Size | None = None,
    orient: bool = False,
    rng: bool = False,
    seed: int | None = 0,
    threads: int = 1,
    handler: Handler = reraise_exception,
) -> Stage[Sample, Sample]:
    """Decode the fields of each sample by their extensions: text, numbers, JSON, arrays, and pictures if asked to.

    Parameters
    ----------
    decoders: what decodes besides the table of codecs, and before it:
        an image spec: what becomes of pictures, such as "rgb" (float32, H×W×3, 0..1), "rgb8" (uint8), "torchrgb" (3×H×W
        tensor) or "pil"; the table of all is in `streamwds.codecs.images`. Without one they stay bytes.
        a dict from extensions to functions of the bytes, `{"xml": parse, "seg.png": mask}`; or `handle_extension`.
        a function `(key, data) -> value or None`, where the key is the field's name behind a dot; None: ask the next.
        It may give a `Continue`, with which those after it go on.
        `torch_audio`, `numpy_audio`, `torch_video`, `numpy_video`: sound and films, which stay bytes without.
    pre: what decodes before them, instead of `decompress`, which takes gz bz2 xz zst lz4 off.
    post: what decodes after them, instead of `by_table`, the table of codecs.
    only: the fields to decode, by their whole names; the others stay as they are. None: all.
    partial: leave values alone that are no bytes; else they are an error where they would be decoded.
    trust: what may run code: "pickle" (pyd pickle pkl), "torch" (pth pt with more than tensors and plain data in it).
    max_bytes: the largest that a field may get when it is unpacked; 256 MiB.
    max_pixels: the largest that a picture may be; None: `PIL.Image.MAX_IMAGE_PIXELS`, 89 million unless you set it.
    size: how large pictures become: the length of the shorter side, the other in proportion and rounded to the nearest
        pixel; or (height, width), whatever the proportion. By bilinear interpolation with antialiasing; a JPEG is
        decoded at 1/8, 1/4 or 1/2 where that is still as large. None: as they come.
    orient: turn pictures as their EXIF data say; else they are as they were stored.
    rng: give your functions a `numpy.random.Generator` behind their arguments, for augmentation:
        `(key, data, rng)`, and `(data, rng)` in a dict. As with `map(f, rng=True)` its draws depend on (Context.seed,
        seed, epoch, the shard's name in `__url__`, `__key__`) alone. Each call is given it anew, so the draws are the
        same for all fields of a sample (a picture and its mask are cropped alike), whatever else is decoded, on any
        number of workers and threads, and however the stream was resumed. A sample without a `__key__` is a
        `MissingFieldError`.
    seed: that of the generators; None draws one when the stage is built.
    threads: how many decode at the same time, the one that iterates among them. Samples come in order, each with its
        own position; at most twice as many as there are threads are read ahead, or a batch if `batched` comes next.
    handler: gets a `DecodeError` that names url, key and field; true skips the whole sample.

    The longest extension wins, by whole words between dots: "seg.png" is decoded by what is given for seg.png before
    what is given for png; of equals, what you name goes before the table. Extensions of which nothing is known, and
    fields that begin with "_", stay as they are.

    Data from strangers can neither run code nor fill the memory: a pickle is an `UntrustedDataError`, and what gets too
    large a `DecodeError`. A package that is missing is a `MissingExtraError`, which goes to no handler.

    >>> [{"__key__": "a", "cls": b"7", "txt": b"a cat", "xyz": b"?"}] | decode() | list
    [{'__key__': 'a', 'cls': 7, 'txt': 'a cat', 'xyz': b'?'}]
    >>> [{"seg.txt": b"1 2", "txt": b"1 2"}] | decode({"seg.txt": bytes.split}) | list
    [{'seg.txt': [b'1', b'2'], 'txt': '1 2'}]
    >>> def cut(data: bytes, rng: np.random.Generator) -> bytes:
    ...     return data[int(rng.integers(len(data))) :]
    >>> [{"__key__": "a", "dna": b"GATTACA", "mask": b"1234567"}] | decode({"dna": cut, "mask": cut}, rng=True) | list
    [{'__key__': 'a', 'dna': b'ACA', 'mask': b'567'}]
    """
    fields = (decoders, pre, post, only, partial, trust, max_bytes, max_pixels, size, orient)
    return Stage((Decode(*fields, rng, draws.fresh_seed(seed), threads, handler),))


@maker
def xdecode(
    *functions: tuple[str, Callable[[bytes], Any] | Literal[False]],
    must_decode: bool = True,
    handler: Handler = reraise_exception,
    **more: Callable[[bytes], Any] | Literal[False],
) -> Stage[Sample, Sample]:
    """Decode fields by globs of their names: `xdecode(("left.*", picture), txt=bytes.split)`.

    What is meant by none of them is decoded as by `decode()`.

    functions: (glob, function of the bytes); False leaves a field as it is. `png=f` means ("*.png", f). A name counts
        with a dot before it, too; of several globs that mean a field, the last counts.
    must_decode: whether a field that nothing decodes is a `DecodeError`; else it stays bytes.
    handler: as in `decode`.

    It is `decode(by_glob(…))` and shows itself as that.

    >>> [{"__key__": "a", "left.raw": b"1 2", "txt": b"ab"}] | xdecode(("*.raw", bytes.split)) | list
    [{'__key__': 'a', 'left.raw': [b'1', b'2'], 'txt': 'ab'}]
    """
    pairs = (*functions, *((f"*.{extension}", function) for extension, function in more.items()))
    globs = by_glob(*((glob, bytes if function is False else cast("Any", function)) for glob, function in pairs))
    post = (by_table, no_decoder) if must_decode else None
    return Stage((Decode((globs,), post=post, handler=handler),))
