"""`http:` and `https:`, read in this process by urllib3 (the extra `http`), which is imported when it is used.

What was read of a shard is never mixed with another: each answer must come from the object that the first one came
from, by its ETag or Last-Modified, and by its length. Where a server tells neither, going on means reading again from
the start and comparing what was read already.
"""

from __future__ import annotations

import atexit
import contextlib
import email.utils
import hashlib
import http.client
import logging
import os
import re
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from streamwds.errors import ChangedError, OpenError, WriteError
from streamwds.redacted import redacted
from streamwds.shards.resuming import Passing, Resuming, Tries
from streamwds.shards.writing import Spooled, writing

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = ["create_web", "forget_connections", "open_web"]

PIECE = 1 << 18
REDIRECTS = 10
REDIRECTING = frozenset({301, 302, 303, 307, 308})  # (303 after a PUT leads to something else than its place)
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


def open_web(url: str, offset: int, options: Gopen) -> BinaryIO:
    """What is at a URL, from an offset on; going on by itself where a connection is cut."""
    return cast("BinaryIO", Resuming(url, offset, _Object(url, offset, options), options))


def create_web(url: str, options: Gopen) -> Spooled:
    """Something to be PUT to a URL."""

    def upload(kept: str) -> None:
        def put() -> None:
            with open(kept, "rb") as file:
                response = _request("PUT", url, options, {"Content-Length": str(os.path.getsize(kept))}, file)
            _finish(response)
            if response.status not in (200, 201, 202, 204):
                raise WriteError(_refusal(response), url=url)

        with writing(url):
            Tries(url, options).until(put)

    return Spooled(url, upload)


# ---- one object


class _Object:
    """What is at a URL: the one that answered first, as far as it can be told."""

    def __init__(self, url: str, base: int, options: Gopen) -> None:
        self.url = url
        self.base = base  # where reading began
        self.options = options
        self.asked = False
        self.etag: str | None = None
        self.modified: str | None = None
        self.size: int | None = None
        self.digest = hashlib.blake2b()  # of what was read, where nothing but that tells this object from another

    @property
    def validator(self) -> str | None:
        """What If-Range can be asked with."""
        return self.modified if self.etag is None or self.etag.startswith("W/") else self.etag

    def connect(self, at: int) -> _Body:
        start = self.base if self.asked and self.validator is None else at
        headers: dict[str, str] = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        response = _request("GET", self.url, self.options, headers)
        try:
            return self._body(response, start, at)
        except BaseException:
            response.close()
            raise

    def _body(self, response: Any, start: int, at: int) -> _Body:
        status = response.status
        ranged = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(ranged["total"]) if ranged and ranged["total"] != "*" else None
        if status == 416:
            self._check_total(total)
            if at > self.base and at != self.size:
                raise self.changed(f"it ends before byte {at}, up to which it was read")
            if (self.size or 0) > start:
                raise OpenError(f"the server has no bytes from {start} on, of {self.size}", url=self.url)
            _finish(response)
            return _Body(self, None, at, at, at)
        if status not in (200, 206):
            raise OpenError(_refusal(response), url=self.url)
        if status == 206 and not (ranged and ranged["first"] and int(ranged["first"]) == start):
            given = response.headers.get("Content-Range", "no Content-Range")
            raise OpenError(f"asked for its bytes from {start} on, the server gives others ({given})", url=self.url)
        length = _number(response.headers.get("Content-Length"))
        self._check(response, length if status == 200 else total)
        if ranged and status == 206:
            return _Body(self, response, start, at, int(ranged["last"]) + 1)
        return _Body(self, response, 0, at, length)

    def _check(self, response: Any, total: int | None) -> None:
        """Note by what the object is known; raise if it is another than before."""
        etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if not self.asked:
            self.asked, self.etag, self.modified = True, etag, modified
        elif self.etag is not None and etag != self.etag:
            raise self.changed(f"its ETag was {self.etag}, and is {etag}")
        elif self.etag is None and self.modified is not None and modified not in (None, self.modified):
            raise self.changed(f"it was last modified at {self.modified}, and now at {modified}")
        self._check_total(total)

    def _check_total(self, total: int | None) -> None:
        if self.size is None:
            self.size = total
        elif total not in (None, self.size):
            raise self.changed(f"it had {self.size} bytes, and has {total}")

    def changed(self, how: str) -> ChangedError:
        return ChangedError(f"it changed while it was read: {how}", url=self.url)


