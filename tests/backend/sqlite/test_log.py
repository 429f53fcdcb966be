"""SQLite's write-ahead log: when it is written back, and what is told when a reader keeps that from being done."""

import errno
import io
import os
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend.sqlite import checkpoint, connection
from rexecutor.backend.sqlite.forks import TrackedConnection
from rexecutor.model.job import NewJob
from rexecutor.telemetry.events import LogReset, LogUnbounded
from tests.faults.connections import connecting_as
from tests.support import Events

KILOBYTE = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_BYTES", 64 * KILOBYTE)
    monkeypatch.setattr(checkpoint, "LARGE_BYTES", 1024 * KILOBYTE)
    monkeypatch.setattr(checkpoint, "LOOK_EVERY", 1)
    monkeypatch.setattr(checkpoint, "LOG_KEPT", 128 * KILOBYTE)
    monkeypatch.setattr(connection, "LOG_KEPT", 128 * KILOBYTE)


def jobs(kilobytes: int) -> list[NewJob]:
    return [NewJob("echo", f'"{"x" * KILOBYTE}"', None, 1, 0, (), None, timedelta(0))] * kilobytes


def log_size(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Hold a transaction open that reads the file as it is now."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM rexecutor_jobs").fetchone()
        yield
        reader.execute("ROLLBACK")


async def checkpoint_made(backend: SQLiteBackend) -> None:
    """Wait for the checkpoint of what was stored before, which comes after the answer to that."""
    await backend._writer.run(lambda _: None)


async def test_a_log_that_a_reader_keeps_from_being_reset_is_told_of_at_each_doubling(
    path: Path, events: Events
) -> None:
    async with SQLiteBackend(path) as backend:
        with reading(path):
            while len(events) < 3 and log_size(path) < 8 * 1024 * KILOBYTE:
                await backend.enqueue(jobs(32))
            await checkpoint_made(backend)

        told = events.of(LogUnbounded)
        assert len(events) == len(told)
        sizes = [round(one.size / (1024 * KILOBYTE)) for one in told]
        assert sizes in ([1, 2, 4], [1, 2, 5])  # each at the first checkpoint that finds twice as much
        assert {one.path for one in told} == {str(path)}

        await backend.enqueue(jobs(128))
        await checkpoint_made(backend)
        await backend.enqueue(jobs(1))  # begins the log anew
        await checkpoint_made(backend)
        assert events[3:] == [LogReset(str(path))]
        assert log_size(path) == 128 * KILOBYTE

        with reading(path):
            while len(events) == 4 and log_size(path) < 4 * 1024 * KILOBYTE:
                await backend.enqueue(jobs(32))
            assert log_size(path) < 1.5 * 1024 * KILOBYTE
        assert [type(one) for one in events[4:]] == [LogUnbounded]


async def test_a_large_transaction_beside_a_reader_that_ends_is_not_told_of(path: Path, events: Events) -> None:
    async with SQLiteBackend(path) as backend:
        with reading(path):
            await backend.enqueue(jobs(2_000))
            await checkpoint_made(backend)
        await backend.enqueue(jobs(128))
        await checkpoint_made(backend)
        await backend.enqueue(jobs(1))

        assert log_size(path) == 128 * KILOBYTE
    assert events == []


async def test_a_log_is_not_told_of_when_it_can_be_reset(path: Path, events: Events) -> None:
    async with SQLiteBackend(path) as backend:
        for _ in range(100):
            await backend.enqueue(jobs(40))

        await checkpoint_made(backend)
        assert log_size(path) < 1024 * KILOBYTE
    assert events == []


def test_enqueues_without_a_loop_write_the_log_back_too(path: Path) -> None:
    backend = SQLiteBackend(path)
    backend.enqueue_sync(jobs(1))

    with closing(sqlite3.connect(path)) as idle:  # without it the last connection to be closed does that
        idle.execute("SELECT count(*) FROM rexecutor_jobs").fetchone()
        for _ in range(20):
            backend.enqueue_sync(jobs(40))

        assert log_size(path) < 256 * KILOBYTE


async def test_the_log_of_a_file_behind_a_link_is_written_back(tmp_path: Path) -> None:
    file, link = tmp_path / "real.db", tmp_path / "linked.db"
    link.symlink_to(file)
    async with SQLiteBackend(link) as backend:
        for _ in range(20):
            await backend.enqueue(jobs(40))

        await checkpoint_made(backend)
        assert log_size(file) < 256 * KILOBYTE


