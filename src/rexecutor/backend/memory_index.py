"""The indexes of `InMemoryBackend`."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice

from rexecutor.backend.messages import EXPIRED_PER_HEARTBEAT
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.where import And, ExecutorIn, IdIn, KeyIs, Where


class Index:
    """Jobs by executor and by unique key; waiting jobs also by executor in claim order, and by when they expire."""

    def __init__(self) -> None:
        self._of_executor: dict[str, dict[JobId, JobRecord]] = defaultdict(dict)
        self._keyed: dict[str, dict[JobId, JobRecord]] = defaultdict(dict)
        self._queues: dict[str, list[JobRecord]] = defaultdict(list)
        self._expiring: list[tuple[datetime, JobId, JobRecord]] = []

    def put(self, record: JobRecord) -> None:
        """Add a job."""
        self._of_executor[record.executor][record.id] = record
        if record.unique_key is not None:
            self._keyed[record.unique_key][record.id] = record
        if record.status.is_waiting:
            insort(self._queues[record.executor], record, key=rules.claim_order)
            if record.expires_at is not None and not rules.has_started(record):
                insort(self._expiring, (record.expires_at, record.id, record))

    def replace(self, record: JobRecord, changed: JobRecord) -> None:
        """Replace a job by its changed record, which has the same executor and key."""
        self._dequeue(record)
        self.put(changed)

    def remove(self, record: JobRecord) -> None:
        """Remove a job. `record` must be the record that was put in."""
        del self._of_executor[record.executor][record.id]
        if record.unique_key is not None:
            del self._keyed[record.unique_key][record.id]
        self._dequeue(record)

    def _dequeue(self, record: JobRecord) -> None:
        if record.status.is_waiting:
            queue = self._queues[record.executor]
            del queue[bisect_left(queue, rules.claim_order(record), key=rules.claim_order)]
            if record.expires_at is not None and not rules.has_started(record):
                del self._expiring[bisect_left(self._expiring, (record.expires_at, record.id, record))]

    def executors(self) -> Collection[str]:
        """Return the executors that have waiting jobs."""
        return [executor for executor, queue in self._queues.items() if queue]

    def waiting(self, executor: str) -> Sequence[JobRecord]:
        """Return the executor's waiting jobs, in claim order."""
        return self._queues.get(executor, ())

    def claimable(self, executor: str, now: datetime, slots: int) -> Sequence[JobRecord]:
        """Return the executor's jobs to claim next, at most `slots`."""
        return rules.claimable(self._queues.get(executor, ()), now, slots)

    def expired(self, now: datetime) -> Sequence[JobRecord]:
        """Return the jobs that expired first, at most `EXPIRED_PER_HEARTBEAT`."""
        some = islice(self._expiring, EXPIRED_PER_HEARTBEAT)
        return [record for _, _, record in some if rules.is_expired(record, now)]

    def next_due(self, now: datetime) -> datetime | None:
        """Return when the next future job is due; None if there is none."""
        later = (record.scheduled_at for queue in self._queues.values() for record in queue)
        return min((moment for moment in later if moment > now), default=None)

    def candidates(self, where: Where, records: Mapping[JobId, JobRecord]) -> Collection[JobRecord]:
        """Return a superset of the jobs that match the expression: the smallest that one index gives."""
        parts = where.parts if isinstance(where, And) else (where,)
        found: Collection[JobRecord] = records.values()
        for part in parts:
            match part:
                case IdIn(ids):
                    some = [records[job_id] for job_id in ids if job_id in records]
                case KeyIs(digest):
                    some = self._keyed.get(digest, {}).values()
                case ExecutorIn(names) if len(names) == 1:
                    some = self._of_executor.get(next(iter(names)), {}).values()
                case _:
                    continue
            found = min(found, some, key=len)
        return found
