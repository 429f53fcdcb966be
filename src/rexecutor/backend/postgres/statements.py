"""Statements with the schema's name in them; and, without I/O, those of an enqueue and of a settlement."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
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
"""How long a settlement waits for a job that a transaction holds."""
_NOTHING: Final = timedelta(0)


class Statement(NamedTuple):
    """What is to be executed."""

    text: LiteralString
    parameters: Mapping[str, Any]


Rows: TypeAlias = Sequence[Sequence[Any]]
T = TypeVar("T")
Script: TypeAlias = Generator[Statement, Rows, T]
"""Statements to be executed one after the other in one transaction; the rows of each are sent back."""
Steps: TypeAlias = Script[list[Enqueued]]
"""Those of an enqueue."""


@cache
def in_schema(text: str, schema: str) -> LiteralString:
    """Answer the text for tables in that schema."""
    quoted = '"' + schema.replace('"', '""') + '".'
    return cast("LiteralString", text.replace(_PLACEHOLDER, quoted))


@cache
def channel_of(schema: str) -> str:
    """Answer the channel of NOTIFY: a name that any schema's makes, and that no other application has."""
    return f"rexecutor_{hashlib.blake2b(schema.encode(), digest_size=8).hexdigest()}"


class Statements:
    """The statements of one schema. `now` stands in all of them for the database's own time; None in production."""

    def __init__(self, schema: str) -> None:
        """Keep the schema's name."""
        self.schema: Final = schema

    def text(self, name: str) -> LiteralString:
        """Answer the statement of that name."""
        return in_schema(statement(PACKAGE, name), self.schema)

    def of(self, name: str, /, **parameters: Any) -> Statement:
        """Answer the statement of that name with its parameters."""
        return Statement(self.text(name), parameters)

    def where(self, name: str, where: Where, now: datetime | None, **parameters: Any) -> Statement:
        """Answer the statement of that name with the expression as its condition."""
        compiled = compile_where(where, DIALECT)
        text = self.text(name).replace("/* where */", compiled.text)
        return Statement(cast("LiteralString", text), {**compiled.parameters, **parameters, "now": now})

    def enqueue(self, jobs: Sequence[NewJob], now: datetime | None) -> Steps:
        """Answer the steps of an enqueue, for a transaction where there are criteria or more than one statement."""
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
        """Answer the enqueue of a job without criteria, in one statement; `rings` when it wakes the nodes as well."""
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
        """Answer the settlement of these; its rows are the ids and claims of those that were recorded.

        Where a node is given, only of jobs that it runs, and in a transaction of the application's.
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
    """Answer the scope in which the job is unique: enqueues of one scope come one after the other."""
    unique = job.unique
    parts = unique and [job.executor if unique.is_by_executor else None, unique.key]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).hexdigest()


def is_bigint(number: int) -> bool:
    """Whether a column of PostgreSQL's can hold the number."""
    return -(2**63) <= number < 2**63


def _parts(outcome: Outcome) -> tuple[str, timedelta, str | None]:
    """Answer an outcome as `settle_jobs` takes it: its kind, its delay, and its error in a list."""
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
