"""Enqueues in SQLAlchemy's transactions, as applications write them: blocks, savepoints, sessions of Flask."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from rexecutor import Backend, BackendError, ConfigurationError, Executor, Job, PostgresBackend, SQLiteBackend
from rexecutor.model.where import Everything
from tests.backends import made_backend
from tests.integrations.engines import engine_on
from tests.postgres import server_url


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders_of_sqlalchemy"
    id: Mapped[int] = mapped_column(primary_key=True)


class ApplicationError(Exception): ...


@dataclass
class Work:
    """What an application does within one transaction, whether its session is awaited or blocks."""

    session: Any
    find: Callable[[], Any] | None = None
    """Returns the connection, if not the session itself is given as `connection=`."""

    @property
    def connection(self) -> Any:
        return self.session if self.find is None else self.find()

    async def enqueue(self, backend: Any, data: str) -> None:
        if self._is_awaited:
            await Letter.enqueue(data, connection=self.connection, backend=backend)
        else:
            Letter.enqueue_sync(data, connection=self.connection, backend=backend)

    async def execute(self, command: str) -> None:
        await _done(self.connection.execute(text(command)))

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        if self._is_awaited:
            async with self.session.begin_nested():
                yield
        else:
            with self.session.begin_nested():
                yield

    @property
    def _is_awaited(self) -> bool:
        return isinstance(self.session, AsyncSession | async_scoped_session)


async def _done(answer: Any) -> Any:
    return await answer if asyncio.iscoroutine(answer) else answer


Block: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Work]]
"""One transaction on the database of a URL: committed at the end, rolled back by an error."""


@asynccontextmanager
async def sessionmaker_begin(url: Any) -> AsyncGenerator[Work]:
    with engine_on(url) as engine, sessionmaker(engine).begin() as session:
        yield Work(session)


@asynccontextmanager
async def session_begin(url: Any) -> AsyncGenerator[Work]:
    with engine_on(url) as engine, Session(engine, autobegin=False) as session, session.begin():
        yield Work(session)


@asynccontextmanager
async def session_with_binds(url: Any) -> AsyncGenerator[Work]:
    """A session with several engines, which is asked for the connection anew in each block, for its savepoint."""
    with engine_on(url) as engine, sessionmaker(binds={Order: engine}).begin() as session:
        found = partial(session.connection, bind_arguments={"mapper": Order})
        yield Work(session, found)


@asynccontextmanager
async def session_beginning_explicitly(url: Any) -> AsyncGenerator[Work]:
    """SQLite with the events that SQLAlchemy's documentation has for savepoints, and that libraries set."""

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    with engine_on(url) as engine:
        event.listen(engine, "connect", connected)
        event.listen(engine, "begin", begun)
        with sessionmaker(engine).begin() as session:
            yield Work(session)


@asynccontextmanager
async def flask(url: Any) -> AsyncGenerator[Work]:
    application = Flask("shop")
    application.config["SQLALCHEMY_DATABASE_URI"] = url
    database = SQLAlchemy(application)
    with application.app_context():
        try:
            yield Work(database.session)
            database.session.commit()
        finally:
            database.session.remove()
            database.engine.dispose()


@asynccontextmanager
async def async_begin(url: Any) -> AsyncGenerator[Work]:
    engine = create_async_engine(url)
    try:
        async with async_sessionmaker(engine).begin() as session:
            yield Work(session)
    finally:
        await engine.dispose()


@asynccontextmanager
async def async_without_autobegin(url: Any) -> AsyncGenerator[Work]:
    engine = create_async_engine(url)
    try:
        async with AsyncSession(engine, autobegin=False) as session, session.begin():
            yield Work(session)
    finally:
        await engine.dispose()


@asynccontextmanager
async def async_scoped(url: Any) -> AsyncGenerator[Work]:
    engine = create_async_engine(url)
    session = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        yield Work(session)
        await session.commit()
    finally:
        await session.remove()
        await engine.dispose()


BLOCKS: Final[dict[str, tuple[str, Block]]] = {
    "postgres-sessionmaker.begin": ("postgresql+psycopg", sessionmaker_begin),
    "postgres-session.begin": ("postgresql+psycopg", session_begin),
    "postgres-binds": ("postgresql+psycopg", session_with_binds),
    "postgres-flask": ("postgresql+psycopg", flask),
    "postgres-psycopg-without-autobegin": ("postgresql+psycopg", async_without_autobegin),
    "postgres-asyncpg-async_sessionmaker.begin": ("postgresql+asyncpg", async_begin),
    "postgres-asyncpg-async_scoped_session": ("postgresql+asyncpg", async_scoped),
    "sqlite-sessionmaker.begin": ("sqlite", sessionmaker_begin),
    "sqlite-flask": ("sqlite", flask),
    "sqlite-begin-events": ("sqlite", session_beginning_explicitly),
}
"""The driver, and how the application writes a transaction."""


