"""The operations of the port within a transaction: synchronous functions that take a connection.

A claim and a success are single statements, because they are what a worker does all day. Every other change is made
by `rules.transition` itself, on a row that is read and written back under the file's one write lock.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, LiteralString

import msgspec

from rexecutor.backend.messages import Claim, Count, Demand
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.where import LARGEST_ID, SMALLEST_ID, compile_where
from rexecutor.backend.sqlite.dialect import DIALECT
from rexecutor.backend.sqlite.rows import (
    STATUSES,
    Head,
    changed_row,
    fields_row,
    moment,
    new_rows,
    read_claimed,
    read_row,
    stored,
)
from rexecutor.errors import JobNotFoundError
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, ErrorKind, JobError, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import CancelAsked, Change, Complete, Interrupted, Rerun, Settlement
from rexecutor.model.status import OPEN, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import IdIn, Not, StatusIn, Where

_UNWRITABLE: Final = (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError)
"""Errors raised when a row with values that rexecutor never writes is written back."""

PROMOTED: Final = 1_000
"""How many jobs one claim marks as due at most, so that it stays short."""


def execute(connection: sqlite3.Connection, name: str, /, **parameters: Any) -> sqlite3.Cursor:
    """Execute the statement in `sql/<name>.sql`."""
    return connection.execute(statement("rexecutor.backend.sqlite", name), parameters)


def enqueue(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: datetime) -> list[Enqueued]:
    """Store the jobs in the order given. Runs of jobs without criteria are inserted at once."""
    answers: list[Enqueued] = []
    for is_unique, group in groupby(jobs, lambda job: job.unique is not None):
        if is_unique:
            answers += [_enqueue_unique(connection, job, now) for job in group]
        else:
            answers += _insert(connection, list(group), now)
    return answers


def _insert(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: datetime) -> list[Enqueued]:
    connection.executemany(statement("rexecutor.backend.sqlite", "insert_job"), new_rows(jobs, now))
    last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
    return [Enqueued(job_id, "inserted") for job_id in range(last - len(jobs) + 1, last + 1)]


def _enqueue_unique(
    connection: sqlite3.Connection, job: NewJob, now: datetime, corrupt: frozenset[JobId] = frozenset()
) -> Enqueued:
    """Add the job, or find the existing one and replace its fields as its criteria say. Needs the file's write lock.

    `corrupt` are the jobs found so far whose rows could not be written; they were discarded and no longer count.
    """
    unique = job.unique
    assert unique is not None  # noqa: S101 - the caller has looked
    where = rules.conflicting(job, unique, now)
    if corrupt:
        where &= Not(IdIn(corrupt))
    # A job that may be replaced goes before one that may not, as in `rules.pick_existing`.
    found: JobRecord | None = None
    if unique.replacement is not None and (statuses := unique.statuses & unique.replacement.statuses):
        found = _first(connection, where & StatusIn(statuses), index_for(unique, statuses), now)
    found = found or _first(connection, where, index_for(unique, unique.statuses), now)
    if found is None:
        return _insert(connection, [job], now)[0]
    record = rules.replaced(found, job, unique, now)
    if record is found:
        return Enqueued(found.id, "existing")
    if not _write_or_discard(
        connection, record.id, now, lambda: execute(connection, "rewrite_job", **fields_row(record))
    ):
        return _enqueue_unique(connection, job, now, corrupt | {record.id})
    return Enqueued(found.id, "replaced")


def index_for(unique: UniquenessCriteria, statuses: frozenset[JobStatus]) -> LiteralString:
    """Return the `INDEXED BY` clause for the search of conflicting jobs; empty to let the planner choose.

    Without the clause and without statistics, the planner takes any index that has the executor in it, and walks past
    all of its ended jobs, under the write lock.
    """
    if unique.key is not None:
        return "INDEXED BY rexecutor_jobs_open_key" if statuses <= OPEN else "INDEXED BY rexecutor_jobs_unique_key"
    if unique.is_by_executor:
        return "INDEXED BY rexecutor_jobs_open" if statuses <= OPEN else "INDEXED BY rexecutor_jobs_scheduled"
    return ""


def _first(connection: sqlite3.Connection, where: Where, index: LiteralString, now: datetime) -> JobRecord | None:
    row = execute_where(connection, "select_conflicting", where, now, index=index).fetchone()
    return None if row is None else read_row(row)


def execute_where(
    connection: sqlite3.Connection, name: str, where: Where, now: datetime, *, index: str = "", **parameters: Any
) -> sqlite3.Cursor:
    """Execute the statement in `sql/<name>.sql` with the expression as its condition."""
    compiled = compile_where(where, DIALECT)
    text = statement("rexecutor.backend.sqlite", name).replace("/* where */", compiled.text)
    return connection.execute(
        text.replace("/* index */", index), compiled.parameters | parameters | {"now": stored(now)}
    )


def doorbells(connection: sqlite3.Connection, now: datetime) -> list[str]:
    """Return the doorbell addresses of the live nodes."""
    return [row[0] for row in execute(connection, "select_doorbells", now=stored(now))]


def claim(connection: sqlite3.Connection, demand: Demand, node_id: NodeId, now: datetime) -> Claim:
    """Take due jobs for a node with a live lease; see `Backend.claim`."""
    now_stored = stored(now)
    if execute(connection, "select_lease", node=node_id, now=now_stored, epoch=demand.epoch).fetchone() is None:
        return Claim((), None)
    execute(connection, "promote_jobs", now=now_stored, limit=PROMOTED)
    # The first due jobs of each executor with free slots; then the first `limit` of these, in claim order.
    heads: list[Head] = []
    for (executor,) in execute(connection, "select_due_executors").fetchall():
        if slots := min(demand.slots.get(executor, 0), demand.limit):
            heads += execute(connection, "select_due_jobs", executor=executor, now=now_stored, slots=slots)
    heads.sort()
    del heads[demand.limit :]
    records: list[JobRecord] = []
    if heads:
        ids = msgspec.json.encode([head[2] for head in heads]).decode()
        rows = execute(connection, "claim_jobs", ids=ids, node=node_id, now=now_stored).fetchall()
        claimed = {row[0]: row for row in rows}
        records = [read_claimed(head, claimed[head[2]], node_id, now) for head in heads]
    next_due: int | None = None
    if len(records) < demand.limit:
        next_due = execute(connection, "select_next_due").fetchone()[0]
    return Claim(records, None if next_due is None else moment(next_due))


def settle(
    connection: sqlite3.Connection, settlements: Sequence[Settlement], now: datetime, limits: Limits
) -> list[JobId]:
    """Record outcomes. Return the jobs whose claim was lost."""
    complete = {one.job_id: one.claims for one in settlements if isinstance(one.outcome, Complete)}
    rest = [one for one in settlements if not isinstance(one.outcome, Complete)]
    # Successes are recorded in one statement. If a claim was lost, or a job stands in the batch twice, that statement
    # cannot tell which; then all outcomes are recorded one by one, in order.
    has_twins = len({one.job_id for one in settlements}) < len(settlements)  # the first of them counts
    if has_twins or (complete and not _complete_all(connection, complete, now)):
        rest = settlements
    return [one.job_id for one in rest if not _settle_one(connection, one, now, limits)]


def _complete_all(connection: sqlite3.Connection, claims: dict[JobId, int], now: datetime) -> bool:
    """Record successes in one statement, all or none. Return False, with none recorded, if any claim was lost."""
    connection.execute("SAVEPOINT complete")
    pairs = msgspec.json.encode(list(claims.items())).decode()
    are_ours = execute(connection, "complete_jobs", settled=pairs, now=stored(now)).rowcount == len(claims)
    if not are_ours:
        connection.execute("ROLLBACK TO complete")
    connection.execute("RELEASE complete")
    return are_ours


def _settle_one(connection: sqlite3.Connection, settlement: Settlement, now: datetime, limits: Limits) -> bool:
    """Record one outcome. Return False if the claim was lost."""
    record = _fetch(connection, settlement.job_id)
    if record is None or not rules.holds_claim(record, settlement.claims):
        return False
    transit(connection, record, settlement.outcome, now, limits)
    return True


def release_claims(
    connection: sqlite3.Connection,
    node_id: NodeId,
    held: Collection[ClaimId],
    epoch: int,
    now: datetime,
    limits: Limits,
) -> int:
    """Undo the node's claims not among `held`, once per epoch. Return how many; see `Backend.release_claims`."""
    if epoch:
        known = execute(connection, "select_epoch", node=node_id).fetchone()
        if known is not None and known[0] >= epoch:
            return 0
        execute(connection, "move_epoch", node=node_id, epoch=epoch)
    running = [read_row(row) for row in execute(connection, "select_running", node=node_id).fetchall()]
    orphans = [record for record in running if record.claim_id not in held]
    for record in orphans:
        transit(connection, record, Interrupted(), now, limits)
    return len(orphans)


