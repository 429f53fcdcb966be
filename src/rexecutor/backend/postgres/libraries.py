"""Executes statements on a connection of the application's own, whichever library it comes from.

Libraries are recognised by the names of their classes, so that none is imported that the application does not use.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import psycopg

from rexecutor.backend.postgres.connection import advice_to_migrate, translated
from rexecutor.backend.postgres.runners import AsyncpgConnection, run_async_psycopg, run_asyncpg, run_psycopg
from rexecutor.backend.postgres.statements import Script
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

T = TypeVar("T")
_PSYCOPG: Final = {"psycopg.Connection"}
_ASYNC_PSYCOPG: Final = {"psycopg.AsyncConnection"}
_ASYNCPG: Final = {"asyncpg.connection.Connection", "asyncpg.pool.PoolConnectionProxy"}
_SESSIONS: Final = {"sqlalchemy.orm.session.Session", "sqlalchemy.orm.scoping.scoped_session"}
_ASYNC_SESSIONS: Final = {
    "sqlalchemy.ext.asyncio.session.AsyncSession",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session",
}
_CONNECTIONS: Final = {"sqlalchemy.engine.base.Connection"}
_ASYNC_CONNECTIONS: Final = {"sqlalchemy.ext.asyncio.engine.AsyncConnection"}
_LIBRARIES: Final = {"asyncpg", "sqlalchemy"}
_NO_TABLES: Final = {"42P01", "3F000", "42883"}
_BEGIN: Final = "SELECT 1"


class SqlAlchemyConnection(Protocol):
    """What is used of SQLAlchemy's `Connection`."""

    def exec_driver_sql(self, statement: str, /) -> Any:
        """Execute; begins SQLAlchemy's transaction."""

    @property
    def connection(self) -> Any:
        """The driver's connection, wrapped."""


class SqlAlchemyAsyncConnection(Protocol):
    """What is used of SQLAlchemy's `AsyncConnection`."""

    async def exec_driver_sql(self, statement: str, /) -> Any:
        """Execute; begins SQLAlchemy's transaction."""

    async def get_raw_connection(self) -> Any:
        """Answer the driver's connection, wrapped."""


class SqlAlchemySession(Protocol):
    """What is used of SQLAlchemy's `Session`."""

    def connection(self) -> SqlAlchemyConnection:
        """Answer the connection of its transaction."""
        ...


class SqlAlchemyAsyncSession(Protocol):
    """What is used of SQLAlchemy's `AsyncSession`."""

    async def connection(self) -> SqlAlchemyAsyncConnection:
        """Answer the connection of its transaction."""
        ...


AsyncConnection: TypeAlias = (
    "psycopg.AsyncConnection[Any] | AsyncpgConnection | SqlAlchemyAsyncConnection | SqlAlchemyAsyncSession"
)
"""Connections that are awaited."""
SyncConnection: TypeAlias = "psycopg.Connection[Any] | SqlAlchemyConnection | SqlAlchemySession"
"""Connections that block."""


def is_awaited(what: str, connection: object) -> bool:
    """Answer whether the connection is one that is awaited, or else one that blocks.

    Raises:
        ConfigurationError: It is no connection that can be used, for `what` of ours.
    """
    if _kinds(connection) & (_ASYNC_PSYCOPG | _ASYNCPG | _ASYNC_CONNECTIONS | _ASYNC_SESSIONS):
        return True
    if _kinds(connection) & (_PSYCOPG | _CONNECTIONS | _SESSIONS):
        return False
    raise ConfigurationError(
        f"{what}: {_named(connection)} is no connection to PostgreSQL that is known here; give one of psycopg or"
        " asyncpg, or an (Async)Session or (Async)Connection of SQLAlchemy on these"
    )


async def run_awaited(connection: Any, schema: str, script: Script[T]) -> T:
    """Execute the statements in the transaction of a connection that is awaited."""
    with _all_translated(schema):
        if _kinds(connection) & _ASYNC_SESSIONS:
            connection = await connection.connection()
        if _kinds(connection) & _ASYNC_CONNECTIONS:
            await connection.exec_driver_sql(_BEGIN)  # SQLAlchemy commits only what it has seen begin
            connection = (await connection.get_raw_connection()).driver_connection
        if _kinds(connection) & _ASYNCPG:
            return await run_asyncpg(connection, script)
        if _kinds(connection) & _ASYNC_PSYCOPG:
            return await run_async_psycopg(connection, script)
        raise _unknown_driver(connection, "psycopg:// or postgresql+asyncpg")


def run_blocking(connection: Any, schema: str, script: Script[T]) -> T:
    """Execute the statements in the transaction of a connection that blocks."""
    with _all_translated(schema):
        if _kinds(connection) & _SESSIONS:
            connection = connection.connection()
        if _kinds(connection) & _CONNECTIONS:
            connection.exec_driver_sql(_BEGIN)  # SQLAlchemy commits only what it has seen begin
            connection = connection.connection.driver_connection
        if not _kinds(connection) & _PSYCOPG:
            raise _unknown_driver(connection, "psycopg")
        return run_psycopg(connection, script)


@contextmanager
def _all_translated(schema: str) -> Generator[None]:
    """Turn the exceptions of any of the libraries into ours."""
    with translated(schema):
        try:
            yield
        except (RexecutorError, psycopg.Error):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not _LIBRARIES & {name.partition(".")[0] for name in _kinds(error)}:
                raise
            what = (str(error).splitlines() or [""])[0] or type(error).__name__
            if getattr(error, "sqlstate", None) in _NO_TABLES:
                raise SchemaError(
                    f'schema "{schema}" lacks tables of this rexecutor ({what}); {advice_to_migrate(schema)}'
                ) from error
            raise BackendError(f"PostgreSQL: {what}") from error


def _kinds(thing: object) -> set[str]:
    """Answer the full names of the object's classes."""
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(thing).__mro__}


def _named(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _unknown_driver(connection: object, known: str) -> ConfigurationError:
    return ConfigurationError(
        f"bound_to: SQLAlchemy runs on {_named(connection)} there; make the engine with postgresql+{known}://"
    )
