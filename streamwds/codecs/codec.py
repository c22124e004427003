"""What a codec is: the two directions of an extension, side by side.

Here stand the value classes and what codecs of every kind need; no codec itself. The codecs are in the modules beside
this one, a theme each, and `table` puts them together.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from streamwds.errors import EncodeError, MissingExtraError

__all__ = ["TRUST", "Codec", "Decode", "Encode", "Rules", "describe", "library", "to_array"]

Decode: TypeAlias = Callable[[bytes], Any]
Encode: TypeAlias = Callable[[Any], bytes]

TRUST = frozenset({"pickle", "torch"})
"""What a user may trust: `pickle`, and `torch` (files of `torch.save` with more in them than tensors)."""


def _trust(names: Collection[str]) -> frozenset[str]:
    if isinstance(names, str) or not TRUST.issuperset(names):
        raise ValueError(f'trust is a set of {", ".join(sorted(TRUST))}, such as {{"pickle"}}, not {names!r}')
    return frozenset(names)


def _limit(rules: Rules, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if (value is not None or attribute.default is not None) and (type(value) is not int or value < 1):
        raise ValueError(f"{attribute.name} is a whole number above 0, not {value!r}")


@attrs.frozen
class Rules:
    """What decoders keep to, so that data from strangers can neither run code nor fill the memory.

    trust: names out of `TRUST`. max_bytes: how large the value of one field may get where it can be larger than its
    bytes (compressed fields, npz, torch's files, sound, films); 256 MiB, what a picture of Pillow's usual limit takes
    in RGB. max_pixels: how many pixels a picture may have; None: `PIL.Image.MAX_IMAGE_PIXELS`.

    >>> Rules(trust={"pickles"})
    Traceback (most recent call last):
    ...
    ValueError: trust is a set of pickle, torch, such as {"pickle"}, not {'pickles'}
    """

    trust: frozenset[str] = attrs.field(default=frozenset[str](), converter=_trust)
    max_bytes: int = attrs.field(default=1 << 28, validator=_limit)
    max_pixels: int | None = attrs.field(default=None, validator=_limit)

    def check_bytes(self, size: int, what: str) -> None:
        """`ValueError` if `what`, which takes `size` bytes, or as many and more, is larger than allowed."""
        if size > self.max_bytes:
            raise ValueError(
                f"{what} takes more than the {self.max_bytes} bytes that a field may take: "
                "decode(max_bytes=…) allows more"
            )


@attrs.frozen
class Codec:
    """How the bytes of some extensions become a value, and a value bytes again.

    `extensions` are lower case, without a leading dot. `decode` raises whatever says best what is wrong (a
    `ValueError`, Pillow's `OSError` …), since the stage that calls it knows url, key and field and wraps the error in
    a `DecodeError`. `encode` raises `EncodeError` for a value that the extension can't hold, and gives `bytes` back
    unchanged: they count as encoded already. A direction that is None does not exist; the bytes stay as they are.

    ruled: whether `decode` takes the `Rules` besides the bytes, for it could run code or give much more than it gets.
    asked: whether it is decoded only where a decoder was named that asks for it, as pictures are.

    >>> Codec(("txt", "text"), decode=bytes.decode).decode(b"hello")
    'hello'
    """

    extensions: tuple[str, ...]
    decode: Callable[..., Any] | None = None
    encode: Encode | None = None
    ruled: bool = attrs.field(default=False, kw_only=True)
    asked: bool = attrs.field(default=False, kw_only=True)

    def decoder(self, rules: Rules) -> Decode | None:
        """The function that decodes bytes by these rules."""
        return functools.partial(self.decode, rules=rules) if self.decode and self.ruled else self.decode


@functools.cache
def library(name: str, extra: str) -> Any:
    """The module `name`, imported with the first value that needs it; without it, a `MissingExtraError`.

    >>> library("no_such_package", "audio")
    Traceback (most recent call last):
    ...
    streamwds.errors.MissingExtraError: no_such_package is not installed: pip install 'streamwds[audio]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"{name} is not installed: pip install 'streamwds[{extra}]'") from error


def describe(value: object) -> str:
    """The type of a value, and for an array its dtype and shape, as an error message shows it.

    >>> describe(1.5), describe(np.zeros((2, 3)))
    ('float', 'numpy.ndarray of float64, shape (2, 3)')
    """
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return name if shape is None or dtype is None else f"{name} of {dtype}, shape {tuple(shape)}"


def to_array(value: object) -> NDArray[Any] | None:
    """The numpy array that a numpy array, a numpy scalar or a torch tensor (of whatever device) is; None for others.

    Raises `EncodeError` for a tensor that numpy can't hold, such as one of bfloat16. Never imports torch: where it is
    not loaded, nothing is a tensor.

    >>> to_array(np.float32(1.5)), to_array([1.5])
    (array(1.5, dtype=float32), None)
    """
    anything: Any = value
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(anything)
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    try:
        array: NDArray[Any] = anything.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise EncodeError(f"numpy can't hold a {describe(anything)}") from error
    return array
