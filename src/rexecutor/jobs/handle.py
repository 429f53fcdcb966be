"""`JobHandle`, returned by an enqueue: the id of a job, and methods to fetch, await, cancel and rerun it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, overload

import msgspec
from typing_extensions import TypeVar

from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.backend.waits import Ends, Unended
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.results import job_of_record, result_of
from rexecutor.model.checks import checked_delay, checked_id, checked_instance, mistake
from rexecutor.model.job import Data, Disposition, Job, JobId, JobRecord, Metadata, Result
from rexecutor.model.json_form import NotData
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T", default=Any)


class JobHandle(NotData, msgspec.Struct, Generic[Data, Metadata, Result], frozen=True, gc=False):
    """A handle to an enqueued job, which may be waiting, running, ended or deleted by now."""

    id: JobId
    disposition: Disposition
    """What the enqueue did: `"inserted"`, or, by uniqueness criteria, `"existing"` or `"replaced"`."""
    executor: type[ExecutorDefinition[Data, Metadata, Result]] | None
    """The job's executor; None for a handle made by `job_handle`."""
    backend: Backend

    async def fetch(self) -> Job[Data, Metadata, Result]:
        """Return the job as it is now.

        Raises:
            JobNotFoundError: The job is no longer stored, or is another executor's.
            DecodeError: Its data, metadata or result is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        found = await self.backend.query(Where.id_equals(self.id), limit=1)
        return _job(self, found[0] if found else None)

    async def wait(self, timeout: timedelta | None = None) -> Job[Data, Metadata, Result]:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job has ended, in any status, and return it.

        A thousand waits at once cost the store no more than one: they share their queries.

        Args:
            timeout: How long to wait at most, on the backend's clock; zero looks once. None for no limit: for ever if
                nobody runs the job.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobNotFoundError: The job is no longer stored, or is another executor's.
            DecodeError: Its data, metadata or result is not, or no longer, of the executor's type.
            ConfigurationError: The timeout is not a timedelta, or is below zero.
            BackendError: The store failed.
        """
        return (await _ended("wait", [self], timeout, _job))[0]

    async def result(self, timeout: timedelta | None = None) -> Result:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job is complete, and return what `execute` returned.

        Returns None if the executor declares no result, or if none was stored. After a rerun, returns the result of the
        new run.

        Args:
            timeout: How long to wait at most, as for `wait`.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobFailedError: The job is cancelled or discarded. The error's `job` has the reason in its last error.
            JobNotFoundError: It is no longer stored, for example because it was pruned, or is another executor's.
            DecodeError: The stored result is no longer of the executor's type. The job stays complete.
            ConfigurationError: The timeout is not a timedelta, or is below zero.
            BackendError: The store failed.
        """
        return (await _ended("result", [self], timeout, _result))[0]

    async def cancel(self, reason: str) -> JobStatus:
        """Cancel the job and return its status after that.

        A waiting job is cancelled at once. If a node has claimed the job, it learns of the request within a heartbeat,
        and cancels the attempt or does not begin it. A job that has ended stays as it is. Atomic.

        Args:
            reason: Kept as the details of the job's last error. If it is longer than `Limits.error_text` characters, it
                loses its middle.

        Raises:
            ConfigurationError: The reason is not a str.
            JobNotFoundError: The job is no longer stored, or is another executor's.
            BackendError: The store failed; call it again, which does no harm if the job is cancelled by then.
        """
        return await self.backend.cancel(self.id, reason, executor=_executor_of(self))

    async def rerun(self) -> None:
        """Run the ended job once more, at once. If no attempt is left, one more is allowed. Atomic.

        Raises:
            JobStateError: The job has not ended.
            JobNotFoundError: It is no longer stored, or is another executor's.
            BackendError: The store failed; whether it was done is not known.
        """
        await self.backend.rerun(self.id, executor=_executor_of(self))

    def fetch_sync(self) -> Job[Data, Metadata, Result]:
        """Return the job as it is now, as `fetch` does, from code without an event loop.

        Blocks the calling thread, as all methods with `_sync` do. The backend need not be open.

        Raises:
            JobNotFoundError: The job is no longer stored, or is another executor's.
            DecodeError: Its data, metadata or result is not, or no longer, of the executor's type.
            ConfigurationError: The backend has no synchronous queries.
            BackendError: The store failed.
        """
        found = self.backend.query_sync(Where.id_equals(self.id), limit=1)
        return _job(self, found[0] if found else None)

    def wait_sync(self, timeout: timedelta | None = None) -> Job[Data, Metadata, Result]:
        """Block until the job has ended, in any status, and return it, as `wait` does.

        For code without an event loop. The backend need not be open. Threads that wait at the same moment share their
        queries. On a `FakeClock` the timeout passes only if another thread moves the clock.

        Args:
            timeout: How long to wait at most, on the backend's clock; zero looks once. None for no limit: for ever if
                nobody runs the job.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobNotFoundError: The job is no longer stored, or is another executor's.
            DecodeError: Its data, metadata or result is not, or no longer, of the executor's type.
            ConfigurationError: The timeout is not a timedelta, or is below zero; the backend has no synchronous
                queries; or an event loop runs in this thread, and without a timeout the wait could block it for ever.
            BackendError: The store failed.
        """
        return _ended_sync("wait_sync", [self], timeout, _job)[0]

    def result_sync(self, timeout: timedelta | None = None) -> Result:
        """Block until the job is complete, and return what `execute` returned, as `result` does.

        For code without an event loop; see `wait_sync`.

        Args:
            timeout: How long to wait at most, as for `wait_sync`.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobFailedError: The job is cancelled or discarded. The error's `job` has the reason in its last error.
            JobNotFoundError: It is no longer stored, for example because it was pruned, or is another executor's.
            DecodeError: The stored result is no longer of the executor's type. The job stays complete.
            ConfigurationError: As for `wait_sync`.
            BackendError: The store failed.
        """
        return _ended_sync("result_sync", [self], timeout, _result)[0]

    def cancel_sync(self, reason: str) -> JobStatus:
        """Cancel the job and return its status after that, as `cancel` does, from code without an event loop.

        Raises:
            JobNotFoundError: The job is no longer stored, or is another executor's.
            ConfigurationError: The reason is not a str, or the backend has no synchronous changes.
            BackendError: The store failed; call it again, as for `cancel`.
        """
        return self.backend.cancel_sync(self.id, reason, executor=_executor_of(self))

    def rerun_sync(self) -> None:
        """Run the ended job once more, at once, as `rerun` does, from code without an event loop.

        Raises:
            JobStateError: The job has not ended.
            JobNotFoundError: It is no longer stored, or is another executor's.
            ConfigurationError: The backend has no synchronous changes.
            BackendError: The store failed; whether it was done is not known.
        """
        self.backend.rerun_sync(self.id, executor=_executor_of(self))


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
        ConfigurationError: A handle is not a `JobHandle`, or the timeout is not a timedelta or is below zero.
        BackendError: A store failed.
    """
    return await _ended("results", _checked("results", handles), timeout, _result)


