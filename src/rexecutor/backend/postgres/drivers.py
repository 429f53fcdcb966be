"""Executes scripts on the application's own connection, with psycopg, sync or async, or asyncpg.

Libraries are recognised by the names of their classes, so that those that the application does not use are not
imported. A script is one change. On a connection in autocommit outside a transaction, it gets a transaction of its own.
On any other, it becomes part of the current transaction, or begins one that the application commits.
"""

import json
import re
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from rexecutor.backend.django_connection import (
    DjangoConnection,
    advised_to_migrate,
    django_driver_connection,
    is_django,
    report_to_django,
)
from rexecutor.backend.postgres.connection import lacks_tables, translated
from rexecutor.backend.postgres.execution import run_script, run_steps, run_steps_sync
from rexecutor.backend.sql.operations import Rows, Script, Statement
from rexecutor.backend.unwrapping import (
    SqlAlchemyAsyncConnection,
    SqlAlchemyAsyncSession,
    SqlAlchemyConnection,
    SqlAlchemySession,
    async_driver_connection,
    class_name,
    class_names,
    driver_connection,
    first_line,
    is_async_sqlalchemy,
    is_sqlalchemy,
    refusal,
)
from rexecutor.errors import BackendError, ConfigurationError, RexecutorError

T = TypeVar("T")
PsycopgConnection: TypeAlias = "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]"
_PARAMETER: Final = re.compile(r"%\((\w+)\)s(::(?:jsonb?|timestamptz|interval)\b(\[\])?)?|%%")
_SELECTS: Final = re.compile(r"(?:\s*--[^\n]*\n)*\s*SELECT\b")
_PSYCOPG: Final = {"psycopg.Connection"}
_ASYNC_PSYCOPG: Final = {"psycopg.AsyncConnection"}
_ASYNCPG: Final = {"asyncpg.connection.Connection", "asyncpg.pool.PoolConnectionProxy"}
_AS_JSON: Final = "SELECT row_to_json(q)::text FROM"
_MICROSECOND: Final = timedelta(microseconds=1)
_NO_TABLES: Final = {"42P01", "3F000", "42883"}
_SUPPORTED: Final = (
    "one of psycopg (version 3) or asyncpg, an (Async)Session or (Async)Connection of SQLAlchemy on one of these, or"
    " Django's"
)


class AsyncpgConnection(Protocol):
    """The methods used of an asyncpg connection, or of the proxy that asyncpg's pool lends."""

    async def fetch(self, query: str, /, *args: Any) -> Any:
        """Execute the query and return its rows."""

    def is_in_transaction(self) -> bool:
        """Return whether the connection is in a transaction."""
        ...

    def transaction(self) -> Any:
        """Return a new transaction, to be entered with `async with`."""


AsyncConnection: TypeAlias = (
    "psycopg.AsyncConnection[Any] | AsyncpgConnection | SqlAlchemyAsyncConnection | SqlAlchemyAsyncSession"
)
"""Connections whose methods are awaited."""
SyncConnection: TypeAlias = "psycopg.Connection[Any] | SqlAlchemyConnection | SqlAlchemySession | DjangoConnection"
"""Connections that block."""


