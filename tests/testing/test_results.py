"""`assert_result`, and the results of `perform` and `drain`."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from rexecutor import (
    Backend,
    Cancel,
    ConfigurationError,
    EncodeError,
    ErrorKind,
    Executor,
    Job,
    JobHandle,
    JobStatus,
    Snooze,
)
from rexecutor.telemetry.events import ResultIgnored
from rexecutor.testing import Drained, FakeClock, assert_result, assert_result_sync, drain, perform
from tests.support import Events, record_of

HOUR = timedelta(hours=1)


class Report(msgspec.Struct, frozen=True):
    rows: int
    by: str = "us"


class Build(Executor[str, None, Report]):
    """Does as its data say."""

    name = "build"
    max_attempts = 2
    discard_on = (LookupError,)

    async def execute(self, job: Job[str]) -> Any:
        match job.data:
            case "cancel":
                return Cancel("why")
            case "snooze":
                return Snooze(HOUR)
            case "wrong":
                return "rows"
            case "large":
                return Report(1, "x" * 70_000)
            case "raise":
                raise ValueError("no luck")
            case "listed":
                raise KeyError("no such thing")
            case _:
                return Report(7)


class Plain(Executor[str]):
    name = "plain"

    async def execute(self, job: Job[str]) -> Any:
        return 7 if job.data == "seven" else None


async def built(backend: Backend, data: str = "x") -> JobHandle[str, None, Report]:
    handle = await Build.builder().with_data(data).enqueue(backend=backend)
    await drain(Build, backend=backend)
    return handle


async def test_perform_returns_the_result() -> None:
    assert await perform(Build, "x") == Report(7)
    assert await perform(Build, "cancel") == Cancel("why")
    assert await perform(Build, "snooze") == Snooze(HOUR)


@pytest.mark.parametrize(("data", "what"), [("wrong", "Report expected"), ("large", "70,018 bytes as JSON, at most")])
async def test_perform_refuses_a_result_that_a_worker_would_not_store(data: str, what: str) -> None:
    with pytest.raises(EncodeError, match=f"build: result.*{what}"):
        await perform(Build, data)


async def test_perform_ignores_a_value_that_nobody_declared(events: Events) -> None:
    class Undeclared(Plain):
        name = "undeclared"

    assert await perform(Undeclared, "seven") is None
    assert [one.type_name for one in events.of(ResultIgnored)] == ["int"]


async def test_a_drain_stores_results(backend: Backend) -> None:
    handle = await built(backend)

    assert await handle.result() == Report(7)
    await assert_result(handle, Report(7))
    assert_result_sync(handle, Report(7))


async def test_a_drain_obeys_discard_on(backend: Backend) -> None:
    handle = await Build.builder().with_data("listed").enqueue(backend=backend)

    drained = await drain(Build, backend=backend)

    assert drained == Drained(discarded=1)
    assert [error.type_name for error in drained.errors] == ["KeyError"]
    assert (await record_of(backend, handle.id)).attempt == 1


@pytest.mark.parametrize("delay", [timedelta(0), HOUR / 4])
async def test_a_drain_cancels_what_has_expired_when_its_turn_comes(
    backend: Backend, clock: FakeClock, delay: timedelta
) -> None:
    expired = Build.builder().with_data("x").schedule_in(delay).expires_in(HOUR / 2)
    handle = await expired.enqueue(backend=backend)
    in_time = await Build.builder().with_data("x").expires_in(2 * HOUR).enqueue(backend=backend)
    clock.advance(HOUR)

    drained = await drain(Build, backend=backend)

    assert drained == Drained(cancelled=1, complete=1)
    assert [error.kind for error in drained.errors] == [ErrorKind.EXPIRED]
    assert (await record_of(backend, handle.id)).status is JobStatus.CANCELLED
    await assert_result(in_time, Report(7))


class TestAssertResult:
    async def test_none_is_the_result_of_an_executor_without_one(self, backend: Backend) -> None:
        handle = await Plain.builder().with_data("x").enqueue(backend=backend)
        await drain(Plain, backend=backend)

        await assert_result(handle, None)
        with pytest.raises(EncodeError, match="plain: result: None expected, int given; declare its type"):
            await assert_result(handle, 7)  # pyright: ignore[reportArgumentType] - a mistake

    async def test_both_values_and_their_differences_are_shown(self, backend: Backend) -> None:
        handle = await built(backend)

        with pytest.raises(AssertionError) as failure:
            await assert_result(handle, Report(8))

        lines = str(failure.value).splitlines()
        assert lines[0] == f"assert_result: job {handle.id} of build has another result"
        assert [msgspec.json.decode(line.split(" ")[-1]) for line in lines[1:3]] == [
            {"rows": 8, "by": "us"},
            {"rows": 7, "by": "us"},
        ]
        assert lines[3:] == ["  result.rows: 7, expected 8"]

    async def test_the_status_and_the_errors_of_a_job_that_is_not_complete_are_shown(self, backend: Backend) -> None:
        handle = await built(backend, "raise")

        with pytest.raises(AssertionError) as failure:
            assert_result_sync(handle, Report(8))

        lines = str(failure.value).splitlines()
        assert lines[0] == f"assert_result_sync: job {handle.id} of build is retryable, not complete"
        assert lines[1].startswith("  expected {")
        assert lines[2:] == ["  attempt 1 of 2, 1 error", "  attempt 1, exception: ValueError: no luck"]

    async def test_a_job_that_has_not_run_is_not_waited_for(self, backend: Backend) -> None:
        handle = await Build.builder().with_data("x").enqueue(backend=backend)

        with pytest.raises(AssertionError, match="is scheduled, not complete"):
            await assert_result(handle, Report(7))

    async def test_a_job_that_is_not_stored_is_named(self, backend: Backend) -> None:
        handle = await built(backend)
        unknown = JobHandle(handle.id + 1, "inserted", handle.executor, handle.backend)

        with pytest.raises(AssertionError, match=f"there is no job {handle.id + 1} in this store"):
            await assert_result(unknown, Report(7))

    async def test_a_value_of_another_type_is_a_mistake_of_the_test(self, backend: Backend) -> None:
        handle = await built(backend)

        with pytest.raises(EncodeError, match="build: result: Report expected"):
            await assert_result(handle, 7)  # pyright: ignore[reportArgumentType] - a mistake
        with pytest.raises(ConfigurationError, match="assert_result: handle"):
            await assert_result(handle.id, Report(7))  # pyright: ignore[reportArgumentType] - a mistake
