"""Workers that are told to end, and what outlives a process."""

import asyncio
import signal
from pathlib import Path

import pytest

from rexecutor import Backend, JobStatus, enqueue_many
from tests.faults.processes import Fleet, fleet
from tests.faults.stores import backend_at
from tests.faults.worker import Traced
from tests.support import record_of, soon


async def start_one(workers: Fleet, backend: Backend, data: str) -> int:
    """Start a worker, and a job on it, and return the job's id when it runs."""
    handle = await Traced.builder().with_data(data).enqueue(backend=backend)
    await workers.start()
    await workers.until(lambda lines: any(line.what == "start" for line in lines), 20)
    return handle.id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_running_job_end_and_claims_no_more(
    tmp_path: Path, store: str, number: signal.Signals
) -> None:
    async with fleet(tmp_path, lease=30, store=store) as workers, backend_at(store) as backend:
        running = await start_one(workers, backend, "300")
        workers.workers[0].send_signal(number)
        status = await soon(workers.workers[0].wait())
        later = await Traced.builder().with_data("1").enqueue(backend=backend)

        assert status == 0
        assert (await record_of(backend, running)).status is JobStatus.COMPLETE
        assert (await record_of(backend, later.id)).status is JobStatus.SCHEDULED


async def test_a_second_signal_gives_back_what_runs(tmp_path: Path, store: str) -> None:
    async with fleet(tmp_path, lease=30, store=store) as workers, backend_at(store) as backend:
        running = await start_one(workers, backend, "hang")
        worker = workers.workers[0]
        worker.send_signal(signal.SIGTERM)
        await asyncio.wait((asyncio.ensure_future(worker.wait()),), timeout=0.2)
        assert worker.returncode is None
        worker.send_signal(signal.SIGTERM)
        status = await soon(worker.wait(), 10)
        record = await record_of(backend, running)

    assert status == 0
    assert (record.status, record.attempt, record.errors) == (JobStatus.SCHEDULED, 0, ())


async def test_a_third_signal_ends_the_process_at_once_and_its_job_is_rescued(tmp_path: Path, store: str) -> None:
    async with fleet(tmp_path, lease=1.5, store=store) as workers, backend_at(store) as backend:
        running = await start_one(workers, backend, "deaf")
        worker = workers.workers[0]
        for number in (signal.SIGTERM, signal.SIGINT):
            worker.send_signal(number)
            await asyncio.wait((asyncio.ensure_future(worker.wait()),), timeout=0.3)
            assert worker.returncode is None
        worker.send_signal(signal.SIGTERM)
        status = await soon(worker.wait(), 2)
        await workers.start()
        await workers.until(lambda lines: any(line.job_id == running and line.claims == 2 for line in lines), 20)

    assert status == 128 + signal.SIGTERM


async def test_a_third_signal_ends_the_process_even_while_a_job_blocks_the_loop(tmp_path: Path, store: str) -> None:
    async with fleet(tmp_path, lease=1.5, store=store) as workers, backend_at(store) as backend:
        await start_one(workers, backend, "block")
        worker = workers.workers[0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            worker.send_signal(number)
            await asyncio.wait((asyncio.ensure_future(worker.wait()),), timeout=0.2)

        assert await soon(worker.wait(), 2) == 128 + signal.SIGTERM


async def test_two_workers_starting_on_a_file_that_is_not_there_share_it(tmp_path: Path) -> None:
    async with fleet(tmp_path, lease=30) as workers:
        for _ in range(4):
            await workers.start()
        await workers.until(lambda _: (tmp_path / "jobs.db").exists(), 20)
        async with backend_at(workers.store) as backend:
            handles = await enqueue_many([Traced.builder().with_data("5") for _ in range(50)], backend=backend)
            for handle in handles:
                assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        assert [worker.returncode for worker in workers.workers] == [None] * 4


async def test_jobs_are_there_after_the_process_that_enqueued_them_is_gone(store: str) -> None:
    async with backend_at(store) as backend:
        handle = await Traced.builder().with_data("5").enqueue(backend=backend)

    async with backend_at(store) as backend:
        assert (await record_of(backend, handle.id)).data == '"5"'
