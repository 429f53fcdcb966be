"""What an executor's class does with its stored jobs, with an event loop and without one."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from rexecutor.backend.app_transaction import (
    SyncTransaction,
    Transaction,
    awaited,
    backend_of,
    blocking,
    bound,
)
from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.backend.messages import Count, Pause
from rexecutor.backend.pages import Page, Reading, read, read_sync
from rexecutor.errors import DecodeError, InvalidJobError, JobNotFoundError
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.enqueue import JobBuilder
from rexecutor.jobs.handle import JobHandle
from rexecutor.jobs.results import job_of_record
from rexecutor.jobs.types import codecs_of, decode
from rexecutor.model.checks import checked_id, checked_instance, checked_int, checked_texts
from rexecutor.model.job import Data, Job, JobId, Limits, Metadata, NewJob, Result
from rexecutor.model.status import JobStatus
from rexecutor.model.where import ExecutorIn, Where
from rexecutor.telemetry.events import JobUnreadable
from rexecutor.telemetry.subscribers import emit

_PAGE: Final = 1_000


class StoredJobs(ExecutorDefinition[Data, Metadata, Result]):
    """The part of `Executor` for jobs that are stored. A method with `_sync` blocks the thread, and needs no loop."""

    @classmethod
    def handle(cls, job_id: JobId, *, backend: Backend | None = None) -> JobHandle[Data, Metadata, Result]:
        """Return a handle to the job with this id. No I/O: the job need not exist.

        Args:
            job_id: The job's id, as `JobHandle.id` or `Job.id` has it.
            backend: Where the job is stored; None for the global backend.

        Raises:
            ConfigurationError: The id is not an int.
            GlobalBackendError: No backend was given and there is no global one.
        """
        return JobHandle(checked_id(f"{cls.name}: handle: job_id", job_id), "existing", cls, current_backend(backend))

    @classmethod
    async def get_job(
        cls, job_id: JobId, *, backend: Backend | Transaction | None = None, connection: object = None
    ) -> Job[Data, Metadata, Result]:
        """Return the job with this id as it is now.

        Args:
            job_id: The job's id, as `JobHandle.id` or `Job.id` has it.
            backend: Where to look; None for the global backend.
            connection: Your own connection or session, to see what your transaction has enqueued and changed.

        Raises:
            JobNotFoundError: There is no such job, or it is another executor's.
            DecodeError: Its data is not, or no longer, of the executor's type.
            ConfigurationError: The id is not an int, or the connection cannot be used as it is.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed.
        """
        checked_id(f"{cls.name}: get_job: job_id", job_id)
        target = _awaited(cls, "get_job", backend, connection)
        found = await target.query(Where.id_equals(job_id), limit=1)
        return job_of_record(cls, job_id, found[0] if found else None, backend_of(target).limits)

    @classmethod
    def get_job_sync(
        cls, job_id: JobId, *, backend: Backend | SyncTransaction | None = None, connection: object = None
    ) -> Job[Data, Metadata, Result]:
        """Return the job with this id as it is now, as `get_job` does, without an event loop.

        The arguments and errors are those of `get_job`, with a connection that blocks. The backend need not be open.

        Raises:
            JobNotFoundError: There is no such job, or it is another executor's.
            ConfigurationError: The id is not an int, the connection cannot be used as it is, or the backend has no
                synchronous queries.
        """
        checked_id(f"{cls.name}: get_job_sync: job_id", job_id)
        target = _blocking(cls, "get_job", backend, connection)
        found = target.query_sync(Where.id_equals(job_id), limit=1)
        return job_of_record(cls, job_id, found[0] if found else None, backend_of(target).limits)

    @classmethod
    async def count_jobs(
        cls, where: Where | None = None, *, backend: Backend | Transaction | None = None, connection: object = None
    ) -> Mapping[JobStatus, int]:
        """Return how many jobs of this executor there are in each status, 0 if there are none.

        ```python
        counts = await EmailJob.count_jobs(Where.tagged_by_one_of("welcome"))
        print(counts[JobStatus.DISCARDED], sum(counts.values()))
        ```

        Reads all of the executor's rows, so it takes seconds if there are millions.

        Args:
            where: Which jobs; None for all.
            backend: Where to count; None for the global backend.
            connection: Your own connection or session, to see what your transaction has enqueued and changed.

        Raises:
            ConfigurationError: An argument is invalid.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed.
        """
        ours = _ours(cls, "count_jobs", where)
        return _by_status(await _awaited(cls, "count_jobs", backend, connection).count(ours))

    @classmethod
    def count_jobs_sync(
        cls, where: Where | None = None, *, backend: Backend | SyncTransaction | None = None, connection: object = None
    ) -> Mapping[JobStatus, int]:
        """Return how many jobs of this executor there are in each status as `count_jobs` does, without an event loop.

        The arguments and errors are those of `count_jobs`, with a connection that blocks. The backend need not be open.

        Raises:
            ConfigurationError: An argument is invalid, or the backend has no synchronous count.
        """
        ours = _ours(cls, "count_jobs_sync", where)
        return _by_status(_blocking(cls, "count_jobs", backend, connection).count_sync(ours))

    @classmethod
    async def query_jobs(
        cls,
        where: Where,
        *,
        limit: int | None = None,
        after: JobId | None = None,
        newest: bool = False,
        backend: Backend | Transaction | None = None,
        connection: object = None,
    ) -> list[Job[Data, Metadata, Result]]:
        """Return this executor's jobs that match the expression, in order of id: the oldest first.

        A job that cannot be decoded is left out and logged as a warning.

        Args:
            where: Which jobs.
            limit: The most jobs to return, 1 or more; None for all. For the next page, pass the last id as `after`.
            after: Return only jobs that come after the one with this id.
            newest: Whether to return the newest jobs first.
            backend: Where to look; None for the global backend.
            connection: Your own connection or session, to see what your transaction has enqueued and changed. The same
                as `backend=backend.bound_to(connection)`.

        Raises:
            ConfigurationError: An argument is invalid.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed.
        """
        target = _awaited(cls, "query_jobs", backend, connection)
        return await read(
            target, _matching(cls, "query_jobs", where, limit, after, backend_of(target).limits, newest=newest)
        )

    @classmethod
    def query_jobs_sync(
        cls,
        where: Where,
        *,
        limit: int | None = None,
        after: JobId | None = None,
        newest: bool = False,
        backend: Backend | SyncTransaction | None = None,
        connection: object = None,
    ) -> list[Job[Data, Metadata, Result]]:
        """Return this executor's jobs that match the expression as `query_jobs` does, without an event loop.

        The arguments and errors are those of `query_jobs`, with a connection that blocks. The backend need not be open.

        Raises:
            ConfigurationError: An argument is invalid, or the backend has no synchronous queries.
        """
        target = _blocking(cls, "query_jobs", backend, connection)
        return read_sync(
            target, _matching(cls, "query_jobs_sync", where, limit, after, backend_of(target).limits, newest=newest)
        )

    @classmethod
    async def update_job(
        cls, job: Job[Data, Metadata, Any], *, backend: Backend | Transaction | None = None, connection: object = None
    ) -> Job[Data, Metadata, Result]:
        """Store a changed copy of a job that has not ended, and return the job as it is stored then.

        ```python
        await EmailJob.update_job(dataclasses.replace(job, priority=1))
        ```

        Data, metadata, priority, tags, `max_attempts`, `scheduled_at` and `expires_at` are stored. Everything else
        stays as it is, including the status. Atomic, and optimistic: if the job has changed since the copy was read,
        nothing is stored.

        Args:
            job: The changed copy.
            backend: Where the job is stored; None for the global backend.
            connection: Your own connection or session, for a change that is part of your transaction. Until you commit
                it, others wait for the job, also the node that runs it.

        Raises:
            StaleJobError: The job has changed since the copy was read. The start or end of an attempt is a change too.
            JobStateError: It has ended.
            JobNotFoundError: There is no such job of this executor.
            InvalidJobError: The job cannot be stored; an `EncodeError` if the cause is its data or metadata.
            ConfigurationError: The connection is a synchronous one, or cannot be used as it is; nothing was changed.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        _check_copy(cls, "update_job", job)
        target = _awaited(cls, "update_job", backend, connection)
        limits = backend_of(target).limits
        record = await target.update(job.id, _as_new(cls, job, limits), version=version_of(job))
        return decode(codecs_of(cls, limits), record)

    @classmethod
    def update_job_sync(
        cls,
        job: Job[Data, Metadata, Any],
        *,
        backend: Backend | SyncTransaction | None = None,
        connection: object = None,
    ) -> Job[Data, Metadata, Result]:
        """Store a changed copy of a job that has not ended as `update_job` does, without an event loop.

        The arguments and errors are those of `update_job`, with a connection that blocks. The backend need not be open.

        Raises:
            StaleJobError: The job has changed since the copy was read.
            ConfigurationError: The connection is an asynchronous one or cannot be used as it is, or the backend has no
                synchronous changes; nothing was changed.
        """
        _check_copy(cls, "update_job_sync", job)
        target = _blocking(cls, "update_job", backend, connection)
        limits = backend_of(target).limits
        record = target.update_sync(job.id, _as_new(cls, job, limits), version=version_of(job))
        return decode(codecs_of(cls, limits), record)

    @classmethod
    async def cancel_job(
        cls,
        job_id: JobId,
        reason: str,
        *,
        backend: Backend | Transaction | None = None,
        connection: object = None,
    ) -> JobStatus:
        """Cancel a job and return its status after that.

        A waiting job is cancelled at once. If a node has claimed the job, it learns of the request within a heartbeat,
        and cancels the attempt or does not begin it. If the attempt ends before that, its outcome counts. A job that
        has ended stays as it is.

        Args:
            job_id: The job.
            reason: Why, for people; it becomes the job's last error.
            backend: Where the job is stored; None for the global backend.
            connection: Your own connection or session, for a cancel that is part of your transaction; see `update_job`.

        Raises:
            JobNotFoundError: There is no such job of this executor.
            ConfigurationError: An argument is invalid, or the connection is a synchronous one or cannot be used as it
                is; nothing was changed.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; repeat it.
        """
        return await _awaited(cls, "cancel_job", backend, connection).cancel(job_id, reason, executor=cls.name)

    @classmethod
    def cancel_job_sync(
        cls,
        job_id: JobId,
        reason: str,
        *,
        backend: Backend | SyncTransaction | None = None,
        connection: object = None,
    ) -> JobStatus:
        """Cancel a job and return its status after that, as `cancel_job` does, without an event loop.

        The arguments and errors are those of `cancel_job`, with a connection that blocks. The backend need not be open.

        Raises:
            JobNotFoundError: There is no such job of this executor.
            ConfigurationError: An argument is invalid, the connection is an asynchronous one or cannot be used as it
                is, or the backend has no synchronous changes; nothing was changed.
        """
        return _blocking(cls, "cancel_job", backend, connection).cancel_sync(job_id, reason, executor=cls.name)

    @classmethod
    async def rerun_job(
        cls, job_id: JobId, *, backend: Backend | Transaction | None = None, connection: object = None
    ) -> None:
        """Run an ended job once more, at once. If no attempt is left, one more is allowed.

        Args:
            job_id: The job.
            backend: Where the job is stored; None for the global backend.
            connection: Your own connection or session, for a rerun that is part of your transaction; see `update_job`.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: There is no such job of this executor.
            ConfigurationError: An argument is invalid, or the connection is a synchronous one or cannot be used as it
                is; nothing was changed.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; whether it was done is not known.
        """
        await _awaited(cls, "rerun_job", backend, connection).rerun(job_id, executor=cls.name)

    @classmethod
    def rerun_job_sync(
        cls, job_id: JobId, *, backend: Backend | SyncTransaction | None = None, connection: object = None
    ) -> None:
        """Run an ended job once more, at once, as `rerun_job` does, without an event loop.

        The arguments and errors are those of `rerun_job`, with a connection that blocks. The backend need not be open.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: There is no such job of this executor.
            ConfigurationError: An argument is invalid, the connection is an asynchronous one or cannot be used as it
                is, or the backend has no synchronous changes; nothing was changed.
        """
        _blocking(cls, "rerun_job", backend, connection).rerun_sync(job_id, executor=cls.name)

    @classmethod
    async def pause_jobs(
        cls, reason: str, *, lasting: timedelta | None = None, backend: Backend | None = None
    ) -> Pause:
        """Pause this executor on all nodes, until the time is over or `resume_jobs` is called.

        ```python
        await EmailJob.pause_jobs("the provider is down", lasting=timedelta(hours=1))
        ```

        After this has returned, no claim that begins later takes a job of it. Jobs that a node has claimed before go
        on. Jobs can be enqueued as always, also by schedules, and wait; they still expire. The pause is stored, so it
        outlives a restart. If the executor is paused already, the reason and the end are replaced.

        Args:
            reason: Shown to people who ask why the jobs wait, such as by `rexecutor why`; see `Backend.pause`.
            lasting: How long, on the store's clock; above zero, at most 1,000 years. None until `resume_jobs`.
            backend: The store; None for the global backend.

        Returns:
            The pause as it is now in force.

        Raises:
            ConfigurationError: An argument is not valid.
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; repeat it.
        """
        return await current_backend(backend).pause(cls.name, reason, lasting=lasting)

    @classmethod
    def pause_jobs_sync(cls, reason: str, *, lasting: timedelta | None = None, backend: Backend | None = None) -> Pause:
        """Pause this executor on all nodes, as `pause_jobs` does, without an event loop.

        The arguments and errors are those of `pause_jobs`. The backend need not be open.

        Raises:
            ConfigurationError: An argument is not valid, or the backend has no synchronous changes.
        """
        return current_backend(backend).pause_sync(cls.name, reason, lasting=lasting)

    @classmethod
    async def resume_jobs(cls, *, backend: Backend | None = None) -> bool:
        """End the pause of this executor, and wake the nodes. Return whether it was paused.

        A pause of all executors is not ended by this: `await backend.resume("*")` ends it.

        Args:
            backend: The store; None for the global backend.

        Raises:
            GlobalBackendError: No backend was given and there is no global one.
            BackendError: The store failed; repeat it.
        """
        return await current_backend(backend).resume(cls.name)

    @classmethod
    def resume_jobs_sync(cls, *, backend: Backend | None = None) -> bool:
        """End the pause of this executor, as `resume_jobs` does, without an event loop.

        The errors are those of `resume_jobs`. The backend need not be open.

        Raises:
            ConfigurationError: The backend has no synchronous changes.
        """
        return current_backend(backend).resume_sync(cls.name)


