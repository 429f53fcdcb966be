"""Executors for tests of nodes, and questions about their jobs."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rexecutor import Backend, ExecutionResult, Executor, Job, JobHandle, JobStatus
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.testing import FakeClock
from tests.fault_injector import FaultInjector
from tests.support import record_of, soon, status_of, until

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
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


class GatedScript:
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


async def enqueued_task(backend: Backend, data: str = "x", **settings: Any) -> JobHandle[str, None]:
    builder = Task.builder().with_data(data)
    for name, value in settings.items():
        builder = getattr(builder, f"with_{name}")(value)
    return await builder.enqueue(backend=backend)


async def claimed_task(backend: Backend, node_id: str) -> JobRecord:
    """Return the one due job, claimed by a node that has just begun its lease."""
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node(node_id, node_id, LEASE))
    heartbeats.close()
    [record] = (await backend.claim(Demand({"task": 1}, 1), node_id)).jobs
    return record


async def is_status(backend: Backend, job_id: int, status: JobStatus) -> bool:
    return await status_of(backend, job_id) is status


async def has_failed(backend: Backend, job_id: int, attempt: int) -> bool:
    record = await record_of(backend, job_id)
    return (record.status, record.attempt) == (JobStatus.RETRYABLE, attempt)


class Recorder(Executor[int]):
    """Notes the data of the jobs that ran."""

    name = "recorder"
    max_attempts = 1

    def __init__(self) -> None:
        self.ran: list[int] = []

    async def execute(self, job: Job[int]) -> None:
        self.ran.append(job.data)


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


async def pass_time(
    clock: FakeClock, span: timedelta, step: timedelta = SECOND / 10, *, faults: FaultInjector | None = None
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
