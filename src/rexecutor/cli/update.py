"""`rexecutor jobs update`: change a job that has not ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.jobs import Id, find_job
from rexecutor.cli.output import as_json, write_json, write_line
from rexecutor.cli.store import AsJson, Schema, Url, use_store
from rexecutor.cli.values import json_text, moment
from rexecutor.errors import InvalidJobError, StaleJobError
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
    from rexecutor.jobs.enqueue import JobBuilder
    from rexecutor.model.job import Job, JobRecord, Limits, NewJob

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
    url: Url = None,
    schema: Schema = None,
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

    record = use_store(url, update, schema=schema)
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
            new = self._builder(record.executor).build(limits)
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

    def _builder(self, executor: str) -> "JobBuilder[Any, Any, Any]":
        import msgspec  # not needed for --help

        from rexecutor.jobs.executor import Executor

        class Untyped(Executor[Any, Any, Any]):
            """Stands in for the executor, whose class exists only in the code of the workers."""

            name = executor

            async def execute(self, job: "Job[Any, Any, Any]") -> None:
                raise NotImplementedError

        builder = Untyped.builder().with_data(None if self.data is None else msgspec.json.decode(self.data))
        if self.metadata is not None:
            builder = builder.with_metadata(msgspec.json.decode(self.metadata))
        if self.max_attempts is not None:
            builder = builder.with_max_attempts(self.max_attempts)
        if self.priority is not None:
            builder = builder.with_priority(self.priority)
        if self.scheduled_at is not None:
            builder = builder.schedule_at(self.scheduled_at)
        return builder.with_tags(*() if self.tags in (None, [""]) else self.tags)
