"""Who executes a script: psycopg, with or without a loop, or asyncpg.

A connection that commits each statement by itself gets a transaction around them, for they are one change; on any
other they become part of the transaction that it is in, or begins.
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
    """What is used of a connection of asyncpg, or of its pool's."""

    async def fetch(self, query: str, /, *args: Any) -> Any:
        """Execute; answer the rows."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction has begun."""
        ...

    def transaction(self) -> Any:
        """Answer a transaction, to be entered."""


def run_psycopg(connection: "psycopg.Connection[Any]", script: Script[T]) -> T:
    """Execute the statements, and block."""

    def run() -> T:
        try:
            statement = next(script)
            while True:
                # Not connection.execute: the application may have chosen other cursors and rows.
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
    """Execute the statements."""

    async def execute(statement: Statement) -> Rows:
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        await cursor.execute(statement.text, statement.parameters)
        return await cursor.fetchall() if cursor.description else ()

    if _commits_by_itself(connection):
        async with connection.transaction():
            return await run_script(script, execute)
    return await run_script(script, execute)


async def run_asyncpg(connection: AsyncpgConnection, script: Script[T]) -> T:
    """Execute the statements."""

    async def execute(statement: Statement) -> Rows:
        text, names = numbered(statement.text)
        return await connection.fetch(text, *(statement.parameters[name] for name in names))

    if connection.is_in_transaction():
        return await run_script(script, execute)
    transaction: AbstractAsyncContextManager[object] = connection.transaction()
    async with transaction:
        return await run_script(script, execute)


async def run_script(script: Script[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Execute the statements of the script, each by `execute`; answer what the script does."""
    try:
        statement = next(script)
        while True:
            statement = script.send(await execute(statement))
    except StopIteration as done:
        return done.value


@cache
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Answer the text with `$1` for the first named parameter and so on, and their names in that order.

    JSON goes as text: the application, or SQLAlchemy, may have told asyncpg to encode JSON in a way of its own.
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
