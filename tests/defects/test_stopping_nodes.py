"""Defects by which a node of the original stopped, or did too much: R6, R7, R9, R10, R21, R22, R37."""

import asyncio
import logging
import os
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import (
    Backend,
    ErrorKind,
    Executor,
    Job,
    JobStatus,
    Rexecutor,
    SQLiteBackend,
    enqueue_many,
)
from rexecutor.model.job import NewJob
from rexecutor.testing import FakeClock
from tests.backends import spoil
from tests.defects.faults import Faults
from tests.support import record_of, soon, status_of, until

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class Quick(Executor[None]):
    """Does nothing."""

    name = "quick"

    async def execute(self, job: Job[None]) -> None: ...


class Waiting(Executor[None]):
    """Waits until it is let go."""

    name = "waiting"

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.runs = 0

    async def execute(self, job: Job[None]) -> None:
        self.runs += 1
        await self.let_go.wait()


class Hanging(Executor[str]):
    """Blocks a thread, in spite of its timeout, until it is let go."""

    name = "hanging"
    blocking = True
    max_attempts = 1
    max_concurrency = 1

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()

    def execute(self, job: Job[str]) -> None:
        if job.data == "hangs":
            self.started.set()
            self.let_go.wait(20)

    def timeout(self, job: Job[str]) -> timedelta:
        return SECOND