class _Body:
    """The body of one answer, which begins at byte `start`, from byte `at` on.

    What lies before the place where reading began is forgotten, and what was read already too, if the object is known
    by a validator; else it is compared.
    """

    def __init__(self, whole: _Object, response: Any, start: int, at: int, end: int | None) -> None:
        """end: where the body ends, if the server said so."""
        self._whole = whole
        self._response = response
        self._next = start
        self._at = at
        self._end = end
        self._digest = None if whole.validator is not None else hashlib.blake2b()

    def read(self, size: int) -> bytes:
        while self._next < self._at:
            compared = self._digest is not None and self._next >= self._whole.base
            place = self._at if compared or self._digest is None else self._whole.base
            data = self._receive(min(place - self._next, PIECE))
            if not data:
                if self._at > self._whole.base:
                    raise self._whole.changed(f"it ends before byte {self._at}, up to which it was read")
                return b""  # (of an object that ends before the place where reading was to begin)
            if compared and self._digest is not None:
                self._digest.update(data)
                if self._next == self._at and self._digest.digest() != self._whole.digest.digest():
                    raise self._whole.changed(f"its first {self._at} bytes are not those that were read")
        data = self._receive(size)
        self._at = self._next
        if self._digest is not None:
            self._whole.digest.update(data)
        return data

    def _receive(self, size: int) -> bytes:
        if self._response is None:
            return b""
        try:
            data: bytes = self._response.read1(size)
        except _failures() as error:
            raise Passing(f"the connection failed at byte {self._next}: {_said(error)}") from error
        self._next += len(data)
        if not data:
            ends = self._end if self._whole.size is None else self._whole.size
            if ends is not None and self._next < ends:  # (urllib3 notices, too, if the answer was to be longer)
                raise Passing(f"the connection ended at byte {self._next} of {ends}")
        return data

    def stop(self) -> None:
        with contextlib.suppress(Exception):  # (it may be closed, or come to its end, at this moment)
            self._response.shutdown()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


# ---- one request


def _request(method: str, url: str, options: Gopen, headers: Mapping[str, str], body: Any = None) -> Any:
    """The answer to a request, wherever it was sent on to; a `Passing` where asking again may help."""
    urllib3 = _urllib3(url)
    if CONTROL.search(url):
        raise OpenError(f"a URL has no control characters, and this one does: {redacted(url)!r}")
    target = url
    for _ in range(REDIRECTS + 1):
        own = {"User-Agent": "streamwds", "Accept-Encoding": "identity", **headers}
        try:
            if _origin(target) == _origin(url):
                own = {**own, **_credentials(urllib3, url), **options.headers}
            response = _pool(target).urlopen(
                method,
                _bare(target),
                body=body,
                headers=own,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=options.timeout, read=options.timeout),
            )
        except ValueError:  # (no cause, for that shows all of the URL)
            raise OpenError("this is no URL that can be asked for", url=url) from None
        except _failures() as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise OpenError(f"the server's certificate is not trusted: {_said(error)}", url=url) from error
            raise Passing(_said(error)) from error
        if response.status not in REDIRECTING or (response.status == 303 and body is not None):
            if response.status in PASSING:
                _finish(response)
                raise Passing(_refusal(response), _retry_after(response.headers.get("Retry-After")))
            return response
        _finish(response)
        target = _redirected(url, target, response.headers.get("Location", ""))
        if body is not None:
            body.seek(0)
    raise OpenError(f"it is redirected more than {REDIRECTS} times", url=url)


