"""Rows of an SQLite file: changed by hand, behind the library's back, and compared with each other."""

import re
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from rexecutor.backend.sqlite.rows import stored
from rexecutor.model.job import JobId

_TABLES = ("rexecutor_stored_jobs", "rexecutor_queue", "rexecutor_running")


def change_job(connection: sqlite3.Connection, job_id: JobId, change: str) -> None:
    """Change a job's columns in each table that holds them, whatever the checks say.

    Args:
        connection: The connection, which need not commit by itself.
        job_id: The job.
        change: The right side of `UPDATE … SET`.
    """
    values = dict(part.split(" = ", 1) for part in re.split(r", (?=\w+ = )", change))
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for table in _TABLES:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if held := [f"{column} = {value}" for column, value in values.items() if column in columns]:
            connection.execute(f"UPDATE {table} SET {', '.join(held)} WHERE id = ?", (job_id,))
    connection.execute("PRAGMA ignore_check_constraints = OFF")


_MISPLACED = """
SELECT id, why FROM (
    SELECT job.id, CASE
        WHEN run.id IS NOT NULL AND waiting.id IS NOT NULL THEN 'runs and waits'
        WHEN run.id IS NOT NULL AND (job.ended_at IS NOT NULL OR job.status NOT IN ('scheduled', 'retryable'))
            THEN 'runs and has ended'
        WHEN run.id IS NOT NULL AND run.claims <= job.claims THEN 'runs under a claim that is over'
        WHEN run.id IS NOT NULL AND run.executor <> job.executor THEN 'runs for another executor'
        WHEN run.id IS NOT NULL THEN NULL
        WHEN job.status NOT IN ('scheduled', 'retryable')
            THEN CASE WHEN waiting.id IS NOT NULL THEN 'has ended and waits' END
        WHEN waiting.id IS NULL THEN 'waits in no queue'
        WHEN waiting.executor <> job.executor OR waiting.priority <> job.priority THEN 'waits as another'
        WHEN waiting.scheduled_at <> job.scheduled_at THEN 'waits for another moment'
        WHEN waiting.due AND waiting.scheduled_at > :now THEN 'is due too early'
        WHEN waiting.expires_at IS NOT CASE WHEN job.attempt = 0 AND job.snoozes = 0 THEN job.expires_at END
            THEN 'expires at another moment'
    END AS why
    FROM rexecutor_stored_jobs AS job
    LEFT JOIN rexecutor_running AS run ON run.id = job.id
    LEFT JOIN rexecutor_queue AS waiting ON waiting.id = job.id
    UNION ALL
    SELECT id, 'runs and is not stored' FROM rexecutor_running WHERE id NOT IN (SELECT id FROM rexecutor_stored_jobs)
    UNION ALL
    SELECT id, 'waits and is not stored' FROM rexecutor_queue WHERE id NOT IN (SELECT id FROM rexecutor_stored_jobs)
) WHERE why IS NOT NULL
"""


def misplaced(path: Path, now: datetime | None = None) -> list[tuple[JobId, str]]:
    """Return the jobs whose rows contradict each other: each must wait, run, or have ended, and in one place only.

    Args:
        path: The file.
        now: The store's time, unless it has gone back: no job may be due that is scheduled for later.
    """
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(_MISPLACED, {"now": 2**63 - 1 if now is None else stored(now)}).fetchall()
