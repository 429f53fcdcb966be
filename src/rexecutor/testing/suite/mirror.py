"""`Mirror`, the model's own store: a dict of records that only `rules` change, with checks of the invariants."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from rexecutor.backend.messages import EVERY_EXECUTOR, NewPause, Pause
from rexecutor.model import rules
from rexecutor.model.job import Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import Change, Lost, Outcome, Rerun
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where
from rexecutor.testing.clock import FakeClock


class Mirror:
    """The jobs, leases, schedules and duties that a backend must hold after the same steps."""

    def __init__(self, clock: FakeClock, limits: Limits) -> None:
        self.records: Final[dict[JobId, JobRecord]] = {}
        self.leases: Final[dict[NodeId, datetime]] = {}
        self.schedules: Final[dict[str, StoredSchedule]] = {}
        self.duties: Final[dict[str, NodeId]] = {}
        self.pauses: Final[dict[str, Pause]] = {}
        self.unique_jobs: Final[list[NewJob]] = []
        self.pruned: Final[list[JobId]] = []
        self.last_id: JobId = 0
        self._clock = clock
        self._limits = limits
        self._started: set[tuple[JobId, int]] = set()
        self._ended: set[tuple[JobId, int]] = set()
        self._ticks: set[tuple[str, datetime]] = set()
        self._curtailed: set[JobId] = set()
        self._latest = clock.now()

    def enqueue(self, new: NewJob, job_id: JobId) -> Enqueued:
        """Enqueue a job and return what an enqueue must return. The job gets the given id if it is inserted."""
        now = self._clock.now()
        if new.unique is not None:
            self.unique_jobs.append(new)
            where = rules.conflicting(new, new.unique, now)
            found = rules.pick_existing(new.unique, self.matching(where))
            if found is not None:
                changed = rules.replaced(found, new, new.unique, now)
                self.rewrite(found, changed)
                return Enqueued(found.id, "existing" if changed == found else "replaced")
        assert job_id > self.last_id, "ids grow, and are never used twice"
        self.last_id = job_id
        self.records[job_id] = rules.inserted(new, job_id, now)
        if new.unique is not None and JobStatus.SCHEDULED in new.unique.statuses:
            where = rules.conflicting(new, new.unique, now)
            assert [record.id for record in self.matching(where)] == [job_id], "two jobs of one kind (I7)"
        return Enqueued(job_id, "inserted")

    def matching(self, where: Where) -> list[JobRecord]:
        """Return the jobs that match the expression."""
        return [record for record in self.records.values() if rules.matches(where, record, self._clock.now())]

    def rewrite(self, record: JobRecord, changed: JobRecord) -> JobRecord:
        """Store and return a record with changed fields. Check that it neither ends the job nor revives it."""
        assert (changed.status, changed.ended_at, changed.claims) == (record.status, record.ended_at, record.claims)
        assert changed == record or changed.version == record.version + 1
        if changed.max_attempts < record.max_attempts:
            self._curtailed.add(record.id)
        self.records[record.id] = changed
        return changed

    def forget(self, records: Collection[JobRecord]) -> None:
        """Remove jobs that were pruned. Check that they had ended."""
        for record in records:
            assert record.status.has_ended
            del self.records[record.id]
            self.pruned.append(record.id)

    def tick(
        self, schedules: Collection[Schedule], up_since: datetime | None
    ) -> tuple[list[tuple[str, datetime]], datetime | None, list[NewJob]]:
        """Take the due ticks. Return them, the time of the next tick, and the jobs to enqueue.

        Check that each tick is taken at most once.
        """
        taken: list[tuple[str, datetime]] = []
        to_come: list[datetime] = []
        jobs: list[NewJob] = []
        for schedule in schedules:
            known = self.schedules.get(schedule.id)
            ticks, self.schedules[schedule.id] = rules.advance(schedule, known, self._clock.now(), up_since)
            taken += [(schedule.id, tick) for tick in ticks.due]
            to_come += [ticks.next] if ticks.next else []
            jobs += ticks.jobs(schedule)
        assert self._ticks.isdisjoint(taken), "a tick is taken a second time"
        self._ticks.update(taken)
        return taken, min(to_come, default=None), jobs

    def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Let a node ask for a lock. Return whether it holds the lock now."""
        if self.lives(self.duties.get(name)) and self.duties[name] != node_id:
            return False
        self.duties[name] = node_id
        return True

    def pause(self, pause: NewPause) -> Pause:
        """Store a pause, and forget those that are over. Return it."""
        now = self._clock.now()
        for name in self.pauses.keys() - {one.executor for one in self.pauses_in_force()}:
            del self.pauses[name]
        before = self.pauses.get(pause.executor)
        until = None if pause.lasting is None else now + pause.lasting
        stored = Pause(pause.executor, now if before is None else before.since, until, pause.reason)
        self.pauses[pause.executor] = stored
        return stored

    def pauses_in_force(self) -> list[Pause]:
        """Return the pauses that are not over, by name."""
        now = self._clock.now()
        return [pause for _, pause in sorted(self.pauses.items()) if pause.until is None or pause.until > now]

    def is_paused(self, executor: str) -> bool:
        """Return whether no job of the executor may start."""
        return any(pause.executor in {executor, EVERY_EXECUTOR} for pause in self.pauses_in_force())

    def change(self, record: JobRecord, change: Change) -> JobRecord:
        """Apply a change; store and return the record. Check that an ended job changes only by a rerun (I4)."""
        changed = rules.transition(record, change, self._clock.now(), self._limits)
        is_kept = changed == record or isinstance(change, Rerun)
        assert is_kept or not record.status.has_ended, f"{change} changed the ended {record}"
        self.records[record.id] = changed
        return changed

    def start(self, job: JobRecord) -> None:
        """Note that a claim starts, and check that it has not started before (I3)."""
        claim = (job.id, job.claims)
        assert claim not in self._started, f"claim {job.claims} of job {job.id} starts a second time"
        self._started.add(claim)

    def end(self, record: JobRecord, outcome: Outcome | Lost) -> None:
        """Apply the outcome of the record's claim, and check that the claim has no other outcome (I4)."""
        claim = (record.id, record.claims)
        assert claim not in self._ended, f"claim {record.claims} of job {record.id} ends a second time"
        self._ended.add(claim)
        self.change(record, outcome)

    def pick(self, pick: int, status: JobStatus | None = None) -> JobRecord:
        """Return a job chosen by the number `pick`: one in the status if there is any, otherwise any job."""
        records = list(self.records.values())
        preferred = [record for record in records if record.status is status] or records
        return preferred[pick % len(preferred)]

    def renew(self, node_id: NodeId, lease: timedelta) -> None:
        """Begin or renew a lease. Remove leases that have run out, so that a clock set back does not revive them."""
        now = self._clock.now()
        self.leases[node_id] = now + lease
        for other in [other for other, end in self.leases.items() if end <= now]:
            del self.leases[other]

    def lives(self, node_id: NodeId | None) -> bool:
        """Return whether the node has a lease that has not run out."""
        now = self._clock.now()
        return node_id is not None and self.leases.get(node_id, now) > now

    def leases_in_force(self) -> dict[NodeId, datetime]:
        """Return when each lease that has not run out ends."""
        return {node_id: end for node_id, end in self.leases.items() if self.lives(node_id)}

    def load(self) -> dict[str, tuple[int, int, int, datetime | None]]:
        """Return how many jobs of each executor wait, are due and execute, and the earliest time of one that is due."""
        open_jobs = [record for record in self.records.values() if not record.status.has_ended]
        loads: dict[str, tuple[int, int, int, datetime | None]] = {}
        for executor in {record.executor for record in open_jobs}:
            waiting = self.waiting(executor)
            due = [record.scheduled_at for record in waiting if record.scheduled_at <= self._clock.now()]
            executing = sum(record.executor == executor for record in self.executing())
            loads[executor] = (len(waiting), len(due), executing, min(due, default=None))
        return loads

    def waiting(self, executor: str | None = None) -> list[JobRecord]:
        """Return the waiting jobs, of one executor or of all."""
        return [
            record
            for record in self.records.values()
            if record.status.is_waiting and executor in (None, record.executor)
        ]

    def executing(self) -> list[JobRecord]:
        """Return the executing jobs."""
        return [record for record in self.records.values() if record.status is JobStatus.EXECUTING]

    def check_coherence(self) -> None:
        """Check that the fields of every record fit its status (I6)."""
        for record in self.records.values():
            status = record.status
            assert (record.node is not None) == (status is JobStatus.EXECUTING)
            assert record.cancel_reason is None or status is JobStatus.EXECUTING
            assert (record.completed_at is not None) == (status is JobStatus.COMPLETE)
            assert (record.cancelled_at is not None) == (status is JobStatus.CANCELLED)
            assert (record.discarded_at is not None) == (status is JobStatus.DISCARDED)
            assert record.result is None or status is JobStatus.COMPLETE
            assert 0 <= record.attempt <= record.claims
            assert record.attempt <= record.max_attempts or record.id in self._curtailed
            assert len(record.errors) <= self._limits.errors

    def note_time(self) -> None:
        """Remember the latest time that the clock has shown, as it may be set back later."""
        self._latest = max(self._latest, self._clock.now())

    def check_next_due(self, next_due: datetime | None) -> None:
        """Check a claim's `next_due`: no later than any job that has never been due.

        A job that was due before the clock was set back may be left out, as a poll finds it.
        """
        later = [record.scheduled_at for record in self.waiting() if record.scheduled_at > self._clock.now()]
        never_due = [moment for moment in later if moment > self._latest]
        assert next_due is None or next_due in later
        assert not never_due or (next_due is not None and next_due <= min(never_due))
