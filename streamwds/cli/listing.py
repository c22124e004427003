"""What is in shards, without the data where that is possible: members and samples, with their sizes.

Of local, uncompressed shards only the headers are read (an index is made); others are read through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from streamwds import ShardFile, tar
from streamwds.bench import FieldSize
from streamwds.cli.progress import Meter
from streamwds.cli.sources import indexable, members_of, samples_of
from streamwds.errors import SampleKeyError
from streamwds.stage import Sample

__all__ = ["ListedMember", "ListedSample", "members", "sample_of_key", "samples", "totals"]


@attrs.frozen
class ListedMember:
    """A file in a shard: its offset there and its size, in bytes."""

    url: str
    name: str
    offset: int
    size: int


@attrs.frozen
class ListedSample:
    """A sample: the sizes of its fields, in bytes."""

    url: str
    key: str
    fields: Mapping[str, int]

    @property
    def size(self) -> int:
        return sum(self.fields.values())


class _Noted:
    """A handler that goes on; the first error is to be raised in the end."""

    def __init__(self) -> None:
        self.first: Exception | None = None

    def __call__(self, error: Exception) -> bool:
        self.first = self.first or error
        return True

    def done(self) -> None:
        if self.first is not None:
            raise self.first


def _index(url: str, errors: _Noted, progress: Meter) -> tar.Index:
    progress.file()
    found = tar.index(url, handler=errors)
    progress.read(found.size)
    return found


def members(urls: Iterable[str], progress: Meter) -> Iterator[ListedMember]:
    """The files in shards, in their order; behind those of a shard that is damaged comes its error."""
    for url in urls:
        errors = _Noted()
        if indexable(url):
            found = _index(url, errors, progress)
            for number, (offset, size) in enumerate(zip(found.offsets.tolist(), found.sizes.tolist())):
                yield ListedMember(url, found.name(number), offset, size)
        else:
            for member in members_of([url], progress.opener, handler=errors):
                yield ListedMember(url, member.name, member.offset, len(member.data))
        errors.done()


def samples(urls: Iterable[str], progress: Meter) -> Iterator[ListedSample]:
    """The samples in shards, in their order; behind those of a shard that is damaged comes its error."""
    for url in urls:
        errors = _Noted()
        if indexable(url):
            yield from _indexed(_index(url, errors, progress))
        else:
            for sample in samples_of([url], progress.opener, handler=errors):
                sizes = {name: len(value) for name, value in sample.items() if name not in ("__key__", "__url__")}
                yield ListedSample(url, sample["__key__"], sizes)
        errors.done()


def _indexed(found: tar.Index) -> Iterator[ListedSample]:
    for number in range(len(found)):
        first, last = found.samples[number : number + 2].tolist()
        fields, sizes = found.fields[first:last].tolist(), found.sizes[first:last].tolist()
        named = {found.field_names[field]: size for field, size in zip(fields, sizes) if field >= 0}
        yield ListedSample(found.url, found.key(number), named)


def totals(listed: Iterable[ListedSample]) -> dict[str, FieldSize]:
    """What all samples have of each field, in the order in which the fields first come."""
    found: dict[str, FieldSize] = {}
    for sample in listed:
        for name, size in sample.fields.items():
            found.setdefault(name, FieldSize()).add(size)
    return found


def sample_of_key(urls: Iterable[str], key: str) -> Sample:
    """The first sample of this key; a `SampleKeyError` if no shard has it."""
    names = list(urls)
    errors = _Noted()
    for url in names:
        if indexable(url):
            with ShardFile(url, handler=errors) as shard:
                keys = shard.keys()
                if key in keys:
                    return shard[keys.index(key)]
        else:
            for sample in samples_of([url], handler=errors):
                if sample["__key__"] == key:
                    return sample
    errors.done()
    raise SampleKeyError("no sample has this key", url=", ".join(names[:3]) + (" …" if names[3:] else ""), key=key)
