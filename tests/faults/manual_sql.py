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


BY_HAND: Final = """
CREATE OR REPLACE FUNCTION {schema}.by_hand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM {schema}.queue WHERE id = OLD.id;
    DELETE FROM {schema}.running WHERE id = OLD.id;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM {schema}.stored_jobs WHERE id = OLD.id;
        RETURN OLD;
    END IF;
    UPDATE {schema}.stored_jobs SET
        executor = NEW.executor, status = CASE WHEN NEW.status = 'executing' THEN 'scheduled' ELSE NEW.status END,
        data = NEW.data, metadata = NEW.metadata, attempt = NEW.attempt, max_attempts = NEW.max_attempts,
        priority = NEW.priority, tags = NEW.tags, errors = NEW.errors, claims = NEW.claims, snoozes = NEW.snoozes,
        losses = NEW.losses, unique_key = NEW.unique_key, revision = NEW.revision, inserted_at = NEW.inserted_at,
        scheduled_at = NEW.scheduled_at, attempted_at = NEW.attempted_at, completed_at = NEW.completed_at
    WHERE id = NEW.id;
    IF NEW.status = 'executing' OR NEW.node IS NOT NULL OR NEW.cancel_reason IS NOT NULL THEN
        INSERT INTO {schema}.running (id, claims, attempted_at, attempt, node, executor, cancel_reason)
        VALUES (NEW.id, NEW.claims, NEW.attempted_at, NEW.attempt, NEW.node, NEW.executor, NEW.cancel_reason);
    END IF;
    IF NEW.status <> 'executing' AND (NEW.due OR NEW.status IN ('scheduled', 'retryable')) THEN
        INSERT INTO {schema}.queue (id, executor, scheduled_at, priority, due)
        VALUES (NEW.id, NEW.executor, NEW.scheduled_at, NEW.priority, NEW.due);
    END IF;
    RETURN NEW;
END $$
"""
"""Has PostgreSQL's tables say what a change of its view of the jobs means, nonsense included."""


BY_HAND_IN_SQLITE: Final = (
    """
    CREATE TEMP TRIGGER by_hand_deleted INSTEAD OF DELETE ON rexecutor_jobs BEGIN
        DELETE FROM rexecutor_queue WHERE id = OLD.id;
        DELETE FROM rexecutor_running WHERE id = OLD.id;
        DELETE FROM rexecutor_stored_jobs WHERE id = OLD.id;
    END
    """,
    """
    CREATE TEMP TRIGGER by_hand_updated INSTEAD OF UPDATE ON rexecutor_jobs BEGIN
        DELETE FROM rexecutor_queue WHERE id = OLD.id;
        DELETE FROM rexecutor_running WHERE id = OLD.id;
        UPDATE rexecutor_stored_jobs SET
            executor = NEW.executor, status = CASE NEW.status WHEN 'executing' THEN 'scheduled' ELSE NEW.status END,
            data = NEW.data, metadata = NEW.metadata, attempt = NEW.attempt, max_attempts = NEW.max_attempts,
            priority = NEW.priority, tags = NEW.tags, errors = NEW.errors, claims = NEW.claims, snoozes = NEW.snoozes,
            losses = NEW.losses, unique_key = NEW.unique_key, revision = NEW.revision, inserted_at = NEW.inserted_at,
            scheduled_at = NEW.scheduled_at, attempted_at = NEW.attempted_at, completed_at = NEW.completed_at
        WHERE id = NEW.id;
        INSERT INTO rexecutor_running (id, claims, attempted_at, attempt, node, executor, cancel_reason)
        SELECT NEW.id, NEW.claims, coalesce(NEW.attempted_at, 0), NEW.attempt, NEW.node, NEW.executor, NEW.cancel_reason
        WHERE NEW.status = 'executing' OR NEW.node IS NOT NULL OR NEW.cancel_reason IS NOT NULL;
        INSERT INTO rexecutor_queue (id, executor, scheduled_at, priority, due)
        SELECT NEW.id, NEW.executor, NEW.scheduled_at, NEW.priority, coalesce(NEW.due, 0)
        WHERE NEW.status <> 'executing' AND (NEW.due OR NEW.status IN ('scheduled', 'retryable'));
    END
    """,
)
"""Has SQLite's tables say what a change of its view of the jobs means, nonsense included."""


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
            for trigger in BY_HAND_IN_SQLITE:
                self.run(trigger)
            return
        schema = f'"{self.schema}"'
        self.run(f"ALTER TABLE {schema}.stored_jobs DROP CONSTRAINT IF EXISTS jobs_sound")
        for table in ("stored_jobs", "queue", "running"):
            found = self.run(
                "SELECT attname FROM pg_attribute WHERE attrelid = ?::regclass AND attnum > 0 AND attname <> 'id'"
                " AND attnotnull",
                f"{schema}.{table}",
            )
            for (column,) in found:
                self.run(f'ALTER TABLE {schema}.{table} ALTER COLUMN "{column}" DROP NOT NULL')
        self.run(BY_HAND.replace("{schema}", schema))
        self.run(
            "CREATE OR REPLACE TRIGGER by_hand INSTEAD OF UPDATE OR DELETE ON {jobs} FOR EACH ROW"
            f" EXECUTE FUNCTION {schema}.by_hand()"
        )

    def put(self, executor: str, data: str | bytes, *, max_attempts: int, metadata: str | None = None) -> JobId:
        """Add a job that is due at once, and return its id. `bytes` are data that may not be UTF-8."""
        moment = time.time_ns() // 1_000
        if self.is_postgres:
            text = (
                f'WITH job AS (INSERT INTO "{self.schema}".stored_jobs (executor, data, metadata, max_attempts)'
                f' VALUES (?, ?, ?, ?) RETURNING *), queued AS (INSERT INTO "{self.schema}".queue'
                " (id, executor, scheduled_at, priority, due)"
                " SELECT id, executor, scheduled_at, priority, true FROM job) SELECT id FROM job"
            )
            return self.run(text, executor, data, metadata, max_attempts)[0][0]
        text = (
            "INSERT INTO rexecutor_stored_jobs (executor, data, metadata, max_attempts, inserted_at, scheduled_at)"
            " VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?) RETURNING id"
        )
        queue = "INSERT INTO rexecutor_queue (id, executor, scheduled_at, priority, due) VALUES (?, ?, ?, 0, 1)"
        self.run("BEGIN IMMEDIATE")
        try:
            job_id = self.run(text, executor, data, metadata, max_attempts, moment, moment)[0][0]
            self.run(queue, job_id, executor, moment)
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")
        return job_id

    def make_retries_due(self) -> None:
        """Let no failed job wait for its next attempt."""
        if self.is_postgres:
            self.run(f'UPDATE "{self.schema}".queue SET scheduled_at = now() WHERE scheduled_at > now()')
        else:
            now = str(time.time_ns() // 1_000)
            self.run(f"UPDATE rexecutor_queue SET scheduled_at = {now} WHERE scheduled_at > {now}")

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
