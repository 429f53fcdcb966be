"""Converts rows of `rexecutor_jobs` to records and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec

from rexecutor.backend.sql.rows import EPOCH, STATUSES, UNREADABLE, defective
from rexecutor.model import rules
from rexecutor.model.job import JobError, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.status import JobStatus

_MICROSECOND: Final = timedelta(microseconds=1)
_TAGS: Final = msgspec.json.Decoder(tuple[str, ...])
_ERRORS: Final = msgspec.json.Decoder(tuple[JobError, ...])


def stored(moment: datetime) -> int:
    """Return the moment as the store holds it: microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def stored_or_none(moment: datetime | None) -> int | None:
    """Return the moment as the store holds it; None if there is none."""
    return None if moment is None else stored(moment)


def moment(micros: int) -> datetime:
    """Return the moment of a stored number of microseconds; the inverse of `stored`."""
    return EPOCH + timedelta(0, 0, micros)


def moment_or_none(micros: int | None) -> datetime | None:
    """Return the moment of a stored number of microseconds; None if there is none."""
    return None if micros is None else EPOCH + timedelta(0, 0, micros)


def read_row(row: Sequence[Any]) -> JobRecord:
    """Return the record of a row with all columns; with a `defect` if it cannot be read."""
    try:
        return JobRecord(
            row[0],
            row[1],
            STATUSES[row[2]],
            row[3],
            row[4],
            row[5],
            row[6],
            row[7],
            () if row[8] == "[]" else _TAGS.decode(row[8]),
            () if row[9] == "[]" else _ERRORS.decode(row[9]),
            row[10],
            row[11],
            row[12],
            row[13],
            row[14],
            row[15],
            row[16],
            EPOCH + timedelta(0, 0, row[17]),
            EPOCH + timedelta(0, 0, row[18]),
            moment_or_none(row[19]),
            moment_or_none(row[20]),
            moment_or_none(row[21]),
            moment_or_none(row[22]),
            moment_or_none(row[23]),
            row[24],
            row[25],
        )
    except UNREADABLE as error:
        return _read_defective(row, error)


Head: TypeAlias = tuple[int, int, JobId, str]
"""A due job's entry in the claim's index: priority, scheduled_at and id, then its executor."""


def read_claimed(head: Head, row: Sequence[Any], node: NodeId, attempted_at: datetime) -> JobRecord:
    """Return the record of a row of `select_started`, which has only the columns that are not known already.

    The hot path: reading half of the columns takes half of the time.
    """
    priority, scheduled_at, job_id, executor = head
    try:
        inserted_at = EPOCH + timedelta(0, 0, row[12])
        return JobRecord(
            job_id,
            executor,
            JobStatus.EXECUTING,
            row[1],
            row[2],
            row[3],
            row[4],
            priority,
            () if row[5] == "[]" else _TAGS.decode(row[5]),
            () if row[6] == "[]" else _ERRORS.decode(row[6]),
            row[7],
            row[8],
            row[9],
            node,
            None,
            row[10],
            row[11],
            inserted_at,
            inserted_at if scheduled_at == row[12] else EPOCH + timedelta(0, 0, scheduled_at),
            attempted_at,
            None,
            None,
            None,
            None if row[13] is None else EPOCH + timedelta(0, 0, row[13]),
            None,
            row[14],
        )
    except UNREADABLE as error:
        known = (job_id, executor, "executing", *row[1:5], priority, *row[5:10], node, None, *row[10:13], scheduled_at)
        return _read_defective((*known, stored(attempted_at), None, None, None, row[13], None, row[14]), error)


def _read_defective(row: Sequence[Any], error: Exception) -> JobRecord:
    # May hold anything in SQLite.
    metadata, result, headers = (None if text is None else str(text) for text in (row[4], row[24], row[25]))
    known = (row[0], str(row[1]), row[2], str(row[3]), metadata, *row[5:24], result, headers)
    return defective(known, error, tags=_TAGS.decode, errors=_ERRORS.decode, moment=moment)


def new_rows(jobs: Iterable[NewJob], now: datetime) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `insert_job` for each job."""
    now_stored = stored(now)
    for job in jobs:
        due = now_stored + job.delay // _MICROSECOND if job.scheduled_at is None else stored(job.scheduled_at)
        tags = msgspec.json.encode(job.tags).decode() if job.tags else "[]"
        fixed = (job.executor, job.data, job.metadata, job.max_attempts, job.priority, tags)
        key = None if job.unique is None else job.unique.key
        yield (*fixed, now_stored, due, key)


def new_full_rows(jobs: Sequence[NewJob], now: datetime) -> Iterator[tuple[Any, ...]]:
    """Yield the parameters of `insert_full_job` for each job."""
    for job, row in zip(jobs, new_rows(jobs, now), strict=True):
        yield (*row, stored_or_none(rules.expires_at(job, now)), job.headers)


def changed_row(record: JobRecord) -> Mapping[str, Any]:
    """Return the parameters of `update_job`."""
    return {
        "id": record.id,
        "status": str(record.status),
        "attempt": record.attempt,
        "max_attempts": record.max_attempts,
        "errors": msgspec.json.encode(record.errors).decode(),
        "claims": record.claims,
        "snoozes": record.snoozes,
        "losses": record.losses,
        "scheduled_at": stored(record.scheduled_at),
        "attempted_at": stored_or_none(record.attempted_at),
        "completed_at": stored_or_none(record.completed_at),
        "cancelled_at": stored_or_none(record.cancelled_at),
        "discarded_at": stored_or_none(record.discarded_at),
        "expires_at": stored_or_none(record.expires_at),
        "result": record.result,
        "revision": record.revision,
    }


def fields_row(record: JobRecord) -> Mapping[str, Any]:
    """Return the parameters of `rewrite_job`."""
    return {
        "id": record.id,
        "data": record.data,
        "metadata": record.metadata,
        "max_attempts": record.max_attempts,
        "priority": record.priority,
        "tags": msgspec.json.encode(record.tags).decode(),
        "scheduled_at": stored(record.scheduled_at),
        "expires_at": stored_or_none(record.expires_at),
        "revision": record.revision,
    }
