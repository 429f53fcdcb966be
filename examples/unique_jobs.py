"""Unique jobs: what must not be enqueued twice, and what an enqueue does instead.

The criteria stand on the executor, or on one job with `unique=`, which takes their place. The handle's `disposition`
says what became of the enqueue: `inserted`, `existing` or `replaced`.
"""

import asyncio
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, JobStatus, Replace, Rexecutor, UniquenessCriteria, job
from rexecutor.testing import assert_enqueued


class UniqueJob(Executor[None]):
    """Runs at most every five minutes. Another enqueue within that time changes the existing job's priority."""

    name = "unique_job"
    max_attempts = 1
    uniqueness_criteria = (
        UniquenessCriteria.by_executor()
        .and_within(timedelta(minutes=5))
        .on_conflict(Replace.priority().for_statuses(*JobStatus))
    )

    async def execute(self, job: Job[None]) -> None:
        """Do something important."""


@job(unique=UniquenessCriteria.by_executor().and_data("user"))
async def welcome(user: str, greeting: str) -> None:
    """Run once for each user, however often it is enqueued and with whatever greeting: `and_data` names the field."""
    print(f"{greeting}, {user}")


async def main() -> None:
    """Enqueue some jobs twice."""
    backend = InMemoryBackend().paused()
    async with Rexecutor(backend, executors=[UniqueJob, welcome]).set_global_backend():
        first = await UniqueJob.enqueue()
        second = await UniqueJob.enqueue(priority=7)
        print(f"{first.disposition}, then {second.disposition}: the same job: {first.id == second.id}")
        [found] = await assert_enqueued(1, for_executor=UniqueJob)
        print(f"one job, now with priority {found.priority}")

        for user in ("ann", "bob", "ann"):
            handle = await welcome.enqueue(user, greeting=f"Hello {user}")
            print(f"welcome {user}: {handle.disposition}")

        anyway = await UniqueJob.enqueue(unique=None)
        print(f"without criteria: {anyway.disposition}")


asyncio.run(main())
