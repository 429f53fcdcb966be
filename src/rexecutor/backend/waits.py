"""All who wait for jobs to end share their looks at the store: one a change and one a second, however many they are."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from rexecutor.background import start_task
from rexecutor.clock import Clock, Timer
from rexecutor.errors import BackendError
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.status import JobStatus

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks, in case a hint is lost."""
SHORTEST_LOOK_SECONDS: Final = 0.5
"""Least time, in seconds, that a look has to end, even if less of a wait's timeout is left."""
MOST_IDS: Final = 1_000
"""Maximum number of jobs in one query."""

Ends: TypeAlias = Mapping[JobId, JobRecord | None]
"""Jobs that have ended, as they are stored; None for a job that is not stored."""
Known: TypeAlias = Mapping[JobId, JobRecord | JobStatus]
"""What a look has found: the record of an ended job, the status of any other. A job that is not stored is not in it."""
Unended: TypeAlias = Mapping[JobId, JobStatus | None]
"""Jobs that had not ended when the time was up, with their status; None if the store did not respond."""


def known_of(records: Iterable[JobRecord]) -> Known:
    """Return what a look has found, made of the records of the jobs."""
    return {
        record.id: record if record.status.has_ended or record.defect is not None else record.status
        for record in records
    }


class WatchedStore(Protocol):
    """What waits need of a backend; see `Backend`."""

    @property
    def clock(self) -> Clock:
        """Source of the time."""
        ...

    @property
    def change_count(self) -> int:
        """Number of changes of the store that the backend has heard of."""
        ...

    async def check_ended(self, ids: Collection[JobId], /) -> Known:
        """Return which of the jobs are stored, and those that have ended."""
        ...

    async def wait_ended(self, until: datetime, /, *, since: int) -> None:
        """Wait until a job may have ended."""
        ...


class SharedWaits:
    """The waits of one backend. Those of one event loop share their looks."""

    def __init__(self, store: WatchedStore) -> None:
        self._store = store
        self._circles: dict[asyncio.AbstractEventLoop, _Circle] = {}

    async def wait(
        self,
        ids: Collection[JobId],
        take: Callable[[Ends], object],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - each wait has its own, and the looks are shared
    ) -> Unended:
        """Wait until the jobs have ended. Return those that had not when the time was up.

        Args:
            ids: The jobs.
            take: Called with jobs that have ended or are not stored as soon as they are found, once for each job. What
                it raises ends the wait.
            timeout: How long to wait at most, on the backend's clock; the jobs are looked at at least once. None for no
                limit.

        Raises:
            BackendError: The store failed.
        """
        if not ids:
            return {}
        loop = asyncio.get_running_loop()
        circle = self._circle_of(loop)
        mine = circle.join(ids, timeout)
        try:
            while mine.open and not mine.is_over:
                await mine.woken.wait()
                mine.woken.clear()
                found, mine.found = mine.found, {}
                if found:
                    take(found)
                if mine.error is not None:
                    raise mine.error
            return {job_id: None if mine.is_silent else mine.statuses.get(job_id) for job_id in mine.open}
        finally:
            # A wait that a closed loop has left behind is ended by the garbage collector, in any thread.
            if not loop.is_closed() and circle.leave(mine):
                self._circles.pop(loop, None)
                await circle.close()

    def _circle_of(self, loop: asyncio.AbstractEventLoop) -> "_Circle":
        circle = self._circles.get(loop)
        if circle is None:
            for other in list(self._circles):  # a copy: other threads have loops of their own
                if other.is_closed():
                    self._circles.pop(other, None)
            circle = self._circles[loop] = _Circle(self._store)
        return circle


class Signal(Protocol):
    """What wakes the caller: an `asyncio.Event`, or a `threading.Event` for a thread."""

    def set(self) -> object:
        """Wake the caller."""


SignalT = TypeVar("SignalT", bound=Signal)


class Wait(Generic[SignalT]):
    """One wait: its jobs, what was found for it, and whether its time is up."""

    def __init__(self, ids: Iterable[JobId], woken: SignalT) -> None:
        self.open = dict.fromkeys(ids)
        self.found: dict[JobId, JobRecord | None] = {}
        self.statuses: dict[JobId, JobStatus] = {}
        self.error: Exception | None = None
        self.timer: Timer | None = None
        self.asks = False
        """Whether it needs a look that has not begun yet."""
        self.is_looked_at = False
        """Whether the look under way is for it too."""
        self.is_due = False
        """Whether its time is up: the look under way, or otherwise the next, is its last."""
        self.has_looked = False
        """Whether its last look has ended."""
        self.is_silent = False
        """Whether its last look has not ended in time."""
        self.woken: Final = woken

    @property
    def is_over(self) -> bool:
        """Whether its time is up, and its last look too."""
        return self.has_looked or self.is_silent

    @property
    def is_ready(self) -> bool:
        """Whether there is something for its caller."""
        return bool(self.found) or self.error is not None or self.is_over

    def learn(self, known: Known) -> None:
        """Take over what a look has found, and wake the caller if that is something for it."""
        for job_id in list(self.open):
            job = known.get(job_id)
            if isinstance(job, JobStatus):
                self.statuses[job_id] = job
            else:
                self.found[job_id] = job
                del self.open[job_id]
        self.has_looked = self.is_due
        if self.is_ready:
            self.woken.set()

    def fail(self, error: Exception) -> None:
        """Have the caller raise the error, or a copy: raising one object in many tasks would mix their tracebacks."""
        self.error = error
        if isinstance(error, BackendError):
            self.error = type(error)(*error.args)
            self.error.__cause__ = error.__cause__
        self.woken.set()


