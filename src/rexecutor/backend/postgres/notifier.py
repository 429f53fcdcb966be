"""NOTIFY, coalesced: at once when it is quiet, a statement each few milliseconds when it is not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from rexecutor.background import start_task
from rexecutor.errors import BackendError

PAUSE: Final = 0.015
"""Seconds between two notifications: some 60 a second at the most, since commits that notify wait for each other."""
GRACE: Final = 0.005
"""Seconds after a pause in which an enqueue's own statement may notify, before one is sent for that alone."""
FLUSH_SECONDS: Final = 1.0
"""Seconds that a closing backend waits for a notification: polling is right without it."""
MOST_NAMES: Final = 100
"""Of more executors than this at a time one notification tells, for all."""
EVERYTHING: Final = "*"
"""What that one says."""


class Notifier:
    """Tells other handles that executors may have due jobs. A hint: a failure does no harm, and nobody waits for it."""

    def __init__(self, send: Callable[[list[str]], Awaitable[object]]) -> None:
        """Keep what sends notifications, one a name."""
        self._send = send
        self._names: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.resumes = 0.0
        """The loop's time from when on the next may go."""

    def ring(self, executors: Collection[str]) -> None:
        """Tell of the executors, soon; in the event loop."""
        self._names.update(executors)
        if self._names and self._pause is None and not self._is_sending:
            self._sending = start_task(self._send_names())

    def begin(self, executor: str) -> bool:
        """Answer whether the caller's own statement is to tell of the executor; it tells for those who rang before."""
        if self._is_sending or self._names - {executor} or asyncio.get_running_loop().time() < self.resumes:
            return False
        self._names.clear()
        self._begin_pause()
        return True

    async def flush(self) -> None:
        """Wait until all that was rung for is sent, for `FLUSH_SECONDS` at most each time."""
        await self._sent()
        if self._pause is not None:
            self._pause.cancel()
            self._end_pause()
        await self._sent()

    async def _sent(self) -> None:
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=FLUSH_SECONDS)
            self._sending.cancel()
            await asyncio.wait((self._sending,))

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    async def _send_names(self) -> None:
        names, self._names = sorted(self._names), set()
        with contextlib.suppress(BackendError):
            await self._send(names if len(names) <= MOST_NAMES else [EVERYTHING])
        self._begin_pause()

    def _begin_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        loop = asyncio.get_running_loop()
        self.resumes = loop.time() + PAUSE
        self._pause = loop.call_later(PAUSE + GRACE, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self.ring(())
