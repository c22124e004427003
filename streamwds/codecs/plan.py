"""Which decoder decodes a field: what the user named, the table, and the longest extension.

A `Plan` is made once for a pipeline, and asked once for each name of a field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import attrs
import numpy as np

from streamwds.codecs import compressed, images, media
from streamwds.codecs.codec import Decode, Rules
from streamwds.codecs.table import CODECS, longest_extension
from streamwds.errors import DecodeError
from streamwds.memo import Memo
from streamwds.values import FrozenMapping, code

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "ByExtension",
    "Continue",
    "Decoder",
    "Globs",
    "Pictures",
    "Plan",
    "by_glob",
    "by_table",
    "check_decoder",
    "decoder",
    "decompress",
    "handle_extension",
    "must_decode",
    "numpy_audio",
    "numpy_video",
    "torch_audio",
    "torch_video",
]

_OfBytes: TypeAlias = "Callable[[bytes], Any] | Callable[[bytes, Generator], Any]"
_OfKeyAndBytes: TypeAlias = "Callable[[str, bytes], Any] | Callable[[str, bytes, Generator], Any]"
Decoder: TypeAlias = "str | Mapping[str, _OfBytes] | _OfKeyAndBytes | ByExtension"
"""What decodes: an image spec, functions by extension, `(key, data) -> value or None`, `torch_audio` …