def version_of(job: Job[Any, Any, Any]) -> int:
    """Return the version of the stored job that this copy was read at."""
    return job._version  # noqa: SLF001 - hidden from users only  # pyright: ignore[reportPrivateUsage]


def _awaited(
    executor_cls: type[ExecutorDefinition[Any, Any, Any]],
    name: str,
    backend: Backend | Transaction | None,
    connection: object,
) -> Backend | Transaction:
    """Return where the asynchronous method of this name goes."""
    what = f"{executor_cls.name}: {name}"
    return awaited(backend if connection is None else bound(what, backend, connection), what, f"{name}_sync")


def _blocking(
    executor_cls: type[ExecutorDefinition[Any, Any, Any]],
    name: str,
    backend: Backend | SyncTransaction | None,
    connection: object,
) -> Backend | SyncTransaction:
    """Return where the synchronous twin of the method of this name goes."""
    what = f"{executor_cls.name}: {name}_sync"
    return blocking(backend if connection is None else bound(what, backend, connection), what, f"`await {name}`")


def _ours(executor_cls: type[ExecutorDefinition[Any, Any, Any]], name: str, where: Where | None) -> Where:
    """Return the condition for those of the executor's jobs that match; None for all of them."""
    ours = ExecutorIn(frozenset({executor_cls.name}))
    if where is None:
        return ours
    what = f"{executor_cls.name}: {name}: where"
    return ours & checked_instance(what, where, Where, "a Where, such as Where.status_equals(…)")


