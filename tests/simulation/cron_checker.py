"""The promise of cron: a tick has at most one job, and one when a node looked before it and after it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.schedules import Schedule
from tests.simulation.invariants import Checker

EVERY: Final = {"tick-3": timedelta(seconds=3), "tick-60": timedelta(minutes=1)}
"""The schedules of the simulation, and how far apart their ticks are."""

CATCH_UP: Final = timedelta(seconds=60)
"""How old a tick may be that is made up for."""

_YEAR_ONE: Final = datetime.min.replace(tzinfo=UTC)


class CronChecker(Checker):
    """Checks the jobs of schedules as well; each has its schedule's id as its only tag."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ticks: set[tuple[str, datetime]] = set()
        self.is_strict = False
        """Whether a tick may not be missed even if a node that has just started is the first to look after it."""
        self._looked: dict[str, datetime] = {}

    def inserted(self, job: NewJob, record: JobRecord, now: datetime) -> None:
        super().inserted(job, record, now)
        for tag in record.tags:
            if tag in EVERY:
                tick = (tag, record.scheduled_at)
                self.expect(tick not in self.ticks, "cron", f"two jobs of {tag} at {record.scheduled_at}")
                self.expect(record.scheduled_at <= now, "cron", f"{tag}: {record.scheduled_at} is yet to come")
                is_tick = not (record.scheduled_at - _YEAR_ONE) % EVERY[tag]
                self.expect(is_tick, "cron", f"{tag}: {record.scheduled_at} is no tick")
                self.ticks.add(tick)

    def ticked(self, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime) -> None:
        """Check that the ticks since the node's first look are there, as far as they are within the window."""
        for schedule in schedules:
            if (every := EVERY.get(schedule.id)) is None:
                continue
            since = now if up_since is None else up_since
            if not self.is_strict:
                since = max(since, self._looked.get(schedule.id, since))
            self._looked[schedule.id] = now
            newest = now - (now - _YEAR_ONE) % every
            tick = newest
            while tick > since and (tick == newest or tick >= now - CATCH_UP):
                self.expect((schedule.id, tick) in self.ticks, "cron", f"{schedule.id}: {tick} was missed")
                tick -= every
