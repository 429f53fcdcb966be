"""Expiry: a job that has not started by its moment is cancelled, by a heartbeat or by the node that claims it."""

import asyncio
from contextlib import closing
from datetime import UTC, timedelta
from typing import Final

from msgspec.structs import replace

from rexecutor.backend.base import Backend
from rexecutor.backend.messages import EXPIRED_PER_HEARTBEAT, Heartbeat, Node
from rexecutor.model import rules
from rexecutor.model.cron import Cron
from rexecutor.model.job import ErrorKind, NodeId
from rexecutor.model.outcomes import Complete, Expired, Interrupted, Settlement, Snooze
from rexecutor.model.schedules import Schedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
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

_BY_KEY: Final = UniquenessCriteria.by_key("k")


class ExpiryCases(Cases):
    """Heartbeats cancel waiting jobs that have expired, and no others."""

    async def test_a_job_expires_at_its_moment_or_after_a_delay_counted_from_its_enqueue(self, store: Store) -> None:
        moment = store.now + timedelta(days=40, microseconds=123_457)
        store.clock.advance(SECOND)
        jobs = (new_job(expires_at=moment), new_job(expires_in=HOUR + MICROSECOND, delay=5 * HOUR), new_job())

        ids = await store.enqueue(*jobs)
        ids += [(await store.add(job)).id for job in jobs]
        ids += [(await store.add(replace(job, unique=UniquenessCriteria.by_key(n)))).id for n, job in enumerate(jobs)]

        stored = [(await store.job(job_id)).expires_at for job_id in ids]
        assert stored == [moment, store.now + HOUR + MICROSECOND, None] * 3

    async def test_a_claim_returns_when_the_job_expires_and_does_not_ask_whether_it_has(self, store: Store) -> None:
        store.heartbeat(lease=3 * HOUR)
        ids = await store.enqueue(new_job(expires_in=HOUR), new_job(expires_in=SECOND), new_job())
        store.clock.advance(2 * SECOND)

        jobs = await store.claim()

        assert [job.id for job in jobs] == ids
        assert jobs == await store.jobs()
        assert [job.expires_at for job in jobs] == [store.now + HOUR - 2 * SECOND, store.now - SECOND, None]

    async def test_a_waiting_job_is_cancelled_once_it_has_expired(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(expires_in=HOUR))
        before = await store.job(job_id)
        store.clock.advance(HOUR)

        heartbeat = store.heartbeat()

        job = await store.job(job_id)
        assert heartbeat.expired == 1
        assert job == rules.transition(before, Expired(), store.now, store.backend.limits)
        assert (job.status, job.cancelled_at, job.attempt) == (JobStatus.CANCELLED, store.now, 0)
        assert [(error.kind, error.type_name) for error in job.errors] == [(ErrorKind.EXPIRED, "Expired")]
        assert await store.claim() == []

    async def test_nothing_expires_a_microsecond_too_early(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(expires_in=HOUR))
        before = await store.job(job_id)
        store.clock.advance(HOUR - MICROSECOND)

        assert store.heartbeat().expired == 0

        assert await store.job(job_id) == before

    async def test_a_job_that_never_falls_due_before_it_expires_is_cancelled(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(delay=2 * HOUR, expires_in=HOUR))
        store.clock.advance(HOUR)
        store.heartbeat()

        claim = await store.ask()

        assert (await store.job(job_id)).status is JobStatus.CANCELLED
        assert claim.next_due is None

    async def test_a_job_that_was_due_and_not_claimed_is_cancelled(self, store: Store) -> None:
        first, second = await store.enqueue(*[new_job(expires_in=HOUR)] * 2)
        store.heartbeat(lease=2 * HOUR)
        await store.claim(1)
        store.clock.advance(HOUR)

        assert store.heartbeat(OTHER_NODE).expired == 1

        assert (await store.job(first)).status is JobStatus.EXECUTING
        assert (await store.job(second)).status is JobStatus.CANCELLED

    async def test_jobs_of_every_executor_expire_at_any_nodes_heartbeat_but_only_once(self, store: Store) -> None:
        await store.enqueue(new_job(expires_in=SECOND), new_job(BETA, expires_in=SECOND), new_job(BETA))
        store.clock.advance(SECOND)

        beats = [store.heartbeat(node_id) for node_id in (OTHER_NODE, NODE)]

        assert [beat.expired for beat in beats] == [2, 0]
        assert [len(job.errors) for job in await store.jobs()] == [1, 1, 0]

    async def test_a_heartbeat_that_may_rescue_nobody_cancels_nothing(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(expires_in=HOUR))
        store.clock.advance(HOUR)

        assert store.heartbeat(rescues=False).expired == 0

        assert (await store.job(job_id)).status is JobStatus.SCHEDULED

    async def test_a_job_that_has_started_does_not_expire(self, store: Store) -> None:
        failing, snoozing, running = await store.executing(*[new_job(expires_in=HOUR)] * 3)
        await store.settle_all(
            [Settlement(*failing.claim_id, failed(delay=2 * HOUR)), Settlement(*snoozing.claim_id, Snooze(2 * HOUR))]
        )
        before = await store.jobs()
        store.heartbeat(lease=2 * HOUR)
        store.clock.advance(HOUR)

        assert store.heartbeat().expired == 0

        assert await store.jobs() == before
        assert before[2].id == running.id

    async def test_a_job_that_has_started_and_is_updated_runs_again_and_does_not_expire(self, store: Store) -> None:
        failing, snoozing = await store.executing(*[new_job(expires_in=HOUR)] * 2)
        await store.settle_all(
            [Settlement(*failing.claim_id, failed()), Settlement(*snoozing.claim_id, Snooze(SECOND))]
        )
        for job in await store.jobs():
            await store.backend.update(job.id, new_job(expires_in=HOUR), version=job.version)
        before = await store.jobs()
        store.clock.advance(HOUR)

        assert store.heartbeat().expired == 0

        assert await store.jobs() == before
        assert [job.id for job in await store.claim()] == [failing.id, snoozing.id]

    async def test_a_job_that_was_lost_does_not_expire(self, store: Store) -> None:
        [job] = await store.executing(new_job(expires_in=HOUR))
        store.clock.advance(HOUR)

        heartbeat = store.heartbeat(OTHER_NODE)

        assert (heartbeat.rescued, heartbeat.expired) == (1, 0)
        assert (await store.job(job.id)).status is JobStatus.RETRYABLE

    async def test_a_job_that_was_given_back_has_not_started_and_expires(self, store: Store) -> None:
        [job] = await store.executing(new_job(expires_in=HOUR))
        await store.settle(job, Interrupted())
        store.clock.advance(HOUR)

        store.heartbeat()

        after = await store.job(job.id)
        assert (after.status, after.claims, after.errors[-1].kind) == (JobStatus.CANCELLED, 1, ErrorKind.EXPIRED)

    async def test_ended_jobs_stay_as_they_are(self, store: Store) -> None:
        [job] = await store.executing(new_job(expires_in=HOUR))
        await store.settle(job, Complete("1"))
        [cancelled] = await store.enqueue(new_job(expires_in=HOUR))
        await store.backend.cancel(cancelled, "enough")
        before = await store.jobs()
        store.clock.advance(HOUR)

        assert store.heartbeat().expired == 0

        assert await store.jobs() == before

    async def test_a_heartbeat_cancels_so_many_jobs_at_most_and_the_next_one_the_rest(self, store: Store) -> None:
        late, early = 5, EXPIRED_PER_HEARTBEAT
        ids = await store.enqueue(*[new_job(expires_in=2 * SECOND)] * late, *[new_job(expires_in=SECOND)] * early)
        store.clock.advance(HOUR)

        first = store.heartbeat()
        left = [job.id for job in await store.jobs() if job.status is JobStatus.SCHEDULED]
        beats = [store.heartbeat() for _ in range(2)]

        assert first.expired == early
        assert left == ids[:late]
        assert [beat.expired for beat in beats] == [late, 0]
        assert {job.status for job in await store.jobs()} == {JobStatus.CANCELLED}

    async def test_a_node_that_claims_an_expired_job_cancels_it_and_gives_back_its_attempt(self, store: Store) -> None:
        store.heartbeat(lease=3 * HOUR)
        [job_id] = await store.enqueue(new_job(expires_in=SECOND))
        store.clock.advance(HOUR)
        [job] = await store.claim()

        after = await store.settle(job, Expired())
        again = await store.settle_all([Settlement(*job.claim_id, Expired())])

        assert after == rules.transition(job, Expired(), store.now, store.backend.limits)
        assert (after.status, after.attempt, after.claims) == (JobStatus.CANCELLED, 0, 1)
        assert [(error.kind, error.attempt) for error in after.errors] == [(ErrorKind.EXPIRED, 0)]
        assert again == [job_id]

    async def test_an_update_stores_and_removes_the_expiry(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(expires_in=HOUR))
        before = await store.job(job_id)

        later = await store.backend.update(job_id, new_job(expires_at=store.now + 2 * HOUR), version=before.version)
        store.clock.advance(HOUR)
        assert (later, store.heartbeat().expired) == (await store.job(job_id), 0)
        never = await store.backend.update(job_id, new_job(), version=later.version)
        store.clock.advance(HOUR)
        assert (never, store.heartbeat().expired) == (await store.job(job_id), 0)
        soon = await store.backend.update(job_id, new_job(expires_in=SECOND), version=never.version)
        store.clock.advance(SECOND)

        assert [job.expires_at for job in (later, never, soon)] == [later.inserted_at + 2 * HOUR, None, store.now]
        assert store.heartbeat().expired == 1

    async def test_an_enqueue_that_replaces_the_due_time_replaces_the_expiry(self, store: Store) -> None:
        unique = _BY_KEY.on_conflict(Replace.scheduled_at())
        [job_id] = await store.enqueue(new_job(unique=_BY_KEY, expires_in=HOUR))
        store.clock.advance(SECOND)

        await store.add(new_job(unique=unique, delay=HOUR, expires_in=2 * HOUR))
        postponed = await store.job(job_id)
        await store.add(new_job(unique=unique, delay=HOUR))

        assert postponed.expires_at == store.now + 2 * HOUR
        assert (await store.job(job_id)).expires_at is None

    async def test_an_enqueue_that_replaces_other_fields_leaves_the_expiry(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(unique=_BY_KEY, expires_in=HOUR))
        before = await store.job(job_id)
        unique = _BY_KEY.on_conflict(Replace.priority().and_data().and_metadata().and_max_attempts())

        answer = await store.add(new_job(priority=3, unique=unique, expires_in=SECOND))

        assert (answer.id, answer.disposition) == (job_id, "replaced")
        assert (await store.job(job_id)).expires_at == before.expires_at

    async def test_a_rerun_of_an_expired_job_runs_without_expiry(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(expires_in=SECOND))
        store.clock.advance(SECOND)
        store.heartbeat()

        await store.backend.rerun(job_id)

        assert (await store.job(job_id)).expires_at is None
        assert store.heartbeat().expired == 0
        assert [job.id for job in await store.claim()] == [job_id]

    async def test_a_ticks_job_expires_so_long_after_its_enqueue(self, store: Store) -> None:
        every_second = Cron("* * * * * *")
        schedules = [
            Schedule("expiring", every_second, UTC, new_job(expires_in=HOUR)),
            Schedule("plain", every_second, UTC, new_job()),
        ]
        await store.backend.tick(schedules, up_since=None)
        store.clock.advance(SECOND)

        await store.backend.tick(schedules, up_since=store.now - SECOND)

        assert [job.expires_at for job in await store.jobs()] == [store.now + HOUR, None]

    async def test_who_waits_for_the_end_is_woken(self, store: Store) -> None:
        store.heartbeat()
        [job_id] = await store.enqueue(new_job(delay=2 * HOUR, expires_in=SECOND))
        since = store.backend.change_count
        store.clock.advance(SECOND)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.backend.wait_ended(store.now + HOUR, since=since))

            store.heartbeat()

        assert (await store.job(job_id)).status is JobStatus.CANCELLED

    async def test_two_nodes_at_once_cancel_each_expired_job_once(self, store: Store) -> None:
        await store.enqueue(*[new_job(expires_in=SECOND)] * 40)
        store.clock.advance(LEASE)
        async with store.another_backend() as other:
            beats = await asyncio.gather(
                *(asyncio.to_thread(_beat, *each) for each in ((store.backend, NODE), (other, OTHER_NODE)))
            )

        assert sum(beat.expired for beat in beats) == 40
        assert {(job.status, len(job.errors)) for job in await store.jobs()} == {(JobStatus.CANCELLED, 1)}


def _beat(backend: Backend, node_id: NodeId) -> Heartbeat:
    """Send one heartbeat from this thread."""
    with closing(backend.heartbeat_connection()) as heartbeats:
        return heartbeats.send(Node(node_id, node_id, LEASE))
