"""Connections on which the application has registered how values are written and read: that is not for our values."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import asyncpg
import psycopg
import pytest
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from rexecutor import Backend, Executor, Job, JobStatus, PostgresBackend, Replace, SQLiteBackend, UniquenessCriteria
from rexecutor.backend.app_transaction import Transaction
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.where import Everything, Where
from tests.backends import made_backend
from tests.postgres import server_url

LATER: Final = datetime(2031, 7, 1, 12, tzinfo=UTC)
EXPIRY: Final = datetime(2032, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
WRITTEN: Final = (datetime, timedelta, bool, int, float, str, list)
"""Python's types of the parameters of our statements."""
READ: Final = (
    *("timestamptz", "interval", "timestamp", "date", "json", "jsonb", "bool", "int2", "int4", "int8"),
    *("float8", "numeric", "text", "varchar", "name", 1009, 1016),
)
"""PostgreSQL's types of their columns; 1009 and 1016 are arrays of text and int8."""


class Letter(Executor[str, dict[str, Any]]):
    name = "letter"

    async def execute(self, job: Job[str, dict[str, Any]]) -> None: ...


class Once(Executor[str]):
    name = "once"
    uniqueness_criteria = (
        UniquenessCriteria.by_executor()
        .and_within(timedelta(days=36_500))
        .on_conflict(Replace.data().and_scheduled_at())
    )

    async def execute(self, job: Job[str]) -> None: ...


class Hostile:
    """Stands for every value that is read."""


class HostileLoader(Loader):
    def load(self, data: Any) -> Any:
        return Hostile()


class HostileDumper(Dumper):
    def dump(self, obj: Any) -> Any:
        return b"hostile"


Opener: TypeAlias = Callable[[Backend], AbstractAsyncContextManager[tuple[Any, Callable[[], Awaitable[Any]]]]]
"""Opens a connection, and says how to commit its transaction."""


async def done(answer: Any) -> Any:
    return await answer if asyncio.iscoroutine(answer) else answer


class HostileBinaryLoader(HostileLoader):
    format = Format.BINARY


