"""`discard_on`: exceptions after which a job is not tried again."""

import asyncio
import logging
import sys
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Backend, ErrorKind, Executor, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.model.outcomes import Discarded
from rexecutor.telemetry.events import JobEnded
from rexecutor.testing import FakeClock
from tests.engine.in_children import Rejecting
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import Events, record_of, soon
from tests.testing.executors import enqueue_raw


class BadAddressError(ValueError):
    pass


class Strict(Scripted):
    name = "strict"
    discard_on = (ValueError, TimeoutError)

    def backoff(self, job: Job[str]) -> timedelta:
        assert job.errors[-1].type_name != "BadAddressError", "there is no next attempt to wait for"
        return SECOND


class StrictThread(Blocking):
    name = "strict_thread"
    max_attempts = 3
    discard_on = (ValueError,)


@pytest.mark.parametrize("kind", [Strict, StrictThread])
async def test_a_listed_exception_discards_the_job_at_once(
    backend: Backend, kind: type[Strict], events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rexecutor(backend).with_executor(kind(raising(BadAddressError("nowhere")))):
        job = await soon((await kind.builder().with_data("x").enqueue(backend=backend)).wait())

    (error,) = job.errors
    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.DISCARDED, 1, 3)
    assert (error.kind, error.type_name) == (ErrorKind.EXCEPTION, "BadAddressError")
    assert error.details.splitlines()[-1].endswith(
        "BadAddressError: nowhere (not retried: ValueError is in discard_on)"
    )
    (ended,) = events.of(JobEnded)
    assert isinstance(ended.outcome, Discarded)
    assert ended.is_final
    assert isinstance(ended.exception, BadAddressError)
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (line.levelno, vars(line)["job_id"]) == (logging.ERROR, job.id)


@pytest.mark.parametrize("kind", [Strict, StrictThread])
@pytest.mark.parametrize("error", [KeyError("busy"), ExceptionGroup("", [BadAddressError()])], ids=["other", "group"])
async def test_any_other_exception_is_retried(backend: Backend, kind: type[Strict], error: Exception) -> None:
    async with Rexecutor(backend).with_executor(kind(raising(error))):
        handle = await kind.builder().with_data("x").enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)

    assert "not retried" not in (await record_of(backend, handle.id)).errors[0].details


async def test_a_listed_exception_on_the_last_attempt_says_so_as_well(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Strict(raising(BadAddressError()))):
        builder = Strict.builder().with_data("x").with_max_attempts(1)
        job = await soon((await builder.enqueue(backend=backend)).wait())

    assert job.errors[0].details.endswith("(not retried: ValueError is in discard_on)\n")


async def test_a_timeout_of_the_jobs_own_counts_and_the_engines_does_not(backend: Backend, clock: FakeClock) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    def script(job: Job[str]) -> Any:
        if job.data == "slow":
            return hang()
        raise TimeoutError("the server does not answer")

    async with Rexecutor(backend).with_executor(Strict(script)):
        own = await soon((await Strict.builder().with_data("own").enqueue(backend=backend)).wait())
        slow = await Strict.builder().with_data("slow").enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        await until_status(backend, slow.id, JobStatus.RETRYABLE)

    assert (own.status, own.attempt) == (JobStatus.DISCARDED, 1)
    assert [error.kind for error in (await record_of(backend, slow.id)).errors] == [ErrorKind.TIMEOUT]


async def test_what_code_raises_because_it_was_told_to_stop_does_not_count(backend: Backend, clock: FakeClock) -> None:
    started = asyncio.Event()

    async def convert() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise BadAddressError("the connection was closed") from None

    class Converting(Scripted):
        name = "converting"
        discard_on = (BadAddressError,)

    async with Rexecutor(backend).with_executor(Converting(lambda _: convert())):
        handle = await Converting.builder().with_data("slow").enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)

    (error,) = (await record_of(backend, handle.id)).errors
    assert error.type_name == "BadAddressError"
    assert "not retried" not in error.details


async def test_data_or_a_result_of_another_type_are_no_exceptions_of_the_job(backend: Backend) -> None:
    class Counting(Executor[int, None, int]):
        name = "counting"
        discard_on = (ValueError,)  # which DecodeError and EncodeError are

        async def execute(self, job: Job[int]) -> Any:
            return "seven"

    await enqueue_raw(backend, "counting", '"seven"')
    result = await Counting.builder().with_data(7).enqueue(backend=backend)
    async with Rexecutor(backend).with_executor(Counting):
        for job_id in (result.id - 1, result.id):
            await until_status(backend, job_id, JobStatus.RETRYABLE)


async def test_a_cancel_that_was_asked_for_meanwhile_wins(backend: Backend) -> None:
    async def script() -> None:
        await backend.cancel(handle.id, "not needed", executor="strict")
        raise BadAddressError

    async with Rexecutor(backend).with_executor(Strict(lambda _: script())):
        handle = await Strict.builder().with_data("x").schedule_in(timedelta(0)).enqueue(backend=backend)
        job = await soon(handle.wait())

    assert job.status is JobStatus.CANCELLED
    assert [error.kind for error in job.errors] == [ErrorKind.EXCEPTION, ErrorKind.CANCELLED]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a_listed_exception_in_a_child_process_discards_the_job() -> None:
    backend = InMemoryBackend()

    async with Rexecutor(backend).with_executor(Rejecting):
        listed = await Rejecting.builder().with_data("listed").enqueue(backend=backend)
        other = await Rejecting.builder().with_data("other").enqueue(backend=backend)
        job = await soon(listed.wait(), 60)
        await until_status(backend, other.id, JobStatus.RETRYABLE)

    (error,) = job.errors
    assert (job.status, error.type_name) == (JobStatus.DISCARDED, "KeyError")
    assert error.details.splitlines()[-1] == "KeyError: 'no such thing' (not retried: LookupError is in discard_on)"
