"""Opening the file: its pragmas, its schema, and the translation of its errors."""

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rexecutor.backend.sql import migrations
from rexecutor.backend.sqlite.dialect import add_functions
from rexecutor.backend.sqlite.forks import TrackedConnection, refuse_after_fork
from rexecutor.clock import random_between
from rexecutor.command import command
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

OLDEST: Final = (3, 38, 0)
BUSY_SECONDS: Final = 5.0
LOG_KEPT: Final = 16 * 1024 * 1024
"""Size in bytes to which a larger write-ahead log is cut when it begins anew."""
_PAUSE: Final = (0.000_2, 0.001)
"""Least and most seconds from one try to take the write lock to the next; random, so that nothing keeps in step."""
_WAL_TRIES: Final = 50
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: (
        f"another process held the file's lock for {BUSY_SECONDS:.0f} s, or this one did, with an open transaction of"
        " its own: give that as `connection=`, or commit it first; otherwise try again"
    ),
    sqlite3.SQLITE_READONLY: ("the file, its folder or this connection is read-only; allow this process to write them"),
    sqlite3.SQLITE_CANTOPEN: "check the path and its permissions",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database; give another path",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_PERM: "check the file's permissions",
}
_HAS_TABLES: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'rexecutor_schema'"
_CREATE_VERSIONS: Final = "CREATE TABLE IF NOT EXISTS rexecutor_schema (version INTEGER PRIMARY KEY) STRICT"
_PACKAGE: Final = "rexecutor.backend.sqlite"


def connect(
    path: Path, *, synchronous: str = "FULL", is_shared: bool = False, in_turn: bool = False
) -> sqlite3.Connection:
    """Open the file in WAL mode, and create it if missing. Transactions are begun explicitly.

    Args:
        path: The database file.
        synchronous: SQLite's `synchronous` pragma.
        is_shared: Whether any thread may use the connection, one at a time; otherwise only the calling thread may.
        in_turn: Whether to call `take_turns` for it.

    Raises:
        ConfigurationError: The path cannot be a database, or this user may not write it.
        BackendError: The file cannot be opened, or is not a database.
    """
    check_path(path)
    with translated(path):
        connection = TrackedConnection(
            path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=64, check_same_thread=not is_shared
        )
        try:
            _use_wal(connection)
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            # `Checkpoints` does this between transactions.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
            add_functions(connection)
            if in_turn:
                take_turns(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def holds_jobs(path: Path) -> bool:
    """Return whether the file has rexecutor's tables. Creates nothing.

    Raises:
        ConfigurationError: The path cannot be a database, or this user may not write it.
        BackendError: The file cannot be read, or is not a database.
    """
    check_path(path)
    with translated(path):
        # "rw" creates no file if there is none. A read-only connection ("ro") would leave a log behind.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
        try:
            return connection.execute(_HAS_TABLES).fetchone() is not None
        finally:
            connection.close()


def check_path(path: Path) -> None:
    """Raise if the path cannot be a database file, before SQLite raises something less clear.

    Raises:
        ConfigurationError: The path is a folder, its folder does not exist, or this user may not write it; or this
            SQLite is too old, or cannot be used after a fork.
    """
    refuse_after_fork(path)
    if sqlite3.sqlite_version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version} is too old; a Python with {wanted} or later is needed"
        )
    try:
        _check_place(path)
        _check_access(path)
    except PermissionError as error:  # this user may not enter a folder above
        raise ConfigurationError(f"{path}: {error.strerror}; run as a user that may open its folder") from error


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder; give the path of a file in it, such as {path / 'jobs.db'}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path}: the folder {path.parent} does not exist; make it first")


def _check_access(path: Path) -> None:
    """Refuse a user who may only read: SQLite would create a log as that user, which locks the owner out."""
    file = path.resolve()  # SQLite also follows links before it looks for the log
    needs = {file.with_name(file.name + end): os.R_OK | os.W_OK for end in ("", "-wal", "-shm")}
    for place, needed in (needs | {file.parent: os.W_OK | os.X_OK}).items():
        # Other processes create and remove the log at any moment: look twice before refusing.
        if not (_may(place, needed) or not place.exists() or _may(place, needed)) and place.exists():
            raise ConfigurationError(
                f"{path}: user {_this_user()} may not write {place} ({_described(place)}); run as a user that may write"
                " the file, its folder, and what stands beside it with its name, or allow this one to"
            )


def _may(place: Path, needed: int) -> bool:
    return os.access(place, needed, effective_ids=os.access in os.supports_effective_ids)


def _this_user() -> object:
    return os.geteuid() if hasattr(os, "geteuid") else "of this process"


def _described(place: Path) -> str:
    found = place.stat()
    is_fixed = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
    return f"of user {found.st_uid}, {stat.filemode(found.st_mode)}" + (", mounted read-only" if is_fixed else "")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite fails at once, without waiting, while another process does the same; so try again."""
    for left in reversed(range(_WAL_TRIES)):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if not left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            # This waits for the lock that the other process's switch holds.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Translate the driver's exceptions into rexecutor's, with the file's name and advice."""
    try:
        yield
    except Exception as error:
        known = explained(path, error)
        if known is error:
            raise
        raise known from error


