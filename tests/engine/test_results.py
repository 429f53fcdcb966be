"""What `execute` returns: checked, encoded where the job runs, and stored with the completion."""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, field_serializer

from rexecutor import (
    Backend,
    Cancel,
    EncodeError,
    ErrorKind,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Limits,
    Rexecutor,
    Snooze,
)
from rexecutor.backend.completion import Completion
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import COMPLETE
from rexecutor.telemetry.events import JobEnded
from rexecutor.testing import FakeClock, perform
from tests.engine.in_children import Answer, Answering
from tests.engine.scripted import SECOND, until_status
from tests.support import Events, record_of, soon


class Report(msgspec.Struct):
    rows: int
    url: str


class Build(Executor[None, None, Report]):
    """Returns what the function given to it returns."""

    name = "build"
    max_attempts = 2

    def __init__(self, script: Callable[[Job[None]], Any]) -> None:
        self._script = script

    async def execute(self, job: Job[None]) -> Report | Snooze | Cancel:
        answer = self._script(job)
        return await answer if asyncio.iscoroutine(answer) else answer

    def backoff(self, job: Job[None]) -> timedelta:
        return SECOND


class BuildInThread(Executor[None, None, Report]):
    """Returns what the function given to it returns, from a thread."""

    name = "build"
    blocking = True
    max_attempts = 2

    def __init__(self, script: Callable[[Job[None]], Any]) -> None:
        self._script = script

    def execute(self, job: Job[None]) -> Report | Snooze | Cancel:
        return self._script(job)

    def backoff(self, job: Job[None]) -> timedelta:
        return SECOND


BOTH = pytest.mark.parametrize("kind", [Build, BuildInThread])


async def one_run(executor: Build | BuildInThread, backend: Backend, attempts: int = 1) -> Job[None, None, Report]:
    async with Rexecutor(backend).with_executor(executor):
        builder = type(executor).builder().with_max_attempts(attempts)
        return await soon((await builder.enqueue(backend=backend)).wait())


@BOTH
async def test_a_declared_result_is_stored_with_the_completion(backend: Backend, kind: type[Build]) -> None:
    job = await one_run(kind(lambda _: Report(7, "there")), backend)

    assert (job.status, job.result, job.errors) == (JobStatus.COMPLETE, Report(7, "there"), ())
    stored = (await record_of(backend, job.id)).result
    assert stored is not None
    assert json.loads(stored) == {"rows": 7, "url": "there"}


@BOTH
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (7, "build: result: Report expected"),
        (Report("seven", "there"), "build: result: Report expected: Expected `int`, got `str` - at `$.rows`"),  # pyright: ignore[reportArgumentType] - what an untyped program gives
        (None, "build: result: Report expected"),
        (Report(7, "x" * 65_536), "build: result has 65,555 bytes as JSON, at most 65,536 are allowed"),
        (object(), "build: result: Report expected"),
    ],
    ids=["wrong type", "wrong field", "none", "too large", "not json"],
)
async def test_a_result_of_the_wrong_type_or_size_is_a_failed_attempt(
    backend: Backend, kind: type[Build], value: Any, what: str
) -> None:
    job = await one_run(kind(lambda _: value), backend)

    (error,) = job.errors
    assert (job.status, job.result) == (JobStatus.DISCARDED, None)
    assert (error.kind, error.type_name) == (ErrorKind.EXCEPTION, "EncodeError")
    assert what in error.details


async def test_the_attempt_after_a_wrong_result_may_succeed(backend: Backend, clock: FakeClock) -> None:
    async with Rexecutor(backend).with_executor(Build(lambda job: job.attempt if job.attempt == 1 else Report(1, "a"))):
        handle = await Build.builder().enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        clock.advance(SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.result, job.attempt) == (JobStatus.COMPLETE, Report(1, "a"), 2)


async def test_the_largest_result_is_the_stores_limit(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock, limits=Limits(result=22))
    async with backend:
        jobs = [await one_run(Build(lambda _, url=url: Report(1, url)), backend) for url in ("abc", "abcd")]

    assert [job.status for job in jobs] == [JobStatus.COMPLETE, JobStatus.DISCARDED]
    assert "23 bytes as JSON, at most 22" in jobs[1].errors[0].details


async def test_a_cancel_and_a_snooze_are_no_results(backend: Backend, clock: FakeClock) -> None:
    class Anything(Executor[str, None, Any]):
        name = "anything"

        async def execute(self, job: Job[str]) -> Any:
            return {"cancel": Cancel("why"), "snooze": Snooze(SECOND)}[job.data]

    async with Rexecutor(backend).with_executor(Anything):
        cancelled = await soon((await Anything.builder().with_data("cancel").enqueue(backend=backend)).wait())
        snoozed = await Anything.builder().with_data("snooze").enqueue(backend=backend)
        await until_status(backend, snoozed.id, JobStatus.SCHEDULED)

    assert (cancelled.status, cancelled.result, cancelled.errors[0].details) == (JobStatus.CANCELLED, None, "why")
    assert (await record_of(backend, snoozed.id)).result is None


async def test_a_null_is_stored_as_no_result(backend: Backend) -> None:
    class Search(Executor[None, None, int | None]):
        name = "search"

        async def execute(self, job: Job[None]) -> int | None:
            return None

    async with Rexecutor(backend).with_executor(Search):
        job = await soon((await Search.builder().enqueue(backend=backend)).wait())

    assert (job.status, job.result) == (JobStatus.COMPLETE, None)
    assert (await record_of(backend, job.id)).result is None


