"""Statements for one schema, and the sequences of them that an enqueue and a settlement need. No I/O."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Final, LiteralString, TypeAlias, TypeVar, cast

import msgspec
from msgspec import UNSET

from rexecutor.backend.messages import Load
from rexecutor.backend.overview import Waiting
from rexecutor.backend.postgres.dialect import DIALECT
from rexecutor.backend.postgres.rows import (
    Batch,
    alike_rows,
    batches_of,
    changed_row,
    in_utc,
    in_utc_or_none,
    new_row,
    new_rows,
    read_row,
)
from rexecutor.backend.sql import statement
from rexecutor.backend.sql.operations import Script, Scripts, Statement
from rexecutor.backend.sql.rows import STATUSES, may_expire, minutes_of, needs_full_row, stat_of
from rexecutor.backend.sql.where import compile_where
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, JobError, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import (
    CancelAsked,
    Cancelled,
    Complete,
    Discarded,
    Expired,
    Failed,
    FieldUpdate,
    Interrupted,
    Outcome,
    Rerun,
    Settlement,
    Snooze,
    kinds_of,
)
from rexecutor.model.rules.matching import shifted
from rexecutor.model.schedules import StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import OPEN, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Everything, IdIn, Where

PACKAGE: Final = "rexecutor.backend.postgres"
_PLACEHOLDER: Final = '"rexecutor".'
LOCK_TIMEOUT: Final = "1s"
"""How long a settlement, or a change of many jobs, waits for a job that another transaction has locked."""
MOST_LOOKS: Final = 5
"""Maximum number of times that a job is looked for if it moves at the same time, for example because it is claimed."""
MOST_DEADLOCKS: Final = 3
"""Maximum number of times that a transaction is done again because the server has ended it to resolve a deadlock."""
_NOTHING: Final = timedelta(0)

Steps: TypeAlias = Script[list[Enqueued]]
"""The script of an enqueue."""
T = TypeVar("T")


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

    def load(self, executor: str | None, now: datetime | None) -> Script[list[Load]]:
        """Return what waits and executes of each executor, as of one moment. Needs a transaction."""
        yield self.of("read_one_moment")
        return (yield from super().load(executor, now))

    def count_waiting(self, executors: Sequence[str], most: int, now: datetime | None) -> Script[dict[str, Waiting]]:
        """Count the waiting jobs of the executors, in one statement."""
        if not executors:
            return {}
        rows = yield self.of("count_waiting", executors=list(executors), most=most, now=now)
        return {name: Waiting(jobs, due, self.read_moment(oldest)) for name, jobs, due, oldest in rows}

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

    def read_stat(self, row: Sequence[Any]) -> StatRow | None:
        """Return a row of the history; None if it cannot be read."""
        return stat_of(row, in_utc)

    def add_stats(self, rows: Sequence[StatRow]) -> Script[None]:
        """Return the one statement that adds the rows to the history."""
        given = [
            {
                "minutes": minutes_of(row),
                "moment": row.moment,
                "executor": row.executor,
                "outcome": str(row.outcome),
                "attempts": row.attempts,
                "waits": row.waits,
                "runs": row.runs,
            }
            for row in rules.merged(rows)
        ]
        yield self.of("add_stats", rows=msgspec.json.encode(given).decode())

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
        """Return the statement that stores a job for which `is_one_row` is True.

        Its criteria are ignored. With `rings`, its commit notifies the nodes.
        """
        channel = channel_of(self.schema) if rings else None
        return self.of("insert_job", **new_row(job), channel=channel, now=now)

    def apply(
        self, job_id: JobId, change: CancelAsked | Rerun, executor: str | None, now: datetime, limits: Limits
    ) -> Script[JobRecord]:
        """Change one job and return the changed record; see `Backend.apply`."""
        record = rules.found((yield from self.fetch(job_id, changes_ended=isinstance(change, Rerun))), job_id, executor)
        return (yield from self.transit(record, change, now, limits))

    def apply_many(
        self,
        ids: Collection[JobId],
        change: CancelAsked | Rerun | FieldUpdate,
        where: Where | None,
        now: datetime | None,
        limits: Limits,
    ) -> Script[list[tuple[JobId, JobStatus, str]]]:
        """Change the jobs as `rules.changed` says; return the new status and the executor of each that was changed.

        The rows that say where they stand are locked first. A second statement then sees how the jobs are now, and
        nothing moves them until the end of the transaction. Jobs that moved while the first one waited are looked for
        again.
        """
        changes_ended = isinstance(change, Rerun)
        wanted, locked = sorted(filter(is_bigint, ids)), list[JobId]()
        for _ in range(MOST_LOOKS):
            if wanted:
                places = yield self.of("lock_places", ids=wanted, changes_ended=changes_ended, patience=LOCK_TIMEOUT)
                locked += [job_id for job_id, is_locked in places if is_locked]
                wanted = sorted([job_id for job_id, is_locked in places if not is_locked])
        # What is still wanted stands nowhere, because somebody has written rows by hand; or it moved at each look.
        if not (found := sorted([*locked, *wanted])):
            return []
        name, parameters = _as_parameters(change)
        condition = Everything() if where is None else where
        rows = yield self.where(name, condition, now, ids=found, most_errors=limits.errors, **parameters)
        return [(job_id, STATUSES[status], executor) for job_id, status, executor in rows if status in STATUSES]

    def fetch(self, job_id: JobId, *, changes_ended: bool = False) -> Script[JobRecord | None]:
        """Return the job, locked unless it has ended; None if there is none.

        The row that says where the job stands (in the queue, running, or in the log) is locked first, and then nothing
        moves the job. If it moved while this waited for the lock, it is looked for again. Every other change locks
        these two rows in the same order. If the job's own row were locked first, two changes could wait for each other.

        Args:
            job_id: The job.
            changes_ended: Whether to lock it even if it has ended, as a rerun needs.
        """
        for _ in range(MOST_LOOKS) if is_bigint(job_id) else ():
            places = yield self.of("lock_place", id=job_id, changes_ended=changes_ended)
            if not places:
                return None
            [[had_ended, is_locked]] = places
            if is_locked:
                rows = yield self.of("select_job", id=job_id)
                return self.read_job(rows[0]) if rows else None
            if had_ended and not changes_ended:
                found = yield from self.query(IdIn(frozenset({job_id})), 1, None, None)
                if not found or found[0].status.has_ended:
                    return found[0] if found else None
        # It stands nowhere, because somebody has written rows by hand; or it moved at each look.
        return (yield from super().fetch(job_id))

    def first_conflicting(
        self,
        where: Where,
        job: NewJob,
        unique: UniquenessCriteria,
        statuses: frozenset[JobStatus],
        now: datetime,
    ) -> Script[JobRecord | None]:
        """Return the first job that meets the condition, locked if it may be replaced; None if there is none.

        It is found without a lock, and locked as `fetch` does. If it has changed meanwhile, the search begins anew.
        """
        if unique.is_by_executor and unique.key is None and statuses <= OPEN:
            due, window = rules.due_at(job, now), unique.window
            start, until = (None, None) if window is None else (shifted(due, -window), shifted(due, window))
            search = self.where("select_conflicting_open", where, now, executor=job.executor, start=start, until=until)
        else:
            search = self.where("select_conflicting", where, now)
        changes_ended = unique.replacement is not None and not unique.replacement.statuses <= OPEN
        while rows := (yield search):
            record = yield from self.fetch(rows[0][0], changes_ended=changes_ended)
            if record is not None and (record.status, record.claims, record.revision) == tuple(rows[0][1:4]):
                return record
        return None

    def settle(
        self,
        settlements: Sequence[Settlement],
        most_errors: int,
        now: datetime | None,
        *,
        node: NodeId | None = None,
    ) -> Script[list[JobId]]:
        """Return the steps that record these outcomes; their result is the jobs whose claims no longer hold.

        Successes have a statement of their own, which takes a third of the time of the other one. If there are other
        outcomes beside them, both statements are needed, and a transaction around them (`is_mixed`). Successes that the
        first statement does not record are tried once more by the second. If a job stands several times among the
        outcomes, the first one counts that holds its claim.

        If a node is given, the steps are for a transaction of the application: they record only outcomes of jobs that
        this node runs, and wait for locks as long as that transaction does.
        """
        fixed = {"node": node, "patience": LOCK_TIMEOUT if node is None else None, "now": now}
        left, recorded = sorted(filter(_is_storable, settlements), key=_job_id), set[ClaimId]()
        while left:
            some, left = _first_of_each(left)
            fast = [one for one in some if type(one.outcome) is Complete]
            others = [one for one in some if type(one.outcome) is not Complete] if len(fast) < len(some) else []
            if fast:
                ids, parameters = _as_texts(fast)
                [[done]] = yield self.of("settle_complete", **parameters, **fixed)
                if done == ids:
                    if len(fast) == len(settlements):
                        return []
                    recorded.update([(one.job_id, one.claims) for one in fast])
                else:
                    found = set(map(int, done[1:-1].split(","))) if done != "{}" else set[int]()
                    recorded.update([(one.job_id, one.claims) for one in fast if one.job_id in found])
                    others = [one for one in some if one.job_id not in found]
            if others:
                rows = yield self.of(
                    "settle_jobs",
                    **_as_arrays(others),
                    expired=rules.EXPIRED_DETAILS,
                    most_errors=most_errors,
                    **fixed,
                )
                recorded.update((row[0], row[1]) for row in rows)
        refused: list[JobId] = []
        for one in settlements:
            if (claim := (one.job_id, one.claims)) in recorded:
                recorded.discard(claim)  # of two settlements of one claim, the first counts
            else:
                refused.append(one.job_id)
        return refused

    def give_back(self, node_id: NodeId, held: Collection[ClaimId], now: datetime, limits: Limits) -> Script[int]:
        """Settle the node's claims that are not in `held` as interrupted; return their number."""
        ids, claims = [claim[0] for claim in held], [claim[1] for claim in held]
        rows = yield self.of("select_running", node=node_id, ids=ids, claims=claims)
        settlements = [Settlement(row[0], row[1], Interrupted()) for row in rows]
        refused = yield from self.settle(settlements, limits.errors, now)  # have ended meanwhile
        return len(rows) - len(refused)

    def insert(self, batches: Sequence[Batch], now: datetime | None) -> Steps:
        """Return the steps of an enqueue without criteria: one statement for each batch. Several need a transaction."""
        answers: list[Enqueued] = []
        for jobs, _ in batches:
            if len(jobs) > 1 and (alike := alike_rows(jobs)) is not None:
                [[ids]] = yield self.of("insert_alike_jobs", **alike, now=now)
                answers += [Enqueued(job_id, "inserted") for job_id in map(int, ids[1:-1].split(","))]
                continue
            if is_one_row(jobs):
                rows = yield self.enqueue_one(jobs[0], now, rings=False)
            elif any(map(needs_full_row, jobs)):
                rows = yield self.of("insert_full_jobs", jobs=new_rows(jobs), now=now)
            else:
                rows = yield self.of("insert_jobs", jobs=new_rows(jobs), now=now)
            answers += [Enqueued(row[0], "inserted") for row in rows]
        return answers

    def _insert(self, jobs: Sequence[NewJob], now: datetime | None) -> Steps:
        return self.insert(batches_of(jobs), now)


