"""Samples as files to look at."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import attrs

from streamwds.cli.telling import UsageError
from streamwds.redacted import redacted
from streamwds.shards.local import Partial
from streamwds.show import contact_sheet, html_page

__all__ = ["Drawings"]

PAGES, SHEETS = (".html", ".htm"), {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@attrs.frozen
class Drawings:
    """The files that the user wants; `UsageError` at once for one that can't be drawn."""

    paths: Sequence[str]
    force: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for path in self.paths:
            if _ending(path) not in (*PAGES, *SHEETS):
                raise UsageError("a page is drawn to .html, a contact sheet to .png or .jpg", url=path)
            if not os.path.isdir(folder := os.path.dirname(path) or "."):
                raise UsageError(f"there is no folder {folder}", url=path)
            if os.path.lexists(path) and not self.force:
                raise UsageError("it is there already; --force writes over it", url=path)

    def draw(self, samples: Sequence[dict[str, Any]], title: str) -> None:
        """Draw the samples into each file, which appears when it is complete."""
        for path in self.paths:
            partial = Partial(path)
            try:
                partial.write(_drawn(samples, redacted(title), _ending(path)))
                partial.publish()
            except BaseException:
                partial.discard()
                raise


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _drawn(samples: Sequence[dict[str, Any]], title: str, ending: str) -> bytes:
    if ending in PAGES:
        return html_page(samples, title).encode()
    stream = io.BytesIO()
    contact_sheet(samples, title).save(stream, SHEETS[ending])
    return stream.getvalue()
