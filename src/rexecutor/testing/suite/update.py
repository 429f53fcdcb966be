"""Updates: a job's fields are changed from a copy of it, unless the copy is stale."""

from typing import Any, Final

from msgspec.structs import replace

from rexecutor.errors import JobNotFoundError, JobStateError, StaleJobError
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Interrupted, Snooze
from rexecutor.model.status import ENDED, OPEN, JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, NODE, SECOND, Store, cancelled, expect, failed, new_job

_FIELDS: Final[dict[str, Any]] = {
    "data": '{"n": [1, 2.50]}',
    "metadata": '"žluť"',
    "max_attempts": 32_767,
    "priority": 32_767,
    "tags": ("b", "a'\"%"),
}


def _as_new(record: JobRecord, **fields: Any) -> NewJob:
    """Return the record's fields as the `NewJob` of an update, with `fields` changed."""
    new = new_job(
        record.executor,
        data=record.data,
        metadata=record.metadata,
        max_attempts=record.max_attempts,
        priority=record.priority,
        tags=record.tags,
        scheduled_at=record.scheduled_at,
    )
    return replace(new, **fields)


class UpdateCases(Cases):
    """An update changes a job as `rules.updated` says, unless the job has ended or changed since it was read."""

    async def test_each_field_is_changed_alone(self, store: Store) -> None:
        fields = {**_FIELDS, "scheduled_at": store.now + HOUR}
        for name, value in fields.items():
            before = await store.job((await store.enqueue(new_job(metadata='"m"', tags=("t",))))[0])

            answer = await store.backend.update(before.id, _as_new(before, **{name: value}), version=before.version)

            assert answer == replace(before, revision=before.revision + 1, **{name: value})
            assert await store.job(before.id) == answer

    async def test_all_fields_are_changed_together(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        fields = {**_FIELDS, "scheduled_at": store.now + HOUR}
        before = await store.job(job_id)

        await store.backend.update(job_id, _as_new(before, **fields), version=before.version)

        assert await store.jobs() == [replace(before, revision=1, **fields)]

    async def test_metadata_and_tags_may_be_taken_away(self, store: Store) -> None:
        before = await store.job((await store.enqueue(new_job(metadata='"m"', tags=("t",))))[0])

        after = await store.backend.update(before.id, _as_new(before, metadata=None, tags=()), version=before.version)

        assert (after.metadata, after.tags) == (None, ())
        assert await store.job(before.id) == after

    async def test_an_updates_delay_counts_from_the_stores_time(self, store: Store) -> None:
        before = await store.job((await store.enqueue(new_job()))[0])
        store.clock.advance(HOUR)

        new = _as_new(before, scheduled_at=None, delay=SECOND)
        after = await store.backend.update(before.id, new, version=before.version)

        assert after.scheduled_at == store.now + SECOND

    async def test_a_job_that_has_not_ended_is_changed_and_keeps_its_status(self, store: Store) -> None:
        for status in OPEN:
            before = await store.job_in(status, new_job(str(status)))

            after = await store.backend.update(before.id, _as_new(before, priority=7), version=before.version)

            assert after == await store.job(before.id) == replace(before, priority=7, revision=before.revision + 1)
            assert after.status is status

    async def test_a_job_that_has_ended_is_refused(self, store: Store) -> None:
        for status in ENDED:
            before = await store.job_in(status, new_job(str(status)))

            with expect(JobStateError):
                await store.backend.update(before.id, _as_new(before, priority=7), version=before.version)

            assert await store.job(before.id) == before

    async def test_a_job_of_another_executor_or_none_is_not_found(self, store: Store) -> None:
        before = await store.job((await store.enqueue(new_job(BETA)))[0])

        for job_id, executor in ((before.id, ALPHA), (before.id + 1, BETA), (2**70, BETA), (-1, BETA)):
            with expect(JobNotFoundError):
                await store.backend.update(job_id, _as_new(before, executor=executor), version=before.version)

        assert await store.jobs() == [before]

    async def test_another_version_is_refused_and_changes_nothing(self, store: Store) -> None:
        before = await store.job((await store.enqueue(new_job()))[0])

        for version in (before.version - 1, before.version + 1, 2**70):
            with expect(StaleJobError):
                await store.backend.update(before.id, _as_new(before, priority=7), version=version)

        assert await store.jobs() == [before]

    async def test_the_second_of_two_updates_of_one_copy_is_refused(self, store: Store) -> None:
        copy = await store.job((await store.enqueue(new_job()))[0])
        first = await store.backend.update(copy.id, _as_new(copy, priority=1), version=copy.version)

        with expect(StaleJobError):
            await store.backend.update(copy.id, _as_new(copy, priority=2), version=copy.version)
        second = await store.backend.update(copy.id, _as_new(first, priority=3), version=first.version)

        assert (await store.job(copy.id)).priority == second.priority == 3

    async def test_a_copy_from_before_a_claim_is_stale(self, store: Store) -> None:
        copy = await store.job((await store.enqueue(new_job()))[0])
        store.heartbeat()
        await store.claim()

        await _is_stale(store, copy)

    async def test_a_copy_from_before_an_outcome_is_stale(self, store: Store) -> None:
        for outcome in (failed(delay=HOUR), Snooze(HOUR), Interrupted()):
            copy = await store.job_in(JobStatus.EXECUTING, new_job(type(outcome).__name__))
            await store.settle(copy, outcome)

            await _is_stale(store, copy)

    async def test_a_copy_from_before_a_rescue_is_stale(self, store: Store) -> None:
        copy = await store.job_in(JobStatus.EXECUTING)
        store.deregister(NODE)
        store.heartbeat("another")

        await _is_stale(store, copy)

    async def test_a_copy_from_before_a_cancel_was_asked_is_stale(self, store: Store) -> None:
        copy = await store.job_in(JobStatus.EXECUTING)
        await store.backend.cancel(copy.id, "enough")

        await _is_stale(store, copy)

    async def test_a_copy_from_before_a_rerun_is_stale(self, store: Store) -> None:
        for number, outcome in enumerate((Complete(), cancelled(), failed())):
            copy = await store.job_in(JobStatus.EXECUTING, new_job(f"executor-{number}", max_attempts=1))
            await store.settle(copy, outcome)
            await store.backend.rerun(copy.id)

            await _is_stale(store, copy)

    async def test_a_copy_from_before_a_replacing_enqueue_is_stale(self, store: Store) -> None:
        unique = UniquenessCriteria.by_key(1).on_conflict(Replace.priority())
        copy = await store.job((await store.add(new_job(unique=unique))).id)
        await store.add(new_job(priority=3, unique=unique))

        await _is_stale(store, copy)

    async def test_an_existing_answer_makes_no_copy_stale(self, store: Store) -> None:
        unique = UniquenessCriteria.by_key(1)
        copy = await store.job((await store.add(new_job(unique=unique))).id)
        await store.add(new_job(priority=3, unique=unique))

        await store.backend.update(copy.id, _as_new(copy, priority=7), version=copy.version)

        assert (await store.job(copy.id)).priority == 7

    async def test_an_update_of_a_running_job_survives_its_outcome(self, store: Store) -> None:
        for outcome in (Complete(), Interrupted(), cancelled()):
            job = await store.job_in(JobStatus.EXECUTING, new_job(type(outcome).__name__))
            fields = {**_FIELDS, "scheduled_at": store.now + HOUR}
            updated = await store.backend.update(job.id, _as_new(job, **fields), version=job.version)

            after = await store.settle(job, outcome)

            assert {name: getattr(after, name) for name in fields} == fields
            assert after.claims == updated.claims == job.claims

    async def test_a_failure_after_an_update_counts_the_new_attempts(self, store: Store) -> None:
        job = await store.job_in(JobStatus.EXECUTING)
        await store.backend.update(job.id, _as_new(job, max_attempts=1), version=job.version)

        assert (await store.settle(job, failed())).status is JobStatus.DISCARDED

    async def test_the_claim_takes_jobs_in_their_new_order(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(priority=number) for number in (1, 2, 3)))
        for job_id, priority in zip(ids, (6, 5, 4), strict=True):
            job = await store.job(job_id)
            await store.backend.update(job_id, _as_new(job, priority=priority), version=job.version)
        store.heartbeat()

        assert [job.id for job in await store.claim()] == ids[::-1]

    async def test_a_job_whose_update_postpones_it_is_not_claimed_before_its_new_time(self, store: Store) -> None:
        job = await store.job((await store.enqueue(new_job()))[0])
        await store.backend.update(job.id, _as_new(job, scheduled_at=store.now + SECOND), version=job.version)
        store.heartbeat()

        early = await store.ask()
        store.clock.advance(SECOND)

        assert list(early.jobs) == []
        assert early.next_due == store.now
        assert [job.id for job in await store.claim()] == [job.id]

    async def test_a_job_whose_update_brings_it_forward_is_claimed_at_once_and_wakes_who_waits(
        self, store: Store
    ) -> None:
        job = await store.job((await store.enqueue(new_job(delay=HOUR)))[0])
        store.heartbeat()
        since = store.backend.change_count
        assert await store.claim() == []

        await store.backend.update(job.id, _as_new(job, scheduled_at=store.now), version=job.version)
        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert [job.id for job in await store.claim()] == [job.id]

    async def test_an_update_neither_asks_for_criteria_nor_takes_the_key_away(self, store: Store) -> None:
        unique = UniquenessCriteria.by_key(1)
        first, second = await store.enqueue(new_job(unique=unique), new_job())
        jobs = [await store.job(job_id) for job_id in (first, second)]

        for job in jobs:
            await store.backend.update(job.id, _as_new(job, unique=unique.and_executor()), version=job.version)

        assert [job.unique_key for job in await store.jobs()] == [unique.key, None]
        assert (await store.add(new_job(unique=unique))).id == first


async def _is_stale(store: Store, copy: JobRecord) -> None:
    before = await store.job(copy.id)
    with expect(StaleJobError):
        await store.backend.update(copy.id, _as_new(copy, priority=7), version=copy.version)
    assert await store.job(copy.id) == before