def make_hostile(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    for kind in READ:
        connection.adapters.register_loader(kind, HostileLoader)
        connection.adapters.register_loader(kind, HostileBinaryLoader)
    for kind in WRITTEN:
        connection.adapters.register_dumper(kind, HostileDumper)


@asynccontextmanager
async def psycopg_sync(_: Backend) -> AsyncGenerator[Any]:
    with psycopg.connect(server_url()) as connection:
        make_hostile(connection)
        yield connection, lambda: asyncio.to_thread(connection.commit)


@asynccontextmanager
async def psycopg_async(_: Backend) -> AsyncGenerator[Any]:
    async with await psycopg.AsyncConnection.connect(server_url()) as connection:
        make_hostile(connection)
        yield connection, connection.commit


@asynccontextmanager
async def psycopg_globally(_: Backend) -> AsyncGenerator[Any]:
    """What is registered for all of psycopg is registered for the connections of the backend too."""
    oid = psycopg.adapters.types["timestamptz"].oid
    before = [psycopg.adapters.get_loader(oid, form) for form in (Format.TEXT, Format.BINARY)]
    psycopg.adapters.register_loader(oid, HostileLoader)
    psycopg.adapters.register_loader(oid, HostileBinaryLoader)
    try:
        async with await psycopg.AsyncConnection.connect(server_url()) as connection:
            yield connection, connection.commit
    finally:
        for loader in before:
            assert loader is not None
            psycopg.adapters.register_loader(oid, loader)


@asynccontextmanager
async def asyncpg_connection(_: Backend) -> AsyncGenerator[Any]:
    connection: Any = await cast("Any", asyncpg).connect(server_url())
    try:
        await with_codecs(connection)
        yield connection, lambda: asyncio.to_thread(lambda: None)  # it commits by itself
    finally:
        await connection.close()


async def with_codecs(connection: Any) -> None:
    def written(value: object) -> str:
        return "hostile"

    def read(value: str) -> Hostile:
        return Hostile()

    for kind in ("timestamptz", "interval", "json", "jsonb", "timestamp", "numeric"):
        await connection.set_type_codec(kind, encoder=written, decoder=read, schema="pg_catalog", format="text")


@asynccontextmanager
async def sqlalchemy_on_asyncpg(_: Backend) -> AsyncGenerator[Any]:
    engine = create_async_engine(make_url(server_url()).set(drivername="postgresql+asyncpg"))

    def connected(connection: Any, _: object) -> None:
        connection.run_async(with_codecs)

    event.listen(engine.sync_engine, "connect", connected)
    try:
        async with AsyncSession(engine) as session:
            yield session, session.commit
    finally:
        await engine.dispose()


@asynccontextmanager
async def in_another_style(_: Backend) -> AsyncGenerator[Any]:
    """A session whose server writes moments and spans of time in ways that psycopg cannot read."""
    with psycopg.connect(server_url()) as connection:
        for setting in ("DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'", "TimeZone = 'Asia/Kathmandu'"):
            connection.execute(f"SET {setting}")
        connection.commit()
        yield connection, lambda: asyncio.to_thread(connection.commit)


@asynccontextmanager
async def in_no_encoding(_: Backend) -> AsyncGenerator[Any]:
    """The client's encoding in a database that was made in the locale C, unless the application gives another one."""
    with psycopg.connect(server_url(), client_encoding="SQL_ASCII") as connection:
        yield connection, lambda: asyncio.to_thread(connection.commit)


OPENERS: Final[dict[str, Opener]] = {
    "psycopg": psycopg_sync,
    "psycopg-async": psycopg_async,
    "psycopg-globally": psycopg_globally,
    "asyncpg": asyncpg_connection,
    "sqlalchemy-asyncpg": sqlalchemy_on_asyncpg,
    "another-style": in_another_style,
    "no-encoding": in_no_encoding,
}


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[PostgresBackend]:
    async with made_backend("postgres", tmp_path) as made:
        yield cast("PostgresBackend", made)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    async with made_backend("sqlite", tmp_path) as made:
        yield cast("SQLiteBackend", made)


@pytest.fixture
def converting(sqlite: SQLiteBackend) -> Generator[sqlite3.Connection]:
    """A connection that converts every declared type that there is in our tables."""
    kinds = ("text", "integer", "any", "blob", "real", "int")
    before = dict(cast("Any", sqlite3).converters)
    for kind in kinds:
        sqlite3.register_converter(kind, lambda _: Hostile())
    declared = sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES
    try:
        with closing(sqlite3.connect(sqlite.path, detect_types=declared)) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = bytes
            yield connection
    finally:
        cast("Any", sqlite3).converters.clear()
        cast("Any", sqlite3).converters.update(before)


async def claimed(backend: Backend) -> JobRecord:
    lease = backend.heartbeat_connection()
    await asyncio.to_thread(lease.send, Node("n", "n", timedelta(seconds=30)))
    [record] = (await backend.claim(Demand({"letter": 1}, 1), "n")).jobs
    await asyncio.to_thread(lease.close)
    return record


@pytest.mark.parametrize("opener", OPENERS)
async def test_on_postgresql_they_change_nothing(postgres: PostgresBackend, opener: str) -> None:
    async with OPENERS[opener](postgres) as (connection, commit):
        await check_all(postgres, connection, commit)


async def test_on_sqlite_they_change_nothing(sqlite: SQLiteBackend, converting: sqlite3.Connection) -> None:
    async def commit() -> None:
        converting.commit()

    await check_all(sqlite, converting, commit)


async def check_all(backend: Backend, connection: object, commit: Callable[[], Awaitable[Any]]) -> None:
    """Do all that can be done on a connection of the application, and compare with what the backend itself reads."""
    bound: Transaction = cast("Any", backend).bound_to(connection)
    is_awaited = isinstance(bound, Transaction)

    async def call(name: str, *arguments: Any, **settings: Any) -> Any:
        if is_awaited:
            return await getattr(bound, name)(*arguments, **settings)
        return await done(getattr(bound, f"{name}_sync")(*arguments, **settings))

    async def enqueue(builder: Any) -> Any:
        return await builder.enqueue(backend=bound) if is_awaited else builder.enqueue_sync(backend=cast("Any", bound))

    to_run = await Letter.enqueue("to run", backend=backend)
    letter = await enqueue(
        Letter.new("ä", metadata={"b": [1, None]}, tags=["x", "y"], schedule_at=LATER, expires_at=EXPIRY)
    )
    delayed = await enqueue(Letter.new("b", schedule_in=timedelta(days=1, seconds=1), expires_in=timedelta(days=3)))
    await enqueue(Once.new("first", schedule_at=LATER))
    once = await enqueue(Once.new("second", schedule_at=LATER + timedelta(days=1)))
    assert once.disposition == "replaced"
    [count] = await call("count", Where.executor_equals("once"))
    assert count.jobs == 1
    await call("cancel", delayed.id, "no more")
    await call("rerun", delayed.id)
    seen = await call("query", Everything())
    newest = await call("query", Where.scheduled_at_equals(LATER), newest=True)
    recent = await call("query", Where.inserted_at_within_the_last(timedelta(hours=1)))
    await commit()

    stored = await backend.query(Everything())
    assert seen == stored
    assert [record.id for record in newest] == [letter.id]
    assert [record.id for record in recent] == [record.id for record in stored]
    assert [(record.scheduled_at, record.expires_at) for record in newest] == [(LATER, EXPIRY)]
    job = await Letter.get_job(letter.id, backend=backend)
    assert (job.data, job.metadata, job.tags) == ("ä", {"b": [1, None]}, ("x", "y"))
    copy = dataclasses.replace(job, priority=3, scheduled_at=LATER + timedelta(seconds=1))
    if is_awaited:
        updated = await Letter.update_job(copy, backend=bound)
    else:
        updated = Letter.update_job_sync(copy, backend=cast("Any", bound))
    await commit()
    assert (updated.priority, updated.scheduled_at) == (3, LATER + timedelta(seconds=1))
    assert updated == await Letter.get_job(letter.id, backend=backend)

    record = await claimed(backend)
    assert record.id == to_run.id
    completion = backend.completion()
    complete = completion.complete if is_awaited else completion.complete_sync
    assert await done(complete(record, connection))
    await commit()
    assert (await to_run.fetch()).status is JobStatus.COMPLETE
    assert not await done(complete(record, connection))
    await commit()
