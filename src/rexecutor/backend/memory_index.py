"""Indexes of the in-memory store, which keep its lookups fast."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.where import And, ExecutorIn, IdIn, KeyIs, Where


class MemoryIndex:
    """Jobs by executor and by unique key; waiting jobs also by executor in claim order."""

    def __init__(self) -> None:
        self._of_executor: dict[str, dict[JobId, JobRecord]] = defaultdict(dict)
        self._keyed: dict[str, dict[JobId, JobRecord]] = defaultdict(dict)
        self._queues: dict[str, list[JobRecord]] = defaultdict(list)

    def put(self, record: JobRecord) -> None:
        """Add a job."""
        self._of_executor[record.executor][record.id] = record
        if record.unique_key is not None:
            self._keyed[record.unique_key][record.id] = record
        if record.status.is_waiting:
            insort(self._queues[record.executor], record, key=rules.claim_order)

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

    def claimable(self, executor: str, now: datetime, slots: int) -> Sequence[JobRecord]:
        """Return the executor's jobs to claim next, at most `slots`."""
        return rules.claimable(self._queues.get(executor, ()), now, slots)

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
