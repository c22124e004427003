"""The errors and warnings of the package: every error derives from `StreamwdsError` and says where it happened.

Only classes live here, so that any module may import them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from streamwds.redacted import redacted

__all__ = [
    "CacheError",
    "CacheWarning",
    "ChangedError",
    "CheckError",
    "CollateError",
    "CompositionError",
    "DamagedIndexWarning",
    "DecodeError",
    "DistributionError",
    "DoubleBatchWarning",
    "DuplicateFieldError",
    "DuplicateKeyError",
    "EmptyStreamWarning",
    "EncodeError",
    "FewShardsWarning",
    "FunctionError",
    "HeaderError",
    "JoinError",
    "MissingExtraError",
    "MissingFieldError",
    "OpenError",
    "PositionError",
    "RenameError",
    "ReplayError",
    "SampleKeyError",
    "SkippedWarning",
    "SourceError",
    "StreamwdsError",
    "TarError",
    "TenbinError",
    "TruncatedError",
    "UnreachableError",
    "UntrustedDataError",
    "WriteError",
]

E = TypeVar("E", bound="StreamwdsError")


class StreamwdsError(Exception):
    """Base of all errors of the package.

    `url`, `offset` (bytes into the uncompressed shard), `key` and `field` say where it happened, as far as that is
    known; they stand before the message in `str(error)`, the url without passwords and signatures. An error reaches a
    handler with two numbers more: how many items its stage `skipped` before it and had `seen` by then, in this run.

    >>> print(StreamwdsError("the header's checksum is wrong", url="a.tar", offset=1024))
    a.tar, byte 1024: the header's checksum is wrong
    """

    def __init__(
        self,
        message: str = "",
        *,
        url: str | None = None,
        offset: int | None = None,
        key: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.url = url
        self.offset = offset
        self.key = key
        self.field = field
        self.skipped = 0
        self.seen = 0

    @classmethod
    def about(cls: type[E], item: object, message: str, *, field: object = None) -> E:
        """The error about a sample, whose url and key it takes; of a batch it takes those of all samples.

        >>> print(StreamwdsError.about({"__url__": ["a.tar", "a.tar"], "__key__": ["1", "2"]}, "not this batch"))
        a.tar, key '1, 2': not this batch
        """
        found: dict[str, str] = {}
        for name in ("url", "key"):
            value: Any = item.get(f"__{name}__") if isinstance(item, Mapping) else None
            if isinstance(value, (list, tuple)):
                value = ", ".join(dict.fromkeys(map(str, value)))
            if isinstance(value, str):
                found[name] = value
        key, url = found.get("key"), found.get("url")
        return cls(message, url=url, key=key, field=None if field is None else str(field))

    def __str__(self) -> str:
        where = [
            *([redacted(self.url)] if self.url is not None else []),
            *([f"byte {self.offset}"] if self.offset is not None else []),
            *([f"key {self.key!r}"] if self.key is not None else []),
            *([f"field {self.field!r}"] if self.field is not None else []),
        ]
        return f"{', '.join(where)}: {self.message}" if where else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message,), self.__dict__)  # keyword arguments would be lost in a plain pickle


# ---- while a pipeline is put together or opened


class CompositionError(StreamwdsError, TypeError):
    """Stages that don't fit each other, or something that can't stand in a pipe."""


class SourceError(StreamwdsError, ValueError):
    """A source that gives nothing, or that can't be read (again) in the way that was asked for."""


class PositionError(StreamwdsError, ValueError):
    """A position that doesn't belong to this pipeline, seed, epoch or worker."""


class ReplayError(PositionError):
    """What a stage reads again when resuming is not what it read the first time."""


class DistributionError(StreamwdsError, RuntimeError):
    """Ranks or workers would each get all the data, or one of them would get none."""


class CheckError(StreamwdsError, ValueError):
    """A value that `streamwds.checks` found wanting."""


# ---- while shards are read and written


class OpenError(StreamwdsError):
    """A shard that can't be opened."""


class UnreachableError(OpenError):
    """A source that can't be reached, or stops in the middle, in all the tries that it was given.

    That may pass; so that it doesn't change what an epoch holds, no handler is asked, unless `skippable` (which
    `Gopen(skip_unreachable=True)` sets): the error is raised.
    """

    skippable: bool = False


class TarError(StreamwdsError):
    """A shard whose bytes are no intact tar archive, or one that we don't read.

    `member` names the file within which it is damaged, where the header of that file can still be read.
    """

    member: str | None = None


class HeaderError(TarError):
    """A place where a member's header should be, and where no valid one is."""


class TruncatedError(TarError):
    """A shard that ends too early."""


class ChangedError(TarError):
    """A shard that became another while it was read."""


class DuplicateFieldError(TarError):
    """Two members of one sample that have the same field name."""


class SampleKeyError(StreamwdsError, KeyError):
    """A key under which a shard has no sample, or more than one."""


class WriteError(StreamwdsError, ValueError):
    """A sample that can't be written so that it would be read back the same."""


class DuplicateKeyError(WriteError):
    """A sample whose key another one in the shard has already."""


# ---- while samples are worked on


class CacheError(StreamwdsError, ValueError):
    """A database that is no cache of this pipeline's samples."""


class MissingExtraError(StreamwdsError, ImportError):
    """A package that is needed, belongs to an extra of this one, and is not installed."""


class DecodeError(StreamwdsError):
    """A field whose bytes can't be decoded."""


class UntrustedDataError(DecodeError):
    """A field that could run code when it is decoded, which `decode(trust=…)` must allow first."""


class TenbinError(StreamwdsError, ValueError):
    """Bytes that are no intact tenbin (`offset` counts from their beginning), or with other infos than expected."""


class EncodeError(StreamwdsError):
    """A value that can't be encoded for its field."""


class FunctionError(StreamwdsError):
    """A function given to a stage raised; its own error is the `__cause__`."""


class MissingFieldError(StreamwdsError, KeyError):
    """A sample without a field that was asked for."""


class RenameError(StreamwdsError, ValueError):
    """Several fields of a sample that would get the same name, or that a pattern means where one is wanted."""


class CollateError(StreamwdsError, ValueError):
    """Samples that can't be put together into one batch."""


class JoinError(StreamwdsError, ValueError):
    """A sample of one of two joined streams that has no partner in the other, or one that does not fit to it."""


# ---- warnings


class CacheWarning(UserWarning):
    """Something can't be kept in a cache, so it comes from its source."""


class SkippedWarning(UserWarning):
    """A handler let a stream skip items: given once for each class of error."""


class FewShardsWarning(UserWarning):
    """There are fewer shards than workers or nodes, so some of them have nothing to do."""


class EmptyStreamWarning(UserWarning):
    """A stream that is to be read again and again has nothing to give, and so ends."""


class DoubleBatchWarning(UserWarning):
    """A DataLoader batches a stream that is batched already."""


class DamagedIndexWarning(UserWarning):
    """The index beside a shard is damaged, so the shard was indexed anew."""
