"""Defects in what the original's stores kept, found and answered: R23 to R25, R34, R36, R39, R41, R42."""

import asyncio
import json
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rexecutor import (
    Backend,
    BackendError,
    EncodeError,
    Executor,
    Job,
    JobHandle,
    JobStatus,
    Rexecutor,
    SQLiteBackend,
    Where,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from rexecutor.testing.clock import START
from tests.backends import BACKENDS, bring_ids_to, made_backend, run_sql
from tests.defects.faults import Faults
from tests.support import soon

SECOND = timedelta(seconds=1)
NODE = Node("node", "node", timedelta(hours=1))


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


async def claimed(backend: Backend) -> list[JobRecord]:
    """Answer what a node with a lease gets of the jobs that are due now."""
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(NODE)
    return list((await backend.claim(Demand({"mail": 100}, 100), NODE.id)).jobs)


@pytest.fixture
async def sqlite(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as made:
        yield made


@pytest.mark.parametrize("jobs", [0, 2_000])
async def test_r23_what_a_worker_does_all_day_walks_an_index_and_sorts_nothing(
    sqlite: SQLiteBackend, jobs: int
) -> None:
    builder = Mail.builder().with_data("x")
    later = builder.schedule_in(timedelta(days=1))
    await enqueue_many([*[builder.with_priority(n % 7) for n in range(jobs)], *[later] * jobs, builder], backend=sqlite)
    statements: list[str] = []
    await sqlite._writer.run(lambda connection: connection.set_trace_callback(statements.append))

    records = await claimed(sqlite)
    await sqlite.settle([Settlement(record.id, record.claims, Complete()) for record in records])

    await sqlite._writer.run(lambda connection: connection.set_trace_callback(None))
    texts = [text for text in statements if "rexecutor_jobs" in text]
    assert len(texts) >= 5
    for text in texts:
        rows = await sqlite._reader.run(
            lambda connection, text=text: list(connection.execute(f"EXPLAIN QUERY PLAN {text}"))
        )
        for *_, step in rows:
            assert "TEMP B-TREE" not in step, (text, step)
            assert "SCAN rexecutor_jobs" not in step or "INDEX" in step, (text, step)


IN_A_ZONE = """
import asyncio, json, sys, time
from datetime import datetime, timedelta
from pathlib import Path
from rexecutor import Executor, Job
from rexecutor.backend.messages import Demand, Node
from rexecutor.testing import FakeClock
from tests.backends import made_backend

class Mail(Executor[str]):
    name = "mail"
    async def execute(self, job: Job[str]) -> None: ...

async def main() -> None:
    clock = FakeClock()
    async with made_backend(sys.argv[1], Path(sys.argv[2]), clock) as backend:
        builder = Mail.builder().with_data(time.tzname[0])
        at = await builder.schedule_at(datetime.fromisoformat(sys.argv[3])).enqueue(backend=backend)
        due = await builder.enqueue(backend=backend)
        early = await builder.schedule_in(timedelta(microseconds=1)).enqueue(backend=backend)
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node", "node", timedelta(hours=1)))
        heartbeats.close()
        claim = await backend.claim(Demand({"mail": 10}, 10), "node")
        jobs = [await handle.fetch() for handle in (at, due, early)]
        print(json.dumps({
            "zone": time.tzname[0],
            "claimed": [record.id == due.id for record in claim.jobs],
            "moments": [[str(job.inserted_at), str(job.scheduled_at), str(job.attempted_at)] for job in jobs],
        }))

asyncio.run(main())
"""


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
async def test_r24_the_time_zone_of_the_process_moves_nothing(name: str, zone: str, tmp_path: Path) -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    command = [sys.executable, "-c", IN_A_ZONE, name, str(tmp_path), moment.isoformat()]

    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "TZ": zone}, cwd=Path(__file__).parents[2], stdout=PIPE, stderr=PIPE
    )
    output, errors = await soon(process.communicate(), 60)

    assert errors == b""
    told: dict[str, Any] = json.loads(output)
    at = str(moment.astimezone(UTC))
    assert told["zone"] in ("EST", "IST")
    assert told["claimed"] == [True]
    assert told["moments"] == [
        [str(START), at, "None"],
        [str(START), str(START), str(START)],
        [str(START), str(START + timedelta(microseconds=1)), "None"],
    ]
    async with made_backend(name, tmp_path, FakeClock()) as here:
        for record, told_moments in zip(await here.query(Everything()), told["moments"], strict=False):
            assert [str(record.inserted_at), str(record.scheduled_at), str(record.attempted_at)] == told_moments


@pytest.mark.parametrize("hours", [-11, 0, 5.5])
async def test_r24_a_moment_of_any_zone_comes_back_in_utc(backend: Backend, hours: float) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123_457, tzinfo=timezone(timedelta(hours=hours)))

    handle = await Mail.builder().with_data("x").schedule_at(moment).enqueue(backend=backend)

    job = await handle.fetch()
    assert (job.scheduled_at, job.scheduled_at.tzinfo) == (moment, UTC)


async def test_r25_a_job_is_due_at_its_moment_and_not_a_microsecond_before(backend: Backend, clock: FakeClock) -> None:
    handle = await Mail.builder().with_data("x").schedule_in(SECOND).enqueue(backend=backend)
    clock.advance(SECOND - timedelta(microseconds=1))
    early = await claimed(backend)
    clock.advance(timedelta(microseconds=1))

    [record] = await claimed(backend)

    assert early == []
    assert record.id == handle.id


