"""The port's operations on a given connection.

Claim, settle and rescue are single statements that do in SQL what `rules` does in Python. `rules` itself makes every
rarer change, on rows that are read, locked and written back in one transaction.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from psycopg import AsyncCursor, DataError
from psycopg.rows import TupleRow, tuple_row

from rexecutor.backend.messages import Claim, Demand, Ticked
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.rows import changed_row, in_utc, in_utc_or_none, load_anyway, read_claimed, read_row
from rexecutor.backend.postgres.statements import Rows, Statement, Statements, Steps, is_bigint, run_script
from rexecutor.backend.sql.spans import spans_of, spans_text
from rexecutor.clock import Clock
from rexecutor.errors import JobNotFoundError
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import (
    CancelAsked,
    Change,
    Interrupted,
    Rerun,
    Settlement,
)
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule

PROMOTED: Final = 1_000
"""Maximum number of jobs that one claim marks as due, so that it stays short."""


async def run(connection: Connection, statement: Statement) -> Rows:
    """Execute the statement and return its rows; none if it returns no result set."""
    cursor = await execute(connection, statement)
    try:
        return await cursor.fetchall() if cursor.description else ()
    except DataError:
        assert cursor.pgresult is not None  # noqa: S101 - it is what could not be loaded
        return load_anyway(cursor.pgresult, cursor)


async def execute(connection: Connection, statement: Statement) -> AsyncCursor[TupleRow]:
    """Execute the statement and return a cursor of tuples, whatever row factory the application's pool sets."""
    return await connection.cursor(row_factory=tuple_row).execute(statement.text, statement.parameters)


async def run_steps(connection: Connection, steps: Steps) -> list[Enqueued]:
    """Execute the steps of an enqueue and return its results."""
    return await run_script(steps, partial(run, connection))


