"""What is SQLite's own: files that are none, plans, locks, commits that are shared."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from rexecutor import (
    BackendClosedError,
    BackendError,
    ConfigurationError,
    ErrorKind,
    Executor,
    Job,
    JobStatus,
    Rexecutor,
    SchemaError,
    SQLiteBackend,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sql import migrations, statement
from rexecutor.backend.sqlite import operations
from rexecutor.backend.sqlite import writer as thread
from rexecutor.backend.sqlite.forks import TrackedConnection
from rexecutor.model import rules
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Settlement, Snooze
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from tests.faults.connections import connecting_as
from tests.sqlite_rows import change_job
from tests.support import record_of, soon, until_no_threads_of_ours

PACKAGE = "rexecutor.backend.sqlite"
SECOND = timedelta(seconds=1)


def new_job(data: str = '"x"', *, priority: int = 0, delay: timedelta = timedelta(0)) -> NewJob:
    return NewJob("echo", data, None, 1, priority, (), None, delay)


class Echo(Executor[str]):
    name = "echo"

    async def execute(self, job: Job[str]) -> None: ...


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(path) as made:
        yield made


async def refused(backend: SQLiteBackend, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        await backend.open()
    assert not backend.is_open
    await until_no_threads_of_ours()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    await refused(SQLiteBackend(tmp_path), ConfigurationError, "is a folder; give the path of a file in it")


async def test_a_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    await refused(SQLiteBackend(tmp_path / "no" / "jobs.db"), ConfigurationError, "does not exist; make it first")


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_database_without_a_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="use InMemoryBackend"):
        SQLiteBackend(path)


@pytest.mark.parametrize("path", ["file:jobs.db", "file:/srv/jobs.db?mode=ro"])
def test_a_uri_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a file, not a URI"):
        SQLiteBackend(path)


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='must be "FULL" or "NORMAL"'):
        SQLiteBackend("jobs.db", synchronous="OFF")  # pyright: ignore[reportArgumentType] - that is the test


async def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1_000)

    await refused(SQLiteBackend(path), BackendError, "not a database: the file is not an SQLite database")

    assert path.read_bytes() == b"Dear diary, " * 1_000


async def test_a_damaged_file_is_a_clear_error(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.enqueue([new_job(f'"{"x" * 500}"')] * 200)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 8192))

    async def use() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.query(Everything())

    with pytest.raises(BackendError, match=r"jobs\.db"):
        await use()


async def test_a_read_only_file_is_a_clear_error(path: Path) -> None:
    async with SQLiteBackend(path):
        pass

    class ReadOnly(TrackedConnection):
        def __init__(self, file: Path, **options: Any) -> None:
            super().__init__(f"file:{file}?mode=ro", uri=True, **options)

    async def use() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.enqueue([new_job()])

    # Root may write to a file that nobody may.
    with connecting_as(ReadOnly), pytest.raises(BackendError, match="read-only; allow this process to write"):
        await use()


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.enqueue([new_job()])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO rexecutor_schema (version) VALUES (99)")
    connection.close()

    await refused(SQLiteBackend(path), SchemaError, "have version 99, this rexecutor knows up to .; update rexecutor")


async def test_the_applications_own_tables_are_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (mine TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('kept')")
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    async with SQLiteBackend(path) as backend:
        await backend.enqueue([new_job()])

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT mine FROM jobs").fetchall() == [("kept",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
    connection.close()


async def test_many_backends_that_open_a_new_file_at_once_migrate_it_once(path: Path) -> None:
    backends = [SQLiteBackend(path) for _ in range(8)]

    await asyncio.gather(*(backend.open() for backend in backends))

    await asyncio.gather(*(backend.close() for backend in backends))
    with sqlite3.connect(path) as connection:
        versions = connection.execute("SELECT version FROM rexecutor_schema").fetchall()
    connection.close()
    assert versions == [(number,) for number, _ in migrations(PACKAGE)]


async def test_use_before_opening_and_after_closing_is_a_clear_error(path: Path) -> None:
    backend = SQLiteBackend(path)

    for _ in range(2):
        with pytest.raises(BackendClosedError, match=r"not open; use `async with`.* `enqueue_sync` need no open"):
            await Echo.builder().with_data("x").enqueue(backend=backend)
        with pytest.raises(BackendClosedError, match="not open; use `async with`"):
            backend.heartbeat_connection()
        async with backend:
            pass


async def test_a_commit_is_on_disk_in_full(backend: SQLiteBackend) -> None:
    settings = await backend._writer.run(lambda one: one.execute("PRAGMA synchronous").fetchone())

    assert settings == (2,)  # FULL


async def test_work_of_one_moment_shares_a_commit_and_fails_for_itself(backend: SQLiteBackend) -> None:
    good = [backend.enqueue([new_job(str(number))]) for number in range(20)]
    bad = backend.enqueue([new_job("1"), new_job("\ud800")])
    before = await backend._writer.run(lambda one: one.total_changes)

    answers = await asyncio.gather(*good[:10], bad, *good[10:], return_exceptions=True)

    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in failed] == [BackendError]
    assert [record.data for record in await backend.query(Everything())] == [str(number) for number in range(20)]
    assert await backend._writer.run(lambda one: one.total_changes) >= before + 20


async def test_a_caller_that_gave_up_before_its_turn_has_stored_nothing(backend: SQLiteBackend) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        held.set()
        let_go.wait(20)

    holding = asyncio.ensure_future(backend._writer.run(hold))
    await asyncio.to_thread(held.wait, 20)
    waiting = asyncio.ensure_future(backend.enqueue([new_job()]))
    await asyncio.wait((waiting,), timeout=0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    let_go.set()
    await soon(holding)

    assert await backend.query(Everything()) == []


async def test_a_lock_held_by_another_is_waited_for_and_then_a_clear_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.backend.sqlite.connection.BUSY_SECONDS", 0.1)
    async with SQLiteBackend(path) as backend:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendError, match=r"another process held the file's lock .* `connection=`"):
            await backend.enqueue([new_job()])
        other.execute("ROLLBACK")
        other.close()

        (stored,) = await backend.enqueue([new_job()])

        assert (await record_of(backend, stored.id)).status is JobStatus.SCHEDULED


@pytest.mark.parametrize("how", ["enqueue", "enqueue_sync", "heartbeat"])
async def test_the_write_lock_is_asked_for_each_millisecond_because_others_may_leave_it_free_only_briefly(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pauses: list[float] = []
    async with SQLiteBackend(path) as backend:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")

            def sleep(seconds: float) -> None:
                pauses.append(seconds)
                if len(pauses) == 30:
                    other.execute("ROLLBACK")

            monkeypatch.setattr("rexecutor.backend.sqlite.connection.time.sleep", sleep)
            if how == "enqueue":
                await soon(backend.enqueue([new_job()]))
            elif how == "enqueue_sync":
                await soon(asyncio.to_thread(backend.enqueue_sync, [new_job()]))
            else:
                with closing(backend.heartbeat_connection()) as heartbeats:
                    heartbeats.send(Node("n", "n", timedelta(seconds=30)))

    assert len(pauses) == 30
    assert max(pauses) <= 0.001


BAD_ROWS = {
    "data that is no JSON": "data = '{'",
    "data of another type": "data = '[1]'",
    "data that is no UTF-8": "data = CAST(x'22ff22' AS TEXT)",
    "metadata that is no JSON": "metadata = 'nope'",
    "tags that are no list": "tags = '7'",
    "tags that are no JSON": "tags = '{{{'",
    "errors that are no list": "errors = '{}'",
    "errors of nonsense": "errors = '[1, null, \"x\"]'",
    "a moment beyond all calendars": "inserted_at = 9000000000000000000",
    "an attempt beyond all counting": "attempt = 9223372036854775807",
    "claims beyond all counting": "claims = 9223372036854775807",
    "a negative attempt": "attempt = -5",
    "a negative priority": "priority = -3",
    "no attempts allowed": "max_attempts = 0",
    "negative losses": "losses = -9",
}


@pytest.mark.parametrize("change", BAD_ROWS.values(), ids=BAD_ROWS.keys())
async def test_a_corrupt_row_ends_and_holds_nobody_up(backend: SQLiteBackend, change: str) -> None:
    handles = await enqueue_many([Echo.builder().with_data("x") for _ in range(3)], backend=backend)
    damaged = handles[1].id

    await backend._writer.run(lambda connection: change_job(connection, damaged, f"max_attempts = 1, {change}"))

    async with Rexecutor(backend).with_executor(Echo):
        for handle in (handles[0], handles[2]):
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        after = await Echo.builder().with_data("x").enqueue(backend=backend)
        assert (await soon(after.wait())).status is JobStatus.COMPLETE
        while not (record := await record_of(backend, damaged)).status.has_ended:
            await backend.wait_ended(backend.clock.now() + SECOND, since=backend.change_count)

    if record.status is JobStatus.DISCARDED:
        assert record.errors[-1].kind is ErrorKind.DECODE


async def test_a_row_of_an_unknown_status_is_left_alone_and_does_not_fail_a_page(backend: SQLiteBackend) -> None:
    handles = await enqueue_many([Echo.builder().with_data("x") for _ in range(3)], backend=backend)
    await backend._writer.run(lambda connection: change_job(connection, handles[1].id, "status = 'sleeping'"))

    records = await backend.query(Everything())

    assert [record.id for record in records] == [handle.id for handle in handles]
    assert "cannot be read" in (records[1].defect or "")
    assert sum(count.jobs for count in await backend.count()) == 2


async def claimed(backend: SQLiteBackend, limit: int = 10) -> Sequence[JobRecord]:
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(Node("n", "n", timedelta(seconds=30)))
    return (await backend.claim(Demand({"echo": limit}, limit), "n")).jobs


@pytest.mark.parametrize("outcome", [Complete(), Complete('"result"')])
@pytest.mark.parametrize("jobs", [1, 2, 200])
async def test_successes_need_no_statement_for_each_job(
    path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, outcome: Complete
) -> None:
    async with SQLiteBackend(path, clock=FakeClock()) as backend:
        await backend.enqueue([new_job()])
        [again] = await claimed(backend)
        await backend.settle([Settlement(*again.claim_id, Snooze(timedelta(0)))])
        await backend.enqueue([new_job()] * (jobs - 1))
        executing = await claimed(backend, jobs)
        monkeypatch.setattr(operations, "_settle_one", None)

        assert await backend.settle([Settlement(*job.claim_id, outcome) for job in executing]) == []

        after = [rules.transition(job, outcome, backend.clock.now(), backend.limits) for job in executing]
        assert await backend.query(Everything(), limit=jobs) == after


async def test_a_claim_marks_a_thousand_jobs_as_due_at_most(path: Path) -> None:
    clock = FakeClock()
    async with SQLiteBackend(path, clock=clock) as backend:
        await backend.enqueue([new_job(delay=SECOND)] * 1_002)
        clock.advance(SECOND)

        assert len(await claimed(backend)) == 10

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM rexecutor_queue WHERE due = 0").fetchall() == [(2,)]


async def test_a_job_that_may_run_at_once_is_due_without_a_promotion(path: Path) -> None:
    async with SQLiteBackend(path, clock=FakeClock()) as backend:
        await backend.enqueue([new_job()])
        [job] = await claimed(backend)
        await backend.settle([Settlement(*job.claim_id, Snooze(timedelta(0)))])
        await backend.enqueue([new_job()])

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT due FROM rexecutor_queue").fetchall() == [(1,), (1,)]


def plan(connection: sqlite3.Connection, name: str, **parameters: Any) -> str:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement(PACKAGE, name)}", parameters).fetchall()
    return " | ".join(row[3] for row in rows)


@pytest.mark.parametrize("jobs", [0, 5_000])
async def test_the_statements_of_every_day_use_their_indexes_and_sort_nothing(
    backend: SQLiteBackend, jobs: int
) -> None:
    await backend.enqueue([new_job()] * jobs + [new_job(delay=timedelta(days=1), priority=0)] * jobs)
    await backend._writer.run(lambda connection: connection.execute("ANALYZE") and None)

    def plans(connection: sqlite3.Connection) -> dict[str, str]:
        return {
            "select_due_jobs": plan(connection, "select_due_jobs", executor="echo", now=1, slots=10),
            "select_due_executors": plan(connection, "select_due_executors"),
            "promote_jobs": plan(connection, "promote_jobs", now=1, limit=10),
            "select_next_due": plan(connection, "select_next_due"),
            "dequeue_jobs": plan(connection, "dequeue_jobs", ids="[1]"),
            "start_jobs": plan(connection, "start_jobs", ids="[1]", node="n", now=1),
            "select_started": plan(connection, "select_started", ids="[1]"),
            "stop_jobs": plan(connection, "stop_jobs", ids="[1]"),
            "complete_jobs": plan(connection, "complete_jobs", settled="[[1,1]]", now=1),
            "select_orphans": plan(connection, "select_orphans", now=1),
            "select_running": plan(connection, "select_running", node="n"),
            "select_work": plan(connection, "select_work"),
        }

    found = await backend._writer.run(plans)

    expected = {
        "select_due_jobs": "rexecutor_queue_due",
        "select_due_executors": "rexecutor_queue_due",
        "promote_jobs": "rexecutor_queue_later",
        "select_next_due": "rexecutor_queue_later",
        "dequeue_jobs": "INTEGER PRIMARY KEY",
        "start_jobs": "INTEGER PRIMARY KEY",
        "select_started": "INTEGER PRIMARY KEY",
        "stop_jobs": "INTEGER PRIMARY KEY",
        "complete_jobs": "INTEGER PRIMARY KEY",
        "select_orphans": "SEARCH job USING INTEGER PRIMARY KEY",
        "select_running": "SEARCH job USING INTEGER PRIMARY KEY",
        "select_work": "rexecutor_queue_due",
    }
    for name, index in expected.items():
        assert index in found[name], found[name]
        for scan in ("SCAN rexecutor_stored_jobs", "SCAN job", "SCAN rexecutor_queue"):
            assert scan not in found[name].replace("SCAN rexecutor_queue USING", "USING"), found[name]
        assert "TEMP B-TREE" not in found[name], found[name]


async def test_a_claim_costs_the_same_beside_many_jobs_of_a_more_urgent_future(backend: SQLiteBackend) -> None:
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("n", "n", timedelta(hours=1)))
    await backend.enqueue([new_job(priority=5)] * 200)

    async def steps_of_a_claim() -> int:
        """Count the virtual machine's steps: the same on every machine, whatever else it does."""
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        await backend._writer.run(lambda connection: connection.set_progress_handler(count, 100))
        await backend.claim(Demand({"echo": 50}, 50), "n")
        await backend._writer.run(lambda connection: connection.set_progress_handler(None, 0))
        return steps

    alone = await steps_of_a_claim()
    await backend.enqueue([new_job(priority=0, delay=timedelta(days=1))] * 20_000)
    beside = await steps_of_a_claim()
    heartbeats.close()

    assert beside <= alone * 1.2 + 5


