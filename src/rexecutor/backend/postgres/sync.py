"""The backend's synchronous connections, for use without an event loop."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import psycopg
from psycopg.errors import DeadlockDetected
from psycopg.pq import TransactionStatus

from rexecutor.backend.postgres.connection import check_versions, translated
from rexecutor.backend.postgres.drivers import run_psycopg
from rexecutor.backend.postgres.execution import run_steps_sync
from rexecutor.backend.postgres.liveness import (
    BoundedConnection,
    connect_blocking,
    is_lost,
    is_stale,
    seconds_for,
)
from rexecutor.backend.postgres.statements import MOST_DEADLOCKS, versions
from rexecutor.backend.sql.operations import Script
from rexecutor.errors import BackendError

T = TypeVar("T")

CONNECTION_WAIT_SECONDS: Final = 30.0
"""Seconds that a thread waits for a connection while others use all of them."""


class SyncStore:
    """A pool of synchronous connections, without a thread or an event loop of its own.

    It connects when a thread needs a connection and none is idle, up to `limit`, and keeps them. The connection that
    was used last is used first, so that threads that enqueue one after the other share one.
    """

    def __init__(self, conninfo: str, schema: str, limit: int) -> None:
        self._conninfo: Final = conninfo
        self._schema: Final = schema
        self._limit: Final = limit
        self._start()

    def run(self, script: Callable[[], Script[T]]) -> T:
        """Execute the script in a transaction of its own; return its result.

        An idle connection that the server has ended is replaced before anything is sent. Of later failures, only a
        deadlock is retried, with a new script: the server has undone the transaction.

        Raises:
            SchemaError: The schema belongs to another version of rexecutor.
            BackendError: There was no connection within 30 s, or the store failed or did not reply; whether it was
                done is not known.
        """
        with self._lent() as connection:
            for _ in range(MOST_DEADLOCKS):
                with suppress(DeadlockDetected), connection.transaction():
                    return run_steps_sync(connection, script())
            with connection.transaction():
                return run_steps_sync(connection, script())

    def run_singly(self, script: Script[T], *, seconds: float | None = None) -> T:
        """Execute each statement of the script by itself, in no transaction and without a retry; otherwise like `run`.

        Args:
            script: The script.
            seconds: Seconds that a reply may take, if that is less than usual.
        """
        with self._lent(seconds) as connection:
            connection.patience = None if seconds is None else min(seconds, seconds_for())
            try:
                return run_steps_sync(connection, script)
            finally:
                connection.patience = None

    def close(self) -> None:
        """Close the connections; the next use makes new ones. A connection in use is closed when its use ends."""
        if self._process == os.getpid():
            idle = self._idle
            self._finalizer.detach()
            self._reset_idle()
            _close_all(idle, self._process)

    @contextmanager
    def _lent(self, seconds: float | None = None) -> Generator[BoundedConnection]:
        if self._process != os.getpid():  # after a fork: leave the parent its connections and its semaphore
            self._start()
        with translated(self._schema), self._taken(seconds) as connection:
            yield connection

    @contextmanager
    def _taken(self, seconds: float | None) -> Generator[BoundedConnection]:
        idle, free = self._idle, self._free
        patience = min(seconds or CONNECTION_WAIT_SECONDS, CONNECTION_WAIT_SECONDS)
        if not free.acquire(timeout=patience):
            raise BackendError(
                f"PostgreSQL: no connection within {patience:.0f} s: all {self._limit} are in use (`max_connections=`)"
            )
        try:
            connection = _newest(idle) or self._connect()
            try:
                yield connection
            except psycopg.Error as error:
                if is_lost(error):
                    connection.close()
                    _close_all(idle, self._process)
                raise
            finally:
                # After an interruption, what it was used for may still be under way.
                if idle is self._idle and connection.info.transaction_status == TransactionStatus.IDLE:
                    idle.append(connection)
                else:
                    connection.close()
        finally:
            free.release()

    def _connect(self) -> BoundedConnection:
        connection = connect_blocking(self._conninfo)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        try:
            check_versions(run_psycopg(connection, versions(self._schema)), self._schema, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _start(self) -> None:
        self._process = os.getpid()
        self._free = threading.BoundedSemaphore(self._limit)
        self._reset_idle()

    def _reset_idle(self) -> None:
        self._idle: deque[BoundedConnection] = deque()
        # A program without an event loop may never close the backend.
        self._finalizer = weakref.finalize(self, _close_all, self._idle, self._process)


def _newest(idle: deque[BoundedConnection]) -> BoundedConnection | None:
    """Return the live connection that was used last, or None; close the dead ones found on the way."""
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            return None
        if not is_stale(connection):
            return connection
        connection.close()


def _close_all(connections: deque[BoundedConnection], process: int) -> None:
    while process == os.getpid():
        try:
            connections.pop().close()
        except IndexError:
            return
