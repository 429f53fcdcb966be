"""Which ticks of a schedule are due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from rexecutor.model.cron import zone_name
from rexecutor.model.job import NewJob
from rexecutor.model.rules.matching import shifted
from rexecutor.model.schedules import CatchUp, Schedule, Span, StoredSchedule

MAX_TICKS: Final = 1_000
"""Maximum number of ticks of one schedule taken in one transaction."""

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ticks:
    """The due ticks of a schedule, and the next one."""

    due: list[datetime]
    """Ticks to take now, oldest first."""
    next: datetime | None
    """The tick that follows them; None if there are no more."""

    def jobs(self, schedule: Schedule) -> list[NewJob]:
        """Return the jobs that the due ticks enqueue."""
        return (
            [] if schedule.job is None else [replace(schedule.job, scheduled_at=tick, unique=None) for tick in self.due]
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at several schedules finds."""

    taken: list[tuple[str, datetime]]
    """The ticks to take now: schedule id and moment."""
    jobs: list[NewJob]
    """The jobs to enqueue for them."""
    next_tick: datetime | None
    """The earliest future tick; None if there is none."""
    changed: list[StoredSchedule]
    """The states to store, of the schedules whose state differs from the known one, in order of id."""


def advance_all(
    schedules: Sequence[Schedule], known: Mapping[str, StoredSchedule], now: datetime, up_since: datetime | None
) -> Look:
    """Return what `advance` says of each schedule; `known` are the stored states by id."""
    taken: list[tuple[str, datetime]] = []
    jobs: list[NewJob] = []
    future: list[datetime] = []
    changed: list[StoredSchedule] = []
    for schedule in schedules:
        stored = known.get(schedule.id)
        ticks, kept = advance(schedule, stored, now, up_since)
        taken += [(schedule.id, tick) for tick in ticks.due]
        jobs += ticks.jobs(schedule)
        future += [ticks.next] if ticks.next else []
        changed += [kept] if kept != stored else []
    return Look(taken, jobs, min(future, default=None), sorted(changed, key=attrgetter("id")))


def advance(
    schedule: Schedule, known: StoredSchedule | None, now: datetime, up_since: datetime | None
) -> tuple[Ticks, StoredSchedule]:
    """Return the ticks that are due, and the state to store once they are taken.

    A schedule that is seen for the first time, or whose expression or time zone has changed, begins with its next
    tick.

    Args:
        schedule: The schedule.
        known: Its stored state; None if it is seen for the first time.
        now: The time on the store's clock.
        up_since: Since when the calling node has run its schedules; None if it is only beginning.
    """
    expression, zone = schedule.cron.text, zone_name(schedule.timezone)
    last = None if known is None else known.last_tick
    is_changed = known is not None and (known.expression, known.timezone) != (expression, zone)
    if known is None or is_changed:
        ticks = due_ticks(schedule, None, max(now, last or now), up_since)
    elif known.next_tick is None:
        ticks = Ticks([], None)
    else:
        ticks = due_ticks(schedule, known.next_tick, now, up_since)
    executor = None if schedule.job is None else schedule.job.executor
    newest = ticks.due[-1] if ticks.due else last
    late, left = _skipped(schedule, None if is_changed else known, ticks, now, up_since)
    kept = StoredSchedule(schedule.id, executor, expression, zone, newest, ticks.next, left)
    return Ticks(late + ticks.due, ticks.next), kept


def _skipped(
    schedule: Schedule, known: StoredSchedule | None, ticks: Ticks, now: datetime, up_since: datetime | None
) -> tuple[list[datetime], tuple[Span, ...]]:
    """Return the due ticks that other nodes have left out, and the spans of ticks left out after this look.

    After an outage, a node that has only just started may be the first to look at a schedule. Following `catch_up`, it
    leaves out ticks that fell while other nodes were up. So it stores the span of these ticks, and a node that was up
    then takes them the next time it looks.
    """
    if known is None:
        return [], ()
    oldest = shifted(now, -schedule.window)
    due: list[datetime] = []
    left: list[Span] = []
    for start, until in known.left_out:
        if up_since is not None and (first := max(start, oldest, up_since)) < until:
            due += schedule.cron.between(first - _MICROSECOND, until - _MICROSECOND, schedule.timezone, MAX_TICKS)
            until = up_since  # noqa: PLW2901 - earlier ticks are left to nodes that have been up for longer
        left.append((start, until))
    if known.next_tick is not None and known.next_tick != ticks.next:
        left.append((known.next_tick, ticks.due[0] if ticks.due else now + _MICROSECOND))
    return due, tuple((max(start, oldest), until) for start, until in left if max(start, oldest) < until)


def due_ticks(schedule: Schedule, expected: datetime | None, now: datetime, up_since: datetime | None) -> Ticks:
    """Return the ticks that are due, and the one that follows them.

    Of the ticks that fell while the node was up, all within the window are due, even if late; if there are none, the
    newest one beyond it is due. Ticks that fell before the node was up are made up for as `catch_up` says.

    Args:
        schedule: The schedule.
        expected: The stored next tick; None for a schedule that is seen for the first time.
        now: The time on the store's clock.
        up_since: Since when the calling node has run its schedules; None if it is only beginning.
    """
    cron, zone = schedule.cron, schedule.timezone
    if expected is None:
        return Ticks([], cron.after(now, zone))
    if expected > now:
        return Ticks([], expected)
    before = expected - _MICROSECOND  # `between` and `latest` exclude their start
    start = max(before, shifted(now, -schedule.window - _MICROSECOND))
    if schedule.catch_up is not CatchUp.ALL:
        start = max(start, (up_since or now) - _MICROSECOND)
    due = cron.between(start, now, zone, MAX_TICKS)
    if len(due) == MAX_TICKS:
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
