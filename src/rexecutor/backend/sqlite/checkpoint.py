"""Checkpoints of the write-ahead log, and log events if a reader keeps the log from being reset."""

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Final

from rexecutor.backend.sqlite.connection import BUSY_SECONDS
from rexecutor.telemetry.events import LogReset, LogUnbounded
from rexecutor.telemetry.log import log_event

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Growth of the log, in bytes, after which it is written back into the file."""
LARGE_BYTES: Final = 64 * 1024 * 1024
"""Size in bytes from which a log held by a reader is reported, and again each time it has doubled."""


class Checkpoints:
    """Makes the checkpoints of one backend, between the transactions of its connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: Path | None = None
        self._guard = threading.Lock()
        self._tried = 0
        self._times_held = 0
        self._told = 0

    def make(self, connection: sqlite3.Connection) -> None:
        """Make a checkpoint if the log has grown. Skipped if another thread is making one.

        Args:
            connection: One that is in no transaction.
        """
        if not self._guard.acquire(blocking=False):
            return  # another thread is making one
        try:
            if (size := self._size(connection)) < self._tried:
                self._tried = 0
            if size - self._tried >= CHECKPOINT_BYTES:
                self._tried = size
                self._times_held = self._times_held + 1 if _checkpoint(connection) else 0
                size = self._size(connection)
            self._tell(size)
        finally:
            self._guard.release()

    def _size(self, connection: sqlite3.Connection) -> int:
        if self._log is None:  # beside the file that a link leads to
            file: str = connection.execute("PRAGMA database_list").fetchone()[2]
            self._log = Path(f"{file}-wal")
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _tell(self, size: int) -> None:
        # A reader active just now may hold what one large transaction has written; the next checkpoint resets that log.
        if self._times_held > 1 and size >= max(LARGE_BYTES, 2 * self._told):
            self._told = size
            log_event(LogUnbounded(str(self._path), size))
        elif self._told and size < LARGE_BYTES:
            self._told = 0
            log_event(LogReset(str(self._path)))


def _checkpoint(connection: sqlite3.Connection) -> bool:
    """Write the log back and truncate it. Return whether a reader held part of it."""
    with contextlib.suppress(sqlite3.Error):  # only postponed: the log stays and is still read
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            _, frames, written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        return written < frames
    return False
