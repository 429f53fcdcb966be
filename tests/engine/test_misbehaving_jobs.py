"""Whatever a job raises or returns, it is an attempt of its own that has failed, and the worker goes on."""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, cast

import pytest

from rexecutor import Backend, ErrorKind, Executor, InMemoryBackend, Job, JobStatus, Rexecutor, enqueue_many
from rexecutor.model.job import NewJob
from rexecutor.telemetry.events import ResultIgnored
from rexecutor.testing import FakeClock, perform
from tests.backends import corrupt
from tests.engine.executors import Quick, Task, Waiting, has_ended, is_status, works
from tests.engine.scripted import SECOND, Blocking, Scripted, raising, until_status
from tests.support import Events, record_of, soon, until


class CancellingError(ValueError):
    """Raises a cancellation when it is looked at."""

    def __getattribute__(self, name: str) -> object:
        if name == "__notes__":
            raise asyncio.CancelledError
        return super().__getattribute__(name)


class ClosedError(Exception):
    """Raises what it was made with wherever it is looked at."""

    def __init__(self, raised: type[BaseException]) -> None:
        super().__init__()
        self.raised = raised

    def __getattribute__(self, name: str) -> object:
        raise object.__getattribute__(self, "raised")


class ClosedCancellation(ClosedError, asyncio.CancelledError):  # noqa: N818
    """The same, and ends an attempt that is told to stop."""


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


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_an_exception_that_cannot_be_looked_at_is_a_failed_attempt_and_told(
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    raised: type[BaseException],
    kind: type[Scripted] | type[Blocking],
) -> None:
    def script(_: Job[str]) -> None:
        raise ClosedError(raised)  # pytest cannot have one as a parameter

    async with Rexecutor(backend).with_executor(kind(script)):
        handle = await kind.builder().with_data("").with_max_attempts(1).enqueue(backend=backend)
        failed = await soon(handle.wait())

    error = failed.errors[-1]
    assert (failed.status, error.kind) == (JobStatus.DISCARDED, ErrorKind.EXCEPTION)
    assert error.details == f"an exception that could not be shown: {raised.__name__}"
    told = [vars(record)["job_id"] for record in caplog.records if record.levelno == logging.ERROR]
    assert told == [failed.id]


