"""Lets a thread that waits for jobs to end hear of it: by LISTEN, on a connection of its own."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Final, LiteralString, cast

import psycopg

from rexecutor.backend.postgres.liveness import BoundedConnection, connect_blocking
from rexecutor.backend.postgres.notifier import EVERYTHING
from rexecutor.backend.postgres.notifying import ANNOUNCE_SECONDS, AWAITED, ENDED
from rexecutor.backend.postgres.statements import Statements, channel_of
from rexecutor.backend.sync_waits import SyncWatchedStore, Watch
from rexecutor.backend.waits import Known
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import unique_id
from rexecutor.model.job import JobId

LISTEN_AFTER_SECONDS: Final = 0.2
"""Age, in seconds, from which a watch listens. Until then looks are frequent, and cost less than a connection."""
REPLY_SECONDS: Final = 3.0
"""Seconds that a reply on the listening connection may take. It is short because notifications are hints."""


@contextmanager
def watching(store: SyncWatchedStore, conninfo: str, statements: Statements, wakeups: Wakeups) -> Generator[Watch]:
    """Return a watch for the calling thread; close its connection afterwards.

    Args:
        store: The backend.
        conninfo: Connection string of the server.
        statements: Statements of the schema.
        wakeups: Those of the backend, for changes that it makes itself.
    """
    watch = _ListeningWatch(store, conninfo, statements, wakeups)
    try:
        yield watch
    finally:
        watch.close()


class _ListeningWatch:
    """A watch that listens once it is old enough. If it cannot, or hears nothing, looks go on after each pause."""

    def __init__(self, store: SyncWatchedStore, conninfo: str, statements: Statements, wakeups: Wakeups) -> None:
        self._store = store
        self._conninfo = conninfo
        self._channel: Final = channel_of(statements.schema)
        self._wakeups = wakeups
        # Not the backend's own token: its own process, too, must notify this connection.
        self._token: Final = AWAITED + unique_id()
        self._notification: Final = statements.of("notify", channel=self._channel, executors=[self._token])
        self._connection: BoundedConnection | None = None
        self._began = store.clock.monotonic()
        self._announced = 0.0
        self._is_deaf = False

    def check(self, ids: Collection[JobId], *, seconds: float | None) -> Known:
        """Ask the backend, which uses another connection: the listening one may be half open."""
        return self._store.check_ended_sync(ids, seconds=seconds)

    def wait(self, seconds: float, *, since: int) -> None:
        """Wait for a notification; as long as the watch does not listen, for a change made by this process."""
        try:
            connection = self._listening()
            if connection is not None:
                for notification in connection.notifies(timeout=seconds):
                    if notification.payload in {ENDED, EVERYTHING, self._token}:
                        return
                return
        except psycopg.Error:
            self._is_deaf = True
            self.close()
        self._wakeups.wait_sync(seconds, since=since)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _listening(self) -> BoundedConnection | None:
        """Return the connection that listens; None if it is too early, or listening is of no use."""
        now = self._store.clock.monotonic()
        if self._is_deaf or now - self._began < LISTEN_AFTER_SECONDS:
            return None
        if self._connection is None:
            self._connection = connect_blocking(self._conninfo, patience=REPLY_SECONDS)
            if self._connection.is_pooled:  # its session may be another one's by the next notification
                self._is_deaf = True
                self.close()
                return None
            self._connection.patience = REPLY_SECONDS
            self._connection.execute(cast("LiteralString", f"LISTEN {self._channel}"))
            self._announced = now - ANNOUNCE_SECONDS
        if now - self._announced >= ANNOUNCE_SECONDS:
            # It comes back here, and so causes a look for jobs that ended before others had heard it.
            self._connection.execute(self._notification.text, self._notification.parameters)
            self._announced = now
        return self._connection
