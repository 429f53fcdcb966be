"""What users see of an enqueue with keyword arguments, and of jobs from an id.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rexecutor import (
    Executor,
    Job,
    JobBuilder,
    JobHandle,
    JobStatus,
    PostgresBackend,
    Snooze,
    UniquenessCriteria,
    Where,
    enqueue_many,
    enqueue_many_sync,
    job_handle,
)


class Order(msgspec.Struct, frozen=True):
    id: int


@dataclass
class Trace:
    by: str


@dataclass
class Receipt:
    number: int


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...


class Tick(Executor[None]):
    name = "tick"

    async def execute(self, job: Job[None]) -> None: ...


class ChargeOrder(Executor[Order, Trace, Receipt]):
    name = "charge_order"

    async def execute(self, job: Job[Order, Trace]) -> Receipt | Snooze:
        return Receipt(job.data.id)


class Count(Executor[None, Trace, int]):
    name = "count"

    async def execute(self, job: Job[None, Trace]) -> int:
        return job.attempt


class MaybeData(Executor[str | None]):
    name = "maybe_data"

    async def execute(self, job: Job[str | None]) -> None: ...


async def an_enqueue_returns_a_typed_handle() -> None:
    assert_type(await EmailJob.enqueue("bob"), JobHandle[str])
    assert_type(await EmailJob().enqueue("bob"), JobHandle[str])
    assert_type(EmailJob.enqueue_sync("bob"), JobHandle[str])
    assert_type(EmailJob.new("bob"), JobBuilder[str])
    assert_type(await ChargeOrder.enqueue(Order(1), metadata=Trace("me")), JobHandle[Order, Trace, Receipt])
    assert_type(ChargeOrder.enqueue_sync(Order(1)), JobHandle[Order, Trace, Receipt])
    assert_type(ChargeOrder.new(Order(1)), JobBuilder[Order, Trace, Receipt])
    handle = await ChargeOrder.enqueue(Order(1))
    assert_type(await handle.result(), Receipt)


async def data_of_type_none_may_be_left_out_or_given() -> None:
    assert_type(await Tick.enqueue(), JobHandle[None])
    assert_type(await Tick.enqueue(None), JobHandle[None])
    assert_type(Tick.enqueue_sync(priority=1), JobHandle[None])
    assert_type(Tick.new(tags=["a"]), JobBuilder[None])
    assert_type(await Count.enqueue(metadata=Trace("me")), JobHandle[None, Trace, int])
    assert_type(await MaybeData.enqueue(None), JobHandle[str | None])


async def every_setting_has_a_keyword(backend: PostgresBackend, session: AsyncSession, blocking: Session) -> None:
    await EmailJob.enqueue(
        "bob",
        tags={"a"},
        priority=1,
        max_attempts=3,
        schedule_at=datetime.now(UTC),  # noqa: TID251 - as a user writes
        expires_in=timedelta(hours=1),
        unique=UniquenessCriteria.by_executor(),
        connection=session,
        backend=backend,
    )
    EmailJob.enqueue_sync("bob", schedule_in=timedelta(hours=1), unique=None, connection=blocking)
    await EmailJob.new("bob").enqueue(connection=session)
    EmailJob.new("bob").enqueue_sync(connection=blocking)
    await enqueue_many([EmailJob.new("bob")], connection=session)
    enqueue_many_sync([EmailJob.new("bob")], connection=blocking, backend=backend)
    await EmailJob.enqueue("bob", backend=backend.bound_to(session))
    assert_type(Tick.new().expires_at(datetime.now(UTC)).expires_in(timedelta(hours=1)), JobBuilder[None])  # noqa: TID251


async def it_goes_wherever_a_coroutine_goes() -> None:
    assert_type(await asyncio.create_task(EmailJob.enqueue("bob")), JobHandle[str])
    async with asyncio.TaskGroup() as tasks:
        charge = tasks.create_task(ChargeOrder.enqueue(Order(1)))
    assert_type(charge.result(), JobHandle[Order, Trace, Receipt])
    many = asyncio.create_task(enqueue_many([ChargeOrder.new(Order(1))]))
    assert_type(await many, list[JobHandle[Order, Trace, Receipt]])
    assert_type(asyncio.run(Tick.enqueue()), JobHandle[None])


async def what_must_be_an_error() -> None:
    await EmailJob.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await EmailJob.enqueue(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EmailJob.enqueue_sync(Order(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EmailJob.enqueue_sync()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    EmailJob.new(Order(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ChargeOrder.new()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await ChargeOrder.enqueue(Order(1), metadata="me")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.enqueue("bob", priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.enqueue("bob", schedule_in=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.enqueue("bob", countdown=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    EmailJob.enqueue("bob")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    EmailJob.new("bob").enqueue()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    enqueue_many([Tick.new()])  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


async def a_job_from_an_id() -> None:
    assert_type(await ChargeOrder.get_job(7), Job[Order, Trace, Receipt])
    assert_type(ChargeOrder.get_job_sync(7), Job[Order, Trace, Receipt])
    assert_type(ChargeOrder.handle(7), JobHandle[Order, Trace, Receipt])
    assert_type(await ChargeOrder.handle(7).result(), Receipt)
    assert_type(job_handle(7), JobHandle[Any, Any, Any])
    assert_type((await job_handle(7).fetch()).status, JobStatus)
    assert_type(await EmailJob.count_jobs(), Mapping[JobStatus, int])
    assert_type(await EmailJob.count_jobs(Where.tagged_by_one_of("a")), Mapping[JobStatus, int])
    assert_type(EmailJob.count_jobs_sync(where=Where.everything()), Mapping[JobStatus, int])


def take(handle: JobHandle[str]) -> JobHandle[str]:
    return handle


async def what_is_of_another_executor_is_an_error() -> None:
    take(await EmailJob.enqueue("bob"))
    take(EmailJob.handle(7))
    take(job_handle(7))
    take(await ChargeOrder.enqueue(Order(1)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    take(ChargeOrder.handle(7))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.update_job(await ChargeOrder.get_job(7))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.get_job("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await EmailJob.count_jobs("complete")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