@overload
def results_sync(handles: Iterable[JobHandle[Any, Any, Result]], timeout: timedelta | None = None) -> list[Result]: ...
@overload
def results_sync(handles: Iterable[JobHandle[Any, Any, Any]], timeout: timedelta | None = None) -> list[Any]: ...
def results_sync(handles: Iterable[JobHandle[Any, Any, Any]], timeout: timedelta | None = None) -> list[Any]:
    """Block until all jobs are complete, and return their results in the order of the handles, as `results` does.

    Args:
        handles: Jobs of one executor or of several. Those of several backends are awaited one backend after the other.
        timeout: How long to wait at most for all of them, on the backends' clocks. None for no limit.

    Raises:
        TimeoutError: Some jobs have not ended by then; they go on.
        JobFailedError: One of the jobs is cancelled or discarded.
        JobNotFoundError: One is no longer stored, or is another executor's.
        DecodeError: A stored result is no longer of its executor's type.
        ConfigurationError: A handle is not a `JobHandle`; otherwise as for `JobHandle.wait_sync`.
        BackendError: A store failed.
    """
    return _ended_sync("results_sync", _checked("results_sync", handles), timeout, _result)


def _checked(what: str, handles: Iterable[JobHandle[Any, Any, Any]]) -> list[JobHandle[Any, Any, Any]]:
    if not isinstance(handles, Iterable):
        raise mistake(f"{what}: handles", "an iterable of JobHandles", handles, "put them in a list")
    handles = list(handles)
    for handle in handles:
        checked_instance(f"{what}: each handle", handle, JobHandle, "a JobHandle, as an enqueue returns it")
    return handles


def job_handle(job_id: JobId, backend: Backend | None = None) -> JobHandle[Any, Any, Any]:
    """Return a handle to a job of which only the id is known. No I/O: the job need not exist.

    Its `fetch` and `wait` return a `Job` with plain JSON values: data, metadata and result are dicts, lists, texts,
    numbers, booleans or None. If you know the executor, use its `handle(job_id)`, whose data are typed.

    ```python
    found = await job_handle(7).fetch()
    print(found.executor, found.status, found.data)
    ```

    Args:
        job_id: The job's id, as `JobHandle.id` or `Job.id` has it.
        backend: Where the job is stored; None for the global backend.

    Raises:
        ConfigurationError: The id is not an int.
        GlobalBackendError: No backend was given and there is no global one.
    """
    return JobHandle(checked_id("job_handle: job_id", job_id), "existing", None, current_backend(backend))


