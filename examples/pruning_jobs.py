"""Prune: delete jobs that have ended, by age or by number, for some executors or for all but some.

Only ended jobs are ever deleted, and one node does it at a time. This example prunes each second; once an hour
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
        """Refresh it."""


class EmailScheduler(Executor[int]):
    """Sends a mail; always fails here."""

    name = "email_scheduler"
    max_attempts = 1

    async def execute(self, job: Job[int]) -> None:
        """Send it."""
        raise ConnectionError("no such host")


def numbers(jobs: dict[str, int]) -> str:
    """Answer the numbers as a text."""
    return ", ".join(f"{number} {what}" for what, number in sorted(jobs.items()))


async def stored(backend: InMemoryBackend) -> dict[str, int]:
    """Answer how many jobs there are, by executor and status."""
    return {f"{count.executor} {count.status}": count.jobs for count in await backend.count()}


async def main() -> None:
    """Let jobs end, then let two thirds of those that failed be forgotten."""
    logging.getLogger("rexecutor").setLevel(logging.CRITICAL)  # what fails here fails on purpose
    config = (
        PrunerConfig("* * * * * *")
        .with_max_concurrency(2)
        .with_pruner(Pruner.max_age(timedelta(days=31), JobStatus.COMPLETE).only(RefreshWorker).and_(EmailScheduler))
        .with_pruner(Pruner.max_length(3, JobStatus.DISCARDED).except_(RefreshWorker))
    )
    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(RefreshWorker).with_executor(EmailScheduler)
    with override_global_backend(backend):
        async with rexecutor:
            builders = [kind.builder().with_data(n) for kind in (RefreshWorker, EmailScheduler) for n in range(9)]
            for handle in await enqueue_many(builders):
                await handle.wait()
        before = await stored(backend)
        print(f"before: {numbers(before)}")

        async with rexecutor.with_job_pruner(config):
            while (after := await stored(backend)) == before:
                await asyncio.sleep(0.05)
        print(f"after:  {numbers(after)}")


asyncio.run(main())
