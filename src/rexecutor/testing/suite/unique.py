"""Unique jobs: which existing jobs conflict with a new one, and what the enqueue returns."""

import asyncio
from datetime import timedelta
from typing import Final

from rexecutor.model.job import NewJob
from rexecutor.model.outcomes import Complete
from rexecutor.model.status import OPEN, JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.hostile import TEXTS
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, MICROSECOND, SECOND, Store, new_job

_ANY: Final = UniquenessCriteria()
_BY_EXECUTOR: Final = UniquenessCriteria.by_executor()
_BY_KEY: Final = UniquenessCriteria.by_key("order 7")


def _new(unique: UniquenessCriteria | None, executor: str = ALPHA, *, delay: timedelta = timedelta(0)) -> NewJob:
    return new_job(executor, delay=delay, unique=unique)


class UniqueCases(Cases):
    """An enqueue with criteria adds a job only if no job matches them; otherwise it returns the existing one."""

    async def test_a_second_job_is_not_added_and_the_first_is_returned(self, store: Store) -> None:
        first = await store.add(_new(_BY_EXECUTOR))

        second = await store.add(_new(_BY_EXECUTOR))

        assert (first.disposition, second.disposition) == ("inserted", "existing")
        assert second.id == first.id
        assert [job.id for job in await store.jobs()] == [first.id]

    async def test_the_existing_job_stays_as_it_was(self, store: Store) -> None:
        await store.add(new_job(data='"first"', metadata='"m"', tags=("t",), unique=_BY_EXECUTOR))
        before = await store.jobs()
        store.clock.advance(SECOND)

        await store.add(new_job(data='"second"', priority=3, max_attempts=9, delay=HOUR, unique=_BY_EXECUTOR))

        assert await store.jobs() == before

    async def test_by_executor_only_its_own_jobs_stand_in_the_way(self, store: Store) -> None:
        await store.add(_new(_BY_EXECUTOR, BETA))

        assert (await store.add(_new(_BY_EXECUTOR, ALPHA))).disposition == "inserted"

    async def test_without_an_executor_jobs_of_all_stand_in_the_way(self, store: Store) -> None:
        other = await store.add(_new(None, BETA))

        answer = await store.add(_new(_ANY, ALPHA))

        assert (answer.id, answer.disposition) == (other.id, "existing")

    async def test_without_a_key_jobs_with_and_without_one_stand_in_the_way(self, store: Store) -> None:
        for unique in (None, _BY_KEY, _BY_EXECUTOR):
            executor = f"executor-{unique is None}-{unique is _BY_KEY}"
            first = await store.add(_new(unique and unique.and_executor(), executor))

            assert (await store.add(_new(_BY_EXECUTOR, executor))).id == first.id

    async def test_a_key_is_found_by_a_later_enqueue_with_it(self, store: Store) -> None:
        first = await store.add(_new(_BY_KEY))

        same = await store.add(_new(UniquenessCriteria.by_key("order 7")))
        other = await store.add(_new(UniquenessCriteria.by_key("order 8")))

        assert (same.id, same.disposition) == (first.id, "existing")
        assert other.disposition == "inserted"

    async def test_a_key_is_found_whatever_the_other_criteria_were(self, store: Store) -> None:
        variants = [
            _BY_KEY,
            _BY_KEY.and_executor(),
            _BY_KEY.and_statuses(JobStatus.SCHEDULED),
            _BY_KEY.and_within(HOUR),
            _BY_KEY.and_within(SECOND).and_executor().and_statuses(*JobStatus),
        ]
        first = await store.add(_new(variants[-1]))

        assert {(await store.add(_new(unique))).id for unique in variants} == {first.id}

    async def test_a_key_finds_jobs_of_whatever_executor(self, store: Store) -> None:
        other = await store.add(_new(_BY_KEY, BETA))

        assert (await store.add(_new(_BY_KEY, ALPHA))).id == other.id

    async def test_a_key_with_an_executor_finds_only_its_own_jobs(self, store: Store) -> None:
        await store.add(_new(_BY_KEY, BETA))
        unique = _BY_KEY.and_executor()

        answers = [await store.add(_new(unique, ALPHA)) for _ in range(2)]

        assert [answer.disposition for answer in answers] == ["inserted", "existing"]

    async def test_jobs_without_the_key_do_not_stand_in_its_way(self, store: Store) -> None:
        await store.enqueue(_new(None), _new(_BY_EXECUTOR, BETA), _new(UniquenessCriteria.by_key("other")))

        assert (await store.add(_new(_BY_KEY))).disposition == "inserted"

    async def test_a_key_left_out_does_not_replace_the_one_that_is_there(self, store: Store) -> None:
        await store.add(_new(_BY_EXECUTOR))
        await store.add(_new(_BY_KEY.and_executor(), BETA))

        assert [job.unique_key for job in await store.jobs()] == [None, _BY_KEY.key]

    async def test_keys_are_compared_as_json_values(self, store: Store) -> None:
        same = [{"a": 1, "b": [2, None]}, {"b": [2.0, None], "a": 1.0}]
        different = [1, "1", True, None, [1], {"a": 1}, {"a": True}, "", [], {}, "null", 2**70, 2**70 + 1]

        ids = [(await store.add(_new(UniquenessCriteria.by_key(key)))).id for key in (*same, *different)]

        assert ids[0] == ids[1]
        assert len(set(ids)) == 1 + len(different)

    async def test_strange_keys_are_each_their_own(self, store: Store) -> None:
        keys = [UniquenessCriteria.by_key(text) for text in TEXTS]

        first = await store.backend.enqueue([_new(key) for key in keys])
        again = await store.backend.enqueue([_new(key) for key in keys])

        assert len({answer.id for answer in first}) == len(TEXTS)
        assert [answer.id for answer in again] == [answer.id for answer in first]

    async def test_by_default_jobs_that_have_not_ended_stand_in_the_way(self, store: Store) -> None:
        for status in JobStatus:
            await store.job_in(status, _new(None, str(status)))

        answers = {status: await store.add(_new(_BY_EXECUTOR, str(status))) for status in JobStatus}

        found = {status for status, answer in answers.items() if answer.disposition == "existing"}
        assert found == OPEN

    async def test_within_a_window_complete_jobs_stand_in_the_way_too(self, store: Store) -> None:
        for status in JobStatus:
            await store.job_in(status, _new(None, str(status)))
        unique = _BY_EXECUTOR.and_within(2 * HOUR)

        answers = {status: await store.add(_new(unique, str(status))) for status in JobStatus}

        found = {status for status, answer in answers.items() if answer.disposition == "existing"}
        assert found == OPEN | {JobStatus.COMPLETE}

    async def test_chosen_statuses_take_the_place_of_the_default(self, store: Store) -> None:
        jobs = {status: await store.job_in(status, _new(None, str(status))) for status in JobStatus}

        for unique in (_BY_EXECUTOR, _BY_EXECUTOR.and_within(2 * HOUR)):
            for chosen in JobStatus:
                answer = await store.add(_new(unique.and_statuses(chosen), str(chosen)))
                assert (answer.id, answer.disposition) == (jobs[chosen].id, "existing")
        for status in JobStatus:
            others = _BY_EXECUTOR.and_statuses(*set(JobStatus) - {status})
            assert (await store.add(_new(others, str(status)))).disposition == "inserted", status

    async def test_by_statuses_alone_jobs_of_all_executors_stand_in_the_way(self, store: Store) -> None:
        done = await store.job_in(JobStatus.COMPLETE, _new(None, BETA))
        unique = UniquenessCriteria.by_statuses(JobStatus.COMPLETE)

        assert (await store.add(_new(unique, ALPHA))).id == done.id
        assert (await store.add(_new(UniquenessCriteria.by_statuses(JobStatus.CANCELLED)))).disposition == "inserted"

    async def test_order_and_set_of_the_statuses_do_not_part_jobs(self, store: Store) -> None:
        scheduled, executing, retryable = JobStatus.SCHEDULED, JobStatus.EXECUTING, JobStatus.RETRYABLE
        orders = [(scheduled, executing), (executing, scheduled), (scheduled,), (retryable, scheduled, scheduled)]
        variants = [_BY_EXECUTOR.and_statuses(*order) for order in orders]

        answers = await asyncio.gather(*(store.add(_new(unique)) for unique in variants * 5))

        assert len({answer.id for answer in answers}) == 1
        assert sorted(answer.disposition for answer in answers) == ["existing"] * 19 + ["inserted"]

    async def test_the_window_is_around_the_new_jobs_due_time_and_both_ends_count(self, store: Store) -> None:
        there = await store.add(_new(None, delay=10 * HOUR))
        unique = _BY_EXECUTOR.and_within(HOUR)

        ends = [await store.add(_new(unique, delay=10 * HOUR + by)) for by in (-HOUR, timedelta(0), HOUR)]
        before = await store.add(_new(unique, delay=9 * HOUR - MICROSECOND))
        after = await store.add(_new(unique, delay=11 * HOUR + MICROSECOND))

        assert {answer.id for answer in ends} == {there.id}
        assert (before.disposition, after.disposition) == ("inserted", "inserted")

    async def test_a_job_due_far_from_now_is_not_in_the_window_of_one_that_is_due_now(self, store: Store) -> None:
        await store.add(_new(None, delay=2 * HOUR))
        unique = _BY_EXECUTOR.and_within(HOUR)

        assert (await store.add(_new(unique))).disposition == "inserted"
        assert (await store.add(new_job(scheduled_at=store.now - 2 * HOUR, unique=unique))).disposition == "inserted"

    async def test_a_window_of_nothing_holds_its_moment_alone(self, store: Store) -> None:
        unique = _BY_EXECUTOR.and_within(timedelta(0))
        first = await store.add(_new(unique))

        assert (await store.add(_new(unique))).id == first.id
        store.clock.advance(MICROSECOND)
        assert (await store.add(_new(unique))).disposition == "inserted"

    async def test_one_in_a_window_stays_true_once_it_is_complete(self, store: Store) -> None:
        unique = _BY_EXECUTOR.and_within(HOUR)
        job = await store.job_in(JobStatus.COMPLETE, _new(unique))
        store.clock.advance(HOUR)

        assert (await store.add(_new(unique))).id == job.id
        store.clock.advance(MICROSECOND)
        assert (await store.add(_new(unique))).disposition == "inserted"

    async def test_a_window_beyond_the_calendar_is_returned(self, store: Store) -> None:
        unique = _BY_EXECUTOR.and_within(timedelta(days=365_000))

        first, second = await store.add(_new(unique)), await store.add(_new(unique))

        assert (second.id, second.disposition) == (first.id, "existing")

    async def test_all_criteria_must_hold_at_once(self, store: Store) -> None:
        unique = _BY_KEY.and_executor().and_within(HOUR).and_statuses(JobStatus.SCHEDULED)
        executing = await store.job_in(JobStatus.EXECUTING, _new(unique))
        misses = [
            _new(unique, BETA),
            _new(UniquenessCriteria.by_key("other").and_executor().and_within(HOUR)),
            _new(unique, delay=2 * HOUR),
        ]
        assert [answer.disposition for answer in await store.backend.enqueue(misses)] == ["inserted"] * 3

        first, second = await store.add(_new(unique)), await store.add(_new(unique))

        assert (first.disposition, second.disposition) == ("inserted", "existing")
        assert second.id == first.id != executing.id

    async def test_once_it_has_ended_the_next_is_added(self, store: Store) -> None:
        [job] = await store.executing(_new(_BY_KEY))
        assert (await store.add(_new(_BY_KEY))).disposition == "existing"
        await store.settle(job, Complete())

        assert (await store.add(_new(_BY_KEY))).disposition == "inserted"

    async def test_a_job_without_criteria_is_always_added(self, store: Store) -> None:
        await store.enqueue(_new(_BY_EXECUTOR), _new(_BY_KEY, BETA))

        answers = await store.backend.enqueue([_new(None), _new(None, BETA)])

        assert [answer.disposition for answer in answers] == ["inserted", "inserted"]
