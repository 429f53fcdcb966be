"""Which ticks of a schedule are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rexecutor.job import NewJob
from rexecutor.schedule import CatchUp, Schedule

MOST_TICKS: Final = 1_000
"""How many ticks of one schedule a store takes in one transaction."""

_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Ticks:
    """What a look at a schedule says."""

    due: list[datetime]
    """Ticks to be taken now, the oldest first."""
    next: datetime | None
    """The tick to look for after them; None where there is none any more."""

    def jobs(self, schedule: Schedule) -> list[NewJob]:
        """Answer the jobs of the due ticks."""
        return (
            [] if schedule.job is None else [replace(schedule.job, scheduled_at=tick, unique=None) for tick in self.due]
        )


def ticks_due(schedule: Schedule, expected: datetime | None, now: datetime, up_since: datetime | None) -> Ticks:
    """Answer which ticks are due.

    Ticks that fell while a node was up are all due, however late, as far as they are within the window; of those
    beyond it, the newest. Ticks that fell before are made up for as `catch_up` says.

    Args:
        schedule: The schedule.
        expected: The tick that was to come next, as stored; None for a schedule that is seen for the first time.
        now: The store's time.
        up_since: Since when the node that asks has looked after its schedules; None when it has only now begun.
    """
    cron, zone = schedule.cron, schedule.timezone
    if expected is None:
        return Ticks([], cron.after(now, zone))
    if expected > now:
        return Ticks([], expected)
    before = expected - _SECOND  # ticks are whole seconds
    start = max(before, now - schedule.window)
    if schedule.catch_up is not CatchUp.ALL:
        start = max(start, (up_since or now) - _SECOND)
    due = cron.between(start, now, zone, MOST_TICKS)
    if len(due) == MOST_TICKS:
        return Ticks(due, cron.after(due[-1], zone))
    if not due:
        newest = cron.latest(before, now, zone)
        if newest is not None and _is_made_up_for(schedule, newest, now, up_since):
            due = [newest]
    return Ticks(due, cron.after(now, zone))


def _is_made_up_for(schedule: Schedule, newest: datetime, now: datetime, up_since: datetime | None) -> bool:
    if up_since is not None and newest >= up_since:
        return True
    return schedule.catch_up is not CatchUp.SKIP and newest >= now - schedule.window
