"""Pruning: the right ended jobs are deleted, and nothing else."""

from datetime import timedelta
from typing import Final

from rexecutor.errors import JobNotFoundError
from rexecutor.model import rules
from rexecutor.model.job import JobId
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.status import ENDED, OPEN, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, MICROSECOND, SECOND, Store, expect, new_job

_NOTHING: Final = timedelta(0)


def _older(age: timedelta, status: JobStatus = JobStatus.COMPLETE) -> PruneSpec:
    return PruneSpec(status, OlderThan(age))


def _beyond(jobs: int, status: JobStatus = JobStatus.COMPLETE) -> PruneSpec:
    return PruneSpec(status, BeyondNewest(jobs))


async def _ended(store: Store, count: int, executor: str = ALPHA, status: JobStatus = JobStatus.COMPLETE) -> list[int]:
    """Make jobs that end a second apart, the first one now. Return their ids, in order of their end."""
    ids: list[JobId] = []
    for _ in range(count):
        ids.append((await store.job_in(status, new_job(executor))).id)
        store.clock.advance(SECOND)
    return ids


async def _left(store: Store) -> list[JobId]:
    return [job.id for job in await store.jobs()]


class PruneCases(Cases):
    """A prune deletes the jobs that `rules.prunable` returns: ended jobs, those that ended first coming first."""

    async def test_jobs_that_ended_longer_ago_are_deleted(self, store: Store) -> None:
        ids = await _ended(store, 3)  # they ended 3, 2 and 1 seconds ago

        assert await store.backend.prune(_older(3 * SECOND), 100) == 0
        assert await store.backend.prune(_older(3 * SECOND - MICROSECOND), 100) == 1
        assert await _left(store) == ids[1:]
        assert await store.backend.prune(_older(_NOTHING), 100) == 2
        assert await _left(store) == []

    async def test_the_due_time_does_not_matter(self, store: Store) -> None:
        early = await store.job_in(JobStatus.COMPLETE, new_job(scheduled_at=store.now - 100 * HOUR))
        [later] = await store.enqueue(new_job(delay=100 * HOUR))
        store.clock.advance(HOUR)

        assert await store.backend.prune(_older(HOUR), 100) == 0
        store.clock.advance(MICROSECOND)
        assert await store.backend.prune(_older(HOUR), 100) == 1
        assert await _left(store) == [later] != [early.id]

    async def test_a_job_that_has_not_ended_is_never_deleted(self, store: Store) -> None:
        for status in OPEN:
            await store.job_in(status, new_job(str(status)))
        store.clock.advance(HOUR)
        before = await store.jobs()

        for status in OPEN:
            assert await store.backend.prune(_older(_NOTHING, status), 100) == 0
            assert await store.backend.prune(_beyond(0, status), 100) == 0

        assert await store.jobs() == before

    async def test_only_jobs_in_the_status_are_deleted(self, store: Store) -> None:
        for what in (OlderThan(_NOTHING), BeyondNewest(0)):
            for status in JobStatus:
                await store.job_in(status, new_job(f"{status}-{type(what).__name__}"))
            store.clock.advance(SECOND)
            for status in ENDED:
                before = await store.jobs()
                doomed = [job for job in before if job.status is status]

                assert await store.backend.prune(PruneSpec(status, what), 100) == len(doomed) > 0
                assert await store.jobs() == [job for job in before if job.status is not status]

    async def test_the_newest_of_each_executor_are_kept(self, store: Store) -> None:
        noisy, quiet = await _ended(store, 5, ALPHA), await _ended(store, 2, BETA)

        assert await store.backend.prune(_beyond(2), 100) == 3
        assert await _left(store) == [*noisy[3:], *quiet]

    async def test_where_there_are_no_more_than_are_kept_nothing_is_deleted(self, store: Store) -> None:
        ids = await _ended(store, 3)

        for jobs in (3, 4, 2**40):
            assert await store.backend.prune(_beyond(jobs), 100) == 0
        assert await _left(store) == ids

    async def test_the_newest_are_those_that_ended_last_whatever_their_ids(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 4)
        for job in (jobs[2], jobs[0], jobs[3], jobs[1]):
            await store.settle(job, Complete())
            store.clock.advance(SECOND)

        assert await store.backend.prune(_beyond(2), 100) == 2
        assert await _left(store) == [jobs[1].id, jobs[3].id]

    async def test_of_those_that_ended_together_the_last_enqueued_are_the_newest(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 5)
        await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in reversed(jobs)])

        assert await store.backend.prune(_beyond(2), 100) == 3
        assert await _left(store) == [job.id for job in jobs[3:]]

    async def test_of_several_that_ended_together_and_others_before_them_the_newest_are_kept(
        self, store: Store
    ) -> None:
        for _ in range(3):
            jobs = await store.executing(*[new_job()] * 5)
            await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs])
            store.clock.advance(SECOND)
        ids = await _left(store)

        assert await store.backend.prune(_beyond(4), 100) == 11
        assert await _left(store) == ids[11:]

    async def test_those_that_ended_together_in_several_batches_are_in_the_order_of_their_ids(
        self, store: Store
    ) -> None:
        jobs = await store.executing(*[new_job()] * 5)
        for job in reversed(jobs):
            await store.settle(job, Complete())
        store.clock.advance(SECOND)

        for spec, batch, left in (
            (_beyond(2), 1, jobs[1:]),
            (_beyond(2), 9, jobs[3:]),
            (_older(_NOTHING), 1, jobs[4:]),
        ):
            await store.backend.prune(spec, batch)
            assert await _left(store) == [job.id for job in left]

    async def test_of_those_of_all_executors_that_ended_together_the_first_enqueued_are_deleted_first(
        self, store: Store
    ) -> None:
        for executors in ((ALPHA, BETA), (BETA, ALPHA)):
            for spec in (_older(_NOTHING), _beyond(0)):
                jobs = await store.executing(*map(new_job, executors))
                await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs])
                store.clock.advance(SECOND)

                assert await store.backend.prune(spec, 1) == 1
                assert await _left(store) == [jobs[1].id]
                assert await store.backend.prune(spec, 1) == 1

    async def test_those_that_are_kept_take_no_place_in_a_batch(self, store: Store) -> None:
        for size in (5, 1):
            jobs = await store.executing(*[new_job()] * 5)
            for start in range(0, 5, size):
                await store.settle_all(
                    [Settlement(job.id, job.claims, Complete()) for job in jobs[start : start + size]]
                )
            store.clock.advance(SECOND)
            others = await _ended(store, 5, BETA)

            assert await store.backend.prune(_beyond(4), 2) == 2
            assert await _left(store) == [job.id for job in jobs[1:]] + others[1:]
            assert await store.backend.prune(_older(_NOTHING), 100) == 8

    async def test_none_are_kept_where_none_are_asked_for(self, store: Store) -> None:
        await _ended(store, 3)

        assert await store.backend.prune(_beyond(0), 100) == 3
        assert await _left(store) == []

    async def test_a_status_keeps_a_count_of_its_own(self, store: Store) -> None:
        done = await _ended(store, 3)
        discarded = await _ended(store, 3, status=JobStatus.DISCARDED)

        assert await store.backend.prune(_beyond(2), 100) == 1
        assert await _left(store) == [*done[1:], *discarded]

    async def test_only_the_named_executors_are_meant(self, store: Store) -> None:
        alpha, beta, gamma = [await _ended(store, 2, executor) for executor in (ALPHA, BETA, "gamma")]
        named = frozenset({ALPHA, "gamma", "nobody"})

        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(1), named, is_except=False), 9) == 2
        assert await _left(store) == sorted([alpha[1], *beta, gamma[1]])
        older = PruneSpec(JobStatus.COMPLETE, OlderThan(_NOTHING), named, is_except=False)
        assert await store.backend.prune(older, 9) == 2
        assert await _left(store) == beta

    async def test_all_but_the_named_executors_are_meant(self, store: Store) -> None:
        alpha, beta, gamma = [await _ended(store, 2, executor) for executor in (ALPHA, BETA, "gamma")]
        named = frozenset({ALPHA, "gamma", "nobody"})

        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(1), named), 9) == 1
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(_NOTHING), named), 9) == 1
        assert await _left(store) == sorted([*alpha, *gamma])
        assert beta[0] not in await _left(store)

    async def test_only_none_means_nobody(self, store: Store) -> None:
        ids = await _ended(store, 2)

        none = PruneSpec(JobStatus.COMPLETE, OlderThan(_NOTHING), frozenset(), is_except=False)
        assert await store.backend.prune(none, 100) == 0
        assert await _left(store) == ids

    async def test_a_batch_deletes_no_more_than_asked_and_the_next_goes_on(self, store: Store) -> None:
        ids = await _ended(store, 7)

        assert await store.backend.prune(_older(_NOTHING), 3) == 3
        assert await _left(store) == ids[3:]
        assert await store.backend.prune(_beyond(1), 2) == 2
        assert await _left(store) == ids[5:]
        assert await store.backend.prune(_beyond(1), 2) == 1
        assert await store.backend.prune(_beyond(1), 2) == 0
        assert await _left(store) == ids[6:]

    async def test_a_batch_takes_the_longest_ended_of_all_executors(self, store: Store) -> None:
        order = [BETA, ALPHA, "gamma", ALPHA, BETA, "gamma", ALPHA]
        ids = [(await _ended(store, 1, executor))[0] for executor in order]

        for spec, batch, left in ((_older(_NOTHING), 2, ids[2:]), (_beyond(1), 1, ids[3:]), (_beyond(1), 1, ids[4:])):
            assert await store.backend.prune(spec, batch) == batch
            assert await _left(store) == left

    async def test_the_doomed_are_those_that_the_rules_name(self, store: Store) -> None:
        for number in range(30):
            await _ended(store, 1, (ALPHA, BETA)[number % 3 == 0], sorted(ENDED)[number % 2])
        for spec in (_beyond(4), _older(20 * SECOND, JobStatus.CANCELLED), _beyond(1, JobStatus.CANCELLED)):
            before = await store.jobs()
            doomed = {job.id for job in rules.prunable(spec, before, store.now)[:5]}

            assert await store.backend.prune(spec, 5) == len(doomed) > 0
            assert await store.jobs() == [job for job in before if job.id not in doomed]

    async def test_a_deleted_job_is_gone_from_everywhere(self, store: Store) -> None:
        unique = UniquenessCriteria.by_key("order 7").and_statuses(*JobStatus)
        job = await store.job_in(JobStatus.COMPLETE, new_job(unique=unique))
        await store.backend.prune(_beyond(0), 100)

        assert await store.backend.count() == []
        assert await store.settle_all([Settlement(job.id, job.claims, Complete())]) == [job.id]
        with expect(JobNotFoundError):
            await store.backend.rerun(job.id)
        assert (await store.add(new_job(unique=unique))).disposition == "inserted"

    async def test_an_id_is_not_used_again(self, store: Store) -> None:
        ids = await _ended(store, 3)
        await store.backend.prune(_beyond(0), 100)

        [after] = await store.enqueue(new_job())

        assert after > ids[-1]

    async def test_an_age_beyond_the_calendar_deletes_nothing(self, store: Store) -> None:
        ids = await _ended(store, 2)

        assert await store.backend.prune(_older(timedelta(days=999_999)), 100) == 0
        assert await _left(store) == ids

    async def test_an_empty_store_has_nothing_to_delete(self, store: Store) -> None:
        assert await store.backend.prune(_older(_NOTHING), 100) == 0
        assert await store.backend.prune(_beyond(0), 100) == 0

    async def test_thousands_are_deleted_in_batches(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 2_500)
        await store.settle_all([Settlement(job.id, job.claims, Complete()) for job in jobs])

        assert [await store.backend.prune(_beyond(100), 1_000) for _ in range(4)] == [1_000, 1_000, 400, 0]
        assert await _left(store) == [job.id for job in jobs[-100:]]
