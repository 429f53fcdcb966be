"""Queries, updates, cancels and reruns by an executor's class without an event loop, and in one's own transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg
import psycopg
import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    PostgresBackend,
    SQLiteBackend,
    StaleJobError,
    Where,
    enqueue_many,
    override_global_backend,
)
from rexecutor.telemetry.events import JobUnreadable
from rexecutor.testing.suite.store import new_job
from tests.postgres import postgres_backend, server_url
from tests.support import Events, status_of

T = TypeVar("T")

ALL = Where.everything()


class Mail(Executor[str, list[str]]):
    name = "mail"

    async def execute(self, job: Job[str, list[str]]) -> None: ...


class Other(Executor[str]):
    name = "other"

    async def execute(self, job: Job[str]) -> None: ...


async def enqueued(backend: Backend, *data: str) -> list[int]:
    return [
        handle.id for handle in await enqueue_many([Mail.builder().with_data(one) for one in data], backend=backend)
    ]


async def within(act: Callable[[], T]) -> T:
    """Call it in a thread without an event loop."""
    return await asyncio.to_thread(act)


class TestQueries:
    async def test_they_return_what_the_asynchronous_ones_do(self, backend: Backend, events: Events) -> None:
        ids = await enqueued(backend, *"abcdefg")
        await Other.builder().with_data("x").enqueue(backend=backend)
        [broken] = await backend.enqueue([new_job("mail", data="7")])

        for limit in (None, 1, 3, 20):
            for after in (None, ids[2], 10**30):
                expected = await Mail.query_jobs(ALL, limit=limit, after=after, backend=backend)
                found = await within(lambda: Mail.query_jobs_sync(ALL, limit=limit, after=after, backend=backend))  # noqa: B023 - called at once
                assert found == expected, (limit, after)

        assert {event.job_id for event in events.of(JobUnreadable)} == {broken.id}

    async def test_more_jobs_than_a_page_are_all_returned(self, backend: Backend) -> None:
        ids = await enqueued(backend, *["a"] * 2_345)

        assert [job.id for job in await within(lambda: Mail.query_jobs_sync(ALL, backend=backend))] == ids

    async def test_the_global_backend(self, backend: Backend) -> None:
        ids = await enqueued(backend, "a")
        with pytest.raises(GlobalBackendError):
            Mail.query_jobs_sync(ALL)

        with override_global_backend(backend):
            assert [job.id for job in Mail.query_jobs_sync(ALL)] == ids

    def test_an_argument_that_is_not_valid_is_refused(self) -> None:
        backend = InMemoryBackend()
        with pytest.raises(ConfigurationError, match="mail: query_jobs_sync: limit must be"):
            Mail.query_jobs_sync(ALL, limit=0, backend=backend)
        with pytest.raises(ConfigurationError, match="mail: query_jobs_sync: where must be a Where"):
            Mail.query_jobs_sync(cast("Where", "all"), backend=backend)


class TestChanges:
    async def test_a_job_is_updated_unless_the_copy_is_stale(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")
        [copy] = await within(lambda: Mail.query_jobs_sync(ALL, backend=backend))
        changed = replace(copy, data="b", metadata=["m"], priority=3, tags=("t",))

        stored = await within(lambda: Mail.update_job_sync(changed, backend=backend))

        assert (stored.id, stored.data, stored.metadata, stored.priority, stored.tags) == (
            job_id,
            "b",
            ["m"],
            3,
            ("t",),
        )
        assert [stored] == await Mail.query_jobs(ALL, backend=backend)
        with pytest.raises(StaleJobError):
            await within(lambda: Mail.update_job_sync(changed, backend=backend))

    async def test_what_cannot_be_stored_is_refused_before(self, backend: Backend) -> None:
        await enqueued(backend, "a")
        [job] = await Mail.query_jobs(ALL, backend=backend)

        with pytest.raises(InvalidJobError, match="mail: data: str expected"):
            Mail.update_job_sync(replace(job, data=cast("str", 7)), backend=backend)
        with pytest.raises(InvalidJobError, match="mail: update_job_sync: job must be a Job"):
            Mail.update_job_sync(cast("Job[str, list[str]]", job.id), backend=backend)
        with pytest.raises(JobNotFoundError, match="call update_job_sync of its executor"):
            Other.update_job_sync(cast("Job[str]", job), backend=backend)

        assert [job] == await Mail.query_jobs(ALL, backend=backend)

    async def test_a_job_is_cancelled_and_rerun(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with pytest.raises(JobStateError):
            await within(lambda: Mail.rerun_job_sync(job_id, backend=backend))
        assert await within(lambda: Mail.cancel_job_sync(job_id, "enough", backend=backend)) is JobStatus.CANCELLED
        await within(lambda: Mail.rerun_job_sync(job_id, backend=backend))

        assert await status_of(backend, job_id) is JobStatus.SCHEDULED

    async def test_another_executors_job_is_not_found(self, backend: Backend) -> None:
        [job_id] = await enqueued(backend, "a")

        with pytest.raises(JobNotFoundError, match="belongs to mail, not to other"):
            await within(lambda: Other.cancel_job_sync(job_id, "why", backend=backend))
        with pytest.raises(JobNotFoundError, match="belongs to mail, not to other"):
            await within(lambda: Other.rerun_job_sync(job_id, backend=backend))

    async def test_an_id_that_is_none_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ConfigurationError, match="cancel: job_id must be an int"):
            Mail.cancel_job_sync(cast("int", "7"), "why", backend=backend)
        with pytest.raises(ConfigurationError, match="rerun: job_id must be an int"):
            Mail.rerun_job_sync(cast("int", "7"), backend=backend)


@contextmanager
def sqlite_connection(backend: Backend) -> Generator[Any]:
    assert isinstance(backend, SQLiteBackend)
    with closing(sqlite3.connect(backend.path, check_same_thread=False)) as connection:
        yield connection


@contextmanager
def postgres_connection(backend: Backend) -> Generator[Any]:
    with psycopg.connect(server_url()) as connection:
        yield connection
        connection.rollback()


CONNECTIONS: dict[type[Backend], Callable[[Backend], AbstractContextManager[Any]]] = {
    SQLiteBackend: sqlite_connection,
    PostgresBackend: postgres_connection,
}


@pytest.fixture
def transactional(backend: Backend) -> Backend:
    if isinstance(backend, InMemoryBackend):
        pytest.skip("memory has no transactions")
    return backend


@pytest.fixture
async def connection(transactional: Backend) -> AsyncIterator[Any]:
    [made] = [made for kind, made in CONNECTIONS.items() if isinstance(transactional, kind)]
    with made(transactional) as opened:
        yield opened


class TestInOnesOwnTransaction:
    async def test_changes_are_seen_there_and_made_with_its_commit(
        self, transactional: Backend, connection: Any
    ) -> None:
        backend = transactional
        first, second, third = await enqueued(backend, *"abc")
        await Mail.cancel_job(third, "enough", backend=backend)
        before = await Mail.query_jobs(ALL, backend=backend)

        def change() -> list[Job[str, list[str]]]:
            assert Mail.cancel_job_sync(first, "enough", backend=backend, connection=connection) is JobStatus.CANCELLED
            [copy] = Mail.query_jobs_sync(Where.id_equals(second), backend=backend, connection=connection)
            Mail.update_job_sync(replace(copy, priority=3), backend=backend, connection=connection)
            Mail.rerun_job_sync(third, backend=backend, connection=connection)
            return Mail.query_jobs_sync(ALL, backend=backend, connection=connection)

        seen = await within(change)
        unseen = await Mail.query_jobs(ALL, backend=backend)
        connection.commit()

        assert [(job.status, job.priority) for job in seen] == [
            (JobStatus.CANCELLED, 0),
            (JobStatus.SCHEDULED, 3),
            (JobStatus.SCHEDULED, 0),
        ]
        assert unseen == before
        assert await Mail.query_jobs(ALL, backend=backend) == seen

    async def test_changes_that_are_rolled_back_never_were(self, transactional: Backend, connection: Any) -> None:
        [job_id] = await enqueued(transactional, "a")
        before = await Mail.query_jobs(ALL, backend=transactional)

        Mail.cancel_job_sync(job_id, "enough", backend=transactional, connection=connection)
        connection.rollback()

        assert await Mail.query_jobs(ALL, backend=transactional) == before

    async def test_a_change_that_is_refused_leaves_the_transaction_usable(
        self, transactional: Backend, connection: Any
    ) -> None:
        [job_id] = await enqueued(transactional, "a")
        bound = cast("Any", transactional).bound_to(connection)

        with pytest.raises(JobStateError):
            Mail.rerun_job_sync(job_id, backend=bound)
        with pytest.raises(JobNotFoundError):
            Other.cancel_job_sync(job_id, "why", backend=bound)
        Mail.cancel_job_sync(job_id, "enough", backend=bound)
        connection.commit()

        assert await status_of(transactional, job_id) is JobStatus.CANCELLED

    async def test_the_wrong_kind_of_call_names_its_twin(self, tmp_path: Path) -> None:
        connection = await psycopg.AsyncConnection.connect(server_url())
        backend = PostgresBackend(server_url())
        with pytest.raises(
            ConfigurationError, match=r"mail: cancel_job_sync: .* must be awaited; call `await cancel_job`"
        ):
            Mail.cancel_job_sync(1, "why", backend=backend, connection=connection)
        await connection.close()
        with (
            psycopg.connect(server_url()) as blocking,
            pytest.raises(ConfigurationError, match=r"mail: query_jobs: .* synchronous; call query_jobs_sync"),
        ):
            await Mail.query_jobs(ALL, backend=backend, connection=blocking)


async def changed(backend: Any, connection: Any, job_ids: list[int]) -> list[Job[str, list[str]]]:
    """Cancel the first job, update the second and rerun the third on a connection; return all jobs as it sees them."""
    first, second, third = job_ids
    await Mail.cancel_job(first, "enough", backend=backend, connection=connection)
    [copy] = await Mail.query_jobs(Where.id_equals(second), backend=backend, connection=connection)
    await Mail.update_job(replace(copy, priority=3), backend=backend, connection=connection)
    await Mail.rerun_job(third, backend=backend.bound_to(connection))
    return await Mail.query_jobs(ALL, backend=backend, connection=connection)


class TestInATransactionThatIsAwaited:
    async def begun(self, backend: Backend) -> list[int]:
        ids = await enqueued(backend, *"abc")
        await Mail.cancel_job(ids[2], "enough", backend=backend)
        return ids

    async def ended(self, backend: Backend, seen: list[Job[str, list[str]]]) -> None:
        assert await Mail.query_jobs(ALL, backend=backend) == seen
        assert [job.status for job in seen] == [JobStatus.CANCELLED, JobStatus.SCHEDULED, JobStatus.SCHEDULED]
        assert seen[1].priority == 3

    async def test_of_sqlite(self, tmp_path: Path) -> None:
        async with SQLiteBackend(tmp_path / "jobs.db") as backend:
            ids = await self.begun(backend)
            with sqlite_connection(backend) as connection:
                seen = await changed(backend, connection, ids)
                connection.commit()
            await self.ended(backend, seen)

    async def test_of_psycopg(self, tmp_path: Path) -> None:
        async with postgres_backend(tmp_path) as backend:
            ids = await self.begun(backend)
            async with await psycopg.AsyncConnection.connect(server_url()) as connection:
                seen = await changed(backend, connection, ids)
            await self.ended(backend, seen)

    async def test_of_asyncpg(self, tmp_path: Path) -> None:
        async with postgres_backend(tmp_path) as backend:
            ids = await self.begun(backend)
            connection: Any = await cast("Any", asyncpg).connect(server_url())
            async with connection.transaction():
                seen = await changed(backend, connection, ids)
            await connection.close()
            await self.ended(backend, seen)
