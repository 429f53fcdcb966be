"""Changes of many jobs at once: cancels, reruns and updates."""

from datetime import timedelta
from typing import Final

from rexecutor.backend.messages import MOST_CHANGED
from rexecutor.errors import ConfigurationError
from rexecutor.model import rules
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import CancelAsked, Complete, FieldUpdate, Rerun
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn, Where
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import BETA, HOUR, SECOND, Store, expect, failed, new_job

_UPDATE: Final = FieldUpdate(priority=3, tags=("moved",))
_WAITING: Final = Where.status_in(JobStatus.SCHEDULED, JobStatus.RETRYABLE)


class ManyCases(Cases):
    """A change of many jobs changes each of those that it may change as `rules.changed` says, and no others."""

    async def test_jobs_of_every_status_change_as_the_rules_say(self, store: Store) -> None:
        for number, change in enumerate((CancelAsked("enough"), Rerun(), _UPDATE, FieldUpdate(), CancelAsked(""))):
            jobs = await _one_in_each_status(store, f"round-{number}")
            store.clock.advance(SECOND)

            statuses = await store.backend.apply_many([job.id for job in jobs], change)

            changed = {job.id: rules.changed(job, change, store.now, store.backend.limits) for job in jobs}
            assert [await store.job(job.id) for job in jobs] == [changed[job.id] or job for job in jobs], change
            assert list(statuses.items()) == [(job_id, job.status) for job_id, job in changed.items() if job], change

    async def test_each_field_is_updated_and_the_others_stay(self, store: Store) -> None:
        updates = (
            FieldUpdate(data='{"n": [1, 2.50]}'),
            FieldUpdate(metadata='{"by":"me"}'),
            FieldUpdate(metadata=None),
            FieldUpdate(max_attempts=1),
            FieldUpdate(priority=32_767),
            FieldUpdate(tags=()),
            FieldUpdate(tags=("a'b", '"', "\\", "{,}", "NULL", "é")),
            FieldUpdate(scheduled_at=store.now - HOUR),
            FieldUpdate(scheduled_at=store.now + timedelta(days=3, microseconds=7)),
        )
        new = new_job(data='"x"', metadata="[1]", max_attempts=7, priority=5, tags=("t",), expires_in=HOUR)
        for update in updates:
            ids = await store.enqueue(new, new)
            jobs = [await store.job(job_id) for job_id in ids]

            await store.backend.update_many(ids, update)

            assert [await store.job(job_id) for job_id in ids] == [
                rules.changed(job, update, store.now, store.backend.limits) for job in jobs
            ]

    async def test_cancelled_jobs_are_not_claimed_and_rerun_ones_are(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 6)
        store.heartbeat()
        assert list(await store.backend.cancel_many(ids[1:4], "enough")) == ids[1:4]

        assert [job.id for job in await store.claim()] == [ids[0], *ids[4:]]
        assert list(await store.backend.rerun_many(ids)) == ids[1:4]
        assert [job.id for job in await store.claim()] == ids[1:4]

    async def test_the_node_of_a_running_job_is_asked_to_cancel_it(self, store: Store) -> None:
        first, second, _ = await store.executing(new_job(), new_job(), new_job())
        await store.backend.cancel(first.id, "before")
        before = store.backend.cancels

        statuses = await store.backend.cancel_many([first.id, second.id], "enough")

        assert statuses == dict.fromkeys([first.id, second.id], JobStatus.EXECUTING)
        cancels = {asked.job_id: asked.reason for asked in store.heartbeat().cancels}
        assert cancels == {first.id: "before", second.id: "enough"}
        assert store.backend.cancels > before

    async def test_an_updated_job_is_claimed_in_its_new_order_and_not_before_its_new_time(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job(priority=2)] * 4)
        store.heartbeat()
        await store.backend.update_many(ids[2:], FieldUpdate(priority=0))
        await store.backend.update_many([ids[3]], FieldUpdate(scheduled_at=store.now + HOUR))

        assert [job.id for job in await store.claim()] == [ids[2], ids[0], ids[1]]
        store.clock.advance(HOUR)
        store.heartbeat()
        assert [job.id for job in await store.claim()] == [ids[3]]

    async def test_only_jobs_that_match_are_changed(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(data=str(number % 2), tags=("t",)) for number in range(4)))
        store.heartbeat()
        [running] = await store.claim(1)

        assert list(await store.backend.cancel_many(ids, "enough", where=_WAITING & Where.data_equals(0))) == [ids[2]]
        assert list(await store.backend.update_many(ids, _UPDATE, where=Where.data_equals(1))) == ids[1::2]
        assert list(await store.backend.rerun_many(ids, where=Where.data_equals(1))) == []
        assert list(await store.backend.rerun_many(ids, where=Where.last_error_equals("Cancel"))) == [ids[2]]
        assert (await store.job(running.id)).cancel_reason is None

    async def test_jobs_that_are_not_there_are_left_out(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        others = [-1, 0, job_id + 1, 2**63, -(2**70)]

        assert await store.backend.cancel_many([], "enough") == {}
        assert await store.backend.cancel_many(others, "enough") == {}
        assert await store.backend.cancel_many([*others, job_id, job_id], "enough") == {job_id: JobStatus.CANCELLED}
        assert await store.backend.rerun_many(others) == {}

    async def test_a_second_call_finds_nothing_to_do(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 3)
        await store.backend.cancel_many(ids, "enough")
        jobs = await store.jobs()
        store.clock.advance(SECOND)

        assert await store.backend.cancel_many(ids, "again") == {}
        assert await store.jobs() == jobs
        assert len(await store.backend.rerun_many(ids)) == 3
        assert await store.backend.rerun_many(ids) == {}

    async def test_as_many_as_are_allowed_are_changed_at_once_and_no_more(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(f"executor-{number % 7}") for number in range(MOST_CHANGED + 1)))

        with expect(ConfigurationError):
            await store.backend.cancel_many(ids, "enough")
        with expect(ConfigurationError):
            await store.backend.rerun_many(["1"])  # pyright: ignore[reportArgumentType] - that is the test
        with expect(ConfigurationError):
            await store.backend.cancel_many(ids[:1], None)  # pyright: ignore[reportArgumentType] - that is the test
        assert list(await store.backend.cancel_many(ids[:-1], "enough")) == ids[:-1]
        assert list(await store.backend.rerun_many(ids[:-1])) == ids[:-1]
        assert list(await store.backend.update_many(ids[1:], _UPDATE)) == ids[1:]
        assert [job.status for job in await store.jobs()] == [JobStatus.SCHEDULED] * len(ids)

    async def test_the_oldest_errors_go_when_there_are_too_many(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())
        for number in range(store.backend.limits.errors + 2):
            await store.backend.cancel_many([job_id], f"reason {number}")
            await store.backend.rerun_many([job_id])

        details = [error.details for error in (await store.job(job_id)).errors]
        assert details == [f"reason {number}" for number in range(2, store.backend.limits.errors + 2)]

    async def test_a_reason_is_stored_in_a_form_that_every_store_accepts(self, store: Store) -> None:
        ids = await store.enqueue(new_job(), new_job())

        await store.backend.cancel_many(ids, "no\0 \ud800 more" + "x" * 10_000)

        [error] = (await store.job(ids[0])).errors
        assert error.details.startswith("no\ufffd ? more")
        assert len(error.details) == store.backend.limits.error_text

    async def test_what_was_rerun_and_ends_again_can_be_pruned(self, store: Store) -> None:
        jobs = await store.executing(*[new_job()] * 3)
        for job in jobs:
            await store.settle(job, Complete())
        await store.backend.rerun_many([jobs[0].id, jobs[2].id])
        store.heartbeat()
        for job in await store.claim():
            await store.settle(job, failed(delay=HOUR))

        assert await _prune_all(store) == 1
        await store.backend.cancel_many([jobs[0].id, jobs[2].id], "enough")
        assert await _prune_all(store) == 2
        assert await store.jobs() == []

    async def test_changes_of_many_wake_those_who_wait_for_work_and_for_ends(self, store: Store) -> None:
        ids = await store.enqueue(new_job(), new_job(BETA))
        for change in (CancelAsked("enough"), Rerun(), _UPDATE):
            before = store.backend.change_count
            await store.backend.apply_many(ids, change)
            assert store.backend.change_count > before, change


async def _one_in_each_status(store: Store, name: str) -> list[JobRecord]:
    """Return a new job in each status, and one that runs and is to be cancelled. Their executors begin with `name`."""
    made = [(await store.job_in(status, new_job(f"{name}-{status}"))).id for status in JobStatus]
    to_cancel = await store.job_in(JobStatus.EXECUTING, new_job(f"{name}-to-cancel", max_attempts=1))
    await store.backend.cancel(to_cancel.id, "before")
    tried = new_job(f"{name}-tried", max_attempts=2, data='"é"', tags=("a", "b"))
    made += [to_cancel.id, (await store.job_in(JobStatus.RETRYABLE, tried)).id]
    return await store.jobs(IdIn(frozenset(made)))


async def _prune_all(store: Store) -> int:
    statuses = [status for status in JobStatus if status.has_ended]
    return sum([await store.backend.prune(PruneSpec(status, BeyondNewest(0)), 100) for status in statuses])
