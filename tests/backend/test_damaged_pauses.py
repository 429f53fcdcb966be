"""Rows of `pauses` that somebody has written by hand."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rexecutor import SQLiteBackend
from rexecutor.backend import Backend
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import NODE, Store, new_job
from tests.postgres import postgres_backend, run_postgres

NAMES = ("ever", "old", "late", "bare", "free")
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


async def check(backend: Backend, clock: FakeClock) -> None:
    """Check what such rows mean: what can be read counts, and nothing fails."""
    store = Store(backend, clock, lambda: backend, shares_store=False)
    await store.enqueue(*map(new_job, NAMES))
    store.heartbeat(NODE)

    found = {pause.executor: pause for pause in await backend.pauses()}
    claimed = await store.claim(executors=NAMES)
    again = await backend.pause("ever", "again")
    await backend.resume("late")
    store.close()

    assert sorted(found) == ["bare", "ever", "late", "old"]
    assert (found["ever"].until, found["late"].until, found["bare"].reason) == (None, None, "")
    assert (found["old"].since, found["late"].since) == (EARLIEST, LATEST)
    assert [job.executor for job in claimed] == ["free"]
    assert (again.until, again.reason) == (None, "again")


async def test_damaged_pauses_of_postgres_fail_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with postgres_backend(tmp_path, clock=clock) as backend:
        run_postgres(
            f"INSERT INTO {backend.schema}.pauses VALUES ('executor:ever', now(), 'infinity', 'x'),"
            " ('executor:old', '-infinity', NULL, 'x'), ('executor:late', 'infinity', '200000-01-01', 'x'),"
            " ('executor:bare', now(), NULL, NULL), ('flow:free', now(), NULL, NULL), ('free', now(), NULL, NULL),"
            " ('', now(), NULL, NULL),"
            " ('executor:free', now(), '-infinity', 'x')"
        )

        await check(backend, clock)


async def test_damaged_pauses_of_sqlite_fail_nothing(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "jobs.db"
    async with SQLiteBackend(path, clock=clock) as backend:
        most = 2**63 - 1
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany(
                "INSERT INTO rexecutor_pauses VALUES (?, ?, ?, ?)",
                [
                    ("executor:ever", 0, most, "x"),
                    ("executor:old", -most, None, "x"),
                    ("executor:late", most, most, "x"),
                    ("executor:bare", 0, None, None),
                    ("flow:free", 0, None, None),
                    ("free", 0, None, None),
                    ("", 0, None, None),
                    ("executor:free", 0, -most, "x"),
                ],
            )
            connection.execute(
                "INSERT INTO rexecutor_pauses VALUES (CAST(x'ff' AS TEXT), 0, NULL, CAST(x'ff' AS TEXT)),"
                " ('executor:' || CAST(x'ff' AS TEXT), 0, NULL, 'x')"
            )

        await check(backend, clock)
