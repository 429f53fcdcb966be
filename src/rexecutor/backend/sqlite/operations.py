"""The operations of the port within a transaction: synchronous functions that take a connection.

A claim and a success are statements for a whole batch, because they are what a worker does all day. Every other change
is made by `rules.transition` itself, on a row that is read and written back under the file's one write lock.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import groupby, islice
from typing import Any, Final, LiteralString, TypeVar, assert_never, cast

import msgspec

from rexecutor.backend.messages import EVERY_EXECUTOR, Claim, Demand, Ticked
from rexecutor.backend.overview import Waiting
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.operations import Script, Scripts, Statement
from rexecutor.backend.sql.rows import counts_text, minutes_of, needs_full_row, stat_of
from rexecutor.backend.sql.where import LARGEST_ID, SMALLEST_ID, compile_where
from rexecutor.backend.sqlite.dialect import DIALECT
from rexecutor.backend.sqlite.rows import (
    Head,
    changed_row,
    fields_row,
    moment,
    moment_or_none,
    new_full_rows,
    new_rows,
    read_claimed,
    read_row,
    stored,
    stored_or_none,
)
from rexecutor.model import rules
from rexecutor.model.job import (
    ClaimId,
    Enqueued,
    ErrorKind,
    JobError,
    JobId,
    JobRecord,
    Limits,
    NewJob,
    NodeId,
    is_storable,
)
from rexecutor.model.outcomes import COMPLETE, CancelAsked, Complete, FieldUpdate, Interrupted, Rerun, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import Schedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import OPEN, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Everything, Where

T = TypeVar("T")

_PACKAGE: Final = "rexecutor.backend.sqlite"
UNWRITABLE: Final = (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError)
"""Errors raised when a row with values that rexecutor never writes is written back."""

PROMOTED: Final = 1_000
"""Maximum number of jobs that one claim marks as due, so that it stays short."""
_EVER: Final = 2**63 - 1
_PAGE: Final = 100
"""Number of jobs that a search for jobs to prune reads at once."""
_MOST_CLAIMS: Final = 2**53 - 1
_FEW: Final = 8
_MANY: Final = 128
"""Numbers of successes with results that one statement can record: `_FEW` if there are no more, otherwise `_MANY`.

