"""Jobs that run, fail and are rerun on two nodes while two others, and the nodes themselves, prune."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

from rexecutor import (
    Backend,
    Executor,
    Job,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    PrunerConfig,
    Rexecutor,
    enqueue_many,
)
from rexecutor import Pruner as PrunerOf
from rexecutor.model import rules
from rexecutor.model.job import MAX_ATTEMPTS, JobId
from rexecutor.model.pruning import BATCH, BeyondNewest, PruneSpec
from rexecutor.model.where import ExecutorIn, StatusIn
from tests.faults.stores import backend_at
from tests.support import until

KEPT: Final = 3
"""Of each executor."""
SPEC: Final = PruneSpec(JobStatus.COMPLETE, BeyondNewest(KEPT))
LAST: Final = 20
"""How many more of each executor run when nobody prunes any more."""


class Churned(Executor[float]):
    """Counts how often its jobs succeed."""

    def __init__(self, succeeded: Counter[JobId]) -> None:
        self._succeeded = succeeded

    def backoff(self, job: Job[float]) -> timedelta:
        return timedelta(0)

    async def succeed(self, job: Job[float]) -> None:
        """Take some time, and do what the job is for."""
        await asyncio.sleep(job.data)
        self._succeeded[job.id] += 1


class Swift(Churned):
    """Succeeds soon."""

    name = "churn_swift"

    async def execute(self, job: Job[float]) -> None:
        await self.succeed(job)


class Flaky(Churned):
    """Succeeds at every second attempt."""

    name = "churn_flaky"
    max_attempts = MAX_ATTEMPTS  # however often it is rerun

    async def execute(self, job: Job[float]) -> None:
        if job.attempt % 2:
            raise RuntimeError("at the next attempt")
        await self.succeed(job)


KINDS: Final[tuple[type[Churned], ...]] = (Swift, Flaky)


class Churn:
    """What was asked for, and what came of it."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._ends = False
        self.succeeded = Counter[JobId]()
        self.wanted = Counter[JobId]()
        """How often each job must succeed: once, and once for each rerun."""
        self.pruned = 0
        self.reruns = 0

    @property
    def lost(self) -> int:
        """How many jobs were pruned before they had done what they must."""
        return sum(self.succeeded[job_id] < times for job_id, times in self.wanted.items())

    async def run(self, store: str, seconds: float) -> bool:
        """Churn for so long, and return whether a last pruning keeps just what it must."""
        async with AsyncExitStack() as stack:
            backends = [await stack.enter_async_context(backend_at(store)) for _ in range(4)]
            for backend in backends[:2]:
                node = Rexecutor(backend)
                for kind in KINDS:
                    node.with_executor(kind(self.succeeded))
                pruner = PrunerOf.max_length(KEPT, JobStatus.COMPLETE).only(*KINDS)
                await stack.enter_async_context(node.with_job_pruner(PrunerConfig("* * * * * *").with_pruner(pruner)))
            async with asyncio.TaskGroup() as group:
                for backend in backends[2:]:
                    group.create_task(self._prune(backend))
                group.create_task(self._enqueue(backends[2]))
                group.create_task(self._rerun(backends[3]))
                await asyncio.sleep(seconds)
                self._ends = True
            await until(lambda: self._has_calmed(backends[2]), 60)
        return await self._keeps_exactly(store)

    async def _enqueue(self, backend: Backend) -> None:
        while not self._ends:
            await self._add(backend, 5)
            await asyncio.sleep(0.02)

    async def _add(self, backend: Backend, each: int) -> None:
        builders: list[Any] = [
            kind.builder().with_data(self._chance.choice((0.0, 0.05))) for kind in KINDS for _ in range(each)
        ]
        self.wanted.update(handle.id for handle in await enqueue_many(builders, backend=backend))

    async def _rerun(self, backend: Backend) -> None:
        while not self._ends:
            for record in await backend.query(StatusIn(frozenset({JobStatus.COMPLETE})) & _OURS):
                try:
                    await backend.rerun(record.id)
                except (JobNotFoundError, JobStateError):
                    continue
                self.wanted[record.id] += 1
                self.reruns += 1
            await asyncio.sleep(0.02)

    async def _prune(self, backend: Backend) -> None:
        while not self._ends:
            self.pruned += await backend.prune(SPEC, BATCH)
            await asyncio.sleep(0.01)

    async def _has_calmed(self, backend: Backend) -> bool:
        return not await backend.query(~StatusIn(frozenset({JobStatus.COMPLETE})) & _OURS, limit=1)

    async def _keeps_exactly(self, store: str) -> bool:
        """Run some more, then prune once, and compare with what the rules say."""
        async with backend_at(store) as backend:
            node = Rexecutor(backend)
            for kind in KINDS:
                node.with_executor(kind(self.succeeded))
            async with node:
                await self._add(backend, LAST)
                await until(lambda: self._has_calmed(backend), 60)
            before = await backend.query(_OURS)
            doomed = {record.id for record in rules.prunable(SPEC, before, backend.clock.now())}
            while await backend.prune(SPEC, BATCH):
                pass
            after = {record.id for record in await backend.query(_OURS)}
        return len(after) == KEPT * len(KINDS) and after == {record.id for record in before} - doomed


_OURS: Final = ExecutorIn(frozenset(kind.name for kind in KINDS))