async def test_r34_ids_go_on_beyond_two_thousand_million(backend: Backend) -> None:
    builder = Mail.builder().with_data("x")
    await builder.schedule_in(timedelta(days=1)).enqueue(backend=backend)
    await bring_ids_to(backend, 2**31 + 5)

    async with Rexecutor(backend).with_executor(Mail):
        [first, second] = await enqueue_many([builder, builder.schedule_in(timedelta(days=1))], backend=backend)
        assert (first.id, second.id) == (2**31 + 6, 2**31 + 7)
        assert (await soon(first.wait())).status is JobStatus.COMPLETE
        await first.rerun()
        assert (await soon(first.wait())).status is JobStatus.COMPLETE
    await Mail.update_job(replace(await second.fetch(), priority=7), backend=backend)
    await second.cancel("not wanted")

    jobs = await Mail.query_jobs(Where.id_in(first.id, second.id), after=2**31, backend=backend)
    assert [(job.id, job.status, job.priority) for job in jobs] == [
        (2**31 + 6, JobStatus.COMPLETE, 0),
        (2**31 + 7, JobStatus.CANCELLED, 7),
    ]


async def test_r36_an_error_of_any_text_is_recorded_and_neither_texts_nor_errors_grow_for_ever(
    backend: Backend,
) -> None:
    class Poisoned(Executor[None]):
        name = "poisoned"
        max_attempts = 25

        async def execute(self, job: Job[None]) -> None:
            raise ValueError("NUL \0, lone surrogate \ud800, " + "long " * 20_000)

        def backoff(self, job: Job[None]) -> timedelta:
            return timedelta(0)

    async with Rexecutor(backend).with_executor(Poisoned):
        job = await soon((await Poisoned.builder().enqueue(backend=backend)).wait())

    assert (job.status, job.attempt) == (JobStatus.DISCARDED, 25)
    assert [error.attempt for error in job.errors] == list(range(6, 26))
    for error in job.errors:
        assert "ValueError: NUL" in error.details
        assert len(error.details) <= 8 * 1024
        assert not {"\0", "\ud800"} & set(error.details)


async def test_r39_a_batch_is_one_call_and_stored_as_a_whole_or_not_at_all(backend: Backend) -> None:
    faults = Faults(backend)
    good = Mail.builder().with_data("x")
    bad = Mail.builder().with_data(7)  # pyright: ignore[reportArgumentType] - that is the test

    with pytest.raises(EncodeError):
        await enqueue_many([good, good, bad, good], backend=backend)
    assert await backend.count() == []
    handles = await enqueue_many([good] * 100, backend=backend)

    assert faults.calls["enqueue"] == 1
    assert [handle.id for handle in handles] == [record.id for record in await backend.query(Everything())]


async def test_r41_an_application_keeps_its_tables_and_its_migrations_in_the_same_file(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "application.db"
    application = sqlite3.connect(path, isolation_level=None)
    for table in ("jobs", "nodes", "schema_version", "_sqlx_migrations", "alembic_version", "migrations"):
        application.execute(f"CREATE TABLE {table} (version INTEGER)")
        application.execute(f"INSERT INTO {table} VALUES (999)")
    application.execute("PRAGMA user_version = 7")
    application.execute("PRAGMA application_id = 77")
    theirs = application.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    async with SQLiteBackend(path, clock=clock) as backend, Rexecutor(backend).with_executor(Mail):
        await soon((await Mail.builder().with_data("x").enqueue(backend=backend)).wait())
        assert application.execute("PRAGMA user_version").fetchone() == (7,)
        application.execute("ALTER TABLE jobs ADD COLUMN more TEXT")
        application.execute("PRAGMA user_version = 8")
        await soon((await Mail.builder().with_data("x").enqueue(backend=backend)).wait())
    async with SQLiteBackend(path, clock=clock) as again:
        assert len(await again.query(Everything())) == 2

    assert application.execute("SELECT version FROM _sqlx_migrations").fetchall() == [(999,)]
    assert application.execute("PRAGMA user_version").fetchone() == (8,)
    assert application.execute("PRAGMA application_id").fetchone() == (77,)
    names = {name for (name,) in application.execute("SELECT name FROM sqlite_master")}
    ours = names - {name for name, _ in theirs}
    application.close()
    assert {name for name in ours if not name.startswith(("rexecutor_", "sqlite_"))} == set()


CALLS: dict[str, Callable[[SQLiteBackend, JobHandle[str, None]], Awaitable[object]]] = {
    "enqueue": lambda backend, _: Mail.builder().with_data("x").enqueue(backend=backend),
    "fetch": lambda _, handle: handle.fetch(),
    "cancel": lambda _, handle: handle.cancel("not wanted"),
    "rerun": lambda _, handle: handle.rerun(),
    "claim": lambda backend, _: claimed(backend),
    "settle": lambda backend, handle: backend.settle([Settlement(handle.id, 1, Complete())]),
    "give back": lambda backend, _: backend.release_claims(NODE.id, ()),
    "count": lambda backend, _: backend.count(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_r42_the_drivers_exception_is_the_cause_of_ours(
    sqlite: SQLiteBackend, call: Callable[[SQLiteBackend, JobHandle[str, None]], Awaitable[object]]
) -> None:
    handle = await Mail.builder().with_data("x").enqueue(backend=sqlite)
    await run_sql(sqlite, "ALTER TABLE rexecutor_jobs RENAME TO rexecutor_gone")

    with pytest.raises(BackendError, match=r"jobs\.db: no such table: .*rexecutor_jobs") as caught:
        await call(sqlite, handle)

    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


async def test_r42_what_a_constraint_refuses_is_told_as_what_it_is(sqlite: SQLiteBackend) -> None:
    with pytest.raises(BackendError, match="NOT NULL constraint failed") as caught:
        await run_sql(sqlite, "INSERT INTO rexecutor_jobs (id) VALUES (1)")

    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
