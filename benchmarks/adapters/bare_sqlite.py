"""The ceiling on SQLite: bare `sqlite3` calls on two tables, the jobs and a narrow queue of those that wait.

The tables are its own, so that the ceiling stays where it is when rexecutor's schema changes.
"""

import json
import sqlite3
from typing import Final

from benchmarks.adapters.harness import TO, URL, BlockingAdapter, ran

BATCH: Final = 100
_TABLES: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, executor TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'scheduled', data TEXT NOT NULL,
    metadata TEXT, attempt INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL, priority INTEGER NOT NULL,
    tags TEXT NOT NULL, claims INTEGER NOT NULL DEFAULT 0, inserted_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL, completed_at INTEGER
);
CREATE INDEX jobs_scheduled ON jobs (executor, scheduled_at, id);
CREATE TABLE queue (
    id INTEGER PRIMARY KEY, executor TEXT NOT NULL, priority INTEGER NOT NULL, scheduled_at INTEGER NOT NULL
);
CREATE INDEX queue_due ON queue (executor, priority, scheduled_at, id);
CREATE INDEX queue_open ON queue (executor, scheduled_at, id);
"""
_INSERT: Final = """
INSERT INTO jobs (id, executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at)
VALUES (?, 'mail', ?, NULL, 5, 0, '[]', ?, ?)
"""
_QUEUE: Final = "INSERT INTO queue (id, executor, priority, scheduled_at) VALUES (?, 'mail', 0, ?)"
_CLAIM: Final = """
DELETE FROM queue WHERE id IN (
    SELECT id FROM queue INDEXED BY queue_due WHERE executor = 'mail' AND scheduled_at <= ?
    ORDER BY priority, scheduled_at, id LIMIT ?
)
RETURNING id, (SELECT data FROM jobs WHERE jobs.id = queue.id)
"""
_COMPLETE: Final = """
UPDATE jobs SET status = 'complete', attempt = attempt + 1, claims = claims + 1, completed_at = ? WHERE id = ?
"""


class BareSQLite(BlockingAdapter):
    def prepare(self) -> None:
        with sqlite3.connect(URL) as connection:
            connection.executescript(_TABLES)

    def open(self) -> None:
        self.connection = sqlite3.connect(URL, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")

    def enqueue(self, order: int) -> object:
        return self.enqueue_many(range(order, order + 1))

    def enqueue_many(self, orders: range) -> object:
        self.connection.execute("BEGIN IMMEDIATE")
        (last,) = self.connection.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()
        jobs = list(enumerate(orders, last + 1))
        payloads = ((job, json.dumps({"to": TO, "order": order}), order, order) for job, order in jobs)
        self.connection.executemany(_INSERT, payloads)
        self.connection.executemany(_QUEUE, jobs)
        return self.connection.execute("COMMIT")

    def left(self) -> int:
        row = self.connection.execute("SELECT count(*) FROM jobs WHERE status <> 'complete'").fetchone()
        return int(row[0])

    def work(self) -> object:
        done: list[tuple[int, int]] = []
        while True:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(_COMPLETE, done)
            rows = self.connection.execute(_CLAIM, (2**62, BATCH)).fetchall()
            self.connection.execute("COMMIT")
            if not rows:
                return None
            for _, data in rows:
                ran(json.loads(data)["order"])
            done = [(1, int(job)) for job, _ in rows]


ADAPTER = BareSQLite
