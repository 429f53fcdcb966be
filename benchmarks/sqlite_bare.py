"""The measured work, done by bare `sqlite3` calls on the same tables: what the machine and SQLite allow."""

import json
import sqlite3
from pathlib import Path
from time import perf_counter

DATA = '{"to":"bob@example.com","order":12345}'
_INSERT = """
INSERT INTO rexecutor_jobs
    (executor, status, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, due)
VALUES (?, 'scheduled', ?, NULL, 5, 0, '[]', ?, ?, 1)
"""
_CLAIM = """
UPDATE rexecutor_jobs SET status = 'executing', due = 0, attempt = attempt + 1, claims = claims + 1, node = 'bare'
WHERE id IN (
    SELECT id FROM rexecutor_jobs INDEXED BY rexecutor_jobs_due
    WHERE executor = ? AND due = 1 AND scheduled_at <= ?
    ORDER BY priority, scheduled_at, id LIMIT ?
)
RETURNING id, data, attempt
"""
_COMPLETE = "UPDATE rexecutor_jobs SET status = 'complete', node = NULL, completed_at = ? WHERE id = ?"


def connect(path: Path) -> sqlite3.Connection:
    """Open the file as the backend does."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def enqueue_one_by_one(path: Path, executor: str, jobs: int) -> float:
    """Insert each job in a transaction of its own. Return the seconds."""
    connection = connect(path)
    began = perf_counter()
    for number in range(jobs):
        connection.execute(_INSERT, (executor, DATA, number, number))
    seconds = perf_counter() - began
    connection.close()
    return seconds


def enqueue_many(path: Path, executor: str, jobs: int) -> float:
    """Insert all jobs by `executemany` in one transaction. Return the seconds."""
    connection = connect(path)
    began = perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_INSERT, [(executor, DATA, number, number) for number in range(jobs)])
    connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.close()
    return seconds


def drain(path: Path, executor: str, batch: int) -> float:
    """Claim and complete all jobs, a batch in each transaction, decoding the data. Return the seconds."""
    connection = connect(path)
    done: list[tuple[int, int]] = []
    began = perf_counter()
    while True:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_COMPLETE, done)
        rows = connection.execute(_CLAIM, (executor, 2**62, batch)).fetchall()
        connection.execute("COMMIT")
        if not rows:
            break
        done = [(1, job_id) for job_id, data, _ in rows if json.loads(data)]
    seconds = perf_counter() - began
    connection.close()
    return seconds
