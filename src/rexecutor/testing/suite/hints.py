"""Hints: a waiting caller is woken, and no change between its last look and its wait is missed."""

import asyncio
from datetime import timedelta

from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, HOUR, NODE, SECOND, Store, failed, new_job

_BREATH = 0.01  # seconds of real time between two moves of the clock, for waiting tasks to run


class HintCases(Cases):
    """`wait_ready` and `wait_ended` may return early, but must not miss a change since the given count."""

    async def test_an_enqueue_wakes_who_waits_for_jobs(self, store: Store) -> None:
        since = store.backend.change_count
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.backend.wait_ready([ALPHA], store.now + HOUR, since=since))
            await _turn()

            await store.enqueue(new_job())

    async def test_an_enqueue_between_the_look_and_the_wait_is_not_missed(self, store: Store) -> None:
        store.heartbeat()
        since = store.backend.change_count
        assert await store.claim() == []
        await store.enqueue(new_job())

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_the_change_count_never_goes_back(self, store: Store) -> None:
        counts = [store.backend.change_count]
        for _ in range(5):
            await store.enqueue(new_job())
            counts.append(store.backend.change_count)

        assert counts == sorted(counts)
        assert counts[-1] > counts[0]

    async def test_a_failed_job_that_is_due_again_wakes_who_waits_for_jobs(self, store: Store) -> None:
        [job] = await store.executing()
        since = store.backend.change_count
        await store.settle(job, failed())

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_a_rerun_wakes_who_waits_for_jobs(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, Complete())
        since = store.backend.change_count
        await store.backend.rerun(job.id)

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_a_job_given_back_wakes_who_waits_for_jobs(self, store: Store) -> None:
        await store.executing()
        since = store.backend.change_count
        await store.backend.release_claims(NODE, [])

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_all_who_wait_are_woken(self, store: Store) -> None:
        since = store.backend.change_count
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(store.backend.wait_ready([ALPHA], store.now + HOUR, since=since))
            await _turn()

            await store.enqueue(new_job())

    async def test_a_wait_for_jobs_ends_at_its_moment(self, store: Store) -> None:
        wait = store.backend.wait_ready([ALPHA], store.now + 5 * SECOND, since=store.backend.change_count)
        async with asyncio.TaskGroup() as tasks:
            await _advance_until_done(store, tasks.create_task(wait))

    async def test_a_wait_ends_at_its_moment_where_its_seconds_add_up_to_a_hair_more(self, store: Store) -> None:
        store.clock.advance(SECOND / 10)
        assert 0.1 + 0.05 > 0.15
        until = store.now + SECOND / 20
        wait = asyncio.ensure_future(store.backend.wait_ready([ALPHA], until, since=store.backend.change_count))
        await _turn()

        store.clock.advance(SECOND / 20)

        await asyncio.wait((wait,), timeout=5)
        assert wait.done()

    async def test_a_wait_until_a_past_moment_ends_at_once(self, store: Store) -> None:
        since = store.backend.change_count

        await store.backend.wait_ready([ALPHA], store.now - HOUR, since=since)

        await store.backend.wait_ended(store.now, since=since)

    async def test_a_settled_job_wakes_who_waits_for_its_end(self, store: Store) -> None:
        [job] = await store.executing()
        since = store.backend.change_count
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.backend.wait_ended(store.now + HOUR, since=since))
            await _turn()

            await store.settle_all([Settlement(job.id, job.claims, Complete())])

    async def test_an_end_between_the_look_and_the_wait_is_not_missed(self, store: Store) -> None:
        [job] = await store.executing()
        since = store.backend.change_count
        assert not (await store.job(job.id)).status.has_ended
        await store.settle(job, Complete())

        await store.backend.wait_ended(store.now + HOUR, since=since)

    async def test_a_cancel_wakes_who_waits_for_the_end(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        since = store.backend.change_count
        await store.backend.cancel(job_id, "enough")

        await store.backend.wait_ended(store.now + HOUR, since=since)

    async def test_a_cancel_of_a_running_job_is_heard_of_where_it_was_asked_for(self, store: Store) -> None:
        [job] = await store.executing()
        since = store.backend.cancels
        await store.backend.cancel(job.id, "enough")

        await store.backend.wait_cancel(store.now + HOUR, since=since)

        assert store.backend.cancels > since

    async def test_a_wait_for_an_end_ends_at_its_moment(self, store: Store) -> None:
        wait = store.backend.wait_ended(store.now + 5 * SECOND, since=store.backend.change_count)
        async with asyncio.TaskGroup() as tasks:
            await _advance_until_done(store, tasks.create_task(wait))

    async def test_a_wait_may_be_cancelled(self, store: Store) -> None:
        waiting = _waiting(store)
        await _turn()
        while not waiting.cancel():  # it returned early, which is allowed
            waiting = _waiting(store)
            await _turn()

        await asyncio.wait((waiting,))

        assert waiting.cancelled()
        await store.enqueue(new_job())


def _waiting(store: Store) -> "asyncio.Task[None]":
    """Start a task that waits for jobs, for at most an hour on the store's clock."""
    since = store.backend.change_count
    return asyncio.ensure_future(store.backend.wait_ready([ALPHA], store.now + HOUR, since=since))


async def _turn() -> None:
    """Let other tasks run for a moment, so that they begin to wait."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(_BREATH, turn.set_result, None)
    await turn


async def _advance_until_done(store: Store, waiting: "asyncio.Task[None]") -> None:
    """Advance the clock, a second at a time, until the task has ended."""
    while not waiting.done():
        store.clock.advance(timedelta(seconds=1))
        await asyncio.wait((waiting,), timeout=_BREATH)
