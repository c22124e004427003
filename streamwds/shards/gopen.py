"""`gopen`: from any name to bytes, by a table of schemes; `Gopen`: how it is done, as a value.

    tarsamples(opener=Gopen(timeout=60, storage_options={"anon": True}))

The table is `gopen_schemes`: plain paths (""), standard input and output ("-"), `file`, `pipe`, `http`, `https`, and
for all others ("*") fsspec. It can't be changed; an opener takes another one: `Gopen(schemes={**gopen_schemes, "ais":
open_ais})`, where `open_ais(url, offset, options)` gives an unbuffered binary file. A `Scheme` says more of it, such as
how its URLs are written.

Nothing in the environment sends a URL elsewhere or allows what code did not. GOPEN_VERBOSE=1 tells of each opening and
each failure on standard error (the logger "streamwds.gopen" always does, at level DEBUG), and GOPEN_BUFFER is the
size of `gopen`'s buffer. In place of the ancestor's GOPEN_REWRITE and USE_AIS_FOR stand variables in patterns
(`urls("$DATA/a-{0..9}.tar")`), and the table.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, overload

import attrs

from streamwds.errors import OpenError, WriteError
from streamwds.shards.local import LocalPlace, create_local, create_standard, open_local, open_standard, scheme_of
from streamwds.shards.telling import note
from streamwds.shards.writing import writing
from streamwds.values import FrozenMapping, code

if TYPE_CHECKING:
    from streamwds.shards.writing import Place, Target

__all__ = ["Gopen", "Scheme", "gopen", "gopen_schemes", "open_for_writing"]

BUFFER = 1 << 18

Open: TypeAlias = "Callable[[str, int, Gopen], BinaryIO]"
Name: TypeAlias = "str | os.PathLike[str]"
Create: TypeAlias = "Callable[[str, Gopen], Target]"
PlaceOf: TypeAlias = "Callable[[str, Gopen], Place]"


@attrs.frozen
class Scheme:
    """How the URLs of a scheme are opened.

    open: from URL, offset and options to an unbuffered binary file that begins at the offset.
    create: from URL and options to something to be written, which is published when it is complete; None: there is no
        writing.
    jumps: whether opening at an offset costs no more than opening at the start.
    place: from URL and options to what tells whether something lies there, and removes it; None: that can't be known,
        so writing can't be resumed.
    """

    open: Open = attrs.field(repr=code)
    create: Create | None = attrs.field(default=None, repr=code)
    jumps: bool = False
    place: PlaceOf | None = attrs.field(default=None, repr=code)


def _schemes(given: Mapping[str, Scheme | Open]) -> FrozenMapping:
    return FrozenMapping({name: how if isinstance(how, Scheme) else Scheme(how) for name, how in given.items()})


@attrs.frozen
class _Later:
    """A function of a neighbouring module, which is imported when it is used: not everybody opens pipes and URLs."""

    module: str
    name: str

    def __call__(self, *args: Any) -> Any:
        return getattr(import_module(f"streamwds.shards.{self.module}"), self.name)(*args)


def _later(module: str, *, jumps: bool = False, places: bool = False) -> Scheme:
    opens, creates, place = (_Later(module, f"{name}_{module}") for name in ("open", "create", "place"))
    return Scheme(opens, creates, jumps, place if places else None)


gopen_schemes: Mapping[str, Scheme] = _schemes(
    {
        "": Scheme(open_local, create_local, place=LocalPlace),
        "-": Scheme(open_standard, create_standard),
        "file": Scheme(open_local, create_local, place=LocalPlace),
        "pipe": _later("pipes"),
        "http": _later("web", jumps=True),
        "https": _later("web", jumps=True),
        "*": _later("remote", jumps=True, places=True),
    }
)
"""How URLs are opened, by scheme: "" is a plain path, "-" standard input and output, "*" any other, by fsspec."""


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise ValueError(f"{attribute.name} is a number of seconds above 0, not {value!r}")


def _tries(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{attribute.name} is a number of tries, 0 or more, not {value!r}")


@attrs.frozen(repr=False)
class Gopen:
    """Opens shards: an opener, to be given to `tarsamples(opener=…)`, `open_shards(opener=…)` or `Shard`, and to what
    writes: `TarWriter(opener=…)`, `ShardWriter`, `tee` and `write_to`.

    Parameters
    ----------
    timeout: seconds to wait for a connection, and for the next bytes of one.
    retries: how often a source that fails is asked again without a single byte of progress: the count starts anew with
        each byte that comes. The time between grows from 0.5 seconds, twice as long each time, with jitter.
    patience: the most seconds to wait before asking again, also where a server asks for more (Retry-After).
    allow_pipe: whether `pipe:` URLs run their command.
    skip_unreachable: whether a handler is asked about a source that stays unreachable. Else that is always raised, so
        that a passing failure doesn't change what an epoch holds.
    headers: for http and https, such as {"Authorization": "Bearer …"}; never sent to another server by a redirect.
    storage_options: for what fsspec opens, such as {"anon": True}.
    schemes: how URLs are opened, by scheme: `gopen_schemes`, or a table of your own.

    Called with a URL and an offset it gives an unbuffered binary file. An http source whose connection is cut is asked
    for the rest (Range, If-Range); one without ranges is read again up to the place; one that changed in between is a
    `ChangedError`, one that stays away an `UnreachableError`. The repr shows no secrets: `...` stands for each value
    among headers and storage_options that is no number.

    >>> Gopen(timeout=5, headers={"Authorization": "Bearer abc"})
    Gopen(timeout=5, headers={'Authorization': ...})
    >>> Gopen()("pipe:ls")
    Traceback (most recent call last):
    ...
    streamwds.errors.OpenError: pipe:ls: pipe: URLs run a command, which only an opener Gopen(allow_pipe=True) does
    """

    timeout: float = attrs.field(default=30.0, validator=_seconds)
    retries: int = attrs.field(default=8, validator=_tries)
    patience: float = attrs.field(default=60.0, validator=_seconds)
    allow_pipe: bool = False
    skip_unreachable: bool = False
    headers: Mapping[str, str] = attrs.field(default=FrozenMapping(), converter=FrozenMapping)
    storage_options: Mapping[str, Any] = attrs.field(default=FrozenMapping(), converter=FrozenMapping)
    schemes: Mapping[str, Any] = attrs.field(default=gopen_schemes, converter=_schemes)

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        """The bytes at a URL, from an offset on, as an unbuffered binary file."""
        note("%s: open at byte %d", url, offset)
        return self._scheme(url).open(url, offset, self)

    def create(self, url: str) -> Target:
        """Something to be written, which appears at the URL when it is published; a `WriteError` if that can't be."""
        note("%s: write", url)
        with writing(url):
            create = self._scheme(url).create
            if create is None:
                raise WriteError(f"{scheme_of(url)}: URLs can't be written", url=url)
            return create(url, self)

    def place(self, url: str) -> Place:
        """What tells whether something lies at the URL; a `WriteError` where that can't be told for certain."""
        with writing(url):
            place = self._scheme(url).place
            if place is None:
                raise WriteError(
                    f"{scheme_of(url)}: URLs don't tell what was written there, so nobody could go on with it: write "
                    "without resume, or to a local folder, with a post= that moves each shard",
                    url=url,
                )
            return place(url, self)

    def jumps(self, url: str) -> bool:
        """Whether opening this URL at an offset costs no more than at its start."""
        return self._scheme(url).jumps

    def _scheme(self, url: str) -> Scheme:
        name = scheme_of(url)
        found: Scheme | None = self.schemes.get(name)
        if found is None and ("://" in url or "::" in url):
            found = self.schemes.get("*")
        if found is None:
            raise OpenError(
                f"{name}: URLs can't be opened; give a path (./{name}:… for a file of that name), a URL with ://, or a "
                "table that knows it: Gopen(schemes={…})",
                url=url,
            )
        return found

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in attrs.fields(Gopen):
            value = getattr(self, field.name)
            if value != field.default:
                hidden = field.name in ("headers", "storage_options")
                shown.append(f"{field.name}={code(_without_secrets(value) if hidden else value)}")
        return f"Gopen({', '.join(shown)})"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return value if isinstance(value, (int, float, type(None))) else _Hidden()


