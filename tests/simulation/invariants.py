"""What must hold at every moment, whatever goes wrong: the invariants I1 to I8, expiry (I11), the lease and cron.

The checker sees each change of the store as it is made, and each start and end of a job's code.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecutor.backend.messages import Node
from rexecutor.jobs.stored import version_of
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Job, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import (
    CancelAsked,
    Cancelled,
    Change,
    Claimed,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Lost,
    Rerun,
    Snooze,
)
from rexecutor.model.schedules import Schedule
from rexecutor.model.status import JobStatus

WATCH: Final = 1.0
"""Seconds between two looks of a node at its own lease, at most."""

SLACK: Final = 0.2
"""Seconds that a loop and its timers may take."""

_OUTCOMES: Final = (Complete, Cancelled, Snooze, Failed, Discarded, Interrupted, Lost)


@dataclass(eq=False)
class Run:
    """One run of a job's code."""

    job_id: JobId
    claims: int
    node: NodeId
    began: float
    obeys: bool = True
    """Whether the code ends when it is cancelled."""
    is_told: bool = False
    """Whether it was cancelled."""
    ended: str | None = None
    """What the code did in the end."""


@dataclass
class Lease:
    """What is known of one node."""

    until: datetime | None = None
    length: timedelta = timedelta(0)
    renewed: float = 0.0
    """When the last request was made that renewed it, and whose answer came."""
    running: set[Run] = field(default_factory=set[Run])