async def test_the_log_is_written_back_and_does_not_grow_without_bound(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        for _ in range(30):
            await backend.enqueue([new_job(f'"{"x" * 1_000}"')] * 500)

        assert path.with_name("jobs.db-wal").stat().st_size < 12 * 1024 * 1024
        assert path.stat().st_size > 12 * 1024 * 1024


@pytest.mark.parametrize(
    "change",
    [
        "errors = CAST(x'5bff5d' AS TEXT)",
        "data = CAST(x'ff' AS TEXT)",
        "cancel_reason = CAST(x'ff' AS TEXT)",
        "node = CAST(x'ff' AS TEXT)",
        "executor = CAST(x'ff' AS TEXT)",
        "losses = 9223372036854775807",
        "attempt = -1",
    ],
)
async def test_a_corrupt_row_of_a_dead_node_costs_no_lease(backend: SQLiteBackend, change: str) -> None:
    heartbeats, dead, live = (
        backend.heartbeat_connection(),
        Node("dead", "dead", timedelta(hours=1)),
        Node("live", "live", timedelta(hours=1)),
    )
    heartbeats.send(dead)
    await backend.enqueue([new_job()] * 2)
    await backend.claim(Demand({"echo": 2}, 2), "dead")

    def corrupt(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE rexecutor_nodes SET lease_until = 0")
        change_job(connection, 1, change)

    await backend._writer.run(corrupt)

    assert heartbeats.send(live).rescued == 2
    assert heartbeats.send(live).rescued == 0
    heartbeats.close()
    counts = await backend.count()
    assert JobStatus.EXECUTING not in {count.status for count in counts}
    assert sum(count.jobs for count in counts) == 2


async def test_an_outcome_that_a_corrupt_row_cannot_take_ends_the_job(backend: SQLiteBackend) -> None:
    heartbeats = backend.heartbeat_connection()
    heartbeats.send(Node("n", "n", timedelta(hours=1)))
    await backend.enqueue([new_job()])
    (record,) = (await backend.claim(Demand({"echo": 1}, 1), "n")).jobs
    await backend._writer.run(
        lambda connection: connection.execute("UPDATE rexecutor_stored_jobs SET snoozes = 9223372036854775807") and None
    )

    assert await backend.settle([Settlement(record.id, record.claims, Snooze(SECOND))]) == []

    after = await record_of(backend, record.id)
    heartbeats.close()
    assert (after.status, after.errors[-1].type_name) == (JobStatus.DISCARDED, "UnwritableRow")
    assert after.claims == record.claims  # so that no later claim has the number of this one


async def test_opening_twice_at_once_opens_once(path: Path) -> None:
    backend = SQLiteBackend(path)

    await asyncio.gather(backend.open(), backend.open())
    await soon(backend.close(), 5)
    await asyncio.gather(backend.open(), backend.close(), backend.open())
    await soon(backend.close(), 5)

    assert not backend.is_open


async def test_two_that_share_a_backend_leave_the_closing_to_the_last(path: Path) -> None:
    backend = SQLiteBackend(path)
    first, second = Rexecutor(backend).with_executor(Echo), Rexecutor(backend).with_executor(Echo)
    await first.start()
    await second.start()

    await first.graceful_shutdown()
    handle = await Echo.builder().with_data("x").enqueue(backend=backend)
    assert (await soon(handle.wait())).status is JobStatus.COMPLETE
    await second.graceful_shutdown()

    assert not backend.is_open


async def test_closing_does_not_wait_for_threads_of_the_application(path: Path) -> None:
    let_go = threading.Event()
    backend = SQLiteBackend(path)
    await backend.open()
    held = [asyncio.ensure_future(asyncio.to_thread(let_go.wait, 20)) for _ in range(40)]

    await soon(backend.close(), 5)

    let_go.set()
    await asyncio.gather(*held)


async def test_another_threads_loop_may_wait_for_a_job_too(backend: SQLiteBackend) -> None:
    async def elsewhere() -> JobStatus:
        handle = await Echo.builder().with_data("x").enqueue(backend=backend)
        return (await soon(handle.wait(), 10)).status

    async with Rexecutor(backend).with_executor(Echo):
        assert await asyncio.to_thread(asyncio.run, elsewhere()) is JobStatus.COMPLETE


async def test_work_that_another_loop_asks_for_just_before_a_close_has_an_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_stop = threading.Event(), threading.Event()

    class Slow(SimpleQueue[Any]):
        """Lets a close come between the look whether the thread still serves and the request to it."""

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            if isinstance(item, asyncio.Future):
                may_stop.set()
            else:
                asked.set()
                may_stop.wait(0.2)
            super().put(item, block, timeout)

    monkeypatch.setattr(thread, "SimpleQueue", Slow)
    backend = SQLiteBackend(path)
    await backend.open()
    counting = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(soon(backend.count(), 5))))
    await asyncio.to_thread(asked.wait, 5)

    await soon(backend.close(), 5)

    assert await counting == []


