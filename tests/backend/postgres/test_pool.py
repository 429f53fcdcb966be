"""The pool's connections: those of an application, and those that the server ends."""

import asyncio
from contextlib import closing
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from rexecutor import BackendError, UniquenessCriteria
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres import PostgresBackend
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.heartbeat import PostgresHeartbeats
from rexecutor.backend.postgres.listener import LISTENING
from rexecutor.backend.postgres.liveness import Cutter
from rexecutor.backend.postgres.pool import PooledConnection
from rexecutor.model.where import Everything
from rexecutor.testing.suite.store import NODE, new_job
from tests.faults.proxy import Proxy
from tests.postgres import Migrated, postgres_backend, run_postgres, schema_of, server_url, start_listening
from tests.support import Events, soon, until

CONNECTIONS = 5


async def end_sessions(backend: PostgresBackend) -> None:
    """End all of the backend's sessions from the server's side, as a restart does."""
    for process in await processes(backend):
        run_postgres(f"SELECT pg_terminate_backend({process}, 5000)")


async def processes(backend: PostgresBackend) -> set[int]:
    """Return the server's processes behind all connections that the pool may have."""
    found: set[int] = set()
    together = asyncio.Barrier(CONNECTIONS)

    async def note(connection: Connection) -> None:
        found.add(connection.info.backend_pid)
        await together.wait()

    await soon(asyncio.gather(*(backend._connections.run(note) for _ in range(CONNECTIONS))))
    return found


async def make_read_only(backend: PostgresBackend) -> None:
    """Have the server refuse to write for all of the backend's sessions, as after a failover that closed none."""
    together = asyncio.Barrier(CONNECTIONS)

    async def change(connection: Connection) -> None:
        await connection.execute("SET default_transaction_read_only = on")
        await together.wait()

    await soon(asyncio.gather(*(backend._connections.run(change) for _ in range(CONNECTIONS))))


async def end_itself(connection: Connection) -> None:
    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_the_pool_connects_in_the_context_of_none_of_its_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    connect, seen = PooledConnection.connect, list[str]()

    async def connects(*given: Any, **settings: Any) -> Any:
        seen.append(trace.get())
        return await connect(*given, **settings)

    monkeypatch.setattr(PooledConnection, "connect", connects)
    trace.set("request")

    async with Migrated(
        server_url(), schema=schema_of(tmp_path), max_connections=CONNECTIONS, listens=False
    ) as backend:
        await processes(backend)

    assert seen == ["none"] * CONNECTIONS


async def test_an_applications_pool_may_have_factories_of_its_own(tmp_path: Path) -> None:
    factories: dict[str, Any] = {"row_factory": dict_row, "cursor_factory": psycopg.AsyncRawCursor}

    async with (
        AsyncConnectionPool(server_url(), kwargs=factories, min_size=1, open=False) as pool,
        Migrated(pool, schema=schema_of(tmp_path), listens=False) as backend,
    ):
        [plain, unique] = await backend.enqueue([new_job(), new_job(unique=UniquenessCriteria.by_key(1))])

        assert [job.id for job in await backend.query(Everything())] == [plain.id, unique.id]
        assert await backend.acquire_lock("prune", NODE)


async def test_the_timer_that_bounds_all_operations_runs_in_the_context_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: list[str] = []

    class Work:
        def check(self) -> None:
            seen.append(trace.get())

    monkeypatch.setattr("rexecutor.backend.postgres.liveness.CHECK_SECONDS", 0.0)
    trace.set("request")
    cutter, work = Cutter(), cast("Any", Work())
    cutter.begin(work)
    await until(lambda: len(seen) >= 2)
    cutter.end(work)

    assert set(seen) == {"none"}


