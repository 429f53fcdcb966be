"""Enqueues from code without an event loop, on connections of the backends' own."""

import asyncio
import contextlib
import gc
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from psycopg.conninfo import make_conninfo

from rexecutor import (
    Backend,
    BackendClosedError,
    BackendError,
    ConfigurationError,
    EncodeError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobBuilder,
    JobHandle,
    PostgresBackend,
    Rexecutor,
    SchemaError,
    SQLiteBackend,
    UniquenessCriteria,
    enqueue_many_sync,
    override_global_backend,
)
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import new_job
from tests.backends import BACKENDS, made_backend
from tests.postgres import postgres_backend, run_postgres, schema_of, server_url
from tests.support import soon, until, until_no_threads_of_ours


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Once(Executor[str]):
    name = "once"
    uniqueness_criteria = UniquenessCriteria.by_executor()

    async def execute(self, job: Job[str]) -> None: ...


def letter(data: str) -> JobBuilder[str, None]:
    return Letter.builder().with_data(data)


class TestOnEachBackend:
    async def test_the_job_is_there(self, backend: Backend, clock: FakeClock) -> None:
        handle = letter("a").with_tags("t").enqueue_sync(backend=backend)

        job = await handle.fetch()
        assert (job.data, job.tags, job.inserted_at, handle.disposition) == ("a", ("t",), clock.now(), "inserted")

    async def test_many_answer_in_their_order(self, backend: Backend) -> None:
        handles = enqueue_many_sync([letter("a"), *(Once.builder().with_data(data) for data in "bc")], backend=backend)

        assert [handle.disposition for handle in handles] == ["inserted", "inserted", "existing"]
        assert [(await handle.fetch()).data for handle in handles] == ["a", "b", "b"]
        assert enqueue_many_sync([], backend=backend) == []

    async def test_it_wakes_a_node(self, backend: Backend) -> None:
        async with Rexecutor(backend).with_executor(Letter):
            handle = letter("a").enqueue_sync(backend=backend)

            assert (await soon(handle.wait())).attempt == 1

    async def test_many_threads_at_once(self, backend: Backend) -> None:
        def enqueue(number: int) -> JobHandle[str, None]:
            builder = letter("a") if number % 2 else Once.builder().with_data("b")
            return builder.enqueue_sync(backend=backend)

        with ThreadPoolExecutor(8) as threads:
            handles = list(threads.map(enqueue, range(40)))

        assert sorted(handle.disposition for handle in handles) == ["existing"] * 19 + ["inserted"] * 21
        assert len(await backend.query(Everything())) == 21

    async def test_what_cannot_be_stored_is_refused_before(self, backend: Backend) -> None:
        with pytest.raises(EncodeError):
            enqueue_many_sync([letter("a"), letter(cast("str", 1))], backend=backend)
        with pytest.raises(InvalidJobError, match="enqueue_many_sync: each builder must be a JobBuilder"):
            enqueue_many_sync([cast("JobBuilder[str, None]", 1)], backend=backend)

        assert await backend.query(Everything()) == []

    async def test_the_global_backend(self, backend: Backend) -> None:
        with pytest.raises(GlobalBackendError):
            letter("a").enqueue_sync()

        with override_global_backend(backend):
            handle = letter("a").enqueue_sync()

        assert (await handle.fetch()).data == "a"


