"""Work on the file without an event loop: each call on a new connection, in the calling thread."""

import sqlite3
from collections.abc import Callable, Collection, Generator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.sqlite.checkpoint import Checkpoints
from rexecutor.backend.sqlite.connection import connect, migrate, take_turns, transaction, translated, writers_lock
from rexecutor.backend.sqlite.watch import POLL_INTERVAL
from rexecutor.backend.sqlite.writer import lenient_text
from rexecutor.backend.sync_waits import Watch
from rexecutor.backend.waits import Known
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock
from rexecutor.model.job import JobId

T = TypeVar("T")

POLLS_AT_LEAST: Final = 4
"""Minimum number of times that a wait asks whether others have committed, however short it is."""


class SyncStore:
    """The file as synchronous code uses it. It keeps no connection, so nothing is left open and a fork does no harm."""

    def __init__(self, path: Path, synchronous: str, clock: Clock, checkpoints: Checkpoints) -> None:
        self._path: Final = path
        self._synchronous: Final = synchronous
        self._clock: Final = clock
        self._checkpoints: Final = checkpoints

    def read(self, script: Callable[[datetime], Script[T]]) -> T:
        """Execute a script that only reads; it is given the time. Creates and migrates the file if need be.

        Raises:
            ConfigurationError: The path cannot be a database, or this process may not use SQLite.
            SchemaError: A newer rexecutor has made the tables.
            BackendError: The file cannot be read, or is not a database.
        """
        with self._connected() as connection:
            migrate(connection, self._path)
            return store.run(connection, script(self._clock.now()))

    def change(self, work: Callable[[sqlite3.Connection, datetime], T]) -> tuple[T, list[str]]:
        """Do the work in a transaction; it is given the time. Creates and migrates the file if need be.

        Returns:
            The result of the work, and the doorbell addresses of the live nodes.

        Raises:
            ConfigurationError: The path cannot be a database, or this process may not use SQLite.
            SchemaError: A newer rexecutor has made the tables.
            BackendError: The file cannot be written, or is not a database; nothing was changed.
        """
        with self._connected() as connection:
            with writers_lock(self._path):
                migrate(connection, self._path)
                take_turns(connection)
                with transaction(connection, in_turn=True):
                    now = self._clock.now()
                    done = work(connection, now), store.doorbells(connection, now)
            self._checkpoints.make(connection)
        return done

    @contextmanager
    def watch(self, wakeups: Wakeups) -> Generator[Watch]:
        """Open a connection with which one thread looks at the file again and again.

        Args:
            wakeups: Those of the backend, for commits that it makes itself.
        """
        with self._connected() as connection:
            migrate(connection, self._path)
            yield _FileWatch(self._path, connection, self._clock, wakeups)

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        with closing(connect(self._path, synchronous=self._synchronous)) as connection, translated(self._path):
            connection.text_factory = lenient_text
            yield connection


class _FileWatch:
    """A watch on a connection of its own, which notices every commit to the file."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Clock, wakeups: Wakeups) -> None:
        self._path = path
        self._connection = connection
        self._clock = clock
        self._wakeups = wakeups
        self._seen = 0

    def check(self, ids: Collection[JobId], *, seconds: float | None) -> Known:
        """Read the jobs."""
        with translated(self._path):
            self._seen = self._version()  # read first: a commit in between counts as one that comes later
            return store.run(self._connection, store.SCRIPTS.check_ended(ids, self._clock.now()))

    def wait(self, seconds: float, *, since: int) -> None:
        """Wait for a commit of this backend or of anyone else."""
        slices = max(round(seconds / POLL_INTERVAL.total_seconds()), POLLS_AT_LEAST)
        with translated(self._path):
            for _ in range(slices):
                if self._version() != self._seen or self._wakeups.wait_sync(seconds / slices, since=since):
                    return

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version
