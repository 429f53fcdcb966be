"""LISTEN on a connection of its own, for ever: hints that shorten the wait for jobs."""

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
from rexecutor.telemetry.log import log_event

DUTY: Final = "listening for notifications"
CHECKED_EVERY: Final = 10.0
"""Seconds between two trials of the connection."""
ANSWER: Final = 5.0
"""Seconds that anything may take: an answer of the server, or a notification of our own to come back."""
CHECK: Final = "~"
"""What the payload of a listener's own notification begins with: no name of an executor does, and no other hears."""
NOTIFY: Final = "SELECT pg_notify(%s, %s), current_setting('transaction_read_only')"
LONGEST_WAIT: Final = 2.0
"""Seconds between two attempts to connect: the node is slower to hear of work until one succeeds."""
USELESS_WAIT: Final = 60.0
"""Seconds between two where it connects and notifications do not come."""


class Listener:
    """Calls `heard` at each notification, and after each reconnection, when some may have been missed.

    It trusts nothing: a notification of its own must come back, at the start and each 10 s. A connection
    that is half open is found out by that, and polling goes on beneath. Behind a pooler one of another
    connection must come first: our own comes back by luck where one session of the server's serves both statements.
    """

    def __init__(self, conninfo: str, schema: str, heard: Callable[[str | None], None]) -> None:
        """Keep them; `start` connects. `heard` is told what was said, or None when something may have been missed."""
        self._conninfo = conninfo
        self._schema = schema
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self._token = CHECK + unique_id()
        self._has_heard = False
        self._is_useless = False
        self._failures = 0
        self.channel: Final = channel_of(schema)

    def start(self) -> None:
        """Begin to listen."""
        self._task = start_task(self._keep_listening())

    async def stop(self) -> None:
        """Stop; harmless when stopped."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def forget(self) -> None:
        """Let go of what was left when its event loop ended."""
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
            except Exception as error:  # noqa: BLE001 - hints come again, whatever ended them
                self._failures += 1
                if self._failures == 1:
                    log_event(DutyFailed(DUTY, error))
            if self._has_heard:
                wait = 0.1
            await asyncio.sleep(wait * random_between(0.75, 1.25))  # noqa: TID251 - of the network's time
            wait = min(wait * 2, USELESS_WAIT if self._is_useless else LONGEST_WAIT)

    async def _listen(self, connection: Connection) -> None:
        """Listen until notifications do not come any more."""
        keeps = await self._keeps_session(connection)
        if keeps:
            await self._begin(connection, self.channel)
        while keeps and await self._hears(connection, self.channel, connection):
            self._heard(None)
            if self._failures:
                log_event(DutyRecovered(DUTY, self._failures))
            self._failures, self._is_useless, self._has_heard = 0, False, True
            async for notification in connection.notifies(timeout=CHECKED_EVERY):
                self._hear(notification)
        if self._has_heard:
            raise BackendError("PostgreSQL: a notification of our own did not come back")
        if not self._is_useless:
            self._is_useless = True
            log_event(ListeningUseless())

    async def _keeps_session(self, connection: Connection) -> bool:
        """Whether the connection is the server's, or the pooler hands on what another connection says while we wait.

        That is said on a channel of its own: LISTEN may stay behind in a session that others use, where notifications
        of jobs would pile up.
        """
        if not await is_behind_pooler(connection):
            return True
        await self._begin(connection, f"{self.channel}_trial")
        async with await ImpatientConnection.connect(self._conninfo, autocommit=True) as other:
            return await self._hears(connection, f"{self.channel}_trial", other)

    async def _begin(self, connection: Connection, channel: str) -> None:
        with Cutter().cut_after(ANSWER, connection):
            await connection.execute(cast("LiteralString", f"LISTEN {channel}"))

    async def _hears(self, connection: Connection, channel: str, speaker: Connection) -> bool:
        """Whether a notification of our own comes back. Others that come meanwhile are heard of.

        Raises:
            BackendError: The server has become read-only: after a failover it hears of no jobs.
        """
        with Cutter().cut_after(ANSWER, speaker):
            cursor = await speaker.execute(NOTIFY, (channel, self._token))
            row = await cursor.fetchone()
        if row is not None and row[1] == "on":
            raise BackendError("PostgreSQL: the server is read-only: a replica, or no longer the primary")
        async for notification in connection.notifies(timeout=ANSWER):
            self._hear(notification)
            if notification.payload == self._token:
                return True
        return False

    def _hear(self, notification: psycopg.Notify) -> None:
        if not notification.payload.startswith(CHECK):
            self._heard(notification.payload)
