"""What waits for results get, on every backend there is."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    DecodeError,
    Executor,
    InMemoryBackend,
    Job,
    JobFailedError,
    JobHandle,
    JobNotFoundError,
    JobStatus,
    SQLiteBackend,
    enqueue_many,
    job_handle,
    results,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete, Outcome, Settlement
from rexecutor.model.pruning import OlderThan, PruneSpec
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import cancelled, failed
from tests.support import soon, status_of, until

SECOND = timedelta(seconds=1)


class Report(msgspec.Struct, frozen=True):
    rows: int


class Build(Executor[int, None, Report]):
    name = "build"
    max_attempts = 1

    async def execute(self, job: Job[int]) -> Report:
        return Report(job.data)


class Count(Executor[int, None, int]):
    name = "count"

    async def execute(self, job: Job[int]) -> int:
        return job.data


class Silent(Executor[int]):
    name = "silent"

    async def execute(self, job: Job[int]) -> None: ...


async def built(backend: Backend, *data: int) -> list[JobHandle[int, None, Report]]:
    return await enqueue_many([Build.builder().with_data(one) for one in data], backend=backend)


async def claimed(backend: Backend) -> dict[int, JobRecord]:
    """Claim all due jobs, and return them by id."""
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("node", "host", timedelta(days=1)))
    heartbeats.close()
    claim = await backend.claim(Demand(dict.fromkeys(("build", "count", "silent"), 9), 9), "node")
    return {job.id: job for job in claim.jobs}


async def settle(backend: Backend, *ends: tuple[JobHandle[Any, Any, Any], Outcome]) -> None:
    jobs = await claimed(backend)
    settlements = [Settlement(*jobs[handle.id].claim_id, outcome) for handle, outcome in ends]
    assert await backend.settle(settlements) == []


def complete(rows: int) -> Complete:
    return Complete(f'{{"rows":{rows}}}')


async def advanced(clock: FakeClock, waiting: "asyncio.Future[Any]") -> Any:
    """Let time pass until the wait has ended, and return its result."""
    while not waiting.done():
        await asyncio.wait((waiting,), timeout=0.01)
        clock.advance(SECOND)
    return waiting.result()


async def timed_out(clock: FakeClock, waiting: "asyncio.Future[Any]", seconds: int) -> Any:
    """Let as much time pass as the wait has, and not more: the last look ends in its own time."""
    await until(lambda: clock.waiting > 1)  # the timer of the timeout, and that of the pause after the first look
    clock.advance(seconds * SECOND)
    return await soon(waiting)


class TestResult:
    async def test_a_result_is_of_the_executors_type(self, backend: Backend) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, complete(3)))

        assert await soon(handle.result()) == Report(3)
        assert (await soon(handle.wait())).result == Report(3)

    async def test_a_result_is_waited_for(self, backend: Backend, clock: FakeClock) -> None:
        [handle] = await built(backend, 3)
        waiting = asyncio.ensure_future(handle.result(timedelta(hours=1)))
        await until(lambda: clock.waiting > 0)

        await settle(backend, (handle, complete(3)))

        assert await advanced(clock, waiting) == Report(3)

    async def test_a_complete_job_without_a_result_gives_none(self, backend: Backend) -> None:
        [handle] = await built(backend, 3)
        silent = await Silent.builder().with_data(1).enqueue(backend=backend)
        await settle(backend, (handle, Complete()), (silent, Complete()))

        assert await soon(handle.result()) is None
        assert await soon(cast("JobHandle[int, None, Any]", silent).result()) is None

    @pytest.mark.parametrize("outcome", [cancelled("no longer wanted"), failed("ValueError: boom")])
    async def test_a_job_that_failed_is_an_error_at_once(self, backend: Backend, outcome: Outcome) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, outcome))

        with pytest.raises(
            JobFailedError, match=r"job \d+ \(build\) is \w+: (no longer wanted|ValueError: boom)"
        ) as told:
            await soon(handle.result())

        assert told.value.job.data == 3
        assert told.value.job.errors[-1].details in {"no longer wanted", "ValueError: boom"}

    async def test_after_a_rerun_the_result_is_the_new_one(self, backend: Backend, clock: FakeClock) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, complete(3)))
        await handle.rerun()
        waiting = asyncio.ensure_future(handle.result())
        await until(lambda: clock.waiting > 0)
        assert not waiting.done()

        await settle(backend, (handle, complete(4)))

        assert await advanced(clock, waiting) == Report(4)

    async def test_a_job_that_was_never_there_or_was_pruned_is_an_error(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, complete(3)))
        clock.advance(SECOND)
        await backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(timedelta(0))), 10)

        for missing in (handle, JobHandle(handle.id + 1, "inserted", Build, backend)):
            with pytest.raises(JobNotFoundError, match=rf"there is no job {missing.id} of build in this store"):
                await soon(missing.result())

    async def test_another_executors_job_is_an_error(self, backend: Backend) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, complete(3)))
        wrong = JobHandle(handle.id, "inserted", Count, backend)

        for ask in (wrong.result, wrong.wait, wrong.fetch):
            with pytest.raises(JobNotFoundError, match=rf"job {handle.id} belongs to build, not to count"):
                await soon(ask())

    async def test_a_result_that_is_no_longer_of_the_type_is_an_error_and_the_job_stays_complete(
        self, backend: Backend
    ) -> None:
        [handle] = await built(backend, 3)
        await settle(backend, (handle, Complete('"three"')))

        with pytest.raises(DecodeError, match="build: result: Report expected"):
            await soon(handle.result())

        assert await status_of(backend, handle.id) is JobStatus.COMPLETE

    async def test_a_result_that_takes_too_long_is_an_error_and_the_job_goes_on(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        [handle] = await built(backend, 3)

        with pytest.raises(TimeoutError, match=r"job \d+ \(build\) is scheduled after 0:00:03"):
            await timed_out(clock, asyncio.ensure_future(handle.result(3 * SECOND)), 3)

        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED

    @pytest.mark.parametrize("limit", [5, -SECOND])
    async def test_a_timeout_that_is_none_is_refused(self, backend: Backend, limit: Any) -> None:
        [handle] = await built(backend, 3)

        for what, ask in (("result", handle.result), ("wait", handle.wait)):
            with pytest.raises(ConfigurationError, match=f"{what}: timeout must be"):
                await ask(limit)


class TestResults:
    async def test_results_come_in_the_order_of_the_handles(self, backend: Backend, clock: FakeClock) -> None:
        builds = await built(backend, 0, 1, 2)
        count = await Count.builder().with_data(7).enqueue(backend=backend)
        waiting = asyncio.ensure_future(results([builds[2], count, *builds, count]))
        jobs = await claimed(backend)
        for handle in reversed(builds):
            await backend.settle([Settlement(*jobs[handle.id].claim_id, complete(handle.id))])
        await backend.settle([Settlement(*jobs[count.id].claim_id, Complete("7"))])

        assert await advanced(clock, waiting) == [
            Report(builds[2].id),
            7,
            *(Report(handle.id) for handle in builds),
            7,
        ]

    async def test_no_handles_give_no_results(self) -> None:
        nothing: Sequence[JobHandle[int, None, Report]] = []

        assert await results(nothing) == []

    async def test_the_first_failure_is_raised_at_once_and_the_other_jobs_go_on(self, backend: Backend) -> None:
        first, second, third = await built(backend, 0, 1, 2)
        await settle(backend, (third, cancelled()), (second, failed()))

        with pytest.raises(JobFailedError, match=f"job {second.id} .build. is discarded"):
            await soon(results([first, second, third]))

        assert await status_of(backend, first.id) is JobStatus.EXECUTING

    async def test_a_timeout_says_how_many_have_not_ended(self, backend: Backend, clock: FakeClock) -> None:
        first, second, third = await built(backend, 0, 1, 2)
        await settle(backend, (first, complete(0)))

        with pytest.raises(
            TimeoutError, match=rf"2 of 3 jobs have not ended: job {second.id} \(build\) is executing after 0:00:05"
        ):
            await timed_out(clock, asyncio.ensure_future(results([first, second, third], timeout=5 * SECOND)), 5)

    async def test_what_is_no_handle_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="results: each handle must be a JobHandle"):
            await results(cast("Any", [7]))

    async def test_handles_without_a_list_are_refused(self) -> None:
        handle = job_handle(1, InMemoryBackend())
        all_of: Any = results

        for given in ((handle,), (handle, handle)):
            with pytest.raises(
                ConfigurationError, match=r"^results: handles must be an iterable .*; put them in a list$"
            ):
                await all_of(*given)


class TestSeveralBackends:
    async def test_results_of_two_backends_come_in_the_order_of_the_handles(
        self, tmp_path: Path, clock: FakeClock
    ) -> None:
        memory = InMemoryBackend(clock=clock)
        async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as sqlite:
            [first, third], [second] = await built(memory, 1, 3), await built(sqlite, 2)
            await settle(memory, (first, complete(1)), (third, complete(3)))
            await settle(sqlite, (second, complete(2)))

            assert await soon(results([first, second, third])) == [Report(1), Report(2), Report(3)]

    async def test_a_failure_at_one_backend_is_raised_as_it_is(self, clock: FakeClock) -> None:
        one, other = InMemoryBackend(clock=clock), InMemoryBackend(clock=clock)
        [waiting], [failing] = await built(one, 1), await built(other, 2)
        await settle(other, (failing, cancelled("enough")))

        with pytest.raises(JobFailedError, match=r"is cancelled: enough$"):
            await soon(results([waiting, failing]))

        assert [vars(backend.waits)["_circles"] for backend in (one, other)] == [{}, {}]

    async def test_a_timeout_counts_the_jobs_of_all_backends(self, clock: FakeClock) -> None:
        one, other = InMemoryBackend(clock=clock), InMemoryBackend(clock=clock)
        handles = [*await built(one, 1), *await built(other, 2)]

        with pytest.raises(
            TimeoutError, match=r"2 of 2 jobs have not ended: job 1 \(build\) is scheduled after 0:00:05"
        ):
            await timed_out(clock, asyncio.ensure_future(results(handles, timeout=5 * SECOND)), 5)
