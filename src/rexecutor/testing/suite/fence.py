"""The fence: outcomes of a stale claim change nothing; those of the current claim are recorded in any case."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from rexecutor.errors import JobStateError, StaleJobError
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.outcomes import Complete, Interrupted, Outcome, Settlement, Snooze
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, LEASE, OTHER_NODE, Store, cancelled, failed, new_job

_OUTCOMES: tuple[Outcome, ...] = (Complete(), cancelled(), Snooze(HOUR), failed(), Interrupted())


class FenceCases(Cases):
    """An outcome is recorded only while the job executes under the claim it names; otherwise it is refused."""

    async def test_a_stale_claim_is_refused_whatever_its_outcome(self, store: Store) -> None:
        [stale] = await store.executing()
        await store.settle(stale, failed())
        current = await store.reclaim(stale.id)

        await _assert_refused(store, stale.id, stale.claims)

        assert await store.job(stale.id) == current

    async def test_a_claim_of_the_future_is_refused(self, store: Store) -> None:
        [job] = await store.executing()

        await _assert_refused(store, job.id, job.claims + 1)

        assert await store.job(job.id) == job

    async def test_a_claim_that_never_was_is_refused(self, store: Store) -> None:
        [job] = await store.executing()

        await _assert_refused(store, job.id, 0)
        await _assert_refused(store, job.id, -1)

        assert await store.job(job.id) == job

    async def test_a_job_that_never_was_is_refused(self, store: Store) -> None:
        [job] = await store.executing()

        await _assert_refused(store, job.id + 1_000, 1)

        assert await store.jobs() == [job]

    async def test_a_waiting_job_is_refused(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        before = await store.job(job_id)

        await _assert_refused(store, job_id, 0)
        await _assert_refused(store, job_id, 1)

        assert await store.job(job_id) == before

    async def test_an_outcome_that_is_repeated_is_refused_and_does_no_harm(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * len(_OUTCOMES))
        settlements = [Settlement(job.id, job.claims, outcome) for job, outcome in zip(jobs, _OUTCOMES, strict=True)]
        await store.settle_all(settlements)
        after = await store.jobs()
        store.clock.advance(LEASE)

        refused = await store.settle_all(settlements)

        assert sorted(refused) == [job.id for job in jobs]
        assert await store.jobs() == after

    async def test_an_ended_job_stays_as_it_is(self, store: Store) -> None:
        jobs = await store.executing(*[new_job(max_attempts=1)] * 3)
        for job, outcome in zip(jobs, (Complete(), cancelled(), failed()), strict=True):
            await store.settle(job, outcome)
        ended = await store.jobs()

        for job in jobs:
            await _assert_refused(store, job.id, job.claims)

        assert [job.status for job in ended] == [
            JobStatus.COMPLETE,
            JobStatus.CANCELLED,
            JobStatus.DISCARDED,
        ]
        assert await store.jobs() == ended

    async def test_in_a_mixed_batch_only_what_is_not_ours_is_refused(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 6)

        refused = await store.settle_all(
            [
                Settlement(job.id, job.claims + number % 2, (Complete(), failed())[number // 3])
                for number, job in enumerate(jobs)
            ]
        )

        assert sorted(refused) == [job.id for job in jobs[1::2]]
        assert [job.status for job in await store.jobs()] == [
            JobStatus.COMPLETE,
            JobStatus.EXECUTING,
            JobStatus.COMPLETE,
            JobStatus.EXECUTING,
            JobStatus.RETRYABLE,
            JobStatus.EXECUTING,
        ]

    async def test_of_two_outcomes_of_one_claim_in_a_batch_the_first_counts(self, store: Store) -> None:
        first, second = await store.executing(new_job(), new_job())

        refused = await store.settle_all(
            [
                Settlement(first.id, first.claims, Complete()),
                Settlement(second.id, second.claims, failed()),
                Settlement(first.id, first.claims, failed()),
                Settlement(second.id, second.claims, Complete()),
            ]
        )

        assert sorted(refused) == [first.id, second.id]
        assert [job.status for job in await store.jobs()] == [JobStatus.COMPLETE, JobStatus.RETRYABLE]

    async def test_the_same_outcome_twice_in_a_batch_counts_once(self, store: Store) -> None:
        first, second = await store.executing(new_job(), new_job())
        settlements = [Settlement(job.id, job.claims, Complete()) for job in (first, second)]

        refused = await store.settle_all([*settlements, *settlements])

        assert sorted(refused) == [first.id, second.id]
        assert {job.status for job in await store.jobs()} == {JobStatus.COMPLETE}

    async def test_a_rescued_jobs_first_node_is_fenced_out(self, store: Store) -> None:
        [lost] = await store.executing()
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        current = await store.reclaim(lost.id, node_id=OTHER_NODE)

        await _assert_refused(store, lost.id, lost.claims)

        assert await store.job(lost.id) == current
        assert (await store.settle(current, Complete())).status is JobStatus.COMPLETE

    async def test_an_outcome_counts_while_nobody_has_taken_the_job_away(self, store: Store) -> None:
        [job] = await store.executing()
        store.clock.advance(2 * LEASE)

        assert (await store.settle(job, Complete())).status is JobStatus.COMPLETE

    async def test_a_rerun_raises_no_old_claim_from_the_dead(self, store: Store) -> None:
        [old] = await store.executing()
        await store.settle(old, Complete())
        await store.backend.rerun(old.id)
        current = await store.reclaim(old.id)

        await _assert_refused(store, old.id, old.claims)

        assert await store.job(old.id) == current

    async def test_an_outcome_is_recorded_whatever_is_changed_at_the_same_moment(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 100)

        async def settle(job: JobRecord) -> Sequence[JobId]:
            return await store.settle_all([Settlement(job.id, job.claims, _OUTCOMES[job.id % len(_OUTCOMES)])])

        async def change(job: JobRecord) -> None:
            with suppress(StaleJobError, JobStateError):
                await store.backend.update(job.id, new_job(priority=7), version=job.version)
            await store.backend.cancel(job.id, "no longer wanted")

        for job in jobs:
            refused, _ = await asyncio.gather(settle(job), change(job))
            assert list(refused) == []

        assert {job.status for job in await store.jobs()} == {JobStatus.COMPLETE, JobStatus.CANCELLED}


async def _assert_refused(store: Store, job_id: int, claims: int) -> None:
    for outcome in _OUTCOMES:
        assert await store.settle_all([Settlement(job_id, claims, outcome)]) == [job_id], outcome
