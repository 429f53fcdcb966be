"""Headers: texts that middleware sends along with a job. They are stored with it, and never change."""

from functools import partial
from typing import Final

from msgspec.structs import replace

from rexecutor.model.job import NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, NODE, Store, failed, new_job
from rexecutor.testing.suite.synchronous import in_thread, skip_without

_HEADERS: Final = '{"traceparent":"00-0af7-b7ad-01","\u017ee \\"":""}'


class HeaderCases(Cases):
    """A job's headers are returned as the text that was given, and no change of the job touches them."""

    async def test_headers_are_stored_with_each_job_alone_and_in_a_batch(self, store: Store) -> None:
        jobs = (new_job(headers=_HEADERS), new_job(), new_job(headers='{"a":"b"}', expires_in=HOUR, tags=("t",)))

        ids = await store.enqueue(*jobs)
        ids += await store.enqueue(*[jobs[0]] * 3)
        ids += [(await store.add(job)).id for job in jobs]
        ids += [(await store.add(replace(job, unique=UniquenessCriteria.by_key(n)))).id for n, job in enumerate(jobs)]

        stored = [(await store.job(job_id)).headers for job_id in ids]
        expected = [job.headers for job in jobs]
        assert stored == [*expected, *[_HEADERS] * 3, *expected, *expected]

    async def test_a_claim_returns_headers(self, store: Store) -> None:
        store.heartbeat()
        await store.enqueue(new_job(headers=_HEADERS), new_job())

        jobs = await store.claim()

        assert [job.headers for job in jobs] == [_HEADERS, None]
        assert jobs == await store.jobs()

    async def test_headers_stay_through_failures_reruns_and_the_end(self, store: Store) -> None:
        store.heartbeat()
        [job_id] = await store.enqueue(new_job(headers=_HEADERS))
        for outcome in (failed(), Complete()):
            [job] = await store.claim()
            await store.backend.settle([Settlement(job_id, job.claims, outcome)])
            assert (await store.job(job_id)).headers == _HEADERS

        await store.backend.rerun(job_id)

        assert (await store.job(job_id)).headers == _HEADERS
        assert [job.headers for job in await store.claim()] == [_HEADERS]

    async def test_headers_stay_when_the_node_is_lost_or_gives_the_job_back(self, store: Store) -> None:
        store.heartbeat()
        [job_id] = await store.enqueue(new_job(headers=_HEADERS))
        await store.claim()
        await store.backend.release_claims(NODE, (), epoch=1)

        assert (await store.job(job_id)).headers == _HEADERS

    async def test_an_update_and_a_replacement_leave_headers_as_they_are(self, store: Store) -> None:
        unique = UniquenessCriteria.by_key("k").on_conflict(Replace.data().and_priority())
        first = new_job(headers=_HEADERS, unique=unique)
        [job_id] = await store.enqueue(first)

        await store.add(_changed(first))
        assert (await store.job(job_id)).headers == _HEADERS

        job = await store.job(job_id)
        updated = await store.backend.update(job_id, _changed(new_job()), version=job.version)
        assert updated.headers == _HEADERS
        assert (await store.job(job_id)).headers == _HEADERS

    async def test_a_synchronous_enqueue_stores_headers(self, store: Store) -> None:
        skip_without(store.backend, "enqueue_sync")
        with_headers = new_job(headers=_HEADERS)

        for jobs in ([with_headers], [new_job(), with_headers]):
            await in_thread(partial(store.backend.enqueue_sync, jobs))

        assert [job.headers for job in await store.jobs()] == [_HEADERS, None, _HEADERS]


def _changed(job: NewJob) -> NewJob:
    return replace(job, data='"other"', priority=7, headers='{"other":"1"}')
