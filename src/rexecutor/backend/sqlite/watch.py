"""Looks at the file for those who wait: beneath the doorbell, and what hears of an application's own commits."""

import contextlib
import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rexecutor.backend.sqlite import operations as store
from rexecutor.backend.sqlite.connection import connect
from rexecutor.backend.wakeups import Hints
from rexecutor.clock import Clock

LOOK: Final = timedelta(milliseconds=50)
"""How often a waiting process asks whether another has written (7 µs each)."""


class FileWatch:
    """A connection that only looks, and tells the hints of what others have committed."""

    def __init__(self, path: Path, hints: Hints, clock: Clock) -> None:
        """Keep them; `open` makes the connection."""
        self._path = path
        self._hints = hints
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._looking = threading.Lock()
        self._guard = threading.RLock()  # waits may be in several loops, and a finalizer may end one
        self._seen = 0
        self._next_due: int | None = None
        self._ends_awaited = 0
        self._has_passed_over = False

    @property
    def is_open(self) -> bool:
        """Whether it has a connection."""
        return self._connection is not None

    def open(self, synchronous: str) -> None:
        """Connect to the file."""
        connection = connect(self._path, synchronous=synchronous, is_shared=True)
        connection.execute("PRAGMA busy_timeout = 0")
        self._connection = connection
        self._looking = threading.Lock()  # whoever held it may have been left behind in a loop that is closed

    def close(self) -> None:
        """Close the connection; whoever waits is let go at the next look."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    async def wait_ready(self, until: datetime, since: int) -> None:
        """Wait until there may be work that was not there at version `since`, or until the moment."""
        # From here on by the monotonic clock: a step of the other must not make the wait longer.
        ends = self._clock.monotonic() + (until - self._clock.now()).total_seconds()
        # Whole microseconds: what is left of a sum of floats is no time to wait, and would have this loop never yield.
        while (left := timedelta(seconds=ends - self._clock.monotonic())) > timedelta(0):
            looking = self._looking
            if not looking.acquire(blocking=False):  # one looks at the file for all who wait
                if await self._hints.wait_for(left, since=since):
                    return
                continue
            try:
                if self._has_changed() or await self._hints.wait_for(min(left, LOOK), since=since):
                    return
            finally:
                looking.release()

    async def wait_ended(self, until: datetime, since: int) -> None:
        """Wait for any commit, or until the moment."""
        if self._has_passed_over:  # perhaps one after the caller's look
            self._has_passed_over = False
            self._hints.heard()
            return
        with self._guard:
            self._ends_awaited += 1
        try:
            await self.wait_ready(until, since)
        finally:
            with self._guard:
                self._ends_awaited -= 1

    def _has_changed(self) -> bool:
        """Whether another connection has made work since the last look, or an end; tells all who wait when so.

        Most commits are neither: heartbeats of idle nodes would have each other ask for work all the time.
        """
        with self._guard, contextlib.suppress(sqlite3.Error):  # busy: look again soon
            if self._connection is None:
                return True
            version: Any = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen:
                has_work = self._has_work(self._connection)
                self._seen = version
                if has_work or self._ends_awaited:
                    self._hints.heard()
                    return True
                self._has_passed_over = True
        return False

    def _has_work(self, connection: sqlite3.Connection) -> bool:
        """Whether jobs are due, or one falls due earlier than any did at the last look."""
        before = self._next_due
        is_due, self._next_due = store.execute(connection, "select_work").fetchone()
        return bool(is_due) or (self._next_due is not None and (before is None or self._next_due < before))
