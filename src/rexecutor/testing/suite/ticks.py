"""Helpers for cases about schedules."""

from datetime import UTC, datetime, timedelta
from typing import Final

from rexecutor.backend.messages import Ticked
from rexecutor.model.cron import Cron
from rexecutor.model.job import NewJob
from rexecutor.model.schedules import CatchUp, Schedule
from rexecutor.testing.suite.store import SECOND, Store, new_job

EACH_SECOND: Final = Cron("* * * * * *")
EACH_TEN: Final = Cron("*/10 * * * * *")
HOURLY: Final = Cron("0 0 * * * *")
TEN_SECONDS: Final = timedelta(seconds=10)
TICK_JOB: Final = new_job(data='"tick"', metadata='"m"', tags=("t",), priority=3, max_attempts=2)


def schedule_of(
    cron: Cron = EACH_TEN,
    *,
    name: str = "one",
    job: NewJob | None = TICK_JOB,
    catch_up: CatchUp = CatchUp.LATEST,
    window: timedelta = timedelta(seconds=60),
) -> Schedule:
    """Return a schedule; by default it ticks every ten seconds."""
    return Schedule(name, cron, UTC, job, catch_up, window)


async def look(store: Store, *schedules: Schedule, up_since: datetime | None = None) -> Ticked:
    """Take the due ticks of the schedules, or of a default one if none is given."""
    return await store.backend.tick(schedules or [schedule_of()], up_since=up_since)


async def ages_taken(store: Store, *schedules: Schedule, up_since: datetime | None = None) -> list[int]:
    """Take the due ticks and return their ages, in whole seconds."""
    ticked = await look(store, *schedules, up_since=up_since)
    return [(store.now - tick) // SECOND for _, tick in ticked.taken]
