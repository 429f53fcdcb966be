"""Enqueue jobs: attempts, tags, priority, metadata, due times, and many at once; then find, change and cancel them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, Where, enqueue_many
from rexecutor.testing import assert_enqueued

HOUR = timedelta(hours=1)


class ExampleExecutor(Executor[str, dict[str, str]]):
    """Takes a text as data, and names of people as metadata."""

    name = "example_executor"

    async def execute(self, job: Job[str, dict[str, str]]) -> None:
        """Do something important."""


async def main() -> None:
    """Enqueue to a backend that is passed as an argument."""
    backend = InMemoryBackend().paused()
    handle = await ExampleExecutor.enqueue(
        "First job",
        metadata={"asked_by": "ann"},
        max_attempts=2,
        tags=["initial_job", "delayed"],
        priority=3,
        schedule_in=2 * HOUR,
        backend=backend,
    )

    now = backend.clock.now()
    [job] = await assert_enqueued(
        1,
        for_executor=ExampleExecutor,
        with_data="First job",
        tagged_with=["initial_job", "delayed"],
        scheduled_after=now + timedelta(minutes=110),
        scheduled_before=now + timedelta(minutes=130),
        backend=backend,
    )
    print(f"found {job.data!r}, {job.max_attempts} attempts, tags {', '.join(job.tags)}")

    guests = [
        ExampleExecutor.new(f"guest {number}", tags=["batch"], schedule_at=now + 5 * HOUR) for number in range(100)
    ]
    handles = await enqueue_many(guests, backend=backend)
    print(f"enqueued {len(handles)} jobs at once")

    where = Where.tagged_by_one_of("batch") & ~Where.data_equals("guest 0") | Where.scheduled_at_before(now + 3 * HOUR)
    jobs = await ExampleExecutor.query_jobs(where, limit=3, backend=backend)
    print(f"the first of those: {', '.join(job.data for job in jobs)}")

    changed = await ExampleExecutor.update_job(replace(job, priority=0), backend=backend)
    print(f"priority {job.priority}, now {changed.priority}")
    print(f"cancelled: {await handle.cancel('no longer wanted')}")


asyncio.run(main())
