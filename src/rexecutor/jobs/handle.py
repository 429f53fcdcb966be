"""`JobHandle`, returned by an enqueue: the id of a job, and methods to fetch, await, cancel and rerun it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.backend.waits import Ends
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.results import job_of_record, result_of
from rexecutor.model.checks import checked_delay, checked_instance
from rexecutor.model.job import Data, Disposition, Job, JobId, JobRecord, Metadata, Result
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T")


class JobHandle(msgspec.Struct, Generic[Data, Metadata, Result], frozen=True):
    """A handle to an enqueued job, which may be waiting, running, ended or deleted by now."""

    id: JobId
    disposition: Disposition
    """What the enqueue did: `"inserted"`, or, by uniqueness criteria, `"existing"` or `"replaced"`."""
    executor: type[ExecutorDefinition[Data, Metadata, Result]]
    backend: Backend

    async def fetch(self) -> Job[Data, Metadata, Result]:
        """Return the job as it is now.

        Raises:
            JobNotFoundError: It is no longer stored, or is another executor's.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        found = await self.backend.query(Where.id_equals(self.id), limit=1)
        return _job(self, found[0] if found else None)

    async def wait(self, timeout: timedelta | None = None) -> Job[Data, Metadata, Result]:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job has ended, in any status, and return it.

        A thousand waits at once cost the store no more than one: they share their queries.

        Args:
            timeout: How long to wait at most, on the backend's clock. None for no limit: for ever if nobody runs
                the job.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobNotFoundError: It is no longer stored, or is another executor's.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        return (await _ended("wait", [self], timeout, _job))[0]

    async def result(self, timeout: timedelta | None = None) -> Result:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job is complete, and return what `execute` returned.

        None if the executor declares no result, or none was stored. After a rerun, the result of the new run.

        Args:
            timeout: How long to wait at most, as for `wait`.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobFailedError: The job is cancelled or discarded. The error's `job` has the reason in its last error.
            JobNotFoundError: It is no longer stored, for example because it was pruned, or is another executor's.
            DecodeError: The stored result is no longer of the executor's type. The job stays complete.
            BackendError: The store failed.
        """
        return (await _ended("result", [self], timeout, _result))[0]

    async def cancel(self, reason: str) -> JobStatus:
        """Cancel the job and return its status after that.

        A waiting job is cancelled at once. For a running job, its node learns of the request within a heartbeat. A job
        that has ended stays as it is.

        Raises:
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; repeat it.
        """
        return await self.backend.cancel(self.id, reason, executor=self.executor.name)

    async def rerun(self) -> None:
        """Run the ended job once more, at once. If no attempt is left, one more is allowed.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; whether it was done is not known.
        """
        await self.backend.rerun(self.id, executor=self.executor.name)


@overload
async def results(
    handles: Iterable[JobHandle[Any, Any, Result]],
    timeout: timedelta | None = None,  # noqa: ASYNC109 - a promise of the API
) -> list[Result]: ...
@overload
async def results(
    handles: Iterable[JobHandle[Any, Any, Any]],
    timeout: timedelta | None = None,  # noqa: ASYNC109 - as above
) -> list[Any]: ...
async def results(
    handles: Iterable[JobHandle[Any, Any, Any]],
    timeout: timedelta | None = None,  # noqa: ASYNC109 - a promise of the API
) -> list[Any]:
    """Wait until all jobs are complete, and return their results in the order of the handles.

    As with `asyncio.gather`, the first failure is raised at once; the other jobs go on. All jobs share their queries.

    ```python
    handles = await enqueue_many([Build.new(query) for query in queries])
    reports = await results(handles, timeout=timedelta(minutes=5))
    ```

    Args:
        handles: Jobs of one executor or of several, also on several backends. A job may be given more than once.
        timeout: How long to wait at most for all of them, on the backends' clocks. None for no limit.

    Raises:
        TimeoutError: Some jobs have not ended by then; they go on.
        JobFailedError: One of the jobs is cancelled or discarded.
        JobNotFoundError: One is no longer stored, or is another executor's.
        DecodeError: A stored result is no longer of its executor's type.
        BackendError: A store failed.
    """
    handles = list(handles)
    for handle in handles:
        checked_instance("results: each handle", handle, JobHandle, "a JobHandle, as `await ….enqueue(…)` returns it")
    return await _ended("results", handles, timeout, _result)


def _job(handle: JobHandle[Any, Any, Any], record: JobRecord | None) -> Job[Any, Any, Any]:
    return job_of_record(handle.executor, handle.id, record, handle.backend.limits)


def _result(handle: JobHandle[Any, Any, Any], record: JobRecord | None) -> Any:
    return result_of(handle.executor, handle.id, record, handle.backend.limits)


async def _ended(
    what: str,
    handles: Sequence[JobHandle[Any, Any, Any]],
    timeout: timedelta | None,  # noqa: ASYNC109 - passed on
    read: Callable[[JobHandle[Any, Any, Any], JobRecord | None], T],
) -> list[T]:
    """Wait until the jobs have ended, and return what `read` makes of each, in order. Its first error is raised."""
    if timeout is not None:
        checked_delay(f"{what}: timeout", timeout)
    values: dict[int, T] = {}
    unended: dict[int, JobStatus | None] = {}
    of_backend: dict[int, dict[JobId, list[int]]] = {}
    for place, handle in enumerate(handles):
        of_backend.setdefault(id(handle.backend), {}).setdefault(handle.id, []).append(place)

    async def wait(places: Mapping[JobId, list[int]]) -> None:
        def take(ends: Ends) -> None:
            for place in sorted(place for job_id in ends for place in places[job_id]):
                values[place] = read(handles[place], ends[handles[place].id])

        [first, *_] = next(iter(places.values()))
        left = await handles[first].backend.waits.wait(places, take, timeout=timeout)
        unended.update((place, left[job_id]) for job_id in left for place in places[job_id])

    if len(of_backend) == 1:
        await wait(*of_backend.values())
    else:
        await _all_of(wait(places) for places in of_backend.values())
    if unended:
        raise TimeoutError(_late(handles, unended, timeout))
    return [values[place] for place in range(len(handles))]


async def _all_of(waits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all at the same time. Raise the first error as it is."""
    failed: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for wait in waits:
                tasks.create_task(wait)
    except ExceptionGroup as group:
        failed = group.exceptions[0]
    if failed is not None:
        raise failed


def _late(
    handles: Sequence[JobHandle[Any, Any, Any]], unended: Mapping[int, JobStatus | None], timeout: timedelta | None
) -> str:
    """Return the message for jobs that have not ended in time."""
    place = min(unended)
    handle, status = handles[place], unended[place]
    name = f"job {handle.id} ({handle.executor.name})"
    if status is None:
        one = f"{name}: the store did not respond within {timeout}"
    else:
        one = f"{name} is {status} after {timeout}"
    if len(handles) == 1:
        return one
    return f"{len(unended):,} of {len(handles):,} jobs have not ended: {one}"
