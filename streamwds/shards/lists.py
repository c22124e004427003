"""Lists of shards: one pattern a line, or a JSON index. A list is data, and is believed less than code.

What a list names is held to schemes that code allows; it never runs a command, follows no chain of filesystems, reads
no variable of the environment, and can't make more names than memory holds.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

from streamwds.errors import SourceError
from streamwds.redacted import redacted
from streamwds.shards.local import local_path, scheme_of

__all__ = ["LIST_SCHEMES", "check_schemes", "entries"]

LIST_SCHEMES = frozenset({"", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"})
"""The schemes that a list may name unless code says otherwise; "" is a plain path, in lists that are local files."""

NEVER = frozenset({"pipe", "file", "local", "ssh", "-"})  # these run something, or reach whatever this machine can read
LIMIT = 1 << 28  # bytes of a list
MOST = 1_000_000  # names for which the braces in a list may stand
DEEPEST = 32  # braces within braces
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
GROUP = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(-?\w+)\.\.(-?\w+)(?:\.\.-?\w+)?")


def check_schemes(given: Any) -> frozenset[str]:
    """The schemes as a set; a `ValueError` for those that no list may have."""
    if isinstance(given, str) or not all(isinstance(scheme, str) for scheme in given):
        raise ValueError(f"schemes is a set of names such as {{'https', 's3'}}, not {given!r}")
    schemes = frozenset(scheme.lower() for scheme in given)
    if refused := schemes & NEVER:
        raise ValueError(f"no list may name {', '.join(sorted(refused))}: URLs; give those in code, as patterns")
    return schemes


def entries(
    url: str, opener: Callable[[str, int], Any], schemes: frozenset[str], unbraced: Callable[[str], list[str]]
) -> Iterator[tuple[str, bool]]:
    """The entries of a list: each as a URL or path, and whether it may be a glob (names in an index are no patterns).

    Braces are expanded by `unbraced` before anything is decided: `{pipe,x}:` is a pipe, too. Plain names are relative
    to the folder in which the list is.
    """
    with io.BufferedReader(opener(url, 0)) as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise SourceError(f"the list {redacted(url)} has more than {LIMIT} bytes")
    try:
        text = data.decode("utf-8-sig")
        is_index = url.partition("?")[0].endswith(".json")
        names = _indexed(json.loads(text)) if is_index else _lines(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the list {redacted(url)} can't be read: {error}") from error
    if not names:
        raise SourceError(f"the list {redacted(url)} names no shards")
    if not is_index and sum(_size(entry) for entry in names if "{" in entry) > MOST:
        raise SourceError(f"the list {redacted(url)} has braces that stand for more than {MOST:,} names")
    for entry in names:
        try:
            for name in [entry] if is_index else unbraced(entry):
                yield _placed(name, url, schemes), not is_index
        except ValueError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"the list {redacted(url)} names {redacted(entry)!r:.200}: {error}") from None


def _lines(text: str) -> list[str]:
    """What is on the lines, without empty ones and comments."""
    lines = (line.rstrip("\r").strip(" \t") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _indexed(index: Any) -> list[str]:
    """The names in a JSON index: a list of shards, or a dict that has one as its `shardlist` (as wids has) or `shards`.

    A shard is a name, or a dict with a `url` or `name`; its numbers of samples and bytes are not needed for reading.
    """
    if isinstance(index, dict):
        index = index.get("shardlist", index.get("shards"))
    if not isinstance(index, list):
        raise ValueError('an index is a list of shards, or a dict that has one as its "shardlist" or "shards"')
    names: list[str] = []
    for shard in index:
        name = shard.get("url", shard.get("name")) if isinstance(shard, dict) else shard
        if not isinstance(name, str) or not name:
            raise ValueError(f'{shard!r:.100} is no shard: a name, or a dict with a "url" or "name", is')
        names.append(name)
    return names


def _placed(name: str, url: str, schemes: frozenset[str]) -> str:
    """What an entry of a list stands for; a ValueError if it may not be there."""
    if CONTROL.search(name):
        raise ValueError("it has control characters")
    if "::" in name:
        raise ValueError("lists may not name chains of filesystems (::)")
    if name.startswith("@"):
        raise ValueError("lists may not name lists")
    scheme = scheme_of(name)
    if scheme in NEVER or scheme not in schemes:
        may = ", ".join(sorted(known or "plain paths" for known in schemes))
        raise ValueError(f"lists may name {may}; code may allow more, by urls_from(…, schemes={{…}})")
    if scheme:
        return name
    if scheme_of(url) in ("", "file"):
        return os.path.join(os.path.dirname(local_path(url)), name)
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError("names in a list that is not a local file are relative to its folder, and don't leave it")
    return posixpath.join(posixpath.dirname(url.partition("?")[0]), name)


def _size(pattern: str) -> int:
    """At most how many names the braces of a pattern stand for, found without making them."""
    size = 1
    for _ in range(DEEPEST):
        groups = GROUP.findall(pattern)
        for group in groups:
            size *= _length(group) if size <= MOST else 1
        if not groups:
            return size
        pattern = GROUP.sub("", pattern)
    return MOST + 1


def _length(group: str) -> int:
    ends = RANGE.fullmatch(group)
    if ends is None:
        return group.count(",") + 1
    if any(len(end) > 18 for end in ends.groups()):
        return MOST + 1
    first, last = (int(end) if end.lstrip("-").isdecimal() else ord(end[-1]) for end in ends.groups())
    return abs(last - first) + 1
