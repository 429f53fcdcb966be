"""The doorbell: how a handle of a file hears what another one changed."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import JobStatus, Rexecutor, SQLiteBackend
from rexecutor.backend.messages import Node
from rexecutor.backend.sqlite.connection import connect
from rexecutor.backend.sqlite.doorbell import Doorbell
from rexecutor.testing import FakeClock
from tests.backend.sqlite.test_files import Echo, new_job
from tests.engine.executors import Quick, has_ended
from tests.support import record_of, soon, until

SECOND = timedelta(seconds=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_garbage_at_the_doorbell_does_no_harm(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        SQLiteBackend(tmp_path / "jobs.db", clock=clock) as mine,
        SQLiteBackend(tmp_path / "jobs.db", clock=clock) as another,
        Rexecutor(mine).with_executor(Quick),
    ):
        address = mine._doorbell.address
        if address is None:
            pytest.skip("no Unix sockets here")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anybody:
            for garbage in (b"", b"\xff\0" * 5_000, b'{"executor": 7}'):
                anybody.sendto(garbage, b"\0" + os.fsencode(address)[1:] if address[0] == "@" else address)

        handle = await Quick.builder().enqueue(backend=another)

        await until(lambda: has_ended(mine, handle.id))

    alarming = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert alarming == []  # such as an "Exception in callback" of the loop's


def ring_nobody(self: Doorbell, addresses: Iterable[str], *, is_cancel: bool = False) -> None:
    pass


@pytest.mark.parametrize("means", ["a ring", "a look at the file"])
async def test_a_waiting_backend_hears_of_another_ones_enqueue(
    path: Path, monkeypatch: pytest.MonkeyPatch, means: str
) -> None:
    if means == "a ring":
        monkeypatch.setattr("rexecutor.backend.sqlite.watch.POLL_INTERVAL", timedelta(hours=1))
    else:
        monkeypatch.setattr(Doorbell, "ring", ring_nobody)
    async with SQLiteBackend(path) as waiting, SQLiteBackend(path) as other:
        heartbeats = waiting.heartbeat_connection()
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        await waiting.wait_ready(
            {"echo"}, waiting.clock.now() + SECOND, since=waiting.change_count
        )  # takes note of the beat
        since = waiting.change_count
        wait = asyncio.ensure_future(
            waiting.wait_ready({"echo"}, waiting.clock.now() + timedelta(hours=1), since=since)
        )

        await other.enqueue([new_job()])

        await soon(wait, 5)
        heartbeats.close()
    assert waiting.change_count > since


async def test_a_waiting_backend_hears_of_a_synchronous_enqueue_on_a_backend_that_is_not_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.backend.sqlite.watch.POLL_INTERVAL", timedelta(hours=1))
    async with SQLiteBackend(path) as waiting:
        if waiting._doorbell.address is None:
            pytest.skip("no Unix sockets here")
        heartbeats = waiting.heartbeat_connection()
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        since = waiting.change_count
        wait = asyncio.ensure_future(
            waiting.wait_ready({"echo"}, waiting.clock.now() + timedelta(hours=1), since=since)
        )

        await asyncio.to_thread(SQLiteBackend(path).enqueue_sync, [new_job()])

        await soon(wait, 5)
        heartbeats.close()
    assert waiting.change_count > since


async def test_enqueues_of_one_commit_ring_once_and_are_stored_whatever_comes_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings: list[bool] = []

    def ring(self: Doorbell, addresses: Iterable[str], *, is_cancel: bool = False) -> None:
        rings.append(is_cancel)
        raise ValueError("whatever happens here, the jobs are stored")

    monkeypatch.setattr(Doorbell, "ring", ring)
    async with SQLiteBackend(path) as backend:
        [job, *_] = await backend.enqueue([new_job()])
        with closing(connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            enqueues = [asyncio.ensure_future(backend.enqueue([new_job()])) for _ in range(21)]
            await asyncio.to_thread(lambda: None)
            other.execute("COMMIT")
        await soon(asyncio.gather(*enqueues))
        await backend.cancel(job.id, "enough")

        await until(lambda: True in rings)  # it rings when the result is on its way
        # At most: the first enqueue, one whose transaction began alone, all others, the cancel.
        assert len(rings) <= 4
        assert (rings[0], rings[-1]) == (False, True)
        assert sum(count.jobs for count in await backend.count()) == 22


async def test_a_heartbeat_of_another_makes_no_work_but_may_be_an_end(path: Path) -> None:
    async with SQLiteBackend(path) as waiting, SQLiteBackend(path) as other:
        heartbeats = other.heartbeat_connection()
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        await waiting.wait_ready({"echo"}, waiting.clock.now() + SECOND / 10, since=waiting.change_count)
        since = waiting.change_count
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        await waiting.wait_ready({"echo"}, waiting.clock.now() + SECOND / 10, since=since)
        assert waiting.change_count == since

        await soon(waiting.wait_ended(waiting.clock.now() + timedelta(hours=1), since=since), 5)
        assert waiting.change_count > since  # it may have come after the look of who waits now

        end = asyncio.ensure_future(waiting.wait_ended(waiting.clock.now() + timedelta(hours=1), since=since + 1))
        await asyncio.to_thread(lambda: None)
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        await soon(end, 5)
        heartbeats.close()


async def test_a_ring_for_a_process_that_is_gone_does_no_harm(path: Path) -> None:
    async with SQLiteBackend(path) as gone:
        heartbeats = gone.heartbeat_connection()
        heartbeats.send(Node("n", "n", timedelta(hours=1)))
        heartbeats.close()

    async with SQLiteBackend(path) as backend:
        (stored,) = await backend.enqueue([new_job()])

        assert (await record_of(backend, stored.id)).status is JobStatus.SCHEDULED


async def test_where_there_are_no_unix_sockets_the_file_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")

    async with Rexecutor(SQLiteBackend(path)).with_executor(Echo), SQLiteBackend(path) as other:
        handle = await Echo.builder().with_data("x").enqueue(backend=other)

        assert (await soon(handle.wait(), 5)).status is JobStatus.COMPLETE


def test_elsewhere_than_on_linux_the_doorbell_is_a_file_that_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")

    async def ring() -> str:
        bell, other, heard = Doorbell(), Doorbell(), asyncio.Event()
        bell.open(heard.set, lambda: None)
        other.open(lambda: None, lambda: None)
        assert bell.address is not None
        assert Path(bell.address).exists()
        other.ring([bell.address, "/nowhere/bell", "@nobody", "x" * 1_000])
        await soon(heard.wait(), 5)
        address = bell.address
        bell.close()
        other.close()
        return address

    assert not Path(asyncio.run(ring())).parent.exists()
