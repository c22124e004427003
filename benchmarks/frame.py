"""The frame of every benchmark: contenders do the same work in turn, and ratios of the same round are compared.

A machine's speed drifts, so figures from different runs, or from different times of one, don't compare; what one round
measures side by side does. Themes (the other files of this folder) give rows; nothing here knows what they measure.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec

import attrs

__all__ = ["Contender", "Result", "Row", "installed", "machine", "measure", "seconds_of", "table"]

Contender = Callable[[], float]


def installed(package: str) -> bool:
    """Whether a peer is here to be compared with."""
    return find_spec(package) is not None


def seconds_of(make: Callable[[], Iterable[object]]) -> Contender:
    """The contender that makes an iterable and reads it to its end; only the reading is timed."""

    def contender() -> float:
        items = make()
        start = time.perf_counter()
        deque(items, maxlen=0)
        return time.perf_counter() - start

    return contender


@attrs.frozen
class Row:
    """A piece of work: who does it, first ours, each as a function that does it once and gives the seconds it took.

    `samples` is how many samples that is, for work that is better told as a rate. What is measured may be something
    else of which less is better: then `unit` says what is shown, and `scale` how many of that one of it is. With a
    `goal`, ours must be at least so many times as good as the contender named in it.
    """

    work: str
    contenders: Mapping[str, Contender]
    samples: int | None = None
    unit: str = "ms"
    scale: float = 1000.0
    goal: tuple[str, float] | None = None


@attrs.frozen
class Result:
    """What was measured of a row: for each contender the seconds of every round."""

    row: Row
    seconds: Mapping[str, Sequence[float]]

    def ratios(self, contender: str) -> list[float]:
        """How many times as fast as that contender ours was, round by round."""
        ours = self.seconds[next(iter(self.seconds))]
        return [theirs / our for our, theirs in zip(ours, self.seconds[contender], strict=True)]

    def missed(self) -> bool:
        """Whether there is a goal, its contender took part, and ours fell short of it."""
        if self.row.goal is None or self.row.goal[0] not in self.seconds:
            return False
        contender, least = self.row.goal
        return statistics.median(self.ratios(contender)) < least


def measure(row: Row, rounds: int) -> Result:
    """Let the contenders do the work in turn, `rounds` times, after one round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in row.contenders}
    for _ in range(rounds + 1):
        for name, contender in row.contenders.items():
            seconds[name].append(contender())
    return Result(row, {name: values[1:] for name, values in seconds.items()})


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table: medians, their spread, and how many times as good ours is."""
    cells = [("work", "contender", "median", "least … most", "ours is better", "least … most", "goal")]
    for result in results:
        row = result.row
        for place, (name, seconds) in enumerate(result.seconds.items()):
            shown = sorted(_shown(second, row) for second in seconds)
            ratios = result.ratios(name)
            goal = ""
            if row.goal is not None and row.goal[0] == name:
                goal = f"{row.goal[1]:g} ×: {'missed' if result.missed() else 'met'}"
            cells.append(
                (
                    row.work if place == 0 else "",
                    name,
                    f"{statistics.median(shown):,.0f} {row.unit if row.samples is None else 'samples/s'}",
                    f"{shown[0]:,.0f} … {shown[-1]:,.0f}",
                    f"{statistics.median(ratios):.2f} ×" if place else "",
                    f"{min(ratios):.2f} … {max(ratios):.2f}" if place else "",
                    goal,
                )
            )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _shown(measured: float, row: Row) -> float:
    return measured * row.scale if row.samples is None else row.samples / measured


def machine(packages: Iterable[str]) -> str:
    """One line on what the figures were measured with; packages that aren't installed are not named."""
    found = {distribution.name.lower(): distribution.version for distribution in distributions()}
    versions = [f"Python {platform.python_version()}", *(f"{name} {found[name]}" for name in packages if name in found)]
    return f"{', '.join(versions)}; {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
