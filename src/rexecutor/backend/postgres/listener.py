"""Keeps a connection that LISTENs: notifications are hints that shorten the wait for jobs."""

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Final, LiteralString, cast

import psycopg

from rexecutor.backend.postgres.connection import Connection, translated
from rexecutor.backend.postgres.liveness import Cutter, ImpatientConnection, is_behind_pooler
from rexecutor.backend.postgres.statements import channel_of
from rexecutor.background import start_task
from rexecutor.clock import random_between, unique_id
from rexecutor.errors import BackendError
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, ListeningUseless
from rexecutor.telemetry.subscribers import emit

LISTENING: Final = "listening for notifications"
"""Name of the duty in events."""
LISTEN_CHECK_SECONDS: Final = 10.0
"""Seconds between two checks that notifications still arrive, at most; up to a quarter less."""
REPLY_SECONDS: Final = 5.0
"""Timeout, in seconds, for each reply of the server and for the listener's own notification to come back."""
OWN_PREFIX: Final = "~"
"""Prefix of the payload of a listener's own notification. No executor's name has it, and other listeners ignore it."""
NOTIFY_OWN: Final = "SELECT current_setting('transaction_read_only'), pg_notify(%s, %s)"
"""Sends a notification, and returns "on" if the server is read-only."""
READ_ONLY: Final = "SELECT current_setting('transaction_read_only')"
RECONNECT_WAIT_SECONDS: Final = 2.0
"""Maximum wait, in seconds, before reconnecting. Until an attempt succeeds, the node is slower to hear of work."""
USELESS_WAIT_SECONDS: Final = 60.0
"""Maximum wait, in seconds, before reconnecting while the server accepts connections but notifications do not come."""


class Listener:
    """Calls `heard` with the payload of each notification, and with None when some may have been missed.

    The listener sends itself a notification at the start, and whenever it has heard none for about 10 s. If it comes
    back, `heard` is called with None. Otherwise the connection may be half open, and the listener reconnects. Polling
    continues meanwhile. Each notification wakes the listeners of all nodes. So a listener that has heard any other
    notification sends none of its own.

    Behind a pooler, this notification alone proves nothing: LISTEN and NOTIFY may share a server session by chance. So
    a second connection first sends a notification on a separate channel.
    """

    def __init__(self, conninfo: str, schema: str, heard: Callable[[str | None], None]) -> None:
        """Make a listener that is not connected yet; `start` connects it.

        Args:
            conninfo: Connection string of the server.
            schema: The schema whose notifications it listens for.
            heard: Called with the payload of each notification; with None when some may have been missed.
        """
        self._conninfo = conninfo
        self._schema = schema
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self._token = OWN_PREFIX + unique_id()
        self._has_heard = False
        self._is_useless = False
        self._failures = 0
        self.channel: Final = channel_of(schema)

    @property
    def is_hearing(self) -> bool:
        """Whether its latest connection has heard a notification."""
        return self._has_heard

    def start(self) -> None:
        """Start the task that listens; does nothing if it runs already."""
        if self._task is None or self._task.get_loop().is_closed():
            self._task = start_task(self._keep_listening())

    async def stop(self) -> None:
        """Stop listening. Does nothing if it has stopped already."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def forget(self) -> None:
        """Drop what is left of a listener whose event loop has ended."""
        if self._task is not None:
            self._task = None
            gc.collect()  # psycopg leaves a connection to the collector if it was cancelled while connecting

    async def _keep_listening(self) -> None:
        wait = 0.1
        while True:
            self._has_heard = False
            try:
                with translated(self._schema):
                    async with await ImpatientConnection.connect(self._conninfo, autocommit=True) as connection:
                        await self._listen(connection)
            except Exception as error:  # noqa: BLE001 - whatever the failure, the listener connects again
                self._failures += 1
                if self._failures == 1:
                    emit(DutyFailed(LISTENING, error))
            if self._has_heard:
                wait = 0.1
            await asyncio.sleep(wait * random_between(0.75, 1.25))  # noqa: TID251 - network time, not a Clock's
            wait = min(wait * 2, USELESS_WAIT_SECONDS if self._is_useless else RECONNECT_WAIT_SECONDS)

    async def _listen(self, connection: Connection) -> None:
        """Listen until notifications no longer come.

        Raises:
            BackendError: They came at first and then stopped, or the server is read-only.
        """
        keeps = await self._keeps_session(connection)
        if keeps:
            await self._begin(connection, self.channel)
        while keeps and await self._hears(connection, self.channel, connection):
            self._heard(None)
            if self._failures:
                emit(DutyRecovered(LISTENING, self._failures))
            self._failures, self._is_useless, self._has_heard = 0, False, True
            while await self._hears_others(connection):
                await self._check_writable(connection, READ_ONLY)
        # If notifications came before, the connection is half open, or the session was lost: a failure, and the next
        # attempt follows soon. If none ever came, a pooler keeps no session. Then more attempts are of little use, so
        # this is reported once and the attempts become rare; polling finds the jobs.
        if self._has_heard:
            raise BackendError("PostgreSQL: the listener's own notification did not come back")
        if not self._is_useless:
            self._is_useless = True
            emit(ListeningUseless())

    async def _keeps_session(self, connection: Connection) -> bool:
        """Return whether the connection keeps its server session, which LISTEN needs.

        It does without a pooler. Behind one, the notification of a second connection must arrive here. This trial uses
        a separate channel: LISTEN may stay behind in a session that others use, where notifications of jobs would
        pile up.
        """
        if not await is_behind_pooler(connection):
            return True
        await self._begin(connection, f"{self.channel}_trial")
        async with await ImpatientConnection.connect(self._conninfo, autocommit=True) as other:
            return await self._hears(connection, f"{self.channel}_trial", other)

    async def _begin(self, connection: Connection, channel: str) -> None:
        with Cutter().cut_after(REPLY_SECONDS, connection):
            await connection.execute(cast("LiteralString", f"LISTEN {channel}"))

    async def _hears(self, connection: Connection, channel: str, speaker: Connection) -> bool:
        """Return whether a notification that `speaker` sends arrives on the connection. Passes on others meanwhile.

        Raises:
            BackendError: The server is read-only: a replica, or after a failover the old primary, hears of no jobs.
        """
        await self._check_writable(speaker, NOTIFY_OWN, channel, self._token)
        async for notification in connection.notifies(timeout=REPLY_SECONDS):
            self._hear(notification)
            if notification.payload == self._token:
                return True
        return False

    async def _hears_others(self, connection: Connection) -> bool:
        """Pass on notifications for about 10 s. Return whether there were any, those of other listeners included."""
        has_heard = False
        async for notification in connection.notifies(timeout=LISTEN_CHECK_SECONDS * random_between(0.75, 1)):
            has_heard = True
            self._hear(notification)
        return has_heard

    async def _check_writable(self, connection: Connection, statement: LiteralString, *parameters: str) -> None:
        with Cutter().cut_after(REPLY_SECONDS, connection):
            row = await (await connection.execute(statement, parameters, prepare=False)).fetchone()
        if row is not None and row[0] == "on":
            raise BackendError("PostgreSQL: the server is read-only: a replica, or no longer the primary")

    def _hear(self, notification: psycopg.Notify) -> None:
        if not notification.payload.startswith(OWN_PREFIX):
            self._heard(notification.payload)
