"""The test tools as those see them who test an application or a backend.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both: an `ignore`
that is not needed is itself an error.
"""

import unittest
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from rexecutor import Cancel, ExecutionResult, Executor, InMemoryBackend, Job, JobHandle, Snooze
from rexecutor.testing import (
    BackendSuite,
    Drained,
    FakeClock,
    assert_enqueued,
    assert_enqueued_sync,
    assert_result,
    assert_result_sync,
    drain,
    model_of,
    perform,
    refute_enqueued,
)


class TestMyBackend(BackendSuite):
    def open_backend(self, clock: FakeClock, store: Path) -> InMemoryBackend:
        assert_type(store, Path)
        return InMemoryBackend(clock=clock)


TestMyModel = model_of(TestMyBackend)

assert_type(TestMyModel, type[unittest.TestCase])
assert_type(FakeClock().now(), datetime)
assert_type(FakeClock().advance(timedelta(seconds=1)), None)


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...


class Report(Executor[list[int] | None, dict[str, str]]):
    name = "report"

    async def execute(self, job: Job[list[int] | None, dict[str, str]]) -> None: ...


class Nightly(Executor[None]):
    name = "nightly"

    async def execute(self, job: Job[None]) -> None: ...


class Count(Executor[str, None, int]):
    name = "count"

    async def execute(self, job: Job[str]) -> int | Snooze:
        return len(job.data)


async def the_answers_of_the_helpers_have_types(clock: FakeClock) -> None:
    now = clock.now()
    assert_type(await assert_enqueued(1, for_executor=EmailJob), list[Job[str, None]])
    assert_type(await assert_enqueued(for_executor=EmailJob(), with_data="bob"), list[Job[str, None]])
    assert_type(await assert_enqueued(with_data="bob", for_executor=EmailJob), list[Job[str, None]])
    assert_type(
        await assert_enqueued(for_executor=Report, with_data=[1], with_metadata={"a": "b"}, tagged_with={"a"}),
        list[Job[list[int] | None, dict[str, str]]],
    )
    assert_type(assert_enqueued_sync(1, for_executor=EmailJob, with_data="bob"), list[Job[str, None]])
    assert_type(assert_enqueued_sync(2, with_data=42), list[Job[Any, Any, Any]])
    assert_enqueued_sync(for_executor=EmailJob, with_data=42)  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await assert_enqueued(for_executor=Report, with_data=None, with_metadata=None)
    await assert_enqueued(for_executor=EmailJob, with_metadata=None, scheduled_at=now, backend=InMemoryBackend())
    assert_type(await assert_enqueued(2, with_data=42), list[Job[Any, Any, Any]])
    assert_type(await refute_enqueued(for_executor=EmailJob, with_data="bob", scheduled_after=now), None)
    assert_type(await refute_enqueued(tagged_with=("a", "b")), None)

    await assert_enqueued(for_executor=EmailJob, with_data=42)  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await assert_enqueued(for_executor=Report, with_metadata=["a"])  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await assert_enqueued(for_executor=int)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await refute_enqueued(for_executor=EmailJob, with_data=b"bob")  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await assert_enqueued(for_executor=EmailJob, scheduled_at=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def a_run_takes_the_data_of_its_executor(clock: FakeClock) -> None:
    assert_type(await perform(EmailJob, "bob"), ExecutionResult)
    assert_type(await perform(EmailJob(), "bob", attempt=2, tags=["a"], clock=clock), ExecutionResult)
    assert_type(await perform(Report, [1], metadata={"a": "b"}), ExecutionResult)
    assert_type(await perform(Nightly), ExecutionResult)
    assert_type(await perform(Count, "bob"), int | Cancel | Snooze)
    assert_type(await perform(Count(), "bob"), int | Cancel | Snooze)
    await perform(Report, None)

    await perform(EmailJob)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await perform(EmailJob, 42)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    await perform(Report, [1], metadata="a")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


async def a_drain_takes_any_executors(clock: FakeClock) -> None:
    drained = await drain(EmailJob, Report(), Nightly, until=clock.now() + timedelta(hours=1))
    assert_type(drained, Drained)
    assert_type(drained.complete, int)
    assert_type(drained.runs, int)


async def a_result_is_of_the_executors_type(
    count: JobHandle[str, None, int], email: JobHandle[str], any_job: JobHandle[Any, Any, Any]
) -> None:
    assert_type(await assert_result(count, 7), None)
    assert_result_sync(count, 7)
    await assert_result(email, None)
    await assert_result(any_job, {"rows": 7})

    await assert_result(count, "7")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    assert_result_sync(email, 7)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    await assert_result(7, 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
