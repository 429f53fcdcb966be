"""Executes statements on the application's own connection, for each supported library.

Libraries are recognised by the names of their classes, so that those that the application does not use are not
imported.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import psycopg

from rexecutor.backend.postgres.connection import advice_to_migrate, translated
from rexecutor.backend.postgres.runners import AsyncpgConnection, run_async_psycopg, run_asyncpg, run_psycopg
from rexecutor.backend.postgres.statements import Script
from rexecutor.backend.unwrapping import (
    SqlAlchemyAsyncConnection,
    SqlAlchemyAsyncSession,
    SqlAlchemyConnection,
    SqlAlchemySession,
    async_driver_connection,
    class_name,
    class_names,
    driver_connection,
    is_async_sqlalchemy,
    is_sqlalchemy,
    refusal,
)
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError, SchemaError

T = TypeVar("T")
_PSYCOPG: Final = {"psycopg.Connection"}
_ASYNC_PSYCOPG: Final = {"psycopg.AsyncConnection"}
_ASYNCPG: Final = {"asyncpg.connection.Connection", "asyncpg.pool.PoolConnectionProxy"}
_NO_TABLES: Final = {"42P01", "3F000", "42883"}
_WANTED: Final = (
    "one of psycopg (version 3) or asyncpg, or an (Async)Session or (Async)Connection of SQLAlchemy on one of these"
)


AsyncConnection: TypeAlias = (
    "psycopg.AsyncConnection[Any] | AsyncpgConnection | SqlAlchemyAsyncConnection | SqlAlchemyAsyncSession"
)
"""Connections whose methods are awaited."""
SyncConnection: TypeAlias = "psycopg.Connection[Any] | SqlAlchemyConnection | SqlAlchemySession"
"""Connections that block."""


def is_awaited(what: str, connection: object) -> bool:
    """Return whether the connection is awaited; otherwise it blocks. Unwrap a proxy first.

    Raises:
        ConfigurationError: The connection is of an unsupported kind. The message names `what`, the method called.
    """
    if is_async_sqlalchemy(connection) or class_names(connection) & (_ASYNC_PSYCOPG | _ASYNCPG):
        return True
    if is_sqlalchemy(connection) or class_names(connection) & _PSYCOPG:
        return False
    raise refusal(what, connection, "PostgreSQL", _WANTED)


async def run_awaited(what: str, connection: Any, schema: str, script: Script[T]) -> T:
    """Execute the script in the transaction of a connection that is awaited; return its result.

    Raises:
        ConfigurationError: SQLAlchemy uses an unsupported driver. The message names `what`, the method called.
        BackendError: The store failed.
    """
    with _all_translated(schema):
        if is_async_sqlalchemy(connection):
            connection = await async_driver_connection(what, connection)
        if class_names(connection) & _ASYNCPG:
            return await run_asyncpg(connection, script)
        if class_names(connection) & _ASYNC_PSYCOPG:
            return await run_async_psycopg(connection, script)
        raise _unknown_driver(what, connection, "make the engine with postgresql+psycopg:// or postgresql+asyncpg://")


def run_blocking(what: str, connection: Any, schema: str, script: Script[T]) -> T:
    """Execute the script in the transaction of a connection that blocks; return its result.

    Raises:
        ConfigurationError: SQLAlchemy uses an unsupported driver. The message names `what`, the method called.
        BackendError: The store failed.
    """
    with _all_translated(schema):
        if is_sqlalchemy(connection):
            connection = driver_connection(what, connection)
        if class_names(connection) & _PSYCOPG:
            return run_psycopg(connection, script)
        if class_names(connection) & (_ASYNC_PSYCOPG | _ASYNCPG):
            raise _unknown_driver(what, connection, "give the AsyncSession or AsyncConnection, and await the call")
        raise _unknown_driver(what, connection, "make the engine with postgresql+psycopg://")


@contextmanager
def _all_translated(schema: str) -> Generator[None]:
    """Turn the exceptions of any of the libraries into rexecutor's."""
    with translated(schema):
        try:
            yield
        except (RexecutorError, psycopg.Error):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not any(name.startswith("asyncpg.") for name in class_names(error)):
                raise
            what = (str(error).splitlines() or [""])[0] or type(error).__name__
            if getattr(error, "sqlstate", None) in _NO_TABLES:
                raise SchemaError(
                    f'schema "{schema}" lacks tables of this rexecutor ({what}); {advice_to_migrate(schema)}'
                ) from error
            raise BackendError(f"PostgreSQL: {what}") from error


def _unknown_driver(what: str, connection: object, advice: str) -> ConfigurationError:
    return ConfigurationError(f"{what}: SQLAlchemy runs on {class_name(connection)} there; {advice}")
