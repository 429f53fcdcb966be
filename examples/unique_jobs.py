"""Unique jobs: what must not be enqueued twice, and what an enqueue does instead.

The criteria stand on the executor, or on one job with `unique(…)`, which takes their place. The handle's `disposition`
says what became of the enqueue: `inserted`, `existing` or `replaced`.
"""

import asyncio
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, JobStatus, Replace, Rexecutor, UniquenessCriteria
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


class WelcomeMail(Executor[str]):
    """Runs once for each user, however often it is enqueued: `by_key` tells the users apart."""

    name = "welcome_mail"

    async def execute(self, job: Job[str]) -> None:
        """Send the mail."""


async def main() -> None:
    """Enqueue some jobs twice."""
    backend = InMemoryBackend().paused()
    async with Rexecutor(backend).with_executor(UniqueJob).with_executor(WelcomeMail).set_global_backend():
        first = await UniqueJob.builder().enqueue()
        second = await UniqueJob.builder().with_priority(7).enqueue()
        print(f"{first.disposition}, then {second.disposition}: the same job: {first.id == second.id}")
        [job] = await assert_enqueued(1, for_executor=UniqueJob)
        print(f"one job, now with priority {job.priority}")

        for user in ("ann", "bob", "ann"):
            criteria = UniquenessCriteria.by_executor().and_key({"user": user})
            handle = await WelcomeMail.builder().with_data(f"Hello {user}").unique(criteria).enqueue()
            print(f"welcome {user}: {handle.disposition}")

        anyway = await UniqueJob.builder().unique(None).enqueue()
        print(f"without criteria: {anyway.disposition}")


asyncio.run(main())
