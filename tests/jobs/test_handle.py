"""What can be asked of an enqueued job."""

import asyncio
from datetime import timedelta

import pytest

from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.messages import Demand, Node
from rexecutor.errors import DecodeError, JobNotFoundError, JobStateError
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.handle import JobHandle
from rexecutor.model.job import Job, JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.testing import FakeClock

SECOND = timedelta(seconds=1)


class Tick(Executor[int, list[str]]):
    name = "tick"

    async def execute(self, job: Job[int, list[str]]) -> None: ...


@pytest.fixture
def backend(clock: FakeClock) -> InMemoryBackend:
    return InMemoryBackend(clock=clock)


async def enqueued(backend: InMemoryBackend) -> JobHandle[int, list[str]]:
    return await Tick.builder().with_data(7).with_metadata(["a"]).with_tags("t").enqueue(backend=backend)


async def started(backend: InMemoryBackend) -> JobRecord:
    backend.heartbeat(Node("node", "host", timedelta(days=1)))
    claim = await backend.claim(Demand({"tick": 1}, 1), "node")
    return claim.jobs[0]


async def complete(backend: InMemoryBackend) -> None:
    job = await started(backend)
    await backend.settle([Settlement(job.id, job.claims, Complete())])


async def parked(clock: FakeClock) -> None:
    """Let the loop go on until somebody waits on the clock."""
    while not clock.waiting:
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


class TestFetch:
    async def test_a_job_is_answered_with_its_typed_data(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        job = await (await enqueued(backend)).fetch()

        assert (job.data, job.metadata, job.tags) == (7, ["a"], ("t",))
        assert (job.status, job.attempt, job.scheduled_at) == (JobStatus.SCHEDULED, 0, clock.now())
        assert not job.is_final_attempt

    async def test_a_job_that_is_not_stored_is_an_error(self, backend: InMemoryBackend) -> None:
        handle = JobHandle(99, "inserted", Tick, backend)

        with pytest.raises(JobNotFoundError, match="job 99"):
            await handle.fetch()

    async def test_a_job_whose_data_is_of_another_type_is_an_error(self, backend: InMemoryBackend) -> None:
        new = NewJob("tick", '"seven"', None, 1, 0, (), None, timedelta(0))
        [answer] = await backend.enqueue([new])

        with pytest.raises(DecodeError, match="tick: data: int expected"):
            await JobHandle(answer.id, "inserted", Tick, backend).fetch()


class TestWait:
    async def test_a_job_that_has_ended_is_answered_at_once(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)
        await complete(backend)

        assert (await handle.wait()).status is JobStatus.COMPLETE

    async def test_a_wait_ends_with_the_job(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        handle = await enqueued(backend)
        waiting = asyncio.ensure_future(handle.wait())
        await parked(clock)

        await complete(backend)

        assert (await waiting).status is JobStatus.COMPLETE

    async def test_a_wait_ends_however_the_job_ends(self, backend: InMemoryBackend, clock: FakeClock) -> None:
        handle = await enqueued(backend)
        waiting = asyncio.ensure_future(handle.wait(timedelta(hours=1)))
        await parked(clock)

        await handle.cancel("enough")

        assert (await waiting).status is JobStatus.CANCELLED

    async def test_a_wait_that_lasts_too_long_is_an_error_and_the_job_goes_on(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        handle = await enqueued(backend)
        waiting = asyncio.ensure_future(handle.wait(3 * SECOND))
        for _ in range(3):
            await parked(clock)
            clock.advance(SECOND)

        with pytest.raises(TimeoutError, match=r"job 1 .tick. is scheduled after 0:00:03"):
            await waiting

        assert (await handle.fetch()).status is JobStatus.SCHEDULED

    async def test_a_wait_of_no_time_looks_once(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)

        with pytest.raises(TimeoutError):
            await handle.wait(timedelta(0))

    async def test_a_hint_that_is_missed_delays_a_wait_by_a_second(
        self, backend: InMemoryBackend, clock: FakeClock
    ) -> None:
        handle = await enqueued(backend)
        job = await started(backend)
        waiting = asyncio.ensure_future(handle.wait())
        await parked(clock)
        deaf = InMemoryBackend(clock=clock)  # shares the records, and tells nobody of changes
        vars(deaf).update({name: vars(backend)[name] for name in ("_records", "_index")})
        await deaf.settle([Settlement(job.id, job.claims, Complete())])

        clock.advance(SECOND)

        assert (await waiting).status is JobStatus.COMPLETE


class TestCancelAndRerun:
    async def test_a_waiting_job_is_cancelled(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)

        assert await handle.cancel("enough") is JobStatus.CANCELLED
        assert (await handle.fetch()).errors[-1].details == "enough"

    async def test_a_running_job_is_told(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)
        await started(backend)

        assert await handle.cancel("enough") is JobStatus.EXECUTING

    async def test_another_executors_job_is_neither_cancelled_nor_rerun(self, backend: InMemoryBackend) -> None:
        class Other(Executor[int]):
            name = "other"

            async def execute(self, job: Job[int]) -> None: ...

        mine = await enqueued(backend)
        not_mine = JobHandle(mine.id, "inserted", Other, backend)

        with pytest.raises(JobNotFoundError, match=r"job \d+ belongs to \S+, not to other"):
            await not_mine.cancel("enough")
        with pytest.raises(JobNotFoundError, match=r"job \d+ belongs to \S+, not to other"):
            await not_mine.rerun()

        assert (await mine.fetch()).status is JobStatus.SCHEDULED

    async def test_an_ended_job_is_rerun(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)
        await complete(backend)

        await handle.rerun()

        assert (await handle.fetch()).status is JobStatus.SCHEDULED

    async def test_a_job_that_has_not_ended_is_not_rerun(self, backend: InMemoryBackend) -> None:
        handle = await enqueued(backend)

        with pytest.raises(JobStateError, match="job 1"):
            await handle.rerun()
