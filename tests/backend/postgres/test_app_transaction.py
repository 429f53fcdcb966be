"""Enqueues in a transaction of the application's own, on each library's connections to PostgreSQL."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString, Protocol, TypeAlias, cast

import asyncpg
import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.errors import SerializationFailure
from psycopg.rows import DictRow, dict_row
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rexecutor import (
    Backend,
    BackendError,
    ConfigurationError,
    Executor,
    Job,
    JobBuilder,
    JobHandle,
    Replace,
    Rexecutor,
    SchemaError,
    UniquenessCriteria,
    enqueue_many,
    enqueue_many_sync,
)
from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres.drivers import AsyncpgConnection, numbered
from rexecutor.model.where import Everything
from rexecutor.testing import assert_enqueued, assert_enqueued_sync, refute_enqueued, refute_enqueued_sync
from rexecutor.testing.clock import START
from tests.backend.proxies import Proxy
from tests.postgres import Migrated, postgres_backend, server_url, until_it_listens
from tests.support import soon, until

Builders: TypeAlias = Sequence[JobBuilder[Any, Any, Any]]
Handles: TypeAlias = list[JobHandle[Any, Any, Any]]


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Once(Executor[str]):
    name = "once"
    uniqueness_criteria = UniquenessCriteria.by_executor().on_conflict(Replace.data())

    async def execute(self, job: Job[str]) -> None: ...


class Timely(Executor[str]):
    name = "timely"
    uniqueness_criteria = UniquenessCriteria.by_key("k").and_executor().and_within(timedelta(hours=1))

    async def execute(self, job: Job[str]) -> None: ...


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Migrated]:
    async with postgres_backend(tmp_path) as made:
        yield made


@dataclass
class Application:
    """One transaction of an application."""

    bound: Transaction | SyncTransaction
    enqueue: Callable[[Builders], Any]
    commit: Callable[[], Any]
    rollback: Callable[[], Any]


Opener: TypeAlias = Callable[[Migrated], AbstractAsyncContextManager[Application]]


async def done(answer: Any) -> Any:
    return await answer if asyncio.iscoroutine(answer) else answer


def alchemy_url(driver: str) -> URL:
    """The server's URL as SQLAlchemy has it."""
    return make_url(server_url()).set(drivername=f"postgresql+{driver}")


class Asyncpg(AsyncpgConnection, Protocol):
    """What a connection of asyncpg does, which says nothing of its types."""

    async def close(self) -> None: ...


async def connect_asyncpg() -> Asyncpg:
    return await cast("Any", asyncpg).connect(server_url())


def awaited(backend: Migrated, connection: Any, commit: Callable[[], Any], rollback: Callable[[], Any]) -> Application:
    bound: Transaction = cast("Any", backend).bound_to(connection)
    return Application(bound, lambda builders: enqueue_many(builders, backend=bound), commit, rollback)


def blocking(backend: Migrated, connection: Any, commit: Callable[[], Any], rollback: Callable[[], Any]) -> Application:
    bound: SyncTransaction = cast("Any", backend).bound_to(connection)
    return Application(bound, lambda builders: enqueue_many_sync(builders, backend=bound), commit, rollback)


@asynccontextmanager
async def psycopg_async(backend: Migrated) -> AsyncGenerator[Application]:
    async with await psycopg.AsyncConnection[DictRow].connect(server_url(), row_factory=dict_row) as connection:
        yield awaited(backend, connection, connection.commit, connection.rollback)


@asynccontextmanager
async def psycopg_sync(backend: Migrated) -> AsyncGenerator[Application]:
    with psycopg.Connection[DictRow].connect(server_url(), row_factory=dict_row) as connection:
        yield blocking(backend, connection, connection.commit, connection.rollback)


@asynccontextmanager
async def psycopg_raw_cursors(backend: Migrated) -> AsyncGenerator[Application]:
    with psycopg.connect(server_url(), cursor_factory=psycopg.RawCursor) as connection:
        yield blocking(backend, connection, connection.commit, connection.rollback)


@asynccontextmanager
async def asyncpg_connection(backend: Migrated) -> AsyncGenerator[Application]:
    connection = await connect_asyncpg()
    transaction = connection.transaction()
    await transaction.start()
    yield awaited(backend, connection, transaction.commit, transaction.rollback)
    await connection.close()


@asynccontextmanager
async def asyncpg_pool_with_codecs(backend: Migrated) -> AsyncGenerator[Application]:
    async def no_json(connection: Any) -> None:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=str.upper, decoder=str.lower, schema="pg_catalog")

    pool = cast("Any", asyncpg).create_pool(server_url(), min_size=1, max_size=1, init=no_json)
    async with pool, pool.acquire() as one:
        transaction = one.transaction()
        await transaction.start()
        yield awaited(backend, one, transaction.commit, transaction.rollback)


