"""Converts rows of `jobs` to records and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg.abc import Loader
from psycopg.pq import Format

from rexecutor.backend.sql.rows import STATUSES, UNREADABLE, defective
from rexecutor.model.job import JobError, JobRecord, NewJob, NodeId
from rexecutor.model.status import JobStatus

_ERRORS: Final = msgspec.json.Decoder(tuple[JobError, ...])
_ENCODER: Final = msgspec.json.Encoder()
_all_but_data: Final[Callable[[NewJob], object]] = attrgetter(
    *(name for name in NewJob.__struct_fields__ if name != "data")
)
_LARGEST_INTEGER: Final = 2**31 - 1
_LARGEST_BIGINT: Final = 2**63 - 1
MOST_JOBS: Final = 5_000
"""Maximum number of new jobs in one statement."""
MOST_TEXT: Final = 4 * 1024 * 1024
"""Maximum number of characters of data, metadata and headers in one statement; a single job may have more.

A statement's parameters are copied four times on their way to the server, which accepts at most 1 GB.
"""


def in_utc(moment: datetime | str) -> datetime:
    """Return the moment in UTC, for any time zone of the session. It may be a text, as PostgreSQL writes it in JSON.

    Raises:
        ValueError: It is NULL, or beyond Python's calendar (`load_anyway`).
        OverflowError: Converted to UTC, it is beyond Python's calendar.
    """
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (AttributeError, ValueError):
        raise ValueError(f"{moment!r} is not a moment that Python can hold") from None


def in_utc_or_none(moment: datetime | None) -> datetime | None:
    """Return the moment in UTC, or None for None."""
    return None if moment is None else in_utc(moment)


def read_row(row: Sequence[Any]) -> JobRecord:
    """Return the record of a row with all columns; if the row cannot be read, the record has a `defect`."""
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
            in_utc_or_none(row[23]),
            row[24],
            row[25],
        )
    except UNREADABLE as error:
        return _read_defective(row, error)


def _read_tags(tags: list[str]) -> tuple[str, ...]:
    "".join(tags)  # raises if one of them is NULL or a list
    return tuple(tags)


def _read_defective(row: Sequence[Any], error: Exception) -> JobRecord:
    return defective(row, error, tags=_read_tags, errors=_ERRORS.decode, moment=in_utc)


def load_anyway(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a result that the driver refuses to load because of a single value.

    Such a value, a moment beyond Python's calendar, is returned as text. So only its own row has a defect.
    """
    result = cursor.pgresult
    assert result is not None  # noqa: S101 - it is what could not be loaded
    loaders: list[Loader] = []
    for column in range(result.nfields):
        kind, form = result.ftype(column), Format(result.fformat(column))
        made = cursor.adapters.get_loader(kind, form) or cursor.adapters.get_loader(0, form)
        assert made is not None  # noqa: S101 - psycopg has a fallback for unknown types, under 0
        loaders.append(made(kind, cursor))
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
    """Return the record of a row of `claim_jobs` that has a job."""
    (
        _, _, job_id, executor, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
        unique_key, revision, inserted_at, scheduled_at, attempted_at, expires_at, headers,
    ) = row  # fmt: skip
    try:
        due_at = in_utc(scheduled_at)
        return JobRecord(
            job_id,
            executor,
            JobStatus.EXECUTING,
            data,
            metadata,
            attempt,
            max_attempts,
            priority or 0,
            () if tags is None else _read_tags(tags),
            () if errors is None else _ERRORS.decode(errors),
            claims,
            snoozes or 0,
            losses or 0,
            node_id,
            None,
            unique_key,
            revision or 0,
            due_at if inserted_at is None else in_utc(inserted_at),
            due_at,
            in_utc(attempted_at),
            None,
            None,
            None,
            in_utc_or_none(expires_at),
            None,
            headers,
        )
    except UNREADABLE as error:
        known: tuple[Any, ...] = (
            *(job_id, executor, str(JobStatus.EXECUTING), data, metadata, attempt, max_attempts, priority or 0),
            *(tags or [], errors or "[]", claims, snoozes or 0, losses or 0, node_id, None, unique_key, revision or 0),
            *(inserted_at or scheduled_at, scheduled_at, attempted_at, None, None, None, expires_at, None, headers),
        )
        return _read_defective(known, error)


