"""`streamwds demo`: real photographs into shards, and out of them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    cache: Annotated[
        Path | None,
        typer.Option(envvar="STREAMWDS_CACHE", help="Where shards are kept.", show_default="~/.cache/streamwds"),
    ] = None,
    count: Annotated[int, typer.Option(min=6, help="How many samples to make.")] = 2400,
    seed: Annotated[int, typer.Option(help="What the crops are drawn with.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way to read them is timed.")] = 3,
) -> None:
    """Read real photographs from shards, in this process and in a DataLoader, and draw a contact sheet.

    Needs the extra `demo`, whose packages bring the photographs.

    Example:

    - `streamwds demo --count 600`
    """
    from streamwds.demo import run

    run(cache, count=count, seed=seed, rounds=rounds)
