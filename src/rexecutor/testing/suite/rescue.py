"""Rescue of the jobs of nodes that died."""

from datetime import timedelta

from rexecutor.model import rules
from rexecutor.model.job import ErrorKind
from rexecutor.model.outcomes import Complete, Lost
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    BETA,
    HOUR,
    LEASE,
    MICROSECOND,
    NODE,
    OTHER_NODE,
    Store,
    failed,
    new_job,
)


class RescueCases(Cases):
    """A heartbeat of any node rescues the jobs of nodes without a lease."""

    async def test_a_lost_job_keeps_its_place_and_gets_an_error(self, store: Store) -> None:
        [job] = await store.executing(new_job(scheduled_at=store.now - HOUR))
        store.clock.advance(LEASE)

        store.heartbeat(OTHER_NODE)

        lost = await store.job(job.id)
        assert lost == rules.transition(job, Lost(), store.now, store.backend.limits)
        assert lost.status is JobStatus.RETRYABLE
        assert lost.scheduled_at == job.scheduled_at
        assert [(error.kind, error.attempt, error.node) for error in lost.errors] == [(ErrorKind.LOST, 1, NODE)]

    async def test_a_lost_job_is_due_at_once_though_the_clock_was_set_back(self, store: Store) -> None:
        [job] = await store.executing(new_job(scheduled_at=store.now))
        store.clock.jump(-HOUR)
        store.deregister()

        store.heartbeat(OTHER_NODE)

        assert (await store.job(job.id)).scheduled_at == store.now

    async def test_another_node_runs_a_lost_job(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)

        [again] = await store.claim(node_id=OTHER_NODE)

        assert (again.id, again.attempt, again.claims, again.node) == (job.id, 2, 2, OTHER_NODE)

    async def test_nothing_is_rescued_a_microsecond_too_early(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(LEASE - MICROSECOND)

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 0
        assert await store.job(job.id) == job

    async def test_a_job_is_rescued_once(self, store: Store) -> None:
        await store.executing()
        store.clock.advance(LEASE)

        heartbeats = [store.heartbeat(OTHER_NODE), store.heartbeat(OTHER_NODE)]

        assert [heartbeat.rescued for heartbeat in heartbeats] == [1, 0]

    async def test_all_jobs_of_all_lost_nodes_are_rescued_and_counted(self, store: Store) -> None:
        await store.enqueue(*[new_job()] * 20, *[new_job(BETA)] * 10)
        for number in range(3):
            store.heartbeat(f"lost-{number}")
            await store.claim(10, node_id=f"lost-{number}", executors=["alpha", BETA])
        store.clock.advance(LEASE)

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 30
        assert {job.status for job in await store.jobs()} == {JobStatus.RETRYABLE}

    async def test_only_executing_jobs_are_rescued(self, store: Store) -> None:
        done, failing, _ = await store.executing(*[new_job()] * 3)
        await store.settle(done, Complete())
        await store.settle(failing, failed(delay=HOUR))
        before = await store.jobs()
        store.clock.advance(LEASE)

        heartbeat = store.heartbeat(OTHER_NODE)

        assert heartbeat.rescued == 1
        assert (await store.jobs())[:2] == before[:2]

    async def test_a_job_lost_in_its_last_attempt_is_discarded(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        store.clock.advance(LEASE)

        store.heartbeat(OTHER_NODE)

        lost = await store.job(job.id)
        assert lost == rules.transition(job, Lost(), store.now, store.backend.limits)
        assert lost.status is JobStatus.DISCARDED
        assert lost.discarded_at == store.now

    async def test_a_job_that_loses_too_many_nodes_is_discarded(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(max_attempts=100))
        statuses: list[JobStatus] = []
        for number in range(store.backend.limits.losses):
            job = await store.reclaim(job_id, node_id=f"lost-{number}")
            store.clock.advance(LEASE)
            store.heartbeat(OTHER_NODE)
            lost = await store.job(job_id)
            assert lost == rules.transition(job, Lost(), store.now, store.backend.limits)
            statuses.append(lost.status)
            store.clock.advance(max(lost.scheduled_at - store.now, timedelta(0)))

        assert statuses[:-1] == [JobStatus.RETRYABLE] * (store.backend.limits.losses - 1)
        assert statuses[-1] is JobStatus.DISCARDED

    async def test_a_job_that_is_lost_again_is_apart_from_those_that_were_lost_with_it(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job(max_attempts=100) for _ in range(3)])
        moments: list[set[timedelta]] = []
        for number in range(2):
            store.heartbeat(f"lost-{number}")
            assert len(await store.claim(3, node_id=f"lost-{number}")) == len(ids)
            store.clock.advance(LEASE)
            store.heartbeat(OTHER_NODE)
            moments.append({(await store.job(job_id)).scheduled_at - store.now for job_id in ids})

        assert moments[0] == {-LEASE}
        assert moments[1] == {rules.rescue_delay(job_id) for job_id in ids}
        assert len(moments[1]) == len(ids)

    async def test_losses_are_counted_over_the_whole_life_of_a_job(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(max_attempts=100))
        await store.reclaim(job_id, node_id="lost")
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        job = await store.reclaim(job_id, node_id=OTHER_NODE)

        job = await store.settle(job, failed())

        assert job.losses == 1
        assert [error.kind for error in job.errors] == [ErrorKind.LOST, ErrorKind.EXCEPTION]

    async def test_a_lost_job_whose_cancel_was_asked_for_is_cancelled(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        await store.backend.cancel(job.id, "enough")
        asked = await store.job(job.id)
        store.clock.advance(LEASE)

        heartbeat = store.heartbeat(OTHER_NODE)

        lost = await store.job(job.id)
        assert lost == rules.transition(asked, Lost(), store.now, store.backend.limits)
        assert lost.status is JobStatus.CANCELLED
        assert lost.errors[-1].details == "enough"
        assert heartbeat.rescued == 1

    async def test_a_job_that_its_second_loss_ends_keeps_its_due_time(self, store: Store) -> None:
        last, unwanted = await store.executing(new_job(max_attempts=2), new_job())
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        assert len(await store.claim(node_id=OTHER_NODE)) == 2
        await store.backend.cancel(unwanted.id, "enough")
        before = await store.jobs()
        store.clock.advance(LEASE)

        store.heartbeat()

        after = await store.jobs()
        assert after == [rules.transition(job, Lost(), store.now, store.backend.limits) for job in before]
        assert [(job.id, job.status, job.scheduled_at) for job in after] == [
            (last.id, JobStatus.DISCARDED, last.scheduled_at),
            (unwanted.id, JobStatus.CANCELLED, unwanted.scheduled_at),
        ]

    async def test_the_jobs_of_a_live_node_stay_where_they_are(self, store: Store) -> None:
        [lost] = await store.executing()
        store.clock.advance(LEASE / 2)
        [kept] = await store.executing(new_job(BETA), node_id=OTHER_NODE)
        store.clock.advance(LEASE / 2)

        assert store.heartbeat("third").rescued == 1

        assert await store.job(kept.id) == kept
        assert (await store.job(lost.id)).status is JobStatus.RETRYABLE

    async def test_a_claim_does_not_rescue(self, store: Store) -> None:
        [job] = await store.executing()
        store.heartbeat(OTHER_NODE, lease=HOUR)
        store.clock.advance(LEASE)

        assert await store.claim(node_id=OTHER_NODE) == []
        assert await store.job(job.id) == job

    async def test_many_lost_jobs_are_rescued_in_one_heartbeat(self, store: Store) -> None:
        await store.executing(*[new_job()] * 1_500)
        store.clock.advance(LEASE)

        assert store.heartbeat(OTHER_NODE).rescued == 1_500
