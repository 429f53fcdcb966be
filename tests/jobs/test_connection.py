"""`connection=`: an enqueue in the application's own transaction, in one step."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rexecutor import (
    ConfigurationError,
    Executor,
    InMemoryBackend,
    Job,
    JobNotFoundError,
    JobStatus,
    SQLiteBackend,
    Where,
    enqueue_many,
    enqueue_many_sync,
    override_global_backend,
)
from tests.postgres import Migrated, postgres_backend, server_url


class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db") as made:
        yield made


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[Migrated]:
    async with postgres_backend(tmp_path) as made:
        yield made


async def stored(backend: Any) -> list[str]:
    return [job.data for job in await EmailJob.query_jobs(Where.everything(), backend=backend)]


async def test_on_sqlite_all_enqueues_are_committed_with_the_transaction(sqlite: SQLiteBackend) -> None:
    with closing(sqlite3.connect(sqlite.path)) as connection:
        EmailJob.enqueue_sync("a", connection=connection, backend=sqlite)
        EmailJob.new("b").enqueue_sync(connection=connection, backend=sqlite)
        enqueue_many_sync([EmailJob.new("c")], connection=connection, backend=sqlite)
        await EmailJob.enqueue("d", connection=connection, backend=sqlite)
        await EmailJob.new("e").enqueue(connection=connection, backend=sqlite)
        [handle] = await enqueue_many([EmailJob.new("f")], connection=connection, backend=sqlite)

        assert await stored(sqlite) == []
        assert (await EmailJob.get_job(handle.id, connection=connection, backend=sqlite)).data == "f"
        with pytest.raises(JobNotFoundError):
            await handle.fetch()
        counts = EmailJob.count_jobs_sync(connection=connection, backend=sqlite)
        assert counts[JobStatus.SCHEDULED] == 6
        connection.commit()

    assert await stored(sqlite) == list("abcdef")


async def test_what_is_rolled_back_was_never_stored(sqlite: SQLiteBackend) -> None:
    with closing(sqlite3.connect(sqlite.path)) as connection:
        EmailJob.enqueue_sync("a", connection=connection, backend=sqlite)
        connection.rollback()

    assert await stored(sqlite) == []


async def test_the_global_backend_is_bound_if_none_is_given(sqlite: SQLiteBackend) -> None:
    with closing(sqlite3.connect(sqlite.path)) as connection, override_global_backend(sqlite):
        handle = await EmailJob.enqueue("a", connection=connection)
        connection.commit()

    assert (await handle.fetch()).data == "a"


async def test_on_postgres_with_a_connection_that_is_awaited(postgres: Migrated) -> None:
    async with await psycopg.AsyncConnection.connect(server_url()) as connection:
        handle = await EmailJob.enqueue("a", connection=connection, backend=postgres)
        await enqueue_many([EmailJob.new("b")], connection=connection, backend=postgres)
        assert await stored(postgres) == []
        assert (await EmailJob.get_job(handle.id, connection=connection, backend=postgres)).data == "a"
        with pytest.raises(ConfigurationError, match="enqueue_sync: the connection must be awaited"):
            EmailJob.enqueue_sync("c", connection=connection, backend=postgres)

    assert await stored(postgres) == ["a", "b"]


async def test_on_postgres_with_a_connection_that_blocks(postgres: Migrated) -> None:
    with psycopg.connect(server_url()) as connection:
        EmailJob.enqueue_sync("a", connection=connection, backend=postgres)
        assert await stored(postgres) == []
        with pytest.raises(ConfigurationError, match="enqueue: the connection is synchronous; call enqueue_sync"):
            await EmailJob.enqueue("b", connection=connection, backend=postgres)

    assert await stored(postgres) == ["a"]


async def test_a_backend_that_is_bound_already_is_refused(sqlite: SQLiteBackend) -> None:
    message = "connection= is given, and backend= is bound to one; give one of them"
    with closing(sqlite3.connect(sqlite.path)) as connection:
        bound = sqlite.bound_to(connection)

        with pytest.raises(ConfigurationError, match=f"^enqueue: {message}"):
            await EmailJob.enqueue("a", connection=connection, backend=bound)
        with pytest.raises(ConfigurationError, match=f"^enqueue_sync: {message}"):
            EmailJob.enqueue_sync("a", connection=connection, backend=bound)
        connection.commit()

    assert await stored(sqlite) == []


async def test_a_backend_without_transactions_is_refused() -> None:
    backend = InMemoryBackend()

    with pytest.raises(ConfigurationError, match="InMemoryBackend cannot store a job in your transaction"):
        await EmailJob.enqueue("a", connection=object(), backend=backend)
    with pytest.raises(ConfigurationError, match="InMemoryBackend cannot store a job in your transaction"):
        enqueue_many_sync([EmailJob.new("a")], connection=object(), backend=backend)

    assert await stored(backend) == []


@pytest.mark.parametrize("connection", ["jobs.db", 7, False, object()])
async def test_what_is_no_connection_is_refused(sqlite: SQLiteBackend, postgres: Migrated, connection: Any) -> None:
    for backend in (sqlite, postgres):
        with pytest.raises(ConfigurationError, match="bound_to: "):
            await EmailJob.enqueue("a", connection=connection, backend=backend)
        with pytest.raises(ConfigurationError, match="bound_to: "):
            EmailJob.enqueue_sync("a", connection=connection, backend=backend)

        assert await stored(backend) == []
