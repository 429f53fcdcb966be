"""Claims: which nodes may claim, which jobs are due, how many are claimed, and when the next is due."""

import asyncio
from datetime import timedelta
from operator import attrgetter

from rexecutor.backend.messages import Demand
from rexecutor.model import rules
from rexecutor.model.outcomes import Claimed
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    LEASE,
    MICROSECOND,
    NODE,
    OTHER_NODE,
    SECOND,
    Store,
    failed,
    new_job,
)


class ClaimCases(Cases):
    """A claim hands out due jobs to a node with a live lease, each once."""

    async def test_a_claimed_job_executes_on_the_node(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(data='{"n":1}', metadata="[]", tags=("t",)))
        before = await store.job(job_id)
        store.clock.advance(SECOND)
        store.heartbeat()

        [job] = await store.claim()

        assert job == rules.transition(before, Claimed(NODE), store.now, store.backend.limits)
        assert job == await store.job(job_id)

    async def test_a_claimed_job_is_not_claimed_again(self, store: Store) -> None:
        await store.executing()

        assert await store.claim() == []

    async def test_a_claimed_job_is_not_claimed_by_another_node(self, store: Store) -> None:
        await store.executing()
        store.heartbeat(OTHER_NODE)

        assert await store.claim(node_id=OTHER_NODE) == []

    async def test_each_claim_counts_an_attempt_and_raises_the_fence(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, failed())

        again = await store.reclaim(job.id)

        assert (job.attempt, job.claims) == (1, 1)
        assert (again.attempt, again.claims) == (2, 2)

    async def test_jobs_that_are_claimed_together_have_their_own_attempts_and_claims(self, store: Store) -> None:
        [tried] = await store.executing()
        await store.settle(tried, failed())
        await store.enqueue(new_job())

        jobs = await store.claim()

        assert [(job.attempt, job.claims) for job in sorted(jobs, key=attrgetter("id"))] == [(2, 2), (1, 1)]

    async def test_claims_at_the_same_time_share_no_job(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 60)
        store.heartbeat()
        store.heartbeat(OTHER_NODE)

        answers = await asyncio.gather(
            *(store.claim(7, node_id=node_id) for node_id in (NODE, OTHER_NODE) for _ in range(6))
        )

        claimed = [job.id for jobs in answers for job in jobs]
        assert sorted(claimed) == ids

    async def test_only_jobs_of_the_executors_asked_for_are_claimed(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA), new_job(BETA))
        store.heartbeat()

        [job] = await store.claim(executors=[BETA])

        assert job.executor == BETA

    async def test_an_executor_without_jobs_gets_none(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA))
        store.heartbeat()

        assert await store.claim(executors=["gamma"]) == []

    async def test_no_more_than_an_executors_slots_are_claimed(self, store: Store) -> None:
        await store.enqueue(*[new_job(ALPHA)] * 10, *[new_job(BETA)] * 10)
        store.heartbeat()

        claim = await store.backend.claim(Demand({ALPHA: 2, BETA: 3}, 100), NODE)

        assert [job.executor for job in claim.jobs] == [ALPHA] * 2 + [BETA] * 3

    async def test_no_more_than_asked_for_in_all_are_claimed(self, store: Store) -> None:
        await store.enqueue(*[new_job(ALPHA)] * 10, *[new_job(BETA)] * 10)
        store.heartbeat()

        claim = await store.backend.claim(Demand({ALPHA: 10, BETA: 10}, 4), NODE)

        assert len(claim.jobs) == 4
        assert [job.status for job in await store.jobs()].count(JobStatus.EXECUTING) == 4

    async def test_a_demand_may_name_hundreds_of_executors(self, store: Store) -> None:
        names = [f"executor-{number}" for number in range(500)]
        ids = await store.enqueue(*(new_job(name) for name in names[::5]))
        store.heartbeat()

        jobs = await store.claim(1_000, executors=names)

        assert [job.id for job in jobs] == ids

    async def test_a_job_is_claimed_at_its_moment_and_not_a_microsecond_before(self, store: Store) -> None:
        await store.enqueue(new_job(delay=10 * SECOND))
        store.heartbeat()
        store.clock.advance(10 * SECOND - MICROSECOND)

        early = await store.claim()
        store.clock.advance(MICROSECOND)
        on_time = await store.claim()

        assert early == []
        assert len(on_time) == 1

    async def test_jobs_that_fall_due_together_are_all_claimed_at_once(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job(delay=SECOND)] * 20)
        store.heartbeat()
        assert await store.claim() == []
        store.clock.advance(SECOND)

        assert [job.id for job in await store.claim()] == ids

    async def test_a_future_job_does_not_hide_a_due_one(self, store: Store) -> None:
        await store.enqueue(*[new_job(priority=0, delay=HOUR)] * 20)
        [due] = await store.enqueue(new_job(priority=9))
        store.heartbeat()

        assert [job.id for job in await store.claim(1)] == [due]

    async def test_very_many_due_jobs_do_not_hide_one_that_has_just_fallen_due(self, store: Store) -> None:
        await store.enqueue(*[new_job(BETA)] * 1_100)
        [due] = await store.enqueue(new_job(ALPHA, delay=SECOND))
        store.heartbeat()
        store.clock.advance(SECOND)

        assert [job.id for job in await store.claim(executors=[ALPHA])] == [due]

    async def test_a_clock_that_goes_back_makes_no_claim_early(self, store: Store) -> None:
        await store.enqueue(new_job(), new_job(delay=10 * SECOND))
        store.heartbeat(lease=HOUR)
        store.clock.advance(10 * SECOND)
        await store.claim(1)  # gives the store the chance to mark the other job as due, too
        store.clock.jump(-5 * SECOND)

        early = await store.claim()
        store.clock.jump(5 * SECOND)

        assert early == []
        assert len(await store.claim()) == 1

    async def test_a_job_enqueued_before_the_clock_went_back_is_not_early(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.clock.jump(-SECOND)
        store.heartbeat()

        assert await store.claim() == []

    async def test_a_node_without_a_lease_gets_nothing(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat(OTHER_NODE)

        assert await store.claim(node_id=NODE) == []

    async def test_a_lease_holds_until_its_end_and_no_longer(self, store: Store) -> None:
        await store.enqueue(new_job(), new_job())
        store.heartbeat(lease=LEASE)
        store.clock.advance(LEASE - MICROSECOND)

        within = await store.claim(1)
        store.clock.advance(MICROSECOND)
        after = await store.claim(1)

        assert len(within) == 1
        assert after == []

    async def test_a_retired_node_gets_nothing(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat()
        store.deregister()

        assert await store.claim() == []

    async def test_the_next_due_moment_is_the_earliest_of_whatever_executor(self, store: Store) -> None:
        await store.enqueue(new_job(ALPHA, delay=HOUR), new_job(BETA, delay=7 * SECOND), new_job(ALPHA), new_job(BETA))
        store.heartbeat()

        claim = await store.ask(10, executors=[ALPHA])

        assert len(claim.jobs) == 1
        assert claim.next_due == store.now + 7 * SECOND

    async def test_a_claim_of_what_has_just_fallen_due_tells_when_the_next_job_does(self, store: Store) -> None:
        await store.enqueue(new_job(delay=SECOND), new_job(delay=HOUR))
        store.heartbeat()
        next_due = store.now + HOUR
        store.clock.advance(SECOND)

        claim = await store.ask()

        assert len(claim.jobs) == 1
        assert claim.next_due == next_due

    async def test_a_retry_that_waits_for_its_time_is_the_next_due(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, failed(delay=timedelta(microseconds=1_500_001)))

        claim = await store.ask()

        assert claim.next_due == store.now + timedelta(microseconds=1_500_001)

    async def test_there_is_no_next_due_moment_when_nothing_waits(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat()

        claim = await store.ask(10)

        assert len(claim.jobs) == 1
        assert claim.next_due is None

    async def test_many_jobs_are_claimed_at_once(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 3_000)
        store.heartbeat()

        assert [job.id for job in await store.claim(2_500)] == ids[:2_500]
        assert [job.id for job in await store.claim(2_500)] == ids[2_500:]
