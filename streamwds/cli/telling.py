"""What the command line tells whom: results on standard output, the rest on standard error, and by the exit status.

0: all is well. 1: data are bad, or something failed. 2: what was asked for can't be done as it was asked. 130, 143:
interrupted, terminated. 141: nobody reads what is printed any more.

Names in shards are a stranger's: what is printed of them, a terminal must not obey (`shown`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator
from typing import Any, ParamSpec

import attrs
import typer
from rich.filesize import decimal

from streamwds.errors import SkippedWarning, StreamwdsError

__all__ = ["UsageError", "bare", "count", "line", "machine", "say", "shown", "size", "told"]

P = ParamSpec("P")


class UsageError(StreamwdsError, ValueError):
    """What was asked for can't be done as it was asked: nothing was begun."""


def shown(text: str) -> str:
    r"""The text in one line, without any character that a terminal would obey or can't show.

    >>> print(shown("grün\x1b[2J\n\udcff"))
    grün\x1b[2J\n\xff
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # (a byte that is no UTF-8)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def size(number: float) -> str:
    """Bytes for people.

    >>> size(999), size(1500), size(2.5e9)
    ('999 B', '1.5 kB', '2.5 GB')
    """
    return decimal(int(number)).replace("bytes", "B").replace("byte", "B")


def count(number: int, what: str) -> str:
    """A number of things for people.

    >>> count(1, "sample"), count(2000, "sample")
    ('1 sample', '2,000 samples')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def say(message: str) -> None:
    """Tell the user something, beside the results."""
    sys.stdout.flush()
    typer.echo(f"streamwds: {shown(message)}", err=True)


def line(text: str) -> None:
    """Print a line of results."""
    sys.stdout.write(f"{shown(text)}\n")


def machine(value: Any) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps(attrs.asdict(value) if attrs.has(type(value)) else value) + "\n")


def bare(error: Exception) -> str:
    """What an error says. (Of an error of the system, as it would say it to people.)"""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def told(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with its errors told in one line and by the exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with _told():
            command(*args, **kwargs)
            sys.stdout.flush()

    return run


@contextlib.contextmanager
def _told() -> Generator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("ignore", SkippedWarning)  # (of what is skipped, commands tell by themselves)
            warnings.showwarning = _say_warning
            yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (StreamwdsError, OSError) as error:
        if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
            _forget_output()
            raise typer.Exit(141) from None
        say(bare(error))
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _say_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    say(str(message))


def _forget_output() -> None:
    """Nobody reads it: what still waits to be printed goes nowhere, without a word when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
