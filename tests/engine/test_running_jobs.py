"""What a worker does with jobs, on every backend there is."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import (
    Backend,
    Cancel,
    ErrorKind,
    ExecutionResult,
    Executor,
    Job,
    JobStatus,
    Rexecutor,
    Snooze,
    enqueue_many,
)
from rexecutor.job import NewJob
from rexecutor.testing import FakeClock
from tests.support import record_of, soon, until

SECOND = timedelta(seconds=1)


class Scripted(Executor[str]):
    """Does what the function given to it does."""

    name = "scripted"
    max_attempts = 3

    def __init__(self, script: Callable[[Job[str]], Any]) -> None:
        self._script = script

    async def execute(self, job: Job[str]) -> ExecutionResult:
        answer = self._script(job)
        return await answer if asyncio.iscoroutine(answer) else answer

    def backoff(self, job: Job[str]) -> timedelta:
        return SECOND * job.attempt

    def timeout(self, job: Job[str]) -> timedelta | None:
        return SECOND if job.data == "slow" else None


def raising(error: BaseException) -> Callable[[Job[str]], Any]:
    def script(_: Job[str]) -> Any:
        raise error

    return script


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


async def test_an_async_job_over_its_time_is_cancelled_and_has_failed(backend: Backend, clock: FakeClock) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with Rexecutor(backend).with_executor(Scripted(lambda _: hang())):
        handle = await Scripted.builder().with_data("slow").with_max_attempts(1).enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert job.status is JobStatus.DISCARDED
    assert job.errors[-1].kind is ErrorKind.TIMEOUT


async def test_a_job_that_ends_in_spite_of_its_timeout_keeps_what_it_answered(
    backend: Backend, clock: FakeClock
) -> None:
    started = asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with Rexecutor(backend).with_executor(Scripted(lambda _: stubborn())):
        handle = await Scripted.builder().with_data("slow").enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert job.status is JobStatus.COMPLETE


async def test_code_that_does_not_stop_is_recorded_without_it_and_holds_its_slot(
    backend: Backend, clock: FakeClock
) -> None:
    started, let_go = asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        started.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    class One(Scripted):
        name = "one"
        max_concurrency = 1

    def script(job: Job[str]) -> Any:
        return deaf() if job.data == "slow" else None

    async with Rexecutor(backend).with_executor(One(script)):
        handle = await One.builder().with_data("slow").with_max_attempts(1).enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        await asyncio.to_thread(lambda: None)
        clock.advance(6 * SECOND)
        job = await soon(handle.wait())
        second = await One.builder().with_data("x").enqueue(backend=backend)
        clock.advance(2 * SECOND)
        assert (await second.fetch()).status is JobStatus.SCHEDULED

        let_go.set()
        after = await soon(second.wait())

    assert job.errors[-1].kind is ErrorKind.TIMEOUT
    assert after.status is JobStatus.COMPLETE


class Blocking(Executor[str]):
    name = "blocking"
    blocking = True
    max_attempts = 1

    def __init__(self, script: Callable[[Job[str]], Any]) -> None:
        self._script = script

    def execute(self, job: Job[str]) -> ExecutionResult:
        return self._script(job)

    def timeout(self, job: Job[str]) -> timedelta | None:
        return SECOND if job.data == "slow" else None


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


async def test_a_thread_over_its_time_is_recorded_as_timed_out_while_it_goes_on(
    backend: Backend, clock: FakeClock
) -> None:
    started, let_go = threading.Event(), threading.Event()

    def hang(_: Job[str]) -> None:
        started.set()
        let_go.wait(20)

    async with Rexecutor(backend).with_executor(Blocking(hang)):
        handle = await Blocking.builder().with_data("slow").enqueue(backend=backend)
        await until(started.is_set)
        clock.advance(SECOND)
        job = await soon(handle.wait())
        let_go.set()

    assert job.errors[-1].kind is ErrorKind.TIMEOUT


class Unshowable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        StopIteration(),
        RecursionError(),
        MemoryError(),
        ExceptionGroup("many", [ValueError("a"), KeyError("b")]),
        BaseExceptionGroup("worse", [SystemExit(1)]),
        Unshowable(),
        ValueError("nul \0, surrogate \ud800, " + "long " * 10_000),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_whatever_a_job_raises_is_a_failed_attempt_and_the_worker_goes_on(
    backend: Backend, error: BaseException, kind: type[Scripted] | type[Blocking]
) -> None:
    def script(job: Job[str]) -> None:
        if job.data == "bad":
            raise error

    async with Rexecutor(backend).with_executor(kind(script)):
        bad = await kind.builder().with_data("bad").with_max_attempts(1).enqueue(backend=backend)
        failed = await soon(bad.wait())
        good = await soon((await kind.builder().with_data("good").enqueue(backend=backend)).wait())

    assert failed.status is JobStatus.DISCARDED
    assert failed.errors[-1].kind is ErrorKind.EXCEPTION
    assert len(failed.errors[-1].details) <= backend.limits.error_text
    assert good.status is JobStatus.COMPLETE


@pytest.mark.parametrize("answer", [True, 0, "done", ["x"]])
async def test_an_answer_of_the_wrong_kind_is_a_failed_attempt(backend: Backend, answer: Any) -> None:
    async with Rexecutor(backend).with_executor(Scripted(lambda _: answer)):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        job = await soon(handle.wait())

    assert job.status is JobStatus.DISCARDED
    assert "None, Cancel or Snooze expected" in job.errors[-1].details


@pytest.mark.parametrize("answer", [RuntimeError("backoff broke"), "soon", timedelta(days=10_000)])
async def test_a_backoff_that_fails_or_answers_nonsense_does_not_lose_the_job(
    backend: Backend, clock: FakeClock, answer: Any
) -> None:
    class Odd(Scripted):
        name = "odd"

        def backoff(self, job: Job[str]) -> timedelta:
            if isinstance(answer, Exception):
                raise answer
            return answer

    async with Rexecutor(backend).with_executor(Odd(raising(ValueError()))):
        handle = await Odd.builder().with_data("x").enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)

    record = await record_of(backend, handle.id)
    assert clock.now() <= record.scheduled_at <= clock.now() + timedelta(days=365)


async def test_a_negative_backoff_is_none_at_all(backend: Backend) -> None:
    class Eager(Scripted):
        name = "eager"

        def backoff(self, job: Job[str]) -> timedelta:
            return -SECOND

    async with Rexecutor(backend).with_executor(Eager(raising(ValueError()))):
        job = await soon((await Eager.builder().with_data("x").enqueue(backend=backend)).wait())

    assert (job.status, job.attempt) == (JobStatus.DISCARDED, 3)


async def test_a_timeout_that_raises_is_a_failed_attempt(backend: Backend) -> None:
    class Odd(Scripted):
        name = "odd"

        def timeout(self, job: Job[str]) -> timedelta | None:
            raise RuntimeError("timeout broke")

    async with Rexecutor(backend).with_executor(Odd(lambda _: None)):
        handle = await Odd.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        job = await soon(handle.wait())

    assert "timeout broke" in job.errors[-1].details


async def test_a_job_that_does_not_decode_is_a_failed_attempt_and_the_worker_goes_on(backend: Backend) -> None:
    bad = NewJob("scripted", "[1, 2]", None, 1, 0, (), None, timedelta(0))

    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        (stored,) = await backend.enqueue([bad])
        good = await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())
        await until_status(backend, stored.id, JobStatus.DISCARDED)

    record = await record_of(backend, stored.id)
    assert record.errors[-1].kind is ErrorKind.DECODE
    assert "str expected" in record.errors[-1].details
    assert good.status is JobStatus.COMPLETE


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


async def test_a_running_job_is_cancelled_from_outside_and_its_reason_kept(backend: Backend, clock: FakeClock) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with Rexecutor(backend).with_executor(Scripted(lambda _: hang())):
        handle = await Scripted.builder().with_data("x").enqueue(backend=backend)
        await soon(started.wait())
        assert await handle.cancel("changed our mind") is JobStatus.EXECUTING
        clock.advance(5 * SECOND)
        job = await soon(handle.wait())

    assert job.status is JobStatus.CANCELLED
    assert job.errors[-1].details == "changed our mind"


async def test_a_rerun_job_runs_again(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        await soon(handle.wait())
        await handle.rerun()
        job = await soon(handle.wait())
        while job.attempt < 2:
            job = await soon(handle.wait())

    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.COMPLETE, 2, 2)


async def until_status(backend: Backend, job_id: int, status: JobStatus, claims: int = 1) -> None:
    """Wait until the store says so."""

    async def wait() -> None:
        while True:
            since = backend.version
            record = await record_of(backend, job_id)
            if record.status is status and record.claims >= claims:
                return
            await backend.wait_ended(job_id, backend.clock.now() + timedelta(hours=1), since=since)

    await soon(wait())
