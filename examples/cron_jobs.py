"""Cron: jobs that are enqueued at each tick of a schedule, in UTC or by the wall clock of a time zone.

There is exactly one job for each tick, however many nodes run. This example moves its own clock, so that it does not
take days; without `clock=`, a backend uses the machine's clock.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from rexecutor import Cron, Executor, InMemoryBackend, Job, Rexecutor
from rexecutor.testing import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")


class CronJob(Executor[str]):
    """Prints its data and its tick."""

    name = "cron_job"
    max_attempts = 1

    def __init__(self) -> None:
        self.ran = asyncio.Semaphore(0)

    async def execute(self, job: Job[str]) -> None:
        """Print the tick, in UTC and in Berlin."""
        print(f"{job.scheduled_at:%a %H:%M} UTC, {job.scheduled_at.astimezone(BERLIN):%H:%M} in Berlin: {job.data}")
        self.ran.release()


async def main() -> None:
    """Let four days pass. On one of them the clocks in Berlin are set forward."""
    clock = FakeClock(datetime(2026, 3, 27, 12, tzinfo=UTC))
    cron_job = CronJob()
    rexecutor = (
        Rexecutor(InMemoryBackend(clock=clock))
        .with_cron_executor(cron_job, "0 0 0 * * *", "midnight in UTC")
        .with_cron_executor(cron_job, "0 30 2 * * *", "half past two in Berlin", timezone=BERLIN)
    )
    async with rexecutor:
        while len(await rexecutor.backend.schedules()) < 2:
            await asyncio.sleep(0)
        for tick in (12, 1.5, 22.5, 1, 23, 0.5):
            clock.advance(timedelta(hours=tick))
            await cron_job.ran.acquire()

    fridays = Cron("0 17 * * FRI").preview(3, BERLIN, start=clock.now())
    print("after work:", ", ".join(f"{tick:%a %d %B %H:%M}" for tick in fridays))


asyncio.run(main())
