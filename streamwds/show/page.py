"""Samples as a page of HTML that needs nothing else: pictures and players lie in it, and no script runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from PIL import Image

from streamwds.codecs import Rules
from streamwds.redacted import redacted
from streamwds.show.fields import View, views_of

__all__ = ["html_page"]

# Of a shard nothing is believed: should markup of it ever get into the page, it could neither run nor call home.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

SMALL = 160  # (pixels of width, below which a picture is shown pixel by pixel)
LOSSLESS = 64 << 10  # (bytes of a picture as PNG, from which on it is shown as JPEG)
LARGEST = 128 << 20  # (letters of a page, of a sample in it; what has as many is full)
REST = "<p>… The page is full: what may come behind this is not shown.</p>\n"

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #1d2129; --faint: #6b717d; --line: #e3e0d8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171b; --card: #1e2126; --ink: #e8e6e1; --faint: #9aa0ab; --line: #33373e; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.25rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
header p { color: var(--faint); margin: 0 0 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; align-items: start; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem; }
h2 { font: 600 .95rem/1.3 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }
article > p { color: var(--faint); font-size: .8rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
section { margin-top: .6rem; }
section > p { font-size: .8rem; margin: 0 0 .2rem; color: var(--faint); overflow-wrap: anywhere; }
section > p b { color: var(--ink); font-family: ui-monospace, monospace; }
img, video { display: block; width: 100%; border-radius: 4px; }
.small { image-rendering: pixelated; }
audio { width: 100%; }
pre { margin: 0; max-height: 14rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere;
      font: .82rem/1.4 ui-monospace, monospace; }
.error pre { color: #c0392b; }
"""


def html_page(samples: Iterable[Mapping[str, Any]], title: str, *, rules: Rules | None = None) -> str:
    """A page that shows samples: their pictures, texts, numbers, sounds, films, and arrays as heat maps.

    samples: as they come from `tarsamples`; decoded values are shown, too. title: stands above them.
    rules: what decoding keeps to. A sample's fields whose names begin with `__` are its key and url.

    A page of 128 MB is full, and says so; what comes behind that is not asked for.

    >>> page = html_page([{"__key__": "a", "__url__": "x.tar", "txt": b"<b>1 & 2</b>"}], "three samples")
    >>> "&lt;b&gt;1 &amp; 2&lt;/b&gt;" in page
    True
    """
    cards = [*_within(LARGEST, (_card(sample, rules) for sample in samples))]
    shown = len(cards) - cards.count(REST)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>",
            f"<header><h1>{_text(title)}</h1><p>{shown} sample{'s' * (shown != 1)}</p></header>",
            f"<main>{''.join(cards)}</main></body></html>\n",
        ]
    )


def _text(text: str) -> str:
    """Text that a page can hold, whatever is in it."""
    return escape(text.encode("utf-8", "backslashreplace").decode().replace("\0", "�"))


def _within(room: int, parts: Iterable[str]) -> Iterator[str]:
    """The parts, as far as there is room; then a line that says so."""
    for part in parts:
        yield part
        room -= len(part)
        if room < 0:
            yield REST
            return


def _card(sample: Mapping[str, Any], rules: Rules | None) -> str:
    sections = "".join(_within(LARGEST, map(_section, views_of(sample, rules))))
    key, url = sample.get("__key__", ""), sample.get("__url__", "")
    where = f"<p>{_text(redacted(str(url)))}</p>" if url else ""
    return f"<article><h2>{_text(str(key))}</h2>{where}{sections}</article>\n"


def _section(view: View) -> str:
    parts = [f"<p><b>{_text(view.field)}</b> {_text(view.caption)}</p>"]
    if view.picture is not None:
        small = ' class="small"' if view.picture.width < SMALL else ""
        parts.append(f'<img{small} alt="{_text(view.field)}" src="{_data(*_encoded(view.picture))}">')
    if view.played is not None:
        mime, data = view.played
        tag = "audio" if view.kind == "sound" else "video"
        parts.append(f'<{tag} controls preload="metadata" src="{_data(mime, data)}"></{tag}>')
    if view.text:
        parts.append(f"<pre>{_text(view.text)}</pre>")
    return f'<section class="{view.kind}">{"".join(parts)}</section>'


def _data(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _encoded(picture: Image.Image) -> tuple[str, bytes]:
    """Its MIME type and bytes."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG")
    if png.tell() < LOSSLESS or picture.mode != "RGB":
        return "image/png", png.getvalue()
    picture.save(jpeg, "JPEG", quality=90, subsampling=0)
    return "image/jpeg", jpeg.getvalue()
