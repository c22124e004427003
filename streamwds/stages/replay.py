"""What stages that read again when they resume (shuffle, unbatched) check: does upstream replay the same?

They keep a mark of what they read in their positions, so that a shard that failed then and reads now (or the other way
round) is an error, and never a block that is silently another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamwds.errors import ReplayError
from streamwds.position import digest

__all__ = ["check", "mark"]


def mark(read: Sequence[Any]) -> str | None:
    """A short stand-in for what was read: plain data, last the position behind it. None for nothing, or untracked."""
    return digest(read) if read and read[-1] is not None else None


def check(then: str | None, now: str | None, what: str, items: Iterable[Any]) -> None:
    """Raise a `ReplayError` that names the shards of the items if upstream did not replay the same."""
    if then is None or then == now:
        return
    urls = dict.fromkeys(str(item["__url__"]) for item in items if isinstance(item, Mapping) and "__url__" in item)
    shards = f" (from {', '.join(urls)})" if urls else ""
    raise ReplayError(
        f"{what} was not read the same as before{shards}: a shard that failed or was skipped then reads now, or the "
        "other way round, or the data changed; start the epoch anew, or mend it"
    )
