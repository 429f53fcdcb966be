"""The duties that follow schedules: enqueueing the jobs of schedules, and pruning."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecutor.backend.base import Backend
from rexecutor.engine.loop import Emit
from rexecutor.model.job import NodeId
from rexecutor.model.pruning import BATCH, PruneSpec
from rexecutor.model.schedules import Schedule
from rexecutor.telemetry.events import JobsPruned, TicksEnqueued

MAX_WAIT: Final = timedelta(seconds=30)
"""Longest time between two calls of `tick`, so that a jump of the store's clock is noticed."""

PRUNING_LOCK: Final = "prune"
"""Name of the lock in the store that lets one node prune at a time."""


class Ticker:
    """Takes the ticks of schedules that are due, and waits for the next."""

    def __init__(self, backend: Backend, schedules: Sequence[Schedule], *, emit: Emit, stop: asyncio.Event) -> None:
        """Make a ticker; ticks before its first step count as missed."""
        self._backend = backend
        self._schedules = schedules
        self._stop = stop
        self._emit = emit
        self._executors = {one.id: one.job.executor for one in schedules if one.job is not None}
        self._up_since: datetime | None = None
        self._wakes_at = 0.0

    async def step(self) -> bool:
        """Take the ticks that are due. Return whether there were any."""
        asked = self._backend.clock.monotonic()
        ticked = await self._backend.tick(self._schedules, up_since=self._up_since)
        self._up_since = self._up_since or ticked.now
        delay = MAX_WAIT
        if ticked.next_tick is not None:
            delay = min(delay, ticked.next_tick - ticked.now)
        self._wakes_at = asked + delay.total_seconds()
        ticks = [(self._executors[key], key, moment) for key, moment in ticked.taken if key in self._executors]
        if ticks:
            self._emit(TicksEnqueued(tuple(ticks)))
        return bool(ticked.taken)

    async def wait(self) -> None:
        """Wait for the next tick. If this ends a moment early, the next step finds nothing and waits for the rest."""
        clock = self._backend.clock
        await clock.wait(self._stop, timedelta(seconds=self._wakes_at - clock.monotonic()))


class ScheduleLoop:
    """Enqueues the jobs of schedules."""

    def __init__(self, backend: Backend, schedules: Sequence[Schedule], *, emit: Emit, stop: asyncio.Event) -> None:
        self._ticker = Ticker(backend, schedules, emit=emit, stop=stop)

    async def step(self) -> None:
        """Enqueue the jobs that are due, then wait for the next tick."""
        await self._ticker.step()
        await self._ticker.wait()


@dataclass(frozen=True, slots=True)
class Pruning:
    """When to prune, and what."""

    schedule: Schedule
    """A schedule that enqueues nothing: the node that takes its tick prunes."""
    specs: Sequence[PruneSpec]
    max_concurrency: int | None
    """How many specs are pruned at a time; None for all."""


class PruningLoop:
    """Deletes ended jobs at the ticks of its schedule, while no other node does."""

    def __init__(
        self,
        backend: Backend,
        node_id: NodeId,
        pruning: Pruning,
        *,
        turn: asyncio.Lock,
        emit: Emit,
        stop: asyncio.Event,
    ) -> None:
        """Make a pruner. All pruners of the node share `turn`, so that one prunes at a time."""
        self._turn = turn
        self._backend = backend
        self._node_id = node_id
        self._pruning = pruning
        self._emit = emit
        self._stop = stop
        self._ticker = Ticker(backend, [pruning.schedule], emit=emit, stop=stop)
        self._is_due = False

    async def step(self) -> None:
        """Prune if a tick is due, then wait for the next. Pruning that failed is tried again."""
        self._is_due = await self._ticker.step() or self._is_due
        if self._is_due:
            async with self._turn:
                self._is_due = not await self._prune()
        await self._ticker.wait()

    async def _prune(self) -> bool:
        """Prune by all specs. Return False if the lock was lost to another node before the end."""
        while not await self._backend.acquire_lock(PRUNING_LOCK, self._node_id):
            if await self._backend.clock.wait(self._stop, timedelta(seconds=1)):
                return True
        places = asyncio.Semaphore(self._pruning.max_concurrency or max(len(self._pruning.specs), 1))
        try:
            async with asyncio.TaskGroup() as group:
                pruned = [group.create_task(self._prune_one(spec, places)) for spec in self._pruning.specs]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._backend.release_lock(PRUNING_LOCK, self._node_id)
        return all(one.result() for one in pruned)

    async def _prune_one(self, spec: PruneSpec, places: asyncio.Semaphore) -> bool:
        deleted, batch, is_held = 0, BATCH, True
        async with places:
            while batch == BATCH and is_held and not self._stop.is_set():
                is_held = await self._backend.acquire_lock(PRUNING_LOCK, self._node_id)
                if is_held:
                    batch = await self._backend.prune(spec, BATCH)
                    deleted += batch
        if deleted:
            self._emit(JobsPruned(deleted, spec.status))
        return is_held
