"""Coalesces NOTIFY: sends at once when it is quiet, and one statement every few milliseconds when it is not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from rexecutor.background import start_task
from rexecutor.errors import BackendError

PAUSE_SECONDS: Final = 0.015
"""Seconds between two notifications, so about 60 a second at most: commits that notify wait for each other."""
GRACE_SECONDS: Final = 0.005
"""Seconds after a pause in which an enqueue's own statement may notify, before a separate one is sent."""
FLUSH_SECONDS: Final = 1.0
"""Seconds that a closing backend waits for a notification to be sent. If it is lost, polling finds the jobs."""
MOST_NAMES: Final = 100
"""Maximum number of executors named at a time; for more, one notification with the payload `EVERYTHING` is sent."""
EVERYTHING: Final = "*"
"""Payload of a notification about all executors."""


class Notifier:
    """Notifies other backends that executors may have due jobs.

    Notifications are hints: a failure does no harm, and callers do not wait for them.
    """

    def __init__(self, send: Callable[[list[str]], Awaitable[object]]) -> None:
        """Make a notifier without pending notifications.

        Args:
            send: Sends one notification for each name.
        """
        self._send = send
        self._names: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.resumes = 0.0
        """Earliest time, on the loop's clock, at which an enqueue's own statement may notify."""

    def ring(self, executors: Collection[str]) -> None:
        """Notify about the executors soon. Call it in the event loop."""
        self._names.update(executors)
        if self._names and self._pause is None and not self._is_sending:
            self._sending = start_task(self._send_names())

    def begin(self, executor: str) -> bool:
        """Return whether the caller's own statement must notify about the executor.

        If so, that notification also stands for earlier calls of `ring` for this executor, and the pause begins.
        """
        if self._is_sending or self._names - {executor} or asyncio.get_running_loop().time() < self.resumes:
            return False
        self._names.clear()
        self._begin_pause()
        return True

    async def flush(self) -> None:
        """Send all pending notifications; wait at most `FLUSH_SECONDS` for each of the two statements it may take."""
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
        self.resumes = loop.time() + PAUSE_SECONDS
        self._pause = loop.call_later(PAUSE_SECONDS + GRACE_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self.ring(())