class _Wait(Wait[asyncio.Event]):
    """The wait of one task."""

    def __init__(self, ids: Iterable[JobId]) -> None:
        super().__init__(ids, asyncio.Event())


class _Circle:
    """The waits of one event loop, and the task that looks for all of them. The last one that leaves ends the task."""

    def __init__(self, store: WatchedStore) -> None:
        self._store = store
        self._clock = store.clock
        self._waits: dict[_Wait, None] = {}
        self._looker: asyncio.Task[None] | None = None
        self._nap: asyncio.Task[None] | None = None
        """The wait for the next change, which ends early if one of the waits asks for a look."""
        self._is_stale = True
        """Whether all jobs must be looked at: something may have changed since the last such look."""
        self._is_asked = False
        """Whether some waits ask for a look at their own jobs."""
        self._look_began = 0.0
        """When the latest look began."""
        self._since = 0
        """The store's count of changes before the last look at all jobs."""
        self._next_look = 0.0
        self._rests_until = 0.0

    def join(self, ids: Collection[JobId], timeout: timedelta | None) -> _Wait:
        """Add a wait. Its jobs are looked at as soon as possible."""
        mine = _Wait(ids)
        if timeout is not None:
            mine.timer = self._clock.call_later(timeout.total_seconds(), lambda: self._end_time(mine))
        self._waits[mine] = None
        self._ask(mine)
        if self._looker is None:
            self._start()
        return mine

    def leave(self, mine: _Wait) -> bool:
        """Remove a wait. Return whether it was the last one."""
        if mine.timer is not None:
            mine.timer.cancel()
        del self._waits[mine]
        return not self._waits

    async def close(self) -> None:
        """End the task."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.wait((self._looker,))

    def _start(self) -> None:
        self._looker = start_task(self._keep_looking())
        self._looker.add_done_callback(self._start_again)

    def _start_again(self, _: "asyncio.Task[None]") -> None:
        """Replace the task if others have cancelled it, as programs do that cancel all tasks but their own."""
        if self._waits:
            self._is_stale = True
            self._start()

    async def _keep_looking(self) -> None:
        while True:
            if self._is_stale or self._is_asked:
                await self._look()
                continue
            nap = self._nap = start_task(self._next_change())
            try:
                await asyncio.wait((nap,))
            except asyncio.CancelledError:
                nap.cancel()
                await asyncio.wait((nap,))
                raise
            if not nap.cancelled():  # otherwise a wait asks for a look
                self._is_stale = True
                if isinstance(error := nap.exception(), Exception):
                    for wait in self._waits:
                        wait.fail(error)

    async def _next_change(self) -> None:
        """Wait for a change of the store, or until it is time to look again."""
        # Looks take at most half of the time, however fast the store changes.
        await self._clock.sleep(timedelta(seconds=self._rests_until - self._clock.monotonic()))
        left = timedelta(seconds=self._next_look - self._clock.monotonic())
        await self._store.wait_ended(self._clock.now() + left, since=self._since)

    async def _look(self) -> None:
        """Look at all jobs if something may have changed, otherwise at the jobs of those who ask."""
        at_all, self._is_stale, self._is_asked = self._is_stale, False, False
        some = [wait for wait in self._waits if (at_all or wait.asks) and not wait.is_ready]
        for wait in some:
            wait.asks, wait.is_looked_at = False, True
        began = self._look_began = self._clock.monotonic()
        if at_all:
            # The count is read before the jobs: if one ends in between, `wait_ended` returns at once.
            self._since, self._next_look = self._store.change_count, began + LOOK_SECONDS
        ids = list({job_id: None for wait in some for job_id in wait.open})
        known: dict[JobId, JobRecord | JobStatus] = {}
        try:
            for start in range(0, len(ids), MOST_IDS):
                known |= await self._store.check_ended(ids[start : start + MOST_IDS])
        except Exception as error:  # noqa: BLE001 - each wait raises it
            for wait in some:
                wait.fail(error)
        else:
            for wait in some:
                wait.learn(known)
        finally:
            for wait in some:
                wait.is_looked_at = False
        ended = self._clock.monotonic()
        self._rests_until = ended + min(ended - began, LOOK_SECONDS)

    def _ask(self, mine: _Wait) -> None:
        """Have the jobs of this wait looked at, after the look under way if there is one."""
        mine.asks = self._is_asked = True
        if self._nap is not None:
            self._nap.cancel()

    def _end_time(self, mine: _Wait) -> None:
        """Let the look under way, or if it is not for this wait one more, be its last. Called when its time is up."""
        mine.is_due = True
        grace = SHORTEST_LOOK_SECONDS
        if mine.is_looked_at:
            grace = max(self._look_began + grace - self._clock.monotonic(), 0)
        else:
            self._ask(mine)
        mine.timer = self._clock.call_later(grace, lambda: self._end_look(mine))

    def _end_look(self, mine: _Wait) -> None:
        """End the wait, because the store has not responded to its last look."""
        mine.is_silent = True
        mine.woken.set()
