"""Define an executor, enqueue a job for later, and check what was enqueued, as a test of an application does.

The backend is paused: it hands out no jobs, so the enqueued job stays in it.
"""

import asyncio
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor
from rexecutor.testing import assert_enqueued


class EmailJob(Executor[str]):
    """Sends a mail to an address."""

    name = "email_job"
    max_attempts = 2

    async def execute(self, job: Job[str]) -> None:
        """Do something important with a mail."""
        print(f"{self.name} running, with data: {job.data}")


async def main() -> None:
    """Enqueue one job and find it."""
    backend = InMemoryBackend().paused()
    async with Rexecutor(backend).with_executor(EmailJob).set_global_backend():
        handle = await EmailJob.builder().with_data("bob@example.com").schedule_in(timedelta(hours=3)).enqueue()
        print(f"enqueued job {handle.id}")

        now = backend.clock.now()
        [job] = await assert_enqueued(
            1,
            for_executor=EmailJob,
            with_data="bob@example.com",
            scheduled_after=now + timedelta(minutes=170),
            scheduled_before=now + timedelta(minutes=190),
        )
        print(f"found: {job.data}, {job.status}, at most {job.max_attempts} attempts")


asyncio.run(main())
