"""Schedules, pruning and duties: synchronous functions on a connection, which run in its transaction."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, assert_never

import msgspec

from rexecutor.backend.messages import Ticked
from rexecutor.backend.sql.spans import spans_of, spans_text
from rexecutor.backend.sqlite.operations import enqueue, execute
from rexecutor.backend.sqlite.rows import moment_or_none, stored, stored_or_none
from rexecutor.model import rules
from rexecutor.model.job import JobId, NewJob, NodeId, is_storable
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule

_EVER = 2**63 - 1
_PAGE = 100


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
        ticks, kept = rules.advance(schedule, known, now, up_since)
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
        left_out=spans_text(schedule.left_out),
    )


def schedules(connection: sqlite3.Connection) -> list[StoredSchedule]:
    """Return the schedules that the store knows, in order of id."""
    return [_read(row) for row in execute(connection, "select_schedules")]


def _read(row: Sequence[Any]) -> StoredSchedule:
    moments = moment_or_none(row[4]), moment_or_none(row[5])
    return StoredSchedule(row[0], row[1], row[2], row[3], *moments, spans_of(row[6]))


def find_prunable(
    connection: sqlite3.Connection, spec: PruneSpec, limit: int, now: datetime
) -> list[tuple[int, JobId]]:
    """Return the first `limit` jobs to prune, the longest ended first, as pairs of when they ended and their id.

    Runs on the reading connection, beside the writer: with many executors, finding jobs takes longer than deleting
    them.
    """
    executors = execute(connection, "select_ended_executors", status=spec.status).fetchall()
    groups = [
        _prunable(connection, spec, executor, now)
        for (executor,) in executors
        if spec.concerns(executor) and is_storable(executor)  # jobs with an invalid name stay, and fail nothing
    ]
    return list(islice(merge(*groups), limit))


def prune(connection: sqlite3.Connection, spec: PruneSpec, found: Sequence[tuple[int, JobId]]) -> int:
    """Delete the found jobs that have not been rerun meanwhile. Return how many were deleted."""
    doomed = msgspec.json.encode(found).decode()
    return execute(connection, "delete_ended", status=spec.status, doomed=doomed).rowcount


def _prunable(
    connection: sqlite3.Connection, spec: PruneSpec, executor: str, now: datetime
) -> Iterator[tuple[int, JobId]]:
    """Yield an executor's jobs to delete, the longest ended first. Reads pages only as they are consumed."""
    group = {"status": spec.status, "executor": executor}
    match spec.what:
        case OlderThan(age):
            return _walk(connection, {**group, "before": stored(rules.moment_of(age, now))})
        case BeyondNewest(kept):
            (ended,) = execute(connection, "count_ended", **group).fetchone()
            return islice(_walk(connection, {**group, "before": _EVER}), max(ended - kept, 0))
        case _:
            assert_never(spec.what)


def _walk(connection: sqlite3.Connection, group: Mapping[str, Any]) -> Iterator[tuple[int, JobId]]:
    """Yield page by page. The first page has one row: of thousands of executors, most are not asked for a second."""
    last: tuple[int, JobId] = (-_EVER, 0)
    size = 1
    while page := execute(connection, "select_ended", **group, ended_at=last[0], id=last[1], limit=size).fetchall():
        yield from page
        last = page[-1]
        size = _PAGE


def acquire_lock(connection: sqlite3.Connection, name: str, node_id: NodeId, now: datetime) -> bool:
    """Make the node the holder of the lock. Return whether it is."""
    return bool(execute(connection, "acquire_lock", name=name, node=node_id, now=stored(now)).rowcount)


def release_lock(connection: sqlite3.Connection, name: str, node_id: NodeId) -> None:
    """Let other nodes take the lock."""
    execute(connection, "release_lock", name=name, node=node_id)