class _Hidden:
    def __repr__(self) -> str:
        return "..."


@overload
def gopen(
    url: Name, mode: Literal["rb"] = "rb", offset: int = 0, *, bufsize: int | None = None, **options: Any
) -> BinaryIO: ...
@overload
def gopen(
    url: Name, mode: Literal["wb"], offset: int = 0, *, bufsize: int | None = None, **options: Any
) -> Writing: ...
def gopen(url: Name, mode: str = "rb", offset: int = 0, *, bufsize: int | None = None, **options: Any) -> Any:
    """Open a path or URL, for reading ("rb") or writing ("wb"), as a binary file.

    Parameters
    ----------
    offset: where reading begins; by a seek or a Range request, or else by reading up to it.
    bufsize: of the buffer for reading; None: GOPEN_BUFFER of the environment, or 256 kB. 0: no buffer.
    options: those of `Gopen`.

    What is written appears at its URL at the end of a `with` block that ends well, or at `close`.

    >>> with gopen(tmp_path / "a.txt", "wb") as file:
    ...     size = file.write(b"a cat")
    >>> with gopen(tmp_path / "a.txt", offset=2) as file:
    ...     file.read()
    b'cat'
    """
    name, opener = os.fspath(url), Gopen(**options)
    if mode == "wb" and not offset:
        return Writing(opener.create(name), name)
    if mode != "rb":
        raise ValueError(f'mode is "rb", or "wb" without an offset; not {mode!r}{f" at {offset}" if offset else ""}')
    size = _buffer() if bufsize is None else bufsize
    raw: Any = opener(name, offset)
    return raw if size <= 0 else io.BufferedReader(raw, size)


def _buffer() -> int:
    given = os.environ.get("GOPEN_BUFFER", str(BUFFER))
    if not given.isdecimal():
        raise ValueError(f"GOPEN_BUFFER is a number of bytes, not {given!r}")
    return int(given)


def open_for_writing(url: Name, opener: Gopen | None = None) -> Target:
    """Something to be written to a path or URL: `write` to it, and then `publish` or `discard` it."""
    return (opener or Gopen()).create(os.fspath(url))


class Writing(io.BufferedIOBase):
    """A file that appears under its name when it is closed, and doesn't where a `with` block ends in an error."""

    def __init__(self, target: Target, url: str) -> None:
        self._target = target
        self._url = url

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            return self._target.write(data)
        except BaseException:  # (what misses something in its middle must not appear, however it is closed)
            self._target.discard()
            super().close()
            raise

    def close(self) -> None:
        if not self.closed:
            try:
                self._target.publish()
            except BaseException as error:
                self._target.discard()
                if isinstance(error, OSError):
                    raise WriteError(f"writing failed: {error.strerror or error}", url=self._url) from error
                raise
            finally:
                super().close()

    def __exit__(self, *failure: Any) -> None:
        if failure[0] is None:
            self.close()
        else:
            self._target.discard()
            super().close()

    def __del__(self) -> None:
        if not self.closed:
            self._target.discard()
            super().close()
