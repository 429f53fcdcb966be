"""The model's own store: a dict of records that `rules` alone change, and what must hold of it."""

from datetime import datetime, timedelta
from typing import Final

from rexecutor import rules
from rexecutor.job import JobId, JobRecord, Limits, NodeId
from rexecutor.outcome import Change, Lost, Outcome, Rerun
from rexecutor.status import JobStatus
from rexecutor.testing.clock import FakeClock


class Mirror:
    """What a backend must hold after what was done to it."""

    def __init__(self, clock: FakeClock, limits: Limits) -> None:
        """Begin with no jobs and no nodes."""
        self.records: Final[dict[JobId, JobRecord]] = {}
        self.leases: Final[dict[NodeId, datetime]] = {}
        self._clock = clock
        self._limits = limits
        self._started: set[tuple[JobId, int]] = set()
        self._ended: set[tuple[JobId, int]] = set()
        self._latest = clock.now()

    def change(self, record: JobRecord, change: Change) -> JobRecord:
        """Keep and answer the record after the change; an ended one changes only by a rerun (I4)."""
        changed = rules.transition(record, change, self._clock.now(), self._limits)
        is_kept = changed == record or isinstance(change, Rerun)
        assert is_kept or not record.status.has_ended, f"{change} changed the ended {record}"
        self.records[record.id] = changed
        return changed

    def start(self, job: JobRecord) -> None:
        """Note that a claim starts: each does so once (I3)."""
        claim = (job.id, job.claims)
        assert claim not in self._started, f"claim {job.claims} of job {job.id} starts a second time"
        self._started.add(claim)

    def end(self, record: JobRecord, outcome: Outcome | Lost) -> None:
        """Change the record by the outcome of its claim: each has one (I4)."""
        claim = (record.id, record.claims)
        assert claim not in self._ended, f"claim {record.claims} of job {record.id} ends a second time"
        self._ended.add(claim)
        self.change(record, outcome)

    def pick(self, pick: int, status: JobStatus | None = None) -> JobRecord:
        """Choose a job, one in the status where there is one."""
        records = list(self.records.values())
        preferred = [record for record in records if record.status is status] or records
        return preferred[pick % len(preferred)]

    def renew(self, node_id: NodeId, lease: timedelta) -> None:
        """Begin or renew a lease; those that ran out are gone, even if the clock is set back later."""
        now = self._clock.now()
        self.leases[node_id] = now + lease
        for other in [other for other, end in self.leases.items() if end <= now]:
            del self.leases[other]

    def lives(self, node_id: NodeId | None) -> bool:
        """Whether the node has a lease that has not run out."""
        now = self._clock.now()
        return node_id is not None and self.leases.get(node_id, now) > now

    def waiting(self, executor: str | None = None) -> list[JobRecord]:
        """Answer the waiting jobs, of one executor or of all."""
        return [
            record
            for record in self.records.values()
            if record.status.is_waiting and executor in (None, record.executor)
        ]

    def executing(self) -> list[JobRecord]:
        """Answer the jobs that nodes run."""
        return [record for record in self.records.values() if record.status is JobStatus.EXECUTING]

    def check_coherence(self) -> None:
        """Check what holds of a record in each status (I6)."""
        for record in self.records.values():
            status = record.status
            assert (record.node is not None) == (status is JobStatus.EXECUTING)
            assert record.cancel_reason is None or status is JobStatus.EXECUTING
            assert (record.completed_at is not None) == (status is JobStatus.COMPLETE)
            assert (record.cancelled_at is not None) == (status is JobStatus.CANCELLED)
            assert (record.discarded_at is not None) == (status is JobStatus.DISCARDED)
            assert 0 <= record.attempt <= min(record.claims, record.max_attempts)
            assert len(record.errors) <= self._limits.errors

    def note_time(self) -> None:
        """Remember the latest moment that there was, before a clock is set back."""
        self._latest = max(self._latest, self._clock.now())

    def check_next_due(self, next_due: datetime | None) -> None:
        """Check that nobody oversleeps; what had been due before the clock was set back, a poll finds."""
        later = [record.scheduled_at for record in self.waiting() if record.scheduled_at > self._clock.now()]
        never_due = [moment for moment in later if moment > self._latest]
        assert next_due is None or next_due in later
        assert not never_due or (next_due is not None and next_due <= min(never_due))
