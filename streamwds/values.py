"""Options of stages as values: frozen, comparable, and written as code.

A stage must be immutable, hashable and picklable, and its repr must be the code that builds it; so its options are
brought into one form when it is built (`freeze`), and the functions among them are known by name where they have one
(`function_key`, `function_name`).
"""

from __future__ import annotations

import builtins
import functools
import operator
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, cast

import attrs
import numpy as np

__all__ = ["FrozenMapping", "code", "fingerprint", "freeze", "function_key", "function_name", "importable", "lookup"]


class FrozenMapping(Mapping[str, Any]):
    """A dict that can't change: sorted by its keys, hashable, shown as a dict.

    >>> FrozenMapping(b=2, a=1)
    {'a': 1, 'b': 2}
    >>> FrozenMapping(b=2, a=1) == {"a": 1, "b": 2}
    True
    """

    __slots__ = ("_items",)
    _items: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        items = {**(values or {}), **more}
        try:
            keys = sorted(items)
        except TypeError:  # (of several types, which can't be compared)
            keys = sorted(items, key=repr)
        object.__setattr__(self, "_items", {k: freeze(items[k]) for k in keys})

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple((k, function_key(v)) for k, v in self._items.items()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return NotImplemented if not isinstance(other, Mapping) else False
        return all(function_key(v) == function_key(freeze(other[k])) for k, v in self._items.items())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a FrozenMapping can't be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenMapping, (dict(self._items),))

    def __repr__(self) -> str:
        return code(self._items)


def freeze(value: Any) -> Any:
    """The value with lists as tuples, sets as frozensets, dicts as frozen mappings, numpy's numbers as Python's.

    Arrays are refused, also as arguments of a partial.

    >>> freeze([1, {"b": [2], "a": 1}])
    (1, {'a': 1, 'b': (2,)})
    """
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return tuple(freeze(v) for v in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(freeze(v) for v in value)
    if isinstance(value, dict):
        return FrozenMapping(value)
    if isinstance(value, functools.partial):
        function_key(value)
        return cast("Any", value)
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__") and hasattr(value, "shape") and not isinstance(value, type):
        shape = tuple(getattr(value, "shape", ()))
        raise TypeError(
            f"an array can't be an option of a stage ({type(value).__name__} of shape {shape}): "
            "an option must compare and hash; give a tuple, or a function that knows the array"
        )
    return value


# ---- functions


def importable(f: Any) -> bool:
    """Whether the function is what its module has under its name (a lambda or closure never is)."""
    module, name = getattr(f, "__module__", None), getattr(f, "__qualname__", None)
    if isinstance(f, (BuiltinFunctionType, MethodType)) and not isinstance(
        getattr(f, "__self__", None), (type(sys), type(None))
    ):
        return isinstance(f.__self__, type) and importable(f.__self__)  # a method is as good as its object
    if name is None:
        return False
    if module is None:  # a method of a builtin type, such as str.upper
        owner = getattr(f, "__objclass__", None)
        return owner is not None and importable(owner)
    found = lookup(module, name)
    return found is f or getattr(found, "__wrapped__", None) is f


def lookup(module: str, qualname: str) -> Any:
    """What a loaded module has under a name; None if nothing."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


_OPERATORS = (operator.itemgetter, operator.attrgetter, operator.methodcaller)


def function_key(value: Any) -> Any:
    """What of an option is compared and hashed: two partials of the same function and arguments are the same option.

    >>> function_key(functools.partial(int, base=2)) == function_key(functools.partial(int, base=2))
    True
    """
    if isinstance(value, functools.partial):
        arguments = tuple(function_key(freeze(a)) for a in value.args)
        return ("partial", function_key(value.func), arguments, FrozenMapping(value.keywords))
    if isinstance(value, MethodType):
        return ("method", value.__func__, function_key(value.__self__))
    if isinstance(value, _OPERATORS):
        reduced: Any = value.__reduce__()
        return (type(value), function_key(freeze(reduced[1])) if isinstance(reduced[0], type) else repr(value))
    if isinstance(value, tuple):
        return tuple(function_key(v) for v in value)
    return value if type(value).__hash__ is not None else _Unhashable(value)


@attrs.frozen(hash=False)
class _Unhashable:
    """Compares as its value does, and can be hashed: a callable dataclass is a good option that Python won't hash."""

    value: Any

    def __hash__(self) -> int:
        return hash(type(self.value))


def function_name(f: Any) -> str:
    """A function as code, or for one without an importable name where it stands.

    >>> function_name(len), function_name(str.upper), function_name(functools.wraps)
    ('len', 'str.upper', 'functools.wraps')
    """
    if isinstance(f, functools.partial):
        parts = [function_name(f.func), *map(code, f.args), *(f"{k}={code(v)}" for k, v in f.keywords.items())]
        return f"functools.partial({', '.join(parts)})"
    owner = getattr(f, "__self__", None)
    if isinstance(f, (MethodType, BuiltinFunctionType)) and not isinstance(owner, (type, ModuleType, NoneType)):
        return f"{code(owner)}.{f.__name__}"
    name = getattr(f, "__qualname__", None)
    if name is None or not (isinstance(f, type) or importable(f)):
        where = getattr(f, "__code__", None)
        if where is not None:
            return f"<{name} at {os.path.basename(where.co_filename)}:{where.co_firstlineno}>"
        return repr(f)
    module = getattr(f, "__module__", None)
    bare = (
        module in (None, "__main__", "__mp_main__", builtins.__name__) or str(module).partition(".")[0] == "streamwds"
    )
    return str(name) if bare else f"{module}.{name}"


def code(value: Any) -> str:
    """The code that gives the value.

    >>> code(("a", len, {"k": [1]}))
    "('a', len, {'k': [1]})"
    """
    if isinstance(value, tuple) and type(value) is tuple:
        values = [code(v) for v in value]
        return f"({', '.join(values)}{',' if len(values) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(code(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {code(v)}' for k, v in value.items())}}}"
    if isinstance(value, (frozenset, set)) and value:
        return f"{{{', '.join(sorted(code(v) for v in value))}}}"
    if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType, functools.partial, type)) or (
        callable(value) and hasattr(value, "__qualname__")
    ):
        return function_name(value)
    return repr(value)


def fingerprint(value: Any) -> str:
    """What stands for an option in positions: its code, but for what changes from process to process, or with a line.

    >>> class Resize:
    ...     def __call__(self, image: object) -> object: ...
    >>> fingerprint(Resize()) == fingerprint(Resize())
    True
    """
    return re.sub(r"\b__(mp_)?main__\.|(?<=\S) at (0x[0-9A-Fa-f]+|[^<>]+:\d+)(?=>)", "", code(value))
