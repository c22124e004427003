"""The command line: one function a subcommand, which says what it takes and calls the room that does the work.

Each imports what it runs when it runs, so that `streamwds --help` answers at once.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated

import typer

from streamwds.errors import StreamwdsError

__all__ = ["app", "run"]

app = typer.Typer(
    name="streamwds",
    help="Read, transform and write streams of samples kept in tar shards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamwds {importlib.metadata.version('streamwds')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command line as a whole."""


@app.command()
def demo(
    cache: Annotated[
        Path | None,
        typer.Option(envvar="STREAMWDS_CACHE", help="Where shards are kept.", show_default="~/.cache/streamwds"),
    ] = None,
    count: Annotated[int, typer.Option(min=6, help="How many samples to make.")] = 2400,
    seed: Annotated[int, typer.Option(help="What the crops are drawn with.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way to read them is timed.")] = 3,
) -> None:
    """Read real photographs from shards, in this process and in a DataLoader, and draw a contact sheet."""
    from streamwds.demo import run

    run(cache, count=count, seed=seed, rounds=rounds)


def run() -> None:
    """Run the command line on `sys.argv`; an error of the package or of the system is told in one line."""
    try:
        app()
    except (OSError, StreamwdsError) as error:
        sys.exit(f"streamwds: {error}")
