"""Which ended jobs are deleted."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from rexecutor.model.job import JobRecord
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.rules.matching import shifted


def prunable(spec: PruneSpec, records: Iterable[JobRecord], now: datetime) -> list[JobRecord]:
    """Return the jobs to delete: only ended ones, those that ended first coming first."""
    ended = sorted(
        ((record.ended_at, record.id, record) for record in records if record.ended_at and _is_meant(spec, record)),
        key=lambda each: each[:2],
    )
    match spec.what:
        case OlderThan(age):
            return [record for ended_at, _, record in ended if ended_at < shifted(now, -age)]
        case BeyondNewest(jobs):
            left = Counter(record.executor for _, _, record in ended)
            prunable: list[JobRecord] = []
            for _, _, record in ended:
                if left[record.executor] > jobs:
                    left[record.executor] -= 1
                    prunable.append(record)
            return prunable
        case _:
            assert_never(spec.what)


def _is_meant(spec: PruneSpec, record: JobRecord) -> bool:
    return record.status is spec.status and record.status.has_ended and spec.concerns(record.executor)
