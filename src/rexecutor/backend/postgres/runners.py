"""Executes scripts of statements with psycopg, sync or async, and with asyncpg.

A script is one change. On a connection in autocommit outside a transaction, it gets a transaction of its own. On any
other, it becomes part of the current transaction, or begins one that the application commits.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from rexecutor.backend.postgres.statements import Rows, Script, Statement
from rexecutor.errors import ConfigurationError

_PARAMETER: Final = re.compile(r"%\((\w+)\)s(::jsonb?\b)?|%%")

T = TypeVar("T")
PsycopgConnection: TypeAlias = "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]"


class AsyncpgConnection(Protocol):
    """The methods used of an asyncpg connection, or of the proxy that asyncpg's pool lends."""

    async def fetch(self, query: str, /, *args: Any) -> Any:
        """Execute the query and return its rows."""

    def is_in_transaction(self) -> bool:
        """Return whether the connection is in a transaction."""
        ...

    def transaction(self) -> Any:
        """Return a new transaction, to be entered with `async with`."""


def run_psycopg(connection: "psycopg.Connection[Any]", script: Script[T]) -> T:
    """Execute the script on a synchronous psycopg connection; return its result."""

    def run() -> T:
        try:
            statement = next(script)
            while True:
                # Not connection.execute: the application may have set other cursor and row factories.
                cursor = psycopg.Cursor(connection, row_factory=tuple_row)
                cursor.execute(statement.text, statement.parameters)
                statement = script.send(cursor.fetchall() if cursor.description else ())
        except StopIteration as done:
            return done.value

    if _commits_by_itself(connection):
        with connection.transaction():
            return run()
    return run()


async def run_async_psycopg(connection: "psycopg.AsyncConnection[Any]", script: Script[T]) -> T:
    """Execute the script on an async psycopg connection; return its result."""

    async def execute(statement: Statement) -> Rows:
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        await cursor.execute(statement.text, statement.parameters)
        return await cursor.fetchall() if cursor.description else ()

    if _commits_by_itself(connection):
        async with connection.transaction():
            return await run_script(script, execute)
    return await run_script(script, execute)


async def run_asyncpg(connection: AsyncpgConnection, script: Script[T]) -> T:
    """Execute the script on an asyncpg connection; return its result."""

    async def execute(statement: Statement) -> Rows:
        text, names = numbered(statement.text)
        return await connection.fetch(text, *(statement.parameters[name] for name in names))

    if connection.is_in_transaction():
        return await run_script(script, execute)
    transaction: AbstractAsyncContextManager[object] = connection.transaction()
    async with transaction:
        return await run_script(script, execute)


async def run_script(script: Script[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Execute each statement of the script with `execute`; return the script's result."""
    try:
        statement = next(script)
        while True:
            statement = script.send(await execute(statement))
    except StopIteration as done:
        return done.value


@cache
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the text with named parameters replaced by `$1`, `$2` and so on, and the names in that order.

    JSON is passed as text, because the application or SQLAlchemy may have set its own JSON codec in asyncpg.
    """
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name, cast = found.groups()
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}" + (f"::text{cast}" if cast else "")

    return _PARAMETER.sub(number, text), tuple(names)


def _commits_by_itself(connection: PsycopgConnection) -> bool:
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise ConfigurationError("psycopg: the connection is in pipeline mode; end the pipeline first")
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE
