"""Executes statements and scripts on psycopg's connections, the application's own among them.

An application may have set other cursor and row factories, and registered its own loaders and dumpers, for its
connections, its pool or all of psycopg. Django, for example, has a loader that cuts the zone off every moment. So no
cursor is made by `connection.cursor` or `connection.execute`, and the cursors here use psycopg's own adapters.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from psycopg import postgres
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.array import register_all_arrays

from rexecutor.backend.postgres.rows import load_anyway
from rexecutor.backend.sql.operations import Rows, Script, Statement

T = TypeVar("T")


def _own_adapters() -> AdaptersMap:
    """Return adapters with what psycopg itself registers, and nothing that others have added since."""
    made = AdaptersMap()
    postgres.register_default_types(made.types)
    postgres.register_default_adapters(made)
    register_all_arrays(made)
    return made


class _Utf8Loader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data).decode(errors="replace")


def _without_encoding() -> AdaptersMap:
    """Return the adapters for a connection in SQL_ASCII, which is no encoding: psycopg would return texts as bytes."""
    made = AdaptersMap(_ADAPTERS)
    for kind in ("text", "varchar", "bpchar", "name"):
        made.register_loader(kind, _Utf8Loader)
    return made


_ADAPTERS: Final = _own_adapters()
_ADAPTERS_IN_SQL_ASCII: Final = _without_encoding()


class _Cursor(psycopg.Cursor[TupleRow]):
    @property
    def adapters(self) -> AdaptersMap:
        return _adapters_of(self.connection)


class _AsyncCursor(psycopg.AsyncCursor[TupleRow]):
    @property
    def adapters(self) -> AdaptersMap:
        return _adapters_of(self.connection)


def _adapters_of(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> AdaptersMap:
    return _ADAPTERS_IN_SQL_ASCII if connection.info.encoding == "ascii" else _ADAPTERS


async def run_script(script: Script[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Execute each statement of the script with `execute`; return the script's result."""
    try:
        statement = next(script)
        while True:
            statement = script.send(await execute(statement))
    except StopIteration as done:
        return done.value


async def run(connection: psycopg.AsyncConnection[Any], statement: Statement) -> Rows:
    """Execute the statement and return its rows; none if it returns no result set.

    Values come in PostgreSQL's binary format. psycopg reads it in half the time, and it does not depend on the
    session's DateStyle: psycopg reads a timestamptz as text only in the style ISO.
    """
    cursor = _AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute(statement.text, statement.parameters, binary=True)
    try:
        return await cursor.fetchall() if cursor.rownumber is not None else ()
    except psycopg.DataError:
        return load_anyway(cursor)


async def run_steps(connection: psycopg.AsyncConnection[Any], steps: Script[T]) -> T:
    """Execute the steps of a script, in the connection's transaction if it is in one; return the script's result."""
    return await run_script(steps, partial(run, connection))


def run_steps_sync(connection: psycopg.Connection[Any], steps: Script[T]) -> T:
    """Execute the steps of a script as `run_steps` does, on a synchronous connection."""
    try:
        statement = next(steps)
        while True:
            cursor = _Cursor(connection, row_factory=tuple_row)
            cursor.execute(statement.text, statement.parameters, binary=True)
            try:
                rows: Rows = cursor.fetchall() if cursor.rownumber is not None else ()
            except psycopg.DataError:
                rows = load_anyway(cursor)
            statement = steps.send(rows)
    except StopIteration as done:
        return done.value
