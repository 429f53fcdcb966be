"""Jobs of which only the id is known, and how many there are: `get_job`, `handle`, `job_handle`, `count_jobs`."""

import asyncio
import pickle
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    DecodeError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    Job,
    JobFailedError,
    JobHandle,
    JobNotFoundError,
    JobStatus,
    Rexecutor,
    Where,
    enqueue_many,
    job_handle,
    override_global_backend,
)
from rexecutor.model.job import JobId
from rexecutor.testing import drain
from tests.support import soon

NO_IDS: list[Any] = ["7", 7.0, True, None, UUID(int=7), [7], b"7"]


@dataclass
class Letter:
    to: str
    copies: int = 1


@dataclass
class Trace:
    by: str


class SendLetter(Executor[Letter, Trace, tuple[int, str]]):
    name = "send_letter"

    async def execute(self, job: Job[Letter, Trace]) -> tuple[int, str]:
        return (job.data.copies, job.data.to)


class Tick(Executor[None]):
    name = "tick"

    async def execute(self, job: Job[None]) -> None: ...


async def enqueued(backend: Backend) -> JobId:
    handle = await SendLetter.enqueue(Letter("bob"), metadata=Trace("me"), tags=["t"], backend=backend)
    return handle.id


class TestGetJob:
    async def test_it_is_the_job_with_its_types(self, backend: Backend) -> None:
        job_id = await enqueued(backend)

        job = await SendLetter.get_job(job_id, backend=backend)

        assert (job.id, job.data, job.metadata, job.tags) == (job_id, Letter("bob"), Trace("me"), ("t",))

    async def test_the_global_backend_is_used_if_none_is_given(self) -> None:
        with override_global_backend(InMemoryBackend()) as backend:
            assert (await SendLetter.get_job(await enqueued(backend))).data == Letter("bob")
        with pytest.raises(GlobalBackendError):
            await SendLetter.get_job(1)

    @pytest.mark.parametrize("offset", [1, -100, 2**63, 2**64, -(2**70)])
    async def test_a_job_that_is_not_there_is_an_error(self, backend: Backend, offset: int) -> None:
        missing = await enqueued(backend) + offset

        with pytest.raises(JobNotFoundError, match=f"there is no job {missing} of send_letter in this store"):
            await SendLetter.get_job(missing, backend=backend)
        with pytest.raises(JobNotFoundError, match=f"there is no job {missing} in this store"):
            await job_handle(missing, backend).fetch()

    async def test_the_error_says_whose_job_it_is(self, backend: Backend) -> None:
        job_id = await enqueued(backend)
        message = f"job {job_id} belongs to send_letter, not to tick"

        with pytest.raises(JobNotFoundError, match=message):
            await Tick.get_job(job_id, backend=backend)
        handle = Tick.handle(job_id, backend=backend)
        await job_handle(job_id, backend).cancel("so that a wait ends")
        for act in (handle.fetch, handle.wait, handle.result, lambda: handle.cancel("why"), handle.rerun):
            with pytest.raises(JobNotFoundError, match=message):
                await act()
        with pytest.raises(JobNotFoundError, match=message):
            await Tick.cancel_job(job_id, "why", backend=backend)

    @pytest.mark.parametrize("no_id", NO_IDS)
    async def test_what_is_no_id_is_refused_with_its_type(self, no_id: Any) -> None:
        message = f"job_id must be an int, not .*; it is of type {type(no_id).__name__}"

        with pytest.raises(ConfigurationError, match=f"^send_letter: get_job: {message}"):
            await SendLetter.get_job(no_id)
        with pytest.raises(ConfigurationError, match=f"^send_letter: handle: {message}"):
            SendLetter.handle(no_id)
        with pytest.raises(ConfigurationError, match=f"^job_handle: {message}"):
            job_handle(no_id)

    async def test_data_of_another_type_are_an_error(self, backend: Backend) -> None:
        class Changed(Executor[int]):
            name = "send_letter"

            async def execute(self, job: Job[int]) -> None: ...

        job_id = await enqueued(backend)

        with pytest.raises(DecodeError, match="send_letter: data"):
            await Changed.get_job(job_id, backend=backend)

    async def test_an_executor_may_have_a_method_called_handle(self, backend: Backend) -> None:
        class Handling(Tick):
            def handle(self, event: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - the point
                return event

        handle = await Handling.enqueue(backend=backend)

        assert (await Handling.get_job(handle.id, backend=backend)).id == handle.id


class TestHandle:
    async def test_it_is_the_handle_of_an_existing_job(self, backend: Backend) -> None:
        job_id = await enqueued(backend)

        handle = SendLetter.handle(job_id, backend=backend)

        assert handle == JobHandle(job_id, "existing", SendLetter, backend)
        assert (await handle.fetch()).data == Letter("bob")

    async def test_its_result_is_typed(self, backend: Backend) -> None:
        handle = SendLetter.handle(await enqueued(backend), backend=backend)

        async with Rexecutor(backend, executors=[SendLetter]):
            assert await soon(handle.result()) == (1, "bob")

    def test_it_does_no_io(self, backend: Backend) -> None:
        assert SendLetter.handle(7, backend=backend).id == 7
        assert job_handle(7, backend).id == 7

    def test_it_is_pickled_no_more_than_its_backend(self, backend: Backend) -> None:
        for handle in (SendLetter.handle(7, backend=backend), job_handle(7, backend)):
            with pytest.raises(ConfigurationError, match="cannot pickle"):
                pickle.dumps(handle)


class TestJobHandle:
    async def test_data_metadata_and_result_are_plain(self, backend: Backend) -> None:
        handle = job_handle(await enqueued(backend), backend)

        async with Rexecutor(backend, executors=[SendLetter]):
            job = await soon(handle.wait())

        assert (handle.executor, handle.disposition) == (None, "existing")
        assert (job.executor, job.status) == ("send_letter", JobStatus.COMPLETE)
        assert (job.data, job.metadata) == ({"to": "bob", "copies": 1}, {"by": "me"})
        assert job.result == await handle.result() == [1, "bob"]
        assert await handle.fetch() == job

    async def test_it_cancels_and_reruns_a_job_of_any_executor(self, backend: Backend) -> None:
        for job_id in (await enqueued(backend), (await Tick.enqueue(backend=backend)).id):
            handle = job_handle(job_id, backend)

            assert await handle.cancel("enough") is JobStatus.CANCELLED
            with pytest.raises(JobFailedError):
                await handle.result()
            await handle.rerun()
            assert (await handle.fetch()).status is JobStatus.SCHEDULED

    async def test_a_wait_that_takes_too_long_names_the_job(self, backend: Backend) -> None:
        handle = job_handle(await enqueued(backend), backend)

        with pytest.raises(TimeoutError, match=f"job {handle.id} is scheduled after"):
            await handle.wait(timedelta(0))

    async def test_the_global_backend_is_used_if_none_is_given(self) -> None:
        with override_global_backend(InMemoryBackend()) as backend:
            assert (await job_handle(await enqueued(backend)).fetch()).executor == "send_letter"
        with pytest.raises(GlobalBackendError):
            job_handle(1)


class TestCountJobs:
    async def test_every_status_is_there(self, backend: Backend) -> None:
        assert await Tick.count_jobs(backend=backend) == dict.fromkeys(JobStatus, 0)

    async def test_only_the_executors_own_jobs_count(self, backend: Backend) -> None:
        await enqueue_many([Tick.new(), Tick.new(tags=["a"])], backend=backend)
        await enqueued(backend)
        await Tick.cancel_job((await Tick.enqueue(backend=backend)).id, "enough", backend=backend)

        counts = await Tick.count_jobs(backend=backend)
        tagged = await Tick.count_jobs(Where.tagged_by_one_of("a", "t"), backend=backend)
        ended = await Tick.count_jobs(where=~Where.status_equals(JobStatus.SCHEDULED), backend=backend)

        nothing = dict.fromkeys(JobStatus, 0)
        assert counts == nothing | {JobStatus.SCHEDULED: 2, JobStatus.CANCELLED: 1}
        assert tagged == nothing | {JobStatus.SCHEDULED: 1}
        assert ended == nothing | {JobStatus.CANCELLED: 1}
        assert list(counts) == list(JobStatus)

    async def test_the_global_backend_is_used_if_none_is_given(self) -> None:
        with override_global_backend(InMemoryBackend().paused()):
            await Tick.enqueue()
            assert (await Tick.count_jobs())[JobStatus.SCHEDULED] == 1
            await drain(Tick)
            assert (await Tick.count_jobs())[JobStatus.COMPLETE] == 1
        with pytest.raises(GlobalBackendError):
            await Tick.count_jobs()

    @pytest.mark.parametrize("where", [JobStatus.COMPLETE, "complete", {}, 7])
    async def test_what_is_no_expression_is_refused(self, where: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"^tick: count_jobs: where must be a Where, such as"):
            await Tick.count_jobs(where)

    async def test_without_an_event_loop_the_same_is_counted(self, backend: Backend) -> None:
        await enqueue_many([Tick.new(), Tick.new(tags=["a"])], backend=backend)

        for where in (None, Where.tagged_by_one_of("a")):
            counts = await asyncio.to_thread(Tick.count_jobs_sync, where, backend=backend)
            assert counts == await Tick.count_jobs(where, backend=backend)


async def test_a_job_is_gotten_without_an_event_loop(backend: Backend) -> None:
    job_id = await enqueued(backend)

    assert await asyncio.to_thread(SendLetter.get_job_sync, job_id, backend=backend) == await SendLetter.get_job(
        job_id, backend=backend
    )
    with pytest.raises(JobNotFoundError, match=f"job {job_id} belongs to send_letter, not to tick"):
        await asyncio.to_thread(Tick.get_job_sync, job_id, backend=backend)
    with pytest.raises(JobNotFoundError, match=f"there is no job {job_id + 1} of tick"):
        await asyncio.to_thread(Tick.get_job_sync, job_id + 1, backend=backend)
    with pytest.raises(ConfigurationError, match=r"get_job_sync: job_id must be an int, not '7'; it is of type str"):
        Tick.get_job_sync("7", backend=backend)  # pyright: ignore[reportArgumentType] - the point