def is_awaited(what: str, connection: object) -> bool:
    """Return whether the connection is awaited; otherwise it blocks. Unwrap a proxy first.

    Raises:
        ConfigurationError: The connection is of an unsupported kind. The message names `what`, the method called.
    """
    if is_async_sqlalchemy(connection) or class_names(connection) & (_ASYNC_PSYCOPG | _ASYNCPG):
        return True
    if is_django(connection) or is_sqlalchemy(connection) or class_names(connection) & _PSYCOPG:
        return False
    raise refusal(what, connection, "PostgreSQL", _SUPPORTED)


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
        ConfigurationError: Django or SQLAlchemy uses an unsupported driver, or cannot give its connection; nothing was
            sent. The message names `what`, the method called.
        BackendError: The store failed.
    """
    with advised_to_migrate(connection), _all_translated(schema):
        if is_django(connection):
            return _run_django(what, connection, script)
        if is_sqlalchemy(connection):
            connection = driver_connection(what, connection)
        if class_names(connection) & _PSYCOPG:
            return run_psycopg(connection, script)
        if class_names(connection) & (_ASYNC_PSYCOPG | _ASYNCPG):
            raise _unknown_driver(what, connection, "give the AsyncSession or AsyncConnection, and await the call")
        raise _unknown_driver(what, connection, "make the engine with postgresql+psycopg://")


def _run_django(what: str, connection: Any, script: Script[T]) -> T:
    driver = django_driver_connection(what, connection, "postgresql")
    if not class_names(driver) & _PSYCOPG:
        raise refusal(what, driver, "PostgreSQL", "a connection of Django on psycopg (version 3)")
    try:
        return run_psycopg(driver, script)
    except BaseException as error:  # an interrupted statement fails the transaction too
        has_failed = driver.info.transaction_status in (TransactionStatus.INERROR, TransactionStatus.UNKNOWN)
        report_to_django(connection, error, is_lost=has_failed or not isinstance(error, RexecutorError))
        raise


def run_psycopg(connection: "psycopg.Connection[Any]", script: Script[T]) -> T:
    """Execute the script on a synchronous psycopg connection; return its result."""
    if _commits_by_itself(connection):
        with connection.transaction():
            return run_steps_sync(connection, script)
    return run_steps_sync(connection, script)


async def run_async_psycopg(connection: "psycopg.AsyncConnection[Any]", script: Script[T]) -> T:
    """Execute the script on an async psycopg connection; return its result."""
    if _commits_by_itself(connection):
        async with connection.transaction():
            return await run_steps(connection, script)
    return await run_steps(connection, script)


async def run_asyncpg(connection: AsyncpgConnection, script: Script[T]) -> T:
    """Execute the script on an asyncpg connection; return its result."""

    async def execute(statement: Statement) -> Rows:
        text, names = numbered(statement.text)
        rows = await connection.fetch(text, *(_without_codecs(statement.parameters[name]) for name in names))
        return [_values(row[0]) for row in rows] if text.startswith(_AS_JSON) else rows

    if connection.is_in_transaction():
        return await run_script(script, execute)
    transaction: AbstractAsyncContextManager[object] = connection.transaction()
    async with transaction:
        return await run_script(script, execute)


@cache
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the text with named parameters replaced by `$1`, `$2` and so on, and the names in that order.

    The application or SQLAlchemy may have set codecs of their own in asyncpg. So JSON, moments and spans of time are
    passed as text, and a query returns each of its rows as the text of a JSON object.
    """
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name, kind, array = found.groups(default="")
        if not name:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}" + (f"::text{array}{kind}" if kind else "")

    with_numbers = _PARAMETER.sub(number, text)
    if _SELECTS.match(text):
        with_numbers = f"{_AS_JSON} ({with_numbers}\n) AS q"
    return with_numbers, tuple(names)


def _without_codecs(value: Any) -> Any:
    match value:
        case list():
            return [_without_codecs(one) for one in cast("list[object]", value)]
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value // _MICROSECOND} microseconds"
        case _:
            return value


def _values(row: str) -> tuple[Any, ...]:
    """Return the values of a row of JSON in their order; some may have the same name."""
    return json.loads(row, object_pairs_hook=lambda pairs: tuple(value for _, value in pairs))


def _commits_by_itself(connection: PsycopgConnection) -> bool:
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise ConfigurationError("psycopg: the connection is in pipeline mode; end the pipeline first")
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE


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
            if getattr(error, "sqlstate", None) in _NO_TABLES:
                raise lacks_tables(schema, first_line(error)) from error
            raise BackendError(f"PostgreSQL: {first_line(error)}") from error


def _unknown_driver(what: str, connection: object, advice: str) -> ConfigurationError:
    return ConfigurationError(f"{what}: SQLAlchemy runs on {class_name(connection)} there; {advice}")
