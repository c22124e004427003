"""Shards kept in a folder: whoever reads a shard first stores it as it goes by, and from then on it is read from there.

The folder tells all there is to know, so any number of processes and threads may share it. `NAME.cached` is a whole
shard; its time of change is when it was last opened. `.NAME.cached.partial` is one that is being stored, as long as the
room that is taken for it. Whoever reads or stores a file holds a lock on it (flock), which ends with the process at the
latest: so what is read isn't evicted, and a partial file without a lock is what a killed process has left. Which files
there are changes under the lock of `.lock` alone, but for a partial file that its owner gives up.

What is stored is never trusted before it is whole, and whatever goes wrong with it, the reader gets the source's bytes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from hashlib import blake2b
from itertools import repeat
from typing import Any, BinaryIO, ClassVar, TypeAlias, cast
from urllib.parse import quote

import attrs

from streamwds.errors import CacheWarning, FunctionError, OpenError
from streamwds.shards.local import local_path
from streamwds.shards.locks import is_as_stored, lock, note_size, opened, unlock_and_close, unread
from streamwds.shards.opening import Opener, Shard, open_url, shard_of
from streamwds.shards.storing import PARTIAL, Store, Storing, reason, say, warn
from streamwds.stage import Stage, maker
from streamwds.steps import Lifted, Pair, Run, first, option
from streamwds.tar.members import check_whole
from streamwds.values import code, function_name

__all__ = ["CacheShards", "CachedOpener", "ShardCache", "cache_shards", "guess_shard", "shard_uuid"]

Tell: TypeAlias = "Callable[[str, type[Warning]], None]"

WHOLE = ".cached"
EVERYTHING = 1e15  # bytes: as good as no bound
POLL = 0.05  # seconds


# ---- names


def guess_shard(path: str) -> str:
    """The name of the file that a URL, or the last word of a command, ends with.

    >>> guess_shard("https://example.com/a/train-000000.tar?token=x"), guess_shard("pipe:ssh host cat a/b.tar")
    ('train-000000.tar', 'b.tar')
    """
    words = path.split() or [""]
    return os.path.split(words[-1].partition("?")[0] if "://" in path else words[-1])[1]


def shard_uuid(path: str) -> str:
    """A UUID of a URL: another name for each URL, that doesn't show what it is.

    >>> shard_uuid("a.tar")
    'ec6b6daf-c790-3d6b-9a2a-cf3498dd3cae'
    """
    return str(uuid.uuid3(uuid.NAMESPACE_URL, path))


# what stores of objects add to a URL when they sign it, the signature itself and other parts that differ each time
_SIGNED = re.compile(r"(x-amz-signature|x-goog-signature|signature|sig)=", re.IGNORECASE)
_SIGNATURE = re.compile(
    r"(x-amz-|x-goog-|(awsaccesskeyid|googleaccessid|expires|signature|key-pair-id|policy|se|sig|ske|skt|st)=)",
    re.IGNORECASE,
)


def location(url: str) -> str:
    """What a URL names, wherever it is named from and however it is signed.

    >>> location("https://example.com/a.tar?X-Amz-Date=1&part=2&X-Amz-Signature=abc")
    'https://example.com/a.tar?part=2'
    """
    try:
        return os.path.abspath(local_path(url))
    except OpenError:
        base, _, query = url.partition("?")
        parts = query.split("&")
        if not any(map(_SIGNED.match, parts)):
            return url
        kept = "&".join(part for part in parts if not _SIGNATURE.match(part))
        return f"{base}?{kept}" if kept else base


def _file_name(name: str) -> str:
    """A name as one that is safe in every folder: other names give others, and none leads anywhere else."""
    quoted = quote(name, safe="", errors="surrogatepass")
    quoted = f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
    return quoted if len(quoted) <= 200 else f"{quoted[:160]}.{_short(name)}"


def _short(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


# ---- the folder


def _size(instance: object, attribute: attrs.Attribute[Any], size: object) -> None:
    if not isinstance(size, (int, float)) or isinstance(size, bool) or not size >= 0:
        raise ValueError(f"cache_size is a number of bytes, not {size!r}")


def _seconds(instance: object, attribute: attrs.Attribute[Any], seconds: object) -> None:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds >= 0:
        raise ValueError(f"wait is a number of seconds, not {seconds!r}")


def _naming(instance: object, attribute: attrs.Attribute[Any], function: object) -> None:
    if not callable(function):
        raise TypeError(f"cache_name is a function from a URL to a name, not {function!r}")


def _folder(path: object) -> str:
    folder = os.fspath(cast("Any", path))
    if not isinstance(folder, str) or not folder:
        raise ValueError(f"cache_dir is the path of a folder, not {path!r}")
    return folder


@attrs.frozen(repr=False)
class ShardCache:
    """A folder in which shards are kept, for `tarsamples(cache=…)`; shared by all who name it, in any process.

    cache_dir: the folder, on a disk of this machine. It is made if it isn't there; other files in it are left alone.
    cache_size: in bytes, for whole files and those that are being stored. To make room for a shard, those are evicted
        that were not opened for the longest time; one that is being read never is. A shard for which there is no room
        is read from its source. Where its length is known, room is taken for all of it before it is read.
    cache_name: a function from a URL to a name: what has the same name is the same shard. The default is a guess, so
        from it, URLs that differ in more than a signature are told apart all the same. Any name will do: none leads out
        of the folder.
    verbose: say on stderr what is found, stored and evicted.
    wait: for how many seconds to wait for somebody else who is storing the shard, before it is read from its source
        here, too.

    A shard is kept when the end of its file was read, as many bytes came as it has, and they are a whole archive. What
    can't be stored is one `CacheWarning`, and is read from its source. A file whose length is not what was stored any
    more (which is noted on it, where the disk knows attributes of files) is one, too, and is fetched anew. Shards are
    taken to stay as they are: if the data behind a URL changes, remove the folder.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.write({"__key__": "0001", "txt": b"a cat"})
    >>> stream = urls(tmp_path / "a.tar") | tarsamples(cache=ShardCache(tmp_path / "cache", 1e9))
    >>> first = list(stream)
    >>> (tmp_path / "a.tar").unlink()
    >>> list(stream) == first
    True
    """

    cache_dir: str = attrs.field(converter=_folder)
    cache_size: float = attrs.field(default=EVERYTHING, validator=_size)
    cache_name: Callable[[str], str] = attrs.field(default=guess_shard, validator=_naming)
    verbose: bool = False
    wait: float = attrs.field(default=0, validator=_seconds, kw_only=True)

    def shard(self, shard: Shard, tell: Tell = warn) -> Shard:
        """The same shard, opened here if it lies here, and else stored as it is read."""
        return Shard(shard.url, CachedOpener(self, shard.opener, tell))

    def kept(self, pairs: Iterator[Pair], tell: Tell = warn, opener: Opener = open_url) -> Iterator[Pair]:
        """The pairs of shards, or of what names them, and positions, with the shards opened here."""
        self.tidy()
        for item, at in pairs:
            with contextlib.suppress(OpenError):  # (what names no shard is left to who reads it)
                item = self.shard(shard_of(item, opener), tell)
            yield item, at

    def open(self, url: str, offset: int = 0, opener: Opener = open_url, tell: Tell = warn) -> BinaryIO:
        """A shard's bytes from an offset on. Only if it isn't here, its source is opened, by the opener.

        It is stored if it is read from its start.
        """
        place = self.place(url)
        found: io.FileIO | Store | None = None
        try:
            found = self._found(place, tell, stored=not offset)
        except OSError as error:
            told = f"{self.cache_dir} can't be used, so shards are read from their sources: {reason(error)}"
            tell(told, CacheWarning)
        if isinstance(found, io.FileIO):
            say(self.verbose, f"found {place}")
            found.seek(offset)
            return cast("BinaryIO", found)
        say(self.verbose, f"read from the source, for it is not there: {place}")
        if found is None:
            return opener(url, offset)
        try:
            raw = opener(url, 0)
        except BaseException:
            found.drop()
            raise
        return cast("BinaryIO", Storing(url, raw, found, self, tell, verbose=self.verbose))

    def place(self, url: str) -> str:
        """Where the shard of this URL lies, if it is here."""
        try:
            name = self.cache_name(url)
        except Exception as error:
            function = function_name(self.cache_name)
            raise FunctionError(f"cache_name={function} raised {type(error).__name__}: {error}", url=url) from error
        if not isinstance(cast("Any", name), str) or not name:
            raise OpenError(f"cache_name={function_name(self.cache_name)} gave {name!r}, which is no name", url=url)
        if self.cache_name is guess_shard:
            name = f"{name}.{_short(location(url))}"
        return os.path.join(self.cache_dir, _file_name(name) + WHOLE)

    def _found(self, place: str, tell: Tell, *, stored: bool) -> io.FileIO | Store | None:
        """The file at that place, open and locked; or, if it is to be `stored`, where to store it; or nothing."""
        until = time.monotonic() + self.wait
        while True:
            file = opened(place)
            if file is not None and not is_as_stored(file.fileno()):
                file.close()
                tell(f"{place} has not as many bytes as were stored, so it is fetched anew", CacheWarning)
                with self._locked(), unread(place) as alone:
                    if not alone:
                        return None
                    os.unlink(place)
                continue
            if file is not None or not stored:
                return file
            with self._locked():
                is_whole = os.path.exists(place)  # (by now)
                store = None if is_whole else Store.begin(place)
            if store is not None or (not is_whole and time.monotonic() >= until):
                return store
            if not is_whole:
                time.sleep(POLL)

    # ---- which files there are

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """The folder to oneself."""
        os.makedirs(self.cache_dir, exist_ok=True)
        fd = os.open(os.path.join(self.cache_dir, ".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(fd, wait=True)
            yield
        finally:
            unlock_and_close(fd)

    def tidy(self) -> None:
        """Remove what killed processes have left, and what is more than `cache_size`; do nothing where one may not."""
        if os.path.isdir(self.cache_dir):
            with contextlib.suppress(OSError), self._locked():
                self._make_room(0)

    def take(self, store: Store, size: int) -> bool:
        """Take room for what is being stored, so many bytes in all; False if there is none."""
        with self._locked():
            if not self._make_room(size - store.taken):
                return False
            os.ftruncate(store.fd, size)
            store.taken = size
            return True

    def _make_room(self, more: int) -> bool:
        """Evict until there is room for so many bytes more; False, and nothing is evicted, if that can't be."""
        taken = more
        whole: list[tuple[int, int, str]] = []
        with os.scandir(self.cache_dir) as entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(WHOLE + PARTIAL):
                    taken += _taken_by_partial(entry.path)
                elif entry.name.endswith(WHOLE):
                    found = entry.stat()
                    taken += found.st_size
                    whole.append((found.st_mtime_ns, found.st_size, entry.path))
        missing = taken - self.cache_size
        with contextlib.ExitStack() as locks:
            evicted: list[str] = []
            for _, size, path in sorted(whole):
                if missing <= 0:
                    break
                if locks.enter_context(unread(path)):
                    evicted.append(path)
                    missing -= size
            if missing > 0 and more:
                return False
            for path in evicted:
                os.unlink(path)
                say(self.verbose, f"evicted {path}")
        return True

    def publish(self, store: Store, url: str) -> None:
        """Keep what was stored, if it is a whole archive; a `TarError` says why it is none."""
        check_whole(Shard(url, lambda url, offset: cast("BinaryIO", io.FileIO(store.partial))))
        note_size(store.fd, store.size)
        os.fsync(store.fd)
        with self._locked():
            store.publish()

    def __repr__(self) -> str:
        shown = [repr(self.cache_dir)]
        for field in attrs.fields(ShardCache)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={code(value)}")
        return f"ShardCache({', '.join(shown)})"


