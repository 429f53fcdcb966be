"""`rexecutor jobs list`, `count` and `show`."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from rexecutor.cli.failure import note
from rexecutor.cli.filters import Filters
from rexecutor.cli.output import as_json, short, write_fields, write_json, write_table
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.cli.values import note_unknown
from rexecutor.errors import JobNotFoundError
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import Count
    from rexecutor.model.job import JobRecord

MAX_ID: Final = 2**63 - 1
HEADINGS: Final = (
    "id",
    "status",
    "executor",
    "attempt",
    "priority",
    "scheduled_at",
    "expires_at",
    "tags",
    "result",
    "last_error",
)

SCREEN: Final = ("id", "status", "executor", "attempt", "priority", "when", "tags", "last error")
SHRINKS: Final = (("last error", "tags", "executor"),)

Id: TypeAlias = Annotated[int, typer.Argument(metavar="ID", max=MAX_ID, help="The job's id.")]

jobs = typer.Typer(name="jobs", help="List, show, enqueue, cancel, change and rerun jobs.")


def list_jobs(
    *,
    filters: Filters,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first, in reverse order of id.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most this many jobs.")] = 100,
    after: Annotated[
        int | None, typer.Option(max=MAX_ID, metavar="ID", help="Only jobs that come after this one: the next page.")
    ] = None,
    store: Store,
    json: AsJson = False,
) -> None:
    """List jobs in order of id. With --json, print one array, each job as in `jobs show --json`."""
    where = filters.where()

    async def find(backend: "Backend") -> "tuple[list[JobRecord], datetime]":
        found = list(await backend.query(where, limit=limit + 1, after=after, newest=newest))
        await note_unknown(backend, set(filters.executor or ()) - {record.executor for record in found})
        return found, backend.clock.now()

    found, now = use_store(store, find)
    shown = found[:limit]
    if json:
        write_json([as_json(record) for record in shown])
    elif sys.stdout.isatty():
        write_table(SCREEN, [_screen_row(record, now) for record in shown], shrinks=SHRINKS, nothing="no job")
    else:
        write_table(HEADINGS, map(_row, shown))
    if len(found) > limit:
        note(f"there are more jobs: {'--newest ' if newest else ''}--after {shown[-1].id}")


def count_jobs(*, filters: Filters, store: Store, json: AsJson = False) -> None:
    """Count jobs by executor and status. Looks at each of them, which takes a while if there are millions."""
    where = filters.where()

    async def count(backend: "Backend") -> "list[Count]":
        found = list(await backend.count(where))
        await note_unknown(backend, set(filters.executor or ()) - {entry.executor for entry in found})
        return found

    counts = use_store(store, count)
    executors: dict[str, dict[str, int]] = {}
    totals = dict.fromkeys(map(str, JobStatus), 0)
    for entry in counts:
        executors.setdefault(entry.executor, dict.fromkeys(totals, 0))[entry.status] += entry.jobs
        totals[entry.status] += entry.jobs
    if json:
        write_json({"jobs": sum(totals.values()), "statuses": totals, "executors": executors})
        return
    rows = [*sorted(executors.items()), ("total", totals)]
    none = "" if sys.stdout.isatty() else "0"  # so that a terminal leaves out a status that no job is in
    write_table(
        ("executor", *totals, "jobs"),
        [(name, *(f"{jobs or none}" for jobs in row.values()), str(sum(row.values()))) for name, row in rows],
        shrinks=("executor",),
    )


def show_job(job_id: Id, *, store: Store, json: AsJson = False) -> None:
    """Show all of a job: its fields, its data and result, and each failed attempt with its traceback."""

    async def find(backend: "Backend") -> "tuple[JobRecord, datetime]":
        return await find_job(backend, job_id), backend.clock.now()

    record, now = use_store(store, find)
    if json:
        write_json(as_json(record))
    else:
        write_fields(_fields(record, now))


async def find_job(backend: "Backend", job_id: int) -> "JobRecord":
    """Return the job with this id.

    Raises:
        JobNotFoundError: There is no such job.
    """
    from rexecutor.model.where import IdIn  # not needed for --help

    found = await backend.query(IdIn(frozenset({job_id})), limit=1)
    if not found:
        raise JobNotFoundError.of(job_id)
    return found[0]


def _row(record: "JobRecord") -> tuple[str, ...]:
    return (
        str(record.id),
        record.status,
        record.executor,
        f"{record.attempt}/{record.max_attempts}",
        str(record.priority),
        _moment(record.scheduled_at),
        "" if record.expires_at is None else _moment(record.expires_at),
        ",".join(record.tags),
        short(record.result or ""),
        _last_error(record),
    )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _last_error(record: "JobRecord") -> str:
    if record.defect is not None:
        return f"unreadable: {record.defect}"
    if not record.errors:
        return ""
    from rexecutor.model.job import last_line  # loads msgspec

    return last_line(record.errors[-1])


def _screen_row(record: "JobRecord", now: datetime) -> tuple[str, ...]:
    """Return the row for a terminal, where a job has one line."""
    return (
        str(record.id),
        record.status,
        record.executor,
        f"{record.attempt}/{record.max_attempts}",
        "" if record.priority == 0 else str(record.priority),
        _when(record, now),
        ",".join(record.tags),
        _last_error(record),
    )


def _when(record: "JobRecord", now: datetime) -> str:
    """Return when the job ended or was started, or is due."""
    from rexecutor.answers.spans import relative  # not needed for --help

    started = record.attempted_at if record.status is JobStatus.EXECUTING else None
    return relative(record.ended_at or started or record.scheduled_at, now, coarse=True)


def _fields(record: "JobRecord", now: datetime) -> list[tuple[str, str]]:
    from msgspec.structs import asdict  # not needed for --help

    from rexecutor.answers.spans import relative

    fields = asdict(record) | {"tags": ",".join(record.tags), "errors": None}
    filled = [
        (name, f"{_moment(value)} ({relative(value, now)})" if isinstance(value, datetime) else str(value))
        for name, value in fields.items()
        if value not in (None, "")
    ]
    attempts = [
        (
            f"attempt {error.attempt}: {error.kind}, {error.type_name}, {_moment(error.recorded_at)}",
            error.details + "\n",
        )
        for error in record.errors
    ]
    return [*filled, *attempts]
