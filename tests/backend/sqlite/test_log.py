"""SQLite's write-ahead log: when it is written back, and what is told when a reader keeps that from being done."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import SQLiteBackend
from rexecutor.backend.sqlite import checkpoint
from rexecutor.model.job import NewJob
from rexecutor.telemetry.events import LogReset, LogUnbounded
from tests.support import Events

KILOBYTE = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_BYTES", 64 * KILOBYTE)
    monkeypatch.setattr(checkpoint, "LARGE_BYTES", 1024 * KILOBYTE)


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
        assert events[3:] == [LogReset(str(path))]
        assert log_size(path) == 0

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
        assert log_size(path) == 0
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
