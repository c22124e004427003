"""The fluid interface: a torch dataset whose methods are the stages, for those who like dots better than `|`.

    Dataset("train-{000000..000146}.tar").shuffle(1000).decode("rgb").to_tuple("jpg;png", "cls").batched(16)

Nothing is written again here: a method is made of the stage of the same name, and typed by what that makes of its
items. What a stage does is told where it is.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from streamwds.context import Context
from streamwds.errors import CompositionError, StreamwdsError
from streamwds.handlers import Handler, reraise_exception
from streamwds.shards.local import local_path, scheme_of
from streamwds.shards.splitting import split_by_worker
from streamwds.shards.urls import Pattern, Urls
from streamwds.shards.urls import urls as urls_
from streamwds.stage import Batch, Same, Sample, Stage, Stream, identity
from streamwds.stages import (
    associating,
    batching,
    bucketing,
    caching,
    chance,
    counting,
    decoding,
    distribution,
    elements,
    epochs,
    fields,
    joining,
    packing,
    renaming,
    shuffling,
    watching,
    writing,
)
from streamwds.stages import mapping as maps
from streamwds.stages import (
    progress as bars,
)
from streamwds.stages.chance import shuffle_shards
from streamwds.stages.counting import natural
from streamwds.steps import Source
from streamwds.tar.indexes import index
from streamwds.tar.samples import tarsamples
from streamwds.torch.dataset import TorchStream
from streamwds.values import freeze

if TYPE_CHECKING:
    from numpy.random import Generator
    from typing_extensions import Never

__all__ = ["Dataset"]

A = TypeVar("A")
B = TypeVar("B", covariant=True)
C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")


class _Method(Generic[P]):
    """A method of `Dataset`, made of a stage maker: it appends the stage that the maker makes of its arguments."""

    def __init__(self, make: Callable[P, Any]) -> None:
        self.make = make

    def __get__(self, dataset: Any, owner: type[Any]) -> Any:
        if dataset is None:
            return self.make

        @functools.wraps(self.make)
        def method(*args: P.args, **options: P.kwargs) -> Any:
            return dataset.compose(self.make(*args, **options))

        return method


class _Keeping(_Method[P]):
    """T -> T, whatever T."""

    def __init__(self, make: Callable[P, Same]) -> None:
        super().__init__(make)

    def __get__(self, dataset: Dataset[T], owner: type[Any]) -> Callable[P, Dataset[T]]:
        return super().__get__(dataset, owner)  # type: ignore[no-any-return]


class _Making(_Method[P], Generic[P, A, C]):
    """A -> C."""

    def __init__(self, make: Callable[P, Stage[A, C]]) -> None:
        super().__init__(make)

    def __get__(self, dataset: Dataset[A], owner: type[Any]) -> Callable[P, Dataset[C]]:
        return super().__get__(dataset, owner)  # type: ignore[no-any-return]


class Dataset(TorchStream[B]):
    """The samples of shards, as a torch IterableDataset whose methods are the stages. Each call gives a new one.

    Parameters
    ----------
    urls: as `urls` takes them: patterns, lists of them, paths.
    length: what `len` says. True: the number of samples in all shards, counted once by their headers, if they are local
        files and not compressed, and the splitter gives each of them once. A number: that. False or None: nothing. It
        holds as long as each stage gives an item for each; behind others (`batched`, `select` …), and where nothing is
        known, `len` is a TypeError, until `.with_length(n)` says it.
    splitter: the stage that says who reads which shards; in distributed training `split_by_node | split_by_worker`.
    handler: is asked when a shard or sample is broken.
    shuffle: read the shards in another order in each epoch. To mix samples, add `.shuffle(n)`.

    It has all that `to_torch` gives: `set_epoch`, `state_dict`, `load_state_dict`, `with_position`. `stream` is the
    pipeline, to be taken elsewhere.

    >>> with TarWriter(tmp_path / "cats.tar") as writer:
    ...     for n in range(4):
    ...         size = writer.dwrite(f"{n:04d}", cls=n)
    >>> dataset = Dataset(tmp_path / "cats.tar").decode().to_tuple("cls")
    >>> len(dataset)
    4
    >>> list(dataset.batched(3))
    [(array([0, 1, 2]),), (array([3]),)]
    """

    def __init__(
        self: Dataset[Sample],
        urls: Pattern | Iterable[Pattern],
        *,
        length: bool | int | None = True,
        splitter: Same | Stage[str, str] = split_by_worker,
        handler: Handler = reraise_exception,
        shuffle: bool = False,
    ) -> None:
        if length is not None and not isinstance(length, bool):
            natural(length := freeze(length))
        shards = urls_(urls)
        if shuffle:
            shards = shards | shuffle_shards
        super().__init__(shards | splitter | tarsamples(handler=handler))
        self._length = None if length is False else length
        self._behind = len(self.stream.steps)
        self._counts: list[int] = []  # (when it is known; shared by all that are made of this one)

    def compose(self, *stages: Stage[Any, Any]) -> Dataset[Any]:
        """The dataset with these stages behind it: for those that are no methods, such as one's own.

        >>> list(Dataset.of(range(4)).compose(map(float), batched(2)))
        [[0.0, 1.0], [2.0, 3.0]]
        """
        other: Any = copy.copy(self)
        other._place = None  # (that is a place in this one's stream)
        for stage in stages:
            other.stream = other.stream | stage
        if not isinstance(other.stream, Stream):
            raise CompositionError(f"compose takes stages; {stages!r} gives {type(other.stream).__name__}")
        return other  # type: ignore[no-any-return]

    @staticmethod
    def of(items: Iterable[T]) -> Dataset[T]:
        """A dataset of a stream, or of any other iterable, that stages can be added to."""
        made: Any = Dataset.__new__(Dataset)
        TorchStream.__init__(made, items if isinstance(items, Stream) else identity(items))
        made._length, made._behind, made._counts = None, 0, []
        return made  # type: ignore[no-any-return]

    def resized(self, length: int, nominal: int | None = None) -> Dataset[B]:
        """Epochs of `length` items: what is missing comes from the next pass, and the rest is dropped.

        nominal: what `len` says; `length`, unless it is given.

        >>> dataset = Dataset.of(range(3)).resized(5)
        >>> len(dataset), list(dataset)
        (5, [0, 1, 2, 0, 1])
        """
        return self.repeat().with_epoch(length).with_length(length if nominal is None else nominal)

    def __len__(self) -> int:
        step = self.stream.steps[-1] if self.stream.steps else None
        if step is None or step.length is not None or self._length is None:
            return len(self.stream)
        before, behind = self.stream.steps[: self._behind - 1], self.stream.steps[self._behind :]
        unsure = next(
            (step.name for step in (*(before if self._length is True else ()), *behind) if not step.keeps), None
        )
        if unsure is not None:
            raise TypeError(f"how many items {unsure} gives isn't known before they are read: say it, .with_length(n)")
        if self._length is not True:
            return self._length
        if (ranks := Context.current(**self.stream.fixed).world_size) > 1:
            raise TypeError(f"how many of the samples come to which of {ranks} ranks isn't known: say .with_length(n)")
        if not self._counts:
            self._counts.append(_counted(self.stream.source))
        return self._counts[0]

    # ---- the stages

    shuffle = _Keeping(shuffling.shuffle)
    select = _Keeping(maps.select)
    take = _Keeping(counting.take)
    skip = _Keeping(counting.skip)
    rsample = _Keeping(chance.rsample)
    repeat = _Keeping(epochs.repeat)
    with_epoch = _Keeping(epochs.with_epoch)
    with_length = _Keeping(epochs.with_length)
    equalize = _Keeping(distribution.equalize)
    cache_samples = _Keeping(caching.cache_samples)
    tee = _Keeping(writing.tee)
    progress = _Keeping(bars.progress)
    info = _Keeping(watching.info)
    log_keys = _Keeping(watching.log_keys)
    decode = _Making(decoding.decode)
    xdecode = _Making(decoding.xdecode)
    associate = _Making(associating.associate)
    rename = _Making(renaming.rename)
    rename_keys = _Making(renaming.rename_keys)
    map_dict = _Making(elements.map_dict)
    map_tuple = _Making(elements.map_tuple)
    extract_keys = _Making(fields.extract_keys)
    pack = _Making(packing.pack)
    fraction = _Making(distribution.fraction)
    join = _Making(joining.join)
    to_tuple = _Making(fields.to_tuple)

    if TYPE_CHECKING:  # (what has several signatures, or one with types of its own, is told once more)

        @overload
        def map(self, f: Callable[[B], C], *, handler: Handler = ...) -> Dataset[C]: ...
        @overload
        def map(
            self, f: Callable[[B, Generator], C], *, rng: Literal[True], seed: int | None = 0, handler: Handler = ...
        ) -> Dataset[C]: ...
        def map(self, f: Any, **options: Any) -> Any: ...

        @overload
        def slice(self, stop: int | None, /) -> Dataset[B]: ...
        @overload
        def slice(self, start: int, stop: int | None, step: int = 1, /) -> Dataset[B]: ...
        def slice(self, *args: Any) -> Any: ...

        @overload
        def batched(self: Dataset[Never], n: int, *, partial: bool = ..., handler: Handler = ...) -> Dataset[Any]: ...
        @overload
        def batched(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
            self: Dataset[Mapping[str, object]], n: int, *, partial: bool = ..., handler: Handler = ...
        ) -> Dataset[Batch]: ...
        @overload
        def batched(  # type: ignore[overload-overlap]
            self: Dataset[tuple[object, ...]], n: int, *, partial: bool = ..., handler: Handler = ...
        ) -> Dataset[tuple[Any, ...]]: ...
        @overload
        def batched(self: Dataset[T], n: int, *, partial: bool = ..., handler: Handler = ...) -> Dataset[list[T]]: ...
        @overload
        def batched(
            self: Dataset[T], n: int, *, collate: Callable[[list[T]], C], partial: bool = ..., handler: Handler = ...
        ) -> Dataset[C]: ...
        def batched(self, n: int, **options: Any) -> Any: ...

        @overload
        def unbatched(self: Dataset[Never], *, handler: Handler = ...) -> Dataset[Any]: ...
        @overload
        def unbatched(self: Dataset[Batch], *, handler: Handler = ...) -> Dataset[Sample]: ...
        @overload
        def unbatched(self: Dataset[tuple[Any, ...]], *, handler: Handler = ...) -> Dataset[tuple[Any, ...]]: ...
        @overload
        def unbatched(self: Dataset[list[T]], *, handler: Handler = ...) -> Dataset[T]: ...
        def unbatched(self, **options: Any) -> Any: ...

        def unlisted(self: Dataset[list[T]], *, handler: Handler = ...) -> Dataset[T]: ...

        @overload
        def bucket_batched(
            self,
            key: Callable[[Any], int] | str,
            *,
            max_items: int | None = ...,
            max_tokens: int | None = ...,
            pad: bucketing.Pad = ...,
            bounds: Sequence[int] | None = ...,
            window: int = ...,
            partial: bool = ...,
            handler: Handler = ...,
        ) -> Dataset[Any]: ...
        @overload
        def bucket_batched(
            self: Dataset[T],
            key: Callable[[Any], int] | str,
            *,
            max_items: int | None = ...,
            max_tokens: int | None = ...,
            pad: bucketing.Pad = ...,
            bounds: Sequence[int] | None = ...,
            window: int = ...,
            collate: Callable[[list[T]], C],
            partial: bool = ...,
            handler: Handler = ...,
        ) -> Dataset[C]: ...
        def bucket_batched(self, key: Any, **options: Any) -> Any: ...
    else:
        map = _Method(maps.map)
        slice = _Method(counting.slice)
        batched = _Method(batching.batched)
        unbatched = _Method(batching.unbatched)
        unlisted = _Method(batching.unlisted)
        bucket_batched = _Method(bucketing.bucket_batched)

    def __repr__(self) -> str:
        return f"Dataset.of({self.stream!r}){'.with_position()' if self.positioned else ''}"


def _counted(source: Source) -> int:
    """How many samples the headers of local shards tell of.

    `list` asks for the length too, so nothing is read through, and an error is left to the reader, who names it better.
    """
    names = source.expanded if isinstance(source, Urls) else ()
    if not names or not all(scheme_of(name) in ("", "file") and os.path.isfile(local_path(name)) for name in names):
        # (a pipe must not even be opened: its writer would take that for its reader)
        raise TypeError("only the samples of local files are counted: say how many there are, .with_length(n)")
    try:
        return sum(len(index(name)) for name in names)
    except StreamwdsError as error:
        raise TypeError(f"the samples can't be counted ({error}): say how many there are, .with_length(n)") from error
