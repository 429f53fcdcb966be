"""The order in which jobs are claimed."""

from datetime import timedelta

from rexecutor.backend.messages import Demand
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    MICROSECOND,
    NODE,
    SECOND,
    Store,
    failed,
    new_job,
)


class ClaimOrderCases(Cases):
    """Jobs are claimed by priority, then by due time, then in order of enqueue, across executors too."""

    async def test_the_most_urgent_come_first(self, store: Store) -> None:
        low, high, middle = await store.enqueue(new_job(priority=32_767), new_job(), new_job(priority=5))
        store.heartbeat()

        assert [job.id for job in await store.claim()] == [high, middle, low]

    async def test_of_one_priority_the_longest_due_come_first(self, store: Store) -> None:
        now = store.now
        moments = [now - SECOND, now - HOUR, now, now - SECOND - MICROSECOND]
        ids = await store.enqueue(*(new_job(scheduled_at=moment) for moment in moments))
        store.heartbeat()

        assert [job.id for job in await store.claim()] == [ids[1], ids[3], ids[0], ids[2]]

    async def test_of_one_moment_the_first_enqueued_come_first(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 30)
        store.heartbeat()

        assert [job.id for job in await store.claim()] == ids

    async def test_priority_wins_over_due_time(self, store: Store) -> None:
        old, urgent = await store.enqueue(new_job(priority=1, scheduled_at=store.now - HOUR), new_job(priority=0))
        store.heartbeat()

        assert [job.id for job in await store.claim()] == [urgent, old]

    async def test_the_order_holds_across_executors(self, store: Store) -> None:
        ids = await store.enqueue(
            new_job(BETA, priority=2), new_job(ALPHA, priority=3), new_job(ALPHA, priority=1), new_job(BETA)
        )
        store.heartbeat()

        jobs = await store.claim(executors=[ALPHA, BETA])

        assert [job.id for job in jobs] == [ids[3], ids[2], ids[0], ids[1]]

    async def test_when_fewer_are_asked_for_the_most_urgent_of_all_executors_are_taken(self, store: Store) -> None:
        ids = await store.enqueue(
            *(new_job(executor, priority=priority) for priority in (5, 4, 3) for executor in (ALPHA, BETA))
        )
        store.heartbeat()

        claim = await store.backend.claim(Demand({ALPHA: 3, BETA: 1}, 3), NODE)

        assert [job.id for job in claim.jobs] == [ids[4], ids[5], ids[2]]

    async def test_claims_one_by_one_keep_the_order(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(priority=priority) for priority in (3, 1, 2)))
        store.heartbeat()

        claimed = [(await store.claim(1))[0].id for _ in ids]

        assert claimed == [ids[1], ids[2], ids[0]]

    async def test_a_job_that_fell_due_later_takes_its_place_by_its_moment(self, store: Store) -> None:
        later, sooner = await store.enqueue(new_job(delay=20 * SECOND), new_job(delay=10 * SECOND))
        store.heartbeat(lease=HOUR)
        assert await store.claim() == []
        store.clock.advance(30 * SECOND)
        [now] = await store.enqueue(new_job())

        assert [job.id for job in await store.claim()] == [sooner, later, now]

    async def test_of_very_many_that_fall_due_at_once_the_longest_due_come_first(self, store: Store) -> None:
        await store.enqueue(*[new_job(delay=2 * SECOND)] * 1_500)
        [first] = await store.enqueue(new_job(delay=SECOND))
        store.heartbeat()
        store.clock.advance(2 * SECOND)

        assert [job.id for job in await store.claim(1)] == [first]

    async def test_an_urgent_job_that_falls_due_overtakes_those_that_wait(self, store: Store) -> None:
        waiting = await store.enqueue(*[new_job(priority=5)] * 3)
        [urgent] = await store.enqueue(new_job(priority=1, delay=SECOND))
        store.heartbeat()
        assert [job.id for job in await store.claim(1)] == waiting[:1]
        store.clock.advance(SECOND)

        assert [job.id for job in await store.claim()] == [urgent, *waiting[1:]]

    async def test_a_retry_takes_its_place_by_its_new_moment(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, failed(delay=2 * SECOND))
        before, after = await store.enqueue(new_job(delay=SECOND), new_job(delay=timedelta(seconds=3)))
        store.clock.advance(5 * SECOND)

        assert [claimed.id for claimed in await store.claim()] == [before, job.id, after]
