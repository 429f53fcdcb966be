"""Threads without an event loop that wait for jobs to end. Skipped if the backend leaves out `query_sync`."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Final, TypeAlias

from rexecutor.backend.base import Backend
from rexecutor.backend.waits import Unended
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.outcomes import Complete
from rexecutor.model.pruning import OlderThan, PruneSpec
from rexecutor.model.status import ENDED, JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, SECOND, Store, failed, new_job
from rexecutor.testing.suite.synchronous import in_thread, in_threads, skip_without

_PATIENCE: Final = 20.0
"""Seconds of real time after which a wait counts as hanging."""
_LATE: Final = 5.0
"""Seconds of real time within which a thread must notice an end, several times as many as it polls."""

_GLANCE: Final = 0.002
"""Seconds of real time between two looks at how many threads wait."""

Found: TypeAlias = "tuple[dict[JobId, JobRecord | None], Unended]"
"""What a wait has found: the ended jobs, and the others."""


def wait_for(backend: Backend, ids: Collection[JobId], timeout: timedelta | None = HOUR) -> Found:
    """Wait in this thread for the jobs to end."""
    found: dict[JobId, JobRecord | None] = {}
    return found, backend.sync_waits.wait(ids, found.update, timeout=timeout)


async def _until_waiting(backend: Backend, threads: int) -> None:
    never = asyncio.get_running_loop().create_future()
    for _ in range(round(_PATIENCE / _GLANCE)):
        if backend.sync_waits.threads == threads:
            return
        await asyncio.wait((never,), timeout=_GLANCE)
    raise AssertionError(f"{backend.sync_waits.threads} threads wait, not {threads}")


class SyncWaitCases(Cases):
    """A thread's wait ends soon after its jobs, on whatever backend they end, or when its timeout is over."""

    async def test_jobs_that_have_ended_are_found_at_once(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        ended = [await store.job_in(status, new_job(str(status))) for status in sorted(ENDED)]

        found, unended = await in_thread(lambda: wait_for(store.backend, [job.id for job in ended]))

        assert (found, unended) == ({job.id: job for job in ended}, {})

    async def test_a_job_that_is_not_stored_is_found_missing(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        [job_id] = await store.enqueue(new_job())

        for missing in (job_id + 1, 2**70, -1):
            assert await in_thread(lambda: wait_for(store.backend, [missing])) == ({missing: None}, {})  # noqa: B023 - called at once

    async def test_a_wait_ends_with_the_jobs(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        jobs = await store.executing(new_job(), new_job(max_attempts=1))
        [cancelled_later] = await store.enqueue(new_job(delay=HOUR))
        ids = [*(job.id for job in jobs), cancelled_later]
        waiting = asyncio.ensure_future(in_thread(lambda: wait_for(store.backend, ids)))
        await _until_waiting(store.backend, 1)

        ended = [await store.settle(job, outcome) for job, outcome in zip(jobs, (Complete(), failed()), strict=True)]
        await store.backend.cancel(cancelled_later, "enough")
        done, _ = await asyncio.wait((waiting,), timeout=_LATE)

        assert done, "the wait has not noticed the ends"
        found, unended = waiting.result()
        assert {job.id: found[job.id] for job in ended} == {job.id: job for job in ended}
        assert (found[cancelled_later], unended) == (await store.job(cancelled_later), {})

    async def test_a_wait_notices_the_end_that_another_backend_settles(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        async with store.another_backend() as other:
            [job] = await store.executing()
            waiting = asyncio.ensure_future(in_thread(lambda: wait_for(store.backend, [job.id])))
            await _until_waiting(store.backend, 1)

            ended = await store.beside(other).settle(job, Complete())
            done, _ = await asyncio.wait((waiting,), timeout=_LATE)

            assert done, "the wait has not noticed the end"
            assert waiting.result() == ({job.id: ended}, {})

    async def test_a_backend_that_is_not_open_waits_too(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        other = store.another_backend()
        [job] = await store.executing()
        waiting = asyncio.ensure_future(in_thread(lambda: wait_for(other, [job.id])))
        await _until_waiting(other, 1)

        ended = await store.settle(job, Complete())
        done, _ = await asyncio.wait((waiting,), timeout=_LATE)

        assert done, "the wait has not noticed the end"
        assert waiting.result() == ({job.id: ended}, {})
        await in_thread(other.close_sync)

    async def test_a_job_that_is_deleted_meanwhile_ends_the_wait(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        [job] = await store.executing()
        waiting = asyncio.ensure_future(in_thread(lambda: wait_for(store.backend, [job.id])))
        await _until_waiting(store.backend, 1)

        ended = await store.settle(job, Complete())
        store.clock.advance(2 * SECOND)
        await store.backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(SECOND)), 10)
        done, _ = await asyncio.wait((waiting,), timeout=_LATE)

        assert await store.jobs() == []
        assert done, "the wait has not noticed the end"
        found, unended = waiting.result()
        assert found[job.id] in (ended, None)  # the thread may have looked before the job was deleted
        assert (list(found), unended) == ([job.id], {})

    async def test_a_wait_of_no_time_looks_once(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        ended = await store.job_in(JobStatus.COMPLETE)
        [running] = await store.executing(new_job("other"))

        found = await in_thread(lambda: wait_for(store.backend, [ended.id, running.id], timedelta(0)))

        assert found == ({ended.id: ended}, {running.id: JobStatus.EXECUTING})

    async def test_a_wait_ends_when_its_time_is_up_on_the_backends_clock(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        [job_id] = await store.enqueue(new_job(delay=HOUR))
        waiting = asyncio.ensure_future(in_thread(lambda: wait_for(store.backend, [job_id], 10 * SECOND)))
        await _until_waiting(store.backend, 1)

        store.clock.advance(9 * SECOND)
        early, _ = await asyncio.wait((waiting,), timeout=0.1)
        store.clock.advance(SECOND)
        done, _ = await asyncio.wait((waiting,), timeout=_LATE)

        assert not early
        assert done, "the wait has not ended in time"
        assert waiting.result() == ({}, {job_id: JobStatus.SCHEDULED})

    async def test_many_threads_wait_each_for_a_job_of_its_own(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        jobs = await store.executing(*[new_job()] * 12)
        waiting = asyncio.ensure_future(in_threads([lambda job=job: wait_for(store.backend, [job.id]) for job in jobs]))
        await _until_waiting(store.backend, len(jobs))

        ended: list[JobRecord] = []
        for left, job in reversed(list(enumerate(jobs))):
            ended.append(await store.settle(job, Complete()))
            if left % 4 == 0:  # those that have ended leave, and the one that led is among them
                await _until_waiting(store.backend, left)
        done, _ = await asyncio.wait((waiting,), timeout=_PATIENCE)

        assert done, "a wait has not noticed its end"
        assert waiting.result() == [({job.id: job}, {}) for job in reversed(ended)]

    async def test_an_error_of_one_who_waits_ends_no_other_wait(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        first, second = await store.executing(new_job(), new_job())

        def refuse() -> None:
            store.backend.sync_waits.wait([first.id], lambda _: 1 / 0)

        waiting = asyncio.ensure_future(in_threads([refuse, lambda: wait_for(store.backend, [second.id])]))
        await _until_waiting(store.backend, 2)
        await store.settle(first, Complete())
        await _until_waiting(store.backend, 1)
        ended = await store.settle(second, Complete())

        error, found = await waiting
        assert isinstance(error, ZeroDivisionError)
        assert found == ({second.id: ended}, {})