def is_one_row(jobs: Sequence[NewJob]) -> bool:
    """Return whether `Statements.enqueue_one` can store the jobs: there is one, and it never expires."""
    return len(jobs) == 1 and not may_expire(jobs[0])


def scope_of(job: NewJob) -> str:
    """Return the scope in which the job is unique. Enqueues in one scope run one after the other."""
    unique = job.unique
    parts = unique and [job.executor if unique.is_by_executor else None, unique.key]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).hexdigest()


def is_bigint(number: int) -> bool:
    """Return whether a column of type `bigint` can hold the number."""
    return -(2**63) <= number < 2**63


def is_mixed(settlements: Sequence[Settlement]) -> bool:
    """Return whether there are successes and other outcomes, so that `Statements.settle` needs a transaction."""
    kinds = kinds_of(settlements)
    return Complete in kinds and len(kinds) > 1


_job_id: Final[Callable[[Settlement], int]] = attrgetter("job_id")


def _is_storable(one: Settlement) -> bool:
    return is_bigint(one.job_id) and is_bigint(one.claims)


def _first_of_each(settlements: list[Settlement]) -> tuple[list[Settlement], list[Settlement]]:
    """Return the first settlement of each job, and the others; they come in the order of the jobs' ids."""
    if len({one.job_id for one in settlements}) == len(settlements):
        return settlements, []
    firsts: list[Settlement] = []
    others: list[Settlement] = []
    for one in settlements:
        (others if firsts and firsts[-1].job_id == one.job_id else firsts).append(one)
    return firsts, others