async def pass_time(
    clock: FakeClock, span: timedelta, step: timedelta = SECOND / 10, *, faults: Faults | None = None
) -> None:
    """Let the time pass in small steps, so that whatever waits does what it has to at each.

    With faults, a step ends when the store has answered all that the node asks in it.
    """
    for _ in range(span // step):
        clock.advance(step)
        for _ in range(3):
            await asyncio.to_thread(lambda: None)
        if faults is not None:
            await until(lambda: not (faults.under_way["release_claims"] or faults.under_way["claim"]))


async def has_ended_by_and_by(backend: Backend, clock: FakeClock, job_id: int) -> bool:
    """Whether the job has ended, after a little more time has passed."""
    clock.advance(SECOND / 10)
    return await has_ended(backend, job_id)


async def works(backend: Backend) -> bool:
    """Whether a job that is enqueued now is run."""
    handle = await Quick.builder().enqueue(backend=backend)
    return (await soon(handle.wait())).status is JobStatus.COMPLETE


async def has_ended(backend: Backend, job_id: int) -> bool:
    return (await status_of(backend, job_id)).has_ended


async def test_r6_numbers_that_no_enqueue_lets_through_stop_no_node(backend: Backend) -> None:
    running = Waiting()
    bad, *good = await enqueue_many([Quick.builder()] * 3, backend=backend)
    await spoil(backend, bad.id)

    async with Rexecutor(backend).with_executor(Quick).with_executor(running):
        in_flight = await Waiting.builder().enqueue(backend=backend)
        for handle in good:
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        await until(lambda: has_ended(backend, bad.id))
        assert await works(backend)
        running.let_go.set()
        assert (await soon(in_flight.wait())).status is JobStatus.COMPLETE


@pytest.mark.parametrize("method", ["backoff", "timeout"])
async def test_r7_a_backoff_or_a_timeout_that_raises_costs_an_attempt_at_most(backend: Backend, method: str) -> None:
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


async def test_r9_hints_that_fail_end_no_claims(backend: Backend, clock: FakeClock) -> None:
    faults = Faults(backend)
    faults.break_down("wait_ready")

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await until(lambda: faults.calls["wait_ready"] > 0)
        for _ in range(3):
            handle = await Quick.builder().enqueue(backend=backend)
            await until(lambda handle=handle: has_ended_by_and_by(backend, clock, handle.id))


async def test_r9_garbage_at_the_doorbell_does_no_harm(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        SQLiteBackend(tmp_path / "jobs.db", clock=clock) as mine,
        SQLiteBackend(tmp_path / "jobs.db", clock=clock) as another,
        Rexecutor(mine).with_executor(Quick),
    ):
        address = mine._doorbell.address
        if address is None:
            pytest.skip("no Unix sockets here")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anybody:
            for garbage in (b"", b"\xff\0" * 5_000, b'{"executor": 7}'):
                anybody.sendto(garbage, b"\0" + os.fsencode(address)[1:] if address[0] == "@" else address)

        handle = await Quick.builder().enqueue(backend=another)

        await until(lambda: has_ended(mine, handle.id))

    alarming = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert alarming == []  # such as an "Exception in callback" of the loop's


async def test_r10_jobs_that_others_run_are_not_worth_a_line(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rexecutor")

    async with Rexecutor(backend).with_executor(Quick):
        assert await works(backend)
        before = len(caplog.records)
        for _ in range(20):
            await backend.enqueue([NewJob("stranger", "null", None, 1, 0, (), None, timedelta(0))])
            assert await works(backend)

        assert [one for one in caplog.records[before:] if one.name != "rexecutor.jobs"] == []


async def test_r10_who_waits_no_more_is_forgotten(backend: Backend) -> None:
    handle = await Quick.builder().schedule_in(SECOND).enqueue(backend=backend)

    waits = [asyncio.ensure_future(handle.wait()) for _ in range(50)]
    await until(lambda: len(vars(backend)["_wakeups"]._waiting) > 0)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)

    assert not vars(backend)["_wakeups"]._waiting


async def test_r21_no_more_jobs_are_claimed_than_can_run(backend: Backend) -> None:
    waiting = Waiting()
    await enqueue_many([Waiting.builder()] * 250, backend=backend)

    async with Rexecutor(backend).with_executor(waiting):
        await until(lambda: waiting.runs >= 100)
        counts = {count.status: count.jobs for count in await backend.count()}
        waiting.let_go.set()
        await until(lambda: waiting.runs == 250)

    assert counts == {JobStatus.EXECUTING: 100, JobStatus.SCHEDULED: 150}


async def test_r22_a_claim_takes_as_many_jobs_as_there_are_slots(backend: Backend) -> None:
    faults = Faults(backend)
    handles = await enqueue_many([Quick.builder()] * 1_000, backend=backend)

    async with Rexecutor(backend).with_executor(Quick):
        await soon(handles[-1].wait())

    assert faults.calls["claim"] <= 50


async def test_r22_a_job_of_the_future_is_awaited_in_peace(backend: Backend, clock: FakeClock) -> None:
    faults = Faults(backend)
    handle = await Quick.builder().schedule_in(10 * SECOND + SECOND / 100).enqueue(backend=backend)

    async with Rexecutor(backend).with_executor(Quick):
        await until(lambda: faults.calls["wait_ready"] > 0)
        await pass_time(clock, 10 * SECOND)
        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
        asked = faults.calls["claim"]
        clock.advance(SECOND / 100)
        await soon(handle.wait())

    assert asked <= 15


async def test_r22_an_outage_is_no_busy_loop_and_two_lines(
    backend: Backend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rexecutor")
    faults = Faults(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        assert await works(backend)
        faults.break_down("claim", "wait_ready")
        await pass_time(clock, 2 * SECOND, faults=faults)
        before = faults.calls["claim"]
        handle = await Quick.builder().enqueue(backend=backend)
        await pass_time(clock, 40 * SECOND, faults=faults)
        asked = faults.calls["claim"] - before
        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
        faults.repair()
        await until(lambda: has_ended_by_and_by(backend, clock, handle.id))

    assert 0 < asked <= 20
    lines = [record.message for record in caplog.records]
    assert sum("claim fails" in line for line in lines) == 1
    assert sum("claim succeeds again" in line for line in lines) == 1


async def test_r37_a_thread_that_does_not_end_holds_its_slot_and_is_told_of(
    backend: Backend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = Hanging()

    async with Rexecutor(backend).with_executor(hanging).with_executor(Quick):
        hung = await Hanging.builder().with_data("hangs").enqueue(backend=backend)
        await until(hanging.started.is_set)
        clock.advance(SECOND)
        timed_out = await soon(hung.wait())
        second = await Hanging.builder().with_data("x").enqueue(backend=backend)
        assert await works(backend)  # the node claims, and does not claim this one
        while_it_hangs = await record_of(backend, second.id)
        hanging.let_go.set()
        after = await soon(second.wait())

    assert (timed_out.status, timed_out.errors[-1].kind) == (JobStatus.DISCARDED, ErrorKind.TIMEOUT)
    assert f"job {hung.id} (hanging) does not stop and holds its slot" in caplog.text
    assert (while_it_hangs.status, while_it_hangs.claims) == (JobStatus.SCHEDULED, 0)
    assert after.status is JobStatus.COMPLETE


async def test_r37_a_thread_that_does_not_end_holds_a_slot_of_the_node(backend: Backend, clock: FakeClock) -> None:
    hanging, waiting = Hanging(), Waiting()

    async with Rexecutor(backend, max_concurrency=2).with_executor(hanging).with_executor(waiting):
        hung = await Hanging.builder().with_data("hangs").enqueue(backend=backend)
        await until(hanging.started.is_set)
        clock.advance(SECOND)
        await soon(hung.wait())
        handles = await enqueue_many([Waiting.builder()] * 2, backend=backend)
        await until(lambda: waiting.runs == 1)
        await pass_time(clock, 2 * SECOND)
        running = [await status_of(backend, handle.id) for handle in handles]
        hanging.let_go.set()
        await until(lambda: waiting.runs == 2)
        waiting.let_go.set()

    assert running == [JobStatus.EXECUTING, JobStatus.SCHEDULED]
