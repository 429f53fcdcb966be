"""Defects by which jobs of the original were lost, or ran twice: R1 to R5, R19, R20, R32, R33, R38."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    ErrorKind,
    ExecutionResult,
    Executor,
    Job,
    JobHandle,
    JobStateError,
    JobStatus,
    Rexecutor,
    Snooze,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing import FakeClock
from tests.defects.faults import Faults, Moment
from tests.support import record_of, soon, status_of, until

SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)


class Task(Executor[str]):
    """Does what the function given to it does; a failure is retried at once."""

    name = "task"

    def __init__(self, script: Callable[[Job[str]], Any] = lambda _: None) -> None:
        self._script = script

    async def execute(self, job: Job[str]) -> ExecutionResult:
        answer = self._script(job)
        return await answer if asyncio.iscoroutine(answer) else answer

    def backoff(self, job: Job[str]) -> timedelta:
        return timedelta(0)


class Gated:
    """A script that waits until it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.let_go = asyncio.Event()
        self.runs = 0

    def __call__(self, job: Job[str]) -> Any:
        self.runs += 1
        return self._wait()

    async def _wait(self) -> None:
        self.started.set()
        await self.let_go.wait()


async def enqueued(backend: Backend, data: str = "x", **settings: Any) -> JobHandle[str, None]:
    builder = Task.builder().with_data(data)
    for name, value in settings.items():
        builder = getattr(builder, f"with_{name}")(value)
    return await builder.enqueue(backend=backend)


async def claimed(backend: Backend, node_id: str) -> JobRecord:
    """Answer the one due job, in the hands of a node that has just begun its lease."""
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node(node_id, node_id, LEASE))
    heartbeats.close()
    [record] = (await backend.claim(Demand({"task": 1}, 1), node_id)).jobs
    return record


