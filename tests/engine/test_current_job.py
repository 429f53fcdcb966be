"""`current_job`: the job whose code runs, for code that it was not passed to."""

import asyncio
from typing import Any

import pytest

from rexecutor import Backend, Job, JobStateError, Rexecutor, current_job
from rexecutor.testing import drain, perform
from tests.engine.scripted import Blocking, Scripted
from tests.support import soon

BOTH = pytest.mark.parametrize("kind", [Scripted, Blocking])


class Seen(list[tuple[Job[Any, Any, Any], Job[Any, Any, Any]]]):
    """Notes each job together with the current one."""

    def __call__(self, job: Job[str]) -> None:
        self.append((job, current_job()))


@BOTH
async def test_each_of_many_jobs_sees_itself(backend: Backend, kind: type[Scripted]) -> None:
    seen = Seen()

    async with Rexecutor(backend).with_executor(kind(seen)):
        handles = [await kind.builder().with_data(str(number)).enqueue(backend=backend) for number in range(20)]
        await soon(asyncio.gather(*(handle.wait() for handle in handles)))

    assert sorted(job.data for job, _ in seen) == sorted(map(str, range(20)))
    assert all(job is current for job, current in seen)


async def test_it_is_seen_in_tasks_and_in_to_thread_below_the_job(backend: Backend) -> None:
    seen = Seen()

    async def below(job: Job[str]) -> None:
        await asyncio.to_thread(seen, job)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deeper(job))

    async def deeper(job: Job[str]) -> None:
        seen(job)

    async with Rexecutor(backend).with_executor(Scripted(below)):
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert [job is current for job, current in seen] == [True, True]


@BOTH
async def test_perform_and_drain_have_one_too_and_leave_none_behind(backend: Backend, kind: type[Scripted]) -> None:
    seen = Seen()

    await perform(kind(seen), "performed")
    await kind.builder().with_data("drained").enqueue(backend=backend)
    await drain(kind(seen), backend=backend)

    assert [(current.data, job is current) for job, current in seen] == [("performed", True), ("drained", True)]
    with pytest.raises(JobStateError, match="no job runs here"):
        current_job()


async def test_a_job_that_performs_another_is_itself_again_afterwards(backend: Backend) -> None:
    seen = Seen()

    async def outer(job: Job[str]) -> None:
        await perform(Scripted(seen), "inner")
        seen(job)

    async with Rexecutor(backend).with_executor(Scripted(outer)):
        await soon((await Scripted.builder().with_data("outer").enqueue(backend=backend)).wait())

    assert [(current.data, job is current) for job, current in seen] == [("inner", True), ("outer", True)]


async def test_the_settlement_and_the_next_job_see_none_of_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, seen = backend.settle, list[bool]()

    async def settles(batch: Any) -> Any:
        with pytest.raises(JobStateError):
            current_job()
        seen.append(True)
        return await settle(batch)

    monkeypatch.setattr(backend, "settle", settles)

    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert seen