def explained(path: Path, error: Exception) -> RexecutorError:
    """Return rexecutor's error for one of SQLite's, or for a value that SQLite cannot store; keep its own errors."""
    if isinstance(error, RexecutorError):
        return error
    if not isinstance(error, sqlite3.Error):
        advice = "a value that SQLite cannot store"
        known = BackendError(f"{path}: {advice}: {type(error).__name__}: {error}")
    else:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        known = BackendError(f"{path}: {error}" + (f": {advice}" if advice else ""))
    known.__cause__ = error
    return known


_WRITERS: Final[dict[Path, threading.Lock]] = {}
os.register_at_fork(after_in_child=_WRITERS.clear)  # the threads that hold them do not exist in the child


def writers_lock(path: Path) -> threading.Lock:
    """Return the lock that this process's connections to a file take before they write.

    SQLite's own lock is not fair: a connection that finds it taken sleeps for up to 0.1 s and tries again, so that of
    dozens of waiting connections some find it taken for seconds. With this lock only one connection of each process
    waits for SQLite's.
    """
    return _WRITERS.setdefault(path.resolve(), threading.Lock())


def take_turns(connection: sqlite3.Connection) -> None:
    """Let the connection wait for the write lock in `transaction(…, in_turn=True)`, and not within SQLite."""
    connection.execute("PRAGMA busy_timeout = 0")


@contextmanager
def transaction(
    connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE", *, in_turn: bool = False
) -> Generator[None]:
    """Commit all that the block does, or roll it back if the block raises.

    Args:
        connection: The connection, in no transaction.
        begin: The statement that begins the transaction.
        in_turn: Whether `take_turns` was called for the connection.
    """
    try:
        if in_turn:
            _begin_in_turn(connection, begin)
        else:
            connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin_in_turn(connection: sqlite3.Connection, begin: str) -> None:
    """Begin a transaction. If another process has the lock, try again after `_PAUSE`, until `BUSY_SECONDS` have passed.

    SQLite's own pauses grow to 0.1 s. A process that commits one transaction after another leaves the lock free for a
    tenth of a millisecond each time, and others would wait for seconds until they meet such a moment.
    """
    until: float | None = None
    while True:
        try:
            connection.execute(begin)
        except sqlite3.OperationalError as error:
            now = time.monotonic()  # noqa: TID251 - a file's lock waits on no clock
            until = now + BUSY_SECONDS if until is None else until
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now >= until:
                raise
        else:
            return
        time.sleep(random_between(*_PAUSE))  # noqa: TID251 - as above


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to this version; several processes may do it at the same time.

    Raises:
        SchemaError: A newer rexecutor has made the tables.
    """
    newest = len(migrations(_PACKAGE))
    if version(connection, path) == newest:
        return
    with transaction(connection):
        for number in range(version(connection, path) + 1, newest + 1):
            for command in commands_of(number):
                connection.execute(command)


def lock_version(connection: sqlite3.Connection, path: Path) -> int:
    """Take the write lock in the connection's transaction, and return the version of the tables; see `version`."""
    connection.execute(_CREATE_VERSIONS)
    connection.execute("UPDATE rexecutor_schema SET version = version WHERE false")  # takes the lock
    return version(connection, path)


def commands_of(number: int) -> Iterator[str]:
    """Yield the commands of one migration, for a transaction in which the version before it was seen."""
    yield _CREATE_VERSIONS
    yield from _commands(dict(migrations(_PACKAGE))[number])
    yield f"INSERT INTO rexecutor_schema (version) VALUES ({number})"  # noqa: S608 - a number


def migrate_alone(path: Path, synchronous: str) -> None:
    """Bring the tables up to this version on a new connection; see `migrate`."""
    with closing(connect(path, synchronous=synchronous)) as connection, translated(path), writers_lock(path):
        migrate(connection, path)


def file_command(words: str, path: Path) -> str | None:
    """Return the shell line that runs this command on the file, from any folder; None if no URL can name the file."""
    absolute = str(path.absolute())
    if "?" in absolute or not absolute.isprintable():  # a URL cannot name it, or the line would break
        return None
    return command(*words.split(), "--url", f"sqlite:///{absolute}")


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a `SchemaError` unless the tables have this version."""
    newest = len(migrations(_PACKAGE))
    if (current := version(connection, path)) < newest:
        found = f"its tables have version {current}, {newest} is needed" if current else "has no tables of rexecutor"
        line = file_command("migrate", path)
        advice = "" if line is None else f"run `{line}`, or "
        raise SchemaError(f"{path}: {found}", f"{advice}open the backend once (`async with`), which does the same")


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables; 0 if there are none.

    Raises:
        SchemaError: A newer rexecutor has made the tables.
    """
    if connection.execute(_HAS_TABLES).fetchone() is None:
        return 0
    found: int = connection.execute("SELECT coalesce(max(version), 0) FROM rexecutor_schema").fetchone()[0]
    if found > (newest := len(migrations(_PACKAGE))):
        raise SchemaError(
            f"{path}: its tables have version {found}, this rexecutor knows up to {newest}; update rexecutor"
        )
    return found


def _commands(script: str) -> Iterator[str]:
    """Split a script into its statements: `executescript` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
