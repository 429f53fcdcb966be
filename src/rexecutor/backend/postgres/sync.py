"""A synchronous connection of the backend's own, for enqueues without a loop."""

import os
import threading
import weakref
from contextlib import ExitStack
from typing import Any, Final

import psycopg

from rexecutor.backend.postgres.connection import check_migrated, translated, versions_query
from rexecutor.backend.postgres.runners import run_psycopg
from rexecutor.backend.postgres.statements import Steps, in_schema
from rexecutor.job import Enqueued


class SyncStore:
    """Connects at the first use, and again where the connection is gone; one thread at a time uses it."""

    def __init__(self, conninfo: str, schema: str) -> None:
        """Keep them."""
        self._conninfo: Final = conninfo
        self._schema: Final = schema
        self._forget()

    def run(self, steps: Steps) -> list[Enqueued]:
        """Execute the steps in a transaction of their own.

        Whether the kept connection is alive shows when the transaction begins: then, and only then, another one is
        made. What fails later is never repeated.
        """
        if self._process != os.getpid():  # the parent's connection is not the child's, nor is its lock
            self._forget()
        with self._lock, translated(self._schema), ExitStack() as transaction:
            connection = self._connection
            if connection is not None:
                try:
                    transaction.enter_context(connection.transaction())
                except psycopg.OperationalError:
                    connection.close()
                    connection = None
            if connection is None:
                connection = self._connect()
                transaction.enter_context(connection.transaction())
            return run_psycopg(connection, steps)

    def close(self) -> None:
        """Close the connection; the next use makes another. Harmless when there is none."""
        if self._process == os.getpid():
            with self._lock:
                self._finalizer()

    def _connect(self) -> "psycopg.Connection[Any]":
        self._finalizer()
        # Prepared statements do not survive a pooler, which may stand before the server.
        connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        try:
            _check_version(connection, self._schema)
        except BaseException:
            connection.close()
            raise
        # A program without a loop never closes the backend.
        self._connection = connection
        self._finalizer = weakref.finalize(self, _close, connection, os.getpid())
        return connection

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._finalizer: Any = lambda: None


def _close(connection: "psycopg.Connection[Any]", process: int) -> None:
    if process == os.getpid():
        connection.close()


def _check_version(connection: "psycopg.Connection[Any]", schema: str) -> None:
    """Raise a `SchemaError` unless this rexecutor can work with the schema."""
    name = in_schema('"rexecutor".migrations', schema)
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    row = connection.execute(versions_query(schema)).fetchone() if found is not None and found[0] else None
    current, breaking = (0, 0) if row is None else row
    check_migrated(current, schema, breaking=breaking)