class _NewRow(msgspec.Struct, omit_defaults=True, gc=False):
    executor: str
    data: str | msgspec.Raw
    max_attempts: int
    metadata: str | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    scheduled_at: datetime | None = None
    delay: timedelta | None = None
    unique_key: str | None = None
    expires_at: datetime | None = None
    expires_in: timedelta | None = None
    headers: msgspec.Raw | None = None


class Batch(NamedTuple):
    """Jobs that one statement stores."""

    jobs: Sequence[NewJob]
    text: int
    """Number of characters in their data, metadata and headers."""


def batches_of(jobs: Sequence[NewJob]) -> list[Batch]:
    """Split the jobs, in the order given, into as few batches as possible."""
    lengths = _lengths(jobs)
    text = sum(lengths)
    if len(jobs) == 1 or (len(jobs) <= MOST_JOBS and text <= MOST_TEXT):
        return [Batch(jobs, text)]
    starts = [0]
    text = 0
    for place, length in enumerate(lengths):
        text += length
        if place > starts[-1] and (text > MOST_TEXT or place - starts[-1] == MOST_JOBS):
            starts.append(place)
            text = length
    return [Batch(jobs[start:end], sum(lengths[start:end])) for start, end in pairwise((*starts, len(jobs)))]


def text_length(jobs: Sequence[NewJob]) -> int:
    """Return the number of characters in the data, metadata and headers of the jobs."""
    return sum(_lengths(jobs))


def _lengths(jobs: Sequence[NewJob]) -> list[int]:
    return [
        len(job.data)
        if job.metadata is None and job.headers is None
        else len(job.data) + len(job.metadata or "") + len(job.headers or "")
        for job in jobs
    ]


def new_rows(jobs: Iterable[NewJob]) -> str:
    """Return the parameter `jobs` of `insert_jobs`, a JSON array.

    Data are embedded as they are, because PostgreSQL extracts nested JSON to the letter. From a JSON string it would
    extract the value, so a string is embedded as the text of its JSON. Defaults are left out: reading costs the server
    more than storing.
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
                job.expires_at,
                job.expires_in,
                None if job.headers is None else msgspec.Raw(job.headers.encode()),
            )
            for job in jobs
        ]
    ).decode()


def alike_rows(jobs: Sequence[NewJob]) -> Mapping[str, Any] | None:
    """Return the parameters of `insert_alike_jobs`; None if the jobs differ in more than their data."""
    common = _all_but_data(jobs[0])
    for job in jobs:
        if _all_but_data(job) != common:
            return None
    lines = "\n".join([job.data for job in jobs])
    if lines.count("\n") >= len(jobs):  # JSON may hold line breaks, though codecs write none
        return None
    return {**_parameters(jobs[0]), "expires_at": jobs[0].expires_at, "expires_in": jobs[0].expires_in, "lines": lines}


def new_row(job: NewJob) -> Mapping[str, Any]:
    """Return the parameters of `insert_job`."""
    return {**_parameters(job), "data": job.data}


def _parameters(job: NewJob) -> dict[str, Any]:
    # None for no tags and no delay: the driver takes longer to write an empty list and an empty interval.
    return {
        "executor": job.executor,
        "metadata": job.metadata,
        "max_attempts": job.max_attempts,
        "priority": job.priority,
        "tags": list(job.tags) or None,
        "scheduled_at": job.scheduled_at,
        "delay": job.delay or None,
        "unique_key": None if job.unique is None else job.unique.key,
        "headers": job.headers,
    }


def changed_row(record: JobRecord) -> Mapping[str, Any]:
    """Return the parameters of `update_job`. Numbers that someone has corrupted by hand are clamped to valid ones."""
    return {
        "id": record.id,
        "status": str(record.status),
        "data": record.data,
        "metadata": record.metadata,
        "attempt": _within(record.attempt, _LARGEST_INTEGER),
        "max_attempts": record.max_attempts,
        "priority": record.priority,
        "tags": list(record.tags),
        "errors": msgspec.json.encode(record.errors).decode(),
        "snoozes": _within(record.snoozes, _LARGEST_INTEGER),
        "losses": _within(record.losses, _LARGEST_INTEGER),
        "cancel_reason": record.cancel_reason,
        "revision": _within(record.revision, _LARGEST_BIGINT),
        "scheduled_at": record.scheduled_at,
        "completed_at": record.completed_at,
        "cancelled_at": record.cancelled_at,
        "discarded_at": record.discarded_at,
        "expires_at": record.expires_at,
    }


def _within(number: int | None, limit: int) -> int:
    return max(0, min(number or 0, limit))  # None for NULL, if someone has dropped the constraint
