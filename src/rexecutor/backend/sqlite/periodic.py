"""Schedules, pruning and duties: synchronous functions on a connection, which run in its transaction."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, assert_never

import msgspec

from rexecutor.backend.messages import Ticked
from rexecutor.backend.sqlite.operations import SCRIPTS, enqueue, execute, run
from rexecutor.backend.sqlite.rows import stored
from rexecutor.model import rules
from rexecutor.model.job import JobId, NodeId, is_storable
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import Schedule

_EVER = 2**63 - 1
_PAGE = 100


def tick(
    connection: sqlite3.Connection, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime
) -> Ticked:
    """Take due ticks and enqueue their jobs; see `Backend.tick`."""
    ticked, jobs = run(connection, SCRIPTS.tick(schedules, up_since, now))
    if jobs:
        enqueue(connection, jobs, now)
    return ticked


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
