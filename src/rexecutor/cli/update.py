"""`rexecutor jobs update`: change a job that has not ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.jobs import Id, find_job
from rexecutor.cli.output import as_json, write_json, write_line
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.cli.untyped import builder_of, untyped
from rexecutor.cli.values import json_text, moment
from rexecutor.errors import InvalidJobError, StaleJobError
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
    from rexecutor.model.job import JobRecord, Limits, NewJob

MAX_PRIORITY: Final = 32_767
"""Largest priority, as `rexecutor.model.job` has it, whose import `--help` does not need."""
MAX_ATTEMPTS: Final = 32_767
"""Largest maximum number of attempts, as above."""


def update_job(
    job_id: Id,
    *,
    priority: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=MAX_PRIORITY, help="0 is the most urgent.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_ATTEMPTS, help="How many attempts the job has in total.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Replaces all its tags; may be repeated. An empty tag removes them."),
    ] = None,
    schedule_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="When it is due; at once if that is past.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(parser=json_text, metavar="JSON", help="Replaces its data; see above.")
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option(parser=json_text, metavar="JSON", help="Replaces its metadata; null removes it."),
    ] = None,
    store: Store,
    json: AsJson = False,
) -> None:
    """Change a job that has not ended; what is not given stays as it is. With --json, print the whole changed job.

    Data and metadata can be any JSON, because the executor's types are not known here. Data of another type make the
    job's attempts fail.
    """
    change = _Change(priority, max_attempts, tag or None, schedule_at, data, metadata)
    if change == _Change():
        raise MisusedError(
            "nothing to change: give --priority, --max-attempts, --tag, --schedule-at, --data or --metadata"
        )

    async def update(backend: "Backend") -> "JobRecord":
        found = await find_job(backend, job_id)
        if found.defect is not None:
            raise FailedError(f"job {job_id} ({found.executor}) cannot be changed: {found.defect}")
        try:
            return await backend.update(job_id, change.applied_to(found, backend.limits), version=found.version)
        except StaleJobError as error:
            raise FailedError(
                f"job {job_id} ({found.executor}) has changed since it was read: run the command again"
            ) from error

    record = use_store(store, update)
    if json:
        write_json(as_json(record))
    elif record.status is JobStatus.EXECUTING:
        write_line(f"job {job_id} is updated; it is executing, and this attempt continues with the old values")
    else:
        write_line(f"job {job_id} is updated")


@dataclass(frozen=True, slots=True)
class _Change:
    """The changes given on the command line. What is None stays as it is."""

    priority: int | None = None
    max_attempts: int | None = None
    tags: list[str] | None = None
    scheduled_at: datetime | None = None
    data: str | None = None
    metadata: str | None = None

    def applied_to(self, record: "JobRecord", limits: "Limits") -> "NewJob":
        """Return the job with the changes. Unchanged data and metadata keep their stored text, without re-encoding."""
        from msgspec.structs import replace  # not needed for --help

        try:
            tags = [] if self.tags in (None, [""]) else self.tags
            builder = builder_of(
                untyped(record.executor),
                self.data or "null",
                self.metadata,
                max_attempts=self.max_attempts,
                priority=self.priority,
                tags=tags,
            )
            new = (builder if self.scheduled_at is None else builder.schedule_at(self.scheduled_at)).build(limits)
        except InvalidJobError as error:
            raise MisusedError(str(error)) from error
        return replace(
            new,
            data=record.data if self.data is None else new.data,
            metadata=record.metadata if self.metadata is None else new.metadata,
            max_attempts=record.max_attempts if self.max_attempts is None else new.max_attempts,
            priority=record.priority if self.priority is None else new.priority,
            tags=record.tags if self.tags is None else new.tags,
            scheduled_at=record.scheduled_at if self.scheduled_at is None else new.scheduled_at,
            expires_at=record.expires_at,
        )
