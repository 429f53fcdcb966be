"""The life of a job. A status changes in `transition` and nowhere else; `docs/job-life.md` has the picture."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import assert_never

from msgspec import UNSET
from msgspec.structs import replace

from rexecutor.errors import JobNotFoundError, JobStateError, StaleJobError
from rexecutor.model.job import ErrorKind, JobError, JobId, JobRecord, Limits, NewJob
from rexecutor.model.outcomes import (
    CancelAsked,
    Cancelled,
    Change,
    Claimed,
    Complete,
    Discarded,
    Expired,
    Failed,
    FieldUpdate,
    Interrupted,
    Lost,
    Outcome,
    Rerun,
    Snooze,
)
from rexecutor.model.status import JobStatus

LOST_DETAILS = "the node that ran this attempt let its lease run out"

EXPIRED_DETAILS = "no attempt had started when the job expired"

claim_order: Callable[[JobRecord], tuple[int, datetime, JobId]] = attrgetter("priority", "scheduled_at", "id")
"""Sort key of the order in which jobs are claimed: most urgent first, then longest due, then first enqueued."""


def inserted(new: NewJob, job_id: JobId, now: datetime) -> JobRecord:
    """Return the record of a new job, enqueued at `now` on the store's clock."""
    return JobRecord(
        id=job_id,
        executor=new.executor,
        status=JobStatus.SCHEDULED,
        data=new.data,
        metadata=new.metadata,
        attempt=0,
        max_attempts=new.max_attempts,
        priority=new.priority,
        tags=new.tags,
        errors=(),
        claims=0,
        snoozes=0,
        losses=0,
        node=None,
        cancel_reason=None,
        unique_key=None if new.unique is None else new.unique.key,
        revision=0,
        inserted_at=now,
        scheduled_at=due_at(new, now),
        expires_at=expires_at(new, now),
        headers=new.headers,
    )


def due_at(new: NewJob, now: datetime) -> datetime:
    """Return when a new job is due that is enqueued at `now` on the store's clock."""
    return now + new.delay if new.scheduled_at is None else new.scheduled_at


def expires_at(new: NewJob, now: datetime) -> datetime | None:
    """Return when a new job expires that is enqueued at `now` on the store's clock; None for never."""
    return new.expires_at if new.expires_in is None else now + new.expires_in


def has_started(record: JobRecord) -> bool:
    """Whether the code of a waiting job has ever been called. An attempt that was given back does not count."""
    return record.attempt > 0 or record.snoozes > 0


def is_expired(record: JobRecord, now: datetime) -> bool:
    """Whether a waiting job must not run any more, because it has not started and its time is over."""
    return record.expires_at is not None and record.expires_at <= now and not has_started(record)


def is_claimed_too_late(record: JobRecord) -> bool:
    """Whether a job that was just claimed must not run: it had expired by then and has not started before."""
    return (
        record.expires_at is not None
        and record.attempted_at is not None
        and record.attempt == 1
        and record.snoozes == 0
        and record.expires_at <= record.attempted_at
    )


def transition(record: JobRecord, change: Change, now: datetime, limits: Limits) -> JobRecord:
    """Return the record after the change, made at `now` on the store's clock.

    Raises:
        JobStateError: The record's status does not allow the change.
    """
    match change:
        case Claimed(node):
            _require(record, "a claim", allowed=record.status.is_waiting and record.scheduled_at <= now)
            return replace(
                record,
                status=JobStatus.EXECUTING,
                attempt=record.attempt + 1,
                claims=record.claims + 1,
                node=node,
                attempted_at=now,
            )
        case CancelAsked(reason):
            if record.status is JobStatus.EXECUTING:
                if record.cancel_reason is not None:
                    return record
                return replace(record, cancel_reason=reason, revision=record.revision + 1)
            return _cancelled(record, reason, now, limits) if record.status.is_waiting else record
        case Rerun():
            _require(record, "a rerun", allowed=record.status.has_ended)
            return replace(
                record,
                status=JobStatus.SCHEDULED,
                max_attempts=max(record.max_attempts, record.attempt + 1),
                losses=0,
                revision=record.revision + 1,
                scheduled_at=now,
                completed_at=None,
                cancelled_at=None,
                discarded_at=None,
                expires_at=None,
                result=None,
            )
        case Expired() if record.status.is_waiting:
            _require(record, "an expiry", allowed=is_expired(record, now))
            return _expired(record, now, limits)
        case Complete() | Cancelled() | Snooze() | Failed() | Discarded() | Expired() | Interrupted():
            _require(record, "a settle", allowed=record.status is JobStatus.EXECUTING)
            return _settled(record, change, now, limits)
        case Lost():
            _require(record, "a rescue", allowed=record.status is JobStatus.EXECUTING)
            return _lost(record, now, limits)
        case _:
            assert_never(change)


def _settled(record: JobRecord, outcome: Outcome, now: datetime, limits: Limits) -> JobRecord:
    asked = record.cancel_reason
    free = replace(record, node=None, cancel_reason=None, revision=record.revision + 1)
    match outcome:
        case Complete(result):
            return replace(free, status=JobStatus.COMPLETE, completed_at=now, result=result, revision=record.revision)
        case Cancelled(error):
            ended = replace(free, status=JobStatus.CANCELLED, cancelled_at=now)
            return _with_error(ended, error, limits)
        case Snooze(delay):
            back = replace(
                free,
                status=JobStatus.SCHEDULED,
                attempt=record.attempt - 1,
                snoozes=record.snoozes + 1,
                scheduled_at=now + delay,
            )
        case Interrupted():
            back = replace(free, status=JobStatus.SCHEDULED, attempt=record.attempt - 1)
        case Expired():
            return _expired(replace(free, attempt=record.attempt - 1), now, limits)
        case Discarded(error):
            back = _with_error(free, error, limits)
            if asked is None:
                return replace(back, status=JobStatus.DISCARDED, discarded_at=now)
        case Failed(error, delay):
            back = _with_error(free, error, limits)
            if asked is None and record.attempt >= record.max_attempts:
                return replace(back, status=JobStatus.DISCARDED, discarded_at=now)
            back = replace(back, status=JobStatus.RETRYABLE, scheduled_at=now + delay)
        case _:
            assert_never(outcome)
    return back if asked is None else _cancelled(back, asked, now, limits)