class Operations:
    """Performs the port's operations on a connection, within a transaction; single statements also in autocommit."""

    def __init__(self, statements: Statements, limits: Limits, clock: Clock) -> None:
        """Prepare the operations; `clock` is the backend's and may differ from the database's."""
        self._clock = clock
        self._statements = statements
        self._limits = limits

    async def claim(self, connection: Connection, demand: Demand, node_id: NodeId, now: datetime | None) -> Claim:
        """Take due jobs; see `Backend.claim`."""
        wanted: dict[str, Any] = {
            "node": node_id,
            "executors": list(demand.slots),
            "slots": [min(slots, demand.limit) for slots in demand.slots.values()],
            "limit": demand.limit,
            "epoch": demand.epoch,
            "now": now,
        }
        asked = now or self._clock.now()
        rows = await run(connection, self._statements.of("claim_jobs", **wanted, promoted=False))
        if rows[0][1]:
            await run(connection, self._statements.of("promote_jobs", limit=PROMOTED, now=now))
            asked = now or self._clock.now()
            rows = await run(connection, self._statements.of("claim_jobs", **wanted, promoted=True))
        # Counted from the request: the next claim takes as long to reach the server. Counted from the reply, it would
        # come late.
        due_in: timedelta | None = rows[0][0]
        next_due = None if due_in is None else asked + due_in
        jobs = [read_claimed(row[2:], node_id) for row in rows if row[2] is not None]
        return Claim(jobs, next_due if len(jobs) < demand.limit else None)

    async def settle(
        self, connection: Connection, settlements: Sequence[Settlement], now: datetime | None
    ) -> list[JobId]:
        """Record outcomes; return the jobs whose claim no longer holds."""
        rows = await run(connection, self._statements.settle(settlements, self._limits.errors, now))
        recorded: set[ClaimId] = {(row[0], row[1]) for row in rows}
        refused: list[JobId] = []
        for one in settlements:
            if (claim := (one.job_id, one.claims)) in recorded:
                recorded.discard(claim)  # of two settlements of one claim, the first counts
            else:
                refused.append(one.job_id)
        return refused

    async def release_claims(
        self, connection: Connection, node_id: NodeId, held: Collection[ClaimId], epoch: int, now: datetime | None
    ) -> list[JobRecord]:
        """Undo the node's claims that are not in `held`, once for each epoch; return the jobs as they were before."""
        if epoch:
            known = await run(connection, self._statements.of("lock_node", node=node_id))
            if known and known[0][0] >= epoch:
                return []
            await run(connection, self._statements.of("move_epoch", node=node_id, epoch=epoch))
        moment = await self._now(connection, now)
        ids, claims = [claim[0] for claim in held], [claim[1] for claim in held]
        rows = await run(connection, self._statements.of("select_running", node=node_id, ids=ids, claims=claims))
        orphans = [record for record in map(read_row, rows) if record.claim_id not in held]
        for record in orphans:
            await self._transit(connection, record, Interrupted(), moment)
        return orphans

    async def apply(
        self,
        connection: Connection,
        job_id: JobId,
        change: CancelAsked | Rerun,
        executor: str | None,
        now: datetime | None,
    ) -> JobRecord:
        """Change one job and return the changed record."""
        record = await self._fetch(connection, job_id, executor)
        return await self._transit(connection, record, change, await self._now(connection, now))

    async def update(
        self, connection: Connection, job_id: JobId, new: NewJob, version: int, now: datetime | None
    ) -> JobRecord:
        """Change one job's fields and return the changed record."""
        record = await self._fetch(connection, job_id, new.executor)
        changed = rules.updated(record, new, version, await self._now(connection, now))
        await run(connection, self._statements.of("update_job", **changed_row(changed)))
        return changed

    async def tick(
        self, connection: Connection, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime | None
    ) -> tuple[Ticked, list[NewJob]]:
        """Take due ticks; return the jobs that the caller must enqueue for them in the same transaction."""
        moment = await self._now(connection, now)
        rows = await run(connection, self._statements.of("select_known_schedules", ids=[one.id for one in schedules]))
        known = {row[0]: _read_schedule(row) for row in rows}
        seen: dict[str, rules.Ticks] = {}
        for schedule in sorted(schedules, key=lambda one: one.id):  # all nodes lock in the same order: no deadlocks
            stored = known.get(schedule.id)
            if stored is not None and rules.advance(schedule, stored, moment, up_since)[1] != stored:
                [row] = await run(connection, self._statements.of("lock_schedule", id=schedule.id))
                stored = _read_schedule(row)
            seen[schedule.id], kept = rules.advance(schedule, stored, moment, up_since)
            if kept != stored:
                verb = "insert_schedule" if stored is None else "update_schedule"
                await run(connection, self._statements.of(verb, **_schedule_row(kept)))
        taken = [(one.id, tick) for one in schedules for tick in seen[one.id].due]
        jobs = [job for one in schedules for job in seen[one.id].jobs(one)]
        to_come = [ticks.next for ticks in seen.values() if ticks.next]
        return Ticked(moment, taken, min(to_come, default=None)), jobs

    async def schedules(self, connection: Connection) -> list[StoredSchedule]:
        """Return the schedules that the store knows."""
        rows = await run(connection, self._statements.of("select_schedules"))
        return [_read_schedule(row) for row in rows]

    async def prune(self, connection: Connection, spec: PruneSpec, limit: int, now: datetime | None) -> int:
        """Delete ended jobs and return their number."""
        named = {"status": str(spec.status), "executors": sorted(spec.executors), "is_except": spec.is_except}
        match spec.what:
            case OlderThan(age):
                statement = self._statements.of("prune_older", **named, age=age, limit=limit, now=now)
            case BeyondNewest(kept):
                statement = self._statements.of("prune_beyond", **named, kept=kept, limit=limit)
        return (await execute(connection, statement)).rowcount

    async def _now(self, connection: Connection, now: datetime | None) -> datetime:
        [[moment]] = await run(connection, self._statements.of("select_now", now=now))
        return in_utc(moment)

    async def _fetch(self, connection: Connection, job_id: JobId, executor: str | None) -> JobRecord:
        rows = await run(connection, self._statements.of("select_job", id=job_id)) if is_bigint(job_id) else ()
        record = read_row(rows[0]) if rows else None
        if record is None or executor not in (None, record.executor):
            raise JobNotFoundError.of(job_id, executor)
        return record

    async def _transit(self, connection: Connection, record: JobRecord, change: Change, now: datetime) -> JobRecord:
        changed = rules.transition(record, change, now, self._limits)
        if changed is not record:
            await run(connection, self._statements.of("update_job", **changed_row(changed)))
        return changed


def _read_schedule(row: Sequence[Any]) -> StoredSchedule:
    moments = in_utc_or_none(row[4]), in_utc_or_none(row[5])
    return StoredSchedule(row[0], row[1], row[2], row[3], *moments, spans_of(row[6]))


def _schedule_row(schedule: StoredSchedule) -> dict[str, Any]:
    return {
        "id": schedule.id,
        "executor": schedule.executor,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "last_tick": schedule.last_tick,
        "next_tick": schedule.next_tick,
        "left_out": spans_text(schedule.left_out),
    }
