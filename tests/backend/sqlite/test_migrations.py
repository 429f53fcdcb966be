"""SQLite's migrations: a file that an older version made goes on working, and becomes what a new one is."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from rexecutor import BackendError, JobStatus, SQLiteBackend, UniquenessCriteria
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sql import migrations
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.status import ENDED, WAITING
from rexecutor.model.where import Everything
from rexecutor.testing.clock import START, FakeClock
from rexecutor.testing.suite.store import HOUR, LEASE, failed, new_job
from tests.model.records import record_in

PACKAGE = "rexecutor.backend.sqlite"
STEPS = (
    *migrations(PACKAGE),
    (len(migrations(PACKAGE)) + 1, "ALTER TABLE rexecutor_nodes ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"),
    (
        len(migrations(PACKAGE)) + 2,
        "CREATE TABLE rexecutor_colours (name TEXT);\nCREATE INDEX rexecutor_colours_name ON rexecutor_colours (name);",
    ),
)
"""The migrations, and two that a later release might have."""


def release(monkeypatch: pytest.MonkeyPatch, steps: tuple[tuple[int, str], ...]) -> None:
    """Let this be a release with these migrations."""

    def migrations_of(package: str) -> tuple[tuple[int, str], ...]:
        assert package == PACKAGE
        return steps

    monkeypatch.setattr("rexecutor.backend.sqlite.connection.migrations", migrations_of)


@pytest.fixture(autouse=True)
def later_release(monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, STEPS)


def make_file(path: Path, version: int) -> None:
    """Make a file as the release with that many migrations did."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rexecutor_schema (version INTEGER PRIMARY KEY) STRICT")
        for number, script in STEPS[:version]:
            connection.executescript(script)
            connection.execute("INSERT INTO rexecutor_schema (version) VALUES (?)", (number,))
        connection.commit()


INSERT = """
INSERT INTO rexecutor_stored_jobs (
    id, executor, status, data, attempt, max_attempts, errors, claims, inserted_at, scheduled_at, attempted_at,
    completed_at, cancelled_at, discarded_at
) VALUES (?, ?, ?, 'null', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
QUEUE = """
INSERT INTO rexecutor_queue (id, executor, scheduled_at, priority, due)
SELECT id, executor, scheduled_at, priority, 1 FROM rexecutor_stored_jobs WHERE id = ?
"""
RUN = """
INSERT INTO rexecutor_running (id, claims, attempted_at, attempt, node, executor)
SELECT id, claims, attempted_at, attempt, ?, executor FROM rexecutor_stored_jobs WHERE id = ?
"""


def fill(path: Path) -> list[JobRecord]:
    """Put a job in each status into a file, in the words of version 1, and return what they are to be read as."""
    records = [record_in(status, id=number, executor=status) for number, status in enumerate(JobStatus, 1)]
    start = int(START.timestamp()) * 1_000_000
    with closing(sqlite3.connect(path)) as connection:
        for one in records:
            errors = [
                {"attempt": 1, "kind": error.kind, "type_name": error.type_name, "details": error.details}
                | {"recorded_at": "2026-01-01T00:00:00Z"}
                for error in one.errors
            ]
            ends = (one.attempted_at, one.completed_at, one.cancelled_at, one.discarded_at)
            moments = (start, start, *(None if moment is None else start for moment in ends))
            counts = (one.attempt, one.max_attempts, json.dumps(errors), one.claims)
            runs = one.status is JobStatus.EXECUTING
            connection.execute(INSERT, (one.id, one.executor, "scheduled" if runs else one.status, *counts, *moments))
            if runs:
                connection.execute(RUN, (one.node, one.id))
            elif one.status.is_waiting:
                connection.execute(QUEUE, (one.id,))
        lease_until = start + LEASE // timedelta(microseconds=1)
        connection.execute(
            "INSERT INTO rexecutor_nodes (id, name, doorbell, started_at, lease_until)"
            " VALUES ('node-1', 'host', NULL, ?, ?)",
            (start, lease_until),
        )
        connection.commit()
    return [replace(one, revision=0) for one in records]


def schema(path: Path) -> list[tuple[str, str, str]]:
    """Return all tables, views and indexes, with columns and their types, but not the text that made them."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        ).fetchall()
        described: list[tuple[str, str, str]] = []
        for kind, name, text in names:
            pragma = "index_xinfo" if kind == "index" else "table_xinfo"
            columns = connection.execute(f"PRAGMA {pragma}({name})").fetchall()
            where = text.partition(" WHERE ")[2] if kind == "index" else ""
            described.append((kind, name, f"{columns} {where}"))
    return sorted(described)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "jobs.db"
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def open_file(path: Path) -> SQLiteBackend:
    return SQLiteBackend(path, clock=FakeClock())


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
async def test_a_file_of_any_version_becomes_what_a_new_file_is(path: Path, version: int) -> None:
    fresh = path.with_name("fresh.db")
    async with open_file(fresh):
        pass
    make_file(path, version)

    async with open_file(path):
        pass

    assert schema(path) == schema(fresh)
    with closing(sqlite3.connect(path)) as connection:
        versions = connection.execute("SELECT version FROM rexecutor_schema ORDER BY version").fetchall()
    assert versions == [(number,) for number, _ in STEPS]


