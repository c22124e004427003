"""The results as a picture: for each piece of work with a goal, how many times as good ours is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import Result

__all__ = ["draw"]

OURS, GOAL = "#2a6f97", "#d1495b"


def draw(results: Sequence[Result], path: Path) -> None:
    """A PNG of bars: medians of ratios with their spread, and the goals as marks; the axis is logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [
        (result, *result.row.goal) for result in results if result.row.goal and result.row.goal[0] in result.seconds
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.2), layout="constrained")
    for place, (result, contender, goal) in enumerate(rows):
        ratios = result.ratios(contender)
        median = statistics.median(ratios)
        axes.barh(place, median, color=OURS, height=0.62)
        axes.plot([min(ratios), max(ratios)], [place, place], color="black", linewidth=1)
        axes.plot([goal, goal], [place - 0.38, place + 0.38], color=GOAL, linewidth=2)
        axes.annotate(f"{median:.3g} ×", (max(ratios), place), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), [f"{result.row.work}\nagainst {contender}" for result, contender, _ in rows])
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=2 * axes.get_xlim()[1])
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("times as fast as the peer (black: the spread of the rounds; red: what we reach for)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
