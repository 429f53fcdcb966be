"""The ceiling on SQLite: bare `sqlite3` calls on one table with the columns of a job and two indexes.

The tables are its own, so that the ceiling stays where it is when rexecutor's schema changes.
"""

import json
import sqlite3
from typing import Final

from benchmarks.adapters.harness import TO, URL, BlockingAdapter, ran

BATCH: Final = 100
_TABLE: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, executor TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'scheduled', data TEXT NOT NULL,
    metadata TEXT, attempt INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL, priority INTEGER NOT NULL,
    tags TEXT NOT NULL, claims INTEGER NOT NULL DEFAULT 0, node TEXT, inserted_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL, completed_at INTEGER
);
CREATE INDEX jobs_due ON jobs (executor, priority, scheduled_at, id) WHERE status = 'scheduled';
CREATE INDEX jobs_scheduled ON jobs (executor, scheduled_at, id);
"""
_INSERT: Final = """
INSERT INTO jobs (executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at)
VALUES ('mail', ?, NULL, 5, 0, '[]', ?, ?)
"""
_CLAIM: Final = """
UPDATE jobs SET status = 'executing', attempt = attempt + 1, claims = claims + 1, node = 'bare'
WHERE id IN (
    SELECT id FROM jobs INDEXED BY jobs_due
    WHERE executor = 'mail' AND status = 'scheduled' AND scheduled_at <= ?
    ORDER BY priority, scheduled_at, id LIMIT ?
)
RETURNING id, data
"""
_COMPLETE: Final = "UPDATE jobs SET status = 'complete', node = NULL, completed_at = ? WHERE id = ?"


def payload(order: int) -> tuple[str, int, int]:
    return json.dumps({"to": TO, "order": order}), order, order


class BareSQLite(BlockingAdapter):
    def prepare(self) -> None:
        with sqlite3.connect(URL) as connection:
            connection.executescript(_TABLE)

    def open(self) -> None:
        self.connection = sqlite3.connect(URL, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")

    def enqueue(self, order: int) -> object:
        return self.connection.execute(_INSERT, payload(order))

    def enqueue_many(self, orders: range) -> object:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(_INSERT, map(payload, orders))
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
