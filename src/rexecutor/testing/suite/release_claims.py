"""Giving back claims whose answer never reached the node."""

from rexecutor.backend.messages import Demand, Node
from rexecutor.model import rules
from rexecutor.model.outcomes import Complete, Interrupted, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, LEASE, NODE, OTHER_NODE, SECOND, Store, failed, new_job


class ReleaseClaimsCases(Cases):
    """Jobs claimed by a node that does not hold them go back as if they had not been claimed."""

    async def test_jobs_that_are_not_held_go_back_with_their_attempt(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 3)
        store.clock.advance(SECOND)

        given_back = await store.backend.release_claims(NODE, [])

        assert given_back == 3
        assert await store.jobs() == [
            rules.transition(job, Interrupted(), store.now, store.backend.limits) for job in jobs
        ]

    async def test_jobs_that_are_held_stay(self, store: Store) -> None:
        held, dropped, also_held = await store.executing(*[new_job()] * 3)

        given_back = await store.backend.release_claims(NODE, {held.claim_id, also_held.claim_id})

        assert given_back == 1
        assert await store.job(held.id) == held
        assert await store.job(also_held.id) == also_held
        assert (await store.job(dropped.id)).status is JobStatus.SCHEDULED

    async def test_holding_an_earlier_claim_of_a_job_is_not_to_hold_the_job(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, failed())
        again = await store.reclaim(job.id)

        assert await store.backend.release_claims(NODE, [job.claim_id]) == 1
        assert (await store.job(again.id)).status is JobStatus.SCHEDULED

    async def test_jobs_of_other_nodes_stay(self, store: Store) -> None:
        [job] = await store.executing(node_id=OTHER_NODE)

        assert await store.backend.release_claims(NODE, []) == 0
        assert await store.job(job.id) == job

    async def test_jobs_that_do_not_execute_stay(self, store: Store) -> None:
        done, failing = await store.executing(new_job(), new_job())
        await store.settle(done, Complete())
        await store.settle(failing, failed())
        before = await store.jobs()

        assert await store.backend.release_claims(NODE, []) == 0
        assert await store.jobs() == before

    async def test_what_was_given_back_is_claimed_anew_and_the_old_claim_is_stale(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        await store.backend.release_claims(NODE, [])

        [again] = await store.claim()

        assert (again.id, again.attempt, again.claims) == (job.id, 1, 2)
        assert await store.settle_all([Settlement(job.id, job.claims, Complete())]) == [job.id]

    async def test_giving_back_twice_is_harmless(self, store: Store) -> None:
        [job] = await store.executing()
        await store.backend.release_claims(NODE, [])
        before = await store.job(job.id)

        assert await store.backend.release_claims(NODE, []) == 0
        assert await store.job(job.id) == before

    async def test_a_job_given_back_whose_cancel_was_asked_for_is_cancelled(self, store: Store) -> None:
        [job] = await store.executing()
        await store.backend.cancel(job.id, "enough")

        given_back = await store.backend.release_claims(NODE, [])

        after = await store.job(job.id)
        assert given_back == 1
        assert after.status is JobStatus.CANCELLED
        assert after.errors[-1].details == "enough"

    async def test_a_node_may_hold_thousands_of_jobs(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 2_000)
        held = [job.claim_id for job in jobs[:-1]]

        assert await store.backend.release_claims(NODE, held) == 1

    async def test_a_claim_that_was_given_up_takes_nothing_when_it_comes_late(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        store.heartbeat()
        assert await store.backend.release_claims(NODE, [], epoch=1) == 0

        late = await store.backend.claim(Demand({ALPHA: 1}, 1, epoch=0), NODE)
        assert list(late.jobs) == []
        claim = await store.backend.claim(Demand({ALPHA: 1}, 1, epoch=1), NODE)
        assert [job.id for job in claim.jobs] == [job_id]

    async def test_what_is_given_back_late_is_not_what_was_claimed_since(self, store: Store) -> None:
        await store.executing()
        assert await store.backend.release_claims(NODE, [], epoch=1) == 1
        claim = await store.backend.claim(Demand({ALPHA: 1}, 1, epoch=1), NODE)

        assert len(claim.jobs) == 1
        assert await store.backend.release_claims(NODE, [], epoch=1) == 0  # an earlier try that arrives late
        assert (await store.job(claim.jobs[0].id)).status is JobStatus.EXECUTING
        assert await store.backend.release_claims(NODE, [], epoch=2) == 1

    async def test_a_heartbeat_tells_the_epoch_of_a_node_that_was_forgotten(self, store: Store) -> None:
        await store.enqueue(new_job())
        heartbeats = store.backend.heartbeat_connection()
        try:
            heartbeats.send(Node(NODE, NODE, LEASE, epoch=3))
            heartbeats.send(Node(NODE, NODE, LEASE, epoch=2))  # an older heartbeat that arrives late
            late = await store.backend.claim(Demand({ALPHA: 1}, 1, epoch=2), NODE)
            assert list(late.jobs) == []
            assert len((await store.backend.claim(Demand({ALPHA: 1}, 1, epoch=3), NODE)).jobs) == 1
        finally:
            heartbeats.close()
