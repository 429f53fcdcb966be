"""Rows of `jobs` to records and back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from rexecutor.job import JobError, JobRecord, NewJob, NodeId
from rexecutor.status import JobStatus

STATUSES: Final = {str(status): status for status in JobStatus}
_ERRORS: Final = msgspec.json.Decoder(tuple[JobError, ...])
_ENCODER: Final = msgspec.json.Encoder()
_UNREADABLE: Final = (ValueError, LookupError, TypeError, OverflowError)


def in_utc(moment: datetime) -> datetime:
    """Answer the moment in UTC, whatever the session's time zone is."""
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def in_utc_or_none(moment: datetime | None) -> datetime | None:
    """Answer the moment in UTC, where there is one."""
    return None if moment is None else in_utc(moment)


def read_row(row: Sequence[Any]) -> JobRecord:
    """Answer the record of a row with all columns; with a `defect` where its errors cannot be read."""
    defect: str | None = None
    try:
        errors = () if row[9] == "[]" else _ERRORS.decode(row[9])
    except _UNREADABLE as error:
        errors, defect = (), f"the stored row cannot be read: {type(error).__name__}: {error}"
    return JobRecord(
        row[0],
        row[1],
        STATUSES[row[2]],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        tuple(row[8]),
        errors,
        row[10],
        row[11],
        row[12],
        row[13],
        row[14],
        row[15],
        row[16],
        in_utc(row[17]),
        in_utc(row[18]),
        in_utc_or_none(row[19]),
        in_utc_or_none(row[20]),
        in_utc_or_none(row[21]),
        in_utc_or_none(row[22]),
        defect,
    )


def read_claimed(row: Sequence[Any], node_id: NodeId) -> JobRecord:
    """Answer the record of a row that `claim_jobs` returned."""
    known = (row[0], row[1], "executing", *row[2:12], node_id, None, *row[12:17], None, None, None)
    return read_row(known)


class _NewRow(msgspec.Struct, omit_defaults=True):
    executor: str
    data: str | msgspec.Raw
    max_attempts: int
    metadata: str | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    scheduled_at: datetime | None = None
    delay: timedelta | None = None
    unique_key: str | None = None


def new_rows(jobs: Iterable[NewJob]) -> str:
    """Answer the parameter `jobs` of `insert_jobs`.

    Data stand in it as they are, which PostgreSQL answers to the letter; but a string as the text of its JSON, since of
    a string in JSON it answers the value. What is not given is left out: reading it costs the server more than storing.
    """
    return _ENCODER.encode(
        [
            _NewRow(
                job.executor,
                job.data if job.data.startswith('"') else msgspec.Raw(job.data.encode()),
                job.max_attempts,
                job.metadata,
                job.priority,
                job.tags,
                job.scheduled_at,
                job.delay or None,
                None if job.unique is None else job.unique.key,
            )
            for job in jobs
        ]
    ).decode()


def new_row(job: NewJob) -> Mapping[str, Any]:
    """Answer the parameters of `insert_job`."""
    return {
        "executor": job.executor,
        "data": job.data,
        "metadata": job.metadata,
        "max_attempts": job.max_attempts,
        "priority": job.priority,
        "tags": list(job.tags),
        "scheduled_at": job.scheduled_at,
        "delay": job.delay,
        "unique_key": None if job.unique is None else job.unique.key,
    }


def changed_row(record: JobRecord) -> Mapping[str, Any]:
    """Answer the parameters of `update_job`."""
    return {
        "id": record.id,
        "status": str(record.status),
        "data": record.data,
        "metadata": record.metadata,
        "attempt": record.attempt,
        "max_attempts": record.max_attempts,
        "priority": record.priority,
        "tags": list(record.tags),
        "errors": msgspec.json.encode(record.errors).decode(),
        "snoozes": record.snoozes,
        "losses": record.losses,
        "node": record.node,
        "cancel_reason": record.cancel_reason,
        "revision": record.revision,
        "scheduled_at": record.scheduled_at,
        "completed_at": record.completed_at,
        "cancelled_at": record.cancelled_at,
        "discarded_at": record.discarded_at,
    }
