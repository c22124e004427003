"""decode: the bytes of a sample's fields into values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import attrs

from streamwds.codecs.images import image_decoder
from streamwds.codecs.table import decoder
from streamwds.errors import DecodeError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.memo import Memo
from streamwds.stage import Sample, Stage, maker
from streamwds.steps import Lifted, Run, option

__all__ = ["Decode", "decode", "decode_items"]


def _image(spec: object) -> None:
    if spec is not None:
        if not isinstance(spec, str):
            raise TypeError(f'decode takes an image spec such as "rgb", not {spec!r}; write data | decode("rgb")')
        image_decoder(spec)


def decode_items(
    image: str | None, samples: Iterable[Mapping[str, Any]], *, handler: Handler = reraise_exception
) -> Iterator[Sample]:
    """Samples with their fields decoded."""
    guard = Guard.of(handler)
    decoders = Memo(partial(decoder, image=image), most=4096)
    for sample in samples:
        guard.seen += 1
        decoded: Sample = {}
        field = ""
        try:
            for field, value in sample.items():
                if type(value) is bytes and field[:1] != "_" and (decode_field := decoders[field]) is not None:
                    decoded[field] = decode_field(value)
                else:
                    decoded[field] = value
        except Exception as cause:
            if guard(_failed(cause, sample, field)):
                continue
            return
        yield decoded


def _failed(cause: Exception, sample: Any, field: str) -> DecodeError:
    if not isinstance(sample, Mapping):
        return DecodeError(f"decode takes samples (dicts of fields), not {sample!r:.80}")
    value: Any = sample.get(field)
    what = f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
    reason = cause.message if isinstance(cause, DecodeError) else f"{type(cause).__name__}: {cause}"
    error = DecodeError.about(sample, f"{what} can't be decoded: {reason}", field=field)
    error.__cause__ = cause
    return error


@attrs.frozen(repr=False, slots=False)
class Decode(Lifted[Sample, Sample]):
    name: ClassVar[str] = "decode"
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    decides: ClassVar[bool] = False
    image: str | None = option(None, positional=True, check=_image)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return decode_items(self.image, items, handler=run.guard(self.handler))


@maker
def decode(image: str | None = None, *, handler: Handler = reraise_exception) -> Stage[Sample, Sample]:
    """Decode the fields of each sample by their extensions: text, numbers, JSON, arrays, and pictures.

    image: what becomes of pictures, such as "rgb" (float32, H×W×3, 0..1), "rgb8" (uint8), "torchrgb" (3×H×W tensor) or
        "pil"; the table of all is in `streamwds.codecs.images`. Without it they stay bytes.
    handler: gets a `DecodeError` that names url, key and field; true skips the whole sample.

    Fields of other extensions, and values that are not bytes, stay as they are.

    >>> [{"__key__": "a", "cls": b"7", "txt": b"a cat", "xyz": b"?"}] | decode() | list
    [{'__key__': 'a', 'cls': 7, 'txt': 'a cat', 'xyz': b'?'}]
    """
    return Stage((Decode(image, handler),))
