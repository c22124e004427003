"""Names of shards: `urls` expands patterns into a stream of URLs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlsplit

import attrs
from braceexpand import braceexpand

from streamwds.errors import SourceError
from streamwds.stage import Stream
from streamwds.steps import Source
from streamwds.values import code

__all__ = ["Urls", "expand", "shard_name", "urls"]

Pattern: TypeAlias = "str | os.PathLike[str]"


def expand(pattern: str) -> list[str]:
    """The URLs of one pattern: `{a,b}` and `{00..12}` as in bash; `*`, `?`, `[…]` match local files, in sorted order.

    A backslash takes a brace as it is.

    >>> expand("train-{08..10}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    if not pattern.strip():
        raise SourceError("an empty URL pattern")
    try:
        names = list(braceexpand(pattern))
    except ValueError as error:
        raise SourceError(
            f"the braces of the URL pattern {pattern!r} don't match ({error}); write \\{{ for a plain brace"
        ) from error
    return [url for name in names for url in (_matching(name) if _is_glob(name) else [name])]


def shard_name(url: str) -> str:
    """The name of a shard, wherever it lies and however its URL is signed.

    >>> shard_name("https://example.org/photos/train-000017.tar?signature=x"), shard_name("/data/train-000017.tar")
    ('train-000017.tar', 'train-000017.tar')
    """
    return os.path.basename(_path(url))


def _path(url: str) -> str:
    return urlsplit(url).path if "://" in url else url


def _is_glob(name: str) -> bool:
    return glob.has_magic(name) and "://" not in name and not name.startswith("pipe:") and not os.path.exists(name)


def _matching(name: str) -> list[str]:
    found = sorted(glob.glob(name))
    if not found:
        raise SourceError(f"no file matches {name!r} (in {os.getcwd()})")
    return found


def _patterns(given: Iterable[Any]) -> tuple[str, ...]:
    patterns: list[str] = []
    for pattern in given:
        if isinstance(pattern, (str, os.PathLike)):
            path: Any = os.fspath(pattern)
            if not isinstance(path, str):
                raise SourceError(f"a URL pattern is a str, not bytes: {path!r}")
            patterns.append(path)
        elif isinstance(pattern, Iterable) and not isinstance(pattern, (bytes, bytearray)):
            patterns.extend(_patterns(pattern))
        else:
            raise SourceError(f"a URL pattern is a str or a path, or a list of them, not {pattern!r}")
    return tuple(patterns)


@attrs.frozen(repr=False)
class Urls(Source):
    """The URLs of some patterns, expanded once, when they are given."""

    name: ClassVar[str] = "urls"
    kind = "str"
    bound: ClassVar[bool] = True
    patterns: tuple[str, ...] = attrs.field(converter=_patterns)
    expanded: tuple[str, ...] = attrs.field(init=False)

    @expanded.default  # pyright: ignore
    def _expand(self) -> tuple[str, ...]:
        if not self.patterns:
            raise SourceError('no URLs: give at least one pattern, as in urls("train-{000000..000146}.tar")')
        return tuple(url for pattern in self.patterns for url in expand(pattern))

    def items(self, start: int) -> Iterator[str]:
        return iter(self.expanded[start:] if start else self.expanded)

    def number(self, item: Any) -> int | None:
        return self.expanded.index(item) if item in self.expanded else None

    def identity(self) -> Any:
        """The names, without what changes when a dataset moves or its URLs are signed anew: common folder, query."""
        paths = [_path(url) for url in self.expanded]
        folder = os.path.dirname(os.path.commonprefix([os.path.dirname(p) + "/" for p in paths]))  # noqa: RUF071
        return [path[len(folder) :] for path in paths]

    def __repr__(self) -> str:
        return f"urls({', '.join(map(code, self.patterns))})"


def urls(*patterns: Pattern | Iterable[Pattern]) -> Stream[str]:
    """A stream of the URLs that the patterns name, in their order.

    A pattern is a str or a path: braces are expanded as in bash, and `*`, `?`, `[…]` match local files. Several
    patterns, or lists of them, follow each other. No pattern, an empty one, and one that matches nothing are a
    `SourceError`.

    >>> len(urls("train-{000000..000146}.tar") | list)
    147
    >>> urls("a.tar", ["b-{0,1}.tar"]) | list
    ['a.tar', 'b-0.tar', 'b-1.tar']
    """
    return Stream(Urls(patterns))
