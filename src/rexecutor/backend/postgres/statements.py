"""Statements for one schema, and the sequences of them that an enqueue and a settlement need. No I/O."""

import hashlib
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from rexecutor.backend.postgres.dialect import DIALECT
from rexecutor.backend.postgres.rows import changed_row, in_statements, in_utc, new_row, new_rows, read_row
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.where import compile_where
from rexecutor.model import rules
from rexecutor.model.job import Enqueued, JobError, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import Cancelled, Complete, Failed, Interrupted, Outcome, Settlement, Snooze
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import StatusIn, Where

PACKAGE: Final = "rexecutor.backend.postgres"
_PLACEHOLDER: Final = '"rexecutor".'
PATIENCE: Final = "1s"
"""How long a settlement waits for a job that another transaction has locked, in PostgreSQL's notation."""
_NOTHING: Final = timedelta(0)


class Statement(NamedTuple):
    """An SQL text and its parameters by name."""

    text: LiteralString
    parameters: Mapping[str, Any]


Rows: TypeAlias = Sequence[Sequence[Any]]
T = TypeVar("T")
Script: TypeAlias = Generator[Statement, Rows, T]
"""Yields statements to execute one after the other in one transaction; is sent the rows of each; returns a result."""
Steps: TypeAlias = Script[list[Enqueued]]
"""The script of an enqueue."""


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


class Statements:
    """The statements of one schema. `now` replaces the database's time in all of them; it is None in production."""

    def __init__(self, schema: str) -> None:
        self.schema: Final = schema

    def text(self, name: str) -> LiteralString:
        """Return the text of `sql/<name>.sql` for this schema."""
        return in_schema(statement(PACKAGE, name), self.schema)

    def of(self, name: str, /, **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with its parameters."""
        return Statement(self.text(name), parameters)

    def where(self, name: str, where: Where, now: datetime | None, **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with the expression as its condition."""
        compiled = compile_where(where, DIALECT)
        text = self.text(name).replace("/* where */", compiled.text)
        return Statement(cast("LiteralString", text), {**compiled.parameters, **parameters, "now": now})

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
                answers.append((yield from self._enqueue_unique(job, job.unique, now, moment)))
        return answers

    def enqueue_one(self, job: NewJob, now: datetime | None, *, rings: bool) -> Statement:
        """Return the one statement that enqueues a job without criteria; if `rings`, it also notifies the nodes."""
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
            node=node,
            patience=PATIENCE if node is None else None,
            most_errors=most_errors,
            now=now,
        )

    def _insert(self, jobs: Sequence[NewJob], now: datetime | None) -> Steps:
        answers: list[Enqueued] = []
        for some in in_statements(jobs):
            if len(some) == 1:
                rows = yield self.enqueue_one(some[0], now, rings=False)
            else:
                rows = yield self.of("insert_jobs", jobs=new_rows(some), now=now)
            answers += [Enqueued(row[0], "inserted") for row in rows]
        return answers

    def _enqueue_unique(
        self, job: NewJob, unique: UniquenessCriteria, now: datetime | None, moment: datetime
    ) -> Generator[Statement, Rows, Enqueued]:
        where = rules.conflicting(job, unique, moment)
        found: JobRecord | None = None
        if unique.replacement is not None:
            found = yield from self._first(where & StatusIn(unique.replacement.statuses), now)
        if found is None:
            found = yield from self._first(where, now)
        if found is None:
            [answer] = yield from self._insert([job], now)
            return answer
        record = rules.replaced(found, job, unique, moment)
        if record is found:
            return Enqueued(found.id, "existing")
        yield self.of("update_job", **changed_row(record))
        return Enqueued(found.id, "replaced")

    def _first(self, where: Where, now: datetime | None) -> Generator[Statement, Rows, JobRecord | None]:
        rows = yield self.where("select_conflicting", where, now)
        return read_row(rows[0]) if rows else None


def scope_of(job: NewJob) -> str:
    """Return the scope in which the job is unique. Enqueues in one scope run one after the other."""
    unique = job.unique
    parts = unique and [job.executor if unique.is_by_executor else None, unique.key]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).hexdigest()


def is_bigint(number: int) -> bool:
    """Return whether a column of type `bigint` can hold the number."""
    return -(2**63) <= number < 2**63


def _parts(outcome: Outcome) -> tuple[str, timedelta, str | None]:
    """Return an outcome as `settle_jobs` takes it: kind, delay, and a JSON list of its error (None if it has none)."""
    match outcome:
        case Complete():
            return "complete", _NOTHING, None
        case Cancelled(error):
            return "cancelled", _NOTHING, _listed(error)
        case Snooze(delay):
            return "snooze", delay, None
        case Failed(error, delay):
            return "failed", delay, _listed(error)
        case Interrupted():
            return "interrupted", _NOTHING, None


def _listed(error: JobError) -> str:
    return msgspec.json.encode([error]).decode()
