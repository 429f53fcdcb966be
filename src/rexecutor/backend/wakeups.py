"""How a backend wakes those who wait for a change of its store. Only hints: polling is correct without them."""

import asyncio
import threading
from datetime import datetime, timedelta

from rexecutor.clock import Clock


class Wakeups:
    """Counts changes and wakes those who wait for the next one. `notify` may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._threads: set[threading.Event] = set()
        self.count = 0
        """Number of changes. Read it, look into the store, then wait since that count: no change is missed."""

    def notify(self) -> None:
        """Count a change and wake all who wait."""
        with self._lock:  # otherwise two threads may count one change, and the count may even go back
            self.count += 1
            waiting = list(self._waiting.items())
            for changed in self._threads:
                changed.set()
        for event, loop in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                self._waiting.pop(event, None)

    async def wait(self, until: datetime, *, since: int) -> bool:
        """Wait for a change after count `since`, but not past `until`. Return whether there was one."""
        return await self.wait_for(until - self._clock.now(), since=since)

    async def wait_for(self, delay: timedelta, *, since: int) -> bool:
        """Wait as `wait` does, for at most `delay`."""
        changed = asyncio.Event()
        self._waiting[changed] = asyncio.get_running_loop()
        try:
            if self.count == since:
                await self._clock.wait(changed, delay)
        finally:
            self._waiting.pop(changed, None)
        return self.count != since

    def wait_sync(self, seconds: float, *, since: int) -> bool:
        """Wait as `wait` does, in a thread and for at most `seconds` of real time."""
        changed = threading.Event()
        with self._lock:
            self._threads.add(changed)
        try:
            if self.count == since:
                changed.wait(seconds)
        finally:
            with self._lock:
                self._threads.discard(changed)
        return self.count != since
