"""How the name of a member says to which sample it belongs, and as what."""

from __future__ import annotations

from streamwds.memo import Memo

__all__ = ["is_meta", "split_name"]


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