def _taken_by_partial(path: str) -> int:
    """How many bytes are taken for what is being stored there; none if nobody does, and then it is removed."""
    with unread(path) as left:
        if left:
            os.unlink(path)
            return 0
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def cache_of(cache: Any) -> ShardCache | None:
    """The cache that an option names: a folder is one without a bound."""
    return cache if cache is None or isinstance(cache, ShardCache) else ShardCache(cache)


@attrs.frozen
class CachedOpener:
    """Opens a shard from a cache, and what isn't there as another opener does."""

    cache: ShardCache
    opener: Opener = attrs.field(default=open_url, repr=code)
    tell: Tell = attrs.field(default=warn, eq=False, repr=False)

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        return self.cache.open(url, offset, self.opener, self.tell)

    def jumps(self, url: str) -> bool:
        """Whether opening this URL at an offset costs no more than at its start, as far as the opener knows."""
        jumps: Callable[[str], bool] | None = getattr(self.opener, "jumps", None)
        return jumps is not None and jumps(url)


# ---- the stage


@attrs.frozen(repr=False, slots=False)
class CacheShards(Lifted[Shard, Shard]):
    name: ClassVar[str] = "cache_shards"
    takes: ClassVar[str | None] = "Shard"
    yields: ClassVar[str | None] = "Shard"
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    cache_dir: str = option(convert=_folder)
    cache_size: float = option(EVERYTHING, positional=True)
    cache_name: Callable[[str], str] = option(guess_shard)
    verbose: bool = option(False)
    wait: float = option(0)

    def __attrs_post_init__(self) -> None:
        self.cache()

    def cache(self) -> ShardCache:
        return ShardCache(self.cache_dir, self.cache_size, self.cache_name, self.verbose, wait=self.wait)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Shard]:
        return map(first, self.cache().kept(zip(items, repeat(None)), run.tell))


@maker
def cache_shards(
    cache_dir: str | os.PathLike[str],
    cache_size: float = EVERYTHING,
    cache_name: Callable[[str], str] = guess_shard,
    verbose: bool = False,
    *,
    wait: float = 0,
) -> Stage[Shard, Shard]:
    """Keep shards in a folder: `open_shards | cache_shards(folder, 1e12) | tarfiles | group_by_keys`.

    The first reading of a shard stores it there as it goes by; later ones, of whatever process, don't open its source.
    For the options see `ShardCache`, which does the same for `tarsamples(cache=…)`. Positions don't depend on the
    cache. Local shards are kept, too, for their disk may be a slow one.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.write({"__key__": "0001", "txt": b"a cat"})
    >>> stream = urls(tmp_path / "a.tar") | open_shards | cache_shards(tmp_path / "cache", 1e9) | tarfiles
    >>> first = list(stream)
    >>> (tmp_path / "a.tar").unlink()
    >>> list(stream) == first
    True
    """
    return Stage((CacheShards(os.fspath(cache_dir), cache_size, cache_name, verbose, wait),))
