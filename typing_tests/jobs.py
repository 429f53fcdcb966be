"""What users see of jobs, builders and handles.

basedpyright and mypy check this file; nobody runs it. A line with `ignore` must be an error for both: an `ignore`
that is not needed is itself an error.
"""

import dataclasses
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

import asyncpg
import django.db
import msgspec
import psycopg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from rexecutor import (
    Backend,
    Cancel,
    ExecutionResult,
    Executor,
    InMemoryBackend,
    Job,
    JobBuilder,
    JobError,
    JobHandle,
    JobStatus,
    PostgresBackend,
    Snooze,
    SQLiteBackend,
    Where,
    enqueue_many,
    enqueue_many_sync,
    override_global_backend,
    results_sync,
)
from rexecutor.backend.app_transaction import SyncTransaction, Transaction


class Order(msgspec.Struct, frozen=True):
    id: int


@dataclass
class Trace:
    by: str


class Address(TypedDict):
    street: str


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None:
        assert_type(job, Job[str])
        assert_type(job, Job[str, None])
        assert_type(job.data, str)
        assert_type(job.metadata, None)
        assert_type(job.tags, tuple[str, ...])
        assert_type(job.errors, tuple[JobError, ...])
        assert_type(job.scheduled_at, datetime)
        assert_type(job.completed_at, datetime | None)
        assert_type(job.status, JobStatus)


class ChargeOrder(Executor[Order, Trace]):
    name = "charge_order"
    max_attempts = 2
    max_concurrency = 10

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway

    async def execute(self, job: Job[Order, Trace]) -> ExecutionResult:
        assert_type(job.data, Order)
        assert_type(job.metadata, Trace | None)
        return Cancel("no") if job.is_final_attempt else Snooze(timedelta(seconds=1))

    def backoff(self, job: Job[Order, Trace]) -> timedelta:
        assert_type(job.errors[-1], JobError)
        return timedelta(seconds=job.attempt)

    def timeout(self, job: Job[Order, Trace]) -> timedelta:
        return timedelta(seconds=20 * job.attempt)


class SendLetter(Executor[Address]):
    name = "send_letter"
    blocking = True

    def execute(self, job: Job[Address]) -> Cancel | None:
        assert_type(job.data, Address)
        assert_type(job.data["street"], str)
        return None


class TraceJob(Executor[Trace]):
    name = "trace_job"
    blocking = "thread"

    def execute(self, job: Job[Trace]) -> None:
        assert_type(job.data.by, str)


def a_builder_keeps_its_types() -> None:
    assert_type(EmailJob.builder(), JobBuilder[str, None])
    assert_type(ChargeOrder.builder(), JobBuilder[Order, Trace])
    assert_type(SendLetter.builder(), JobBuilder[Address, None])
    builder = (
        ChargeOrder.builder()
        .with_data(Order(id=1))
        .with_metadata(Trace("me"))
        .with_max_attempts(3)
        .with_priority(1)
        .with_tags("a")
        .add_tag("b")
        .schedule_in(timedelta(hours=1))
    )
    assert_type(builder, JobBuilder[Order, Trace])
    assert_type(SendLetter.builder().with_data({"street": "a"}), JobBuilder[Address, None])


def data_of_another_type_is_an_error() -> None:
    EmailJob.builder().with_data(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ChargeOrder.builder().with_metadata("me")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SendLetter.builder().with_data({"road": "a"})  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportArgumentType]


async def an_enqueue_answers_a_typed_handle(backend: Backend) -> None:
    handle = await ChargeOrder.builder().with_data(Order(id=1)).enqueue()
    assert_type(handle, JobHandle[Order, Trace])
    assert_type(await EmailJob.builder().with_data("bob").enqueue(backend=backend), JobHandle[str, None])
    job = await handle.fetch()
    assert_type(job, Job[Order, Trace])
    assert_type((await handle.wait(timedelta(seconds=1))).data, Order)
    assert_type(await handle.cancel("enough"), JobStatus)
    assert_type(await handle.rerun(), None)


async def many_of_one_executor_keep_their_types(backend: Backend) -> None:
    builders = [ChargeOrder.builder().with_data(Order(id=number)) for number in range(3)]
    assert_type(await enqueue_many(builders), list[JobHandle[Order, Trace]])
    assert_type(await enqueue_many(iter(builders), backend=backend), list[JobHandle[Order, Trace]])