async def test_a_database_without_an_encoding_holds_any_text(tmp_path: Path) -> None:
    name = schema_of(tmp_path)
    run_postgres(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        async with Migrated(make_conninfo(server_url(), dbname=name), listens=False) as backend:
            with closing(backend.heartbeat_connection()) as heartbeats:
                heartbeats.send(Node("node", "here", timedelta(minutes=1)))
            await backend.enqueue([new_job(data='"Zürich, 日本"')])

            (job,) = (await backend.claim(Demand({"alpha": 1}, 1), "node")).jobs
    finally:
        run_postgres(f"DROP DATABASE {name} WITH (FORCE)")

    assert (job.executor, job.data) == ("alpha", '"Zürich, 日本"')


async def test_an_end_of_all_idle_connections_costs_nothing(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as migrated:
        with Proxy(server_url()) as proxy:
            backend = PostgresBackend(proxy.url, schema=migrated.schema, max_connections=CONNECTIONS, listens=False)
            async with backend:
                await processes(backend)
                proxy.cut()

                found = [await backend.count() for _ in range(2 * CONNECTIONS)]

    assert found == [[]] * len(found)


async def test_an_end_of_connections_in_use_costs_their_users_a_failure_and_nobody_else(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as migrated:
        with Proxy(server_url()) as proxy:
            backend = PostgresBackend(proxy.url, schema=migrated.schema, max_connections=CONNECTIONS, listens=False)
            async with backend:
                await processes(backend)
                asleep = asyncio.Event()

                async def sleep(connection: Connection) -> None:
                    asleep.set()
                    await connection.execute("SELECT pg_sleep(60)")

                sleeping = asyncio.ensure_future(backend._connections.run(sleep))
                await soon(asleep.wait())
                proxy.cut()

                with pytest.raises(BackendError):
                    await soon(sleeping)
                found = [await backend.count() for _ in range(2 * CONNECTIONS)]

    assert found == [[]] * len(found)


@pytest.mark.parametrize("unique", [None, UniquenessCriteria.by_executor()], ids=["plain", "unique"])
async def test_the_first_enqueue_after_a_restart_of_the_server_is_stored(
    unique: UniquenessCriteria | None, tmp_path: Path
) -> None:
    async with postgres_backend(tmp_path, listens=False) as backend:
        await end_sessions(backend)

        assert len(await backend.enqueue([new_job(unique=unique)])) == 1


async def test_a_transaction_that_is_ended_by_the_server_costs_one_failure(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path, listens=False) as backend:
        await processes(backend)

        with pytest.raises(BackendError, match="terminating connection"):
            await backend._connections.transaction(end_itself)

        assert await backend.count() == []


async def test_a_failover_that_closed_nothing_costs_one_failure(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path, listens=False) as backend:
        before = await processes(backend)
        await make_read_only(backend)

        with pytest.raises(BackendError, match="read-only"):
            await backend.enqueue([new_job()])
        answers = [await backend.enqueue([new_job()]) for _ in range(2 * CONNECTIONS)]

        assert len(answers) == 2 * CONNECTIONS
        assert not before & await processes(backend)


async def test_a_failover_replaces_connections_that_are_in_use(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path, listens=False) as backend:
        await make_read_only(backend)
        is_used, is_done = asyncio.Event(), asyncio.Event()

        async def use(connection: Connection) -> int:
            is_used.set()
            await is_done.wait()
            return connection.info.backend_pid

        using = asyncio.ensure_future(backend._connections.run(use))
        await soon(is_used.wait())
        with pytest.raises(BackendError, match="read-only"):
            await backend.enqueue([new_job()])
        is_done.set()

        assert await soon(using) not in await processes(backend)


async def test_a_server_that_stays_read_only_is_not_flooded_with_connections(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as migrated:
        with Proxy(server_url()) as proxy:
            url = make_conninfo(proxy.url, options="-c default_transaction_read_only=on")
            backend = PostgresBackend(url, schema=migrated.schema, max_connections=CONNECTIONS, listens=False)
            async with backend:
                loop = asyncio.get_running_loop()
                begun, before = loop.time(), proxy.connections
                for _ in range(100):
                    with pytest.raises(BackendError, match="read-only"):
                        await backend.enqueue([new_job()])
                made = proxy.connections - before
                seconds = loop.time() - begun

    assert made <= 2 * (1 + seconds)


def test_threads_leave_a_server_that_has_become_read_only(tmp_path: Path) -> None:
    schema = asyncio.run(migrated_schema(tmp_path))
    backend = PostgresBackend(server_url(), schema=schema)
    backend.enqueue_sync([new_job()])
    with backend._sync._lent() as connection:
        connection.execute("SET default_transaction_read_only = on")

    with pytest.raises(BackendError, match="read-only"):
        backend.enqueue_sync([new_job()])

    assert len(backend.enqueue_sync([new_job()])) == 1
    asyncio.run(backend.close())


async def test_a_heartbeat_leaves_a_server_that_has_become_read_only(tmp_path: Path) -> None:
    node = Node("node", "here", timedelta(minutes=1))
    async with postgres_backend(tmp_path, listens=False) as backend:
        with closing(backend.heartbeat_connection()) as heartbeats:
            heartbeats.send(node)
            assert isinstance(heartbeats, PostgresHeartbeats)
            assert heartbeats._connection is not None
            heartbeats._connection.execute("SET default_transaction_read_only = on")

            with pytest.raises(BackendError, match="read-only"):
                heartbeats.send(node)

            assert heartbeats.send(node).cancels == []


async def test_the_listener_leaves_a_server_that_has_become_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.listener.LISTEN_CHECK_SECONDS", 0.1)
    async with postgres_backend(tmp_path) as near:
        backend = PostgresBackend(
            make_conninfo(server_url(), options="-c default_transaction_read_only=on"), schema=near.schema
        )
        async with backend:
            await start_listening(backend)
            await until(lambda: bool(events.failures(LISTENING)))

    assert "read-only" in str(events.failures(LISTENING)[0].error)


async def migrated_schema(folder: Path) -> str:
    async with postgres_backend(folder, listens=False) as backend:
        return backend.schema
