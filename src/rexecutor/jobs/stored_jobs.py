"""Queries and updates of an executor's stored jobs: the code behind the class methods of `Executor`."""

from typing import Any, Final

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.errors import ConfigurationError, DecodeError, InvalidJobError, JobNotFoundError
from rexecutor.jobs.executor import Executor, codecs_of, decode
from rexecutor.model.job import Data, Job, JobId, Metadata
from rexecutor.model.where import ExecutorIn, Where
from rexecutor.telemetry.events import JobUnreadable
from rexecutor.telemetry.log import log_event

_PAGE: Final = 1_000


async def query_jobs(
    kind: type[Executor[Data, Metadata]],
    where: Where,
    *,
    limit: int | None,
    after: JobId | None,
    backend: Backend | None,
) -> list[Job[Data, Metadata]]:
    """Return the executor's jobs that match the expression; see `Executor.query_jobs`."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigurationError(f"{kind.name}: query_jobs: limit is {limit!r}, 1 or more expected, or None for all")
    if after is not None and type(after) is not int:
        raise ConfigurationError(f"{kind.name}: query_jobs: after is {after!r}, the id of a job expected")
    if not isinstance(where, Where):
        raise ConfigurationError(f"{kind.name}: query_jobs: {where!r} is no Where; give Where.status_equals(…) or so")
    store = current_backend(backend)
    codecs = codecs_of(kind, store.limits)
    ours = ExecutorIn(frozenset({kind.name})) & where
    jobs: list[Job[Data, Metadata]] = []
    size = _PAGE if limit is None else min(limit, _PAGE)
    while limit is None or len(jobs) < limit:
        page = await store.query(ours, limit=size, after=after)
        for record in page:
            try:
                jobs.append(decode(codecs, record))
            except DecodeError as error:
                log_event(JobUnreadable(record.id, kind.name, error))
        if len(page) < size:
            break
        after, size = page[-1].id, _PAGE  # undecodable jobs are left out, maybe many: read whole pages from here
    return jobs if limit is None else jobs[:limit]


async def update_job(
    kind: type[Executor[Data, Metadata]], job: Job[Data, Metadata], *, backend: Backend | None
) -> Job[Data, Metadata]:
    """Store the changed copy of a job; see `Executor.update_job`."""
    if not isinstance(job, Job):
        raise InvalidJobError(f"{kind.name}: update_job({job!r}): give a job, changed by dataclasses.replace")
    if job.executor != kind.name:
        raise JobNotFoundError(
            f"job {job.id}: is of {job.executor}, not of {kind.name}; call update_job of its executor"
        )
    if isinstance(job.tags, str):
        raise InvalidJobError(f"{kind.name}: update_job: the tags are {job.tags!r}; give a tuple of texts")
    store = current_backend(backend)
    builder = kind.builder().with_data(job.data).with_max_attempts(job.max_attempts).with_priority(job.priority)
    builder = builder.with_tags(*job.tags).schedule_at(job.scheduled_at)
    if job.metadata is not None:
        builder = builder.with_metadata(job.metadata)
    record = await store.update(job.id, builder.build(store.limits), version=version_of(job))
    return decode(codecs_of(kind, store.limits), record)


def version_of(job: Job[Any, Any]) -> int:
    """Return the version of the stored job that this copy was read at."""
    return job._version  # noqa: SLF001 - hidden from users only  # pyright: ignore[reportPrivateUsage]
