"""A memo for hot loops: a dict that fills itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Memo"]

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """What a function of one argument gave, at most `most` of it; looked up without a call.

    >>> lengths = Memo(len)
    >>> lengths["abc"], dict(lengths)
    (3, {'abc': 3})
    """

    def __init__(self, function: Callable[[K], V], most: int = 1 << 16) -> None:
        super().__init__()
        self.function = function
        self.most = most

    def __missing__(self, key: K) -> V:
        if len(self) >= self.most:
            self.clear()
        self[key] = value = self.function(key)
        return value
