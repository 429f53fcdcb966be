"""Executors that do what a test says."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rexecutor import Backend, ExecutionResult, Executor, Job, JobStatus
from tests.support import record_of, soon

SECOND = timedelta(seconds=1)


class Scripted(Executor[str]):
    """Does what the function given to it does."""

    name = "scripted"
    max_attempts = 3

    def __init__(self, script: Callable[[Job[str]], Any]) -> None:
        self._script = script

    async def execute(self, job: Job[str]) -> ExecutionResult:
        answer = self._script(job)
        return await answer if asyncio.iscoroutine(answer) else answer

    def backoff(self, job: Job[str]) -> timedelta:
        return SECOND * job.attempt

    def timeout(self, job: Job[str]) -> timedelta | None:
        return SECOND if job.data == "slow" else None


def raising(error: BaseException) -> Callable[[Job[str]], Any]:
    def script(_: Job[str]) -> Any:
        raise error

    return script


class Blocking(Executor[str]):
    name = "blocking"
    blocking = True
    max_attempts = 1

    def __init__(self, script: Callable[[Job[str]], Any]) -> None:
        self._script = script

    def execute(self, job: Job[str]) -> ExecutionResult:
        return self._script(job)

    def timeout(self, job: Job[str]) -> timedelta | None:
        return SECOND if job.data == "slow" else None


async def until_status(backend: Backend, job_id: int, status: JobStatus, claims: int = 1) -> None:
    """Wait until the store says so."""

    async def wait() -> None:
        while True:
            since = backend.change_count
            record = await record_of(backend, job_id)
            if record.status is status and record.claims >= claims:
                return
            await backend.wait_ended(backend.clock.now() + timedelta(hours=1), since=since)

    await soon(wait())
