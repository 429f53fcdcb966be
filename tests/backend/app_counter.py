"""A counter beside the jobs, in each kind of database and by each library that `complete_in` knows."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, suppress
from typing import Any, cast

import asyncpg
import psycopg
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rexecutor import Backend, ExecutionResult, Executor, Job, SQLiteBackend
from tests.backend.proxies import Proxy
from tests.postgres import run_postgres, server_url

ADD = "UPDATE counter SET number = number + 1"


class AppCounter(ABC):
    """A counter that an application keeps in the database of its jobs."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction that has counted one; commit it at the end, roll it back on an error."""

    @abstractmethod
    def count(self) -> int:
        """Return how much has been counted."""


class SqliteCounter(AppCounter):
    def __init__(self, backend: Backend) -> None:
        assert isinstance(backend, SQLiteBackend)
        self.path = backend.path
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript("CREATE TABLE counter (number INTEGER); INSERT INTO counter VALUES (0)")

    @contextmanager
    def blocking(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(ADD)
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        with self.blocking() as connection:
            yield connection

    def count(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT number FROM counter").fetchone()[0]


class SqliteSessionCounter(SqliteCounter):
    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        engine = create_engine(f"sqlite:///{self.path}")
        try:
            with Session(engine) as session, session.begin():
                session.execute(text(ADD))
                yield session
        finally:
            engine.dispose()


class PostgresCounter(AppCounter):
    def __init__(self, backend: Any) -> None:
        self.schema = backend.schema
        run_postgres(
            f"CREATE TABLE {self.schema}.counter (number int)", f"INSERT INTO {self.schema}.counter VALUES (0)"
        )
        self.add: Any = ADD.replace("counter", f"{self.schema}.counter")

    @contextmanager
    def blocking(self) -> Generator[Any]:
        with psycopg.connect(server_url()) as connection:
            connection.execute(self.add)
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        async with await psycopg.AsyncConnection.connect(server_url()) as connection:
            await connection.execute(self.add)
            yield connection

    def count(self) -> int:
        return run_postgres(f"SELECT number FROM {self.schema}.counter")[0][0]


class ProxiedCounter(PostgresCounter):
    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        async with super().transaction() as connection:
            yield Proxy(connection)

    @contextmanager
    def blocking(self) -> Generator[Any]:
        with super().blocking() as connection:
            yield Proxy(connection)


class AsyncpgCounter(PostgresCounter):
    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        connection = await cast("Any", asyncpg).connect(server_url())
        try:
            async with connection.transaction():
                await connection.execute(self.add)
                yield connection
        finally:
            await connection.close()


class SessionCounter(PostgresCounter):
    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        engine = create_async_engine(make_url(server_url()).set(drivername="postgresql+psycopg"))
        try:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text(self.add))
                yield session
        finally:
            await engine.dispose()


COUNTERS: dict[str, tuple[str, Callable[[Any], AppCounter]]] = {
    "sqlite": ("sqlite", SqliteCounter),
    "sqlite-sqlalchemy": ("sqlite", SqliteSessionCounter),
    "psycopg": ("postgres", PostgresCounter),
    "proxied": ("postgres", ProxiedCounter),
    "asyncpg": ("postgres", AsyncpgCounter),
    "sqlalchemy": ("postgres", SessionCounter),
}


class Counting(Executor[None]):
    """Counts one and completes its job, in one transaction; does something before its end, or after."""

    name = "counting"

    def __init__(
        self,
        counter: AppCounter,
        *,
        before: Callable[[Job[None]], Any] | None = None,
        within: Callable[[Any], Any] | None = None,
        after: Callable[[], ExecutionResult] | None = None,
    ) -> None:
        self.counter = counter
        self.before = before
        self.within = within
        self.after = after
        self.raised: list[Exception] = []

    async def execute(self, job: Job[None]) -> ExecutionResult:
        try:
            async with self.counter.transaction() as connection:
                if self.before is not None:
                    await self.before(job)
                await job.complete_in(connection)
                if self.within is not None:
                    await self.within(connection)
        except Exception as error:
            self.raised.append(error)
            raise
        return None if self.after is None else self.after()


class Undoing(Executor[None]):
    """Completes its job in a transaction that it then rolls back without an error."""

    name = "undoing"

    def __init__(self, counter: AppCounter) -> None:
        self.counter = counter

    async def execute(self, job: Job[None]) -> None:
        with suppress(ZeroDivisionError):
            async with self.counter.transaction() as connection:
                await job.complete_in(connection)
                _ = 1 // 0
