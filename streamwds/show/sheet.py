"""A contact sheet: many samples as one picture, each a tile with its key and what else is short to say."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from PIL import Image, ImageDraw, ImageFont

from streamwds.codecs import Rules
from streamwds.show.fields import View, views_of

__all__ = ["Tile", "contact_sheet", "sheet_of"]

TILE_WIDTH, TILE_HEIGHT = 240, 180
CAPTION = 44
GAP = 16
HEADER = 104
COLUMNS = 8
LETTERS, LINES = 36, 10  # (of a text on a tile: letters a line, lines)
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
PAPER, INK, FAINT, BLANK = "#fbfaf7", "#1d2129", "#737985", "#efece4"


@attrs.frozen
class Tile:
    """One sample on a sheet: a picture, or a text instead; two lines, each with a left and a right part; a colour."""

    picture: Image.Image | None
    text: str = ""
    above: tuple[str, str] = ("", "")
    below: tuple[str, str] = ("", "")
    colour: str = FAINT


def contact_sheet(samples: Iterable[Mapping[str, Any]], title: str = "", *, rules: Rules | None = None) -> Image.Image:
    """Draw samples, as they come from `tarsamples` or decoded, as one picture, eight in a row.

    >>> contact_sheet([{"__key__": "a", "txt": b"a cat"}], "one sample").size
    (272, 344)
    """
    return sheet_of([_tile(sample, rules) for sample in samples], title)


def _tile(sample: Mapping[str, Any], rules: Rules | None) -> Tile:
    picture: Image.Image | None = None
    what = ""
    lines: list[str] = []  # (of all fields, and of those that say something; no more than there is room for)
    words: list[str] = []
    for view in views_of(sample, rules):
        if picture is None and view.picture is not None:
            picture, what = view.picture, f"{view.field} {view.caption}"
            picture.thumbnail((TILE_WIDTH, TILE_HEIGHT))
            continue
        if len(lines) < LINES:
            lines.append(_brief(view))
        if len(words) < LINES and view.text:
            words.append(_brief(view))
    text = "" if picture is not None else "\n".join(lines)
    return Tile(picture, text, (str(sample.get("__key__", "")), ""), ("   ".join(words) or what, ""))


def _brief(view: View) -> str:
    return f"{view.field} {' '.join((view.text or view.caption).split())}"


def sheet_of(tiles: Sequence[Tile], title: str = "") -> Image.Image:
    """Draw tiles, eight in a row, below a title."""
    columns = min(COLUMNS, len(tiles)) or 1
    rows = -(-len(tiles) // columns)
    size = (GAP + columns * (TILE_WIDTH + GAP), HEADER + rows * (TILE_HEIGHT + CAPTION + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 18), "streamwds", INK, _font(34, ""))
    small = _font(16, title)
    draw.text((GAP, 64), _fitting(title, small, size[0] - 2 * GAP), FAINT, small)
    for place, tile in enumerate(tiles):
        left = GAP + place % columns * (TILE_WIDTH + GAP)
        top = HEADER + place // columns * (TILE_HEIGHT + CAPTION + GAP)
        _draw_picture(sheet, tile, left, top)
        bottom = top + TILE_HEIGHT
        draw.rectangle((left, bottom, left + TILE_WIDTH - 1, bottom + 3), tile.colour)
        for down, (one, other), inks in ((8, tile.above, (INK, tile.colour)), (26, tile.below, (FAINT, FAINT))):
            small = _font(16, one + other)
            room = TILE_WIDTH - small.getlength(other) - 8 * bool(other)
            draw.text((left, bottom + down), _fitting(one, small, room), inks[0], small)
            draw.text((left + TILE_WIDTH, bottom + down), other, inks[1], small, anchor="ra")
    return sheet


def _draw_picture(sheet: Image.Image, tile: Tile, left: int, top: int) -> None:
    if tile.picture is None:
        canvas = Image.new("RGB", (TILE_WIDTH, TILE_HEIGHT), BLANK)
        draw = ImageDraw.Draw(canvas)
        font = _font(14, tile.text)
        lines = [line for text in tile.text.splitlines() for line in textwrap.wrap(text, LETTERS) or [""]]
        draw.multiline_text(
            (8, 8), "\n".join(_fitting(line, font, TILE_WIDTH - 16) for line in lines[:LINES]), INK, font
        )
        sheet.paste(canvas, (left, top))
        return
    scale = min(TILE_WIDTH / tile.picture.width, TILE_HEIGHT / tile.picture.height)
    size = max(1, round(scale * tile.picture.width)), max(1, round(scale * tile.picture.height))
    fitted = tile.picture.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
    sheet.paste(BLANK, (left, top, left + TILE_WIDTH, top + TILE_HEIGHT))
    sheet.paste(fitted, (left + (TILE_WIDTH - size[0]) // 2, top + (TILE_HEIGHT - size[1]) // 2), fitted)


def _font(size: int, text: str) -> Any:
    """Pillow's own font, which has few letters beyond ASCII; for others one of the system's, if there is one."""
    for name in () if all(letter.isascii() or letter in "°…" for letter in text) else FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _fitting(text: str, font: Any, room: float) -> str:
    """As much of a text as there is room for, in one line."""
    line = " ".join(text[:500].split())
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line + "…"
