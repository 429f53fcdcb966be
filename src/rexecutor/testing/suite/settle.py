"""Settling: how each outcome changes the job."""

from dataclasses import replace
from datetime import timedelta

from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, JobRecord
from rexecutor.model.outcomes import Complete, Discarded, Expired, Failed, Interrupted, Outcome, Settlement, Snooze
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    HOUR,
    NODE,
    SECOND,
    Store,
    cancelled,
    failed,
    job_error,
    new_job,
)


class SettleCases(Cases):
    """An outcome under the current claim changes the job as `rules.transition` says."""

    async def test_a_completed_job_has_ended(self, store: Store) -> None:
        job = await _settled(store, Complete())

        assert job.status is JobStatus.COMPLETE
        assert job.completed_at == store.now
        assert (job.attempt, job.errors, job.node) == (1, (), None)

    async def test_a_cancelled_job_has_ended_and_keeps_the_reason(self, store: Store) -> None:
        job = await _settled(store, cancelled("card declined"))

        assert job.status is JobStatus.CANCELLED
        assert job.cancelled_at == store.now
        assert [(error.kind, error.details) for error in job.errors] == [(ErrorKind.CANCELLED, "card declined")]

    async def test_a_failed_job_waits_for_its_retry(self, store: Store) -> None:
        job = await _settled(store, failed("boom", delay=4 * SECOND))

        assert job.status is JobStatus.RETRYABLE
        assert job.scheduled_at == store.now + 4 * SECOND
        assert job.node is None
        assert [error.details for error in job.errors] == ["boom"]

    async def test_a_retry_is_not_claimed_before_its_time(self, store: Store) -> None:
        job = await _settled(store, failed(delay=4 * SECOND))
        store.clock.advance(3 * SECOND)
        early = await store.claim()
        store.clock.advance(SECOND)

        [again] = await store.claim()

        assert early == []
        assert again.id == job.id

    async def test_a_job_that_fails_its_last_attempt_is_discarded(self, store: Store) -> None:
        job = await _settled(store, failed(delay=HOUR), max_attempts=1)

        assert job.status is JobStatus.DISCARDED
        assert job.discarded_at == store.now
        assert len(job.errors) == 1

    async def test_a_job_that_is_not_to_be_retried_is_discarded_at_its_first_failure(self, store: Store) -> None:
        job = await _settled(store, Discarded(job_error("never again")))

        assert (job.status, job.attempt, job.max_attempts) == (JobStatus.DISCARDED, 1, 5)
        assert (job.discarded_at, job.node) == (store.now, None)
        assert [error.details for error in job.errors] == ["never again"]

    async def test_outcomes_of_jobs_whose_cancel_was_requested_are_recorded_as_the_rules_say(
        self, store: Store
    ) -> None:
        outcomes: list[Outcome] = [Complete("7"), Discarded(job_error("never again")), Expired(), Interrupted()]
        jobs = await store.executing(*[new_job()] * len(outcomes))
        for job in jobs:
            await store.backend.cancel(job.id, "enough")
        asked = await store.jobs()

        await store.settle_all([Settlement(*job.claim_id, each) for job, each in zip(jobs, outcomes, strict=True)])

        assert await store.jobs() == [
            rules.transition(job, outcome, store.now, store.backend.limits)
            for job, outcome in zip(asked, outcomes, strict=True)
        ]

    async def test_a_job_has_just_as_many_attempts_as_it_is_allowed(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=3))
        statuses = [(await store.settle(job, failed())).status]
        for _ in range(2):
            job = await store.reclaim(job.id)
            statuses.append((await store.settle(job, failed())).status)

        assert statuses == [JobStatus.RETRYABLE, JobStatus.RETRYABLE, JobStatus.DISCARDED]
        assert await store.claim() == []

    async def test_a_snoozed_job_gets_its_attempt_back(self, store: Store) -> None:
        job = await _settled(store, Snooze(timedelta(seconds=30, microseconds=1)))

        assert job.status is JobStatus.SCHEDULED
        assert job.scheduled_at == store.now + timedelta(seconds=30, microseconds=1)
        assert (job.attempt, job.claims, job.snoozes, job.errors) == (0, 1, 1, ())

    async def test_a_job_with_one_attempt_may_snooze_again_and_again(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        for _ in range(4):
            await store.settle(job, Snooze(timedelta(0)))
            job = await store.reclaim(job.id)

        ended = await store.settle(job, Complete())

        assert ended.status is JobStatus.COMPLETE
        assert (ended.attempt, ended.claims, ended.snoozes) == (1, 5, 4)

    async def test_an_interrupted_job_goes_back_as_if_it_had_not_started(self, store: Store) -> None:
        job = await _settled(store, Interrupted(), max_attempts=1, due_since=HOUR)

        assert job.status is JobStatus.SCHEDULED
        assert job.scheduled_at == job.inserted_at - HOUR
        assert (job.attempt, job.claims, job.snoozes, job.errors, job.node) == (0, 1, 0, (), None)
        assert [again.id for again in await store.claim()] == [job.id]

    async def test_every_outcome_is_recorded_as_the_rules_say(self, store: Store) -> None:
        outcomes: list[Outcome] = [
            Complete(),
            cancelled(),
            Snooze(HOUR),
            failed(delay=HOUR),
            Interrupted(),
            Complete('{"n": 1}'),
            Discarded(job_error("never again")),
            Expired(),
            Complete(),
        ]
        jobs = await store.executing(*(new_job(data=str(number)) for number in range(len(outcomes))))
        store.clock.advance(SECOND)

        refused = await store.settle_all(
            [Settlement(job.id, job.claims, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
        )

        assert refused == []
        assert await store.jobs() == [
            rules.transition(job, outcome, store.now, store.backend.limits)
            for job, outcome in zip(jobs, outcomes, strict=True)
        ]

    async def test_a_job_keeps_the_last_of_its_errors(self, store: Store) -> None:
        limit = store.backend.limits.errors
        [job] = await store.executing(new_job(max_attempts=limit + 5))
        await store.settle(job, failed("1"))
        for number in range(2, limit + 3):
            job = await store.reclaim(job.id)
            await store.settle(job, failed(str(number)))

        errors = (await store.job(job.id)).errors

        assert [error.details for error in errors] == [str(number) for number in range(3, limit + 3)]

    async def test_an_error_is_kept_in_every_field(self, store: Store) -> None:
        moment = store.now + timedelta(microseconds=123_457)
        known = [job_error(f"{kind}!", attempt=1, kind=kind, at=moment) for kind in ErrorKind]
        errors = [*known, replace(known[0], type_path="shop.errors.Declined", node=NODE)]
        jobs = await store.executing(*[new_job()] * len(errors))

        for job, error in zip(jobs, errors, strict=True):
            await store.settle(job, Failed(error, HOUR))

        assert [job.errors for job in await store.jobs()] == [(error,) for error in errors]

    async def test_a_large_batch_of_outcomes_is_recorded(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 3_000)

        refused = await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs])

        assert refused == []
        assert {job.status for job in await store.jobs()} == {JobStatus.COMPLETE}

    async def test_an_empty_batch_of_outcomes_changes_nothing(self, store: Store) -> None:
        [job] = await store.executing()

        assert await store.settle_all([]) == []
        assert await store.job(job.id) == job

    async def test_settling_leaves_other_jobs_alone(self, store: Store) -> None:
        first, second = await store.executing(new_job(), new_job())

        await store.settle(first, Complete())

        assert await store.job(second.id) == second


async def _settled(
    store: Store, outcome: Outcome, *, max_attempts: int = 5, due_since: timedelta = timedelta(0)
) -> JobRecord:
    """Claim one job and record its outcome five seconds later."""
    [job] = await store.executing(new_job(max_attempts=max_attempts, scheduled_at=store.now - due_since))
    store.clock.advance(5 * SECOND)
    return await store.settle(job, outcome)
