"""`python -m benchmarks [THEME …]` measures the themes and prints one table; exits with 1 where a goal is missed.

A theme is a module of this folder whose `rows(folder)` gives rows, and may keep data in the folder it is given: add the
file, and its name to THEMES.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.chart import draw
from benchmarks.frame import Result, machine, measure, table

THEMES = (
    "imports",
    "reading",
    "writing",
    "index",
    "samples",
    "decoding",
    "tenbin",
    "resuming",
    "caching",
    "sources",
)
PACKAGES = ("numpy", "pillow", "torch", "urllib3", "webdataset", "wids", "spdl", "litdata")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure streamwds beside its peers.")
    parser.add_argument("themes", nargs="*", metavar="THEME", help=f"one of {', '.join(THEMES)}; all, if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default: 5)")
    parser.add_argument("--keep", action="store_true", help="write results.md and chart.png into this folder")
    options = parser.parse_args()
    if unknown := set(options.themes) - set(THEMES):
        parser.error(f"no theme is called {', '.join(sorted(unknown))}; there are {', '.join(THEMES)}")

    results: list[Result] = []
    for theme in options.themes or THEMES:
        with tempfile.TemporaryDirectory() as folder:
            for row in import_module(f"benchmarks.{theme}").rows(Path(folder)):
                print(f"{theme}: {row.work}", file=sys.stderr)
                results.append(measure(row, options.rounds))
    text = f"{machine(PACKAGES)}; medians of {options.rounds} rounds in turn\n\n{table(results)}"
    print(text)
    if options.keep:
        here = Path(__file__).parent
        (here / "results.md").write_text(f"{text}\n", encoding="utf-8")
        draw(results, here / "chart.png")
    sys.exit(any(result.missed() for result in results))


if __name__ == "__main__":
    main()
