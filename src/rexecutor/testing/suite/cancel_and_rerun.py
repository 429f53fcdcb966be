"""Cancels and reruns that users ask for."""

from rexecutor.errors import JobNotFoundError, JobStateError
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, JobRecord
from rexecutor.model.outcomes import CancelAsked, Complete, Interrupted, Outcome, Rerun, Snooze
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    LEASE,
    OTHER_NODE,
    SECOND,
    Store,
    cancelled,
    expect,
    failed,
    new_job,
)


class CancelAndRerunCases(Cases):
    """A cancel takes effect at once or is passed on to the running job; a rerun revives ended jobs only."""

    async def test_a_waiting_job_is_cancelled_at_once(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(delay=HOUR))
        before = await store.job(job_id)
        store.clock.advance(SECOND)

        status = await store.backend.cancel(job_id, "enough")

        after = await store.job(job_id)
        assert status is JobStatus.CANCELLED
        assert after == rules.transition(before, CancelAsked("enough"), store.now, store.backend.limits)
        assert after.cancelled_at == store.now
        assert [(error.kind, error.details, error.attempt) for error in after.errors] == [
            (ErrorKind.CANCELLED, "enough", 0)
        ]

    async def test_a_cancelled_job_is_not_claimed(self, store: Store) -> None:
        first, second = await store.enqueue(new_job(), new_job())
        await store.backend.cancel(first, "enough")
        store.heartbeat()

        assert [job.id for job in await store.claim()] == [second]

    async def test_a_retry_that_waits_is_cancelled_at_once_and_keeps_its_errors(self, store: Store) -> None:
        [job] = await store.executing()
        await store.settle(job, failed("boom", delay=HOUR))

        status = await store.backend.cancel(job.id, "enough")

        assert status is JobStatus.CANCELLED
        assert [error.details for error in (await store.job(job.id)).errors] == ["boom", "enough"]

    async def test_a_running_job_goes_on_and_the_cancel_is_noted(self, store: Store) -> None:
        [job] = await store.executing()

        status = await store.backend.cancel(job.id, "enough")

        after = await store.job(job.id)
        assert status is JobStatus.EXECUTING
        assert after == rules.transition(job, CancelAsked("enough"), store.now, store.backend.limits)
        assert after.cancel_reason == "enough"

    async def test_the_first_reason_asked_stays(self, store: Store) -> None:
        [job] = await store.executing()
        await store.backend.cancel(job.id, "")
        await store.backend.cancel(job.id, "second")

        assert (await store.job(job.id)).cancel_reason == ""

    async def test_a_cancel_leaves_an_ended_job_as_it_is(self, store: Store) -> None:
        jobs = await store.executing(*[new_job(max_attempts=1)] * 3)
        outcomes: tuple[Outcome, ...] = (Complete(), cancelled(), failed())
        ended = [await store.settle(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
        store.clock.advance(SECOND)

        statuses = [await store.backend.cancel(job.id, "too late") for job in jobs]

        assert statuses == [job.status for job in ended]
        assert await store.jobs() == ended

    async def test_work_that_is_done_before_the_cancel_arrives_is_complete(self, store: Store) -> None:
        job = await _asked(store)

        after = await store.settle(job, Complete())

        assert after.status is JobStatus.COMPLETE
        assert (after.errors, after.cancel_reason) == ((), None)

    async def test_every_other_outcome_of_a_job_to_be_cancelled_cancels_it(self, store: Store) -> None:
        outcomes: tuple[Outcome, ...] = (cancelled("by itself"), Snooze(HOUR), failed("boom"), Interrupted())
        jobs = [await _asked(store) for _ in outcomes]
        store.clock.advance(SECOND)

        ended = [await store.settle(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

        assert ended == [
            rules.transition(job, outcome, store.now, store.backend.limits)
            for job, outcome in zip(jobs, outcomes, strict=True)
        ]
        assert [job.status for job in ended] == [JobStatus.CANCELLED] * 4
        assert [[error.details for error in job.errors] for job in ended] == [
            ["by itself"],
            ["enough"],
            ["boom", "enough"],
            ["enough"],
        ]

    async def test_a_cancel_asked_of_one_run_does_not_reach_the_next(self, store: Store) -> None:
        job = await _asked(store)
        await store.settle(job, Complete())
        await store.backend.rerun(job.id)

        again = await store.reclaim(job.id)

        assert again.cancel_reason is None
        assert list(store.heartbeat().cancels) == []

    async def test_cancelling_what_is_not_there_is_an_error(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        with expect(JobNotFoundError):
            await store.backend.cancel(job_id + 1, "enough")

    async def test_another_executors_job_is_not_cancelled(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(ALPHA))
        before = await store.job(job_id)

        with expect(JobNotFoundError):
            await store.backend.cancel(job_id, "enough", executor=BETA)

        assert await store.job(job_id) == before
        assert await store.backend.cancel(job_id, "enough", executor=ALPHA) is JobStatus.CANCELLED

    async def test_an_ended_job_runs_once_more_at_once(self, store: Store) -> None:
        jobs = await store.executing(*[new_job(max_attempts=1)] * 3)
        outcomes: tuple[Outcome, ...] = (Complete(), cancelled(), failed())
        ended = [await store.settle(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
        store.clock.advance(HOUR)

        for job in jobs:
            await store.backend.rerun(job.id)

        assert await store.jobs() == [rules.transition(job, Rerun(), store.now, store.backend.limits) for job in ended]
        assert {job.status for job in await store.jobs()} == {JobStatus.SCHEDULED}
        store.heartbeat()
        assert len(await store.claim()) == 3

    async def test_a_rerun_allows_one_attempt_more_and_keeps_the_errors(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        await store.settle(job, failed("boom"))

        await store.backend.rerun(job.id)

        after = await store.job(job.id)
        assert (after.attempt, after.max_attempts) == (1, 2)
        assert [error.details for error in after.errors] == ["boom"]
        assert (after.completed_at, after.cancelled_at, after.discarded_at) == (None, None, None)

    async def test_a_rerun_forgets_lost_nodes(self, store: Store) -> None:
        [job] = await store.executing(new_job(max_attempts=1))
        store.clock.advance(LEASE)
        store.heartbeat(OTHER_NODE)
        assert (await store.job(job.id)).losses == 1

        await store.backend.rerun(job.id)

        assert (await store.job(job.id)).losses == 0

    async def test_a_job_that_has_not_ended_is_not_rerun(self, store: Store) -> None:
        executing, retryable = await store.executing(new_job(), new_job())
        await store.settle(retryable, failed())
        [scheduled] = await store.enqueue(new_job())
        before = await store.jobs()

        for job_id in (executing.id, retryable.id, scheduled):
            with expect(JobStateError):
                await store.backend.rerun(job_id)

        assert await store.jobs() == before

    async def test_rerunning_what_is_not_there_is_an_error(self, store: Store) -> None:
        with expect(JobNotFoundError):
            await store.backend.rerun(1)

    async def test_a_change_of_some_jobs_leaves_the_others_where_they_are(self, store: Store) -> None:
        done, again, running, unwanted = await store.executing(*[new_job()] * 4)
        for job in (done, again):
            await store.settle(job, Complete())
        waiting, dropped = await store.enqueue(new_job(), new_job())
        kept = (done.id, running.id, waiting)
        before = [await store.job(job_id) for job_id in kept]

        for job_id in (unwanted.id, dropped):
            await store.backend.cancel(job_id, "enough")
        await store.backend.rerun(again.id)

        assert [await store.job(job_id) for job_id in kept] == before
        assert [job.id for job in await store.claim()] == [again.id, waiting]
        assert [request.job_id for request in store.heartbeat().cancels] == [unwanted.id]
        assert (await store.settle(running, Complete())).status is JobStatus.COMPLETE
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 100) == 2

    async def test_another_executors_job_is_not_rerun(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(ALPHA))
        await store.backend.cancel(job_id, "enough")
        before = await store.job(job_id)

        with expect(JobNotFoundError):
            await store.backend.rerun(job_id, executor=BETA)

        assert await store.job(job_id) == before
        await store.backend.rerun(job_id, executor=ALPHA)


async def _asked(store: Store) -> JobRecord:
    """Return an executing job whose cancel was asked for."""
    [job_id] = await store.enqueue(new_job(max_attempts=1))
    await store.reclaim(job_id)
    await store.backend.cancel(job_id, "enough")
    return await store.job(job_id)
