"""The measured work, done by bare `sqlite3` calls on the same tables: what the machine and SQLite allow."""

import json
import sqlite3
from pathlib import Path
from time import perf_counter

DATA = '{"to":"bob@example.com","order":12345}'
_INSERT = """
INSERT INTO rexecutor_stored_jobs
    (executor, status, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at)
VALUES (?, 'scheduled', ?, NULL, 5, 0, '[]', ?, ?)
"""
_QUEUE = "INSERT INTO rexecutor_queue (executor, scheduled_at, priority, due) VALUES (?, ?, 0, 1)"
_HEADS = """
SELECT id FROM rexecutor_queue INDEXED BY rexecutor_queue_due
WHERE executor = ? AND due = 1 AND flow IS NULL AND scheduled_at <= ?
ORDER BY priority, scheduled_at, id LIMIT ?
"""
_DEQUEUE = "DELETE FROM rexecutor_queue WHERE id = ?"
_START = """
INSERT INTO rexecutor_running (id, claims, attempted_at, attempt, node, executor)
SELECT id, claims + 1, 1, attempt + 1, 'bare', executor FROM rexecutor_stored_jobs WHERE id = ?
"""
_READ = "SELECT id, data, attempt + 1 FROM rexecutor_stored_jobs WHERE id IN (SELECT value FROM json_each(?))"
_COMPLETE = """
UPDATE rexecutor_stored_jobs SET status = 'complete', attempt = 1, claims = 1, attempted_at = 1, completed_at = 1
WHERE id = ?
"""
_STOP = "DELETE FROM rexecutor_running WHERE id = ?"


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
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_INSERT, (executor, DATA, number, number))
        connection.execute(_QUEUE, (executor, number))
        connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.close()
    return seconds


def enqueue_many(path: Path, executor: str, jobs: int) -> float:
    """Insert all jobs by `executemany` in one transaction. Return the seconds."""
    connection = connect(path)
    began = perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_INSERT, [(executor, DATA, number, number) for number in range(jobs)])
    connection.executemany(_QUEUE, [(executor, number) for number in range(jobs)])
    connection.execute("COMMIT")
    seconds = perf_counter() - began
    connection.close()
    return seconds


def drain(path: Path, executor: str, batch: int) -> float:
    """Claim and complete all jobs, a batch in each transaction, decoding the data. Return the seconds."""
    connection = connect(path)
    done: list[tuple[int]] = []
    began = perf_counter()
    while True:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_COMPLETE, done)
        connection.executemany(_STOP, done)
        heads = connection.execute(_HEADS, (executor, 2**62, batch)).fetchall()
        connection.executemany(_DEQUEUE, heads)
        connection.executemany(_START, heads)
        rows = connection.execute(_READ, (json.dumps([job_id for (job_id,) in heads]),)).fetchall()
        connection.execute("COMMIT")
        if not rows:
            break
        done = [(job_id,) for job_id, data, _ in rows if json.loads(data)]
    seconds = perf_counter() - began
    connection.close()
    return seconds