class Told(BaseModel):
    """Notes which thread encodes it."""

    threads: list[str] = []

    @field_serializer("threads")
    def _note(self, threads: list[str]) -> list[str]:
        ENCODED_IN.append(threading.current_thread().name)
        return threads


ENCODED_IN: list[str] = []


async def test_the_result_of_a_thread_is_encoded_in_the_thread(backend: Backend) -> None:
    ENCODED_IN.clear()

    class Tell(Executor[None, None, Told]):
        name = "tell"
        blocking = True

        def execute(self, job: Job[None]) -> Told:
            return Told()

    async with Rexecutor(backend).with_executor(Tell):
        job = await soon((await Tell.builder().enqueue(backend=backend)).wait())

    assert job.status is JobStatus.COMPLETE
    assert {name.rpartition(" ")[0] for name in ENCODED_IN} == {"rexecutor job"}


async def test_no_event_holds_a_result(backend: Backend, events: Events, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await one_run(Build(lambda _: Report(7, "secret")), backend)

    (ended,) = events.of(JobEnded)
    assert ended.outcome is COMPLETE
    assert "secret" not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a_child_encodes_the_result_and_sends_its_text() -> None:
    backend = InMemoryBackend()

    async with Rexecutor(backend).with_executor(Answering):
        deeds = ("unpicklable", "huge", "wrong", "unpicklable")
        handles = [await Answering.builder().with_data(deed).enqueue(backend=backend) for deed in deeds]
        unpicklable, huge, wrong, after = [await soon(handle.wait(), 60) for handle in handles]

    assert (unpicklable.status, unpicklable.result) == (JobStatus.COMPLETE, Answer("kept"))
    assert [(one.kind, one.type_name) for one in huge.errors] == [(ErrorKind.EXCEPTION, "EncodeError")]
    assert "answering: result has 100,011 bytes as JSON, at most 65,536 are allowed" in huge.errors[0].details
    assert [(one.kind, one.type_name) for one in wrong.errors] == [(ErrorKind.EXCEPTION, "EncodeError")]
    assert "answering: result: Answer expected" in wrong.errors[0].details
    assert after.result == Answer("kept")


class Recording(Completion):
    """Keeps what was given to it, in place of a store that shares transactions."""

    def __init__(self) -> None:
        self.given: list[tuple[object, str | None]] = []

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        return self.complete_sync(record, connection, result=result)

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        self.given.append((connection, result))
        return True


class Shared(InMemoryBackend):
    """Shares transactions, as it says."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def completion(self) -> Completion:
        return self.recording


class Closing(Executor[None, None, Report]):
    """Completes its job by `complete_in`, with the given keywords."""

    name = "closing"
    max_attempts = 1

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.raised: list[EncodeError] = []

    async def execute(self, job: Job[None]) -> Report:
        try:
            await job.complete_in("connection", **self.given)
        except EncodeError as error:
            self.raised.append(error)
            raise
        return Report(0, "ignored")


class ClosingWithout(Executor[None]):
    """Gives a result although it declares none."""

    name = "closing_without"
    blocking = True
    max_attempts = 1

    def execute(self, job: Job[None]) -> None:
        job.complete_in_sync("connection", result=Report(7, "there"))


async def test_complete_in_stores_the_result_that_it_is_given_and_not_the_returned_one() -> None:
    recording = Recording()

    async with Rexecutor(Shared(recording)).with_executor(Closing(result=Report(7, "there"))) as rexecutor:
        handle = await Closing.builder().enqueue(backend=rexecutor.backend)
        await soon(handle.wait())

    [(connection, result)] = recording.given
    assert connection == "connection"
    assert json.loads(result or "") == {"rows": 7, "url": "there"}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"result": 7}, "closing: result: Report expected"),
        ({"result": Report(7, "x" * 65_536)}, "closing: result has 65,555 bytes as JSON, at most 65,536 are allowed"),
        ({}, "closing: result: Report expected"),
        ({"result": Snooze(SECOND)}, "closing: a Snooze is not a result; return it, without complete_in"),
    ],
    ids=["wrong type", "too large", "missing", "snooze"],
)
async def test_complete_in_sends_nothing_if_the_result_cannot_be_stored(given: dict[str, Any], what: str) -> None:
    recording, executor = Recording(), Closing(**given)

    async with Rexecutor(Shared(recording)).with_executor(executor) as rexecutor:
        handle = await Closing.builder().enqueue(backend=rexecutor.backend)
        job = await soon(handle.wait())

    assert recording.given == []
    (raised,) = executor.raised
    assert what in str(raised)
    assert (job.status, [error.type_name for error in job.errors]) == (JobStatus.DISCARDED, ["EncodeError"])


async def test_complete_in_refuses_a_result_of_an_executor_that_declares_none() -> None:
    recording = Recording()

    async with Rexecutor(Shared(recording)).with_executor(ClosingWithout) as rexecutor:
        handle = await ClosingWithout.builder().enqueue(backend=rexecutor.backend)
        job = await soon(handle.wait())

    assert recording.given == []
    assert "closing_without: result: None expected, Report given; declare its type" in job.errors[0].details


async def test_perform_returns_the_result_that_complete_in_was_given() -> None:
    assert await perform(Closing(result=Report(7, "there"))) == Report(7, "there")
