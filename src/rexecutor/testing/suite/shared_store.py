"""Two backends on one store, at the same time or one after the other. Skipped if `shares_store` is False."""

import asyncio
import threading

from rexecutor.backend.messages import Node
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    ALPHA,
    HOUR,
    LEASE,
    NODE,
    OTHER_NODE,
    Store,
    failed,
    new_job,
)


class SharedStoreCases(Cases):
    """What one backend stores, another on the same store sees, and it is still there after reopening."""

    async def test_a_job_is_seen_by_the_other_backend_at_once(self, store: Store) -> None:
        async with store.another_backend() as other:
            [job_id] = await store.enqueue(new_job(data='"seen"', tags=("t",)))

            assert await store.beside(other).jobs() == [await store.job(job_id)]

    async def test_a_lease_and_a_claim_hold_for_the_other_backend(self, store: Store) -> None:
        async with store.another_backend() as other:
            [job] = await store.executing()

            assert await store.beside(other).claim(node_id=NODE) == []
            assert await store.beside(other).job(job.id) == job

    async def test_either_backend_may_settle_and_only_one_does(self, store: Store) -> None:
        async with store.another_backend() as other:
            [job] = await store.executing()

            await store.beside(other).settle(job, failed())
            refused = await store.settle_all([Settlement(job.id, job.claims, Complete())])

            assert refused == [job.id]
            assert (await store.job(job.id)).status is JobStatus.RETRYABLE

    async def test_claims_of_two_backends_share_no_job(self, store: Store) -> None:
        async with store.another_backend() as other:
            ids = await store.enqueue(*[new_job()] * 100)
            store.heartbeat(NODE)
            store.heartbeat(OTHER_NODE)
            beside = store.beside(other)

            answers = await asyncio.gather(
                *(store.claim(7, node_id=NODE) for _ in range(10)),
                *(beside.claim(7, node_id=OTHER_NODE) for _ in range(10)),
            )

            assert sorted(job.id for jobs in answers for job in jobs) == ids

    async def test_enqueues_of_two_backends_get_ids_of_their_own(self, store: Store) -> None:
        async with store.another_backend() as other:
            beside = store.beside(other)

            answers = await asyncio.gather(
                *(each.enqueue(new_job(), new_job()) for _ in range(20) for each in (store, beside))
            )

            ids = [job_id for batch in answers for job_id in batch]
            assert len(set(ids)) == 80
            assert len(await store.jobs()) == 80

    async def test_an_enqueue_wakes_who_waits_at_the_other_backend(self, store: Store) -> None:
        async with store.another_backend() as other, asyncio.TaskGroup() as tasks:
            since = other.change_count
            waiting = tasks.create_task(other.wait_ready([ALPHA], store.now + HOUR, since=since))

            await store.enqueue(new_job())

            while not waiting.done():  # the hint may be lost; then the wait ends at its deadline
                await asyncio.wait((waiting,), timeout=1)
                store.clock.advance(HOUR)

    async def test_a_heartbeat_at_one_backend_rescues_what_was_claimed_at_the_other(self, store: Store) -> None:
        async with store.another_backend() as other:
            beside = store.beside(other)
            [job] = await beside.executing()
            beside.close()
            store.clock.advance(LEASE)

            assert store.heartbeat(OTHER_NODE).rescued == 1
            assert (await beside.job(job.id)).status is JobStatus.RETRYABLE

    async def test_a_cancel_at_one_backend_is_told_at_the_heartbeat_of_the_other(self, store: Store) -> None:
        async with store.another_backend() as other:
            [job] = await store.executing()

            await other.cancel(job.id, "enough")

            assert [request.job_id for request in store.heartbeat().cancels] == [job.id]

    async def test_everything_stays_when_the_store_is_opened_again(self, store: Store) -> None:
        again = store.another_backend()
        done, failing, _ = await store.executing(*[new_job(data='"ž"', metadata="[1]", tags=("t",))] * 3)
        await store.settle(done, Complete())
        await store.settle(failing, failed(delay=HOUR))
        before = await store.jobs()
        store.close()
        await store.backend.close()

        async with again:
            assert await store.beside(again).jobs() == before

    async def test_ids_go_on_growing_when_the_store_is_opened_again(self, store: Store) -> None:
        again = store.another_backend()
        [before] = await store.enqueue(new_job())
        await store.backend.close()

        async with again:
            [after] = await store.beside(again).enqueue(new_job())

        assert after > before

    async def test_a_lease_outlives_its_backend(self, store: Store) -> None:
        again = store.another_backend()
        [job] = await store.executing()
        store.close()
        await store.backend.close()

        async with again:
            beside = store.beside(again)
            early = beside.heartbeat(OTHER_NODE)
            store.clock.advance(LEASE)
            late = beside.heartbeat(OTHER_NODE)
            beside.close()

            assert (early.rescued, late.rescued) == (0, 1)
            assert (await beside.job(job.id)).status is JobStatus.RETRYABLE

    async def test_heartbeats_in_threads_do_not_disturb_the_work_of_two_backends(self, store: Store) -> None:
        async with store.another_backend() as other:
            await store.enqueue(*[new_job()] * 200)
            ended = threading.Event()

            def live(each: Store, node_id: str) -> None:
                heartbeats = each.backend.heartbeat_connection()
                while not ended.wait(0.001):
                    heartbeats.send(Node(node_id, node_id, LEASE))
                heartbeats.close()

            async def work(each: Store, node_id: str) -> None:
                while jobs := await each.claim(8, node_id=node_id):
                    await each.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs])

            nodes = ((store, NODE), (store.beside(other), OTHER_NODE))
            for _, node_id in nodes:
                store.heartbeat(node_id)
            async with asyncio.TaskGroup() as tasks:
                for each, node_id in nodes:
                    tasks.create_task(asyncio.to_thread(live, each, node_id))
                await asyncio.gather(*(work(each, node_id) for each, node_id in nodes))
                ended.set()

            assert {job.status for job in await store.jobs()} == {JobStatus.COMPLETE}
