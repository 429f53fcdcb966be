"""Checkpoints of the write-ahead log, and log events if a reader keeps the log from being reset.

The log keeps its size: after a checkpoint it is written again from its start. A commit that makes the file longer takes
about twice as long, because the file system has to record its new size and blocks as well.
"""

import contextlib
import io
import os
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.sqlite.connection import LOG_KEPT, transaction
from rexecutor.model.job import NodeId
from rexecutor.telemetry.events import LogReset, LogUnbounded
from rexecutor.telemetry.subscribers import emit

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CHECKPOINT_BYTES: Final = 4_000_000
"""Growth of the log, in bytes, after which it is written back into the file.

Below the 1,000 pages after which SQLite makes a checkpoint by itself on the application's own connections.
"""
LOOK_EVERY: Final = 8
"""Number of commits for which one look at how much of the log is in use is enough.

While the log's file is larger than `LOG_KEPT`, there is a look after each commit.
"""
LARGE_BYTES: Final = 64 * 1024 * 1024
"""Size in bytes from which a log held by a reader is reported, and again each time it has doubled."""
_MODE: Final = "TRUNCATE" if fcntl is None else "RESTART"
"""Mode of a checkpoint.

Without `flock`, the checkpoint itself must begin the log anew, while it holds SQLite's write lock: see `_checkpoint`.
"""
_LOCK: Final = "checkpoint"
_NOBODY: Final = NodeId("")


class Checkpoints:
    """Makes the checkpoints of one backend, between the transactions of its connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: str | None = None
        self._commits = 0
        self._guard = threading.Lock()
        self._tried = 0
        self._tried_salts = b""
        self._times_held = 0
        self._told = 0

    def make(self, connection: sqlite3.Connection) -> None:
        """Make a checkpoint if the log has grown. Skipped if another thread or process is making one.

        Never raises an error of SQLite: the caller's work is committed, and must not appear to have failed.

        Args:
            connection: One that is in no transaction.
        """
        if not self._guard.acquire(blocking=False):
            return  # another thread is making one
        try:
            with contextlib.suppress(sqlite3.Error):  # what was committed is committed; the next commit tries again
                self._make_if_due(connection)
        finally:
            self._guard.release()

    def _make_if_due(self, connection: sqlite3.Connection) -> None:
        size = self._size(connection)
        self._commits += 1
        if self._log is not None and size >= CHECKPOINT_BYTES and (self._commits >= LOOK_EVERY or size > LOG_KEPT):
            self._commits = 0
            with contextlib.suppress(OSError), io.FileIO(self._log) as file:
                log = _Log(file)
                if self._is_due(log):
                    self._checkpoint(connection, log)
                    size = self._size(connection)
        self._tell(size)

    def _size(self, connection: sqlite3.Connection) -> int:
        if self._log is None:
            self._log = f"{_file_of(connection)}-wal"
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - a third of the time, with each commit
        except OSError:
            return 0

    def _is_due(self, log: "_Log") -> bool:
        """Return whether the log has grown enough since it was reset, or since the last try if it was not reset."""
        page, salts = log.head()
        tried = self._tried if salts == self._tried_salts else 0
        return page > 0 and log.is_in_use(tried + CHECKPOINT_BYTES, page, salts)

    def _checkpoint(self, connection: sqlite3.Connection, log: "_Log") -> None:
        """Make a checkpoint, after which the next commit writes the log from its start.

        SQLite up to 3.51.2 may lose commits if one connection begins a checkpoint while another's commit begins the log
        anew (https://sqlite.org/wal.html#walresetbug). A commit begins the log anew only if a checkpoint has written
        back all of it. So only one process at a time makes a checkpoint, and it commits something first. As long as
        that is not written back, no commit begins the log anew.
        """
        mode = _MODE
        try:
            log.lock()
        except BlockingIOError:
            return  # another process is making one
        except OSError:
            mode = "TRUNCATE"  # this file system has no such locks
        try:
            self._make(connection, log, mode)
        finally:
            log.unlock()

    def _make(self, connection: sqlite3.Connection, log: "_Log", mode: str) -> None:
        with _without_waiting(connection), contextlib.suppress(sqlite3.Error):  # postponed: the log is still read
            try:
                _commit_something(connection)
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    return  # another connection writes; the next commit tries again
                mode = "TRUNCATE"  # the disk may be full, and this gives the log's room back
            if not self._is_due(log):  # the log has begun anew meanwhile
                return
            page, self._tried_salts = log.head()
            _, frames, written = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            self._tried = frames * (page + _FRAME)
            self._times_held = self._times_held + 1 if written < frames else 0

    def _tell(self, size: int) -> None:
        # One failure alone may be due to a brief reader beside a large transaction; then the next checkpoint succeeds.
        if self._times_held > 1 and size >= max(LARGE_BYTES, 2 * self._told):
            self._told = size
            emit(LogUnbounded(str(self._path), size))
        elif self._told and size < LARGE_BYTES:
            self._told = 0
            emit(LogReset(str(self._path)))


_HEAD: Final = 32
_FRAME: Final = 24
"""Sizes in bytes of the log's head, and of what stands before each page (https://sqlite.org/fileformat2.html#walformat)."""


class _Log:
    """The log's file, opened to see how much of it is in use. SQLite itself holds no lock on this file."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def lock(self) -> None:
        """Lock out the checkpoints of other processes.

        Raises:
            BlockingIOError: Another process has the lock.
            OSError: The file cannot be locked.
        """
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self) -> None:
        """Unlock. To close the file is not enough: a process that was forked meanwhile holds the same lock."""
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def head(self) -> tuple[int, bytes]:
        """Return the size of a page, 0 if nothing was written yet, and the salts, which change when it begins anew."""
        self._file.seek(0)
        head = self._file.read(_HEAD)
        return int.from_bytes(head[8:12], "big"), head[16:24]

    def is_in_use(self, size: int, page: int, salts: bytes) -> bool:
        """Return whether at least `size` bytes are in use: each page has the salts with which it was written."""
        self._file.seek(_HEAD + size // (page + _FRAME) * (page + _FRAME) + 8)
        return self._file.read(8) == salts


def _file_of(connection: sqlite3.Connection) -> str:
    """Return the file's path: if the connection was opened by a link, that to which the link leads."""
    texts, connection.text_factory = connection.text_factory, bytes  # it may not be UTF-8
    try:
        return os.fsdecode(connection.execute("PRAGMA database_list").fetchone()[2])
    finally:
        connection.text_factory = texts


def _commit_something(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        store.execute(connection, "acquire_lock", name=_LOCK, node=_NOBODY, now=0)
        store.release_lock(connection, _LOCK, _NOBODY)


@contextlib.contextmanager
def _without_waiting(connection: sqlite3.Connection) -> Generator[None]:
    """Let statements fail at once if another connection has the lock that they need."""
    before: int = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")
