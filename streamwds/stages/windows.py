"""What stages share that group items out of their order (bucket_batched, pack): they work in windows.

A group may hold an item back for long, and others of its neighbours may have been given out already. A position can
tell of that in little space because all begins afresh in each window of so many items: it says where the window starts
and how many groups of it were cut. Resuming reads the window again from its start and lets those groups go; what is cut
depends on the items alone. At the end of a window whatever is held is grouped, so memory and re-reading are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, Protocol

import attrs

from streamwds.errors import StreamwdsError
from streamwds.handlers import Guard, Handler
from streamwds.stages import replay
from streamwds.steps import At, Pair, Run, Step, Upstream

__all__ = ["Holding", "Windowed", "check_window"]


def check_window(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"window takes a number of items of at least 1, not {n!r}")


class Holding(Protocol):
    """The items of a window that are in no group yet."""

    def add(self, item: Any, /) -> list[Any]:
        """Take one more item: the groups that are now complete. An error of ours leaves it out."""
        ...

    def rest(self) -> list[Any]:
        """The groups of what is left when the window ends."""
        ...


class Windowed(Step[Any, Any]):
    """Remembers how many groups of a window were cut, a mark of what had been read by then (to notice when upstream
    does not replay the same) and, as its upstream's position, where the window starts.
    """

    memory: ClassVar[Mapping[str, Any]] = {"cut": 0, "mark": None}
    window: int
    handler: Handler

    def holding(self) -> Holding:
        """What holds the items of a window."""
        raise TypeError(f"{type(self).__name__} does not say how it groups")

    def made(self, group: Any) -> Any:
        """What is given out for a group; an error of ours goes to the handler."""
        raise TypeError(f"{type(self).__name__} does not say what it makes of a group")

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        cut, expected, start = self.recall(at)
        guard = run.guard(self.handler)
        pairs = upstream(start)
        more = True
        while more:
            window = _Window(self.holding(), start)
            for group in window.groups(islice(pairs, self.window), guard):
                mark = replay.mark((window.cut, window.read, window.end))
                if window.cut <= cut:  # (it was given before the stream was resumed here)
                    if window.cut == cut:
                        replay.check(expected, mark, self._what(cut), ())
                    continue
                try:
                    item = self.made(group)
                except StreamwdsError as error:
                    if guard(error):
                        continue
                    return
                yield item, ((0, None, window.end) if window.emptied else (window.cut, mark, start))
            if window.cut < cut:
                replay.check(expected, None, self._what(cut), ())
            more = window.read == self.window and not guard.ended
            cut, expected, start = 0, None, window.end

    def _what(self, cut: int) -> str:
        return f"{self.name}: the window of which {cut} groups were given"


@attrs.define
class _Window:
    """One window while it is read: how many items were, the position behind them, how many groups were cut."""

    holding: Holding
    end: At
    read: int = 0
    cut: int = 0
    emptied: bool = False
    """Whether the last group that was cut is the last of the window."""

    def groups(self, pairs: Iterator[Pair], guard: Guard) -> Iterator[Any]:
        for item, end in pairs:
            guard.seen += 1
            try:
                groups = self.holding.add(item)
            except StreamwdsError as error:
                if not guard(error):
                    break  # (so that what comes after the rest is this item again, and the same end)
                groups = []
            del item
            self.read, self.end = self.read + 1, end
            for group in groups:
                self.cut += 1
                yield group
        rest = self.holding.rest()
        for left, group in zip(range(len(rest) - 1, -1, -1), rest):
            self.cut += 1
            self.emptied = left == 0
            yield group
