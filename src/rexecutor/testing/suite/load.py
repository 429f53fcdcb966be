"""The load: what waits and executes of each executor, and who executes it."""

import asyncio
from typing import Final

from rexecutor.backend.messages import MOST_COUNTED, Holder, Load
from rexecutor.model.outcomes import Complete, Interrupted
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, LEASE, NODE, OTHER_NODE, SECOND, Store, failed, new_job

HALF: Final = MOST_COUNTED // 2
"""How far the jobs of each of two executors are counted."""


class LoadCases(Cases):
    """`load` counts the jobs that have not ended."""

    async def test_an_empty_store_has_no_load(self, store: Store) -> None:
        assert list(await store.backend.load()) == []
        assert list(await store.backend.load(ALPHA)) == []

    async def test_waiting_jobs_are_counted_due_or_not(self, store: Store) -> None:
        began = store.now
        await store.enqueue(new_job(delay=HOUR), new_job(delay=2 * SECOND), new_job(delay=SECOND), new_job(BETA))
        store.clock.advance(2 * SECOND)

        assert list(await store.backend.load()) == [
            Load(ALPHA, 3, 2, began + SECOND, [], HALF),
            Load(BETA, 1, 1, began, [], HALF),
        ]

    async def test_a_job_is_due_at_its_moment_whether_or_not_a_claim_has_looked(self, store: Store) -> None:
        due = store.now + SECOND
        await store.enqueue(new_job(delay=SECOND))
        assert list(await store.backend.load()) == [Load(ALPHA, 1, 0, None, [])]

        store.clock.advance(SECOND)

        assert list(await store.backend.load()) == [Load(ALPHA, 1, 1, due, [])]

    async def test_executing_jobs_are_counted_by_node_with_the_one_claimed_first(self, store: Store) -> None:
        began = store.now
        [first, *_] = await store.executing(new_job(), new_job())
        store.clock.advance(SECOND)
        await store.enqueue(*[new_job()] * 5, new_job(BETA))
        store.heartbeat()
        store.heartbeat(OTHER_NODE)
        others = await store.claim(3, node_id=OTHER_NODE)
        store.clock.advance(SECOND)
        [beta] = await store.claim(executors=[BETA])
        oldest = store.now - SECOND

        loads = await store.backend.load()

        least = min(others, key=lambda job: job.id)
        assert list(loads) == [
            Load(
                ALPHA, 2, 2, oldest, [Holder(OTHER_NODE, 3, oldest, least.id), Holder(NODE, 2, began, first.id)], HALF
            ),
            Load(BETA, 0, 0, None, [Holder(NODE, 1, store.now, beta.id)], HALF),
        ]
        assert [(load.executing, load.longest) for load in loads] == [(5, began), (1, store.now)]

    async def test_ended_jobs_count_for_nothing_and_a_retry_waits(self, store: Store) -> None:
        done, failing = await store.executing(new_job(), new_job(BETA))
        await store.settle(done, Complete())
        await store.settle(failing, failed(delay=HOUR))

        assert list(await store.backend.load()) == [Load(BETA, 1, 0, None, [])]

    async def test_of_one_executor_only_that_is_told(self, store: Store) -> None:
        began = store.now
        await store.executing(new_job(BETA))
        await store.enqueue(new_job(ALPHA), new_job(BETA), new_job("gamma"))

        assert [load.executor for load in await store.backend.load()] == [ALPHA, BETA, "gamma"]
        [beta] = await store.backend.load(BETA)
        assert (beta.executor, beta.waiting, beta.executing) == (BETA, 1, 1)
        assert list(await store.backend.load(ALPHA)) == [Load(ALPHA, 1, 1, began, [])]
        assert list(await store.backend.load("nobody")) == []

    async def test_jobs_of_a_dead_node_execute_until_they_are_rescued(self, store: Store) -> None:
        began = store.now
        [job] = await store.executing()
        store.clock.advance(LEASE)
        before = await store.backend.load()

        store.heartbeat(OTHER_NODE)

        assert list(before) == [Load(ALPHA, 0, 0, None, [Holder(NODE, 1, began, job.id)])]
        assert list(await store.backend.load()) == [Load(ALPHA, 1, 1, began, [])]

    async def test_executing_jobs_do_not_wait_after_the_clock_went_back(self, store: Store) -> None:
        began = store.now
        [job] = await store.executing()
        store.clock.jump(-SECOND)

        assert list(await store.backend.load()) == [Load(ALPHA, 0, 0, None, [Holder(NODE, 1, began, job.id)])]

    async def test_a_load_is_of_one_moment(self, store: Store) -> None:
        await store.enqueue(new_job())
        store.heartbeat()
        for _ in range(100):
            before, [job] = await asyncio.gather(store.backend.load(), store.claim())
            after, _ = await asyncio.gather(store.backend.load(), store.settle(job, Interrupted()))

            assert [load.waiting + load.executing for load in (*before, *after)] == [1, 1]

    async def test_a_large_backlog_is_counted_up_to_what_small_ones_leave(self, store: Store) -> None:
        began = store.now
        [*jobs] = await store.executing(*[new_job()] * 3)
        holder = Holder(NODE, 3, began, min(job.id for job in jobs))
        await store.enqueue(*[new_job(BETA)] * 2)
        for delay in [0 * SECOND] * 51 + [HOUR] * 50:
            await store.enqueue(*[new_job(delay=delay)] * 1_000)

        loads = await store.backend.load()
        alone = await store.backend.load(ALPHA)
        store.clock.advance(HOUR)
        later = await store.backend.load(ALPHA)

        large, most = MOST_COUNTED - 1_000, MOST_COUNTED
        assert list(loads) == [
            Load(ALPHA, large + 1, 51_000, began, [holder], large),
            Load(BETA, 2, 2, began, [], HALF),
        ]
        assert list(alone) == [Load(ALPHA, most + 1, 51_000, began, [holder], most)]
        assert list(later) == [Load(ALPHA, most + 1, most + 1, began, [holder], most)]

    async def test_large_backlogs_get_equal_shares(self, store: Store) -> None:
        for executor in (ALPHA, BETA):
            for _ in range(51):
                await store.enqueue(*[new_job(executor)] * 1_000)

        assert [(load.waiting, load.due, load.counted_to) for load in await store.backend.load()] == [
            (HALF + 1, HALF + 1, HALF)
        ] * 2

    async def test_hundreds_of_executors_are_told_by_name(self, store: Store) -> None:
        names = [f"executor-{number:03}" for number in range(300)]
        await store.enqueue(*map(new_job, reversed(names)))

        loads = await store.backend.load()

        assert [(load.executor, load.waiting, load.counted_to) for load in loads] == [
            (name, 1, MOST_COUNTED // 300) for name in names
        ]
