"""Cron: jobs that are enqueued at each tick of a schedule, in UTC or by the wall clock of a time zone.

Exactly one job a tick, however many nodes there are. The clock of this example can be moved, so that it need not last
for days; leave `clock=` out, and the machine's own counts.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from rexecutor import Cron, Executor, InMemoryBackend, Job, Rexecutor
from rexecutor.testing import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")


class CronJob(Executor[str]):
    """Says what it was given, and of which tick it is."""

    name = "cron_job"
    max_attempts = 1

    def __init__(self) -> None:
        """Begin with no runs."""
        self.ran = asyncio.Semaphore(0)

    async def execute(self, job: Job[str]) -> None:
        """Do something important."""
        print(f"{job.scheduled_at:%a %H:%M} UTC, {job.scheduled_at.astimezone(BERLIN):%H:%M} in Berlin: {job.data}")
        self.ran.release()


async def main() -> None:
    """Let four days pass, among them that on which the clocks in Berlin are set forward."""
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
