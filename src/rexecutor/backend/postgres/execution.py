"""Executes statements and scripts on psycopg's connections, the application's own among them.

An application may have set other factories of cursors and rows for its connections and its pool. So no cursor is made
by `connection.cursor` or `connection.execute`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg.rows import tuple_row

from rexecutor.backend.postgres.rows import load_anyway
from rexecutor.backend.sql.operations import Rows, Script, Statement

T = TypeVar("T")


async def run_script(script: Script[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Execute each statement of the script with `execute`; return the script's result."""
    try:
        statement = next(script)
        while True:
            statement = script.send(await execute(statement))
    except StopIteration as done:
        return done.value


async def run(connection: psycopg.AsyncConnection[Any], statement: Statement, *, binary: bool = False) -> Rows:
    """Execute the statement and return its rows; none if it returns no result set.

    `binary`: the driver reads many rows of numbers and moments in half of the time if they come as such.
    """
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute(statement.text, statement.parameters, binary=binary)
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
            cursor = psycopg.Cursor(connection, row_factory=tuple_row)
            cursor.execute(statement.text, statement.parameters)
            try:
                rows: Rows = cursor.fetchall() if cursor.rownumber is not None else ()
            except psycopg.DataError:
                rows = load_anyway(cursor)
            statement = steps.send(rows)
    except StopIteration as done:
        return done.value
