"""URLs as they may be shown: in messages and logs, but without what gives access."""

from __future__ import annotations

import re

__all__ = ["redacted"]

_URL = re.compile(r"(?<=://)[^\s'\"]+")
_USER = re.compile(r"^[^/?#]*@")
_CREDENTIAL = re.compile(
    r"""((?:authorization|[\w-]*(?:token|secret|password|api-?key)[\w-]*)['"]?\s*[:=]\s*|\s(?:-u|--user|--proxy-user)[\s=]+)"""
    r"""(?:(?:bearer|basic|token)\s+)?[^\s'"]+""",
    re.IGNORECASE,
)


def redacted(url: str) -> str:
    """The URL without its user and password, and without the values in its query, for a signature may be among them.

    Of a `pipe:` command, URLs are shown like that, and what follows words such as "Authorization:" is not shown.

    >>> redacted("https://me:secret@host/a.tar?X-Signature=abc&part=1")
    'https://…@host/a.tar?X-Signature=…&part=…'
    >>> redacted("what?.tar")
    'what?.tar'
    """
    shown = _URL.sub(lambda found: _without_secrets(found[0]), url)
    return _CREDENTIAL.sub(r"\1…", shown) if url[:5].lower() == "pipe:" else shown


def _without_secrets(rest: str) -> str:
    rest, hashed, _ = _USER.sub("…@", rest).partition("#")
    place, asked, query = rest.partition("?")
    parts = (f"{part.partition('=')[0]}=…" if "=" in part else "…" for part in query.split("&"))
    return place + (asked and "?" + "&".join(parts)) + (hashed and "#…")
