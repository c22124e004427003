"""From members to samples, one by one: `grouped`, for whatever reads members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamwds.errors import DuplicateFieldError, FunctionError, TarError
from streamwds.handlers import Guard
from streamwds.stage import Sample
from streamwds.steps import At
from streamwds.tar.names import Naming

__all__ = ["Torn", "grouped"]


class Torn(Exception):  # noqa: N818  (not an error: who read the shard has dealt with that)
    """The shard is damaged behind this member; and the name of the one that is cut there, if it has any."""

    def __init__(self, member: str) -> None:
        super().__init__(member)
        self.member = member


def grouped(
    members: Iterable[tuple[str, bytes, int, At]], url: str, naming: Naming, guard: Guard
) -> Iterator[tuple[Sample | None, At]]:
    """Samples of one shard, each with the position behind its last member, from members (name, data, offset, behind).

    A sample is given out when the next one begins or the members end well. If they end in an error, the last is
    dropped, for nobody knows whether it was whole; but where a member is cut, its header is there and tells whether the
    next sample had begun. A sample that has a field twice goes to the handler as a whole; if that goes on, None comes
    in its place. If a function of the user's can't read a name, that error goes to the handler and ends the shard.
    """
    key: str | None = None
    sample: Sample = {}
    twice: DuplicateFieldError | None = None
    behind: At = None
    damage: TarError | Torn | None = None
    try:
        for name, data, offset, after in members:
            try:
                parts = naming.split(name)
            except FunctionError as error:
                error.url, error.offset, error.key = url, offset, key
                guard(error)
                return
            if parts is not None:
                if parts[0] != key:
                    if key is not None:
                        if twice is None:
                            guard.seen += 1
                        elif not guard(twice):
                            return
                        yield (sample if twice is None else None), behind
                    key = parts[0]
                    sample = {"__key__": key, "__url__": url}
                    twice = None
                field = parts[1]
                if field in sample:
                    twice = DuplicateFieldError(
                        f"{name!r} is there twice", url=url, offset=offset, key=key, field=field
                    )
                if naming.wants(field):
                    sample[field] = data
            behind = after
    except (TarError, Torn) as error:
        damage = error
        parts = None if error.member is None else _cut(naming, error.member)
        if isinstance(error, TarError) and error.url == url:
            error.key = key if parts is None else parts[0]
        if parts is None or parts[0] == key:
            key = None
    if key is not None:
        if twice is None:
            guard.seen += 1
        elif not guard(twice):
            return
        yield (sample if twice is None else None), behind
    if damage is not None:
        raise damage


def _cut(naming: Naming, name: str) -> tuple[str, str] | None:
    """Key and field of a member that is cut, if the user's functions can tell."""
    try:
        return naming.split(name)
    except FunctionError:
        return None