With `decode(rng=True)` functions take a random generator, too.
"""


@attrs.frozen
class Continue:
    """What a decoder gives that only took a wrapping off: the decoders after it go on with this key and these bytes.

    >>> def rot13(key: str, data: bytes) -> Continue | None:
    ...     return Continue(key[:-6], data.translate(letters)) if key.endswith(".rot13") else None
    >>> letters = bytes.maketrans(b"aehllo", b"nruyyb")
    >>> [{"txt.rot13": b"hello"}] | decode(rot13) | list
    [{'txt.rot13': 'uryyb'}]
    """

    key: str
    data: Any


def handle_extension(extensions: str, function: Callable[[bytes], Any]) -> Mapping[str, Callable[[bytes], Any]]:
    """The same function for several extensions, separated by spaces: the same as a dict from each to the function.

    >>> [{"seg.txt": b"1 2", "txt": b"1 2"}] | decode(handle_extension("seg.txt mask.txt", bytes.split)) | list
    [{'seg.txt': [b'1', b'2'], 'txt': '1 2'}]
    """
    names = extensions.split() if isinstance(extensions, str) else []  # pyright: ignore[reportUnnecessaryIsInstance]
    if not names:
        raise ValueError(f'extensions are separated by spaces, such as "seg.png mask.png", not {extensions!r}')
    return FrozenMapping(dict.fromkeys(names, function))


# ---- decoders that go by the extension alone


@attrs.frozen(repr=False)
class ByExtension:
    """A decoder that goes by the extension alone. In a list of decoders it stands for itself, and its repr is its name.

    `own`: whether the user named it, and it is not only there because nobody named another.
    """

    name: str
    own: ClassVar[bool] = False

    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        """By which of its extensions it decodes a field (in lower case), and with what function."""
        raise TypeError(f"{type(self).__name__} does not say what it decodes")

    def __repr__(self) -> str:
        return self.name


class _Table(ByExtension):
    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        extension = longest_extension(field, CODECS)
        codec = None if extension is None else CODECS[extension]
        decode = None if codec is None or codec.asked else codec.decoder(rules)
        return None if extension is None or decode is None else (extension, decode)


class _Decompress(ByExtension):
    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        rest, names = compressed.unwrap(field)
        return (names[0], partial(_unwrapped, rest, names, rules)) if names else None


def _unwrapped(rest: str, names: tuple[str, ...], rules: Rules, data: bytes) -> Continue:
    return Continue(rest, compressed.unpack(data, names, rules))


@attrs.frozen(repr=False)
class _Media(ByExtension):
    own: ClassVar[bool] = True
    extensions: frozenset[str]
    torch: bool

    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        extension = longest_extension(field, CODECS)
        decode = CODECS[extension].decoder(rules) if extension in self.extensions else None
        if extension is None or decode is None:
            return None
        return extension, partial(media.as_tensors, decode=decode) if self.torch else decode


@attrs.frozen(repr=False)
class Pictures(ByExtension):
    """Decodes pictures as a spec says, into arrays that `empty` makes."""

    own: ClassVar[bool] = True
    spec: images.ImageSpec
    empty: images.Empty = np.empty

    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        extension = longest_extension(field, CODECS)
        if extension is None or extension not in images.ALLOWED:
            return None
        return extension, images.image_decoder(self.spec, images.ALLOWED[extension], rules.max_pixels, self.empty)


@attrs.frozen
class _Functions(ByExtension):
    own: ClassVar[bool] = True
    functions: Mapping[str, Callable[..., Any]]

    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        extension = longest_extension(field, self.functions)
        return None if extension is None else (extension, self.functions[extension])


@attrs.frozen(repr=False)
class Globs(ByExtension):
    """Decodes the fields that globs mean; of several that mean a field, the last counts."""

    own: ClassVar[bool] = True
    functions: tuple[tuple[str, Decode], ...]

    def find(self, field: str, rules: Rules) -> tuple[str, Decode] | None:
        for glob, function in reversed(self.functions):
            if any(fnmatchcase(name, glob.lower()) for name in (field, f".{field}")):
                return glob.lstrip("*."), function
        return None

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(code, self.functions))})"


def by_glob(*functions: tuple[str, Callable[[bytes], Any]]) -> Globs:
    """Decodes fields by globs of their names: pairs such as `("*.png", f)`, a function of the bytes each.

    A name counts with a dot before it, too: "*.png" means `png` and `seg.png`. Of several that mean a field, the last.

    >>> [{"left.txt": b"1 2", "txt": b"1 2"}] | decode(by_glob(("left.*", bytes.split))) | list
    [{'left.txt': [b'1', b'2'], 'txt': '1 2'}]
    """
    for pair in functions:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str) or not callable(pair[1]):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f'by_glob takes pairs of a glob and a function, as in ("*.png", f), not {pair!r:.80}')
    return Globs("by_glob", functions)


def must_decode(key: str, data: bytes) -> Any:
    """For `decode(post=(by_table, must_decode))`: a field that nothing before it decodes is a `DecodeError`."""
    raise DecodeError(f'no decoder is known for {key!r}: give one, such as decode("rgb") or decode({{"{key[1:]}": f}})')


by_table = _Table("by_table")
"""Decodes by the table of codecs, all but what must be asked for (pictures, sound, films). See `decode(post=…)`."""

decompress = _Decompress("decompress")
"""Takes the compressions gz bz2 xz zst lz4 off. See `decode(pre=…)`."""

numpy_audio = _Media("numpy_audio", frozenset(media.AUDIO), torch=False)
"""Decodes sound: float32 array channels × frames, in −1..1, and the rate in Hz."""

torch_audio = _Media("torch_audio", frozenset(media.AUDIO), torch=True)
"""Decodes sound: float32 tensor channels × frames, in −1..1, and the rate in Hz."""

numpy_video = _Media("numpy_video", frozenset(media.VIDEO), torch=False)
"""Decodes films: frames (uint8 array, frames × height × width × 3), sound as by `numpy_audio`, and a dict of rates."""

torch_video = _Media("torch_video", frozenset(media.VIDEO), torch=True)
"""Decodes films: frames (uint8 tensor, frames × height × width × 3), sound as by `torch_audio`, and a dict of rates."""


# ---- the plan

RULES = Rules()


def check_decoder(decoder: object) -> None:
    """Raise for what can't decode: `ValueError` for an unknown image spec, `TypeError` for anything else."""
    if isinstance(decoder, str):
        images.image_spec(decoder)
    elif isinstance(decoder, Mapping):
        for extension, function in decoder.items():
            if not isinstance(extension, str) or not callable(function):
                raise TypeError(f"a dict of decoders has functions by extension, not {extension!r}: {function!r:.80}")
    elif not isinstance(decoder, ByExtension) and not callable(decoder):
        raise TypeError(
            'a decoder is an image spec such as "rgb", a dict from extension to function, or a function (key, data), '
            f'not {decoder!r:.80}; data stands before it: write data | decode("rgb")'
        )


