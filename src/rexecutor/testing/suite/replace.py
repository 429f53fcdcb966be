"""Unique jobs that replace: which existing job an enqueue changes, and which of its fields."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from rexecutor.model.job import NewJob
from rexecutor.model.outcomes import Complete
from rexecutor.model.status import ENDED, JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, SECOND, Store, failed, new_job

_BY_KEY: Final = UniquenessCriteria.by_key("order 7")
_ONE_FIELD: Final = (
    Replace.priority(),
    Replace.data(),
    Replace.metadata(),
    Replace.scheduled_at(),
    Replace.max_attempts(),
)
_ALL_FIELDS: Final = Replace.priority().and_data().and_metadata().and_scheduled_at().and_max_attempts()


def _old(executor: str = ALPHA, *, delay: timedelta = HOUR, unique: UniquenessCriteria | None = _BY_KEY) -> NewJob:
    return new_job(executor, data='"old"', metadata='"old"', priority=5, tags=("old",), delay=delay, unique=unique)


def _newer(action: Replace | None, executor: str = ALPHA, unique: UniquenessCriteria = _BY_KEY) -> NewJob:
    """Return a new job that differs from the old one in every field."""
    given = unique if action is None else unique.on_conflict(action)
    fields: dict[str, Any] = {"data": '"new"', "metadata": None, "priority": 2, "max_attempts": 9}
    return new_job(executor, tags=("new",), delay=2 * HOUR, unique=given, **fields)


class ReplaceCases(Cases):
    """A replacing enqueue changes the chosen fields of one job in one of the chosen statuses, and nothing else."""

    async def test_each_field_is_replaced_alone(self, store: Store) -> None:
        for action in _ONE_FIELD:
            [field] = action.fields
            unique = UniquenessCriteria.by_key(field)
            before = await store.job((await store.add(_old(unique=unique))).id)
            store.clock.advance(SECOND)
            new = _newer(action, unique=unique)

            answer = await store.add(new)

            given = {"scheduled_at": store.now + 2 * HOUR}.get(field, getattr(new, field))
            expected = replace(before, revision=before.revision + 1, **{field: given})
            assert (answer.id, answer.disposition) == (before.id, "replaced")
            assert await store.job(before.id) == expected

    async def test_all_fields_are_replaced_together_and_nothing_else_is(self, store: Store) -> None:
        before = await store.job((await store.add(_old())).id)

        await store.add(_newer(_ALL_FIELDS))

        assert await store.jobs() == [
            replace(
                before,
                data='"new"',
                metadata=None,
                priority=2,
                max_attempts=9,
                scheduled_at=store.now + 2 * HOUR,
                revision=before.revision + 1,
            )
        ]

    async def test_by_default_only_a_scheduled_job_is_replaced(self, store: Store) -> None:
        for status in JobStatus:
            unique = UniquenessCriteria.by_key(str(status)).and_statuses(*JobStatus)
            before = await store.job_in(status, _old(str(status), delay=timedelta(0), unique=unique))

            answer = await store.add(_newer(_ALL_FIELDS, str(status), unique))

            is_replaced = status is JobStatus.SCHEDULED
            assert (answer.id, answer.disposition) == (before.id, "replaced" if is_replaced else "existing")
            assert is_replaced or await store.job(before.id) == before

    async def test_a_job_is_replaced_in_the_chosen_statuses_and_keeps_its_status(self, store: Store) -> None:
        for status in JobStatus:
            unique = UniquenessCriteria.by_key(str(status)).and_statuses(*JobStatus)
            before = await store.job_in(status, _old(str(status), delay=timedelta(0), unique=unique))
            others = set(JobStatus) - {status}

            spared = await store.add(_newer(_ALL_FIELDS.for_statuses(*others), str(status), unique))
            assert spared.disposition == "existing"
            assert await store.job(before.id) == before
            answer = await store.add(_newer(_ALL_FIELDS.for_statuses(status), str(status), unique))

            assert (answer.id, answer.disposition) == (before.id, "replaced")
            after = await store.job(before.id)
            assert (after.status, after.data) == (status, '"new"')
            assert replace(after, data="", metadata="", priority=0, max_attempts=1, revision=0) == replace(
                before,
                data="",
                metadata="",
                priority=0,
                max_attempts=1,
                revision=0,
                scheduled_at=store.now + 2 * HOUR,
            )

    async def test_a_replaced_job_that_has_ended_is_not_run_again(self, store: Store) -> None:
        unique = _BY_KEY.and_statuses(*JobStatus)
        for status in ENDED:
            await store.job_in(status, _old(str(status), delay=timedelta(0), unique=None))
        await store.job_in(JobStatus.COMPLETE, _old(delay=timedelta(0)))

        answer = await store.add(_newer(Replace.scheduled_at().for_statuses(*JobStatus), unique=unique))
        store.clock.advance(3 * HOUR)
        store.heartbeat()

        assert answer.disposition == "replaced"
        assert await store.claim(executors=[ALPHA, *map(str, ENDED)]) == []

    async def test_data_and_metadata_of_another_executors_job_are_left_alone(self, store: Store) -> None:
        before = await store.job((await store.add(_old(BETA))).id)

        answer = await store.add(_newer(_ALL_FIELDS, ALPHA))

        after = await store.job(before.id)
        assert (answer.id, answer.disposition) == (before.id, "replaced")
        assert (after.executor, after.data, after.metadata) == (BETA, '"old"', '"old"')
        assert (after.priority, after.max_attempts, after.scheduled_at) == (2, 9, store.now + 2 * HOUR)

    async def test_where_nothing_may_be_replaced_the_job_is_an_existing_one(self, store: Store) -> None:
        before = await store.job((await store.add(_old(BETA))).id)

        answer = await store.add(_newer(Replace.data().and_metadata(), ALPHA))

        assert (answer.id, answer.disposition) == (before.id, "existing")
        assert await store.job(before.id) == before

    async def test_metadata_may_be_taken_away_and_given(self, store: Store) -> None:
        [job_id] = await store.enqueue(_old())
        action = _BY_KEY.on_conflict(Replace.metadata())

        await store.add(new_job(unique=action))
        assert (await store.job(job_id)).metadata is None
        await store.add(new_job(metadata='{"a":1}', unique=action))
        assert (await store.job(job_id)).metadata == '{"a":1}'

    async def test_of_several_jobs_the_first_that_is_due_is_the_existing_one(self, store: Store) -> None:
        await store.enqueue(_old(delay=2 * HOUR), new_job(delay=HOUR), new_job(), new_job(), new_job(delay=HOUR))
        ids = [job.id for job in await store.jobs()]

        existing = await store.add(_newer(None, unique=UniquenessCriteria.by_executor()))
        replaced = await store.add(_newer(Replace.priority(), unique=UniquenessCriteria.by_executor()))

        assert (existing.id, existing.disposition) == (ids[2], "existing")
        assert (replaced.id, replaced.disposition) == (ids[2], "replaced")

    async def test_of_several_jobs_the_first_that_may_be_replaced_is_replaced(self, store: Store) -> None:
        unique = UniquenessCriteria.by_executor()
        running = await store.job_in(JobStatus.EXECUTING)
        ids = await store.enqueue(new_job(delay=2 * HOUR), new_job(delay=HOUR), new_job(delay=HOUR))

        answer = await store.add(_newer(Replace.priority(), unique=unique))
        of_running = await store.add(_newer(Replace.priority().for_statuses(JobStatus.EXECUTING), unique=unique))
        of_none = await store.add(_newer(Replace.priority().for_statuses(JobStatus.RETRYABLE), unique=unique))

        assert (answer.id, answer.disposition) == (ids[1], "replaced")
        assert (of_running.id, of_running.disposition) == (running.id, "replaced")
        assert (of_none.id, of_none.disposition) == (running.id, "existing")

    async def test_a_job_that_is_replaced_keeps_its_key_and_stands_in_the_way_at_its_new_time(
        self, store: Store
    ) -> None:
        first = await store.add(_old())
        await store.add(_newer(Replace.scheduled_at()))
        near = _BY_KEY.and_within(SECOND)

        assert (await store.add(new_job(delay=2 * HOUR, unique=near))).id == first.id
        assert (await store.add(new_job(delay=HOUR, unique=near))).disposition == "inserted"

    async def test_a_more_urgent_priority_is_claimed_first(self, store: Store) -> None:
        first, last = await store.enqueue(new_job(priority=3), _old(delay=timedelta(0)))
        store.heartbeat()

        await store.add(_newer(Replace.priority()))

        assert [job.id for job in await store.claim()] == [last, first]

    async def test_a_postponed_job_is_not_claimed_before_its_new_time(self, store: Store) -> None:
        [job_id] = await store.enqueue(_old(delay=timedelta(0)))
        await store.add(_newer(Replace.scheduled_at()))
        store.heartbeat()

        early = await store.ask()
        store.clock.advance(2 * HOUR)
        store.heartbeat()

        assert list(early.jobs) == []
        assert early.next_due == store.now
        assert [job.id for job in await store.claim()] == [job_id]

    async def test_a_job_brought_forward_is_claimed_at_once_and_wakes_who_waits(self, store: Store) -> None:
        [job_id] = await store.enqueue(_old())
        store.heartbeat()
        since = store.backend.change_count
        assert await store.claim() == []

        await store.add(new_job(unique=_BY_KEY.on_conflict(Replace.scheduled_at())))
        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert [job.id for job in await store.claim()] == [job_id]

    async def test_what_is_replaced_while_the_job_runs_survives_its_outcome(self, store: Store) -> None:
        unique = _BY_KEY.on_conflict(_ALL_FIELDS.for_statuses(JobStatus.EXECUTING))
        failing = await store.job_in(JobStatus.EXECUTING, _old(delay=timedelta(0)))

        assert (await store.add(_newer(None, unique=unique))).disposition == "replaced"
        after = await store.settle(failing, failed())

        assert (after.status, after.data, after.priority, after.max_attempts) == (JobStatus.RETRYABLE, '"new"', 2, 9)
        assert after.scheduled_at == store.now
        again = await store.reclaim(failing.id)
        assert (again.data, again.attempt) == ('"new"', 2)
        assert (await store.settle(again, Complete())).data == '"new"'

    async def test_fewer_attempts_than_there_were_make_the_next_failure_the_last(self, store: Store) -> None:
        job = await store.job_in(JobStatus.EXECUTING, _old(delay=timedelta(0)))
        await store.settle(job, failed())
        job = await store.reclaim(job.id)
        action = Replace.max_attempts().for_statuses(JobStatus.EXECUTING)

        await store.add(new_job(max_attempts=1, unique=_BY_KEY.on_conflict(action)))

        assert (await store.settle(job, failed())).status is JobStatus.DISCARDED

    async def test_within_a_batch_a_job_is_replaced_by_the_next(self, store: Store) -> None:
        unique = _BY_KEY.on_conflict(Replace.data())
        batch = [new_job(data=str(number), unique=unique) for number in range(3)]

        answers = await store.backend.enqueue([*batch, new_job(data="9"), *batch[:1]])

        assert [answer.disposition for answer in answers] == [
            *("inserted", "replaced", "replaced", "inserted", "replaced")
        ]
        assert [(job.data, job.revision) for job in await store.jobs()] == [("0", 3), ("9", 0)]

    async def test_racing_replacements_leave_one_job_and_lose_none(self, store: Store) -> None:
        unique = _BY_KEY.on_conflict(Replace.data())

        answers = await asyncio.gather(
            *(store.add(new_job(data=str(number), unique=unique)) for number in range(50)),
        )

        assert sorted(answer.disposition for answer in answers) == ["inserted"] + ["replaced"] * 49
        [job] = await store.jobs()
        assert job.revision == 49
