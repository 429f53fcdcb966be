"""`InMemoryBackend`: the rules and a dict. For tests, and for jobs that may be lost with the process."""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import Self

from rexecutor.backend.base import Backend
from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.memory_index import Index
from rexecutor.backend.messages import (
    EVERY_EXECUTOR,
    PAGE,
    CancelRequest,
    Claim,
    Count,
    Demand,
    Heartbeat,
    Holder,
    Load,
    NewPause,
    Node,
    NodeState,
    Pause,
    StoredNode,
    Ticked,
)
from rexecutor.backend.operator_port import changeable_ids
from rexecutor.backend.overview import Waiting, in_order, larger_share, loads_of, share
from rexecutor.clock import Clock
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import (
    CancelAsked,
    Change,
    Claimed,
    Expired,
    FieldUpdate,
    Interrupted,
    Lost,
    Rerun,
    Settlement,
    kinds_of,
    makes_work,
)
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.rules.matching import shifted
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn, Where


class InMemoryBackend(Backend):
    """Jobs in this process's memory. Needs no opening; nothing survives the process."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        """Make an empty store; see `Backend` for the arguments."""
        super().__init__(clock=clock, limits=limits)
        self._lock = threading.Lock()  # heartbeats come from another thread
        self._records: dict[JobId, JobRecord] = {}
        self._index = Index()
        self._leases: dict[NodeId, datetime] = {}
        self._epochs: dict[NodeId, int] = {}
        self._nodes: dict[NodeId, tuple[str, datetime, datetime, NodeState | None]] = {}
        self._schedules: dict[str, StoredSchedule] = {}
        self._duties: dict[str, NodeId] = {}
        self._stats: list[StatRow] = []
        self._pauses: dict[str, Pause] = {}
        self._last_id: JobId = 0
        self._paused = False

    def paused(self) -> Self:
        """Stop handing out jobs, so that tests can look at what was enqueued. Return the backend itself."""
        self._paused = True
        return self

    @property
    def is_open(self) -> bool:
        """Always True."""
        return True

    async def open(self) -> None:
        """Do nothing: this backend needs no opening."""

    async def close(self) -> None:
        """Do nothing: the jobs stay as long as this object."""

    async def migrate(self) -> None:
        """Do nothing: this backend has no tables."""

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs; atomic."""
        return self.enqueue_sync(jobs)

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs; atomic."""
        with self._changing() as now:
            return [self._enqueue_one(job, now) for job in jobs]

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs; atomic."""
        with self._lock:
            now = self.clock.now()
            if self._paused or not self._lives(node_id) or demand.epoch < self._epochs.get(node_id, 0):
                return Claim((), None)
            paused = {pause.executor for pause in self._pauses.values() if pause.holds_at(now)}
            heads = [
                record
                for executor, slots in demand.slots.items()
                if paused.isdisjoint((executor, EVERY_EXECUTOR))
                for record in self._index.claimable(executor, now, slots)
            ]
            heads = sorted(heads, key=rules.claim_order)[: demand.limit]
            jobs = [self._change(record, Claimed(node_id), now) for record in heads]
            return Claim(jobs, self._index.next_due(now) if len(jobs) < demand.limit else None)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record outcomes; atomic."""
        refused: list[JobId] = []
        with self._changing(is_end=not makes_work(kinds_of(settlements))) as now:
            for settlement in settlements:
                record = self._records.get(settlement.job_id)
                if record is None or not rules.holds_claim(record, settlement.claims):
                    refused.append(settlement.job_id)
                else:
                    self._change(record, settlement.outcome, now)
        return refused

    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Undo claims whose result was lost; atomic."""
        with self._changing() as now:
            known = self._epochs.get(node_id, 0)
            if epoch and known >= epoch:
                return 0
            self._epochs[node_id] = max(epoch, known)
            orphans = [record for record in self._executing() if record.node == node_id and record.claim_id not in held]
            for record in orphans:
                self._change(record, Interrupted(), now)
        return len(orphans)

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs in order of id, or (`newest`) in the reverse order."""
        return self.query_sync(where, limit=limit, after=after, newest=newest)

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs in order of id, or (`newest`) in the reverse order."""
        with self._lock:
            found = sorted(self._found(where), key=attrgetter("id"), reverse=newest)
        if after is not None:
            found = [record for record in found if (record.id < after if newest else record.id > after)]
        return found[:limit]

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs by executor and status."""
        return self.count_sync(where)

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs by executor and status."""
        with self._lock:
            records = self._records.values() if where is None else self._found(where)
            counts = Counter((record.executor, record.status) for record in records)
        return [Count(executor, status, counts[executor, status]) for executor, status in sorted(counts)]

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job; atomic."""
        return self.apply_sync(job_id, change, executor=executor)

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job; atomic."""
        with self._changing() as now:
            record = rules.found(self._records.get(job_id), job_id, executor)
            return self._change(record, change, now).status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields; atomic."""
        return self.update_sync(job_id, new, version=version)

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields; atomic."""
        with self._changing() as now:
            record = rules.found(self._records.get(job_id), job_id, new.executor)
            return self._replace(record, rules.updated(record, new, version, now))

    async def apply_many(
        self, ids: Collection[JobId], change: CancelAsked | Rerun | FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Change many jobs; atomic."""
        wanted = IdIn(changeable_ids(ids))
        statuses: dict[JobId, JobStatus] = {}
        with self._changing() as now:
            for record in sorted(self._found(wanted if where is None else wanted & where), key=attrgetter("id")):
                changed = rules.changed(record, change, now, self.limits)
                if changed is not None:
                    statuses[record.id] = self._replace(record, changed).status
        return statuses

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take due ticks and enqueue their jobs; atomic."""
        with self._changing() as now:
            look = rules.advance_all(schedules, self._schedules, now, up_since)
            self._schedules |= {kept.id: kept for kept in look.changed}
            for job in look.jobs:
                self._enqueue_one(job, now)
        return Ticked(now, look.taken, look.next_tick)

    async def schedules(self) -> Sequence[StoredSchedule]:
        """Return the known schedules, in order of id."""
        with self._lock:
            return [self._schedules[key] for key in sorted(self._schedules)]

    async def put_pause(self, pause: NewPause) -> Pause:
        """Store a pause; atomic."""
        return self.put_pause_sync(pause)

    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store a pause; atomic."""
        with self._lock:
            now = self.clock.now()
            before = self._pauses.get(pause.executor)
            since = before.since if before is not None and before.holds_at(now) else now
            until = None if pause.lasting is None else shifted(now, pause.lasting)
            stored = Pause(pause.executor, since, until, pause.reason)
            self._pauses = {name: one for name, one in self._pauses.items() if one.holds_at(now)}
            self._pauses[pause.executor] = stored
        return stored

    async def end_pause(self, executor: str) -> bool:
        """Delete a pause; atomic."""
        return self.end_pause_sync(executor)

    def end_pause_sync(self, executor: str) -> bool:
        """Delete a pause; atomic."""
        with self._changing() as now:
            pause = self._pauses.pop(executor, None)
        return pause is not None and pause.holds_at(now)

    async def pauses(self) -> Sequence[Pause]:
        """Return the pauses that are in force, by name."""
        with self._lock:
            now = self.clock.now()
            return sorted((one for one in self._pauses.values() if one.holds_at(now)), key=attrgetter("executor"))

    async def nodes(self) -> Sequence[StoredNode]:
        """Return the nodes that the store knows."""
        with self._lock:
            now = self.clock.now()
            return in_order(
                StoredNode(node_id, name, began, renewed, self._leases[node_id], state, now)
                for node_id, (name, began, renewed, state) in self._nodes.items()
                if node_id in self._leases
            )

    async def load(self, executor: str | None = None) -> Sequence[Load]:
        """Return what waits and executes of each executor, or of one."""
        with self._lock:
            now = self.clock.now()
            executing: dict[str, dict[NodeId, list[JobRecord]]] = defaultdict(lambda: defaultdict(list))
            for record in self._executing():
                executing[record.executor][record.node or ""].append(record)
            names = {*self._index.executors(), *executing} if executor is None else {executor}
            waiting = {name: _waiting(self._index.waiting(name), now) for name in names}
            holders = {name: [_holder(node, some) for node, some in executing[name].items()] for name in names}
        first = share(len(names))
        larger = larger_share([one.jobs for one in waiting.values()], first)
        return loads_of(waiting, holders, first, larger)

    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete ended jobs; atomic."""
        with self._changing() as now:
            doomed = rules.prunable(spec, self._records.values(), now)[:limit]
            for record in doomed:
                del self._records[record.id]
                self._index.remove(record)
        return len(doomed)

    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        """Add the rows to the history; atomic."""
        with self._lock:
            self._stats = rules.merged([*self._stats, *rows])

    async def stats(self, since: datetime) -> Sequence[StatRow]:
        """Return the rows of the history since the moment."""
        with self._lock:
            return [row for row in self._stats if row.moment >= since]

    async def fold_stats(self, limit: int) -> int:
        """Fold old minutes and forget old hours; atomic."""
        with self._lock:
            now = self.clock.now()
            minutes = rules.foldable(self._stats, now, limit)
            hours = rules.outdated(self._stats, now, limit)
            gone = {rules.stat_key(row) for row in (*minutes, *hours)}
            kept = [row for row in self._stats if rules.stat_key(row) not in gone]
            self._stats = rules.merged([*kept, *rules.folded(minutes)])
        return len(minutes) + len(hours)

    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Make the node the holder of the lock; atomic."""
        with self._lock:
            holder = self._duties.get(name, node_id)
            if holder != node_id and self._lives(holder):
                return False
            self._duties[name] = node_id
            return True

    async def release_lock(self, name: str, node_id: NodeId) -> None:
        """Let other nodes take the lock."""
        with self._lock:
            if self._duties.get(name) == node_id:
                del self._duties[name]

    async def diagnose(self) -> Sequence[Finding]:
        """Return that the jobs are in this process's memory."""
        message = "the jobs are in this process's memory, and are lost with it"
        return (Finding("durability", Severity.NOTE, message, "use SQLite or PostgreSQL where jobs must not be lost"),)

    def heartbeat_connection(self) -> HeartbeatConnection:
        """Return a heartbeat connection that shares this store."""
        return _MemoryHeartbeats(self)

    def heartbeat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew a lease, rescue and expire jobs; see `HeartbeatConnection.send`. Callable from any thread."""
        with self._changing() as now:
            began = node.id not in self._leases
            self._leases[node.id] = now + node.lease
            started = now if began else self._nodes[node.id][1]
            self._nodes[node.id] = (node.name, started, now, node.state)
            self._epochs[node.id] = max(node.epoch, self._epochs.get(node.id, 0))
            if rescues:
                self._leases = {node_id: end for node_id, end in self._leases.items() if end > now}
                self._nodes = {node_id: told for node_id, told in self._nodes.items() if node_id in self._leases}
                self._epochs = {node_id: epoch for node_id, epoch in self._epochs.items() if node_id in self._leases}
            lost = [record for record in self._executing() if record.node not in self._leases] if rescues else []
            for record in lost:
                self._change(record, Lost(), now)
            expired: Sequence[JobRecord] = self._index.expired(now) if rescues else ()
            for record in expired:
                self._change(record, Expired(), now)
            cancels = [
                CancelRequest(record.id, record.claims, record.cancel_reason)
                for record in self._executing()
                if record.node == node.id and record.cancel_reason is not None
            ]
        return Heartbeat(cancels, len(lost), began, len(expired))

    def deregister(self, node_id: NodeId) -> None:
        """End the node's lease; see `HeartbeatConnection.deregister`. Callable from any thread."""
        with self._lock:
            self._leases.pop(node_id, None)

    @contextmanager
    def _changing(self, *, is_end: bool = False) -> Generator[datetime]:
        with self._lock:
            yield self.clock.now()
        self._wakeups.notify(is_end=is_end)

    def _lives(self, node_id: NodeId) -> bool:
        now = self.clock.now()
        return self._leases.get(node_id, now) > now

    def _enqueue_one(self, job: NewJob, now: datetime) -> Enqueued:
        if job.unique is not None:
            found = rules.pick_existing(job.unique, self._found(rules.conflicting(job, job.unique, now)))
            if found is not None:
                record = rules.replaced(found, job, job.unique, now)
                self._replace(found, record)
                return Enqueued(found.id, "existing" if record is found else "replaced")
        self._last_id += 1
        record = rules.inserted(job, self._last_id, now)
        self._records[record.id] = record
        self._index.put(record)
        return Enqueued(self._last_id, "inserted")

    def _found(self, where: Where) -> list[JobRecord]:
        now = self.clock.now()
        return [record for record in self._index.candidates(where, self._records) if rules.matches(where, record, now)]

    def _change(self, record: JobRecord, change: Change, now: datetime) -> JobRecord:
        return self._replace(record, rules.transition(record, change, now, self.limits))

    def _replace(self, record: JobRecord, changed: JobRecord) -> JobRecord:
        self._records[record.id] = changed
        self._index.replace(record, changed)
        return changed

    def _executing(self) -> list[JobRecord]:
        return [record for record in self._records.values() if record.status is JobStatus.EXECUTING]


def _waiting(records: Iterable[JobRecord], now: datetime) -> Waiting:
    """Return how many jobs these waiting ones are, and how many are due."""
    moments = [record.scheduled_at for record in records]
    due = [moment for moment in moments if moment <= now]
    return Waiting(len(moments), len(due), min(due, default=None))


def _holder(node: NodeId, records: Sequence[JobRecord]) -> Holder:
    """Return what a node holds of an executor's slots."""
    moments = sorted((record.attempted_at, record.id) for record in records if record.attempted_at is not None)
    return Holder(node, len(records), *moments[0])


class _MemoryHeartbeats(HeartbeatConnection):
    """Heartbeats on the backend that made it."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        return self._backend.heartbeat(node, rescues=rescues)

    def deregister(self, node_id: NodeId) -> None:
        self._backend.deregister(node_id)

    def close(self) -> None:
        pass
