"""Names of a package that are imported when they are first asked for: who doesn't use a room doesn't wait for it.

(PEP 562. Type checkers are told of the names by imports under TYPE_CHECKING; a test holds that both agree.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["found_later"]


def found_later(package: str, rooms: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`, for rooms: module -> the names in it; "" is the module itself."""
    listed = ((room, name) for room, names in rooms.items() for name in names.split(" "))
    place = {name or room.rpartition(".")[2]: (room, name) for room, name in listed}

    def find(name: str) -> Any:
        if name not in place:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        room, attribute = place[name]
        module = import_module(room)
        value: Any = getattr(module, attribute) if attribute else module
        setattr(sys.modules[package], name, value)
        return value

    return find
