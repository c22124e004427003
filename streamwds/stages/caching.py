"""cache_samples and DBCache: items kept in an SQLite database, so that their source is read only once.

A database belongs to one pipeline. For each of its readers (rank and worker) it holds the first items of the stream in
their order, without a gap, each with the position behind it; so a pass reads what is there, and goes on behind it in
the source, whether it began at the start or at a position. Once a pass has kept the stream's last item, too, the
database is complete for this reader, and the source isn't opened again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import attrs

from streamwds import draws
from streamwds.codecs.packed import pack, unpack
from streamwds.context import Context
from streamwds.errors import CacheError, CacheWarning, CompositionError, EncodeError, SourceError
from streamwds.shards.cache import location
from streamwds.shards.urls import Urls
from streamwds.stage import Batch, Same, Stream, maker
from streamwds.stage import identity as unchanged
from streamwds.stages.counting import natural
from streamwds.steps import At, Items, Pair, Reopening, Run, Source, Step, Upstream, option
from streamwds.values import fingerprint

__all__ = ["CacheSamples", "DBCache", "cache_samples"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    T = DefaultTypeVar("T", default=Any)
else:
    T = TypeVar("T")
S = TypeVar("S")

APPLICATION, VERSION = 0x77647363, 1  # (which SQLite keeps in the database's header)
ROWS, BYTES = 64, 4 << 20  # so many items, or so many bytes of them, are written at a time
READ = 32  # so many are read at a time
BUSY = 60.0  # seconds to wait for others who write
BATCH = b"B"  # stands before the columns of a `Batch`

SCHEMA = f"""
CREATE TABLE owner (pipeline TEXT NOT NULL, stages TEXT NOT NULL);
CREATE TABLE readers (
    reader INTEGER PRIMARY KEY, rank INT, world_size INT, worker INT, workers INT, complete INT,
    UNIQUE (rank, world_size, worker, workers)
);
CREATE TABLE samples (
    reader INT, number INT, mark BLOB NOT NULL, at BLOB NOT NULL, key BLOB, data BLOB NOT NULL,
    PRIMARY KEY (reader, number)
);
CREATE UNIQUE INDEX marks ON samples (reader, mark);
CREATE INDEX keys ON samples (key);
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


# ---- the database

_parents: list[sqlite3.Connection] = []  # of which this process is a fork: SQLite wants them not even to be closed here


@contextlib.contextmanager
def _opened(dbname: str) -> Generator[sqlite3.Connection]:
    """The database, made if it isn't there."""
    try:
        # (a generator may be closed by another thread than the one that read it, but never while that does)
        path = os.path.abspath(dbname)
        db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        owner = os.getpid()
        try:
            _prepare(db, dbname)
            yield db
        finally:
            if os.getpid() == owner:
                db.close()
            else:
                _parents.append(db)
    except sqlite3.Error as error:
        raise CacheError(f"this database can't be used: {error}", url=dbname) from error


def _check_process(owner: int) -> None:
    if os.getpid() != owner:
        raise SourceError(
            "an iterator that reads a database can't go on in a forked process; begin a new one there, with "
            "iter(stream)"
        )


def _prepare(db: sqlite3.Connection, dbname: str) -> None:
    if _header(db) == (0, 0) and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        db.execute("PRAGMA synchronous = OFF")  # (an empty database is no loss)
        _log_ahead(db)
        with _writing(db):
            if _header(db) == (0, 0):  # (still)
                for statement in filter(str.strip, SCHEMA.split(";")):
                    db.execute(statement)
    db.execute("PRAGMA synchronous = NORMAL")  # (with a WAL: at worst the last commits are lost, and none is torn)
    if _header(db) != (APPLICATION, VERSION):
        raise CacheError("this database is no cache of samples that this release reads; remove it", url=dbname)


