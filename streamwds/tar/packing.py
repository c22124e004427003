"""From samples to the pieces of an archive, for samples that have the same fields as many before them.

`packer` makes a function for one set of field names. All that depends on the names alone is done once for them; for a
sample there is left to check its key, and to look up headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias
from zlib import adler32

from streamwds.memo import Memo
from streamwds.tar.framing import LARGEST, PADDING, Framing, is_plain

__all__ = ["Pack", "no_packer", "packer"]

Pack: TypeAlias = Callable[[Mapping[str, Any]], "int | None"]


def no_packer(sample: Mapping[str, Any]) -> int | None:
    """Packs no sample."""
    return None


def packer(
    framing: Framing,
    fields: Sequence[str],
    others: Sequence[str],
    encoded: Callable[[str, str, Any], bytes],
    keys: set[str],
    parts: list[bytes],
) -> Pack:
    """A function that appends a sample's members to `parts`, its key to `keys`, and returns how many bytes that is.

    It takes samples of the key, these fields and these others, which are not written: if one is missing it is a
    KeyError. The fields are plain ones (see `misread`). What needs a closer look gives None, and nothing is appended: a
    key that is there already or is no plain one, or a name or member too large.
    """
    names = (*fields, *others, "__key__")
    look_up = itemgetter(names[0], names[1], *names[2:])
    ends = framing.ends
    extend = parts.extend

    def starts_for(length: int) -> list[Memo[int, tuple[bytes, int]]] | None:
        found = [start for field in fields if (start := framing.starts(length, field)) is not None]
        return found if len(found) == len(fields) else None

    by_length = Memo(starts_for)

    def pack(sample: Mapping[str, Any]) -> int | None:
        values = look_up(sample)
        key = values[-1]
        if type(key) is not str or not key.isascii() or key in keys:
            return None
        raw = key.encode()
        if not raw.isalnum() and not is_plain(key):
            return None
        starts = by_length[len(raw)]
        if starts is None:
            return None
        key_sum = (adler32(raw) & 65535) - 1
        pieces: list[bytes] = []
        size = 0
        for field, data, start in zip(fields, values, starts):
            if type(data) is not bytes:
                data = encoded(key, field, data)
            length = len(data)
            head, head_sum = start[length]
            pieces += raw, head, ends[key_sum + head_sum], data, PADDING[length & 511]
            size += length + 1023 & -512
        if size > LARGEST:
            return None
        extend(pieces)
        keys.add(key)
        return size

    def pack_two(sample: Mapping[str, Any]) -> int | None:
        """The same written out for two fields, the smallest samples, where it matters most."""
        values = look_up(sample)
        key = values[-1]
        if type(key) is not str or not key.isascii() or key in keys:
            return None
        raw = key.encode()
        if not raw.isalnum() and not is_plain(key):
            return None
        starts = by_length[len(raw)]
        if starts is None:
            return None
        key_sum = (adler32(raw) & 65535) - 1
        a, b = values[0], values[1]
        if type(a) is not bytes:
            a = encoded(key, fields[0], a)
        if type(b) is not bytes:
            b = encoded(key, fields[1], b)
        a_length, b_length = len(a), len(b)
        a_head, a_sum = starts[0][a_length]
        b_head, b_sum = starts[1][b_length]
        size = (a_length + 1023 & -512) + (b_length + 1023 & -512)
        if size > LARGEST:
            return None
        a_end, b_end = ends[key_sum + a_sum], ends[key_sum + b_sum]
        extend((raw, a_head, a_end, a, PADDING[a_length & 511], raw, b_head, b_end, b, PADDING[b_length & 511]))
        keys.add(key)
        return size

    return pack_two if len(fields) == 2 else pack
