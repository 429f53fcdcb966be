"""The clocks of a simulation: the store's, which runs steadily, and each node's, which may be wrong and may jump."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecutor.clock import Clock, Timer

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When the store's clock begins."""


class StoreClock(Clock):
    """The time of the store: what counts for due times and leases."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Return the start and what has passed since."""
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._loop.time()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back by the loop's timer."""
        return self._loop.call_later(delay, callback)


class NodeClock(StoreClock):
    """The time of one machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew: timedelta = timedelta(0)) -> None:
        super().__init__(loop)
        self.skew = skew
        """How far its wall clock is ahead of the store's."""

    def now(self) -> datetime:
        """Return the time that this machine believes it is."""
        return super().now() + self.skew

    def monotonic(self) -> float:
        """Return the seconds since a moment of its own."""
        return super().monotonic() + 1_000.0
