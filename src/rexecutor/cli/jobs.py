"""`rexecutor jobs`: list, show, cancel and rerun jobs. `jobs update` is in `update.py`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from rexecutor.cli.failure import FailedError, note
from rexecutor.cli.filters import Filters
from rexecutor.cli.output import as_json, short, write_fields, write_json, write_line, write_table
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.cli.values import check_text, note_unknown
from rexecutor.errors import JobNotFoundError
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
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

Id: TypeAlias = Annotated[int, typer.Argument(metavar="ID", max=MAX_ID, help="The job's id.")]

jobs = typer.Typer(name="jobs", help="List, show, enqueue, cancel, change and rerun jobs.")


def list_jobs(
    *,
    filters: Filters,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most this many jobs.")] = 100,
    after: Annotated[int | None, typer.Option(max=MAX_ID, metavar="ID", help="Only ids greater than this one.")] = None,
    store: Store,
    json: AsJson = False,
) -> None:
    """List jobs in order of id. With --json, print one array, each job as in `jobs show --json`."""
    where = filters.where()

    async def find(backend: "Backend") -> "list[JobRecord]":
        found = list(await backend.query(where, limit=limit + 1, after=after))
        await note_unknown(backend, set(filters.executor or ()) - {record.executor for record in found})
        return found

    found = use_store(store, find)
    shown = found[:limit]
    if json:
        write_json([as_json(record) for record in shown])
    else:
        write_table(HEADINGS, map(_row, shown))
    if len(found) > limit:
        note(f"there are more jobs: --after {shown[-1].id}")


def show_job(job_id: Id, *, store: Store, json: AsJson = False) -> None:
    """Show all fields of a job, with its data, its result and its errors."""
    record = use_store(store, lambda backend: find_job(backend, job_id))
    if json:
        write_json(as_json(record))
    else:
        write_fields(_fields(record))


def cancel_job(
    job_id: Id,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept in the job's last error.")] = "cancelled by hand",
    store: Store,
    json: AsJson = False,
) -> None:
    """Cancel a job. A waiting job is cancelled at once; if it is running, its node is asked to cancel it."""
    check_text("--reason", reason)

    async def cancel(backend: "Backend") -> JobStatus:
        record = await find_job(backend, job_id)
        status = record.status if record.status.has_ended else await backend.cancel(job_id, reason)
        if record.status.has_ended or status not in (JobStatus.CANCELLED, JobStatus.EXECUTING):
            raise FailedError(f"job {job_id} ({record.executor}) has already ended: it is {status}")
        return status

    status = use_store(store, cancel)
    if json:
        write_json({"id": job_id, "status": status})
    elif status is JobStatus.EXECUTING:
        write_line(f"job {job_id} is executing: its node was asked to cancel it")
    else:
        write_line(f"job {job_id} is cancelled")


def rerun_job(job_id: Id, *, store: Store, json: AsJson = False) -> None:
    """Run an ended job once more."""
    use_store(store, lambda backend: backend.rerun(job_id))
    if json:
        write_json({"id": job_id, "status": JobStatus.SCHEDULED})
    else:
        write_line(f"job {job_id} is scheduled again")


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
    error = record.errors[-1]
    last_line = error.details.strip().rpartition("\n")[2]  # of a traceback, the exception itself
    return last_line if last_line.startswith(error.type_name) else f"{error.type_name}: {last_line}"


def _fields(record: "JobRecord") -> list[tuple[str, str]]:
    from msgspec.structs import asdict  # not needed for --help

    fields = asdict(record) | {"tags": ",".join(record.tags), "errors": None}
    filled = [(name, str(value)) for name, value in fields.items() if value not in (None, "")]
    errors = [
        (f"error of attempt {error.attempt}", f"{error.kind}, {error.type_name}, {error.recorded_at}\n{error.details}")
        for error in record.errors
    ]
    return [*filled, *errors]
