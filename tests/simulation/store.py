"""The one store of a simulation: the real in-memory backend, whose every change is shown to a witness."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from rexecutor import InMemoryBackend
from rexecutor.backend.messages import Heartbeat, Node, Ticked
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock
from rexecutor.errors import RexecutorError
from rexecutor.model.job import Enqueued, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import CancelAsked, Change, Rerun
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule
from rexecutor.model.status import JobStatus


class Witness(Protocol):
    """Sees each change of the store in the moment in which it is made."""

    def inserted(self, job: NewJob, record: JobRecord, now: datetime) -> None:
        """A job was added."""

    def found_existing(self, job: NewJob, now: datetime) -> None:
        """A job was not added, for there was one already."""

    def changed(self, before: JobRecord, after: JobRecord, change: Change | None, now: datetime) -> None:
        """A job was changed; by a transition, an update or a replacement."""

    def deleted(self, record: JobRecord) -> None:
        """A job was pruned."""

    def renewed(self, node: Node, now: datetime) -> None:
        """A lease was begun or renewed."""

    def deregistered(self, node: NodeId) -> None:
        """A lease was given up."""

    def ticked(self, schedules: Sequence[Schedule], up_since: datetime | None, now: datetime) -> None:
        """Somebody looked at schedules."""


class Store(InMemoryBackend):
    """The database: its clock is the one that counts."""

    def __init__(self, clock: Clock, witness: Witness) -> None:
        super().__init__(clock=clock)
        self.bells: list[Callable[[bool], None]] = []
        """Who wants to hear of changes; True for the cancel of a running job."""
        self._witness = witness
        self._wakeups = _Bells(clock, self.bells)

    def heartbeat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew the lease, and show that."""
        self._witness.renewed(node, self.clock.now())  # before the rescue, which spares this node
        return super().heartbeat(node, rescues=rescues)

    def deregister(self, node_id: NodeId) -> None:
        """End the lease, and show that."""
        super().deregister(node_id)
        self._witness.deregistered(node_id)

    def later(self, seconds: float, effect: Callable[[], object]) -> None:
        """Do what nobody waits for any more: a statement that was on its way, or stood still in the database."""
        self.clock.call_later(seconds, lambda: self._do(effect))

    def _do(self, effect: Callable[[], object]) -> None:
        with suppress(RexecutorError, StopIteration):
            work: Any = effect()
            if inspect.iscoroutine(work):
                work.send(None)  # nothing in here waits

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change the job, and tell of the cancel of a running one."""
        status = await super().apply(job_id, change, executor=executor)
        if isinstance(change, CancelAsked) and status is JobStatus.EXECUTING:
            for bell in self.bells:
                bell(True)
        return status

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take due ticks, and show that somebody has looked."""
        ticked = await super().tick(schedules, up_since=up_since)
        self._witness.ticked(schedules, up_since, ticked.now)
        return ticked

    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete, and show what."""
        before = dict(self._records)
        deleted = await super().prune(spec, limit)
        if deleted:
            for job_id in before.keys() - self._records.keys():
                self._witness.deleted(before[job_id])
        return deleted

    def _enqueue_one(self, job: NewJob, now: datetime) -> Enqueued:
        enqueued = super()._enqueue_one(job, now)
        if enqueued.disposition == "inserted":
            self._witness.inserted(job, self._records[enqueued.id], now)
        else:
            self._witness.found_existing(job, now)
        return enqueued

    def _change(self, record: JobRecord, change: Change, now: datetime) -> JobRecord:
        self._changing_by = change
        try:
            return super()._change(record, change, now)
        finally:
            self._changing_by = None

    def _replace(self, record: JobRecord, changed: JobRecord) -> JobRecord:
        super()._replace(record, changed)
        self._witness.changed(record, changed, self._changing_by, self.clock.now())
        return changed

    _changing_by: Change | None = None


class _Bells(Wakeups):
    """Rings for all nodes, which are processes of their own."""

    def __init__(self, clock: Clock, bells: Sequence[Callable[[bool], None]]) -> None:
        super().__init__(clock)
        self._bells = bells

    def notify(self, *, is_end: bool = False) -> None:
        super().notify(is_end=is_end)
        for bell in self._bells:
            bell(False)