def _by_status(counts: Iterable[Count]) -> dict[JobStatus, int]:
    found = {count.status: count.jobs for count in counts}
    return {status: found.get(status, 0) for status in JobStatus}


def _matching(
    executor_cls: type[ExecutorDefinition[Data, Metadata, Result]],
    name: str,
    where: Where,
    limit: int | None,
    after: JobId | None,
    limits: Limits,
    *,
    newest: bool,
) -> Reading[list[Job[Data, Metadata, Result]]]:
    """Read the executor's jobs that match; see `query_jobs`."""
    what = f"{executor_cls.name}: {name}"
    checked_int(f"{what}: limit", limit, 1, or_none=True)
    checked_int(f"{what}: after", after, or_none=True)
    checked_instance(f"{what}: where", where, Where, "a Where, such as Where.status_equals(…)")
    codecs = codecs_of(executor_cls, limits)
    ours = _ours(executor_cls, name, where)
    jobs: list[Job[Data, Metadata, Result]] = []
    size = _PAGE if limit is None else min(limit, _PAGE)
    while limit is None or len(jobs) < limit:
        page = yield Page(ours, size, after, newest)
        for record in page:
            try:
                jobs.append(decode(codecs, record))
            except DecodeError as error:
                emit(JobUnreadable(record.id, executor_cls.name, error))
        if len(page) < size:
            break
        after, size = page[-1].id, _PAGE  # undecodable jobs are left out, maybe many: read whole pages from here
    return jobs if limit is None else jobs[:limit]


