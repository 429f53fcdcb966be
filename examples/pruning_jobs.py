"""Prune: delete ended jobs, by age or by number, for some executors or for all except some.

Only ended jobs are deleted, by one node at a time. This example prunes each second; once an hour
(`"0 0 * * * *"`) is a more usual schedule.
"""

import asyncio
import logging
from datetime import timedelta

from rexecutor import (
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Pruner,
    PrunerConfig,
    Rexecutor,
    enqueue_many,
    override_global_backend,
)


class RefreshWorker(Executor[int]):
    """Refreshes an account."""

    name = "refresh_worker"

    async def execute(self, job: Job[int]) -> None:
        """Refresh the account."""


class EmailScheduler(Executor[int]):
    """Sends a mail; always fails here."""

    name = "email_scheduler"
    max_attempts = 1

    async def execute(self, job: Job[int]) -> None:
        """Send the mail."""
        raise ConnectionError("no such host")


def numbers(jobs: dict[str, int]) -> str:
    """Return the numbers as text."""
    return ", ".join(f"{number} {what}" for what, number in sorted(jobs.items()))


async def stored(backend: InMemoryBackend) -> dict[str, int]:
    """Return how many jobs there are, by executor and status."""
    return {f"{count.executor} {count.status}": count.jobs for count in await backend.count()}


async def main() -> None:
    """Let jobs end, then prune two thirds of those that failed."""
    logging.getLogger("rexecutor").setLevel(logging.CRITICAL)  # the failures here are on purpose
    config = (
        PrunerConfig("* * * * * *")
        .with_max_concurrency(2)
        .with_pruner(Pruner.max_age(timedelta(days=31), JobStatus.COMPLETE).only(RefreshWorker).and_(EmailScheduler))
        .with_pruner(Pruner.max_length(3, JobStatus.DISCARDED).except_(RefreshWorker))
    )
    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend, executors=[RefreshWorker, EmailScheduler])
    with override_global_backend(backend):
        async with rexecutor:
            jobs = [executor.new(number) for executor in (RefreshWorker, EmailScheduler) for number in range(9)]
            for handle in await enqueue_many(jobs):
                await handle.wait()
        before = await stored(backend)
        print(f"before: {numbers(before)}")

        async with rexecutor.with_job_pruner(config):
            while (after := await stored(backend)) == before:
                await asyncio.sleep(0.05)
        print(f"after:  {numbers(after)}")


asyncio.run(main())
