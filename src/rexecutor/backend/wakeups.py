"""How a backend wakes those who wait for a change of its store. Only hints: polling is correct without them."""

import asyncio
import threading
from datetime import datetime, timedelta

from rexecutor.affinity import GUARD
from rexecutor.clock import Clock


class Wakeups:
    """Counts changes and wakes those who wait for the next one. `notify` may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.Event, tuple[asyncio.AbstractEventLoop, bool]] = {}
        self._threads: set[threading.Event] = set()
        self._latest_work = 0
        """The count at the latest change that may have made work."""
        self.count = 0
        """Number of changes. Read it, look into the store, then wait since that count: no change is missed."""

    def notify(self, *, is_end: bool = False) -> None:
        """Count a change and wake those whom it concerns.

        Args:
            is_end: Whether jobs have ended and nothing else has happened: only those who wait for an end are woken.
        """
        with GUARD:  # otherwise two threads may count one change, and the count may even go back
            self.count += 1
            if not is_end:
                self._latest_work = self.count
            # A copy, because waits come and go meanwhile in the loops of other threads.
            concerned = self._waiting.copy().items()
            waiting = [(event, loop) for event, (loop, for_end) in concerned if for_end or not is_end]
            for changed in self._threads:
                changed.set()
        for event, loop in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                self._waiting.pop(event, None)

    async def wait(self, until: datetime, *, since: int, for_end: bool = False) -> bool:
        """Wait for a change after count `since`, but not past `until`. Return whether there was one.

        Args:
            until: When to return at the latest, on the clock.
            since: The count after which a change ends the wait.
            for_end: Whether the caller waits for the end of a job, and not for work.
        """
        return await self.wait_for(until - self._clock.now(), since=since, for_end=for_end)

    async def wait_for(self, delay: timedelta, *, since: int, for_end: bool = False) -> bool:
        """Wait as `wait` does, for at most `delay`."""
        changed = asyncio.Event()
        self._waiting[changed] = asyncio.get_running_loop(), for_end
        try:
            if not self._has_changed(since, for_end=for_end):
                await self._clock.wait(changed, delay)
        finally:
            self._waiting.pop(changed, None)
        return self._has_changed(since, for_end=for_end)

    def wait_sync(self, seconds: float, *, since: int) -> bool:
        """Wait for the end of a job as `wait` does, in a thread and for at most `seconds` of real time."""
        changed = threading.Event()
        with GUARD:
            self._threads.add(changed)
        try:
            if not self._has_changed(since, for_end=True):
                changed.wait(seconds)
        finally:
            with GUARD:
                self._threads.discard(changed)
        return self._has_changed(since, for_end=True)

    def _has_changed(self, since: int, *, for_end: bool) -> bool:
        return (self.count if for_end else self._latest_work) > since
