"""What PostgreSQL is given wrong is told with what to do, and never with the password; what comes right goes on."""

import asyncio
import contextlib
import logging
import socket
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from demo.postgres_server import PostgresServer
from rexecutor import ConfigurationError, Executor, Job, JobStatus, PostgresBackend, Rexecutor
from rexecutor.errors import BackendError
from rexecutor.telemetry.events import DutyFailed
from rexecutor.testing.suite.store import new_job
from tests.postgres import SETTINGS, Migrated, postgres_backend, run_postgres, schema_of, server_url
from tests.support import Events, soon, until

SECRET = "hunter2"  # noqa: S105 - no one's


class Counting(Executor[int]):
    name = "counting"

    async def execute(self, job: Job[int]) -> None: ...


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that asks for a password, and that a test may stop."""
    with PostgresServer(settings=SETTINGS) as server:
        run_postgres(f"CREATE ROLE guest LOGIN SUPERUSER PASSWORD '{SECRET}'", url=server.url)
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        run_postgres("SELECT pg_reload_conf()", url=server.url)
        yield server


@asynccontextmanager
async def worker(backend: PostgresBackend) -> AsyncGenerator[None]:
    async with Rexecutor(backend).with_executor(Counting):
        yield


async def failure_of(backend: PostgresBackend) -> str:
    """Return why it cannot be opened, after a check that nothing holds the password."""
    with pytest.raises(BackendError) as raised:
        await soon(backend.open())
    said = "".join(traceback.format_exception(raised.value))
    assert SECRET not in said
    return str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:hunter2@here/jobs", "not a URL of PostgreSQL"),
        ("postgresql://me:hunter2@here/jobs?no_such=1", "no_such"),
        ("postgresql://me:hunter2@x@here/jobs", "an @ too many"),
        ("postgresql://me:p/hunter2@here/jobs", "an @ too many"),
        ("postgresql://me:x#hunter2@here:port/jobs", "not a URL of PostgreSQL"),
        ("postgresql://me:hunter2@here:70000/jobs", "from 1 to 65535"),
        ("postgresql://me:hunter2@here/jobs\0", "a NUL character"),
        ("host=here password=hunter2 no_such=1", "no_such"),
        ("host=here password=me@hunter2 port=70000", "from 1 to 65535"),
        ("postgresql://here:70000/jobs?password=me@hunter2", "from 1 to 65535"),
        ("host=here password='hunter2", "not a URL of PostgreSQL"),
        ("garbage", "not a URL of PostgreSQL"),
        ("", "not a URL of PostgreSQL"),
    ],
)
def test_what_is_no_url_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        PostgresBackend(url)

    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("url", [None, 7, Path("jobs")])
def test_what_is_neither_a_url_nor_a_pool_is_refused(url: object) -> None:
    with pytest.raises(ConfigurationError, match=r"url must be a str or a psycopg_pool\.AsyncConnectionPool"):
        PostgresBackend(url)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("most", [0, -1, True, "5", 2.0])
def test_a_number_of_connections_that_is_none_is_refused(most: object) -> None:
    with pytest.raises(ConfigurationError, match="max_connections"):
        PostgresBackend("postgresql://here/jobs", max_connections=most)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("schema", ["", "a-b", "1a", "x" * 64, 'a"b', None])
def test_a_schemas_name_that_is_none_is_refused(schema: object) -> None:
    with pytest.raises(ConfigurationError, match="schema must be"):
        PostgresBackend("postgresql://here/jobs", schema=schema)  # pyright: ignore[reportArgumentType]


async def test_where_no_server_is_the_address_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        said = await failure_of(PostgresBackend(f"postgresql://me:{SECRET}@127.0.0.1:{port}/jobs"))

    assert str(port) in said
    assert "refused" in said
    assert str(tmp_path) in await failure_of(
        PostgresBackend(f"postgresql://me:{SECRET}@/jobs?host={quote(str(tmp_path))}")
    )


async def test_a_wrong_password_is_told_and_not_repeated(own_server: PostgresServer) -> None:
    url = own_server.url.replace("postgres@", f"guest:{SECRET}x@", 1)

    said = await failure_of(PostgresBackend(url))

    assert 'user "guest"' in said
    assert "check user and password" in said
    async with PostgresBackend(url.replace(f"{SECRET}x", SECRET)) as backend:
        assert backend.is_open


async def test_an_unknown_database_is_told_with_its_name() -> None:
    said = await failure_of(PostgresBackend(server_url().replace("/postgres?", "/nowhere?")))

    assert '"nowhere" does not exist' in said
    assert "create the database first" in said


async def test_a_server_without_a_free_connection_is_told() -> None:
    run_postgres("DROP ROLE IF EXISTS crowded", "CREATE ROLE crowded LOGIN CONNECTION LIMIT 1")
    url = server_url().replace("postgres@", "crowded@", 1)
    try:
        with psycopg.connect(url):
            assert "too many connections" in await failure_of(PostgresBackend(url))
    finally:
        run_postgres("DROP ROLE crowded")


async def test_a_server_that_only_reads_is_told_to_be_a_replica(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path):
        pass
    url = f"{server_url()}&options={quote('-c default_transaction_read_only=on')}"

    async with PostgresBackend(url, schema=schema_of(tmp_path)) as backend:
        with pytest.raises(BackendError, match="read-only replica; give the primary's address"):
            await backend.enqueue([new_job()])


async def test_a_pool_without_a_free_connection_is_told(tmp_path: Path) -> None:
    async with (
        postgres_backend(tmp_path),
        AsyncConnectionPool(server_url(), min_size=1, max_size=1, timeout=0.2, open=False) as users_pool,
        PostgresBackend(users_pool, schema=schema_of(tmp_path)) as backend,
    ):
        await backend.check_schema()
        async with users_pool.connection():
            with pytest.raises(BackendError, match="all 1 connections are in use"):
                await soon(backend.count())

        assert list(await backend.count()) == []


async def test_one_connection_is_enough_for_a_worker(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path):
        pass
    backend = PostgresBackend(server_url(), schema=schema_of(tmp_path), max_connections=1, listens=False)
    async with worker(backend):
        handles = [await Counting.builder().with_data(number).enqueue(backend=backend) for number in range(20)]

        assert {(await soon(handle.wait())).status for handle in handles} == {JobStatus.COMPLETE}


async def test_a_table_that_is_dropped_in_mid_run_is_told_once_and_its_return_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, events: Events
) -> None:
    caplog.set_level(logging.INFO, "rexecutor")
    backend = postgres_backend(tmp_path)
    async with worker(backend):
        await soon((await Counting.builder().with_data(1).enqueue(backend=backend)).wait())
        run_postgres(f"DROP SCHEMA {backend.schema} CASCADE")
        with pytest.raises(BackendError, match="rexecutor migrate"):
            await Counting.builder().with_data(2).enqueue(backend=backend)
        await until(lambda: bool(events.failures("claim")))

        await backend.migrate()

        assert (await soon((await Counting.builder().with_data(3).enqueue(backend=backend)).wait())).status is (
            JobStatus.COMPLETE
        )
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(lines) <= 10, lines


async def test_a_server_that_restarts_in_mid_run_is_gone_back_to(
    own_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, events: Events
) -> None:
    caplog.set_level(logging.INFO)
    backend = Migrated(own_server.url, schema=schema_of(tmp_path))
    async with worker(backend):
        await soon((await Counting.builder().with_data(1).enqueue(backend=backend)).wait())
        later = await Counting.builder().with_data(2).enqueue(backend=backend)
        await asyncio.to_thread(own_server.stop)
        waiting = asyncio.ensure_future(Counting.builder().with_data(3).enqueue(backend=backend))
        await until(lambda: bool(events.of(DutyFailed)))
        await asyncio.to_thread(own_server.start)

        assert (await soon(later.wait())).status is JobStatus.COMPLETE
        with contextlib.suppress(BackendError):  # it was on its way, or waited for the server's return
            await soon(waiting)
        again = await Counting.builder().with_data(4).enqueue(backend=backend)
        assert (await soon(again.wait())).status is JobStatus.COMPLETE
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(lines) <= 10, lines