def _check_copy(executor_cls: type[ExecutorDefinition[Any, Any, Any]], name: str, job: Job[Any, Any, Any]) -> None:
    """Raise unless the job is a copy of one of the executor's jobs."""
    what = f"{executor_cls.name}: {name}"
    checked_instance(f"{what}: job", job, Job, "a Job, changed by dataclasses.replace", error=InvalidJobError)
    if job.executor != executor_cls.name:
        raise JobNotFoundError(
            f"job {job.id} belongs to {job.executor}, not to {executor_cls.name}; call {name} of its executor"
        )
    checked_texts(f"{what}: tags", job.tags, error=InvalidJobError)


def _as_new(
    executor_cls: type[ExecutorDefinition[Data, Metadata, Any]], job: Job[Data, Metadata, Any], limits: Limits
) -> NewJob:
    """Return the fields of the job that an update stores, checked and encoded."""
    builder = JobBuilder(executor_cls).with_data(job.data).with_max_attempts(job.max_attempts)
    builder = builder.unique(None)  # an update leaves the key as it is
    builder = builder.with_priority(job.priority).with_tags(*job.tags).schedule_at(job.scheduled_at)
    if job.metadata is not None:
        builder = builder.with_metadata(job.metadata)
    if job.expires_at is not None:
        builder = builder.expires_at(job.expires_at)
    return builder.build(limits)