@pytest.mark.parametrize("name", BACKENDS)
async def test_what_is_open_in_a_loop_is_not_closed_synchronously(name: str, tmp_path: Path) -> None:
    async with made_backend(name, tmp_path) as backend:
        letter("a").enqueue_sync(backend=backend)
        if name == "memory":
            backend.close_sync()
            return

        with pytest.raises(BackendClosedError, match=r"open in an event loop; `await backend.close\(\)` there"):
            backend.close_sync()
        with pytest.raises(BackendClosedError, match="open in an event loop"):
            await asyncio.to_thread(backend.close_sync)
        assert letter("b").enqueue_sync(backend=backend).disposition == "inserted"


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_what_was_left_open_in_a_loop_that_has_ended_is_closed_synchronously(name: str, tmp_path: Path) -> None:
    backend = made_backend(name, tmp_path)

    async def leave_open() -> None:
        await backend.open()

    asyncio.run(leave_open())
    letter("a").enqueue_sync(backend=backend)
    backend.close_sync()

    assert not backend.is_open
    asyncio.run(until_no_threads_of_ours())
    assert letter("b").enqueue_sync(backend=backend).disposition == "inserted"
    backend.close_sync()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_synchronous_close_lets_another_enqueue_begin_anew(name: str, tmp_path: Path) -> None:
    backend = made_backend(name, tmp_path)
    asyncio.run(backend.migrate())

    backend.close_sync()
    for data in "ab":
        assert letter(data).enqueue_sync(backend=backend).disposition == "inserted"
        backend.close_sync()
        backend.close_sync()


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_the_backend_need_not_be_open(name: str, tmp_path: Path) -> None:
    backend = made_backend(name, tmp_path)
    if isinstance(backend, PostgresBackend):
        with pytest.raises(SchemaError, match="rexecutor migrate"):
            letter("a").enqueue_sync(backend=backend)
        return

    assert [letter(data).enqueue_sync(backend=backend).id for data in "ab"] == [1, 2]
    assert not backend.is_open


def test_a_backend_without_it_says_so() -> None:
    class Third(InMemoryBackend):
        enqueue_sync = Backend.enqueue_sync

    with pytest.raises(ConfigurationError, match="Third does not support enqueue_sync"):
        letter("a").enqueue_sync(backend=Third())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        letter("a").enqueue_sync(backend=SQLiteBackend(tmp_path / "none" / "jobs.db"))


def named(name: str) -> str:
    """The server's address, for connections that are known by this name."""
    return make_conninfo(server_url(), application_name=name)


