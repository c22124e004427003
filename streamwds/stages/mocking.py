"""mock: samples out of nothing, for tests and benchmarks of what comes after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, overload

import attrs

from streamwds.stage import Stream
from streamwds.stages.counting import natural
from streamwds.steps import Source, kind_of
from streamwds.values import code

__all__ = ["Mock", "mock"]

T = TypeVar("T")


def _length(mock: Any, attribute: attrs.Attribute[int], value: object) -> None:
    natural(value)


@attrs.frozen(eq=False, repr=False)
class Mock(Source):
    """An item again and again, or what a function makes of each number."""

    item: Any
    length: int = attrs.field(validator=_length)
    name: ClassVar[str] = "mock"
    bound: ClassVar[bool] = True

    @property
    def kind(self) -> str | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return None if callable(self.item) else kind_of(self.item)

    def items(self, start: int) -> Iterator[Any]:
        make = self.item if callable(self.item) else self._copy
        return map(make, range(start, self.length))

    def _copy(self, number: int) -> Any:
        return dict(self.item) if type(self.item) is dict else self.item

    def identity(self) -> Any:
        return ["mock", self.length]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mock):
            return NotImplemented
        try:
            return self.length == other.length and (self.item is other.item or (self.item == other.item) is True)
        except ValueError:  # (arrays in it: they don't say whether they are equal)
            return False

    def __hash__(self) -> int:
        return hash(self.length)

    def __repr__(self) -> str:
        return f"mock({code(self.item)}, {self.length})"


@overload
def mock(item: Callable[[int], T], length: int) -> Stream[T]: ...
@overload
def mock(item: T, length: int) -> Stream[T]: ...
def mock(item: Any, length: int) -> Stream[Any]:
    """A stream without data: `length` times an item, or what a function makes of the numbers 0 … length - 1.

    For tests of pipelines, and for benchmarks of what comes after reading. A dict is copied (not its values), so that
    later stages may do with it what they like.

    >>> len(mock({"__key__": "a", "cls": 7}, 1000) | batched(500) | list)
    2
    >>> mock(lambda n: {"__key__": f"{n:04d}", "cls": n % 10}, 1000) | skip(998) | to_tuple("__key__", "cls") | list
    [('0998', 8), ('0999', 9)]
    """
    return Stream(Mock(item, length))
