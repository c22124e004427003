"""For the tests of your own stages: does a stage keep the laws by which streams resume?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from streamwds.stage import Stage, Stream

__all__ = ["check_resume", "same_items"]


def same_items(a: Any, b: Any) -> bool:
    """Whether two items are equal, arrays and tensors element by element (NaN equals NaN), and of the same types.

    >>> same_items({"x": np.zeros(2)}, {"x": np.zeros(2)}), same_items([1], (1,))
    (True, False)
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(same_items(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_items, a, b))
    if hasattr(a, "dtype") and hasattr(a, "shape"):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if str(a.dtype) == "torch.bfloat16":
            a, b = a.float(), b.float()  # (numpy has no such type)
        return np.asarray(a).tobytes() == np.asarray(b).tobytes() or bool(np.all(np.asarray(a) == np.asarray(b)))
    return bool(a == b) or (a != a and b != b)


def check_resume(
    stage: Stage[Any, Any] | Stream[Any], items: Iterable[Any] = (), *, places: Sequence[int] | None = None
) -> int:
    """Check that a stage on these items, or a stream, goes on from each of its positions with the very next item.

    The laws: tracked and plain iteration give the same items, twice the same; and after the k-th item, `at` its
    position (taken through JSON) gives what comes after it, for every k (or those in `places`). Returns the number of
    positions tried; raises an `AssertionError` that names the first k that fails, what was expected and what came.

    >>> check_resume(batched(2), range(5))
    3
    >>> @stage
    ... def pairs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    ...     before = 0
    ...     for number in numbers:
    ...         yield before, number
    ...         before = number
    >>> check_resume(pairs, range(5))
    Traceback (most recent call last):
    ...
    AssertionError: pairs does not resume: from the position of item 1: item 2 should be (1, 2), and is (0, 2)
    """
    stream = stage if isinstance(stage, Stream) else stage(items if isinstance(items, Sequence) else list(items))
    tracked = list(stream.tracked())
    whole = [item for item, _ in tracked]
    _compare(stream, whole, list(stream), "tracked and plain iteration differ")
    _compare(stream, whole, [item for item, _ in stream.tracked()], "iterating twice differs")
    tried = range(len(tracked)) if places is None else places
    for k in tried:
        position = json.loads(json.dumps(tracked[k][1]))
        rest = stream.at(position)
        _compare(stream, whole[k + 1 :], list(rest), f"from the position of item {k}", k + 1)
        _compare(
            stream, whole[k + 1 :], [i for i, _ in rest.tracked()], f"tracked, from the position of item {k}", k + 1
        )
    return len(tried)


def _compare(stream: Stream[Any], expected: list[Any], got: list[Any], what: str, start: int = 0) -> None:
    nothing = object()
    for n in range(max(len(expected), len(got))):
        a, b = (xs[n] if n < len(xs) else nothing for xs in (expected, got))
        if not same_items(a, b):
            shown = ["nothing" if x is nothing else f"{x!r:.200}" for x in (a, b)]
            name = stream.steps[-1].name if stream.steps else repr(stream)
            raise AssertionError(
                f"{name} does not resume: {what}: item {start + n} should be {shown[0]}, and is {shown[1]}"
            )