def _executor_of(handle: JobHandle[Any, Any, Any]) -> str | None:
    return None if handle.executor is None else handle.executor.name


def _job(handle: JobHandle[Any, Any, Any], record: JobRecord | None) -> Job[Any, Any, Any]:
    return job_of_record(handle.executor, handle.id, record, handle.backend.limits)


def _result(handle: JobHandle[Any, Any, Any], record: JobRecord | None) -> Any:
    return result_of(handle.executor, handle.id, record, handle.backend.limits)


class _Awaited(Generic[T]):
    """Handles whose jobs are awaited, and what was found of them. For waits with and without an event loop."""

    def __init__(
        self,
        what: str,
        handles: Sequence[JobHandle[Any, Any, Any]],
        timeout: timedelta | None,
        read: Callable[[JobHandle[Any, Any, Any], JobRecord | None], T],
    ) -> None:
        if timeout is not None:
            checked_delay(f"{what}: timeout", timeout)
        self._handles = handles
        self._timeout = timeout
        self._read = read
        self._values: dict[int, T] = {}
        self._unended: dict[int, JobStatus | None] = {}
        of_backend: dict[int, list[int]] = {}
        for place, handle in enumerate(handles):
            of_backend.setdefault(id(handle.backend), []).append(place)
        self.groups: Final = list(of_backend.values())
        """The places of the handles, by backend."""

    def backend(self, places: list[int]) -> Backend:
        """Return the backend of a group."""
        return self._handles[places[0]].backend

    def ids(self, places: list[int]) -> list[JobId]:
        """Return the jobs of a group."""
        return [self._handles[place].id for place in places]

    def take(self, places: list[int], ends: Ends) -> None:
        """Read jobs of a group that have ended."""
        for place in places:
            if (handle := self._handles[place]).id in ends:
                self._values[place] = self._read(handle, ends[handle.id])

    def leave(self, places: list[int], left: Unended) -> None:
        """Note the jobs of a group that have not ended in time."""
        self._unended |= {place: left[job_id] for place in places if (job_id := self._handles[place].id) in left}

    def values(self) -> list[T]:
        """Return what was read, in the order of the handles; raise a `TimeoutError` if a job has not ended."""
        if self._unended:
            raise TimeoutError(_late(self._handles, self._unended, self._timeout))
        return [self._values[place] for place in range(len(self._handles))]


async def _ended(
    what: str,
    handles: Sequence[JobHandle[Data, Metadata, Result]],
    timeout: timedelta | None,  # noqa: ASYNC109 - passed on
    read: Callable[[JobHandle[Data, Metadata, Result], JobRecord | None], T],
) -> list[T]:
    """Wait until the jobs have ended, and return what `read` makes of each, in order. Its first error is raised."""
    awaited = _Awaited(what, handles, timeout, read)

    async def wait(places: list[int]) -> None:
        waits, ids = awaited.backend(places).waits, awaited.ids(places)
        awaited.leave(places, await waits.wait(ids, partial(awaited.take, places), timeout=timeout))

    if len(awaited.groups) == 1:
        await wait(*awaited.groups)
    else:
        await _all_of(wait(places) for places in awaited.groups)
    return awaited.values()


def _ended_sync(
    what: str,
    handles: Sequence[JobHandle[Data, Metadata, Result]],
    timeout: timedelta | None,
    read: Callable[[JobHandle[Data, Metadata, Result], JobRecord | None], T],
) -> list[T]:
    """Wait as `_ended` does, and block the thread meanwhile."""
    awaited = _Awaited(what, handles, timeout, read)
    left = timeout
    for places in awaited.groups:
        backend = awaited.backend(places)
        began = backend.clock.monotonic()
        take = partial(awaited.take, places)
        awaited.leave(places, backend.sync_waits.wait(awaited.ids(places), take, timeout=left))
        if left is not None:
            left = max(left - timedelta(seconds=backend.clock.monotonic() - began), timedelta(0))
    return awaited.values()


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
    name = f"job {handle.id}" + ("" if handle.executor is None else f" ({handle.executor.name})")
    if status is None:
        one = f"{name}: the store did not respond within {timeout}"
    else:
        one = f"{name} is {status} after {timeout}"
    if len(handles) == 1:
        return one
    return f"{len(unended):,} of {len(handles):,} jobs have not ended: {one}"