def _lost(record: JobRecord, now: datetime, limits: Limits) -> JobRecord:
    error = JobError(record.attempt, ErrorKind.LOST, "NodeLost", LOST_DETAILS, now, node=record.node)
    losses = record.losses + 1
    asked = record.cancel_reason
    free = replace(record, node=None, cancel_reason=None, losses=losses, revision=record.revision + 1)
    free = _with_error(free, error, limits)
    if asked is not None:
        return _cancelled(free, asked, now, limits)
    if record.attempt >= record.max_attempts or losses >= limits.losses:
        return replace(free, status=JobStatus.DISCARDED, discarded_at=now)
    again = now + rescue_delay(record.id) if losses > 1 else min(record.scheduled_at, now)
    return replace(free, status=JobStatus.RETRYABLE, scheduled_at=again)


def rescue_delay(job_id: JobId) -> timedelta:
    """Return how long a job waits after it was lost more than once: 0 to 9.9 s, by its id.

    Without this wait, a job that kills its process would be claimed again together with the same neighbours, until all
    of them had been lost as often as it and were discarded. A job that was lost for the first time keeps its due time,
    so that it need not queue behind everything that fell due meanwhile.
    """
    return timedelta(seconds=abs(job_id) % 100 / 10)


def _cancelled(record: JobRecord, reason: str, now: datetime, limits: Limits) -> JobRecord:
    error = JobError(record.attempt, ErrorKind.CANCELLED, "Cancel", reason, now)
    ended = replace(record, status=JobStatus.CANCELLED, cancelled_at=now)
    return _with_error(ended, error, limits)


def _expired(record: JobRecord, now: datetime, limits: Limits) -> JobRecord:
    error = JobError(record.attempt, ErrorKind.EXPIRED, "Expired", EXPIRED_DETAILS, now)
    ended = replace(record, status=JobStatus.CANCELLED, cancelled_at=now)
    return _with_error(ended, error, limits)


def _with_error(record: JobRecord, error: JobError, limits: Limits) -> JobRecord:
    return replace(record, errors=(*record.errors, error)[-limits.errors :])


def _require(record: JobRecord, what: str, *, allowed: bool) -> None:
    if not allowed:
        raise JobStateError(
            f"job {record.id} ({record.executor}): {what} while {record.status} is not possible"
            + ("; wait until it has ended" if what == "a rerun" else "")
        )


def found(record: JobRecord | None, job_id: JobId, executor: str | None) -> JobRecord:
    """Return the record of the job with this id.

    Raises:
        JobNotFoundError: There is no such job (of that executor, if one is given).
    """
    if record is None:
        raise JobNotFoundError.of(job_id, executor)
    if executor not in (None, record.executor):
        raise JobNotFoundError(f"job {job_id} belongs to {record.executor}, not to {executor}")
    return record


def updated(record: JobRecord, new: NewJob, version: int, now: datetime) -> JobRecord:
    """Return the record with the fields of the new job.

    Raises:
        JobStateError: The job has ended.
        StaleJobError: The record is not of this version: it has changed since the caller's copy was read.
    """
    _require(record, "an update", allowed=not record.status.has_ended)
    if record.version != version:
        raise StaleJobError(
            f"job {record.id} ({record.executor}) has changed since this copy was read; read it again, and change that"
        )
    return replace(
        record,
        data=new.data,
        metadata=new.metadata,
        max_attempts=new.max_attempts,
        priority=new.priority,
        tags=new.tags,
        scheduled_at=due_at(new, now),
        expires_at=expires_at(new, now),
        revision=record.revision + 1,
    )


def changed(
    record: JobRecord, change: CancelAsked | Rerun | FieldUpdate, now: datetime, limits: Limits
) -> JobRecord | None:
    """Return the record after one of the changes that can be made of many jobs; None if its status forbids it.

    Jobs that have not ended are cancelled or updated, jobs that have ended are rerun. Other jobs are left as they are,
    and so are jobs to update whose row cannot be read.
    """
    if record.status.has_ended is not isinstance(change, Rerun):
        return None
    if not isinstance(change, FieldUpdate):
        return transition(record, change, now, limits)
    if record.defect is not None:
        return None
    given = {name: getattr(change, name) for name in FieldUpdate.__slots__}
    new = {name: value for name, value in given.items() if value is not UNSET}
    return replace(record, **new, revision=record.revision + 1)


def holds_claim(record: JobRecord, claims: int) -> bool:
    """Whether an outcome of this claim may still be recorded. This is the fence."""
    return record.status is JobStatus.EXECUTING and record.claims == claims


def claimable(waiting: Iterable[JobRecord], now: datetime, limit: int) -> Sequence[JobRecord]:
    """Return the jobs that are due, at most `limit`, of an executor's waiting jobs, which must come in claim order."""
    return list(islice((record for record in waiting if record.scheduled_at <= now), limit))
