"""A job that was claimed after it had expired is cancelled by its node, which calls nothing of the application's."""

from datetime import timedelta
from typing import Any

import pytest

from rexecutor import ErrorKind, Job, JobStatus, Rexecutor, Snooze
from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId, NewJob
from rexecutor.model.outcomes import Expired
from rexecutor.telemetry.events import JobEnded
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick, Waiting, works
from tests.engine.scripted import SECOND, Scripted, until_status
from tests.fault_injector import FaultInjector
from tests.support import Events, record_of, soon, until


class Uncalled(Scripted):
    """Fails the test if it is asked for anything."""

    def timeout(self, job: Job[str]) -> timedelta | None:
        raise AssertionError

    def backoff(self, job: Job[str]) -> timedelta:
        raise AssertionError


async def enqueued(backend: Backend, expires_in: timedelta, data: str = '"x"') -> JobId:
    new = NewJob("scripted", data, None, 3, 0, (), None, timedelta(0), expires_in=expires_in)
    return (await backend.enqueue([new]))[0].id


@pytest.mark.parametrize("data", ['"x"', "7"])
async def test_a_job_that_expired_before_its_claim_is_cancelled_unread_and_never_run(
    backend: Backend, clock: FakeClock, events: Events, data: str
) -> None:
    ran: list[Job[str]] = []
    first, uncalled = Waiting(), Uncalled(ran.append)
    faults = FaultInjector(backend)

    async with Rexecutor(backend, max_concurrency=1, executors=[first, uncalled, Quick]):
        await Waiting.builder().enqueue(backend=backend)
        await until(lambda: first.runs == 1)
        faults.break_down("heartbeat")  # one that a hint has hurried would cancel what has expired, too
        job_id = await enqueued(backend, SECOND, data)
        clock.advance(SECOND)
        first.let_go.set()
        await until_status(backend, job_id, JobStatus.CANCELLED)
        assert await works(backend), "its slot is free again"
        faults.repair()

    record = await record_of(backend, job_id)
    assert ran == []
    assert (record.attempt, record.cancelled_at) == (0, clock.now())
    assert [(error.kind, error.type_name) for error in record.errors] == [(ErrorKind.EXPIRED, "Expired")]
    assert [(one.job_id, one.is_final) for one in events.of(JobEnded) if isinstance(one.outcome, Expired)] == [
        (job_id, False)
    ]


async def test_a_job_that_is_claimed_in_time_runs(backend: Backend, clock: FakeClock) -> None:
    ran: list[Job[str]] = []
    job_id = await enqueued(backend, SECOND)

    async with Rexecutor(backend).with_executor(Scripted(ran.append)):
        await until_status(backend, job_id, JobStatus.COMPLETE)

    assert [job.expires_at for job in ran] == [clock.now() + SECOND]


@pytest.mark.parametrize("first", [Snooze(2 * SECOND), ValueError("again")])
async def test_a_job_that_has_started_in_time_is_run_again_after_its_expiry(
    backend: Backend, clock: FakeClock, first: Snooze | ValueError
) -> None:
    answers: list[Any] = [None, first]

    def script(_: Job[str]) -> Any:
        answer = answers.pop()
        if isinstance(answer, ValueError):
            raise answer
        return answer

    job_id = await enqueued(backend, SECOND)

    async with Rexecutor(backend).with_executor(Scripted(script)):
        await until(lambda: len(answers) == 1)
        await until_status(backend, job_id, JobStatus.SCHEDULED if isinstance(first, Snooze) else JobStatus.RETRYABLE)
        clock.advance(3 * SECOND)
        await soon(until_status(backend, job_id, JobStatus.COMPLETE))
