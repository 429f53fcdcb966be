"""Whatever a job raises or answers, it is an attempt of its own that has failed, and the worker goes on."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Backend, ErrorKind, Job, JobStatus, Rexecutor
from rexecutor.job import NewJob
from rexecutor.testing import FakeClock
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import record_of, soon


class CancellingError(ValueError):
    """Raises a cancellation where it is looked at."""

    def __getattribute__(self, name: str) -> object:
        if name == "__notes__":
            raise asyncio.CancelledError
        return super().__getattribute__(name)


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
        CancellingError(),
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