@asynccontextmanager
async def engine_of(driver: str) -> AsyncGenerator[AsyncEngine]:
    engine = create_async_engine(alchemy_url(driver))
    yield engine
    await engine.dispose()


def async_session(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(backend: Migrated) -> AsyncGenerator[Application]:
        async with engine_of(driver) as engine, AsyncSession(engine) as session:
            yield awaited(backend, session, session.commit, session.rollback)

    return opened


def async_scoped(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(backend: Migrated) -> AsyncGenerator[Application]:
        async with engine_of(driver) as engine:
            session = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
            yield awaited(backend, session, session.commit, session.rollback)
            await session.remove()

    return opened


def async_connection(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(backend: Migrated) -> AsyncGenerator[Application]:
        async with engine_of(driver) as engine, engine.connect() as connection:
            yield awaited(backend, connection, connection.commit, connection.rollback)

    return opened


@asynccontextmanager
async def session(backend: Migrated) -> AsyncGenerator[Application]:
    engine = create_engine(alchemy_url("psycopg"))
    with Session(engine) as made:
        yield blocking(backend, made, made.commit, made.rollback)
    engine.dispose()


@asynccontextmanager
async def session_of_a_registry(backend: Migrated) -> AsyncGenerator[Application]:
    engine = create_engine(alchemy_url("psycopg"))
    made = scoped_session(sessionmaker(engine))
    yield blocking(backend, made, made.commit, made.rollback)
    made.remove()
    engine.dispose()


@asynccontextmanager
async def connection(backend: Migrated) -> AsyncGenerator[Application]:
    engine = create_engine(alchemy_url("psycopg"))
    with engine.connect() as made:
        yield blocking(backend, made, made.commit, made.rollback)
    engine.dispose()


def in_proxies(opener: Opener) -> Opener:
    """Open what the opener does, with the connection in two proxies when it is given to `bound_to`."""

    @asynccontextmanager
    async def opened(backend: Migrated) -> AsyncGenerator[Application]:
        def bound_to(given: Any) -> Any:
            return cast("Any", backend).bound_to(Proxy(Proxy(given)))

        wrapping: Any = SimpleNamespace(bound_to=bound_to)
        async with opener(wrapping) as made:
            yield made

    return opened


OPENERS: dict[str, Opener] = {
    "psycopg-async": psycopg_async,
    "psycopg": psycopg_sync,
    "psycopg-raw-cursors": psycopg_raw_cursors,
    "asyncpg": asyncpg_connection,
    "asyncpg-pool-with-codecs": asyncpg_pool_with_codecs,
    "AsyncSession-psycopg": async_session("psycopg"),
    "AsyncSession-asyncpg": async_session("asyncpg"),
    "async_scoped_session": async_scoped("asyncpg"),
    "AsyncConnection-psycopg": async_connection("psycopg"),
    "AsyncConnection-asyncpg": async_connection("asyncpg"),
    "Session": session,
    "scoped_session": session_of_a_registry,
    "Connection": connection,
    **{
        f"{name}-in-proxies": in_proxies(opener)
        for name, opener in {
            "psycopg-async": psycopg_async,
            "psycopg": psycopg_sync,
            "asyncpg": asyncpg_connection,
            "asyncpg-pool": asyncpg_pool_with_codecs,
            "AsyncSession": async_session("asyncpg"),
            "async_scoped_session": async_scoped("psycopg"),
            "Session": session,
            "scoped_session": session_of_a_registry,
        }.items()
    },
}


@pytest.fixture(params=OPENERS)
async def application(request: pytest.FixtureRequest, backend: Migrated) -> AsyncIterator[Application]:
    async with OPENERS[request.param](backend) as made:
        yield made


async def stored(backend: Backend) -> list[tuple[str, str]]:
    return [(record.executor, record.data) for record in await backend.query(Everything())]


def letter(data: str) -> JobBuilder[str, None]:
    return Letter.builder().with_data(data)


class TestEachKindOfConnection:
    async def test_what_is_committed_is_there_and_is_claimed(self, backend: Migrated, application: Application) -> None:
        [handle] = await done(
            application.enqueue([letter("ä % %s").with_tags("a", "b").schedule_in(timedelta(microseconds=1))])
        )
        assert await stored(backend) == []

        await done(application.commit())

        assert (await handle.fetch()).data == "ä % %s"
        with_a_lease = backend.heartbeat_connection()
        await asyncio.to_thread(with_a_lease.send, Node("n", "n", timedelta(seconds=30)))
        claim = await backend.claim(Demand({"letter": 5}, 5), "n")
        assert [(record.id, record.tags) for record in claim.jobs] == [(handle.id, ("a", "b"))]
        with_a_lease.close()

    async def test_what_is_rolled_back_never_was(self, backend: Migrated, application: Application) -> None:
        await done(application.enqueue([letter("a"), Once.builder().with_data("b")]))

        await done(application.rollback())

        assert await stored(backend) == []

    async def test_several_have_ids_in_their_order(self, backend: Migrated, application: Application) -> None:
        handles: Handles = await done(application.enqueue([letter(str(number)) for number in range(20)]))
        await done(application.commit())

        assert [handle.id for handle in handles] == sorted(handle.id for handle in handles)
        assert [(await handle.fetch()).data for handle in handles] == [str(number) for number in range(20)]

    async def test_uniqueness_is_asked_of_the_store_and_of_the_batch(
        self, backend: Migrated, application: Application
    ) -> None:
        before = await Once.builder().with_data("before").enqueue(backend=backend)

        builders = [
            Once.builder().with_data("after"),
            letter("between"),
            Timely.builder().with_data("first"),
            Timely.builder().with_data("second"),
        ]
        once, between, first, second = await done(application.enqueue(builders))
        await done(application.commit())

        assert (once.id, once.disposition) == (before.id, "replaced")
        assert between.disposition == first.disposition == "inserted"
        assert (second.id, second.disposition) == (first.id, "existing")
        assert await stored(backend) == [("once", '"after"'), ("letter", '"between"'), ("timely", '"first"')]

    async def test_a_test_sees_what_the_transaction_has_enqueued(
        self, backend: Migrated, application: Application
    ) -> None:
        due = START + timedelta(days=1)
        builder = letter("ä").with_tags("mail", "urgent").schedule_at(due)
        await done(application.enqueue([builder, letter("b"), Once.builder().with_data("c")]))

        wanted: dict[str, Any] = {
            "for_executor": Letter,
            "with_data": "ä",
            "with_metadata": None,
            "tagged_with": ["urgent"],
            "scheduled_at": due,
            "scheduled_after": START,
            "scheduled_before": due + timedelta(seconds=1),
        }
        [job] = await asserted(application, 1, **wanted)
        assert (job.data, job.tags) == ("ä", ("mail", "urgent"))
        assert len(await asserted(application, 3)) == 3
        with pytest.raises(AssertionError, match=r"enqueued(_sync)?: no job expected, 2 found"):
            await refuted(application, for_executor=Letter)
        with pytest.raises(AssertionError, match=r"(?s)nearest among 2 of letter:.*\"b\", expected \"x\""):
            await asserted(application, for_executor=Letter, with_data="x")
        with pytest.raises(
            AssertionError, match=r"no jobs at all of timely; there are 3 of others: letter \(2\), once"
        ):
            await asserted(application, for_executor=Timely)
        await refute_enqueued(backend=backend)

        await done(application.rollback())

        assert await stored(backend) == []

    async def test_a_failure_is_ours_and_names_the_remedy(
        self, backend: Migrated, application: Application, tmp_path: Path
    ) -> None:
        await run(f"DROP SCHEMA {backend.schema} CASCADE")

        with pytest.raises(SchemaError, match="rexecutor migrate"):
            await done(application.enqueue([letter("a")]))
        with pytest.raises(BackendError):
            await done(application.enqueue([letter("a")]))
        await done(application.rollback())


async def asserted(application: Application, count: int | None = None, **wanted: Any) -> list[Job[Any, Any, Any]]:
    if isinstance(application.bound, Transaction):
        return await assert_enqueued(count, **wanted, backend=application.bound)
    return assert_enqueued_sync(count, **wanted, backend=application.bound)


async def refuted(application: Application, **unwanted: Any) -> None:
    if isinstance(application.bound, Transaction):
        return await refute_enqueued(**unwanted, backend=application.bound)
    return refute_enqueued_sync(**unwanted, backend=application.bound)


async def run(command: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(server_url(), autocommit=True) as connection:
        cursor = await connection.execute(cast("LiteralString", command))
        return await cursor.fetchall() if cursor.description else []


class TestWithoutATransaction:
    """A connection that commits each statement commits the enqueue, as a whole."""

    async def test_of_psycopg(self, backend: Migrated) -> None:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            enqueue_many_sync([letter("a"), Once.builder().with_data("b")], backend=backend.bound_to(connection))
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

            assert await stored(backend) == [("letter", '"a"'), ("once", '"b"')]

    async def test_of_psycopg_with_a_loop(self, backend: Migrated) -> None:
        async with await psycopg.AsyncConnection.connect(server_url(), autocommit=True) as connection:
            await Once.builder().with_data("b").enqueue(backend=backend.bound_to(connection))

            assert await stored(backend) == [("once", '"b"')]

    async def test_of_asyncpg(self, backend: Migrated) -> None:
        connection = await connect_asyncpg()
        await Once.builder().with_data("b").enqueue(backend=backend.bound_to(connection))
        await connection.close()

        assert await stored(backend) == [("once", '"b"')]

    @pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
    async def test_of_sqlalchemy(self, backend: Migrated, driver: str) -> None:
        async with engine_of(driver) as engine:
            async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                await Once.builder().with_data("b").enqueue(backend=backend.bound_to(connection))

            assert await stored(backend) == [("once", '"b"')]

    async def test_unless_there_is_one_all_the_same(self, backend: Migrated) -> None:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            with connection.transaction(force_rollback=True):
                letter("a").enqueue_sync(backend=backend.bound_to(connection))

            assert await stored(backend) == []


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_savepoint_of_sqlalchemys_takes_it_back(backend: Migrated, driver: str) -> None:
    async with engine_of(driver) as engine, AsyncSession(engine) as one, one.begin():
        await letter("kept").enqueue(backend=backend.bound_to(one))
        nested = await one.begin_nested()
        await letter("undone").enqueue(backend=backend.bound_to(one))
        await nested.rollback()

    assert await stored(backend) == [("letter", '"kept"')]


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
async def test_a_conflict_in_a_strict_level_is_an_error(backend: Migrated, level: IsolationLevel) -> None:
    with psycopg.connect(server_url()) as connection:
        connection.isolation_level = level
        connection.execute("SELECT 1")
        assert len(await stored(backend)) == 0
        connection.execute(cast("LiteralString", f"SELECT count(*) FROM {backend.schema}.jobs"))
        await Once.builder().with_data("theirs").enqueue(backend=backend)

        with pytest.raises(BackendError) as caught:
            Once.builder().with_data("ours").enqueue_sync(backend=backend.bound_to(connection))
        connection.rollback()

        assert isinstance(caught.value.__cause__, SerializationFailure)
        handle = Once.builder().with_data("again").enqueue_sync(backend=backend.bound_to(connection))
        connection.commit()
        assert handle.disposition == "replaced"


@pytest.mark.parametrize("level", list(IsolationLevel))
async def test_two_transactions_never_make_two(backend: Migrated, level: IsolationLevel) -> None:
    first = await psycopg.AsyncConnection.connect(server_url())
    second = await psycopg.AsyncConnection.connect(server_url())
    async with first, second:
        await first.set_isolation_level(level)
        await second.set_isolation_level(level)
        await second.execute("SELECT now()")
        one = await Once.builder().with_data("one").enqueue(backend=backend.bound_to(first))

        other = asyncio.ensure_future(Once.builder().with_data("two").enqueue(backend=backend.bound_to(second)))
        await waits_for_a_lock(second)
        await first.commit()
        if level in (IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE):
            with pytest.raises(BackendError):
                await other
            await second.rollback()
        else:
            assert ((await other).id, (await other).disposition) == (one.id, "replaced")

    assert len(await stored(backend)) == 1


async def waits_for_a_lock(connection: psycopg.AsyncConnection[Any]) -> None:
    pid = connection.info.backend_pid

    async def waits() -> bool:
        return bool(await run(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"))

    await until(waits)


class TestWakeUp:
    async def test_it_comes_with_the_commit_and_not_before(self, backend: Migrated, tmp_path: Path) -> None:
        async with postgres_backend(tmp_path) as other, await psycopg.AsyncConnection.connect(server_url()) as one:
            await until_it_listens(other)
            await one.execute("SELECT 1")
            await letter("a").enqueue(backend=backend.bound_to(one))
            before = other.change_count
            assert await run("SELECT 1")  # whatever was sent has had its time
            assert other.change_count == before
            waiting = asyncio.ensure_future(
                other.wait_ready(["letter"], other.clock.now() + timedelta(hours=1), since=before)
            )

            await one.commit()

            await soon(waiting)

    async def test_a_node_runs_it(self, backend: Migrated) -> None:
        async with Rexecutor(backend).with_executor(Letter), engine_of("asyncpg") as engine:
            async with AsyncSession(engine) as one, one.begin():
                handle = await letter("a").enqueue(backend=backend.bound_to(one))

            job = await soon(handle.wait())
            assert job.attempt == 1


class TestWhatIsRefused:
    @pytest.fixture
    def closed(self) -> Migrated:
        return Migrated("postgresql://nobody@nowhere/none")

    @pytest.mark.parametrize("given", [None, "postgresql://", object(), 1, asyncpg, psycopg.Connection])
    def test_no_connection(self, closed: Migrated, given: Any) -> None:
        with pytest.raises(ConfigurationError, match="cannot be used as a connection to PostgreSQL"):
            closed.bound_to(given)

    def test_a_connection_to_sqlite(self, closed: Migrated) -> None:
        given: Any = sqlite3.connect(":memory:")

        with pytest.raises(
            ConfigurationError, match=r"sqlite3\.Connection cannot be used as a connection to PostgreSQL"
        ):
            closed.bound_to(given)
        given.close()

    def test_a_session_on_another_database(self, closed: Migrated) -> None:
        engine = create_engine("sqlite://")

        with Session(engine) as given, pytest.raises(ConfigurationError, match=r"sqlite3.* postgresql\+psycopg"):
            letter("a").enqueue_sync(backend=closed.bound_to(given))
        engine.dispose()

    async def test_a_synchronous_connection_that_is_awaited(self, closed: Migrated) -> None:
        engine = create_engine("sqlite://")
        with Session(engine) as given, pytest.raises(ConfigurationError, match="call enqueue_sync"):
            await letter("a").enqueue(backend=cast("Any", closed.bound_to(given)))
        engine.dispose()

    async def test_a_connection_to_be_awaited_in_enqueue_sync(self, closed: Migrated) -> None:
        async with engine_of("asyncpg") as engine, AsyncSession(engine) as given:
            with pytest.raises(ConfigurationError, match="call `await enqueue`"):
                letter("a").enqueue_sync(backend=cast("Any", closed.bound_to(given)))

    async def test_a_closed_connection(self, closed: Migrated) -> None:
        connection = await connect_asyncpg()
        await connection.close()
        with pytest.raises(BackendError, match="closed"):
            await letter("a").enqueue(backend=closed.bound_to(connection))

        other = psycopg.connect(server_url())
        other.close()
        with pytest.raises(BackendError, match="closed"):
            letter("a").enqueue_sync(backend=closed.bound_to(other))

        engine = create_engine(alchemy_url("psycopg"))
        third = engine.connect()
        third.close()
        with pytest.raises(ConfigurationError, match="closed; nothing was sent"):
            letter("a").enqueue_sync(backend=closed.bound_to(third))
        engine.dispose()

    def test_a_pipeline(self, closed: Migrated) -> None:
        refused = pytest.raises(ConfigurationError, match="pipeline")
        with psycopg.connect(server_url()) as given, given.pipeline(), refused:
            letter("a").enqueue_sync(backend=closed.bound_to(given))


async def test_the_backend_need_not_be_open(backend: Migrated, tmp_path: Path) -> None:
    other = postgres_backend(tmp_path)

    with psycopg.connect(server_url()) as one:
        handle = letter("a").enqueue_sync(backend=other.bound_to(one))

    assert not other.is_open
    assert [record.id for record in await backend.query(Everything())] == [handle.id]


def test_other_libraries_are_not_imported() -> None:
    code = (
        "import psycopg, sys; from rexecutor import PostgresBackend;"
        "from rexecutor.errors import ConfigurationError\n"
        "try: PostgresBackend('postgresql://x').bound_to(object())\n"
        "except ConfigurationError: pass\n"
        "assert not {'asyncpg', 'sqlalchemy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=dict(os.environ))


def test_named_parameters_are_numbered() -> None:
    text = (
        "UPDATE t SET a = %(x)s WHERE b % 2 = %(y)s::jsonb AND c = %(x)s::text AND d LIKE '5%%' AND e = %(z)s::interval"
    )

    numbers = "a = $1 WHERE b % 2 = $2::text::jsonb AND c = $1::text AND d LIKE '5%' AND e = $3::text::interval"
    assert numbered(text) == (f"UPDATE t SET {numbers}", ("x", "y", "z"))


def test_a_query_returns_its_rows_as_json() -> None:
    text = "-- Says why.\nSELECT a FROM t WHERE b = %(b)s"

    assert numbered(text) == (
        "SELECT row_to_json(q)::text FROM (-- Says why.\nSELECT a FROM t WHERE b = $1\n) AS q",
        ("b",),
    )
