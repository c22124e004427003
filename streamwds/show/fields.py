"""One field of a sample as something to look at: a picture, a text, a player, and a line that says what it is."""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

import attrs
import numpy as np
from PIL import Image

from streamwds.codecs import CODECS, Rules, decoder, media
from streamwds.codecs.codec import Decode, to_array
from streamwds.codecs.table import longest_extension
from streamwds.errors import CompositionError, StreamwdsError
from streamwds.show.drawing import heat_map, numbers, wave

__all__ = ["Kind", "View", "viewed", "views_of"]

Kind: TypeAlias = Literal["picture", "text", "sound", "film", "bytes", "error"]

THUMBNAIL = 480  # (pixels of a picture's longer side, at most)
LETTERS = 2_000  # (of a text, at most)
ARRAYS = 8  # (of those in one field, that are told of, at most)
PLAYED = 8 << 20  # (bytes of a sound or film that go into a page, at most)

_PLAYERS: Mapping[str, str] = MappingProxyType(
    {
        **{name: f"audio/{name}" for name in ("wav", "flac", "ogg", "opus", "aac")},
        "mp3": "audio/mpeg",
        "m4a": "audio/mp4",
        "mp4": "video/mp4",
        "mov": "video/mp4",
        "webm": "video/webm",
        "mkv": "video/webm",
        "ogv": "video/ogg",
    }
)
"""What browsers play, and under which type."""


@attrs.frozen
class View:
    """A field to look at.

    caption: what it is, in a few words. text: what it says. picture: what it looks like. played: its bytes and their
    MIME type, for a player.
    """

    field: str
    kind: Kind
    caption: str
    text: str = ""
    picture: Image.Image | None = attrs.field(default=None, eq=False)
    played: tuple[str, bytes] | None = attrs.field(default=None, repr=False)


def viewed(field: str, value: Any, rules: Rules | None = None) -> View:
    """How a field looks: its bytes are decoded as `decode("pil")` does, other values are taken as they are.

    What can't be decoded or shown, or only by running what lies in it, is shown as the error that says so.

    >>> viewed("cls", b"7")
    View(field='cls', kind='text', caption='int', text='7', picture=None)
    """
    rules = rules or Rules()
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    try:
        return _of_encoded(field, value, rules) if isinstance(value, bytes) else _of_value(field, value)
    except Exception as error:  # (whatever a decoder or a repr says is wrong with what a stranger made)
        message = error.message if isinstance(error, StreamwdsError) else str(error)
        what = _size(len(value)) if isinstance(value, bytes) else type(value).__name__
        return View(field, "error", what, _shortened(message) or type(error).__name__)


def views_of(sample: Mapping[str, Any], rules: Rules | None = None) -> Iterator[View]:
    """How the fields of a sample look, one by one; key, url and the like are no fields."""
    if not isinstance(sample, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CompositionError(f"samples are shown, dicts of fields, and this is a {type(sample).__name__}")
    named = ((str(name), value) for name, value in sample.items())
    return (viewed(name, value, rules) for name, value in named if not name.startswith("__"))


def _of_encoded(field: str, data: bytes, rules: Rules) -> View:
    if (extension := longest_extension(field, CODECS)) in (*media.AUDIO, *media.VIDEO):
        return _of_media(field, str(extension), data, rules)
    decode = decoder(field, "pil", rules=rules)
    return _of_bytes(field, data) if decode is None else _of_value(field, decode(data))


def _of_value(field: str, value: Any) -> View:
    if isinstance(value, Image.Image):
        return View(field, "picture", f"{value.width}×{value.height} {value.mode}", picture=_thumbnail(value))
    if isinstance(value, bytes):
        return _of_bytes(field, value)
    if isinstance(value, str):
        return View(field, "text", f"{len(value)} letters", _shortened(value))
    if (array := to_array(value)) is not None:
        return _of_array(field, array)
    arrays = _arrays(value)
    if arrays:
        captions = [f"{name:.80}: {numbers(array)}" for name, array in arrays[:ARRAYS]]
        captions += [f"… ({len(arrays)} arrays)"] * (len(arrays) > ARRAYS)
        pictures = (heat_map(array) for _, array in arrays[:ARRAYS])
        return View(field, "picture", "; ".join(captions), picture=next(filter(None, pictures), None))
    return View(field, "text", type(value).__name__, _shortened(_written(value)))


def _arrays(value: Any) -> list[tuple[str, Any]]:
    """The arrays in a list or dict of nothing else, with their names."""
    named = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    )
    found: list[tuple[str, Any]] = []
    for name, item in named:
        if (array := to_array(item)) is None:
            return []
        found.append((str(name), array))
    return found


def _of_array(field: str, array: np.ndarray[Any, Any]) -> View:
    text = "" if array.size > 1 else _shortened(str(array.ravel()))
    return View(field, "picture", numbers(array), text, heat_map(array))


def _of_media(field: str, extension: str, data: bytes, rules: Rules) -> View:
    kind: Kind = "sound" if extension in media.AUDIO else "film"
    caption, picture = _size(len(data)), None
    if extension in media.AUDIO:
        with contextlib.suppress(Exception):  # (the player says what is wrong, and the extra may be missing)
            samples, rate = cast("Decode", CODECS[extension].decoder(rules))(data)
            caption = f"{samples.shape[1] / rate:.1f} s, {samples.shape[0]} × {rate} Hz, {caption}"
            picture = wave(samples)
    if extension not in _PLAYERS:
        return View(field, kind, f"{caption}, which browsers don't play", picture=picture)
    if len(data) > PLAYED:
        return View(field, kind, f"{caption}, too much for a page", picture=picture)
    return View(field, kind, caption, picture=picture, played=(_PLAYERS[extension], data))


def _of_bytes(field: str, data: bytes) -> View:
    text = _beginning(data)
    if text is None:
        text = data[:64].hex(" ") + " …" * (len(data) > 64)
    return View(field, "bytes", _size(len(data)), _shortened(text))


def _beginning(data: bytes) -> str | None:
    """The first letters, and more than are shown, of what looks like a text; None if it doesn't."""
    front = data[: 4 * (LETTERS + 1)]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(front, final=len(front) == len(data))
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else None


def _written(value: Any) -> str:
    try:
        return _front(json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value))
    except (TypeError, ValueError):
        return repr(value)


def _front(parts: Iterable[str]) -> str:
    """As many parts of a text as are shown, and perhaps a little more."""
    found: list[str] = []
    length = 0
    for part in parts:
        found.append(part)
        length += len(part)
        if length > LETTERS:
            break
    return "".join(found)


def _shortened(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]} …"


def _size(count: int) -> str:
    """A number of bytes in words.

    >>> _size(12), _size(34_500), _size(5_000_000)
    ('12 bytes', '34.5 kB', '5.0 MB')
    """
    if count < 1000:
        return f"{count} byte{'s' * (count != 1)}"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _thumbnail(picture: Image.Image) -> Image.Image | None:
    if not picture.width or not picture.height:
        return None
    if picture.mode[0] in "IF":  # (numbers of any range, not of 0 to 255)
        return heat_map(np.asarray(picture))
    small = picture.convert("RGBA" if picture.mode in ("RGBA", "LA", "PA") else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small
