"""The loop of every duty: a step that is repeated until the node stops, and that no error ends."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from rexecutor.clock import Clock
from rexecutor.model.backoff import BackoffStrategy, Jitter
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, Event

Emit = Callable[[Event], None]
"""Receives the engine's events."""

_RETRY = (
    BackoffStrategy.exponential(timedelta(milliseconds=100))
    .with_max(timedelta(seconds=4))
    .with_jitter(Jitter.relative(0.2))
)


async def keep_going(
    duty: str, step: Callable[[], Awaitable[None]], stop: asyncio.Event, *, clock: Clock, emit: Emit
) -> None:
    """Repeat the step until `stop` is set.

    A step that raises is repeated after a growing wait (0.1 s to 4 s, jittered). Only the first failure and the
    recovery emit an event: two for each outage. The step itself waits for work, and must end soon after
    `stop` is set.
    """
    failures = 0
    while not stop.is_set():
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - a duty outlives whatever its store or its step raises
            failures += 1
            if failures == 1:
                emit(DutyFailed(duty, error))
            await clock.wait(stop, _RETRY(min(failures, 16)))
        else:
            if failures:
                emit(DutyRecovered(duty, failures))
                failures = 0


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them has ended; cancel the others and wait for them. An error of any of them is raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
