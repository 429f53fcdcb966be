"""Operations that the SQL backends share, as scripts without I/O: each backend executes the statements itself.

Claim, settle, rescue and pruning are not here: each backend has its own, because they must be fast.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar

from rexecutor.backend.messages import (
    EVERY_EXECUTOR,
    Count,
    Holder,
    Load,
    NewPause,
    Pause,
    StoredNode,
    Ticked,
)
from rexecutor.backend.overview import Waiting, in_order, larger_share, loads_of, share
from rexecutor.backend.sql.rows import STATUSES, node_state, spans_of, spans_text
from rexecutor.backend.sql.where import LARGEST_ID, SMALLEST_ID
from rexecutor.backend.waits import known_of
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId, is_storable
from rexecutor.model.outcomes import CancelAsked, Change, Rerun
from rexecutor.model.rules.matching import EARLIEST, shifted
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Everything, IdIn, Not, StatusIn, Where

T = TypeVar("T")


class Statement(NamedTuple):
    """An SQL text and its parameters by name. A store ignores parameters that its text does not use."""

    text: LiteralString
    parameters: Mapping[str, Any]


_PAUSED_EXECUTOR: Final = "executor:"
"""Prefix of the scope of a pause of one executor."""
Rows: TypeAlias = Sequence[Sequence[Any]]
Script: TypeAlias = Generator[Statement, Rows, T]
"""Yields statements to execute one after the other in one transaction; is sent the rows of each; returns a result."""


class Scripts(ABC):
    """The shared operations of `Backend` as scripts. A subclass adds its database's SQL, column values and locks.

    The parameter `now` is always the store's time in the transaction.
    """

    @abstractmethod
    def of(self, name: str, /, **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with its parameters."""

    @abstractmethod
    def where(self, name: str, where: Where, now: datetime | None, *, index: str = "", **parameters: Any) -> Statement:
        """Return the statement `sql/<name>.sql` with the expression as its condition, and perhaps an index to use."""

    @abstractmethod
    def read_job(self, row: Sequence[Any]) -> JobRecord:
        """Return the record of a row with all columns."""

    @abstractmethod
    def write_change(self, record: JobRecord) -> Statement:
        """Return the statement that writes a record back after a transition."""

    @abstractmethod
    def write_fields(self, record: JobRecord) -> Statement:
        """Return the statement that writes a record back after an update or a replacement."""

    @abstractmethod
    def read_moment(self, value: Any) -> datetime | None:
        """Return the moment in a column; None for NULL."""

    @abstractmethod
    def moment(self, moment: datetime | None) -> Any:
        """Return a moment as a parameter; NULL for None."""

    @abstractmethod
    def array(self, values: Sequence[str]) -> Any:
        """Return the values as one parameter."""

    @abstractmethod
    def give_back(self, node_id: NodeId, held: Collection[ClaimId], now: datetime, limits: Limits) -> Script[int]:
        """Settle the node's claims that are not in `held` as interrupted; return their number."""

    @abstractmethod
    def read_stat(self, row: Sequence[Any]) -> StatRow | None:
        """Return a row of the history; None if it cannot be read."""

    @abstractmethod
    def count_waiting(self, executors: Sequence[str], most: int, now: datetime | None) -> Script[dict[str, Waiting]]:
        """Count the waiting jobs of each executor: its first `most` in the order of their due times."""

    @abstractmethod
    def add_stats(self, rows: Sequence[StatRow]) -> Script[None]:
        """Add the rows to the history; see `Backend.add_stats`."""

    def write(self, record: JobRecord, as_: Callable[[JobRecord], Statement], now: datetime) -> Script[bool]:
        """Write a record back as `write_change` or `write_fields`.

        Return False if it cannot be written, and the job was discarded instead.
        """
        yield as_(record)
        return True

    def index_for(self, unique: UniquenessCriteria, statuses: frozenset[JobStatus]) -> LiteralString:
        """Return the clause that names the index for the search of conflicting jobs; empty: the planner chooses."""
        return ""

    def lock_schedules(self, ids: Sequence[str]) -> Script[dict[str, StoredSchedule]]:
        """Lock the stored schedules and return their state; none if the transaction already has the one write lock."""
        yield from ()
        return {}

    def query(
        self, where: Where, limit: int, after: JobId | None, now: datetime | None, *, newest: bool = False
    ) -> Script[list[JobRecord]]:
        """Return at most `limit` jobs in order of id, or in reverse; see `Backend.query`."""
        name = "select_newest_jobs" if newest else "select_jobs"
        rows = yield from self._page(name, where, limit, after, now, newest=newest)
        return [self.read_job(row) for row in rows]

    def query_ids(
        self, where: Where, limit: int, after: JobId | None, now: datetime | None, *, newest: bool = False
    ) -> Script[list[JobId]]:
        """Return the ids of the jobs that `query` would return, without reading the other columns."""
        name = "select_newest_ids" if newest else "select_ids"
        rows = yield from self._page(name, where, limit, after, now, newest=newest)
        return [row[0] for row in rows]

    def _page(
        self, name: str, where: Where, limit: int, after: JobId | None, now: datetime | None, *, newest: bool
    ) -> Script[Rows]:
        """Return the rows of the statement, which begins after this id; none if no id comes after it."""
        start, end = (LARGEST_ID, SMALLEST_ID) if newest else (SMALLEST_ID, LARGEST_ID)
        if after is not None:
            if after < end if newest else after > end:
                return ()
            start = min(after, start) if newest else max(after, start)
        return (yield self.where(name, where, now, after=start, limit=min(limit, LARGEST_ID)))

    def check_ended(self, ids: Collection[JobId], now: datetime | None) -> Script[dict[JobId, JobRecord | JobStatus]]:
        """Return those of the jobs that are stored; see `Backend.check_ended`.

        The second statement, for those that have ended, may see them later than the first: rerun, or deleted.
        """
        rows = yield self.where("select_statuses", IdIn(frozenset(ids)), now)
        found = {job_id: STATUSES.get(status, JobStatus.DISCARDED) for job_id, status in rows}
        known: dict[JobId, JobRecord | JobStatus] = {
            job_id: status for job_id, status in found.items() if not status.has_ended
        }
        if ended := found.keys() - known.keys():
            known |= known_of((yield from self.query(IdIn(frozenset(ended)), len(ended), None, now)))
        return known

    def count(self, where: Where | None = None, now: datetime | None = None) -> Script[list[Count]]:
        """Count the jobs by executor and status, except those of an unknown status; see `Backend.count`."""
        rows = yield self.where("count_jobs", Everything() if where is None else where, now)
        return [Count(executor, STATUSES[status], jobs) for executor, status, jobs in rows if status in STATUSES]

    def apply(
        self, job_id: JobId, change: CancelAsked | Rerun, executor: str | None, now: datetime, limits: Limits
    ) -> Script[JobRecord]:
        """Change one job and return the changed record; see `Backend.apply`."""
        record = rules.found((yield from self.fetch(job_id)), job_id, executor)
        return (yield from self.transit(record, change, now, limits))

    def update(self, job_id: JobId, new: NewJob, version: int, now: datetime) -> Script[JobRecord]:
        """Change one job's fields and return the changed record; see `Backend.update`."""
        record = rules.found((yield from self.fetch(job_id)), job_id, new.executor)
        changed = rules.updated(record, new, version, now)
        yield self.write_fields(changed)
        return changed

    def fetch(self, job_id: JobId) -> Script[JobRecord | None]:
        """Return the job, locked; None if there is none."""
        rows = (yield self.of("select_job", id=job_id)) if SMALLEST_ID <= job_id <= LARGEST_ID else ()
        return self.read_job(rows[0]) if rows else None

    def transit(self, record: JobRecord, change: Change, now: datetime, limits: Limits) -> Script[JobRecord]:
        """Change the job as `rules.transition` says and return the changed record."""
        changed = rules.transition(record, change, now, limits)
        if changed is not record:
            yield from self.write(changed, self.write_change, now)
        return changed

    def release_claims(
        self, node_id: NodeId, held: Collection[ClaimId], epoch: int, now: datetime, limits: Limits
    ) -> Script[int]:
        """Undo the node's claims that are not in `held`, once for each epoch; return their number."""
        if epoch:
            known = yield self.of("lock_node", node=node_id)
            if known and known[0][0] >= epoch:
                return 0
            yield self.of("move_epoch", node=node_id, epoch=epoch)
        return (yield from self.give_back(node_id, held, now, limits))

    def use_existing(
        self, job: NewJob, unique: UniquenessCriteria, now: datetime, corrupt: frozenset[JobId] = frozenset()
    ) -> Script[Enqueued | None]:
        """Find the job that conflicts with a new one and replace its fields as the criteria say; None if there is none.

        Needs the lock that keeps other enqueues of the scope out. `corrupt` are the jobs found so far whose rows could
        not be written; they were discarded and no longer count.
        """
        where = rules.conflicting(job, unique, now)
        if corrupt:
            where &= Not(IdIn(corrupt))
        # A job that may be replaced goes before one that may not, as in `rules.pick_existing`.
        found: JobRecord | None = None
        if unique.replacement is not None and (statuses := unique.statuses & unique.replacement.statuses):
            found = yield from self.first_conflicting(where & StatusIn(statuses), job, unique, statuses, now)
        if found is None:
            found = yield from self.first_conflicting(where, job, unique, unique.statuses, now)
        if found is None:
            return None
        record = rules.replaced(found, job, unique, now)
        if record is found:
            return Enqueued(found.id, "existing")
        if (yield from self.write(record, self.write_fields, now)):
            return Enqueued(found.id, "replaced")
        return (yield from self.use_existing(job, unique, now, corrupt | {record.id}))

    def first_conflicting(
        self,
        where: Where,
        job: NewJob,
        unique: UniquenessCriteria,
        statuses: frozenset[JobStatus],
        now: datetime,
    ) -> Script[JobRecord | None]:
        """Return the first job in one of the statuses that meets the condition, locked; None if there is none."""
        rows = yield self.where("select_conflicting", where, now, index=self.index_for(unique, statuses))
        return self.read_job(rows[0]) if rows else None

    def tick(
        self, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime
    ) -> Script[tuple[Ticked, list[NewJob]]]:
        """Take due ticks; return the jobs that the caller must enqueue for them in the same transaction."""
        rows = yield self.of("select_known_schedules", ids=self.array([schedule.id for schedule in schedules]))
        known = {row[0]: self.read_schedule(row) for row in rows}
        look = rules.advance_all(schedules, known, now, up_since)
        locked = yield from self.lock_schedules([schedule.id for schedule in look.changed if schedule.id in known])
        if locked:
            known |= locked
            look = rules.advance_all(schedules, known, now, up_since)
        for schedule in look.changed:
            verb = "update_schedule" if schedule.id in known else "insert_schedule"
            yield self.of(verb, **self._schedule_row(schedule))
        return Ticked(now, look.taken, look.next_tick), look.jobs

    def schedules(self) -> Script[list[StoredSchedule]]:
        """Return the schedules that the store knows, in order of id."""
        rows = yield self.of("select_schedules")
        return [self.read_schedule(row) for row in rows]

    def stats(self, since: datetime) -> Script[list[StatRow]]:
        """Return the readable rows of the history since the moment; see `Backend.stats`."""
        rows = yield self.of("select_stats", since=self.moment(since))
        return [row for row in map(self.read_stat, rows) if row is not None]

    def fold_stats(self, limit: int, now: datetime) -> Script[int]:
        """Fold old minutes and forget old hours; see `Backend.fold_stats`. A row that cannot be read is deleted."""
        taken = yield self.of("take_minutes", before=self.moment(rules.folds_before(now)), limit=limit)
        minutes = [row for row in map(self.read_stat, taken) if row is not None]
        if minutes:
            yield from self.add_stats(rules.folded(minutes))
        deleted = yield self.of("delete_hours", before=self.moment(rules.deletes_before(now)), limit=limit)
        return len(taken) + len(deleted)

    def put_pause(self, pause: NewPause, now: datetime) -> Script[Pause]:
        """Store a pause and return it as it is then in force; see `Backend.put_pause`."""
        yield self.of("delete_run_out_pauses", now=self.moment(now))
        yield self.of(
            "put_pause",
            scope=scope_of_pause(pause.executor),
            now=self.moment(now),
            until=self.moment(None if pause.lasting is None else shifted(now, pause.lasting)),
            reason=pause.reason,
        )
        stored = yield from self.pauses(now)
        return next(one for one in stored if one.executor == pause.executor)

    def end_pause(self, executor: str, now: datetime) -> Script[bool]:
        """Delete a pause and return whether it was in force; see `Backend.end_pause`."""
        rows = yield self.of("delete_pause", scope=scope_of_pause(executor), now=self.moment(now))
        return bool(rows and rows[0][0])

    def nodes(self, now: datetime | None) -> Script[list[StoredNode]]:
        """Return the nodes that the store knows; see `Backend.nodes`."""
        rows = yield self.of("select_nodes", now=self.moment(now))
        return in_order(
            StoredNode(
                row[0],
                row[1],
                self.read_moment(row[2]) or EARLIEST,
                self.read_moment(row[3]) or EARLIEST,
                self.read_moment(row[4]) or EARLIEST,
                node_state(row[5], row[6]),
                self.read_moment(row[7]) or EARLIEST,
            )
            for row in rows
        )

    def load(self, executor: str | None, now: datetime | None) -> Script[list[Load]]:
        """Return what waits and executes of each executor, or of one; see `Backend.load`.

        Jobs of an executor whose name is invalid, which somebody has written by hand, are left out.
        """
        if executor is not None and not is_storable(executor):
            return []
        holders: dict[str, list[Holder]] = defaultdict(list)
        rows = yield self.of("select_holders", executor=executor)
        for name, node, jobs, longest, longest_id in rows:
            if is_storable(name):
                holders[name].append(Holder(node, jobs, self.read_moment(longest) or EARLIEST, longest_id))
        if executor is None:
            rows = yield self.of("select_waiting_executors")
            names: list[str] = sorted(set(filter(is_storable, (row[0] for row in rows))) | holders.keys())
        else:
            names = [executor]
        first = share(len(names))
        waiting = yield from self.count_waiting(names, first + 1, now)
        larger = larger_share([one.jobs for one in waiting.values()], first)
        if larger > first:
            large = [name for name in names if waiting[name].jobs > first]
            waiting |= yield from self.count_waiting(large, larger + 1, now)
        return loads_of(waiting, holders, first, larger)

    def pauses(self, now: datetime | None) -> Script[list[Pause]]:
        """Return the pauses of executors that are in force, by name."""
        rows = yield self.of("select_pauses", now=self.moment(now))
        found = [(executor_of_scope(row[0]), row) for row in rows]
        pauses = [
            Pause(executor, self.read_moment(row[1]) or EARLIEST, self.read_moment(row[2]), row[3] or "")
            for executor, row in found
            if executor is not None and is_storable(executor)
        ]
        return sorted(pauses, key=attrgetter("executor"))

    def read_schedule(self, row: Sequence[Any]) -> StoredSchedule:
        """Return the state of a schedule from its row."""
        moments = self.read_moment(row[4]), self.read_moment(row[5])
        return StoredSchedule(row[0], row[1], row[2], row[3], *moments, spans_of(row[6]))

    def _schedule_row(self, schedule: StoredSchedule) -> dict[str, Any]:
        return {
            "id": schedule.id,
            "executor": schedule.executor,
            "expression": schedule.expression,
            "timezone": schedule.timezone,
            "last_tick": self.moment(schedule.last_tick),
            "next_tick": self.moment(schedule.next_tick),
            "left_out": spans_text(schedule.left_out),
        }


def scope_of_pause(executor: str) -> str:
    """Return the scope under which the pause of an executor, or of all, is stored."""
    return executor if executor == EVERY_EXECUTOR else _PAUSED_EXECUTOR + executor


def executor_of_scope(scope: str) -> str | None:
    """Return the executor, or all, that a pause is about; None if it is about something else."""
    if scope == EVERY_EXECUTOR:
        return scope
    name = scope.removeprefix(_PAUSED_EXECUTOR)
    return None if name == scope else name
