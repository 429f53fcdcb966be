"""Polls the file for those who wait: a fallback of the doorbell, and what notices an application's own commits."""

import contextlib
import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.sqlite.connection import connect
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock

POLL_INTERVAL: Final = timedelta(milliseconds=50)
"""Interval at which a waiting process checks whether another has written (7 µs each)."""


class FileWatch:
    """A connection that only polls, and counts a hint when others have committed."""

    def __init__(self, path: Path, wakeups: Wakeups, clock: Clock) -> None:
        self._path = path
        self._wakeups = wakeups
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._looking = threading.Lock()
        self._guard = threading.RLock()  # several loops may wait, and a finalizer may end a wait
        self._seen = 0
        self._next_due: int | None = None
        self._ends_awaited = 0
        self._has_passed_over = False

    @property
    def is_open(self) -> bool:
        """Whether it has a connection."""
        return self._connection is not None

    def open(self, synchronous: str) -> None:
        """Connect to the file.

        Args:
            synchronous: SQLite's `synchronous` pragma.

        Raises:
            ConfigurationError: The path cannot be a database, or this user may not write it.
            BackendError: The file cannot be opened, or is not a database.
        """
        self._connection = connect(self._path, synchronous=synchronous, is_shared=True, in_turn=True)
        self._looking = threading.Lock()  # the old one may be held by a wait that a closed loop left behind

    def close(self) -> None:
        """Close the connection; those who wait return at their next look."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    async def wait_ready(self, until: datetime, since: int) -> None:
        """Wait until there may be work that was not there at count `since`, but not past `until`."""
        await self._wait(until, since, for_end=False)

    async def wait_ended(self, until: datetime, since: int) -> None:
        """Wait for any commit, but not past `until`."""
        if self._has_passed_over:  # such a commit may have come after the caller's look
            self._has_passed_over = False
            self._wakeups.notify(is_end=True)
            return
        with self._guard:
            self._ends_awaited += 1
        try:
            await self._wait(until, since, for_end=True)
        finally:
            with self._guard:
                self._ends_awaited -= 1

    async def _wait(self, until: datetime, since: int, *, for_end: bool) -> None:
        """Wait for a change that concerns the caller.

        Only one waiter polls the file, every `POLL_INTERVAL`; the others wait for the hint that it gives.
        """
        # From here on by the monotonic clock: a step of the wall clock must not make the wait longer.
        ends = self._clock.monotonic() + (until - self._clock.now()).total_seconds()
        # Whole microseconds: a rounding error of floats is no time to wait, and this loop would never yield.
        while (left := timedelta(seconds=ends - self._clock.monotonic())) > timedelta(0):
            looking = self._looking
            if not looking.acquire(blocking=False):  # one waiter looks at the file for all
                if await self._wakeups.wait_for(left, since=since, for_end=for_end):
                    return
                continue
            try:
                if self._has_changed(for_end=for_end) or await self._wakeups.wait_for(
                    min(left, POLL_INTERVAL), since=since, for_end=for_end
                ):
                    return
            finally:
                looking.release()

    def _has_changed(self, *, for_end: bool) -> bool:
        """Return whether another connection's commit concerns the caller, and wake all others whom it concerns.

        A commit concerns those who wait for work if there is new work, and those who wait for an end in any case. Other
        commits are passed over; otherwise the heartbeats of idle nodes would make all nodes ask for work all the time.
        """
        with self._guard, contextlib.suppress(sqlite3.Error):  # busy: look again soon
            if self._connection is None:
                return True
            version: Any = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen:
                has_work = self._has_work(self._connection)
                self._seen = version
                if has_work or self._ends_awaited:
                    self._wakeups.notify(is_end=not has_work)
                    return has_work or for_end
                self._has_passed_over = True
        return False

    def _has_work(self, connection: sqlite3.Connection) -> bool:
        """Return whether jobs are due, or one will be due earlier than any was at the last look."""
        before = self._next_due
        is_due, self._next_due = store.execute(connection, "select_work").fetchone()
        return bool(is_due) or (self._next_due is not None and (before is None or self._next_due < before))