def _as_texts(successes: Sequence[Settlement]) -> tuple[str, dict[str, Any]]:
    """Return the ids, and the parameters of `settle_complete`: ids and claims as texts, and results, if any."""
    ids = f"{{{','.join([str(one.job_id) for one in successes])}}}"
    claims = f"{{{','.join([str(one.claims) for one in successes])}}}"
    results = [cast("Complete", one.outcome).result for one in successes]
    return ids, {"ids": ids, "claims": claims, "results": None if results.count(None) == len(results) else results}


def _as_arrays(settlements: Sequence[Settlement]) -> dict[str, Any]:
    """Return the parameters of `settle_jobs`."""
    parts = [_parts(one.outcome) for one in settlements]
    return {
        "ids": [one.job_id for one in settlements],
        "claims": [one.claims for one in settlements],
        "kinds": [part[0] for part in parts],
        "delays": [part[1] for part in parts],
        "errors": [part[2] for part in parts],
        "results": [part[3] for part in parts],
    }


def _as_parameters(change: CancelAsked | Rerun | FieldUpdate) -> tuple[str, dict[str, Any]]:
    """Return the name of the statement that makes a change of many jobs, and its parameters."""
    match change:
        case CancelAsked(reason):
            return "cancel_jobs", {"reason": reason}
        case Rerun():
            return "rerun_jobs", {}
        case FieldUpdate():
            given = {name: getattr(change, name) for name in FieldUpdate.__slots__}
            new = {name: None if value is UNSET else value for name, value in given.items()}
            tags = None if new["tags"] is None else list(new["tags"])
            return "update_fields", {**new, "tags": tags, "sets_metadata": change.metadata is not UNSET}


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
