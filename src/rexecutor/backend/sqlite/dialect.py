"""SQLite's own forms of the conditions of `Where`."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from rexecutor.backend.sql.where import Dialect
from rexecutor.backend.sqlite.rows import stored
from rexecutor.model.codec import canonical, canonical_at
from rexecutor.model.status import OPEN, JobStatus


class SqliteDialect(Dialect):
    """Reads JSON arrays with `json_each` and compares JSON values with our SQL functions."""

    def is_member(self, column: str, name: str) -> str:
        """Return the condition that the value is in the array."""
        return f"{column} IN (SELECT value FROM json_each(:{name}))"  # noqa: S608 - our own names, not input

    def equals(self, column: str, name: str) -> str:
        """Return the condition that both are equal."""
        return f"{column} = :{name}"

    def is_json(self, column: str, name: str) -> str:
        """Return the condition that both are the same JSON value; the parameter is already canonical."""
        # As a BLOB: invalid text must not fail the call, and with it the whole page.
        return f"rexecutor_canonical(CAST({column} AS BLOB)) = :{name}"

    def has_at(self, path: tuple[str, ...], json: str, add: Callable[[Any], str]) -> str:
        """Return the condition that the data hold this JSON at the path."""
        steps = msgspec.json.encode(path).decode()
        return f"rexecutor_at(CAST(data AS BLOB), :{add(steps)}) = :{add(json)}"

    def has_error(self, name: str, *, is_last: bool) -> str:
        """Return the condition that one of the errors, or the last, is of the type."""
        errors = "CASE WHEN json_valid(errors) THEN errors ELSE '[]' END"
        if is_last:
            return f"json_extract({errors}, '$[#-1].type_name') IS :{name}"
        # A CASE, because the conditions of an AND may be evaluated in any order, and an element may be no JSON text.
        of_one = "CASE WHEN one.type = 'object' THEN json_extract(one.value, '$.type_name') END"
        return f"EXISTS (SELECT 1 FROM json_each({errors}) AS one WHERE {of_one} = :{name})"  # noqa: S608 - our own name

    def is_tagged(self, name: str, *, by_all: bool) -> str:
        """Return the condition that the job's tags overlap the array (`by_all`: contain all of it)."""
        wanted = f"SELECT value FROM json_each(:{name})"  # noqa: S608 - our own name, not input
        given = "SELECT value FROM json_each(CASE WHEN json_valid(tags) THEN tags ELSE '[]' END)"
        if by_all:
            return f"NOT EXISTS ({wanted} EXCEPT {given})"
        return f"EXISTS ({given} INTERSECT {wanted})"

    def statuses(self, statuses: frozenset[JobStatus]) -> str:
        """Return the condition that the status is one of these."""
        if statuses == frozenset({JobStatus.EXECUTING}):  # few of many jobs
            return "id IN (SELECT id FROM rexecutor_running) AND ended_at IS NULL"
        # Literals and `ended_at`, so that the planner sees that a partial index holds all of them.
        listed = ", ".join(f"'{status}'" for status in sorted(statuses))
        return f"status IN ({listed})" + (" AND ended_at IS NULL" if statuses <= OPEN else "")

    def compares(self, column: str, comparison: str, name: str, *, ago: bool) -> str:
        """Return the comparison of a column in microseconds."""
        return f"{column} {comparison} (:now - :{name})" if ago else f"{column} {comparison} :{name}"

    def moment(self, value: datetime | timedelta) -> Any:
        """Return a span in microseconds, or a moment in microseconds since 1970."""
        return value // timedelta(microseconds=1) if isinstance(value, timedelta) else stored(value)


DIALECT: Final = SqliteDialect()


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions that `SqliteDialect` calls on the connection, unless it has them.

    SQLite does not register a function again while the connection reads the rows of a query.
    """
    with suppress(sqlite3.OperationalError):
        connection.execute("SELECT rexecutor_at(NULL, NULL)").fetchall()
        return
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()  # of the file, which may be the application's

    # What is not text, or has an invalid number, equals nothing: the forms of JSON are never empty.

    def of_blob(stored_json: bytes | None) -> str:
        try:
            return "null" if stored_json is None else canonical(stored_json.decode(encoding))
        except (ValueError, ArithmeticError):
            return ""

    def at(stored_json: bytes | None, steps: str) -> str:
        try:
            return ("" if stored_json is None else canonical_at(stored_json.decode(encoding), _steps(steps))) or ""
        except (ValueError, ArithmeticError):
            return ""

    connection.create_function("rexecutor_canonical", 1, of_blob, deterministic=True)
    connection.create_function("rexecutor_at", 2, at, deterministic=True)


@lru_cache(maxsize=100)
def _steps(json: str) -> tuple[str, ...]:
    return msgspec.json.decode(json, type=tuple[str, ...])
