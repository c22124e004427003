"""How the name of a member says to which sample it belongs, and as what; and which members are wanted at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from streamwds.errors import FunctionError
from streamwds.memo import Memo
from streamwds.values import function_name

__all__ = ["Naming", "check_case", "chosen_suffixes", "is_meta", "split_name"]


def split_name(name: str) -> tuple[str, str] | None:
    """The key and the field of a member, or None for one that has none (`README`, `.hidden`, `a/._b.jpg`).

    >>> split_name("a/b.v1/c.Seg.PNG")
    ('a/b.v1/c', 'seg.png')
    """
    dot = name.find(".", start := name.rfind("/") + 1)
    return None if dot <= start else (name[:dot], _FIELDS[name[dot + 1 :]])


_FIELDS: Memo[str, str] = Memo(str.lower)


def is_meta(name: str) -> bool:
    """Whether a member is metadata of the shard and no part of a sample: `__x__`, or what lies in such a folder."""
    top = name.partition("/")[0]
    return len(top) >= 4 and top.startswith("__") and top.endswith("__")


def chosen_suffixes(value: Iterable[str] | None) -> frozenset[str] | None:
    """The option `suffixes` in its one form: the names of the wanted fields; None: all."""
    if value is None:
        return None
    if isinstance(value, str):
        raise TypeError(f"suffixes is a collection of names of fields, such as {{{value!r}}}, not a str")
    fields: frozenset[Any] = frozenset(value)
    for field in fields:
        if not isinstance(field, str) or not field or field != field.strip(" ."):
            raise ValueError(f'suffixes are names of fields, as in suffixes={{"cls", "seg.png"}}, not {field!r}')
    return fields


def check_case(suffixes: Iterable[str] | None, lower: bool) -> None:
    """Raise if some wanted fields can't be there, for all names are in lower case."""
    if lower and suffixes is not None and (loud := sorted(field for field in suffixes if field != field.lower())):
        raise ValueError(
            f"names of fields are in lower case: write {loud[0].lower()!r}, or lower=False, not {loud[0]!r}"
        )


@attrs.frozen
class Naming:
    """The options of a reader that concern names.

    rename, select: functions of a member's name: its new name, and whether it (by that name) is read at all.
    skip_meta: whether metadata (`__x__`) is passed over.
    keys: a function from a member's name to key and field, or None for one that belongs to no sample.
    lower: whether names of fields are in lower case.
    suffixes: the fields that are wanted; None: all.

    The functions are the user's: what they raise, or give and should not, is a `FunctionError` without a place.
    """

    rename: Callable[[str], str] | None = None
    select: Callable[[str], object] | None = None
    skip_meta: bool = True
    keys: Callable[[str], tuple[str, str] | None] | None = None
    lower: bool = True
    suffixes: frozenset[str] | None = None

    @property
    def usual(self) -> bool:
        """Whether names are read as always, so that many can be read at once."""
        return self.rename is None and self.select is None and self.keys is None

    @property
    def sparing(self) -> bool:
        """Whether some data need not be read, as its member's name alone tells, without asking a function."""
        return self.suffixes is not None and self.usual

    def file(self, name: str) -> str | None:
        """By which name a member is known; None if it is passed over."""
        if self.skip_meta and name[:2] == "__" and is_meta(name):
            return None
        if self.rename is not None:
            renamed = _called("rename_files", self.rename, name)
            if not isinstance(renamed, str):
                raise FunctionError(f"rename_files({name!r}) gave {renamed!r}, which is no str")
            name = renamed
        if self.select is not None and not _called("select_files", self.select, name):
            return None
        return name

    def split(self, name: str) -> tuple[str, str] | None:
        """The key and the field of a member; None if it belongs to no sample or is passed over."""
        known = self.file(name)
        if known is None:
            return None
        if self.keys is None:
            if self.lower:
                return split_name(known)
            dot = known.find(".", start := known.rfind("/") + 1)
            return None if dot <= start else (known[:dot], known[dot + 1 :])
        found: Any = _called("keys", self.keys, known)
        if found is None or found == (None, None):
            return None
        if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, str) for part in found)):
            raise FunctionError(f"keys({known!r}) gave {found!r}, which is no (key, field), and not None")
        key, field = found
        return key, (field.lower() if self.lower else field)

    @property
    def splitter(self) -> Callable[[str], tuple[str, str] | None]:
        """`split`, by the shortest way."""
        return _split_usual if self.usual and self.lower and self.skip_meta else self.split

    def wants(self, field: str) -> bool:
        return self.suffixes is None or field in self.suffixes

    def wants_extension(self, extension: str) -> bool:
        """Whether a file with this extension is wanted, whatever its name; only told where names are read as usual."""
        return self.wants(extension.lower() if self.lower else extension)

    def needless(self, name: str) -> bool:
        """Whether a member's data need not be read; only told where names are read as usual."""
        parts = self.split(name)
        return parts is None or not self.wants(parts[1])


def _split_usual(name: str) -> tuple[str, str] | None:
    dot = name.find(".", start := name.rfind("/") + 1)
    if dot <= start or (name[:2] == "__" and is_meta(name)):
        return None
    return name[:dot], _FIELDS[name[dot + 1 :]]


def _called(option: str, function: Callable[[str], Any], name: str) -> Any:
    try:
        return function(name)
    except Exception as error:
        what = f"{option}: {function_name(function)}({name!r}) raised {type(error).__name__}: {error}"
        raise FunctionError(what) from error