class Checker:
    """Watches the store and the jobs' code. `broken` tells the first invariant that did not hold."""

    def __init__(self, seconds: Callable[[], float], tell: Callable[[str], None], stop: Callable[[], None]) -> None:
        """Begin with an empty store.

        Args:
            seconds: The time of the loop.
            tell: Takes each line of the trace.
            stop: Ends the simulation.
        """
        self.broken: str | None = None
        self.acknowledged: set[JobId] = set()
        self.jobs: dict[JobId, JobRecord] = {}
        self.leases: dict[NodeId, Lease] = defaultdict(Lease)
        self.runs: Counter[JobId] = Counter()
        """How many runs of each job have begun."""
        self.starts = 0
        self.overlaps = 0
        self._seconds = seconds
        self._tell = tell
        self._stop = stop
        self._claimed: dict[tuple[JobId, int], tuple[int, NodeId]] = {}
        self._started: dict[ClaimId, Run] = {}
        self._outcomes: dict[ClaimId, str] = {}
        self._running: dict[JobId, list[Run]] = defaultdict(list)
        self._lost: set[ClaimId] = set()

    def expect(self, holds: bool, invariant: str, text: str) -> None:
        """Note, once, that an invariant does not hold."""
        if not holds and self.broken is None:
            self.broken = f"{invariant}: {text}"
            self._tell(f"BROKEN {self.broken}")
            self._stop()

    # The store

    def inserted(self, job: NewJob, record: JobRecord, now: datetime) -> None:
        """Check what was added."""
        self._tell(f"insert {record.id} {record.executor} due {record.scheduled_at - now} {record.data}")
        self._check_row(record)
        if job.unique is not None:
            others = [one for one in self.jobs.values() if self._is_twin(job, record, one)]
            self.expect(not others, "I7", f"job {record.id} is a second one beside {[one.id for one in others]}")
        self.jobs[record.id] = record

    def found_existing(self, job: NewJob, now: datetime) -> None:
        """Check that there was reason not to add the job."""
        assert job.unique is not None
        due = now + job.delay if job.scheduled_at is None else job.scheduled_at
        is_there = any(self._is_like(job, due, one) for one in self.jobs.values())
        self.expect(is_there, "I7", f"a {job.executor} was not added, but there is none like it")

    def _is_twin(self, job: NewJob, record: JobRecord, other: JobRecord) -> bool:
        return other.id != record.id and self._is_like(job, record.scheduled_at, other)

    def _is_like(self, job: NewJob, due: datetime, other: JobRecord) -> bool:
        unique = job.unique
        assert unique is not None
        if other.executor != job.executor or (unique.key is not None and other.unique_key != unique.key):
            return False
        if unique.window is not None:
            is_near = abs(other.scheduled_at - due) <= unique.window
            return is_near and other.status not in {JobStatus.CANCELLED, JobStatus.DISCARDED}
        return not other.status.has_ended

    def changed(self, before: JobRecord, after: JobRecord, change: Change | None, now: datetime) -> None:
        """Check a change of a row."""
        if before is after:
            return
        name = "update" if change is None else type(change).__name__
        self._tell(f"{name} {after.id}#{after.claims} {before.status}→{after.status} attempt {after.attempt}")
        self._check_row(after)
        self.expect(self.jobs.get(before.id) is before, "I6", f"job {before.id}: not the row that was there")
        self.jobs[after.id] = after
        if before.status.has_ended:
            self.expect(isinstance(change, Rerun), "I4", f"job {before.id} had ended, and was changed by {name}")
        if isinstance(change, Claimed):
            self._check_claim(before, after, change.node, now)
        elif isinstance(change, _OUTCOMES) or (isinstance(change, Expired) and before.status is JobStatus.EXECUTING):
            self._check_outcome(before, change, now)
        elif isinstance(change, Expired):
            self.expect(rules.is_expired(before, now), "I11", f"job {before.id} expired early, or after its start")
        elif not isinstance(change, CancelAsked | Rerun):
            self.expect(before.status is after.status, "I6", f"job {before.id}: an update changed its status")

    def _check_claim(self, before: JobRecord, after: JobRecord, node: NodeId, now: datetime) -> None:
        self.expect(before.scheduled_at <= now, "I8", f"job {before.id} was claimed {before.scheduled_at - now} early")
        self.expect(after.claims == before.claims + 1, "I3", f"job {before.id}: claim {after.claims}")
        self.expect(after.version > before.version, "I3", f"job {before.id}: its version does not grow")
        until = self.leases[node].until
        self.expect(until is not None and until > now, "I5", f"job {before.id} was claimed without a live lease")
        self._claimed[after.id, after.version] = after.claims, node

    def _check_outcome(self, before: JobRecord, change: Change, now: datetime) -> None:
        name, claim_id = type(change).__name__, before.claim_id
        where = f"job {before.id}, claim {before.claims}"
        self.expect(claim_id not in self._outcomes, "I4", f"{where}: {name} after {self._outcomes.get(claim_id)}")
        self._outcomes[claim_id] = name
        run = self._started.get(claim_id)
        ended = None if run is None else run.ended
        match change:
            case Complete():
                self.expect(ended == "ok", "I4", f"{where}: Complete, but its code: {ended}")
            case Expired():
                self.expect(run is None, "I11", f"{where}: Expired, but its code ran: {ended}")
                is_over = before.expires_at is not None and before.expires_at <= now
                self.expect(is_over, "I11", f"{where}: Expired, but its moment had not come")
            case Snooze():
                self.expect(ended == "snooze", "I4", f"{where}: Snooze, but its code: {ended}")
            case Failed():
                self.expect(run is not None, "I4", f"{where}: Failed, but its code never ran")
            case Lost():
                self._lost.add(claim_id)
                until = self.leases[before.node or ""].until
                self.expect(until is None or until <= now, "I5", f"{where}: Lost, but the lease of its node holds")
            case Interrupted():
                is_stopped = run is None or run.is_told or not run.obeys
                self.expect(is_stopped, "I4", f"{where}: given back, though nobody stopped its code: {ended}")
            case _:
                pass

    def _check_row(self, record: JobRecord) -> None:
        status = record.status
        is_running = status is JobStatus.EXECUTING
        ends = (record.completed_at, record.cancelled_at, record.discarded_at)
        of_status = (JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED)
        holds = (
            (record.node is not None) == is_running
            and (record.cancel_reason is None or is_running)
            and all((end is not None) == (status is one) for end, one in zip(ends, of_status, strict=True))
            and 0 <= record.attempt <= record.max_attempts
            and record.claims >= record.attempt
            and (record.attempted_at is None) == (record.claims == 0)
        )
        self.expect(holds, "I6", f"job {record.id} is not coherent: {record}")

    def deleted(self, record: JobRecord) -> None:
        """Check what was pruned."""
        self._tell(f"prune {record.id}")
        self.expect(record.status.has_ended, "I1", f"job {record.id} was pruned while {record.status}")
        self.jobs.pop(record.id, None)

    def renewed(self, node: Node, now: datetime) -> None:
        """Take note of a lease."""
        lease = self.leases[node.id]
        lease.until, lease.length = now + node.lease, node.lease

    def deregistered(self, node: NodeId) -> None:
        """Take note that there is none any more."""
        self._tell(f"retire {node}")
        self.leases[node].until = None

    def ticked(self, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime) -> None:
        """Taken up by `CronChecker`."""

    # The jobs' code

    def begin(self, node: NodeId, job: Job[str], *, obeys: bool) -> Run:
        """Check that this code may start now."""
        self.starts += 1
        self.runs[job.id] += 1
        claims, of_node = self._claimed.get((job.id, version_of(job)), (0, None))
        run = Run(job.id, claims, node, self._seconds(), obeys)
        self._tell(f"start {job.id}#{claims} on {node}")
        self.expect(of_node == node, "I2", f"job {job.id} starts on {node}, but was claimed by {of_node}")
        self.expect((job.id, claims) not in self._started, "I3", f"job {job.id}, claim {claims} starts a second time")
        self._started[job.id, claims] = run
        for other in self._running[job.id]:
            self.overlaps += 1
            first = min(run, other, key=lambda one: one.claims)
            is_known = not first.obeys or (first.job_id, first.claims) in self._lost
            text = f"job {job.id}: claims {claims} on {node} and {other.claims} on {other.node} overlap"
            self.expect(is_known, "I5", f"{text}, and {first.claims} was not lost")
        self._running[job.id].append(run)
        self.leases[node].running.add(run)
        return run

    def end(self, run: Run, how: str) -> None:
        """Take note that the code has ended."""
        run.ended = how
        self._tell(f"end {run.job_id}#{run.claims}: {how}")
        if run in self._running[run.job_id]:
            self._running[run.job_id].remove(run)
        self.leases[run.node].running.discard(run)

    def crashed(self, node: NodeId) -> None:
        """Take note that no code of this node runs any more."""
        for run in self.leases[node].running:
            run.ended = "crash"
            self._running[run.job_id].remove(run)
        self.leases[node].running.clear()