def _resolved(decoder: Any) -> Any:
    check_decoder(decoder)
    if isinstance(decoder, str):
        return Pictures(decoder, images.image_spec(decoder))
    if isinstance(decoder, Mapping):
        functions: dict[str, Callable[..., Any]] = {e.lower().lstrip("."): function for e, function in decoder.items()}
        return _Functions("", functions)
    return decoder


@attrs.frozen
class _Link:
    """A function that is asked to decode a field: the place of its decoder, whether it may pass, whether it draws."""

    place: int
    decode: Callable[..., Any]
    may_pass: bool
    draws: bool


class Plan:
    """What decodes which field, by these decoders in their order.

    Functions `(key, data)` are asked in turn, with the field's name behind a dot, until one gives something other than
    None. Of the decoders that go by extension, only the one with the longest that fits takes part (of several, the
    user's, and of these the first); what it gives is the value.

    rng: the user's functions take a random generator behind the bytes. What decodes a field then takes a function
        behind the bytes that makes one, and each of them is given its own.
    """

    def __init__(self, decoders: Iterable[Decoder], rules: Rules, *, rng: bool = False) -> None:
        self._decoders = [_resolved(decoder) for decoder in decoders]
        self._rules = rules
        self._rng = rng
        self._found: Memo[tuple[str, int], Callable[..., Any] | None] = Memo(self._find, most=4096)

    def decoder(self, field: str, start: int = 0) -> Callable[..., Any] | None:
        """What decodes the bytes of a field, by the decoders from the start-th on; None: nothing, they stay bytes."""
        return self._found[field.lower(), start]

    def _find(self, wanted: tuple[str, int]) -> Callable[..., Any] | None:
        field, start = wanted
        links: list[_Link] = []
        best: tuple[tuple[int, bool], _Link] | None = None
        for place, decoder in enumerate(self._decoders[start:], start=start):
            if not isinstance(decoder, ByExtension):
                links.append(_Link(place, partial(decoder, f".{field}"), may_pass=True, draws=self._rng))
            elif (found := decoder.find(field, self._rules)) is not None:
                rank = (found[0].count("."), decoder.own)
                if best is None or rank > best[0]:
                    draws = self._rng and isinstance(decoder, (_Functions, Globs))
                    best = (rank, _Link(place, found[1], may_pass=False, draws=draws))
        if best is not None:
            last = best[1]
            links = [link for link in links if link.place < last.place]
            plain = not isinstance(self._decoders[last.place], (_Decompress, _Functions, Globs))
            if plain and not links and not self._rng:
                return last.decode  # (which never gives a Continue)
            links.append(last)
        return partial(self._chain, tuple(links)) if links else None

    def _chain(self, links: tuple[_Link, ...], data: bytes, generator: Callable[[], Generator] | None = None) -> Any:
        for link in links:
            value = link.decode(data, generator()) if link.draws and generator else link.decode(data)
            if isinstance(value, Continue):
                following = self.decoder(value.key.lstrip("."), link.place + 1)
                if following is None:
                    return value.data
                return following(value.data) if generator is None else following(value.data, generator)
            if value is not None or not link.may_pass:
                return value
        return data


def decoder(field: str, *decoders: Decoder, rules: Rules = RULES) -> Decode | None:
    """The function that decodes the bytes of a field as `decode(*decoders)` does; None: the field stays bytes.

    >>> decoder("cls")(b"7"), decoder("caption.txt")(b"a cat"), decoder("jpg"), decoder("ran")
    (7, 'a cat', None, None)
    """
    return Plan((decompress, *decoders, by_table), rules).decoder(field)
