"""Waits until jobs have ended, and what a look at them finds."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final, TypeVar

from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import OlderThan, PruneSpec
from rexecutor.model.status import ENDED, JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, SECOND, Store, new_job

T = TypeVar("T")

_BREATH: Final = 0.01
"""Seconds of real time between two moves of the clock, for waiting tasks to run."""
_MANY: Final = 1_000
_CHANGES: Final = 5

_Found = dict[JobId, JobRecord | None]


class WaitCases(Cases):
    """A wait ends when its jobs have ended or are deleted, and a thousand waits share their looks."""

    async def test_a_look_finds_ended_jobs_and_the_status_of_others(self, store: Store) -> None:
        ended = {status: await store.job_in(status) for status in ENDED}
        await store.enqueue(new_job(data='"later"', delay=HOUR))
        retryable = await store.job_in(JobStatus.RETRYABLE)
        running = await store.job_in(JobStatus.EXECUTING)
        waiting = max(job.id for job in await store.jobs())
        ids = [*(job.id for job in ended.values()), retryable.id, running.id]

        found = await store.backend.check_ended([*ids, waiting + 1, 2**70, -(2**70)])

        assert found == {
            **{job.id: job for job in ended.values()},
            retryable.id: JobStatus.RETRYABLE,
            running.id: JobStatus.EXECUTING,
        }

    async def test_a_look_at_a_thousand_jobs_finds_all(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * _MANY)
        await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs[::2]])

        found = await store.backend.check_ended([job.id for job in jobs])

        assert [isinstance(found[job.id], JobRecord) for job in jobs] == [True, False] * (_MANY // 2)

    async def test_a_look_at_no_jobs_finds_none(self, store: Store) -> None:
        assert await store.backend.check_ended([]) == {}

    async def test_a_wait_ends_with_its_job(self, store: Store) -> None:
        [job] = await store.executing()
        waiting = _wait(store.backend, [job.id])
        await _turn()

        settled = await store.settle(job, Complete())

        assert await _ended(store, waiting) == {job.id: settled}

    async def test_a_wait_for_a_job_that_has_ended_ends_at_once(self, store: Store) -> None:
        job = await store.job_in(JobStatus.DISCARDED)

        waiting = _wait(store.backend, [job.id])
        await asyncio.wait((waiting,), timeout=10)

        assert waiting.done()
        assert waiting.result() == {job.id: job}

    async def test_a_cancel_ends_a_wait(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(delay=HOUR))
        waiting = _wait(store.backend, [job_id])
        await _turn()

        await store.backend.cancel(job_id, "enough")

        assert await _ended(store, waiting) == {job_id: await store.job(job_id)}

    async def test_after_a_rerun_a_wait_is_for_the_new_end(self, store: Store) -> None:
        job = await store.job_in(JobStatus.COMPLETE)
        await store.backend.rerun(job.id)
        waiting = _wait(store.backend, [job.id])
        await _turn()
        again = await store.reclaim(job.id)
        assert not waiting.done()

        settled = await store.settle(again, Complete())

        assert await _ended(store, waiting) == {job.id: settled}

    async def test_a_wait_for_a_job_that_is_pruned_ends(self, store: Store) -> None:
        [job, running] = await store.executing(new_job(), new_job())
        waiting = _wait(store.backend, [job.id, running.id])
        await _turn()
        await store.settle(job, Complete())
        store.clock.advance(SECOND)
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(timedelta(0))), 10) == 1
        await store.settle(running, Complete())

        assert (await _ended(store, waiting)).keys() == {job.id, running.id}
        assert await _ended(store, _wait(store.backend, [job.id])) == {job.id: None}

    async def test_a_timeout_ends_a_wait_and_no_other(self, store: Store) -> None:
        [job] = await store.executing()
        patient = _wait(store.backend, [job.id])
        hurried = asyncio.ensure_future(store.backend.waits.wait([job.id], _take_none, timeout=5 * SECOND))
        await _turn()

        assert await _ended(store, hurried) == {job.id: JobStatus.EXECUTING}
        assert not patient.done()

        await store.settle(job, Complete())
        assert (await _ended(store, patient)).keys() == {job.id}

    async def test_a_thousand_waits_share_a_look_a_change(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * _MANY)
        looks = _count_looks(store.backend)
        waits = [_wait(store.backend, [job.id]) for job in jobs]
        await _turn()
        at_first = len(looks)
        for job in jobs[:_CHANGES]:
            await store.settle_all([Settlement(job.id, job.claims, Complete())])
            await _turn()

        # A backend may hear twice of a change: from itself and from others.
        assert at_first <= _CHANGES
        assert len(looks) - at_first <= 3 * _CHANGES
        await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs[_CHANGES:]])
        for wait in waits:
            await _ended(store, wait)

    async def test_a_job_that_ends_at_the_other_backend_ends_a_wait(self, store: Store) -> None:
        async with store.another_backend() as other:
            [job, cancelled] = await store.executing(new_job(), new_job())
            await store.settle(cancelled, Complete())
            await store.backend.rerun(cancelled.id)
            waiting = _wait(other, [job.id, cancelled.id])
            await _turn()

            await store.settle_all([Settlement(job.id, job.claims, Complete())])
            await store.backend.cancel(cancelled.id, "enough")

            found = await _ended(store, waiting)
            assert found == {job.id: await store.job(job.id), cancelled.id: await store.job(cancelled.id)}


def _wait(backend: Backend, ids: Collection[JobId]) -> "asyncio.Task[_Found]":
    """Start a wait without a timeout. The task's result is what was found of the jobs."""

    async def wait() -> _Found:
        found: _Found = {}
        assert await backend.waits.wait(ids, found.update) == {}
        return found

    return asyncio.ensure_future(wait())


async def _ended(store: Store, waiting: "asyncio.Future[T]") -> T:
    """Advance the clock, a second at a time, until the wait has ended. Return its result."""
    while not waiting.done():
        await asyncio.wait((waiting,), timeout=_BREATH)
        store.clock.advance(SECOND)
    return waiting.result()


async def _turn() -> None:
    """Let other tasks run for a moment."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(_BREATH, turn.set_result, None)
    await turn


def _take_none(found: Mapping[JobId, JobRecord | None]) -> None:
    raise AssertionError(f"no job has ended, but {found} was found")


def _count_looks(backend: Backend) -> list[Collection[JobId]]:
    """Return a list of the ids of each look from now on."""
    looks: list[Collection[JobId]] = []
    check_ended = backend.check_ended

    async def counted(ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        looks.append(ids)
        return await check_ended(ids)

    vars(backend)["check_ended"] = counted
    return looks
