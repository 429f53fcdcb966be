"""How a backend's handle hears of changes and passes them on to those who wait. Hints only: polling alone is right."""

import asyncio
import threading
from datetime import datetime, timedelta

from rexecutor.clock import Clock


class Hints:
    """Counts the changes that were heard of, and wakes who waits for the next. `heard` may come from any thread."""

    def __init__(self, clock: Clock) -> None:
        """Begin at version 0."""
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.version = 0
        """Grows with each change heard of. Read it, look into the store, then wait since it: nothing is missed."""

    def heard(self) -> None:
        """Tell all who wait that the store may have changed."""
        with self._lock:  # else two threads may count one change, and the version may even go back
            self.version += 1
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                self._waiting.pop(event, None)

    async def wait(self, until: datetime, *, since: int) -> bool:
        """Wait until a change after version `since` is heard of, or until the moment; answer whether one was."""
        return await self.wait_for(until - self._clock.now(), since=since)

    async def wait_for(self, delay: timedelta, *, since: int) -> bool:
        """Wait as `wait` does, for at most `delay`."""
        changed = asyncio.Event()
        self._waiting[changed] = asyncio.get_running_loop()
        try:
            if self.version == since:
                await self._clock.wait(changed, delay)
        finally:
            self._waiting.pop(changed, None)
        return self.version != since