def query(
    connection: sqlite3.Connection, where: Where, limit: int, after: JobId | None, now: datetime
) -> list[JobRecord]:
    """Return at most `limit` jobs in order of id, from the first id above `after`."""
    if after is not None and after > LARGEST_ID:
        return []
    first = SMALLEST_ID if after is None else max(after, SMALLEST_ID)
    return [
        read_row(row)
        for row in execute_where(connection, "select_jobs", where, now, after=first, limit=min(limit, LARGEST_ID))
    ]


def count(connection: sqlite3.Connection) -> list[Count]:
    """Count the jobs by executor and status; jobs of an unknown status are skipped."""
    rows = execute(connection, "count_jobs").fetchall()
    return [Count(row[0], STATUSES[row[1]], row[2]) for row in rows if row[1] in STATUSES]


def apply(
    connection: sqlite3.Connection,
    job_id: JobId,
    change: CancelAsked | Rerun,
    executor: str | None,
    now: datetime,
    limits: Limits,
) -> JobStatus:
    """Change one job and return its new status; see `Backend.change`."""
    record = _fetch(connection, job_id)
    if record is None or executor not in (None, record.executor):
        raise JobNotFoundError.of(job_id, executor)
    return transit(connection, record, change, now, limits).status


def update(connection: sqlite3.Connection, job_id: JobId, new: NewJob, version: int, now: datetime) -> JobRecord:
    """Change one job's fields and return the changed job; see `Backend.update`."""
    record = _fetch(connection, job_id)
    if record is None or record.executor != new.executor:
        raise JobNotFoundError.of(job_id, new.executor)
    changed = rules.updated(record, new, version, now)
    execute(connection, "rewrite_job", **fields_row(changed))
    return changed


