"""Statements for one schema, and the sequences of them that an enqueue and a settlement need. No I/O."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, LiteralString, TypeAlias, TypeVar, cast

import msgspec

from rexecutor.backend.postgres.dialect import DIALECT
from rexecutor.backend.postgres.rows import (
    Batch,
    batches_of,
    changed_row,
    in_utc,
    in_utc_or_none,
    new_row,
    new_rows,
    read_row,
)
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.operations import Rows, Script, Scripts, Statement
from rexecutor.backend.sql.rows import may_expire
from rexecutor.backend.sql.where import compile_where
from rexecutor.model import rules
from rexecutor.model.job import Enqueued, JobError, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import (
    Cancelled,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Settlement,
    Snooze,
)
from rexecutor.model.schedules import StoredSchedule
from rexecutor.model.where import Where

PACKAGE: Final = "rexecutor.backend.postgres"
_PLACEHOLDER: Final = '"rexecutor".'
LOCK_TIMEOUT: Final = "1s"
"""How long a settlement waits for a job that another transaction has locked, in PostgreSQL's notation."""
_NOTHING: Final = timedelta(0)


Steps: TypeAlias = Script[list[Enqueued]]
"""The script of an enqueue."""
T = TypeVar("T")


async def run_script(script: Script[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Execute each statement of the script with `execute`; return the script's result."""
    try:
        statement = next(script)
        while True:
            statement = script.send(await execute(statement))
    except StopIteration as done:
        return done.value


@cache
def in_schema(text: str, schema: str) -> LiteralString:
    """Return the text with the schema's name in place of `"rexecutor"`."""
    quoted = '"' + schema.replace('"', '""') + '".'
    return cast("LiteralString", text.replace(_PLACEHOLDER, quoted))


def versions(schema: str) -> Script[tuple[int, int]]:
    """Return the steps that find a schema's version and its last breaking version; both are 0 without tables."""
    name = in_schema('"rexecutor".migrations', schema)
    rows = yield Statement("SELECT to_regclass(%(name)s) IS NOT NULL", {"name": name})
    if not rows or not rows[0][0]:
        return 0, 0
    breaking = "coalesce(max(version) FILTER (WHERE is_breaking), 0)"
    rows = yield Statement(f"SELECT coalesce(max(version), 0), {breaking} FROM {name}", {})  # noqa: S608 - checked
    return rows[0][0], rows[0][1]


@cache
def channel_of(schema: str) -> str:
    """Return the schema's channel for NOTIFY: valid for any schema's name, and unlike other applications' channels."""
    return f"rexecutor_{hashlib.blake2b(schema.encode(), digest_size=8).hexdigest()}"


class Statements(Scripts):
    """The statements of one schema. `now` replaces the database's time in all of them; it is None in production."""

    def __init__(self, schema: str) -> None:
        self.schema: Final = schema

    def text(self, name: str) -> LiteralString:
        """Return the text of `sql/<name>.sql` for this schema."""
        return in_schema(statement(PACKAGE, name), self.schema)

    def of(self, name: str, /, **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with its parameters."""
        return Statement(self.text(name), parameters)

    def where(self, name: str, where: Where, now: datetime | None, *, index: str = "", **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with the expression as its condition."""
        compiled = compile_where(where, DIALECT)
        text = self.text(name).replace("/* where */", compiled.text)
        return Statement(cast("LiteralString", text), {**compiled.parameters, **parameters, "now": now})

    def at_now(self, now: datetime | None, script: Callable[[datetime], Script[T]]) -> Script[T]:
        """Return the script, preceded by a statement that finds out its time: that of the transaction, or `now`."""
        [[moment]] = yield self.of("select_now", now=now)
        return (yield from script(in_utc(moment)))

    def read_job(self, row: Sequence[Any]) -> JobRecord:
        """Return the record of a row with all columns."""
        return read_row(row)

    def write_change(self, record: JobRecord) -> Statement:
        """Return the statement that writes back a record that `rules` changed."""
        return self.of("update_job", **changed_row(record))

    write_fields = write_change

    def read_moment(self, value: Any) -> datetime | None:
        """Return the moment in a column, in UTC; None for NULL."""
        return in_utc_or_none(value)

    def moment(self, moment: datetime | None) -> Any:
        """Return the moment unchanged: the driver adapts it."""
        return moment

    def array(self, values: Sequence[str]) -> Any:
        """Return the values unchanged: the driver adapts them."""
        return values

    def lock_schedules(self, ids: Sequence[str]) -> Script[dict[str, StoredSchedule]]:
        """Lock the stored schedules one by one, in the order given, which is the same on all nodes: no deadlocks."""
        locked: dict[str, StoredSchedule] = {}
        for schedule_id in ids:
            [row] = yield self.of("lock_schedule", id=schedule_id)
            locked[schedule_id] = self.read_schedule(row)
        return locked

    def enqueue(self, jobs: Sequence[NewJob], now: datetime | None) -> Steps:
        """Return the steps of an enqueue. With unique jobs or several statements, they need a transaction."""
        scopes = sorted({scope_of(job) for job in jobs if job.unique is not None})
        if not scopes:
            return (yield from self._insert(jobs, now))
        yield self.of("take_scopes", scopes=scopes)
        rows = yield self.of("select_now", now=now)
        moment = in_utc(rows[0][0])
        answers: list[Enqueued] = []
        plain: list[NewJob] = []
        for job in [*jobs, None]:
            if job is not None and job.unique is None:
                plain.append(job)
                continue
            if plain:
                answers += yield from self._insert(plain, now)
                plain = []
            if job is not None and job.unique is not None:
                existing = yield from self.use_existing(job, job.unique, moment)
                answers += (yield from self._insert([job], now)) if existing is None else [existing]
        return answers

    def enqueue_one(self, job: NewJob, now: datetime | None, *, rings: bool) -> Statement:
        """Return the one statement that enqueues a job without criteria or expiry. `rings`: notify the nodes."""
        channel = channel_of(self.schema) if rings else None
        return self.of("insert_job", **new_row(job), channel=channel, now=now)

    def settle(
        self,
        settlements: Sequence[Settlement],
        most_errors: int,
        now: datetime | None,
        *,
        node: NodeId | None = None,
    ) -> Statement:
        """Return the statement that settles these; its rows are the ids and claims that it recorded.

        If a node is given, the statement is for a transaction of the application: it settles only jobs that this node
        runs, and waits for locks as long as that transaction does.
        """
        known = [one for one in settlements if is_bigint(one.job_id) and is_bigint(one.claims)]
        parts = [_parts(one.outcome) for one in known]
        return self.of(
            "settle_jobs",
            ids=[one.job_id for one in known],
            claims=[one.claims for one in known],
            kinds=[part[0] for part in parts],
            delays=[part[1] for part in parts],
            errors=[part[2] for part in parts],
            results=[part[3] for part in parts],
            expired=rules.EXPIRED_DETAILS,
            node=node,
            patience=LOCK_TIMEOUT if node is None else None,
            most_errors=most_errors,
            now=now,
        )

    def insert(self, batches: Sequence[Batch], now: datetime | None) -> Steps:
        """Return the steps of an enqueue without criteria, one for each batch. Several need a transaction."""
        answers: list[Enqueued] = []
        for jobs, _ in batches:
            if any(map(may_expire, jobs)):
                rows = yield self.of("insert_expiring_jobs", jobs=new_rows(jobs), now=now)
            elif len(jobs) == 1:
                rows = yield self.enqueue_one(jobs[0], now, rings=False)
            else:
                rows = yield self.of("insert_jobs", jobs=new_rows(jobs), now=now)
            answers += [Enqueued(row[0], "inserted") for row in rows]
        return answers

    def _insert(self, jobs: Sequence[NewJob], now: datetime | None) -> Steps:
        return self.insert(batches_of(jobs), now)


def scope_of(job: NewJob) -> str:
    """Return the scope in which the job is unique. Enqueues in one scope run one after the other."""
    unique = job.unique
    parts = unique and [job.executor if unique.is_by_executor else None, unique.key]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).hexdigest()


def is_bigint(number: int) -> bool:
    """Return whether a column of type `bigint` can hold the number."""
    return -(2**63) <= number < 2**63


def _parts(outcome: Outcome) -> tuple[str, timedelta, str | None, str | None]:
    """Return an outcome as `settle_jobs` takes it: kind, delay, a JSON list of its error, and its result, if any."""
    match outcome:
        case Complete(result):
            return "complete", _NOTHING, None, result
        case Cancelled(error):
            return "cancelled", _NOTHING, _listed(error), None
        case Snooze(delay):
            return "snooze", delay, None, None
        case Failed(error, delay):
            return "failed", delay, _listed(error), None
        case Discarded(error):
            return "discarded", _NOTHING, _listed(error), None
        case Expired():
            return "expired", _NOTHING, None, None
        case Interrupted():
            return "interrupted", _NOTHING, None, None


def _listed(error: JobError) -> str:
    return msgspec.json.encode([error]).decode()