async def test_a_timeout_that_ends_in_an_exception_that_cannot_be_looked_at_is_a_timeout(
    backend: Backend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    started = asyncio.Event()

    async def closed() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ClosedCancellation(SystemExit) from None

    async with Rexecutor(backend).with_executor(Scripted(lambda _: closed())):
        handle = await Scripted.builder().with_data("slow").with_max_attempts(1).enqueue(backend=backend)
        await soon(started.wait())
        clock.advance(SECOND)
        failed = await soon(handle.wait())

    assert [(error.kind, error.type_name) for error in failed.errors] == [(ErrorKind.TIMEOUT, "Timeout")]
    assert [record.levelno for record in caplog.records if vars(record).get("job_id") == failed.id] == [logging.ERROR]


async def test_perform_raises_an_exception_that_cannot_be_looked_at() -> None:
    def script(_: Job[str]) -> None:
        raise ClosedError(ValueError)

    with pytest.raises(ClosedError):
        await soon(perform(Scripted(script), ""))


@pytest.mark.parametrize(
    "value",
    [True, 0, "secret", ["secret"], ValueError("secret"), ValueError, object()],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("base", [Scripted, Blocking])
async def test_a_value_that_nobody_declared_is_ignored_with_one_warning_for_the_executor(
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    events: Events,
    base: type[Scripted] | type[Blocking],
    value: Any,
) -> None:
    kind = cast("type[Scripted]", type("Returning", (base,), {"name": "returning"}))  # nobody was told of it yet
    caplog.set_level(logging.WARNING)

    async with Rexecutor(backend).with_executor(kind(lambda _: value)):
        for _ in range(3):
            handle = await kind.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
            job = await soon(handle.wait())
            assert (job.status, job.attempt, job.errors) == (JobStatus.COMPLETE, 1, ())

    assert len(caplog.messages) == 1
    (ignored,) = events.of(ResultIgnored)
    assert (ignored.executor, ignored.type_name) == ("returning", type(value).__name__)
    assert "secret" not in caplog.text


async def test_each_executor_that_returns_a_value_is_named_once(events: Events) -> None:
    class First(Scripted):
        name = "first"

    class Second(Scripted):
        name = "second"

    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(First(lambda _: 1)).with_executor(Second(lambda _: 2)):
        for kind in (First, Second, First, Second):
            await soon((await kind.builder().with_data("x").enqueue(backend=backend)).wait())

    assert [one.executor for one in events.of(ResultIgnored)] == ["first", "second"]


def _unfinished() -> Generator[None]:
    yield


@pytest.mark.parametrize("value", [asyncio.Future[None], _unfinished])
async def test_work_that_is_returned_and_not_done_is_a_failed_attempt(
    backend: Backend, value: Callable[[], object]
) -> None:
    async def script(_: Job[str]) -> object:
        return value()

    async with Rexecutor(backend).with_executor(Scripted(script)):
        handle = await Scripted.builder().with_data("x").with_max_attempts(1).enqueue(backend=backend)
        job = await soon(handle.wait())

    assert (job.status, job.errors[-1].type_name) == (JobStatus.DISCARDED, "TypeError")
    assert "its work was not done" in job.errors[-1].details


async def test_a_job_that_was_given_up_is_not_asked_for_its_backoff_again(backend: Backend, clock: FakeClock) -> None:
    asked: list[int] = []
    begun, let_go = threading.Event(), threading.Event()

    class Late(Blocking):
        name = "late"
        max_attempts = 2

        def backoff(self, job: Job[str]) -> timedelta:
            asked.append(job.attempt)
            return SECOND

    def fail_late(_: Job[str]) -> None:
        begun.set()
        let_go.wait(20)
        raise ValueError("too late")

    async with Rexecutor(backend).with_executor(Late(fail_late)):
        handle = await Late.builder().with_data("slow").enqueue(backend=backend)
        await until(begun.is_set)
        clock.advance(SECOND)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        let_go.set()

    assert asked == [1]


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


async def test_a_job_that_cannot_be_decoded_has_failed_and_does_not_run_for_ever(backend: Backend) -> None:
    [stored] = await backend.enqueue([NewJob("task", '{"not": "a text"}', None, 1, 0, (), None, timedelta(0))])

    async with Rexecutor(backend).with_executor(Task):
        await until(lambda: is_status(backend, stored.id, JobStatus.DISCARDED))

    [error] = (await record_of(backend, stored.id)).errors
    assert error.kind is ErrorKind.DECODE


async def test_numbers_that_no_enqueue_lets_through_stop_no_node(backend: Backend) -> None:
    running = Waiting()
    bad, *good = await enqueue_many([Quick.builder()] * 3, backend=backend)
    await corrupt(backend, bad.id)

    async with Rexecutor(backend).with_executor(Quick).with_executor(running):
        in_flight = await Waiting.builder().enqueue(backend=backend)
        for handle in good:
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        await until(lambda: has_ended(backend, bad.id))
        assert await works(backend)
        running.let_go.set()
        assert (await soon(in_flight.wait())).status is JobStatus.COMPLETE


@pytest.mark.parametrize("method", ["backoff", "timeout"])
async def test_a_backoff_or_a_timeout_that_raises_costs_an_attempt_at_most(backend: Backend, method: str) -> None:
    class Odd(Executor[None]):
        name = "odd"
        max_attempts = 1

        async def execute(self, job: Job[None]) -> None:
            raise ValueError

    def overflow(*_: object) -> timedelta:
        return timedelta.max * 2

    setattr(Odd, method, overflow)

    async with Rexecutor(backend).with_executor(Odd).with_executor(Quick):
        job = await soon((await Odd.builder().enqueue(backend=backend)).wait())
        assert await works(backend)

    assert job.status is JobStatus.DISCARDED
    assert [error.type_name for error in job.errors] == ["ValueError" if method == "backoff" else "OverflowError"]


async def test_an_error_of_any_text_is_recorded_and_neither_texts_nor_errors_grow_for_ever(
    backend: Backend,
) -> None:
    class Poisoned(Executor[None]):
        name = "poisoned"
        max_attempts = 25

        async def execute(self, job: Job[None]) -> None:
            raise ValueError("NUL \0, lone surrogate \ud800, " + "long " * 20_000)

        def backoff(self, job: Job[None]) -> timedelta:
            return timedelta(0)

    async with Rexecutor(backend).with_executor(Poisoned):
        job = await soon((await Poisoned.builder().enqueue(backend=backend)).wait())

    assert (job.status, job.attempt) == (JobStatus.DISCARDED, 25)
    assert [error.attempt for error in job.errors] == list(range(6, 26))
    for error in job.errors:
        assert "ValueError: NUL" in error.details
        assert len(error.details) <= 8 * 1024
        assert not {"\0", "\ud800"} & set(error.details)
