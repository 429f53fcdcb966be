"""Opening, closing and migrating a backend."""

from rexecutor.backend.messages import Count
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, Store, new_job


class LifecycleCases(Cases):
    """A backend may be opened and closed any number of times."""

    async def test_it_is_open_inside_async_with(self, store: Store) -> None:
        assert store.backend.is_open

    async def test_opening_it_again_is_harmless(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        await store.backend.open()

        assert store.backend.is_open
        assert (await store.job(job_id)).id == job_id

    async def test_closing_it_twice_is_harmless(self, store: Store) -> None:
        await store.backend.close()

        await store.backend.close()

    async def test_migrating_an_open_store_is_harmless(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(data='"kept"'))

        await store.backend.migrate()

        assert (await store.job(job_id)).data == '"kept"'

    async def test_migrating_a_closed_store_keeps_its_jobs_and_does_not_open_it(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(data='"kept"'))
        await store.backend.close()
        was_open = store.backend.is_open  # an in-memory backend is always open

        await store.backend.migrate()

        assert store.backend.is_open == was_open
        await store.backend.open()
        assert (await store.job(job_id)).data == '"kept"'

    async def test_closing_synchronously_what_is_closed_is_harmless(self, store: Store) -> None:
        await store.backend.close()

        store.backend.close_sync()
        store.backend.close_sync()

        await store.backend.open()
        assert await store.jobs() == []

    async def test_it_runs_on_the_clock_that_it_was_given(self, store: Store) -> None:
        assert store.backend.clock is store.clock

    async def test_a_new_store_is_empty(self, store: Store) -> None:
        assert await store.jobs() == []
        assert list(await store.backend.count()) == []

    async def test_jobs_are_counted_by_executor_and_status(self, store: Store) -> None:
        await store.executing(new_job(BETA), new_job(BETA))

        await store.enqueue(new_job(ALPHA), new_job(BETA))

        assert list(await store.backend.count()) == [
            Count(ALPHA, JobStatus.SCHEDULED, 1),
            Count(BETA, JobStatus.EXECUTING, 2),
            Count(BETA, JobStatus.SCHEDULED, 1),
        ]

    async def test_closing_a_heartbeat_connection_twice_is_harmless(self, store: Store) -> None:
        heartbeats = store.backend.heartbeat_connection()

        heartbeats.close()

        heartbeats.close()
