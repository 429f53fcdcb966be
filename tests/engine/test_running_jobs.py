"""What a worker does with jobs, on every backend there is."""

import asyncio
import contextvars
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import (
    Backend,
    Cancel,
    ErrorKind,
    ExecutionResult,
    Job,
    JobStateError,
    JobStatus,
    Rexecutor,
    Snooze,
    enqueue_many,
)
from rexecutor.model.job import NewJob
from rexecutor.testing import FakeClock
from tests.engine.executors import GatedScript, Task, enqueued_task, has_failed
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import record_of, soon, until


async def test_a_job_runs_with_what_was_enqueued_and_is_complete(backend: Backend, clock: FakeClock) -> None:
    seen: list[Job[str]] = []

    async with Rexecutor(backend).with_executor(Scripted(seen.append)):
        handle = (
            await Scripted.builder().with_data("hello").with_tags("a", "b").with_priority(7).enqueue(backend=backend)
        )
        job = await soon(handle.wait())

    assert job.status is JobStatus.COMPLETE
    assert job.completed_at == clock.now()
    (ran,) = seen
    assert (ran.id, ran.data, ran.tags, ran.priority, ran.attempt) == (handle.id, "hello", ("a", "b"), 7, 1)
    assert ran.status is JobStatus.EXECUTING


async def test_a_job_of_the_future_runs_when_its_time_has_come_and_not_before(
    backend: Backend, clock: FakeClock
) -> None:
    ran: list[Any] = []

    async with Rexecutor(backend).with_executor(Scripted(lambda job: ran.append(clock.now()))):
        later = await Scripted.builder().with_data("later").schedule_in(10 * SECOND).enqueue(backend=backend)
        due = clock.now() + 10 * SECOND
        now = await Scripted.builder().with_data("now").enqueue(backend=backend)
        await soon(now.wait())
        assert len(ran) == 1

        clock.advance(10 * SECOND)
        await soon(later.wait())

    assert ran[1] >= due


async def test_a_failure_is_retried_after_the_backoff_and_kept_with_its_traceback(
    backend: Backend, clock: FakeClock
) -> None:
    def script(job: Job[str]) -> None:
        if job.attempt == 1:
            raise ValueError("no luck")

    async with Rexecutor(backend).with_executor(Scripted(script)):
        handle = await Scripted.builder().with_data("x").enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        assert (await record_of(backend, handle.id)).scheduled_at == clock.now() + SECOND
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    (error,) = job.errors
    assert (error.attempt, error.kind, error.type_name) == (1, ErrorKind.EXCEPTION, "ValueError")
    assert "no luck" in error.details
    assert "in script" in error.details


async def test_the_backoff_sees_the_failure_it_is_asked_about(backend: Backend, clock: FakeClock) -> None:
    asked: list[str] = []

    class Careful(Scripted):
        name = "careful"

        def backoff(self, job: Job[str]) -> timedelta:
            asked.append(job.errors[-1].type_name)
            return SECOND

    async with Rexecutor(backend).with_executor(Careful(raising(KeyError("k")))):
        handle = await Careful.builder().with_data("x").enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)

    assert asked == ["KeyError"]


async def test_the_last_failure_discards_the_job(backend: Backend, clock: FakeClock) -> None:
    async with Rexecutor(backend).with_executor(Scripted(raising(ValueError("never")))):
        handle = await Scripted.builder().with_data("x").with_max_attempts(2).enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.attempt, len(job.errors)) == (JobStatus.DISCARDED, 2, 2)
    assert job.discarded_at == clock.now()


async def test_a_cancel_answered_ends_the_job_with_its_reason(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Scripted(lambda _: Cancel("card declined"))):
        job = await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert job.status is JobStatus.CANCELLED
    assert (job.errors[-1].kind, job.errors[-1].details) == (ErrorKind.CANCELLED, "card declined")


async def test_a_snooze_gives_the_attempt_back(backend: Backend, clock: FakeClock) -> None:
    answers: list[ExecutionResult] = [Snooze(5 * SECOND), None]

    async with Rexecutor(backend).with_executor(Scripted(lambda _: answers.pop(0))):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.SCHEDULED, claims=1)
        clock.advance(5 * SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.attempt, job.errors) == (JobStatus.COMPLETE, 1, ())


async def test_a_blocking_job_runs_in_a_thread_of_its_own(backend: Backend) -> None:
    threads: list[str] = []

    async with Rexecutor(backend).with_executor(Blocking(lambda _: threads.append(threading.current_thread().name))):
        job = await soon((await Blocking.builder().with_data("x").enqueue(backend=backend)).wait())

    assert job.status is JobStatus.COMPLETE
    assert threads[0].startswith("rexecutor job")


async def test_blocking_jobs_run_beside_each_other(backend: Backend) -> None:
    together = threading.Barrier(3, timeout=20)

    async with Rexecutor(backend).with_executor(Blocking(lambda _: together.wait() < 0 or None)):
        handles = await enqueue_many([Blocking.builder().with_data("x") for _ in range(3)], backend=backend)
        jobs = [await soon(handle.wait()) for handle in handles]

    assert {job.status for job in jobs} == {JobStatus.COMPLETE}


