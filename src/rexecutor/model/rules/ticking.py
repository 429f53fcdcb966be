"""Which ticks of a schedule are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rexecutor.model.cron import zone_name
from rexecutor.model.job import NewJob
from rexecutor.model.rules.matching import shifted
from rexecutor.model.schedules import CatchUp, Schedule, Span, StoredSchedule

MOST_TICKS: Final = 1_000
"""How many ticks of one schedule a store takes in one transaction."""

_MICROSECOND: Final = timedelta(microseconds=1)


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


def looked_at(
    schedule: Schedule, known: StoredSchedule | None, now: datetime, up_since: datetime | None
) -> tuple[Ticks, StoredSchedule]:
    """Answer which ticks are due, and what is to be kept of the schedule after they were taken.

    A schedule that is seen for the first time, or whose expression or time zone has changed under its id, begins with
    its next tick.
    """
    expression, zone = schedule.cron.text, zone_name(schedule.timezone)
    last = None if known is None else known.last_tick
    is_changed = known is not None and (known.expression, known.timezone) != (expression, zone)
    if known is None or is_changed:
        ticks = ticks_due(schedule, None, max(now, last or now), up_since)
    elif known.next_tick is None:
        ticks = Ticks([], None)
    else:
        ticks = ticks_due(schedule, known.next_tick, now, up_since)
    executor = None if schedule.job is None else schedule.job.executor
    newest = ticks.due[-1] if ticks.due else last
    late, left = _left_out(schedule, None if is_changed else known, ticks, now, up_since)
    kept = StoredSchedule(schedule.id, executor, expression, zone, newest, ticks.next, left)
    return Ticks(late + ticks.due, ticks.next), kept


def _left_out(
    schedule: Schedule, known: StoredSchedule | None, ticks: Ticks, now: datetime, up_since: datetime | None
) -> tuple[list[datetime], tuple[Span, ...]]:
    """Answer which ticks are due that other nodes have left out, and which are left out now.

    After an outage a node that has only just begun may be the first to look. It leaves ticks out, as `catch_up` says,
    which fell while others were up: these take them at their own next look.
    """
    if known is None:
        return [], ()
    oldest = shifted(now, -schedule.window)
    due: list[datetime] = []
    left: list[Span] = []
    for start, until in known.left_out:
        if up_since is not None and (first := max(start, oldest, up_since)) < until:
            due += schedule.cron.between(first - _MICROSECOND, until - _MICROSECOND, schedule.timezone, MOST_TICKS)
            until = up_since  # noqa: PLW2901 - what fell before is for those who have been up for longer
        left.append((start, until))
    if known.next_tick is not None and known.next_tick != ticks.next:
        left.append((known.next_tick, ticks.due[0] if ticks.due else now + _MICROSECOND))
    return due, tuple((max(start, oldest), until) for start, until in left if max(start, oldest) < until)


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
    before = expected - _MICROSECOND  # `between` and `latest` leave their start out
    start = max(before, shifted(now, -schedule.window - _MICROSECOND))
    if schedule.catch_up is not CatchUp.ALL:
        start = max(start, (up_since or now) - _MICROSECOND)
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
    return schedule.catch_up is not CatchUp.SKIP and newest >= shifted(now, -schedule.window)