def _fetch(connection: sqlite3.Connection, job_id: JobId) -> JobRecord | None:
    if not SMALLEST_ID <= job_id <= LARGEST_ID:
        return None
    row = execute(connection, "select_job", id=job_id).fetchone()
    return None if row is None else read_row(row)


def transit(
    connection: sqlite3.Connection, record: JobRecord, change: Change, now: datetime, limits: Limits
) -> JobRecord:
    """Change the job as `rules.transition` says and return it changed."""
    changed = rules.transition(record, change, now, limits)
    if changed is not record:
        _write_or_discard(connection, record.id, now, lambda: execute(connection, "update_job", **changed_row(changed)))
    return changed


def _write_or_discard(
    connection: sqlite3.Connection, job_id: JobId, now: datetime, write: Callable[[], object]
) -> bool:
    """Write a row back. If that fails, discard the job and return False."""
    connection.execute("SAVEPOINT change")
    try:
        write()
    except _UNWRITABLE as error:
        connection.execute("ROLLBACK TO change")
        details = f"the stored row cannot be written: {type(error).__name__}"
        errors = msgspec.json.encode([JobError(1, ErrorKind.DECODE, "UnwritableRow", details, now)]).decode()
        execute(connection, "discard_job", id=job_id, errors=errors, now=stored(now))
        return False
    finally:
        connection.execute("RELEASE change")
    return True
