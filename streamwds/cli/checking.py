"""Whether shards are intact: their headers, their samples, the keys, and whether each field can be decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from streamwds import tar
from streamwds.cli.salvage import salvaged
from streamwds.cli.sources import indexable
from streamwds.codecs import decoder, numpy_audio, numpy_video
from streamwds.codecs.codec import Decode
from streamwds.errors import MissingExtraError, StreamwdsError, UntrustedDataError
from streamwds.memo import Memo
from streamwds.shards.opening import Opener
from streamwds.stage import Sample
from streamwds.threads import in_order

__all__ = ["Problem", "Report", "checked"]


@attrs.frozen
class Problem:
    """Something that is wrong with a shard, and where: byte, key, field, as far as that is known."""

    url: str
    message: str
    offset: int | None = None
    key: str | None = None
    field: str | None = None

    @classmethod
    def of(cls, url: str, error: StreamwdsError) -> Problem:
        return cls(url, error.message, error.offset, error.key, error.field)

    def __str__(self) -> str:
        return str(StreamwdsError(self.message, url=self.url, offset=self.offset, key=self.key, field=self.field))


@attrs.define
class Report:
    """What was found in a shard.

    samples, files, bytes: those that are intact. others: names of files that belong to no sample.
    problems: what is wrong. unchecked: fields that were not decoded, by the reason. repaired: where a copy is.
    """

    url: str
    samples: int = 0
    files: int = 0
    bytes: int = 0
    others: list[str] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)
    unchecked: Counter[str] = attrs.field(factory=Counter)
    repaired: str | None = None


def checked(url: str, opener: Opener, keep: Callable[[Sample], object], *, decode: bool, media: bool) -> Report:
    """Read a shard through, and say what is wrong with it; `keep` is called with each sample that is intact.

    decode: whether fields are decoded. media: sound and films, too.
    """
    report = Report(url)
    samples = salvaged(url, opener, lambda error: report.problems.append(Problem.of(url, error)))
    keys: set[str] = set()
    for sample, faults, unchecked in _decoded(samples, media) if decode else ((sample, [], []) for sample in samples):
        key = sample["__key__"]
        if key in keys:
            message = "an earlier sample has the same key (`streamwds sort` puts files together that lie apart)"
            faults = [Problem(url, message, key=key), *faults]
        keys.add(key)
        report.problems += faults
        report.unchecked.update(unchecked)
        if not faults:
            report.samples += 1
            report.files += len(sample) - 2
            report.bytes += sum(len(value) for name, value in sample.items() if name not in ("__key__", "__url__"))
            keep(sample)
    report.others = _others(url)
    return report


def _others(url: str) -> list[str]:
    """Files that belong to no sample, as an index tells of a shard that has one or may have."""
    if not indexable(url):
        return []
    found = tar.index(url, eof="lenient", handler=lambda error: True)
    return [found.name(number) for number in (found.fields < 0).nonzero()[0].tolist()] if found.intact else []


def _decoded(samples: Iterator[Sample], media: bool) -> Iterator[tuple[Sample, list[Problem], list[str]]]:
    """Samples, with what is wrong with their fields, and why others were not looked at."""
    more = (numpy_audio, numpy_video) if media else ()
    decoders: Memo[str, Decode | None] = Memo(lambda field: decoder(field, "rgb8", *more), most=4096)

    def look(sample: Sample) -> tuple[list[Problem], list[str]]:
        faults: list[Problem] = []
        unchecked: list[str] = []
        for field, data in sample.items():
            if field in ("__key__", "__url__") or (decode := decoders[field]) is None:
                continue
            try:
                decode(data)
            except (MissingExtraError, UntrustedDataError) as error:
                unchecked.append(error.message)
            except Exception as error:
                message = f"{len(data)} bytes can't be decoded: {_reason(error)}"
                faults.append(Problem(sample["__url__"], message, key=sample["__key__"], field=field))
        return faults, unchecked

    for sample, work in in_order(look, samples, os.cpu_count() or 1):
        yield sample, *work.result()


def _reason(error: Exception) -> Any:
    return error.message if isinstance(error, StreamwdsError) else f"{type(error).__name__}: {error}"
