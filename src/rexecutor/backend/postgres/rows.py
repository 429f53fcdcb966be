"""Rows of `jobs` to records and back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec
import psycopg
from psycopg.abc import AdaptContext, Loader
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from rexecutor.backend.sql.rows import STATUSES, UNREADABLE, defective
from rexecutor.model.job import JobError, JobRecord, NewJob, NodeId

_ERRORS: Final = msgspec.json.Decoder(tuple[JobError, ...])
_ENCODER: Final = msgspec.json.Encoder()
_INTEGER: Final = 2**31 - 1
_BIGINT: Final = 2**63 - 1
MOST_JOBS: Final = 5_000
"""How many new jobs one statement stores."""
MOST_TEXT: Final = 4 * 1024 * 1024
"""How many characters of data and metadata these have together; a single job may have more.

A statement's text is copied four times on its way to the server, which takes at most 1 GB of it.
"""


def in_utc(moment: datetime) -> datetime:
    """Answer the moment in UTC, whatever the session's time zone is.

    Raises:
        ValueError: It is none: NULL, or one that Python cannot hold; see `load_anyway`.
        OverflowError: In UTC, Python cannot hold it.
    """
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except AttributeError:
        raise ValueError(f"{moment!r} is no moment that Python can hold") from None


def in_utc_or_none(moment: datetime | None) -> datetime | None:
    """Answer the moment in UTC, where there is one."""
    return None if moment is None else in_utc(moment)


def read_row(row: Sequence[Any]) -> JobRecord:
    """Answer the record of a row with all columns; with a `defect` where it cannot be read."""
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
            () if row[8] == [] else _read_tags(row[8]),
            () if row[9] == "[]" else _ERRORS.decode(row[9]),
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
        )
    except UNREADABLE as error:
        return _read_defective(row, error)


def _read_tags(tags: list[str]) -> tuple[str, ...]:
    "".join(tags)  # raises where one of them is NULL or a list
    return tuple(tags)


def _read_defective(row: Sequence[Any], error: Exception) -> JobRecord:
    return defective(row, error, tags=_read_tags, errors=_ERRORS.decode, moment=in_utc)


def load_anyway(result: PGresult, context: AdaptContext) -> list[tuple[Any, ...]]:
    """Answer the rows of a result that the driver refuses to load as a whole, because of a single value in it.

    Such a value, a moment beyond Python's calendar, is answered as its text: a defect of its row, and of no other.
    """
    loaders: list[Loader] = []
    for column in range(result.nfields):
        kind, form = result.ftype(column), Format(result.fformat(column))
        made = context.adapters.get_loader(kind, form) or context.adapters.get_loader(0, form)
        assert made is not None  # noqa: S101 - psycopg has one for whatever it does not know
        loaders.append(made(kind, context))
    return [
        tuple(_load(loader, result.get_value(row, column)) for column, loader in enumerate(loaders))
        for row in range(result.ntuples)
    ]


def _load(loader: Loader, value: bytes | None) -> Any:
    try:
        return None if value is None else loader.load(value)
    except psycopg.DataError:
        return bytes(value or b"").decode(errors="replace")


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


def fit_one_statement(jobs: Sequence[NewJob]) -> bool:
    """Whether one statement may store them all."""
    return len(jobs) == 1 or (len(jobs) <= MOST_JOBS and text_length(jobs) <= MOST_TEXT)


def text_length(jobs: Sequence[NewJob]) -> int:
    """Return how many characters of data and metadata the jobs have."""
    return sum(_lengths(jobs))


def in_statements(jobs: Sequence[NewJob]) -> Sequence[Sequence[NewJob]]:
    """Cut the jobs into those of one statement each, in the order given."""
    if fit_one_statement(jobs):
        return [jobs]
    starts = [0]
    text = 0
    for place, length in enumerate(_lengths(jobs)):
        text += length
        if place > starts[-1] and (text > MOST_TEXT or place - starts[-1] == MOST_JOBS):
            starts.append(place)
            text = length
    return [jobs[start:end] for start, end in pairwise((*starts, len(jobs)))]


def _lengths(jobs: Sequence[NewJob]) -> list[int]:
    return [len(job.data) if job.metadata is None else len(job.data) + len(job.metadata) for job in jobs]


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
    """Answer the parameters of `update_job`; numbers that somebody has spoilt are brought to what it can hold."""
    return {
        "id": record.id,
        "status": str(record.status),
        "data": record.data,
        "metadata": record.metadata,
        "attempt": _within(record.attempt, _INTEGER),
        "max_attempts": record.max_attempts,
        "priority": record.priority,
        "tags": list(record.tags),
        "errors": msgspec.json.encode(record.errors).decode(),
        "snoozes": _within(record.snoozes, _INTEGER),
        "losses": _within(record.losses, _INTEGER),
        "node": record.node,
        "cancel_reason": record.cancel_reason,
        "revision": _within(record.revision, _BIGINT),
        "scheduled_at": record.scheduled_at,
        "completed_at": record.completed_at,
        "cancelled_at": record.cancelled_at,
        "discarded_at": record.discarded_at,
    }


def _within(number: int | None, most: int) -> int:
    return max(0, min(number or 0, most))  # None for NULL, where somebody has dropped the constraint