async def test_an_application_keeps_its_tables_and_its_migrations_in_the_same_file(
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

    async with SQLiteBackend(path, clock=clock) as backend, Rexecutor(backend).with_executor(Echo):
        await soon((await Echo.builder().with_data("x").enqueue(backend=backend)).wait())
        assert application.execute("PRAGMA user_version").fetchone() == (7,)
        application.execute("ALTER TABLE jobs ADD COLUMN more TEXT")
        application.execute("PRAGMA user_version = 8")
        await soon((await Echo.builder().with_data("x").enqueue(backend=backend)).wait())
    async with SQLiteBackend(path, clock=clock) as again:
        assert len(await again.query(Everything())) == 2

    assert application.execute("SELECT version FROM _sqlx_migrations").fetchall() == [(999,)]
    assert application.execute("PRAGMA user_version").fetchone() == (8,)
    assert application.execute("PRAGMA application_id").fetchone() == (77,)
    names = {name for (name,) in application.execute("SELECT name FROM sqlite_master")}
    ours = names - {name for name, _ in theirs}
    application.close()
    assert {name for name in ours if not name.startswith(("rexecutor_", "sqlite_"))} == set()


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql://user:secret@host/database"])
def test_a_url_in_place_of_a_path_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is a URL; use connect\(…\)") as caught:
        SQLiteBackend(url)

    assert "secret" not in str(caught.value)
