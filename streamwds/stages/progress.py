"""A stage that shows how far a stream is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import attrs

from streamwds.codecs.codec import library
from streamwds.stage import Same, maker
from streamwds.stages.counting import natural
from streamwds.steps import Lifted, Run, option

__all__ = ["progress"]


def _check_total(total: object) -> None:
    if total is not None:
        natural(total)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"progress takes a label, and how many items there are as total=…, not {text!r}")


@attrs.frozen(repr=False, slots=False)
class ProgressBar(Lifted[Any, Any]):
    """Remembers nothing: a bar begins anew where a stream is resumed."""

    name: ClassVar[str] = "progress"
    same: ClassVar[bool] = True
    hands_on: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    label: str = option("", positional=True, check=_check_text)
    total: int | None = option(None, check=_check_total)
    unit: str = option("items", check=_check_text)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return items if run.context.rank or run.context.worker else self._shown(items)

    def _shown(self, items: Iterator[Any]) -> Iterator[Any]:
        tqdm = library("tqdm.auto", "progress").tqdm
        with tqdm(desc=self.label or None, total=self.total, unit=f" {self.unit}", disable=None) as bar:
            for item in items:
                bar.update()
                yield item
                del item


@maker
def progress(label: str = "", *, total: int | None = None, unit: str = "items") -> Same:
    """Show a bar while items go by: how many, how fast, and, if the total is known, how long it will take.

    It is drawn by tqdm (extra `progress`), on a terminal or in a notebook, and is quiet where standard error is no
    terminal. Of several workers or ranks the first shows its own items. Put it last for batches, before `batched` for
    samples.

    >>> range(4) | progress("train", total=4) | list
    [0, 1, 2, 3]
    """
    return Same((ProgressBar(label, total, unit),))
