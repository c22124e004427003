"""`Stream.profile(n)`: where a pipeline spends its time.

Between the stages stand clocks, which tell the time that a stage takes itself from that in which it waits for what
comes before it. Stages that run as one (`decode`, then `batched`) stay as one. What runs in a thread (read-ahead,
`threads=`) is counted where it runs, so times may add up to more than went by; who waits for it pays for the wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from streamwds.stages.counting import natural
from streamwds.steps import At, Pair, Run, Step, Upstream
from streamwds.tables import html_table, text_table

if TYPE_CHECKING:
    from streamwds.stage import Stream

__all__ = ["Profile", "Spent", "profiled"]

HEADINGS = ("stage", "items", "seconds", "µs an item", "share")


@attrs.frozen
class Spent:
    """What a stage gave, and the seconds that it took itself."""

    stage: str
    items: int
    seconds: float


@attrs.frozen(repr=False)
class Profile:
    """The time that each stage took, the source first. Printed it is a table with bars; in a notebook, one in HTML.

    items: how many came out of the pipeline. seconds: how long that took, the clocks included.
    """

    rows: tuple[Spent, ...]
    items: int
    seconds: float

    @property
    def slowest(self) -> Spent:
        """The stage that took longest: to make the pipeline faster, begin there."""
        return max(self.rows, key=lambda row: row.seconds)

    def __repr__(self) -> str:
        table = text_table(HEADINGS, self._cells(), right=[1, 2, 3, 4], bars=[row.seconds for row in self.rows])
        return f"{table}\n{self._total()}"

    def _repr_html_(self) -> str:
        table = html_table(HEADINGS, self._cells(), right=[1, 2, 3, 4], bars=[row.seconds for row in self.rows])
        return f"{table}<p>{self._total()}</p>"

    def _cells(self) -> list[tuple[str, ...]]:
        together = sum(row.seconds for row in self.rows) or 1.0
        return [
            (
                row.stage,
                str(row.items),
                f"{row.seconds:.3f}",
                f"{1e6 * row.seconds / row.items:.1f}" if row.items else "",
                f"{row.seconds / together:.0%}",
            )
            for row in self.rows
        ]

    def _total(self) -> str:
        rate = f", {self.items / self.seconds:,.0f} a second" if self.seconds else ""
        return f"{self.items} items in {self.seconds:.3f} s{rate}"


class _Nested(threading.local):
    """The time that clocks further up took in this thread, in the call that is measured now."""

    seconds = 0.0


@attrs.define(eq=False)
class _Clock:
    """What is measured behind one stage."""

    nested: _Nested
    items: int = 0
    seconds: float = 0.0

    def timed(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, while the clock runs whenever one is waited for."""
        nested, following = self.nested, iter(items).__next__
        while True:
            outer, nested.seconds = nested.seconds, 0.0
            start = perf_counter()
            try:
                item = following()
            except StopIteration:
                return
            finally:
                took = perf_counter() - start
                self.seconds += took - nested.seconds
                nested.seconds = outer + took
            self.items += 1
            yield item
            del item


@attrs.frozen(repr=False, slots=False)
class Timed(Step[Any, Any]):
    """Passes everything on, and lets a clock run while the stage before it works."""

    name: ClassVar[str] = "clock"
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    clock: _Clock

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        return self.clock.timed(upstream(at))

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return self.clock.timed(items)


def profiled(stream: Stream[Any], n: int | None) -> Profile:
    """The profile of a stream's first n items."""
    if n is not None:
        natural(n)
    nested = _Nested()
    labels, clocks = [repr(stream.source)], [_Clock(nested)]
    steps: list[Step[Any, Any]] = [Timed(clocks[0])]
    for together in _as_they_run(stream.steps):
        labels.append(" | ".join(map(repr, together)))
        clocks.append(_Clock(nested))
        steps += [*together, Timed(clocks[-1])]
    start = perf_counter()
    items = sum(1 for _ in islice(attrs.evolve(stream, steps=tuple(steps)), n))
    seconds = perf_counter() - start
    spent = (Spent(label, clock.items, clock.seconds) for label, clock in zip(labels, clocks))
    return Profile(tuple(spent), items, seconds)


def _as_they_run(steps: Iterable[Step[Any, Any]]) -> list[list[Step[Any, Any]]]:
    """The steps, those that run as one together."""
    found: list[list[Step[Any, Any]]] = []
    last: Step[Any, Any] | None = None
    for step in steps:
        joined = last.joined(step) if last is not None and step.chains else None
        if joined is None:
            found.append([step])
        else:
            found[-1].append(step)
        last = joined or step
    return found
