"""NOTIFY, coalesced: at once when it is quiet, a statement each few milliseconds when it is not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from rexecutor.errors import BackendError

PAUSE: Final = 0.005
"""Seconds between two statements: 200 a second at the most."""
MOST_NAMES: Final = 100
"""Of more executors than this at a time one notification tells, for all."""


class Notifier:
    """Tells other handles that executors may have due jobs. A hint: a failure does no harm, and nobody waits for it."""

    def __init__(self, send: Callable[[list[str]], Awaitable[object]]) -> None:
        """Keep what sends notifications, one a name."""
        self._send = send
        self._names: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def ring(self, executors: Collection[str]) -> None:
        """Tell of the executors, soon; in the event loop."""
        self._names.update(executors)
        if self._names and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._keep_sending())

    async def flush(self) -> None:
        """Wait until all that was rung for is sent."""
        if self._task is not None:
            await self._task

    async def _keep_sending(self) -> None:
        while self._names:
            names, self._names = sorted(self._names), set()
            with contextlib.suppress(BackendError):
                await self._send(names if len(names) <= MOST_NAMES else ["*"])
            await asyncio.sleep(PAUSE)  # noqa: TID251 - of the network's time, whatever the store's clock says
