"""Stages that count: take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.stage import Same, maker
from streamwds.steps import At, Pair, Run, Step, Upstream, option

__all__ = ["Take", "take"]


def natural(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"a number of items (0, 1, 2 …) is wanted, not {n!r}")


@attrs.frozen(repr=False, slots=False)
class Take(Step[Any, Any]):
    """Remembers how many items it gave."""

    name: ClassVar[str] = "take"
    same: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"given": 0}
    n: int = option(check=natural)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        given, inner = self.recall(at)
        if given >= self.n:
            return
        for item, inner in upstream(inner):  # noqa: B020
            given += 1
            yield item, (given, inner)
            if given == self.n:
                return


@maker
def take(n: int) -> Same:
    """The first n items (of each worker's stream). The source is asked for no more than these.

    >>> range(10) | take(3) | list
    [0, 1, 2]
    """
    return Same((Take(n),))
