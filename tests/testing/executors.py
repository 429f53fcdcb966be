"""Executors of a make-believe application."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from rexecutor import Cancel, ExecutionResult, Executor, Job, override_global_backend
from rexecutor.backend.base import Backend
from rexecutor.model.job import NewJob


class EmailJob(Executor[str, dict[str, float]]):
    name = "email_job"
    max_attempts = 2

    async def execute(self, job: Job[str, dict[str, float]]) -> None: ...


class Order(msgspec.Struct, frozen=True):
    id: int
    total_cents: int


class DecliningGateway:
    async def charge(self, order: Order) -> str:
        return "declined"


class ChargeOrder(Executor[Order]):
    name = "charge_order"

    def __init__(self, gateway: DecliningGateway) -> None:
        self._gateway = gateway

    async def execute(self, job: Job[Order]) -> ExecutionResult:
        return Cancel("card declined") if await self._gateway.charge(job.data) == "declined" else None


class Scripted(Executor[str, str]):
    """Does what the function given to it does; tries again a second later, and takes a minute at most."""

    name = "scripted"
    max_attempts = 3

    def __init__(self, script: Callable[[Job[str, str]], Any]) -> None:
        self._script = script

    async def execute(self, job: Job[str, str]) -> ExecutionResult:
        answer = self._script(job)
        return await answer if asyncio.iscoroutine(answer) else answer

    def backoff(self, job: Job[str, str]) -> timedelta:
        return timedelta(seconds=1)

    def timeout(self, job: Job[str, str]) -> timedelta:
        return timedelta(minutes=1)


class Blocking(Executor[str]):
    """Does what the function given to it does, in a thread."""

    name = "blocking"
    blocking = True

    def __init__(self, script: Callable[[Job[str]], Any]) -> None:
        self._script = script

    def execute(self, job: Job[str]) -> ExecutionResult:
        return self._script(job)

    def timeout(self, job: Job[str]) -> timedelta:
        return timedelta(minutes=1)


class Nightly(Executor[None]):
    name = "nightly"

    async def execute(self, job: Job[None]) -> None: ...


async def remind() -> None:
    """Enqueue by the global backend, as application code does."""
    await EmailJob.builder().with_data("bob.shuruncle@example.com").schedule_in(timedelta(hours=3)).enqueue()


async def enqueue_email(backend: Backend, data: str, *tags: str, delay: timedelta = timedelta(0)) -> int:
    """Enqueue an email, and return its id."""
    builder = EmailJob.builder().with_data(data).with_tags(*tags).schedule_in(delay)
    return (await builder.enqueue(backend=backend)).id


async def enqueue_raw(backend: Backend, executor: str, data: str) -> None:
    """Store what no builder would, such as data of a type that the executor had once."""
    with override_global_backend(backend):
        await backend.enqueue([NewJob(executor, data, None, 5, 0, (), None, timedelta(0))])
