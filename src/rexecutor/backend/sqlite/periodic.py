"""Schedules, pruning and duties within a transaction: synchronous functions of a connection, in the port's words."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from rexecutor import rules
from rexecutor.backend.exchange import StoredSchedule, Ticked
from rexecutor.backend.sqlite.rows import moment_or_none, stored, stored_or_none
from rexecutor.backend.sqlite.store import enqueue, execute
from rexecutor.job import NewJob, NodeId
from rexecutor.prune_spec import BeyondNewest, OlderThan, PruneSpec
from rexecutor.schedule import Schedule

_EVER = 2**63 - 1


def tick(
    connection: sqlite3.Connection, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime
) -> Ticked:
    """Take due ticks and enqueue their jobs; see `Backend.tick`."""
    taken: list[tuple[str, datetime]] = []
    to_come: list[datetime] = []
    jobs: list[NewJob] = []
    for schedule in schedules:
        row = execute(connection, "select_schedule", id=schedule.id).fetchone()
        last_tick, expected = (None, None) if row is None else map(moment_or_none, row)
        if row is not None and expected is None:  # it has no more ticks
            continue
        ticks = rules.ticks_due(schedule, expected, now, up_since)
        if row is None or ticks.next != expected:
            _write(connection, StoredSchedule.after(schedule, ticks, last_tick))
        taken += [(schedule.id, tick) for tick in ticks.due]
        to_come += [ticks.next] if ticks.next else []
        jobs += ticks.jobs(schedule)
    if jobs:
        enqueue(connection, jobs, now)
    return Ticked(now, taken, min(to_come, default=None))


def _write(connection: sqlite3.Connection, schedule: StoredSchedule) -> None:
    execute(
        connection,
        "write_schedule",
        id=schedule.id,
        executor=schedule.executor,
        expression=schedule.expression,
        timezone=schedule.timezone,
        last_tick=stored_or_none(schedule.last_tick),
        next_tick=stored_or_none(schedule.next_tick),
    )


def schedules(connection: sqlite3.Connection) -> list[StoredSchedule]:
    """Answer the schedules that the store knows."""
    return [
        StoredSchedule(schedule_id, executor, expression, timezone, moment_or_none(last), moment_or_none(coming))
        for schedule_id, executor, expression, timezone, last, coming in execute(connection, "select_schedules")
    ]


def prune(connection: sqlite3.Connection, spec: PruneSpec, most: int, now: datetime) -> int:
    """Delete ended jobs; see `Backend.prune`."""
    deleted = 0
    executors = execute(connection, "select_ended_executors", status=spec.status).fetchall()
    for (executor,) in executors:
        if not spec.concerns(executor) or deleted >= most:
            continue
        group = {"status": spec.status, "executor": executor}
        before, left = _EVER, most - deleted
        match spec.what:
            case OlderThan(age):
                before = stored(rules.moment_of(age, now))
            case BeyondNewest(kept):
                (ended,) = execute(connection, "count_ended", **group).fetchone()
                left = min(left, ended - kept)
        if left > 0:
            deleted += execute(connection, "prune_jobs", **group, before=before, most=left).rowcount
    return deleted


def hold(connection: sqlite3.Connection, duty: str, node_id: NodeId, now: datetime) -> bool:
    """Make the node the one that does the duty; answer whether it is."""
    return bool(execute(connection, "hold_duty", duty=duty, node=node_id, now=stored(now)).rowcount)


def release(connection: sqlite3.Connection, duty: str, node_id: NodeId) -> None:
    """Let others do the duty."""
    execute(connection, "release_duty", duty=duty, node=node_id)