def _log_ahead(db: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. (SQLite itself does not wait for another process that does the same just then.)"""
    until = time.monotonic() + BUSY
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _header(db: sqlite3.Connection) -> tuple[int, int]:
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return application, version


@contextlib.contextmanager
def _writing(db: sqlite3.Connection) -> Generator[None]:
    """One transaction: all of it, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _owned(db: sqlite3.Connection, dbname: str, upstream: Upstream) -> None:
    """Make the database that of what comes before, if it is nobody's; an error if it is another pipeline's."""
    stages = " | ".join([upstream.source.name, *(step.name for step in _telling(upstream))])
    mark = blake2b(json.dumps(_contents(upstream)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    owner = db.execute("SELECT pipeline, stages FROM owner").fetchone()
    if owner is None:
        with _writing(db):
            db.execute("INSERT INTO owner SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM owner)", (mark, stages))
        owner = db.execute("SELECT pipeline, stages FROM owner").fetchone()
    if owner[0] != mark:
        differs = "with other options or data" if owner[1] == stages else f"which is {stages}"
        raise CacheError(
            f"this database has the items of another pipeline ({owner[1]}) than this one, {differs}: give each a "
            "database of its own, or remove this one",
            url=dbname,
        )


def _reader(db: sqlite3.Connection, context: Context) -> int:
    """The number of this rank and worker in the database."""
    who = (context.rank, context.world_size, context.worker, context.workers)
    find = "SELECT reader FROM readers WHERE rank = ? AND world_size = ? AND worker = ? AND workers = ?"
    found = db.execute(find, who).fetchone()
    if found is None:
        with _writing(db):
            db.execute("INSERT OR IGNORE INTO readers (rank, world_size, worker, workers) VALUES (?, ?, ?, ?)", who)
        found = db.execute(find, who).fetchone()
    return int(found[0])


# ---- whose it is


def _contents(upstream: Upstream) -> list[Any]:
    """What the items depend on, as plain data. Functions count by their names.

    (More than what decides their order and number, which is what positions depend on.)
    """
    steps: list[Any] = []
    for step in _telling(upstream):
        options = {name: _content_of(value) for name, value in step.options().items() if name != "cache"}
        steps.append([fingerprint(getattr(step, "function", step.name)), options])
    return [_source_contents(upstream.source), *steps]


def _telling(upstream: Upstream) -> list[Step[Any, Any]]:
    """The steps that change anything."""
    return [step for step in upstream.steps if step.decides or not step.same]


def _content_of(option: Any) -> Any:
    return _contents(Upstream(option.source, option.steps)) if isinstance(option, Stream) else fingerprint(option)


def _source_contents(source: Source) -> Any:
    if isinstance(source, Urls):
        return [location(url) for url in source.expanded]
    if isinstance(source, Items):
        return blake2b(_bytes_of(source.iterable), digest_size=16).hexdigest()
    parts = getattr(source, "upstreams", ())
    return [source.identity(), [_contents(part) for part in parts] or fingerprint(source)]


def _bytes_of(value: Any) -> bytes:
    try:
        return pack(value)
    except EncodeError:
        parts = value.items() if isinstance(value, dict) else value
        if isinstance(value, (list, tuple, dict)):
            return b"".join(map(_bytes_of, parts))
        return fingerprint(value).encode("utf-8", "surrogatepass")


# ---- items as rows


def _packed(item: Any) -> bytes:
    try:
        return BATCH + pack(dict(item)) if type(item) is Batch else pack(item)
    except EncodeError as error:
        raise EncodeError.about(item, error.message, field=_unpackable(item)) from error.__cause__


def _unpackable(item: Any) -> Any:
    """The first field of a sample that can't be packed."""
    for field, value in item.items() if isinstance(item, Mapping) else ():
        try:
            pack(value)
        except EncodeError:
            return field
    return None


def _unpacked(data: bytes) -> Any:
    return Batch(unpack(data[1:])) if data[:1] == BATCH else unpack(data)


def _key(item: Any) -> bytes | None:
    key = item.get("__key__") if isinstance(item, Mapping) else None
    return pack(key) if isinstance(key, str) else None  # (as bytes, for SQLite's text is UTF-8 and no other)


def _mark(at: At) -> bytes:
    """A short stand-in for a position, through JSON or not."""
    return blake2b(json.dumps(at).encode(), digest_size=8).digest()


class _Rows:
    """The items of one reader in a database."""

    def __init__(self, db: sqlite3.Connection, reader: int) -> None:
        self._db = db
        self._reader = reader
        self._waiting: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._owner = os.getpid()

    def behind(self, at: At) -> int | None:
        """The number of the item that comes behind a position; None if that isn't known here."""
        if at is None:
            return 0
        find = "SELECT number FROM samples WHERE reader = ? AND mark = ?"
        found = self._db.execute(find, (self._reader, _mark(at))).fetchone()
        return None if found is None else int(found[0]) + 1

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Some items from a number on, with the positions behind them."""
        _check_process(self._owner)
        find = "SELECT data, at FROM samples WHERE reader = ? AND number >= ? ORDER BY number LIMIT ?"
        return self._db.execute(find, (self._reader, number, READ)).fetchall()

    def complete(self) -> int | None:
        """How many items there are in all, if they are all here."""
        found = self._db.execute("SELECT complete FROM readers WHERE reader = ?", (self._reader,)).fetchone()
        return None if found is None else found[0]

    def add(self, number: int, item: Any, behind: At) -> None:
        """Keep an item; written with others, or by `write`."""
        data = _packed(item)
        self._waiting.append((self._reader, number, _mark(behind), pack(behind), _key(item), data))
        self._bytes += len(data)
        if len(self._waiting) >= ROWS or self._bytes >= BYTES:
            self.write()

    def write(self, complete: int | None = None) -> None:
        """Write what waits; with `complete`, that these are all items there are."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if os.getpid() != self._owner or not (waiting or complete is not None):
            return
        with _writing(self._db):
            # (another process with the same rank and worker may have been here already, with the same items)
            self._db.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)", waiting)
            if complete is not None:
                self._db.execute("UPDATE readers SET complete = ? WHERE reader = ?", (complete, self._reader))


# ---- the stage


def _path(dbname: Any) -> str:
    path = os.fspath(dbname)
    if not isinstance(path, str) or not path:
        raise ValueError(f"the name of a database is a path, not {dbname!r}")
    return path


@attrs.frozen(repr=False, slots=False)
class CacheSamples(Reopening[Any, Any]):
    """Remembers nothing: its positions are those of its upstream, whether an item comes from there or not."""

    name: ClassVar[str] = "cache_samples"
    keeps: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    dbname: str = option(convert=_path)
    size: int = option(check=natural)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        if (varying := upstream.varying) is not None:
            raise CompositionError(
                f"{varying} makes each epoch another, and {self.name} would give the first one for ever: put "
                f"{self.name} before {varying}"
            )
        upstream.source.check_replays()
        source = attrs.evolve(upstream, tracked=True)
        with _opened(self.dbname) as db:
            _owned(db, self.dbname, source)
            rows = _Rows(db, _reader(db, run.context))
            number = rows.behind(at)
            if number is None:
                yield from source(at)
                return
            while found := rows.read(number):
                for data, behind in found:
                    at = unpack(behind)
                    number += 1
                    yield _unpacked(data), at
            if rows.complete() != number:
                yield from self._kept(run, rows, number, source(at))

    def _kept(self, run: Run, rows: _Rows, number: int, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs, which begin with the item of this number, kept as they go by."""
        gap = False
        ended: int | None = None

        def failed(error: Exception) -> None:
            nonlocal gap
            gap = True
            run.tell(f"{self.dbname} can't be written, so items are not kept in it: {error}", CacheWarning)

        try:
            for item, at in pairs:
                if not gap and number < self.size:
                    try:
                        rows.add(number, item, at)
                    except (sqlite3.Error, OverflowError) as error:
                        failed(error)
                number += 1
                yield item, at
            ended = number if number <= self.size else None
        finally:
            if not gap:
                try:
                    rows.write(complete=ended)
                except (sqlite3.Error, OverflowError) as error:
                    failed(error)


@maker
def cache_samples(dbname: str | os.PathLike[str], size: int) -> Same:
    """Keep the first `size` items in an SQLite database, so that they are made only once: the results of costly stages.

    dbname: the path of a file on a disk of this machine, which is made if it isn't there. It belongs to one pipeline:
        what comes before must be the same each time (functions count by their names, so remove the file when one of
        them does something else), and may not change from epoch to epoch; shuffle behind it. Any number of processes
        may use it at once. Each rank and worker has its own items.
    size: the largest number of items that are kept, for each rank and worker.

    What is kept are values by their types, to the bit, and no pickles: bytes, str, bool, numbers, None, arrays and
    tensors of what tenbin holds, and tuples, lists and dicts of these. Any other value is an `EncodeError` that names
    key and field. What can't be written is one `CacheWarning`, and comes from its source.

    Items and positions are the same with and without, be the database empty, half full or complete. It is complete when
    the last item is kept; then what comes before is not even opened.

    >>> stream = range(5) | map(float) | cache_samples(tmp_path / "a.db", 1000)
    >>> list(stream), list(stream)
    ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0])
    """
    return Same((CacheSamples(os.fspath(dbname), size),))


# ---- as an object


class DBCache(Generic[T]):
    """Items kept in an SQLite database, as an object: iterating reads them, and from `source` what isn't there yet.

    dbname, size: as for `cache_samples`, which does the work.
    source: a stream, or something that can be read again and again. None: what is in the database is all.
    shuffle: give what is in a complete database in random order, another one each time.
    verbose: say on stderr how much is there.

    >>> cache = DBCache(tmp_path / "a.db", 1000, range(3) | map(str), verbose=False)
    >>> list(cache), len(cache), list(DBCache(tmp_path / "a.db", 1000, verbose=False))
    (['0', '1', '2'], 3, ['0', '1', '2'])
    """

    def __init__(
        self,
        dbname: str | os.PathLike[str],
        size: int,
        source: Iterable[T] | None = None,
        shuffle: bool = False,
        verbose: bool = True,
    ) -> None:
        self._step = CacheSamples(_path(dbname), size)
        self.dbname = self._step.dbname
        self.size = size
        self.source = source
        self.shuffle = shuffle
        self.verbose = verbose
        self._passes = 0

    def __call__(self, source: Iterable[S]) -> DBCache[S]:
        """The same cache, of this source."""
        return DBCache(self.dbname, self.size, source, self.shuffle, self.verbose)

    def __iter__(self) -> Iterator[T]:
        if self.verbose:
            sys.stderr.write(f"[{self.dbname}: {len(self)} of at most {self.size} items are there]\n")
        if self.source is None or (self.shuffle and self._is_complete()):
            return self.dbiter()
        stream: Stream[T] = self._stream(self.source) | Same((self._step,))
        return iter(stream)

    def __len__(self) -> int:
        """How many items are in the database: of this rank and worker, or without a source of all."""
        with _opened(self.dbname) as db:
            return len(self._places(db))

    def dbiter(self) -> Iterator[T]:
        """What is in the database, and nothing else."""
        with _opened(self.dbname) as db:
            places, owner = self._places(db), os.getpid()
            order: Iterable[int] = range(len(places))
            if self.shuffle:
                context = attrs.evolve(self._context(), epoch=self._passes)
                order = draws.permutation(draws.stage_key(context, "dbcache", 0, 0, per_worker=True), len(places))
                self._passes += 1
            for place in order:
                _check_process(owner)
                data = db.execute("SELECT data FROM samples WHERE rowid = ?", places[place]).fetchone()[0]
                yield _unpacked(data)

    def key_exists(self, key: str) -> bool:
        """Whether a sample with this `__key__` is in the database."""
        with _opened(self.dbname) as db:
            return bool(db.execute("SELECT EXISTS (SELECT 1 FROM samples WHERE key = ?)", (pack(key),)).fetchone()[0])

    def getmeta(self, key: str) -> Any:
        """The value that was kept under this key; None if none was."""
        with _opened(self.dbname) as db:
            found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else unpack(found[0])

    def setmeta(self, key: str, value: Any) -> None:
        """Keep a value with the database under a key; of the types that items may have.

        >>> cache = DBCache(tmp_path / "a.db", 1000)
        >>> cache.setmeta("made", (2026, 11))
        >>> cache.getmeta("made")
        (2026, 11)
        """
        with _opened(self.dbname) as db, _writing(db):
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, pack(value)))

    def _stream(self, source: Iterable[T]) -> Stream[T]:
        return source if isinstance(source, Stream) else unchanged(source)

    def _context(self) -> Context:
        return Context.current(**(self.source.fixed if isinstance(self.source, Stream) else {}))

    def _is_complete(self) -> bool:
        with _opened(self.dbname) as db:
            return _Rows(db, _reader(db, self._context())).complete() is not None

    def _places(self, db: sqlite3.Connection) -> list[tuple[int]]:
        """Where the items lie in the database, in their order."""
        if self.source is None:
            return db.execute("SELECT rowid FROM samples ORDER BY reader, number").fetchall()
        find = "SELECT rowid FROM samples WHERE reader = ? ORDER BY number"
        return db.execute(find, (_reader(db, self._context()),)).fetchall()
