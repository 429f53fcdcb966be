"""Enqueues on a connection of the application's own, and without a loop on one of ours."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.sqlite import store
from rexecutor.backend.sqlite.connection import (
    check_version,
    connect,
    migrate,
    transaction,
    translated,
    writers_lock,
)
from rexecutor.backend.sqlite.dialect import add_functions
from rexecutor.backend.sqlite.thread import lenient_text
from rexecutor.backend.transaction import SyncTransaction, Transaction
from rexecutor.clock import Clock
from rexecutor.errors import ConfigurationError
from rexecutor.job import Enqueued, NewJob

_TAKE_LOCK: Final = "UPDATE rexecutor_schema SET version = version WHERE false"
"""Changes nothing. Python begins a transaction before it, where it is to begin them by itself."""


def enqueue_alone(
    path: Path, synchronous: str, jobs: Sequence[NewJob], clock: Clock
) -> tuple[list[Enqueued], list[str]]:
    """Store the jobs on a new connection; answer also where the live nodes can be woken."""
    with closing(connect(path, synchronous=synchronous)) as connection:
        connection.text_factory = lenient_text
        with translated(path), writers_lock(path):
            migrate(connection, path)
            with transaction(connection):
                now = clock.now()
                return store.enqueue(connection, jobs, now), store.doorbells(connection, now)


class SqliteTransaction(SyncTransaction, Transaction):
    """A connection of the application's own to the backend's file."""

    def __init__(self, backend: Backend, path: Path, connection: sqlite3.Connection) -> None:
        """Keep the connection; see `SQLiteBackend.bound_to`."""
        super().__init__(backend)
        if not isinstance(connection, sqlite3.Connection):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
            raise ConfigurationError(f"bound_to: {kind} given; give a sqlite3.Connection to {path}")
        with translated(path), _as_ours(connection):
            files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
        if not files["main"] or Path(files["main"]).resolve() != path.resolve():
            raise ConfigurationError(f"bound_to: the connection is to {files['main'] or 'memory'}, not to {path}")
        self._path = path
        self._connection = connection

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs; blocks the loop."""
        return self.enqueue_sync(jobs)

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs; all or none, also where the transaction goes on after an error."""
        connection = self._connection
        with translated(self._path), _as_ours(connection), self._locked():
            add_functions(connection)
            return store.enqueue(connection, jobs, self.backend.clock.now())

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the file's write lock: until the application's transaction ends, or ours where there is none."""
        connection = self._connection
        if not connection.in_transaction and _commits_by_itself(connection):
            check_version(connection, self._path)
            with transaction(connection):
                yield
            return
        try:
            # First of all: what was read before the lock may be out of date once it is there.
            connection.execute(_TAKE_LOCK)
        except sqlite3.OperationalError:
            check_version(connection, self._path)
            raise
        check_version(connection, self._path)
        connection.execute("SAVEPOINT rexecutor_enqueue")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO rexecutor_enqueue")
                connection.execute("RELEASE rexecutor_enqueue")
            raise
        connection.execute("RELEASE rexecutor_enqueue")


@contextmanager
def _as_ours(connection: sqlite3.Connection) -> Generator[None]:
    """Read plain rows and texts meanwhile, whatever the application has chosen."""
    rows, texts = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, lenient_text
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = rows, texts


def _commits_by_itself(connection: sqlite3.Connection) -> bool:
    autocommit: object = getattr(connection, "autocommit", None)  # since Python 3.12
    return autocommit is True or (autocommit is not False and connection.isolation_level is None)