async def test_r1_a_job_whose_node_died_runs_on_another(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued(backend)
    lost = await claimed(backend, "a node that dies")
    assert (lost.node, lost.attempted_at) == ("a node that dies", clock.now())
    clock.advance(LEASE)

    async with Rexecutor(backend).with_executor(Task):
        job = await soon(handle.wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert [error.kind for error in job.errors] == [ErrorKind.LOST]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_r2_an_outcome_that_is_not_recorded_is_delivered_again(
    backend: Backend, clock: FakeClock, moment: Moment
) -> None:
    gated, faults = Gated(), Faults(backend)
    faults.fail("settle", moment, moment, moment)

    async def is_recorded() -> bool:
        clock.advance(SECOND)
        return await status_of(backend, handle.id) is JobStatus.COMPLETE and faults.calls["settle"] == 4

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued(backend, max_attempts=1)
        await soon(gated.started.wait())
        gated.let_go.set()
        await until(lambda: faults.calls["settle"] == 1)
        await until(is_recorded)

    job = await handle.fetch()
    assert (gated.runs, job.attempt, job.errors) == (1, 1, ())


async def test_r3_a_late_outcome_overwrites_no_newer_attempt(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued(backend)
    old = await claimed(backend, "paused")
    clock.advance(LEASE)
    new = await claimed(backend, "other")

    refused = await backend.settle([Settlement(old.id, old.claims, Complete())])

    assert refused == [handle.id]
    assert await record_of(backend, handle.id) == new


async def test_r3_a_late_success_does_not_make_a_cancelled_job_complete(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued(backend)
    old = await claimed(backend, "paused")
    clock.advance(LEASE)
    heartbeats = backend.heartbeat_connection()
    assert heartbeats.send(Node("other", "other", LEASE)).rescued == 1
    heartbeats.close()
    await handle.cancel("not wanted")

    refused = await backend.settle([Settlement(old.id, old.claims, Complete())])

    job = await handle.fetch()
    assert refused == [handle.id]
    assert (job.status, job.cancelled_at, job.completed_at) == (JobStatus.CANCELLED, clock.now(), None)


async def test_r3_a_cancel_leaves_a_complete_job_complete(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Task):
        handle = await enqueued(backend)
        complete = await soon(handle.wait())

    assert await handle.cancel("too late") is JobStatus.COMPLETE
    assert await handle.fetch() == complete


async def test_r4_a_running_job_is_not_rerun(backend: Backend) -> None:
    gated = Gated()

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued(backend)
        await soon(gated.started.wait())
        [refusal] = await asyncio.gather(handle.rerun(), return_exceptions=True)
        gated.let_go.set()
        await soon(handle.wait())

    assert isinstance(refusal, JobStateError)
    assert gated.runs == 1


async def test_r5_a_job_that_cannot_be_decoded_has_failed_and_does_not_run_for_ever(backend: Backend) -> None:
    [stored] = await backend.enqueue([NewJob("task", '{"not": "a text"}', None, 1, 0, (), None, timedelta(0))])

    async with Rexecutor(backend).with_executor(Task):
        await until(lambda: is_status(backend, stored.id, JobStatus.DISCARDED))

    [error] = (await record_of(backend, stored.id)).errors
    assert error.kind is ErrorKind.DECODE


async def test_r19_a_shutdown_has_ended_only_when_the_running_jobs_have(backend: Backend) -> None:
    gated = Gated()
    rexecutor = Rexecutor(backend).with_executor(Task(gated))
    await rexecutor.start()
    handle = await enqueued(backend)
    await soon(gated.started.wait())

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    done, _ = await asyncio.wait((shutdown,), timeout=0.05)
    gated.let_go.set()
    await soon(shutdown)

    assert not done
    assert await status_of(backend, handle.id) is JobStatus.COMPLETE


@pytest.mark.parametrize("is_answered", [True, False])
async def test_r20_what_a_claim_brings_during_a_shutdown_goes_back_unharmed(
    backend: Backend, *, is_answered: bool
) -> None:
    gated, faults = Gated(), Faults(backend)
    answer = faults.hold("claim")
    handles = await enqueue_many([Task.builder().with_data("x") for _ in range(5)], backend=backend)
    rexecutor = Rexecutor(backend).with_executor(Task(gated))
    if not is_answered:
        faults.fail("claim", "after")
    await rexecutor.start()
    await until(lambda: faults.answered["claim"] == 1)

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    done, _ = await asyncio.wait((shutdown,), timeout=0.05)
    answer.set()
    await soon(shutdown)

    records = [await record_of(backend, handle.id) for handle in handles]
    assert not done
    assert gated.runs == 0
    assert {(record.status, record.attempt, record.claims, record.errors) for record in records} == {
        (JobStatus.SCHEDULED, 0, 1, ())
    }


async def test_r32_a_job_whose_attempts_were_made_fewer_than_it_had_is_discarded(
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


async def test_r33_a_snooze_is_counted_and_keeps_the_history_unambiguous(backend: Backend) -> None:
    answers: list[ExecutionResult] = [Snooze(timedelta(0)), Snooze(timedelta(0)), None]

    async with Rexecutor(backend).with_executor(Task(lambda _: answers.pop(0))):
        handle = await enqueued(backend, max_attempts=1)
        await soon(handle.wait())

    record = await record_of(backend, handle.id)
    assert (record.attempt, record.snoozes, record.claims) == (1, 2, 3)


def test_r33_a_snooze_into_the_past_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        Snooze(-SECOND)


async def test_r38_a_cancel_reaches_a_running_job_within_a_heartbeat(backend: Backend, clock: FakeClock) -> None:
    gated = Gated()

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued(backend)
        await soon(gated.started.wait())
        await handle.cancel("changed our mind")
        clock.advance(5 * SECOND)
        job = await soon(handle.wait())

    assert (job.status, job.errors[-1].details) == (JobStatus.CANCELLED, "changed our mind")


async def is_status(backend: Backend, job_id: int, status: JobStatus) -> bool:
    return await status_of(backend, job_id) is status


async def has_failed(backend: Backend, job_id: int, attempt: int) -> bool:
    record = await record_of(backend, job_id)
    return (record.status, record.attempt) == (JobStatus.RETRYABLE, attempt)