def test_the_numbers_of_the_migrations_leave_no_gap() -> None:
    assert [number for number, _ in migrations(PACKAGE)] == list(range(1, len(migrations(PACKAGE)) + 1))


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_file(path, 1)
    before = schema(path)
    broken = (*STEPS[:2], (3, "CREATE TABLE rexecutor_more (id INTEGER);\nCREATE TABLE rexecutor_more (id INTEGER);"))
    release(monkeypatch, broken)

    with pytest.raises(BackendError, match="rexecutor_more already exists"):
        await open_file(path).open()

    assert schema(path) == before


async def test_who_reads_the_jobs_by_sql_sees_them_as_they_are(path: Path) -> None:
    async with open_file(path) as backend:
        with closing(backend.heartbeat_connection()) as heartbeats:
            heartbeats.send(Node("node-1", "host", LEASE))
        await backend.enqueue([new_job("alpha"), new_job("beta"), new_job("gamma", delay=HOUR)])
        [job] = (await backend.claim(Demand({"alpha": 1}, 1), "node-1")).jobs
        await backend.cancel(job.id, "enough")
        with closing(sqlite3.connect(path)) as connection:
            columns = "status, node, attempt, claims, cancel_reason, due, attempted_at = inserted_at, ended_at"
            rows = connection.execute(f"SELECT {columns} FROM rexecutor_jobs ORDER BY id").fetchall()
            await backend.settle([Settlement(*job.claim_id, Complete('"done"'))])
            ended = connection.execute(
                "SELECT status, node, attempt, claims, cancel_reason, due, result, ended_at = completed_at"
                " FROM rexecutor_jobs WHERE id = 1"
            ).fetchall()

    assert rows == [
        ("executing", "node-1", 1, 1, "enough", None, 1, None),
        ("scheduled", None, 0, 0, None, 1, None, None),
        ("scheduled", None, 0, 0, None, 0, None, None),
    ]
    assert ended == [("complete", None, 1, 1, None, None, '"done"', 1)]


async def test_jobs_of_the_first_version_are_read_as_they_were(path: Path) -> None:
    make_file(path, 1)
    expected = fill(path)

    async with open_file(path) as backend:
        assert list(await backend.query(Everything())) == expected


async def test_an_old_job_goes_on_with_its_life(path: Path) -> None:
    make_file(path, 1)
    fill(path)
    slots = {str(status): 10 for status in JobStatus}

    async with open_file(path) as backend:
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node-1", "host", LEASE))
        running = next(iter(await backend.query(Everything(), limit=1, after=1)))
        assert running.status is JobStatus.EXECUTING
        assert list(await backend.settle([Settlement(running.id, running.claims, failed(delay=HOUR))])) == []
        claimed = (await backend.claim(Demand(slots, 10), "node-1")).jobs
        assert {one.executor for one in claimed} == set(WAITING)
        assert list(await backend.settle([Settlement(one.id, one.claims, Complete()) for one in claimed])) == []
        heartbeats.close()
        for status in ENDED:
            [ended] = [one for one in await backend.query(Everything()) if one.executor == status]
            await backend.rerun(ended.id)
            updated = await backend.update(ended.id, new_job(status, priority=9), version=1 + ended.version)
            assert (updated.status, updated.priority) == (JobStatus.SCHEDULED, 9)


async def test_old_jobs_stand_in_the_way_and_are_pruned_like_others(path: Path) -> None:
    make_file(path, 1)
    expected = fill(path)

    async with open_file(path) as backend:
        for record in expected:
            unique = UniquenessCriteria.by_executor().and_statuses(record.status)
            [answer] = await backend.enqueue([new_job(record.executor, unique=unique)])
            assert (answer.id, answer.disposition) == (record.id, "existing")
        for status in JobStatus:
            assert await backend.prune(PruneSpec(status, BeyondNewest(0)), 10) == (status in ENDED)
        left = await backend.query(Everything())
        assert {record.status for record in left} == set(JobStatus) - ENDED


async def test_what_an_older_release_writes_into_a_migrated_file_is_read(path: Path) -> None:
    """Workers of the version before run on while the file is already migrated."""
    async with open_file(path):
        pass

    expected = fill(path)

    async with open_file(path) as backend:
        assert list(await backend.query(Everything())) == expected
