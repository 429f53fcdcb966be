"""A store's tables changed by hand, behind the library's back."""

import json
import sqlite3
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, LiteralString, Self, cast

import psycopg

from rexecutor.model.job import JobId

Refused: Final = (sqlite3.Error, psycopg.Error, UnicodeError, OverflowError)
"""What a driver raises if the store itself does not take a value."""


class ManualSql:
    """A connection of one's own. In its statements `{jobs}`, `{nodes}` … are the tables, and `?` a parameter."""

    def __init__(self, store: str) -> None:
        url, _, self.schema = store.partition("#")
        self.is_postgres: Final = bool(self.schema)
        self._connection: Any = (
            psycopg.connect(url, autocommit=True, prepare_threshold=None)  # perhaps through a pooler
            if self.is_postgres
            else sqlite3.connect(store, isolation_level=None, timeout=20)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def run(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute a statement, and return its rows."""
        prefix = f'"{self.schema}".' if self.is_postgres else "rexecutor_"
        for table in ("jobs", "nodes", "schedules", "duties"):
            text = text.replace(f"{{{table}}}", prefix + table)
        if self.is_postgres and parameters:
            text = text.replace("?", "%s")
        cursor = self._connection.execute(cast("LiteralString", text), *([parameters] if parameters else []))
        return cursor.fetchall() if cursor.description else []

    def bypass_constraints(self) -> None:
        """Take all checks from the table of jobs, as long as its columns can hold the values at all."""
        if not self.is_postgres:
            self.run("PRAGMA ignore_check_constraints = ON")
            return
        found = self.run(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ?::regclass",
            f'"{self.schema}".jobs',
        )
        for (name,) in found:
            self.run(f'ALTER TABLE {{jobs}} DROP CONSTRAINT "{name}"')
        for column in ("executor", "data", "tags", "errors", "scheduled_at", "inserted_at", "max_attempts", "attempt"):
            self.run(f'ALTER TABLE {{jobs}} ALTER COLUMN "{column}" DROP NOT NULL')

    def put(self, executor: str, data: str | bytes, *, max_attempts: int, metadata: str | None = None) -> JobId:
        """Add a job that is due at once, and return its id. `bytes` are data that may not be UTF-8."""
        moment = time.time_ns() // 1_000
        columns = "executor, status, data, metadata, max_attempts, due"
        if self.is_postgres:
            text = f"INSERT INTO {{jobs}} ({columns}) VALUES (?, 'scheduled', ?, ?, ?, true) RETURNING id"
            return self.run(text, executor, data, metadata, max_attempts)[0][0]
        text = (
            f"INSERT INTO {{jobs}} ({columns}, inserted_at, scheduled_at)"
            " VALUES (?, 'scheduled', CAST(? AS TEXT), ?, ?, 1, ?, ?) RETURNING id"
        )
        return self.run(text, executor, data, metadata, max_attempts, moment, moment)[0][0]

    def make_retries_due(self) -> None:
        """Let no failed job wait for its next attempt."""
        past = "now()" if self.is_postgres else str(time.time_ns() // 1_000)
        self.run(f"UPDATE {{jobs}} SET scheduled_at = {past} WHERE status = 'retryable' AND scheduled_at > {past}")

    def statuses(self, ids: Sequence[JobId]) -> dict[JobId, tuple[str, int, str | None]]:
        """Return each job's status, its attempts and the kind of its last error."""
        listed = ",".join(map(str, ids)) or "NULL"
        text = "errors::text" if self.is_postgres else "errors"
        rows = self.run(f"SELECT id, status, attempt, {text} FROM {{jobs}} WHERE id IN ({listed})")
        return {row[0]: (row[1], row[2], _last_kind(row[3])) for row in rows}


def _last_kind(errors: str | None) -> str | None:
    try:
        return json.loads(errors or "[]")[-1]["kind"]
    except (ValueError, LookupError, TypeError):
        return None