Rows that are not needed are empty. There are two texts only, so that both stay prepared.
"""
_SAVE: Final = Statement("SAVEPOINT change", {})
_UNDO: Final = Statement("ROLLBACK TO change", {})
_KEEP: Final = Statement("RELEASE change", {})


def execute(connection: sqlite3.Connection, name: str, /, **parameters: Any) -> sqlite3.Cursor:
    """Execute the statement in `sql/<name>.sql`."""
    return connection.execute(statement(_PACKAGE, name), parameters)


class _SqliteScripts(Scripts):
    """The scripts in SQLite's own SQL. Its transactions have the file's one write lock, so they lock no rows."""

    def of(self, name: str, /, **parameters: Any) -> Statement:
        return Statement(statement(_PACKAGE, name), parameters)

    def where(self, name: str, where: Where, now: datetime | None, *, index: str = "", **parameters: Any) -> Statement:
        compiled = compile_where(where, DIALECT)
        text = statement(_PACKAGE, name).replace("/* where */", compiled.text).replace("/* index */", index)
        return Statement(cast("LiteralString", text), {**compiled.parameters, **parameters, "now": stored_or_none(now)})

    def read_job(self, row: Sequence[Any]) -> JobRecord:
        return read_row(row)

    def write_change(self, record: JobRecord) -> Statement:
        verb = "revise_job" if record.status is JobStatus.EXECUTING else "update_job"
        return self.of(verb, **changed_row(record))

    def write_fields(self, record: JobRecord) -> Statement:
        return self.of("rewrite_job", **fields_row(record))

    def read_moment(self, value: Any) -> datetime | None:
        return moment_or_none(value)

    def moment(self, moment: datetime | None) -> Any:
        return stored_or_none(moment)

    def array(self, values: Sequence[str]) -> Any:
        return msgspec.json.encode(values).decode()

    def write(self, record: JobRecord, as_: Callable[[JobRecord], Statement], now: datetime) -> Script[bool]:
        yield _SAVE
        try:
            yield as_(record)  # a value may be one that cannot even be encoded
            yield from self._place(record, now)
        except UNWRITABLE as error:
            yield _UNDO
            details = f"the stored row cannot be written: {type(error).__name__}"
            errors = msgspec.json.encode([JobError(1, ErrorKind.DECODE, "UnwritableRow", details, now)]).decode()
            claims = min(record.claims, _MOST_CLAIMS)
            yield self.of("discard_job", id=record.id, errors=errors, claims=claims, now=stored(now))
            yield from self._leave(record.id, "dequeue_jobs", "stop_jobs")
            yield _KEEP
            return False
        yield _KEEP
        return True

    def update(self, job_id: JobId, new: NewJob, version: int, now: datetime) -> Script[JobRecord]:
        changed = yield from super().update(job_id, new, version, now)
        yield from self._place(changed, now)
        return changed

    def apply_many(
        self,
        ids: Collection[JobId],
        change: CancelAsked | Rerun | FieldUpdate,
        where: Where | None,
        now: datetime,
        limits: Limits,
    ) -> Script[dict[JobId, JobStatus]]:
        """Change the jobs as `rules.changed` says; return the new status of each that was changed."""
        wanted = msgspec.json.encode(sorted(job_id for job_id in ids if SMALLEST_ID <= job_id <= LARGEST_ID)).decode()
        condition = Everything() if where is None else where
        rows = yield self.where("select_chosen_jobs", condition, now, ids=wanted)
        as_ = self.write_fields if isinstance(change, FieldUpdate) else self.write_change
        statuses: dict[JobId, JobStatus] = {}
        for record in map(self.read_job, rows):
            changed = rules.changed(record, change, now, limits)
            if changed is None:
                continue
            is_written = changed is record or (yield from self.write(changed, as_, now))
            statuses[record.id] = changed.status if is_written else JobStatus.DISCARDED
        return statuses

    def _place(self, record: JobRecord, now: datetime) -> Script[None]:
        """Let the job stand where its status says: in the queue, among what runs, or in neither if it has ended."""
        if record.status is JobStatus.EXECUTING:
            yield self.of("ask_cancel", id=record.id, cancel_reason=record.cancel_reason)
        elif record.status.is_waiting:
            yield from self._leave(record.id, "stop_jobs")
            yield self.of("requeue_job", id=record.id, now=stored(now))
        else:
            yield from self._leave(record.id, "dequeue_jobs", "stop_jobs")

    def _leave(self, job_id: JobId, *statements: str) -> Script[None]:
        for name in statements:
            yield self.of(name, ids=f"[{job_id}]")

    def give_back(self, node_id: NodeId, held: Collection[ClaimId], now: datetime, limits: Limits) -> Script[int]:
        rows = yield self.of("select_running", node=node_id)
        orphans = [record for record in map(self.read_job, rows) if record.claim_id not in held]
        for record in orphans:
            yield from self.transit(record, Interrupted(), now, limits)
        return len(orphans)

    def count_waiting(self, executors: Sequence[str], most: int, now: datetime | None) -> Script[dict[str, Waiting]]:
        counted: dict[str, Waiting] = {}
        for executor in executors:
            [[jobs, due, oldest]] = yield self.of("count_waiting", executor=executor, most=most, now=self.moment(now))
            counted[executor] = Waiting(jobs, due, self.read_moment(oldest))
        return counted

    def read_stat(self, row: Sequence[Any]) -> StatRow | None:
        return stat_of(row, moment)

    def add_stats(self, rows: Sequence[StatRow]) -> Script[None]:
        for row in rules.merged(rows):
            key = {
                "minutes": minutes_of(row),
                "moment": stored(row.moment),
                "executor": row.executor,
                "outcome": str(row.outcome),
            }
            found = yield self.of("select_stat", **key)
            known = self.read_stat(found[0]) if found else None  # one that cannot be read is replaced
            new = row if known is None else rules.plus(known, row)
            counts = {"attempts": new.attempts, "waits": counts_text(new.waits), "runs": counts_text(new.runs)}
            yield self.of("put_stat", **key, **counts)

    def index_for(self, unique: UniquenessCriteria, statuses: frozenset[JobStatus]) -> LiteralString:
        """Return the `INDEXED BY` clause.

        Without the clause and without statistics, the planner takes any index that has the executor in it, and walks
        past all of its ended jobs, under the write lock.
        """
        if unique.key is not None:
            return "INDEXED BY rexecutor_jobs_open_key" if statuses <= OPEN else "INDEXED BY rexecutor_jobs_unique_key"
        if unique.is_by_executor:
            return "INDEXED BY rexecutor_jobs_open" if statuses <= OPEN else "INDEXED BY rexecutor_jobs_scheduled"
        return ""


SCRIPTS: Final = _SqliteScripts()


def run(connection: sqlite3.Connection, script: Script[T]) -> T:
    """Execute the statements of the script, which may catch errors of `UNWRITABLE`; return its result."""
    try:
        asked = next(script)
        while True:
            try:
                rows = connection.execute(*asked).fetchall()
            except UNWRITABLE as error:
                asked = script.throw(error)
            else:
                asked = script.send(rows)
    except StopIteration as done:
        return done.value


def enqueue(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: datetime) -> list[Enqueued]:
    """Store the jobs in the order given. Runs of jobs without criteria are inserted at once."""
    answers: list[Enqueued] = []
    for unique, group in groupby(jobs, lambda job: job.unique):
        if unique is None:
            answers += _insert(connection, list(group), now)
            continue
        for job in group:
            existing = run(connection, SCRIPTS.use_existing(job, unique, now))
            answers += [existing] if existing is not None else _insert(connection, [job], now)
    return answers


def _insert(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: datetime) -> list[Enqueued]:
    if any(map(needs_full_row, jobs)):
        connection.executemany(statement(_PACKAGE, "insert_full_job"), new_full_rows(jobs, now))
    else:
        connection.executemany(statement(_PACKAGE, "insert_job"), new_rows(jobs, now))
    last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
    first = last - len(jobs) + 1
    execute(connection, "queue_jobs", first=first, last=last, now=stored(now))
    return [Enqueued(job_id, "inserted") for job_id in range(first, last + 1)]


def doorbells(connection: sqlite3.Connection, now: datetime) -> list[str]:
    """Return the doorbell addresses of the live nodes."""
    return [row[0] for row in execute(connection, "select_doorbells", now=stored(now))]


def claim(connection: sqlite3.Connection, demand: Demand, node_id: NodeId, now: datetime) -> Claim:
    """Take due jobs for a node with a live lease; see `Backend.claim`."""
    now_stored = stored(now)
    lease = execute(connection, "select_lease", node=node_id, now=now_stored, epoch=demand.epoch).fetchone()
    if lease is None:
        return Claim((), None)
    paused = {pause.executor for pause in run(connection, SCRIPTS.pauses(now))} if lease[0] else frozenset[str]()
    execute(connection, "promote_jobs", now=now_stored, limit=PROMOTED)
    # The first due jobs of each executor with free slots; then the first `limit` of these, in claim order.
    heads: list[Head] = []
    for (executor,) in execute(connection, "select_due_executors").fetchall():
        slots = min(demand.slots.get(executor, 0), demand.limit)
        if slots and paused.isdisjoint((executor, EVERY_EXECUTOR)):
            heads += execute(connection, "select_due_jobs", executor=executor, now=now_stored, slots=slots)
    heads.sort()
    del heads[demand.limit :]
    records: list[JobRecord] = []
    if heads:
        ids = msgspec.json.encode([head[2] for head in heads]).decode()
        execute(connection, "dequeue_jobs", ids=ids)
        execute(connection, "start_jobs", ids=ids, node=node_id, now=now_stored)
        started = {row[0]: row for row in execute(connection, "select_started", ids=ids)}
        # Of a job that somebody has deleted by hand, only its row in the queue was left.
        records = [read_claimed(head, started[head[2]], node_id, now) for head in heads if head[2] in started]
    next_due: int | None = None
    if len(records) < demand.limit:
        next_due = execute(connection, "select_next_due").fetchone()[0]
    return Claim(records, None if next_due is None else moment(next_due))


def settle(
    connection: sqlite3.Connection, settlements: Sequence[Settlement], now: datetime, limits: Limits
) -> list[JobId]:
    """Record outcomes. Return the jobs whose claim was lost."""
    complete = {one.job_id: one.claims for one in settlements if isinstance(one.outcome, Complete)}
    results = {
        one.job_id: one.outcome.result
        for one in settlements
        if one.outcome is not COMPLETE and isinstance(one.outcome, Complete)
    }
    rest = [one for one in settlements if not isinstance(one.outcome, Complete)]
    # Successes are recorded together. If a claim was lost, or a job stands in the batch twice, that cannot tell which;
    # then all outcomes are recorded one by one, in order.
    has_twins = len({one.job_id for one in settlements}) < len(settlements)  # the first of them counts
    if has_twins or (complete and not _complete_all(connection, complete, results, now)):
        rest = settlements
    return [one.job_id for one in rest if not _settle_one(connection, one, now, limits)]


def _complete_all(
    connection: sqlite3.Connection, claims: Mapping[JobId, int], results: Mapping[JobId, str | None], now: datetime
) -> bool:
    """Record successes, all or none. Return False, with none recorded, if any claim was lost.

    Args:
        connection: The connection, in a transaction.
        claims: The claim of each job.
        results: The results of those that may have one.
        now: When they ended.
    """
    connection.execute("SAVEPOINT complete")
    if any(result is not None for result in results.values()):
        recorded = _complete_with_results(connection, claims, results, now)
    else:
        settled = msgspec.json.encode(claims).decode()
        recorded = execute(connection, "complete_jobs", settled=settled, now=stored(now)).rowcount
    are_ours = recorded == len(claims)
    if are_ours:
        execute(connection, "stop_jobs", ids=msgspec.json.encode(list(claims)).decode())
    else:
        connection.execute("ROLLBACK TO complete")
    connection.execute("RELEASE complete")
    return are_ours


def _complete_with_results(
    connection: sqlite3.Connection, claims: Mapping[JobId, int], results: Mapping[JobId, str | None], now: datetime
) -> int:
    """Record successes of which some have a result. Return how many claims still held."""
    given: list[Any] = []
    for job_id, claim in claims.items():
        given += (job_id, claim, results.get(job_id))
    recorded, size = 0, 3 * (_FEW if len(claims) <= _FEW else _MANY)  # two texts, so that both stay prepared
    text = statement(_PACKAGE, "complete_with_results").replace("/* rows */", ", ".join(["(?, ?, ?)"] * (size // 3)))
    try:
        for start in range(0, len(given), size):
            rows = given[start : start + size]
            rows += [None] * (size - len(rows))
            recorded += connection.execute(text, (stored(now), *rows)).rowcount
    except OverflowError:  # an id or a claim that no job has
        return 0
    return recorded


def _settle_one(connection: sqlite3.Connection, settlement: Settlement, now: datetime, limits: Limits) -> bool:
    """Record one outcome. Return False if the claim was lost."""
    record = run(connection, SCRIPTS.fetch(settlement.job_id))
    if record is None or not rules.holds_claim(record, settlement.claims):
        return False
    run(connection, SCRIPTS.transit(record, settlement.outcome, now, limits))
    return True


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
