"""From what the user typed to shards and samples."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable

from streamwds import Member, Sample, Stream, open_shards, tarfiles, tarsamples, urls
from streamwds.cli.telling import UsageError
from streamwds.errors import OpenError, SourceError
from streamwds.handlers import Handler, reraise_exception
from streamwds.shards.local import local_path, scheme_of
from streamwds.shards.opening import Opener, open_url
from streamwds.tar.headers import BLOCK
from streamwds.tar.stream import is_compressed

__all__ = ["bytes_of", "found", "indexable", "members_of", "path_of", "samples_of", "verbatim"]

ALONE = {"rank": 0, "world_size": 1, "worker": 0, "workers": 1}  # whatever the environment says


def found(patterns: Iterable[str]) -> list[str]:
    """The URLs of the patterns, as `urls` expands them; those of local files are there."""
    try:
        names = list(urls(list(patterns)).within(**ALONE))
    except (OpenError, SourceError) as error:
        raise UsageError(str(error)) from error
    for name in names:
        path = path_of(name)
        if path is None:
            continue
        if not os.path.exists(path):
            raise UsageError(f"there is no such file (looked for {os.path.abspath(path)})", url=name)
        if os.path.isdir(path):
            raise UsageError(f"it is a folder; give its shards, as in '{os.path.join(name, '*.tar')}'", url=name)
    if names.count("-") > 1:
        raise UsageError("standard input can be read only once", url="-")
    return names


def path_of(url: str) -> str | None:
    """The path of a local file, whether it is there or not; None for any other URL."""
    return local_path(url) if scheme_of(url) in ("", "file") else None


def indexable(url: str) -> bool:
    """Whether it is a local file, and not compressed, so that something can be read from its middle."""
    path = path_of(url)
    if path is None or not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open_url(url) as raw:
        return not is_compressed(raw.read(BLOCK), url)


def bytes_of(names: Iterable[str]) -> int | None:
    """The size of all these files, as they lie there; None if it is not known."""
    total = 0
    for name in names:
        path = path_of(name)
        if path is None or not os.path.isfile(path):
            return None
        total += os.path.getsize(path)
    return total


def verbatim(url: str) -> str:
    r"""The pattern that stands for this URL alone.

    >>> print(verbatim("a{1}.tar"))
    a\{1\}.tar
    """
    return re.sub(r"([\\{}$])", r"\\\1", url)


def samples_of(
    shards: Iterable[str],
    opener: Opener = open_url,
    *,
    suffixes: Collection[str] | None = None,
    handler: Handler = reraise_exception,
) -> Stream[Sample]:
    """All samples of the shards."""
    stream = [*shards] | tarsamples(opener=opener, suffixes=suffixes, handler=handler)
    return stream.within(**ALONE)


def members_of(
    shards: Iterable[str], opener: Opener = open_url, *, handler: Handler = reraise_exception
) -> Stream[Member]:
    """All files in the shards, whether they belong to a sample or not."""
    stream = [*shards] | open_shards(opener=opener) | tarfiles(skip_meta=False, handler=handler)
    return stream.within(**ALONE)