async def test_a_job_of_an_executor_that_nobody_runs_here_stays_as_it_is(backend: Backend) -> None:
    stranger = NewJob("stranger", "null", None, 1, 0, (), None, timedelta(0))

    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        (stored,) = await backend.enqueue([stranger])
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert (await record_of(backend, stored.id)).status is JobStatus.SCHEDULED


async def test_jobs_start_by_priority_then_due_time_then_id(backend: Backend, clock: FakeClock) -> None:
    order: list[str] = []
    await enqueue_many(
        [
            Scripted.builder().with_data("third").with_priority(5),
            Scripted.builder().with_data("fourth").with_priority(5),
            Scripted.builder().with_data("second").with_priority(5).schedule_at(clock.now() - SECOND),
            Scripted.builder().with_data("first").with_priority(1),
        ],
        backend=backend,
    )

    async with Rexecutor(backend, max_concurrency=1).with_executor(Scripted(lambda job: order.append(job.data))):
        await until(lambda: len(order) == 4)

    assert order == ["first", "second", "third", "fourth"]


class Counting:
    """How many run at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        self.done += 1


@pytest.mark.parametrize(("of_executor", "overall", "expected"), [(None, 3, 3), (2, 100, 2), (5, 3, 3)])
async def test_no_more_jobs_run_at_a_time_than_allowed(
    backend: Backend, of_executor: int | None, overall: int, expected: int
) -> None:
    counting = Counting()

    class Limited(Scripted):
        name = "limited"
        max_concurrency = of_executor

    await enqueue_many([Limited.builder().with_data("x") for _ in range(12)], backend=backend)

    async with Rexecutor(backend, max_concurrency=overall).with_executor(Limited(lambda _: counting())):
        await until(lambda: counting.now == expected)
        counting.gate.set()
        await until(lambda: counting.done == 12)

    assert counting.most == expected


async def test_a_slot_that_frees_during_a_claim_is_used_at_once(backend: Backend) -> None:
    ran: list[str] = []

    class One(Scripted):
        name = "one"
        max_concurrency = 1

    await enqueue_many([One.builder().with_data(str(number)) for number in range(50)], backend=backend)

    async with Rexecutor(backend).with_executor(One(lambda job: ran.append(job.data))):
        await until(lambda: len(ran) == 50)

    assert ran == [str(number) for number in range(50)]


async def test_a_context_variable_that_a_job_sets_is_not_seen_by_the_next(backend: Backend) -> None:
    variable = contextvars.ContextVar("variable", default="clean")
    seen: list[str] = []

    def script(job: Job[str]) -> None:
        seen.append(variable.get())
        variable.set(job.data)

    async with Rexecutor(backend, max_concurrency=1).with_executor(Scripted(script)).with_executor(Blocking(script)):
        for kind in (Scripted, Scripted, Blocking, Blocking):
            await soon((await kind.builder().with_data("dirty").enqueue(backend=backend)).wait())

    assert seen == ["clean"] * 4


async def test_a_rerun_job_runs_again(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await soon(handle.wait())
        await handle.rerun()
        job = await soon(handle.wait())
        while job.attempt < 2:
            job = await soon(handle.wait())

    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.COMPLETE, 2, 2)


async def test_a_running_job_is_not_rerun(backend: Backend) -> None:
    gated = GatedScript()

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued_task(backend)
        await soon(gated.started.wait())
        [refusal] = await asyncio.gather(handle.rerun(), return_exceptions=True)
        gated.let_go.set()
        await soon(handle.wait())

    assert isinstance(refusal, JobStateError)
    assert gated.runs == 1


async def test_a_job_whose_attempts_were_made_fewer_than_it_had_is_discarded(
    backend: Backend, clock: FakeClock
) -> None:
    class Slow(Task):
        name = "slow"

        def backoff(self, job: Job[str]) -> timedelta:
            return SECOND

    def fail(_: Job[str]) -> None:
        raise ValueError

    async with Rexecutor(backend).with_executor(Slow(fail)):
        handle = await Slow.builder().with_data("x").enqueue(backend=backend)
        for attempt in (1, 2):
            await until(lambda attempt=attempt: has_failed(backend, handle.id, attempt))
            if attempt == 1:
                clock.advance(SECOND)
        await Slow.update_job(replace(await handle.fetch(), max_attempts=1), backend=backend)
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.DISCARDED, 3, 1)


async def test_a_snooze_is_counted_and_keeps_the_history_unambiguous(backend: Backend) -> None:
    answers: list[ExecutionResult] = [Snooze(timedelta(0)), Snooze(timedelta(0)), None]

    async with Rexecutor(backend).with_executor(Task(lambda _: answers.pop(0))):
        handle = await enqueued_task(backend, max_attempts=1)
        await soon(handle.wait())

    record = await record_of(backend, handle.id)
    assert (record.attempt, record.snoozes, record.claims) == (1, 2, 3)
