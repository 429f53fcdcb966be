"""Work on the file without an event loop: each call on a new connection, in the calling thread."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.sqlite.checkpoint import Checkpoints
from rexecutor.backend.sqlite.connection import connect, migrate, transaction, translated, writers_lock
from rexecutor.backend.sqlite.writer import lenient_text
from rexecutor.clock import Clock

T = TypeVar("T")


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
                with transaction(connection):
                    now = self._clock.now()
                    done = work(connection, now), store.doorbells(connection, now)
            self._checkpoints.make(connection)
        return done

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        with closing(connect(self._path, synchronous=self._synchronous)) as connection, translated(self._path):
            connection.text_factory = lenient_text
            yield connection
