"""Names of shards: `urls` expands patterns, and lists of them, into a stream of URLs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlsplit

import attrs
from braceexpand import braceexpand

from streamwds.errors import SourceError
from streamwds.redacted import redacted
from streamwds.shards.gopen import Gopen
from streamwds.shards.lists import LIST_SCHEMES, check_schemes, entries
from streamwds.shards.local import scheme_of
from streamwds.shards.opening import Opener, check_opener, open_url
from streamwds.stage import Stream
from streamwds.steps import Source
from streamwds.values import code

__all__ = ["Urls", "expand", "shard_name", "urls", "urls_from"]

Pattern: TypeAlias = "str | os.PathLike[str]"

VARIABLE = re.compile(r"(?<!\\)\$(?:(\w+)|\{(\w+)\})")


def expand(pattern: str, opener: Opener = open_url, schemes: frozenset[str] = LIST_SCHEMES) -> list[str]:
    """The URLs of one pattern.

    First variables of the environment (`$NAME`, `${NAME}`) are put in, then braces expanded as in bash (`{a,b}`,
    `{00..12}`), then what matches `*`, `?`, `[…]` is looked up, in sorted order: among local files, or by fsspec. A
    backslash takes a brace or dollar as it is. What begins with @ is a list, whose entries are held to `schemes`.

    >>> expand("train-{08..10}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    if not pattern.strip():
        raise SourceError("an empty URL pattern")
    found: list[str] = []
    for name in _unbraced(_with_variables(pattern)):
        if name.startswith("@"):
            for entry, is_pattern in entries(name[1:], opener, schemes, _unbraced):
                found += _matching(entry, opener) if is_pattern else [entry]
        else:
            found += _matching(name, opener)
    return found


def _with_variables(pattern: str) -> str:
    if "$" not in pattern or scheme_of(pattern) == "pipe" or os.path.exists(pattern):  # (the shell has its own)
        return pattern

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise SourceError(
                f"the environment has no variable {name}, which the URL pattern {redacted(pattern)!r} names; "
                "write \\$ for a plain dollar"
            )
        return os.environ[name]

    return VARIABLE.sub(value, pattern)


def _unbraced(pattern: str) -> list[str]:
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise SourceError(
            f"the braces of the URL pattern {redacted(pattern)!r} don't match ({error}); write \\{{ for a plain brace"
        ) from error


def shard_name(url: str) -> str:
    """The name of a shard, wherever it lies and however its URL is signed.

    >>> shard_name("https://example.org/photos/train-000017.tar?signature=x"), shard_name("/data/train-000017.tar")
    ('train-000017.tar', 'train-000017.tar')
    """
    return os.path.basename(_path(url))


def _path(url: str) -> str:
    return urlsplit(url).path if "://" in url else url


def _matching(name: str, opener: Opener) -> list[str]:
    """What a name matches that may be a glob; itself if it is none."""
    scheme = scheme_of(name)
    if not glob.has_magic(name) or scheme in ("pipe", "http", "https", "file"):
        return [name]
    if scheme:
        from streamwds.shards.remote import matching  # (not everybody opens URLs)

        found = matching(name, opener if isinstance(opener, Gopen) else open_url) if "://" in name else [name]
    else:
        found = [name] if os.path.exists(name) else sorted(map(_as_path, glob.glob(name)))
    if not found:
        raise SourceError(f"no file matches {redacted(name)!r}{'' if scheme else f' (in {os.getcwd()})'}")
    return found


def _as_path(name: str) -> str:
    """The name of a file, written so that it is no URL, whatever the file is called."""
    return os.path.join(os.curdir, name) if scheme_of(name) else name


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
    opener: Opener = open_url
    schemes: frozenset[str] = attrs.field(default=LIST_SCHEMES, converter=check_schemes)
    expanded: tuple[str, ...] = attrs.field(init=False)

    @expanded.default  # pyright: ignore
    def _expand(self) -> tuple[str, ...]:
        if not self.patterns:
            raise SourceError('no URLs: give at least one pattern, as in urls("train-{000000..000146}.tar")')
        check_opener(self.opener)
        return tuple(url for pattern in self.patterns for url in expand(pattern, self.opener, self.schemes))

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
        arguments = [*map(code, self.patterns)]
        if self.opener != open_url:
            arguments.append(f"opener={code(self.opener)}")
        if self.schemes != LIST_SCHEMES:
            arguments.append(f"schemes={code(self.schemes) if self.schemes else '()'}")
        return f"urls({', '.join(arguments)})"


def urls(
    *patterns: Pattern | Iterable[Pattern], opener: Opener = open_url, schemes: Collection[str] = LIST_SCHEMES
) -> Stream[str]:
    """A stream of the URLs that the patterns name, in their order.

    A pattern is a str or a path: variables of the environment (`$DATA`) are put in, braces are expanded as in bash,
    and `*`, `?`, `[…]` match files, local ones, or by fsspec (`s3://bucket/train-*.tar`). `@` and the name of a list
    stands for what the list names (see `urls_from`). Several patterns, or lists of them, follow each other. No
    pattern, an empty one, and one that matches nothing are a `SourceError`. All is looked up once, here.

    opener: opens lists; a `Gopen` also has the storage_options with which fsspec looks for files.
    schemes: what lists may name.

    >>> len(urls("train-{000000..000146}.tar") | list)
    147
    >>> urls("a.tar", ["b-{0,1}.tar"]) | list
    ['a.tar', 'b-0.tar', 'b-1.tar']
    """
    return Stream(Urls(patterns, opener, schemes))


def urls_from(file: Pattern, *, opener: Opener = open_url, schemes: Collection[str] = LIST_SCHEMES) -> Stream[str]:
    """A stream of the URLs that a list names: `urls("@list.txt")`.

    A list has one pattern a line (empty lines and those that begin with # are passed over), or, if its name ends with
    .json, is an index: a list of shards, or a dict that has one as its `shardlist` (as those of wids) or `shards`;
    each shard a name, or a dict with its `url` or `name`. Plain names are relative to the folder of the list.

    A list is data, so it may only name `schemes`: unless given, plain paths (if the list itself is a local file), http,
    https, and the usual object stores. `pipe:`, `file:`, `local:`, `ssh:`, chains (`a::b`) and other lists are always
    refused, by a `SourceError`, and variables of the environment are not looked up.

    >>> _ = (tmp_path / "list.txt").write_text("# two of them\\na-{0..1}.tar\\n")
    >>> [url.removeprefix(str(tmp_path)) for url in urls_from(tmp_path / "list.txt")]
    ['/a-0.tar', '/a-1.tar']
    """
    return Stream(Urls((f"@{os.fspath(file)}",), opener, schemes))
