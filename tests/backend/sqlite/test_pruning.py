"""A pruning looks for jobs beside the writer, and so may find some that are changed before it deletes them."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from rexecutor import Executor, Job, JobStatus, SQLiteBackend, enqueue_many
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sqlite.operations import find_prunable, prune
from rexecutor.model.job import JobId
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.testing import FakeClock, drain
from tests.sqlite_rows import misplaced

ALL = PruneSpec(JobStatus.COMPLETE, OlderThan(timedelta(0)), frozenset(), is_except=True)
BUT_TWO = PruneSpec(JobStatus.COMPLETE, BeyondNewest(2), frozenset(), is_except=True)


class Done(Executor[int]):
    name = "done"

    async def execute(self, job: Job[int]) -> None: ...


async def ended(backend: SQLiteBackend, clock: FakeClock, jobs: int) -> list[JobId]:
    handles = await enqueue_many([Done.builder().with_data(number) for number in range(jobs)], backend=backend)
    await drain(Done, backend=backend)
    clock.advance(timedelta(seconds=1))
    return [handle.id for handle in handles]


async def found(backend: SQLiteBackend, spec: PruneSpec, most: int) -> list[tuple[int, JobId]]:
    now = backend.clock.now()

    def find(connection: sqlite3.Connection) -> list[tuple[int, JobId]]:
        return find_prunable(connection, spec, most, now)

    return await backend._reader.run(find)


async def test_a_job_that_was_rerun_meanwhile_stays(tmp_path: Path) -> None:
    clock = FakeClock()
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        waits, again, goes = await ended(backend, clock, 3)
        seen = await found(backend, ALL, 10)
        await backend.rerun(again)
        await drain(Done, backend=backend)  # it has ended again, at another moment
        await backend.rerun(waits)
        deleted = await backend._writer.run(lambda connection: prune(connection, ALL, seen))

        assert [job_id for _, job_id in seen] == [waits, again, goes]
        assert deleted == 1
        assert sum(count.jobs for count in await backend.count()) == 2


async def test_a_job_that_was_rerun_and_claimed_meanwhile_goes_on(tmp_path: Path) -> None:
    clock = FakeClock()
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        [again] = await ended(backend, clock, 1)
        seen = await found(backend, ALL, 10)
        await backend.rerun(again)
        with closing(backend.heartbeat_connection()) as heartbeats:
            heartbeats.send(Node("n", "n", timedelta(hours=1)))
        [job] = (await backend.claim(Demand({"done": 1}, 1), "n")).jobs
        deleted = await backend._writer.run(lambda connection: prune(connection, ALL, seen))

        assert deleted == 0
        assert list(await backend.settle([Settlement(*job.claim_id, Complete())])) == []
        assert misplaced(backend.path) == []


async def test_a_walk_goes_beyond_its_first_pages(tmp_path: Path) -> None:
    clock = FakeClock()
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        ids = await ended(backend, clock, 250)

        assert [job_id for _, job_id in await found(backend, ALL, 1_000)] == ids
        assert [job_id for _, job_id in await found(backend, BUT_TWO, 1_000)] == ids[:-2]
        assert [job_id for _, job_id in await found(backend, ALL, 7)] == ids[:7]
