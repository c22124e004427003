"""Stages that let a person see what passes by: info on the terminal, log_keys in a file. They change nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.context import Context
from streamwds.errors import FunctionError, WriteError
from streamwds.stage import Same, maker
from streamwds.stages.counting import natural
from streamwds.stages.mapping import check_callable
from streamwds.steps import Lifted, Run, option
from streamwds.values import function_name

__all__ = ["Info", "LogKeys", "info", "info_items", "log_keys", "log_keys_items", "to_stderr"]


def to_stderr(text: str) -> None:
    """Write a line of text to the standard error."""
    sys.stderr.write(f"{text}\n")


# ---- info


def _shown(value: Any, width: int) -> str:
    """A value in at most so many characters; arrays and tensors by type and shape, long bytes by their beginning."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{type(value).__name__} {tuple(value.shape)} {value.dtype}"
    if isinstance(value, (bytes, str)):
        shown = repr(value[:width])
        return shown[:width] if len(value) <= width else f"{shown[:width]}… ({len(value):,})"
    return repr(value)[:width]


def _described(item: Any, fmt: str | None, width: int, label: str) -> str:
    if fmt is not None:
        return fmt.format_map(item) if isinstance(item, Mapping) else fmt.format(item)
    if not isinstance(item, Mapping):
        return f"--- {label}{': ' if label else ''}{_shown(item, width)}"
    return "\n".join([f"--- {label}".rstrip(), *(f"{field}: {_shown(value, width)}" for field, value in item.items())])


def info_items(
    items: Iterable[Any],
    *,
    fmt: str | None = None,
    n: int = 3,
    every: int | None = None,
    width: int = 50,
    label: str = "",
    to: Callable[[str], object] = to_stderr,
) -> Iterator[Any]:
    """The items, of which some are shown while they pass by."""
    for number, item in enumerate(items, start=1):
        if number <= n or (every is not None and number % every == 0):
            try:
                to(_described(item, fmt, width, label))
            except Exception as error:
                message = f"info can't show it by {fmt!r}, to {function_name(to)}: {type(error).__name__}: {error}"
                raise FunctionError.about(item, message) from error
        yield item


def _every(n: object) -> None:
    if n is not None:
        natural(n)
        if n == 0:
            raise ValueError("info shows every n-th item from every=1 on, or with None only the first ones, not 0")


@attrs.frozen(repr=False, slots=False)
class Info(Lifted[Any, Any]):
    name: ClassVar[str] = "info"
    keeps: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    fmt: str | None = option(None, positional=True)
    n: int = option(3, check=natural)
    every: int | None = option(None, check=_every)
    width: int = option(50, check=natural)
    label: str = option("")
    to: Callable[[str], object] = option(to_stderr, check=check_callable)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return info_items(
            items, fmt=self.fmt, n=self.n, every=self.every, width=self.width, label=self.label, to=self.to
        )


@maker
def info(
    fmt: str | None = None,
    *,
    n: int = 3,
    every: int | None = None,
    width: int = 50,
    label: str = "",
    to: Callable[[str], object] = to_stderr,
) -> Same:
    """Show some of the items that pass by, to see what a pipeline does. It changes nothing, not even positions.

    fmt: how an item is shown, as in `str.format` with its fields ("{__key__} {cls}"); None: each field on a line.
    n: how many are shown at first. They are counted from where reading begins, also when that is in mid-epoch.
    every: show each so-manieth after that, too; None: no more.
    width: at most how many characters of a value are shown.
    label: shown with each, to tell several of them apart.
    to: what gets each text: a function such as `print` or `logger.info`; the standard error.

    >>> [{"__key__": "a", "cls": 7}, {"__key__": "b", "cls": 5}] | info(n=1, to=print) | to_tuple("cls") | list
    ---
    __key__: 'a'
    cls: 7
    [(7,), (5,)]
    """
    return Same((Info(fmt, n, every, width, label, to),))


# ---- log_keys


def _unwritten(path: Any, error: OSError) -> WriteError:
    return WriteError(f"the log of keys can't be written: {error.strerror}", url=os.fspath(path))


def log_keys_items(path: Any, items: Iterable[Any], *, context: Context | None = None) -> Iterator[Any]:
    """The items, of which each leaves a line in a file while it passes by."""
    context = Context() if context is None else context
    who = f"{context.epoch}\t{context.rank}\t{context.worker}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        for number, item in enumerate(items):
            known = item if isinstance(item, Mapping) else {}
            words = (str(known.get(field, "")) for field in ("__key__", "__url__"))
            line = "\t".join([str(number), who, *(word.replace("\t", " ").replace("\n", " ") for word in words)])
            # (one call for each line: lines of several processes do not run into each other)
            try:
                os.write(file, f"{line}\n".encode("utf-8", "backslashreplace"))
            except OSError as error:
                raise _unwritten(path, error) from error
            yield item
    finally:
        os.close(file)


@attrs.frozen(repr=False, slots=False)
class LogKeys(Lifted[Any, Any]):
    name: ClassVar[str] = "log_keys"
    keeps: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    path: str | os.PathLike[str] = option(convert=os.fspath)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return log_keys_items(self.path, items, context=run.context)


@maker
def log_keys(path: str | os.PathLike[str]) -> Same:
    """Write down which samples pass by, in which order: a line for each at the end of the file, flushed at once.

    Its columns, apart by tabs: the number since reading began here, epoch, rank, worker, `__key__`, `__url__`. Several
    workers may write to one local file. A file that can't be written is a `WriteError`. Changes nothing, not even
    positions; a resumed stream goes on writing at the end.
    """
    return Same((LogKeys(path),))