def _redirected(url: str, at: str, location: str) -> str:
    """Where a server sends us on to. It is a stranger's word, so it leads to the web only, and to nothing less safe."""
    try:
        target = "" if not location or CONTROL.search(location) else _bare(urljoin(_bare(at), location.strip(" ")))
    except ValueError:
        target = ""
    if not target:
        raise OpenError(f"it is redirected to {redacted(location)!r}, which is no URL", url=url)
    scheme, before = (urlsplit(link).scheme for link in (target, at))
    if scheme not in ("http", "https"):
        raise OpenError(f"it is redirected to a {scheme}: URL; only http: and https: are followed", url=url)
    if before == "https" and scheme == "http":
        raise OpenError("it is redirected from https: to http:, where anyone can listen", url=url)
    return target


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def _bare(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _credentials(urllib3: Any, url: str) -> dict[str, str]:
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return {"Authorization": urllib3.make_headers(basic_auth=unquote(user))["authorization"]} if at else {}


def _finish(response: Any) -> None:
    """Be done with an answer: its connection is kept if what is left of it is short."""
    with contextlib.suppress(*_failures()):
        response.read(1 << 16)
    response.close()


def _refusal(response: Any) -> str:
    reason = response.reason or http.client.responses.get(response.status, "")
    return f"the server answers {response.status} {reason}".rstrip()


def _said(error: BaseException) -> str:
    text = str(error)
    return text if text else type(error).__name__


def _retry_after(value: str | None) -> float | None:
    """Seconds until the server wants to be asked again: it says so in seconds, or as a date."""
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return float(seconds)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


# ---- connections, kept for the next request to the same server


def _urllib3(url: str) -> Any:
    try:
        return import_module("urllib3")
    except ImportError as error:
        scheme = urlsplit(url).scheme
        raise OpenError(f"{scheme}: URLs need a package that isn't installed: pip install 'streamwds[http]'") from error


def _failures() -> tuple[type[Exception], ...]:
    return (import_module("urllib3.exceptions").HTTPError, http.client.HTTPException, OSError)


def _without_queries(record: logging.LogRecord) -> bool:
    """What urllib3 tells its log is told without queries, for a signature may be among them."""
    if isinstance(record.args, tuple):
        shown = (f"{arg.partition('?')[0]}?…" if isinstance(arg, str) and "?" in arg else arg for arg in record.args)
        record.args = tuple(shown)
    return True


def _new_pool(proxy: str | None) -> Any:
    urllib3 = import_module("urllib3")
    logging.getLogger("urllib3.connectionpool").addFilter(_without_queries)
    options = {"num_pools": 16, "maxsize": 32}
    if proxy is None:
        return urllib3.PoolManager(**options)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if (scheme := urlsplit(proxy).scheme.lower()) not in ("http", "https"):
        raise OpenError(
            f"the environment names a {scheme}: proxy, and only http: and https: ones are known; no_proxy names what "
            "is reached without"
        )
    headers = {f"Proxy-{name}": value for name, value in _credentials(urllib3, proxy).items()}
    return urllib3.ProxyManager(_bare(proxy), proxy_headers=headers, **options)


_pools: dict[tuple[int, str | None], Any] = {}  # by process, for no two can share connections, and by proxy


def _pool(url: str) -> Any:
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is not None and (proxy_bypass(parts.hostname or "") or proxy_bypass(_origin(url)[1])):
        proxy = None
    key = os.getpid(), proxy
    return _pools.get(key) or _pools.setdefault(key, _new_pool(proxy))  # (one for all threads)


def forget_connections() -> None:
    """Close the connections that are kept for further requests."""
    for pool in list(_pools.values()):
        pool.clear()


atexit.register(forget_connections)
