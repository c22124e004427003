"""The command line: each subcommand is a function in a module of its own, and all are put together here.

A subcommand says what it takes and what it is for, and calls the rooms that do the work (`listing`, `ordering`,
`output` …), which it imports when it runs, so that `streamwds --help` answers at once.
"""

from __future__ import annotations

import importlib.metadata
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from streamwds.cli.bench import bench
from streamwds.cli.cat import cat
from streamwds.cli.check import check
from streamwds.cli.concat import concat
from streamwds.cli.demo import demo
from streamwds.cli.head import head
from streamwds.cli.index import index
from streamwds.cli.ls import ls
from streamwds.cli.pack import pack
from streamwds.cli.proc import proc
from streamwds.cli.reshard import reshard
from streamwds.cli.show import show
from streamwds.cli.shuffle import shuffle
from streamwds.cli.sort import sort
from streamwds.cli.telling import told
from streamwds.cli.unpack import unpack

__all__ = ["app", "run"]

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Look at shards": {"ls": ls, "head": head, "cat": cat, "show": show, "check": check, "bench": bench},
    "Files to shards, shards to files": {"pack": pack, "unpack": unpack, "index": index},
    "Shards to shards": {
        "concat": concat,
        "reshard": reshard,
        "split": reshard,
        "sort": sort,
        "shuffle": shuffle,
        "proc": proc,
    },
    "See it work": {"demo": demo},
}
"""All subcommands, by what they are for."""

app = typer.Typer(
    name="streamwds",
    help="""Look at, make and mend shards: tar files in which files of the same name, `0001.jpg 0001.cls`, are a sample.

    For those who know tarp: its create is pack, cat is concat, and proc, sort and split are called so here, too.""",
    epilog="Exit status: 0 all is well; 1 bad data, or something failed; 2 bad usage. "
    "`streamwds COMMAND --help` has examples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(told(command))

app.command("create", hidden=True)(told(pack))  # (as tarp has it)


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


def _terminated(*_: Any) -> None:
    sys.exit(143)


def run() -> None:
    """Run the command line on `sys.argv`."""
    signal.signal(signal.SIGTERM, _terminated)  # (so that it, too, leaves nothing that is half)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
