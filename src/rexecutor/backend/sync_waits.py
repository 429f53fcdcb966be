"""Threads that wait for jobs to end. One of them looks at the store for all; none is started for that."""

import os
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final, Protocol

from rexecutor.affinity import running_loop
from rexecutor.backend.waits import LOOK_SECONDS, MOST_IDS, SHORTEST_LOOK_SECONDS, Ends, Known, Unended, Wait
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock
from rexecutor.errors import BackendError, ConfigurationError
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.status import JobStatus

FIRST_PAUSE_SECONDS: Final = 0.005
"""Seconds between looks while a wait is young. The older the youngest wait is, the longer the pause."""
PAUSE_SHARE: Final = 0.25
"""Length of a pause, compared with the age of the youngest wait."""


class Check(Protocol):
    """Returns which of the jobs are stored, and those that have ended; see `Backend.check_ended_sync`."""

    def __call__(self, ids: Collection[JobId], /, *, seconds: float | None) -> Known:
        """Look at the jobs."""
        ...


class Watch(Protocol):
    """A look at a store that goes on, in one thread."""

    def check(self, ids: Collection[JobId], /, *, seconds: float | None) -> Known:
        """Return which of the jobs are stored, and those that have ended; see `Backend.check_ended_sync`."""
        ...

    def wait(self, seconds: float, /, *, since: int) -> None:
        """Wait until a job may have ended since the last `check`, for at most `seconds` of real time. A hint.

        Returns at once if the backend's `change_count` is not `since`.
        """
        ...


class SyncWatchedStore(Protocol):
    """What waits of threads need of a backend; see `Backend`."""

    @property
    def clock(self) -> Clock:
        """Source of the time."""
        ...

    @property
    def change_count(self) -> int:
        """Number of changes of the store that the backend has heard of."""
        ...

    def check_ended_sync(self, ids: Collection[JobId], /, *, seconds: float | None = None) -> Known:
        """Return which of the jobs are stored, and those that have ended."""
        ...

    def watch_sync(self) -> AbstractContextManager[Watch]:
        """Return a watch for the calling thread."""
        ...


class PollingWatch:
    """A watch that keeps nothing open: it asks the backend at each change that this one hears of, or each pause."""

    def __init__(self, store: SyncWatchedStore, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups

    def check(self, ids: Collection[JobId], *, seconds: float | None) -> Known:
        """Ask the backend."""
        return self._store.check_ended_sync(ids, seconds=seconds)

    def wait(self, seconds: float, *, since: int) -> None:
        """Wait for a change of the store in this process."""
        self._wakeups.wait_sync(seconds, since=since)


class _Wait(Wait[threading.Event]):
    """The wait of one thread."""

    def __init__(self, ids: Collection[JobId], clock: Clock, timeout: timedelta | None) -> None:
        super().__init__(ids, threading.Event())
        self._clock = clock
        self.began: Final = clock.monotonic()
        self._ends = None if timeout is None else self.began + timeout.total_seconds()

    @property
    def left(self) -> float | None:
        """Seconds that are left of its timeout, at least 0; None if it has none."""
        return None if self._ends is None else max(self._ends - self._clock.monotonic(), 0.0)

    @property
    def patience(self) -> float | None:
        """Seconds that a look may take; None if there is no timeout."""
        return None if self.left is None else max(self.left, SHORTEST_LOOK_SECONDS)


class SyncWaits:
    """The waits of one backend in threads without an event loop.

    Each thread looks at its own jobs first. If it must wait, and no other thread waits, it leads: it looks at the jobs
    of all who wait, at each change and each pause. When it has what it waits for, or its time is up, another one leads.
    Only timeouts are measured on the backend's clock; pauses are in real time.
    """

    def __init__(self, store: SyncWatchedStore) -> None:
        self._store = store
        self._start()

    @property
    def threads(self) -> int:
        """Number of threads that wait."""
        return len(self._waits) if self._process == os.getpid() else 0

    def wait(
        self, ids: Collection[JobId], take: Callable[[Ends], object], *, timeout: timedelta | None = None
    ) -> Unended:
        """Wait until the jobs have ended, as `SharedWaits.wait` does, and block the thread meanwhile.

        Raises:
            ConfigurationError: It would block a running event loop without limit, or the backend has no synchronous
                queries.
            BackendError: The store failed.
        """
        if not ids:
            return {}
        if self._process != os.getpid():  # after a fork: the other threads do not exist here
            self._start()
        mine = _Wait(ids, self._store.clock, timeout)
        self._look(self._store.check_ended_sync, mine, [mine])
        if timeout is None and mine.open and running_loop() is not None:
            raise ConfigurationError(
                "a wait without a timeout would block the event loop of this thread; await the method without _sync"
            )
        with self._lock:
            self._waits[mine] = None
        try:
            while True:
                with self._lock:
                    found, mine.found = mine.found, {}
                if found:
                    take(found)
                if mine.error is not None:
                    raise mine.error
                if mine.is_over or not mine.open:
                    return {job_id: None if mine.is_silent else mine.statuses.get(job_id) for job_id in mine.open}
                self._lead_or_follow(mine)
        finally:
            with self._lock:
                del self._waits[mine]
                successor = next(iter(self._waits), None)
            if successor is not None:
                successor.woken.set()

    def _lead_or_follow(self, mine: _Wait) -> None:
        """Wait until there is something for this thread, or until it may lead."""
        if self._lead.acquire(blocking=False):
            try:
                self._look_for_all(mine)
            finally:
                self._lead.release()
        elif mine.left == 0:
            self._look(self._store.check_ended_sync, mine, [mine])
        else:
            mine.woken.wait(LOOK_SECONDS if mine.left is None else min(mine.left, LOOK_SECONDS))
            mine.woken.clear()

    def _look_for_all(self, mine: _Wait) -> None:
        """Look at the jobs of all threads until there is something for this one."""
        clock = self._store.clock
        with self._store.watch_sync() as watch:
            mine.woken.clear()
            while not mine.is_ready:
                # The count is read before the jobs: if one ends in between, the wait returns at once.
                since, began = self._store.change_count, clock.monotonic()
                with self._lock:
                    waits = list(self._waits)
                self._look(watch.check, mine, waits)
                if mine.is_ready:
                    return
                # Looks take at most half of the time, however fast the store changes.
                mine.woken.wait(min(clock.monotonic() - began, LOOK_SECONDS))
                age = clock.monotonic() - max(wait.began for wait in waits)
                pause = min(max(age * PAUSE_SHARE, FIRST_PAUSE_SECONDS), LOOK_SECONDS)
                watch.wait(pause if mine.left is None else min(pause, mine.left), since=since)

    def _look(self, check: Check, mine: _Wait, waits: Sequence[_Wait]) -> None:
        """Look at the jobs of these waits, in the thread of `mine`. If its time is up, this look is its last."""
        mine.is_due = mine.left == 0
        with self._lock:
            ids = list({job_id: None for wait in waits for job_id in wait.open})
        known: dict[JobId, JobRecord | JobStatus] = {}
        try:
            for start in range(0, len(ids), MOST_IDS):
                known |= check(ids[start : start + MOST_IDS], seconds=mine.patience)
        except BackendError as error:
            with self._lock:
                if mine.left == 0:  # the others may have more patience: one of them looks again
                    mine.is_silent = True
                else:
                    for wait in waits:
                        wait.fail(error)
        else:
            with self._lock:
                for wait in waits:
                    wait.learn(known)

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lead = threading.Lock()
        self._waits: dict[_Wait, None] = {}
