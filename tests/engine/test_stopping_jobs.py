"""Timeouts and cancels: jobs that are told to stop."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Backend, ErrorKind, Job, JobStatus, Rexecutor
from rexecutor.testing import FakeClock
from tests.engine.executors import GatedScript, Task, enqueued_task
from tests.engine.scripted import SECOND, Blocking, Scripted
from tests.support import soon, until


def hanging(started: asyncio.Event) -> Scripted:
    """Return an executor whose jobs say that they have started, and then wait for ever."""

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    return Scripted(lambda _: hang())


# With the second the seconds of the deadline add up to a hair more than those of the clock.
@pytest.mark.parametrize("elapsed", [timedelta(0), timedelta(microseconds=3_969)])
async def test_an_async_job_over_its_time_is_cancelled_and_has_failed(
    backend: Backend, clock: FakeClock, elapsed: timedelta
) -> None:
    clock.advance(elapsed)
    assert 0.003969 + 1.0 > 1.003969
    started = asyncio.Event()

    async with Rexecutor(backend).with_executor(hanging(started)):
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


async def test_a_running_job_is_cancelled_from_outside_and_its_reason_kept(backend: Backend, clock: FakeClock) -> None:
    started = asyncio.Event()

    async with Rexecutor(backend).with_executor(hanging(started)):
        handle = await Scripted.builder().with_data("x").enqueue(backend=backend)
        await soon(started.wait())
        assert await handle.cancel("changed our mind") is JobStatus.EXECUTING
        clock.advance(5 * SECOND)
        job = await soon(handle.wait())

    assert job.status is JobStatus.CANCELLED
    assert job.errors[-1].details == "changed our mind"


async def test_a_cancel_reaches_a_running_job_within_a_heartbeat(backend: Backend, clock: FakeClock) -> None:
    gated = GatedScript()

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued_task(backend)
        await soon(gated.started.wait())
        await handle.cancel("changed our mind")
        clock.advance(5 * SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.errors[-1].details) == (JobStatus.CANCELLED, "changed our mind")
