"""What of a condition SQLite writes in its own way."""

import sqlite3
from datetime import datetime, timedelta
from typing import Any, Final

from rexecutor.backend.sql.where import Dialect
from rexecutor.backend.sqlite.rows import stored
from rexecutor.model.codec import canonical
from rexecutor.model.status import OPEN, JobStatus


class SqliteDialect(Dialect):
    """JSON arrays through `json_each`; JSON values compared by a function of ours, `rexecutor_canonical`."""

    def is_member(self, column: str, name: str) -> str:
        """Whether the value is among those of the array."""
        return f"{column} IN (SELECT value FROM json_each(:{name}))"  # noqa: S608 - names of ours, not input

    def equals(self, column: str, name: str) -> str:
        """Whether they are the same text."""
        return f"{column} = :{name}"

    def is_json(self, column: str, name: str) -> str:
        """Whether they are the same value; the parameter is in canonical form already."""
        # As a BLOB: text that somebody has spoilt must not fail the call, and with it the page.
        return f"rexecutor_canonical(CAST({column} AS BLOB)) = :{name}"

    def is_tagged(self, name: str, *, by_all: bool) -> str:
        """Whether the sets of tags meet, or the one lacks none of the other."""
        wanted = f"SELECT value FROM json_each(:{name})"  # noqa: S608 - a name of ours, not input
        given = "SELECT value FROM json_each(CASE WHEN json_valid(tags) THEN tags ELSE '[]' END)"
        if by_all:
            return f"NOT EXISTS ({wanted} EXCEPT {given})"
        return f"EXISTS ({given} INTERSECT {wanted})"

    def statuses(self, statuses: frozenset[JobStatus]) -> str:
        """Whether it is one of them."""
        # Literals and `ended_at`, so that the planner sees that a partial index holds all of them.
        listed = ", ".join(f"'{status}'" for status in sorted(statuses))
        return f"status IN ({listed})" + (" AND ended_at IS NULL" if statuses <= OPEN else "")

    def scheduled(self, comparison: str, name: str, *, ago: bool) -> str:
        """Compare microseconds."""
        return f"scheduled_at {comparison} (:now - :{name})" if ago else f"scheduled_at {comparison} :{name}"

    def moment(self, value: datetime | timedelta) -> Any:
        """Answer microseconds."""
        return value // timedelta(microseconds=1) if isinstance(value, timedelta) else stored(value)


DIALECT: Final = SqliteDialect()


def add_functions(connection: sqlite3.Connection) -> None:
    """Give the connection what the conditions call."""
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()  # of the file, which may be the application's

    def of_blob(stored_json: bytes | None) -> str:
        try:
            return "null" if stored_json is None else canonical(stored_json.decode(encoding))
        except (ValueError, ArithmeticError):  # no text, or a number that is none: equal to nothing
            return ""

    connection.create_function("rexecutor_canonical", 1, of_blob, deterministic=True)
