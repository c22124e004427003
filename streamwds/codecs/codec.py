"""What a codec is: the two directions of an extension, side by side.

Here stand the value class and what encoders of every kind need; no codec itself. The codecs are in `basic` and
`images`, and `table` puts them together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from streamwds.errors import EncodeError

__all__ = ["Codec", "Decode", "Encode", "describe", "to_array"]

Decode: TypeAlias = Callable[[bytes], Any]
Encode: TypeAlias = Callable[[Any], bytes]


@attrs.frozen
class Codec:
    """How the bytes of some extensions become a value, and a value bytes again.

    `extensions` are lower case, without a leading dot. `decode` raises whatever says best what is wrong (a
    `ValueError`, Pillow's `OSError` …), since the stage that calls it knows url, key and field and wraps the error in
    a `DecodeError`. `encode` raises `EncodeError` for a value that the extension can't hold, and gives `bytes` back
    unchanged: they count as encoded already. A direction that is None does not exist; the bytes stay as they are.

    >>> Codec(("txt", "text"), decode=bytes.decode).decode(b"hello")
    'hello'
    """

    extensions: tuple[str, ...]
    decode: Decode | None = None
    encode: Encode | None = None


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
