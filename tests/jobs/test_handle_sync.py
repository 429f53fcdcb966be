"""What code without an event loop asks of an enqueued job, on every backend there is."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    DecodeError,
    Executor,
    InMemoryBackend,
    Job,
    JobFailedError,
    JobHandle,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    Rexecutor,
    SQLiteBackend,
    enqueue_many,
    results,
    results_sync,
)
from rexecutor.testing import FakeClock
from tests.support import soon, status_of

LONG = timedelta(seconds=20)
SECOND = timedelta(seconds=1)


class Double(Executor[int, None, int]):
    name = "double"
    max_attempts = 1

    async def execute(self, job: Job[int]) -> int | Cancel:
        if job.data < 0:
            raise ValueError(f"{job.data} is negative")
        return 2 * job.data if job.data else Cancel("nothing to double")


class Other(Executor[int]):
    name = "other"

    async def execute(self, job: Job[int]) -> None: ...


async def enqueued(backend: Backend, *data: int) -> list[JobHandle[int, None, int]]:
    return await enqueue_many([Double.builder().with_data(one) for one in data], backend=backend)


class TestOnEachBackend:
    async def test_a_job_is_fetched_with_its_typed_data(self, backend: Backend) -> None:
        [handle] = await enqueued(backend, 7)

        job = await asyncio.to_thread(handle.fetch_sync)

        assert job == await handle.fetch()
        assert (job.data, job.status) == (7, JobStatus.SCHEDULED)

    async def test_threads_get_the_results_of_jobs_that_run_meanwhile(self, backend: Backend) -> None:
        async with Rexecutor(backend).with_executor(Double), asyncio.TaskGroup() as tasks:
            handles = await enqueued(backend, *range(1, 6))
            answers = [tasks.create_task(asyncio.to_thread(handle.result_sync, LONG)) for handle in handles]
            job = await soon(asyncio.to_thread(handles[0].wait_sync, LONG))
            together = await soon(asyncio.to_thread(results_sync, [*handles, handles[0]], LONG))

        expected = await results(handles)
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 1)
        assert [answer.result() for answer in answers] == expected
        assert together == [*expected, expected[0]]

    async def test_a_failed_job_is_an_error_with_the_job(self, backend: Backend) -> None:
        async with Rexecutor(backend).with_executor(Double):
            discarded, cancelled = await enqueued(backend, -1, 0)
            with pytest.raises(JobFailedError, match="-1 is negative") as caught:
                await soon(asyncio.to_thread(discarded.result_sync, LONG))
            with pytest.raises(JobFailedError, match="nothing to double"):
                await soon(asyncio.to_thread(cancelled.result_sync, LONG))
            ended = await asyncio.to_thread(cancelled.wait_sync, LONG)

        assert (caught.value.job.id, caught.value.job.data) == (discarded.id, -1)
        assert ended.status is JobStatus.CANCELLED

    async def test_the_first_failure_ends_a_wait_for_many(self, backend: Backend) -> None:
        handles = await enqueued(backend, 1, 2, 3)
        await handles[1].cancel("enough")

        with pytest.raises(JobFailedError, match="enough"):
            await soon(asyncio.to_thread(results_sync, handles, timedelta(hours=1)))

    async def test_a_job_that_has_not_ended_in_time_is_an_error_and_goes_on(self, backend: Backend) -> None:
        handles = await enqueued(backend, 1, 2)

        with pytest.raises(TimeoutError, match=r"job \d+ \(double\) is scheduled after 0:00:00"):
            await asyncio.to_thread(handles[0].wait_sync, timedelta(0))
        with pytest.raises(TimeoutError, match=r"2 of 2 jobs have not ended: job \d+ \(double\) is scheduled"):
            await asyncio.to_thread(results_sync, handles, timedelta(0))

        assert await status_of(backend, handles[0].id) is JobStatus.SCHEDULED

    async def test_a_job_that_is_not_there_is_an_error(self, backend: Backend) -> None:
        [handle] = await enqueued(backend, 1)
        for wrong, message in (
            (JobHandle(handle.id + 1, "existing", Double, backend), f"there is no job {handle.id + 1} of double"),
            (JobHandle(handle.id, "existing", Other, backend), f"job {handle.id} belongs to double, not to other"),
        ):
            await handle.cancel("so that it has ended")
            for act in (
                wrong.fetch_sync,
                lambda: wrong.wait_sync(LONG),  # noqa: B023 - called at once
                lambda: wrong.result_sync(LONG),  # noqa: B023
                lambda: wrong.cancel_sync("why"),  # noqa: B023
                wrong.rerun_sync,
            ):
                with pytest.raises(JobNotFoundError, match=message):
                    await soon(asyncio.to_thread(act))

    async def test_a_job_is_cancelled_and_rerun(self, backend: Backend) -> None:
        [handle] = await enqueued(backend, 1)

        with pytest.raises(JobStateError):
            await asyncio.to_thread(handle.rerun_sync)
        assert await asyncio.to_thread(handle.cancel_sync, "enough") is JobStatus.CANCELLED
        assert (await handle.fetch()).errors[-1].details == "enough"
        await asyncio.to_thread(handle.rerun_sync)

        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED

    async def test_what_is_not_valid_is_refused(self, backend: Backend) -> None:
        [handle] = await enqueued(backend, 1)

        with pytest.raises(ConfigurationError, match="wait_sync: timeout must be a timedelta, not 5"):
            handle.wait_sync(cast("timedelta", 5))
        with pytest.raises(ConfigurationError, match="result_sync: timeout must be a timedelta of"):
            handle.result_sync(-SECOND)
        with pytest.raises(ConfigurationError, match="results_sync: each handle must be a JobHandle"):
            results_sync([cast("JobHandle[Any, Any, Any]", handle.id)])
        with pytest.raises(ConfigurationError, match="cancel: reason must be a str"):
            handle.cancel_sync(cast("str", None))
        assert results_sync([]) == []

    async def test_data_that_no_longer_fit_are_an_error_of_a_fetch_and_a_wait(self, backend: Backend) -> None:
        [handle] = await enqueued(backend, 1)

        class Texts(Executor[str]):
            name = "double"

            async def execute(self, job: Job[str]) -> None: ...

        wrong = JobHandle(handle.id, "existing", Texts, backend)
        with pytest.raises(DecodeError, match="double: data: str expected"):
            await asyncio.to_thread(wrong.fetch_sync)
        await handle.cancel("enough")
        with pytest.raises(DecodeError, match="double: data: str expected"):
            await asyncio.to_thread(wrong.wait_sync, LONG)


async def test_a_result_is_typed() -> None:
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(Double):
        [handle] = await enqueued(backend, 21)

        assert await soon(asyncio.to_thread(handle.result_sync, LONG)) == 42


async def test_jobs_of_several_backends_share_one_timeout(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = InMemoryBackend(clock=clock), SQLiteBackend(tmp_path / "jobs.db", clock=clock)
    async with second:
        handles = [*await enqueued(first, 1), *await enqueued(second, 2)]
        waiting = asyncio.ensure_future(asyncio.to_thread(results_sync, handles, 10 * SECOND))
        while not first.sync_waits.threads:
            await asyncio.to_thread(lambda: None)
        clock.advance(10 * SECOND)

        with pytest.raises(TimeoutError, match=r"2 of 2 jobs have not ended: job 1 \(double\) is scheduled after 0:00"):
            await soon(waiting)


def test_a_backend_without_synchronous_methods_says_so() -> None:
    class Third(InMemoryBackend):
        query_sync = Backend.query_sync
        apply_sync = Backend.apply_sync

    handle = JobHandle(1, "existing", Double, Third())
    for act in (handle.fetch_sync, handle.wait_sync, handle.result_sync):
        with pytest.raises(ConfigurationError, match=r"Third does not support query_sync; use `await query\(…\)`"):
            act()
    for change in (lambda: handle.cancel_sync("why"), handle.rerun_sync):
        with pytest.raises(ConfigurationError, match=r"Third does not support apply_sync; use `await apply\(…\)`"):
            change()
