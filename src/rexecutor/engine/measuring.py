"""Counts the jobs in the store every 15 s, for those who have subscribed to events."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.backend.messages import Load
from rexecutor.engine.loop import Emit
from rexecutor.telemetry.events import Queue, QueuesMeasured
from rexecutor.telemetry.subscribers import is_anybody_subscribed

INTERVAL: Final = timedelta(seconds=15)
"""Time between two counts."""


class QueueMeasuring:
    """A duty: emits how many jobs wait and execute. Without a subscriber it does not ask the store."""

    def __init__(self, backend: Backend, *, emit: Emit, stop: asyncio.Event) -> None:
        self._backend = backend
        self._emit = emit
        self._stop = stop

    async def step(self) -> None:
        """Count once, then wait until the next count."""
        if is_anybody_subscribed():
            loads = await self._backend.load()
            self._emit(QueuesMeasured(queues_of(loads, self._backend.clock.now())))
        await self._backend.clock.wait(self._stop, INTERVAL)


def queues_of(loads: Sequence[Load], now: datetime) -> tuple[Queue, ...]:
    """Return the counts as an event has them. `now` is the node's time; a job that is due later by it is due now."""
    return tuple(
        Queue(
            load.executor,
            load.waiting,
            load.due,
            0.0 if load.oldest_due is None else max((now - load.oldest_due).total_seconds(), 0.0),
            load.executing,
            load.counted_to,
        )
        for load in loads
    )
