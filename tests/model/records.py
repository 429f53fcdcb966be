"""Records in every status, made by the rules alone."""

from typing import Any

from msgspec.structs import replace

from rexecutor.model import rules
from rexecutor.model.job import JobRecord, Limits
from rexecutor.model.outcomes import Change, Claimed, Complete
from rexecutor.model.status import JobStatus
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import cancelled, failed, new_job

LIMITS = Limits()
CLAIMED = Claimed("node-1")


def scheduled(**fields: Any) -> JobRecord:
    return replace(rules.inserted(new_job(), 1, START), **fields)


def executing(**fields: Any) -> JobRecord:
    return replace(changed(scheduled(), CLAIMED), **fields)


def changed(record: JobRecord, change: Change, limits: Limits = LIMITS) -> JobRecord:
    return rules.transition(record, change, START, limits)


def record_in(status: JobStatus, **fields: Any) -> JobRecord:
    match status:
        case JobStatus.SCHEDULED:
            record = scheduled()
        case JobStatus.EXECUTING:
            record = executing()
        case JobStatus.RETRYABLE:
            record = changed(executing(), failed())
        case JobStatus.COMPLETE:
            record = changed(executing(), Complete())
        case JobStatus.CANCELLED:
            record = changed(executing(), cancelled())
        case JobStatus.DISCARDED:
            record = changed(executing(max_attempts=1), failed())
    return replace(record, **fields)
