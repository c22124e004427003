"""Stages joined by functions instead of `|`: for pipelines that are put together from lists, or from settings."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from streamwds.stage import Stage, Stream, identity

__all__ = ["compose", "pipeline"]


def compose(*stages: Stage[Any, Any]) -> Stage[Any, Any]:
    """The stages as one, the first first; of none, `identity`. (It knows no types: written with `|` they are checked.)

    >>> compose(take(4), batched(2))
    take(4) | batched(2)
    """
    return reduce(or_, stages, identity)


def pipeline(source: Any, *stages: Stage[Any, Any]) -> Stream[Any]:
    """The stream of a source (whatever may stand at the left of a `|`) through these stages.

    >>> pipeline(range(9), take(4), batched(2)) | list
    [[0, 1], [2, 3]]
    """
    return compose(*stages)(source)
