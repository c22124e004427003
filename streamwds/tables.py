"""Small tables for people, with bars if wanted: as text on a terminal, as HTML in a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

__all__ = ["html_table", "text_table"]

WIDEST = 100  # (characters of a cell in a text; what is longer is cut in the middle)
WIDTH = 24  # (characters of the longest bar)

Row = Sequence[str]


def text_table(headings: Row, rows: Sequence[Row], right: Sequence[int] = (), bars: Sequence[float] = ()) -> str:
    """Columns as wide as they must be, those whose numbers are in `right` to the right; a last one for bars.

    >>> print(text_table(("stage", "items"), [("take(3)", "3"), ("batched(2)", "12")], right=[1], bars=[1, 0.25]))
    stage       items
    ----------  -----
    take(3)         3  ████████████████████████
    batched(2)     12  ██████
    """
    rows = [[*map(_in_a_line, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows)]
    drawn = ["", "", *("█" * round(WIDTH * bar / (max(bars) or 1)) for bar in bars)] if bars else [""] * (len(rows) + 2)
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join([*_cells(line, widths, right), bar]).rstrip() for line, bar in zip(lines, drawn))


def _in_a_line(cell: str) -> str:
    cell = re.sub(r"\s*\n\s*", " ", cell)
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 30]} … {cell[-27:]}"


def _cells(line: Row, widths: Sequence[int], right: Sequence[int]) -> list[str]:
    places = enumerate(zip(line, widths))
    return [cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in places]


def html_table(headings: Row, rows: Sequence[Row], right: Sequence[int] = (), bars: Sequence[float] = ()) -> str:
    """The same for a notebook. All text is escaped."""
    drawn = [_html_bar(bar / (max(bars) or 1)) for bar in bars] or [""] * len(rows)
    lines = (f"<tr>{_html_cells('td', row, right)}{bar}</tr>" for row, bar in zip(rows, drawn))
    return f"<table><tr>{_html_cells('th', headings, right)}</tr>{''.join(lines)}</table>"


def _html_cells(tag: str, cells: Row, right: Sequence[int]) -> str:
    sides = ("right" if place in right else "left" for place in range(len(cells)))
    return "".join(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for side, cell in zip(sides, cells))


def _html_bar(share: float) -> str:
    return f'<td><div style="width: {200 * share:.0f}px; height: 1em; background: steelblue"></div></td>'