async def test_a_commit_writes_over_what_a_checkpoint_has_written_back(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.enqueue(jobs(100))
        await checkpoint_made(backend)
        await backend.enqueue(jobs(1))
        before = log_size(path)

        for _ in range(200):
            await backend.enqueue(jobs(1))
        await checkpoint_made(backend)

        assert log_size(path) == before == 128 * KILOBYTE


async def test_not_every_small_commit_has_a_look_at_the_log_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def is_due(self: checkpoint.Checkpoints, log: object) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(checkpoint, "LOOK_EVERY", 8)
    monkeypatch.setattr(checkpoint, "LOG_KEPT", 1024 * KILOBYTE)
    monkeypatch.setattr(checkpoint.Checkpoints, "_is_due", is_due)
    async with SQLiteBackend(path) as backend:
        await backend.enqueue(jobs(32))
        await checkpoint_made(backend)
        looks = 0

        for _ in range(16):
            await backend.enqueue(jobs(1))
        await checkpoint_made(backend)
        assert looks == 2

        await backend.enqueue(jobs(1024))
        for _ in range(16):
            await backend.enqueue(jobs(1))
        await checkpoint_made(backend)
        assert looks >= 2 + 16


async def test_a_checkpoint_waits_for_no_other_process_that_makes_one(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.enqueue(jobs(1))
        await checkpoint_made(backend)
        with io.FileIO(path.with_name(f"{path.name}-wal")) as log:
            checkpoint._Log(log).lock()  # an open file of its own, as in another process
            for _ in range(20):
                await backend.enqueue(jobs(40))
            await checkpoint_made(backend)
            held = log_size(path)

        await backend.enqueue(jobs(1))
        await checkpoint_made(backend)
        await backend.enqueue(jobs(1))

        assert held > 1024 * KILOBYTE
        assert log_size(path) == 128 * KILOBYTE


async def test_a_process_that_is_forked_during_a_checkpoint_keeps_no_other_from_making_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked: list[int] = []
    commit = checkpoint._commit_something

    def fork(connection: sqlite3.Connection) -> None:
        log = path.with_name(f"{path.name}-wal")
        opened = [int(one.name) for one in Path("/proc/self/fd").iterdir() if one.exists() and one.samefile(log)]
        forked.extend(map(os.dup, opened))  # as a child process has them
        commit(connection)

    async with SQLiteBackend(path) as backend:
        monkeypatch.setattr(checkpoint, "_commit_something", fork)
        await backend.enqueue(jobs(100))
        await checkpoint_made(backend)
        assert forked
        monkeypatch.undo()
        try:
            with io.FileIO(path.with_name(f"{path.name}-wal")) as log:
                checkpoint._Log(log).lock()
        finally:
            for descriptor in forked:
                os.close(descriptor)


async def test_where_files_cannot_be_locked_the_log_is_written_back_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("rexecutor.backend.sqlite.checkpoint.fcntl.flock", refuse)
    async with SQLiteBackend(path) as backend:
        for _ in range(20):
            await backend.enqueue(jobs(40))
        await checkpoint_made(backend)

        assert log_size(path) < 256 * KILOBYTE


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_a_file_whose_name_is_no_text_takes_jobs(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / os.fsdecode(b"jobs \xff.db"))

    backend.enqueue_sync(jobs(1))

    assert sum(one.jobs for one in backend.count_sync()) == 1


async def test_a_checkpoint_begins_with_a_commit_so_that_nobody_begins_the_log_anew_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite up to 3.51.2 may lose commits if that happens: https://sqlite.org/wal.html#walresetbug."""
    given: list[str] = []

    def execute(self: TrackedConnection, *arguments: Any) -> sqlite3.Cursor:
        given.append(arguments[0].strip())
        return sqlite3.Connection.execute(self, *arguments)

    async with SQLiteBackend(path) as backend:
        monkeypatch.setattr(TrackedConnection, "execute", execute, raising=False)
        await backend.enqueue(jobs(100))
        await checkpoint_made(backend)

    made = next(index for index, one in enumerate(given) if "wal_checkpoint" in one)
    commits = [index for index, one in enumerate(given[:made]) if one == "COMMIT"]
    assert any("rexecutor_duties" in one for one in given[commits[-2] : commits[-1]])


async def test_what_an_application_writes_with_its_own_connection_counts_too(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        with closing(sqlite3.connect(path, isolation_level=None)) as own:
            own.execute("CREATE TABLE letters (text)")
            own.execute("PRAGMA wal_autocheckpoint = 0")
            for _ in range(20):
                own.execute("INSERT INTO letters VALUES (?)", ("x" * 100 * KILOBYTE,))
                await backend.enqueue(jobs(1))
                await checkpoint_made(backend)

        assert log_size(path) <= 512 * KILOBYTE


@pytest.mark.parametrize("statement", ["PRAGMA database_list", "PRAGMA busy_timeout", "PRAGMA wal_checkpoint"])
async def test_a_checkpoint_that_fails_does_not_end_the_thread_that_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    is_open = False
    failures: list[str] = []

    class Failing(TrackedConnection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if is_open and not failures and str(arguments[0]).startswith(statement):
                failures.append(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(*arguments)

    monkeypatch.setattr(checkpoint, "CHECKPOINT_BYTES", 1)
    with connecting_as(Failing):
        async with SQLiteBackend(path) as backend:
            is_open = True
            for _ in range(checkpoint.LOOK_EVERY + 1):
                await backend.enqueue(jobs(1))

            assert failures == [statement]
            assert sum(count.jobs for count in await backend.count()) == checkpoint.LOOK_EVERY + 1
