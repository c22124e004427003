"""Hooks: functions to call at some point, kept as None, one function, or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from streamwds.checks import checkcallable

__all__ = ["Hooks", "add_hook", "call_hook"]

Hook: TypeAlias = Callable[..., object]
Hooks: TypeAlias = "Sequence[Hook] | Hook | None"


def _listed(hooks: Hooks) -> list[Hook]:
    if hooks is None:
        return []
    listed = [hooks] if callable(hooks) else list(hooks)
    return [checkcallable(hook, "a hook is a function") for hook in listed]


def add_hook(hooks: Hooks, f: Hook) -> list[Hook]:
    """The hooks with one more behind them: a new list, so that nobody else's is changed.

    >>> add_hook(None, print) == add_hook([], print) == [print]
    True
    >>> add_hook(print, len)
    [<built-in function print>, <built-in function len>]
    """
    return [*_listed(hooks), checkcallable(f, "a hook is a function")]


def call_hook(hooks: Hooks, *args: Any, **options: Any) -> None:
    """Call all hooks with these arguments, in their order. What one raises propagates, and those after it don't run.

    >>> call_hook([print, print], "shard", 7)
    shard 7
    shard 7
    >>> call_hook(None, "nobody listens")
    """
    for hook in _listed(hooks):
        hook(*args, **options)
