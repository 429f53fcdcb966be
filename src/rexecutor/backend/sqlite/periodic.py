"""Schedules, pruning and duties within a transaction: synchronous functions of a connection, in the port's words."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, assert_never

import msgspec

from rexecutor import rules
from rexecutor.backend.exchange import Ticked
from rexecutor.backend.sqlite.rows import moment_or_none, stored, stored_or_none
from rexecutor.backend.sqlite.store import enqueue, execute
from rexecutor.job import JobId, NewJob, NodeId, is_storable
from rexecutor.prune_spec import BeyondNewest, OlderThan, PruneSpec
from rexecutor.schedule import Schedule, StoredSchedule

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
        known = None if row is None else _read(row)
        ticks, kept = rules.looked_at(schedule, known, now, up_since)
        if kept != known:
            _write(connection, kept)
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
    return [_read(row) for row in execute(connection, "select_schedules")]


def _read(row: Sequence[Any]) -> StoredSchedule:
    return StoredSchedule(row[0], row[1], row[2], row[3], moment_or_none(row[4]), moment_or_none(row[5]))


def prune(connection: sqlite3.Connection, spec: PruneSpec, most: int, now: datetime) -> int:
    """Delete ended jobs; see `Backend.prune`."""
    executors = execute(connection, "select_ended_executors", status=spec.status).fetchall()
    groups = [
        _prunable(connection, spec, executor, now)
        for (executor,) in executors
        if spec.concerns(executor) and is_storable(executor)  # else somebody has spoilt it: it stays, and fails nothing
    ]
    doomed = [job_id for _, job_id in islice(merge(*groups), most)]
    groups.clear()  # and with them their cursors, each of which would be told of every row that goes
    execute(connection, "delete_jobs", ids=msgspec.json.encode(doomed).decode())
    return len(doomed)


def _prunable(
    connection: sqlite3.Connection, spec: PruneSpec, executor: str, now: datetime
) -> Iterator[tuple[int, JobId]]:
    """Walk an executor's jobs that are to be deleted, the longest ended first; only as far as somebody asks."""
    group = {"status": spec.status, "executor": executor}
    match spec.what:
        case OlderThan(age):
            return execute(connection, "select_ended", **group, before=stored(rules.moment_of(age, now)))
        case BeyondNewest(kept):
            (ended,) = execute(connection, "count_ended", **group).fetchone()
            return islice(execute(connection, "select_ended", **group, before=_EVER), max(ended - kept, 0))
        case _:
            assert_never(spec.what)


def hold(connection: sqlite3.Connection, duty: str, node_id: NodeId, now: datetime) -> bool:
    """Make the node the one that does the duty; answer whether it is."""
    return bool(execute(connection, "hold_duty", duty=duty, node=node_id, now=stored(now)).rowcount)


def release(connection: sqlite3.Connection, duty: str, node_id: NodeId) -> None:
    """Let others do the duty."""
    execute(connection, "release_duty", duty=duty, node=node_id)