@dataclass
class Setting:
    """A backend, a way to write transactions, and an enqueue that fails at the database."""

    backend: Any
    open_block: Callable[[], AbstractAsyncContextManager[Work]]

    async def stored(self) -> list[str]:
        return [record.data.strip('"') for record in await self.backend.query(Everything())]

    async def fail(self, work: Work) -> None:
        """Let the database refuse an enqueue."""
        elsewhere = PostgresBackend(server_url(), schema="there_is_none")
        backend = self.backend if isinstance(self.backend, SQLiteBackend) else elsewhere
        await work.enqueue(backend, "bad")


@pytest.fixture(params=BLOCKS)
async def setting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    driver, block = BLOCKS[request.param]
    async with made_backend("sqlite" if driver == "sqlite" else "postgres", tmp_path) as backend:
        if isinstance(backend, SQLiteBackend):
            url: Any = f"sqlite:///{backend.path}"
            forbid_bad_data(backend)
        else:
            url = make_url(server_url()).set(drivername=driver)
        yield Setting(backend, lambda: block(url))


def forbid_bad_data(backend: SQLiteBackend) -> None:
    connection = sqlite3.connect(backend.path)
    connection.execute(
        """CREATE TRIGGER forbids BEFORE INSERT ON rexecutor_stored_jobs WHEN NEW.data = '"bad"'
        BEGIN SELECT RAISE(ABORT, 'forbidden'); END"""
    )
    connection.close()


async def test_jobs_come_with_the_commit(setting: Setting) -> None:
    async with setting.open_block() as work:
        await work.enqueue(setting.backend, "a")
        await work.execute("SELECT 1")
        await work.enqueue(setting.backend, "b")
        assert await setting.stored() == []

    assert await setting.stored() == ["a", "b"]


async def test_an_error_of_the_application_takes_them_back(setting: Setting) -> None:
    with suppress(ApplicationError):
        async with setting.open_block() as work:
            await work.enqueue(setting.backend, "a")
            raise ApplicationError

    assert await setting.stored() == []


async def test_an_error_of_the_database_takes_them_back(setting: Setting) -> None:
    async def order() -> None:
        async with setting.open_block() as work:
            await work.enqueue(setting.backend, "a")
            await work.execute("SELECT * FROM there_is_no_such_table")

    with pytest.raises(DBAPIError):
        await order()

    assert await setting.stored() == []


async def test_an_enqueue_that_fails_takes_back_those_before_it(setting: Setting) -> None:
    async def order() -> None:
        async with setting.open_block() as work:
            await work.enqueue(setting.backend, "a")
            await setting.fail(work)

    with pytest.raises(BackendError):
        await order()

    assert await setting.stored() == []


async def test_a_savepoint_that_is_rolled_back_takes_back_its_own(setting: Setting) -> None:
    async with setting.open_block() as work:
        await work.enqueue(setting.backend, "a")
        with suppress(ApplicationError):
            async with work.savepoint():
                await work.enqueue(setting.backend, "undone")
                raise ApplicationError
        async with work.savepoint():
            await work.enqueue(setting.backend, "b")

    assert await setting.stored() == ["a", "b"]


async def test_an_enqueue_that_fails_in_a_savepoint_costs_no_more(setting: Setting) -> None:
    async with setting.open_block() as work:
        await work.enqueue(setting.backend, "a")
        with suppress(BackendError):
            async with work.savepoint():
                await work.enqueue(setting.backend, "undone")
                await setting.fail(work)
        await work.enqueue(setting.backend, "b")

    assert await setting.stored() == ["a", "b"]


class TestAiosqlite:
    """Its connection lives in a thread of its own, which has no way for others' statements."""

    @pytest.fixture
    async def backend(self, tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
        async with SQLiteBackend(tmp_path / "jobs.db") as made:
            yield made

    @pytest.fixture
    async def session(self, backend: SQLiteBackend) -> AsyncIterator[AsyncSession]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{backend.path}")
        async with AsyncSession(engine) as made:
            yield made
        await engine.dispose()

    async def test_it_is_refused_with_what_to_do_instead(self, backend: Backend, session: AsyncSession) -> None:
        connection = await session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        for given in (session, connection, driver):
            with self.refused():
                await Letter.enqueue("a", connection=given, backend=backend)

        def work(synchronous: Session) -> None:
            with self.refused():
                Letter.enqueue_sync("a", connection=synchronous, backend=backend)

        await session.run_sync(work)

    async def test_what_it_advises_works(self, backend: SQLiteBackend, session: AsyncSession) -> None:
        await session.execute(text("CREATE TABLE orders (id)"))
        await session.commit()
        await Letter.enqueue("after the commit", backend=backend)

        def in_a_thread() -> None:
            with engine_on(f"sqlite:///{backend.path}") as engine, sessionmaker(engine).begin() as synchronous:
                synchronous.execute(text("INSERT INTO orders VALUES (1)"))
                Letter.enqueue_sync("in the transaction", connection=synchronous, backend=backend)

        await asyncio.to_thread(in_a_thread)

        assert len(await backend.query(Everything())) == 2

    def refused(self) -> Any:
        advice = (
            r"an engine of sqlite://.*in a thread.*; with aiosqlite, enqueue after the commit, without connection=$"
        )
        return pytest.raises(ConfigurationError, match=f"bound_to: .*{advice}")