def connections(name: str) -> list[int]:
    rows = run_postgres(f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' ORDER BY 1")
    return [row[0] for row in rows]


async def until_gone(name: str) -> None:
    await until(lambda: not connections(name))


class TestPostgresConnection:
    """One is kept, and made anew if it is gone before anything was sent."""

    @pytest.fixture
    async def backend(self, tmp_path: Path) -> PostgresBackend:
        async with postgres_backend(tmp_path):
            pass
        return PostgresBackend(named(tmp_path.name), schema=postgres_backend(tmp_path).schema)

    async def test_it_is_kept_and_closed_with_the_backend(self, backend: PostgresBackend, tmp_path: Path) -> None:
        letter("a").enqueue_sync(backend=backend)
        first = connections(tmp_path.name)
        letter("b").enqueue_sync(backend=backend)
        assert connections(tmp_path.name) == first
        assert len(first) == 1

        await backend.close()
        await until_gone(tmp_path.name)

        assert letter("c").enqueue_sync(backend=backend).disposition == "inserted"
        await backend.close()

    async def test_it_is_closed_synchronously_so_that_its_database_can_be_dropped(self, tmp_path: Path) -> None:
        database = schema_of(tmp_path)
        run_postgres(f"CREATE DATABASE {database}")
        backend = PostgresBackend(make_conninfo(server_url(), dbname=database))
        await backend.migrate()
        letter("a").enqueue_sync(backend=backend)

        await asyncio.to_thread(backend.close_sync)

        run_postgres(f"DROP DATABASE {database}")

    def test_what_a_loop_that_has_ended_left_open_keeps_no_database_from_being_dropped(self, tmp_path: Path) -> None:
        database = schema_of(tmp_path)
        run_postgres(f"CREATE DATABASE {database}")
        backend = PostgresBackend(make_conninfo(server_url(), dbname=database))

        async def leave_open() -> None:
            await backend.migrate()
            await backend.open()
            await backend.check_schema()

        asyncio.run(leave_open())
        backend.close_sync()

        run_postgres(f"DROP DATABASE {database}")

    async def test_it_is_closed_with_a_backend_that_is_forgotten(
        self, backend: PostgresBackend, tmp_path: Path
    ) -> None:
        other = PostgresBackend(named(f"gone{tmp_path.name}"), schema=backend.schema)
        letter("a").enqueue_sync(backend=other)

        del other
        gc.collect()

        await until_gone(f"gone{tmp_path.name}")

    async def test_it_is_made_anew_once_it_is_gone(self, backend: PostgresBackend, tmp_path: Path) -> None:
        letter("a").enqueue_sync(backend=backend)
        [pid] = connections(tmp_path.name)
        run_postgres(f"SELECT pg_terminate_backend({pid}, 5000)")

        letter("b").enqueue_sync(backend=backend)

        assert connections(tmp_path.name) != [pid]
        assert run_postgres(f"SELECT count(*) FROM {backend.schema}.jobs") == [(2,)]
        await backend.close()

    async def test_what_fails_after_the_beginning_is_not_repeated(
        self, backend: PostgresBackend, tmp_path: Path
    ) -> None:
        letter("a").enqueue_sync(backend=backend)
        run_postgres(
            f"CREATE SEQUENCE {backend.schema}.tries",
            f"CREATE FUNCTION {backend.schema}.die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" PERFORM nextval('{backend.schema}.tries'), pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
            f"CREATE TRIGGER die BEFORE INSERT ON {backend.schema}.stored_jobs"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {backend.schema}.die()",
        )

        with pytest.raises(BackendError):
            letter("b").enqueue_sync(backend=backend)

        assert run_postgres(f"SELECT last_value FROM {backend.schema}.tries") == [(1,)]
        run_postgres(f"DROP TRIGGER die ON {backend.schema}.stored_jobs")
        letter("c").enqueue_sync(backend=backend)
        assert run_postgres(f"SELECT data::text FROM {backend.schema}.jobs ORDER BY id") == [('"a"',), ('"c"',)]
        await backend.close()

    async def test_a_child_of_a_fork_has_one_of_its_own(self, backend: PostgresBackend, tmp_path: Path) -> None:
        letter("a").enqueue_sync(backend=backend)
        before = connections(tmp_path.name)

        with warnings.catch_warnings(action="ignore"):  # of threads: a newer Python warns
            child = os.fork()
        if child == 0:
            failed = True
            try:
                handle = letter("b").enqueue_sync(backend=backend)
                with contextlib.suppress(TimeoutError):
                    handle.wait_sync(timedelta(seconds=0.4))
                failed = handle.fetch_sync().data != "b"
            finally:
                os._exit(int(failed))
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        letter("c").enqueue_sync(backend=backend)

        assert connections(tmp_path.name) == before
        assert run_postgres(f"SELECT count(*) FROM {backend.schema}.jobs") == [(3,)]
        await backend.close()

    def test_a_server_that_is_not_there(self) -> None:
        backend = PostgresBackend("postgresql://nobody@127.0.0.1:1/none")

        with pytest.raises(BackendError, match="PostgreSQL"):
            letter("a").enqueue_sync(backend=backend)


async def open_and_close(backend: Backend) -> None:
    async with backend:
        pass


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_a_loop_is_refused_while_a_thread_closes_what_another_loop_left(name: str, tmp_path: Path) -> None:
    backend = made_backend(name, tmp_path)
    asyncio.run(backend.open())  # and left open by a loop that has ended
    assert isinstance(backend, SQLiteBackend | PostgresBackend)

    with backend._opening.closing(), pytest.raises(BackendClosedError, match="opened in another event loop"):
        asyncio.run(backend.open())

    backend.close_sync()
    asyncio.run(open_and_close(backend))


def test_a_close_does_not_fall_into_an_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    asyncio.run(open_and_close(backend))
    errors: list[BaseException | None] = []
    ring = backend._doorbell.open

    def close_just_then(heard: Callable[[], None], cancelled: Callable[[], None]) -> None:
        with ThreadPoolExecutor(1) as thread:
            errors.append(thread.submit(backend.close_sync).exception(20))
        ring(heard, cancelled)

    monkeypatch.setattr(backend._doorbell, "open", close_just_then)

    async def use() -> bool:
        async with backend:
            await backend.enqueue([new_job()])
            return backend.is_open

    assert asyncio.run(use())
    assert [type(error) for error in errors] == [BackendClosedError]