def an_enqueue_without_a_loop_answers_the_same(backend: Backend) -> None:
    builder = ChargeOrder.builder().with_data(Order(id=1))
    assert_type(builder.enqueue_sync(), JobHandle[Order, Trace])
    assert_type(enqueue_many_sync([builder], backend=backend), list[JobHandle[Order, Trace]])
    handle = builder.enqueue_sync(backend=backend)
    assert_type(handle.fetch_sync(), Job[Order, Trace])
    assert_type(handle.wait_sync(timedelta(seconds=1)).data, Order)
    assert_type(handle.cancel_sync("enough"), JobStatus)
    assert_type(results_sync([handle, handle]), list[None])


def stored_jobs_without_a_loop_are_typed(backend: Backend, connection: psycopg.Connection[Any]) -> None:
    job = ChargeOrder.get_job_sync(7, backend=backend)
    assert_type(job, Job[Order, Trace])
    assert_type(ChargeOrder.query_jobs_sync(Where.everything(), connection=connection), list[Job[Order, Trace]])
    assert_type(ChargeOrder.update_job_sync(job), Job[Order, Trace])
    assert_type(ChargeOrder.cancel_job_sync(7, "enough"), JobStatus)
    ChargeOrder.update_job_sync(EmailJob.get_job_sync(7))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def connections_that_are_awaited(
    backend: PostgresBackend,
    given: psycopg.AsyncConnection[dict[str, Any]],
    other: asyncpg.Connection,
    session: AsyncSession,
    connection: AsyncConnection,
) -> None:
    assert_type(backend.bound_to(given), Transaction)
    assert_type(backend.bound_to(other), Transaction)
    assert_type(backend.bound_to(session), Transaction)
    assert_type(backend.bound_to(connection), Transaction)
    await EmailJob.builder().enqueue(backend=backend.bound_to(given))
    await enqueue_many([EmailJob.builder()], backend=backend.bound_to(session))
    EmailJob.builder().enqueue_sync(backend=backend.bound_to(given))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def connections_that_block(
    backend: PostgresBackend, given: psycopg.Connection[dict[str, Any]], session: Session, connection: Connection
) -> None:
    assert_type(backend.bound_to(given), SyncTransaction)
    assert_type(backend.bound_to(session), SyncTransaction)
    assert_type(backend.bound_to(connection), SyncTransaction)
    EmailJob.builder().enqueue_sync(backend=backend.bound_to(given))
    enqueue_many_sync([EmailJob.builder()], backend=backend.bound_to(session))
    await EmailJob.builder().enqueue(backend=backend.bound_to(given))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(backend.bound_to(django.db.connection), SyncTransaction)
    assert_type(backend.bound_to(django.db.connections["default"]), SyncTransaction)
    backend.bound_to("postgresql://")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def a_connection_to_sqlite(backend: SQLiteBackend, given: sqlite3.Connection) -> None:
    EmailJob.builder().enqueue_sync(backend=backend.bound_to(given))
    await EmailJob.builder().enqueue(backend=backend.bound_to(given))
    EmailJob.builder().enqueue_sync(backend=backend.bound_to(django.db.connection))


def a_job_is_changed_with_replace(job: Job[Order, Trace]) -> None:
    changed = dataclasses.replace(job, priority=1)
    assert_type(changed, Job[Order, Trace])
    assert_type(changed.data.id, int)


def a_backend_is_what_it_is() -> None:
    backend = InMemoryBackend().paused()
    assert_type(backend, InMemoryBackend)
    with override_global_backend(backend) as current:
        assert_type(current, Backend)


async def a_backend_is_a_context_manager() -> None:
    async with InMemoryBackend() as backend:
        assert_type(backend, InMemoryBackend)


def what_execute_answers(result: ExecutionResult) -> str:
    match result:
        case Cancel(reason):
            assert_type(reason, str)
            return reason
        case Snooze(delay):
            assert_type(delay, timedelta)
            return str(delay)
        case None:
            return "done"


class Build(Executor[Order, None, Trace]):
    name = "build"

    async def execute(self, job: Job[Order, None, Trace]) -> Trace | Snooze:
        await job.complete_in("connection", result=Trace("bob"))
        job.complete_in_sync("connection", result=Trace("bob"))
        await job.complete_in("connection", result=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await job.complete_in("connection")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        return Trace("bob")


class ShortBuild(Executor[Order, None, Trace]):
    name = "short_build"

    async def execute(self, job: Job[Order]) -> Trace:
        await job.complete_in("connection", result=Trace("bob"))
        await job.complete_in("connection")
        return Trace("bob")
