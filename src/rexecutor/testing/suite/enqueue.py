"""Enqueues: what is stored, when it is due, and which ids it gets."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rexecutor.model import rules
from rexecutor.model.job import NewJob
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import BETA, HOUR, MICROSECOND, SECOND, Store, new_job

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


class EnqueueCases(Cases):
    """An enqueue stores all jobs of its batch, as `rules.inserted` says, or none."""

    async def test_a_new_job_waits_with_no_history(self, store: Store) -> None:
        new = new_job(BETA, data='{"n":1}', metadata='{"by":"me"}', max_attempts=7, priority=32_767, tags=("b", "a"))

        [job_id] = await store.enqueue(new)

        assert await store.job(job_id) == rules.inserted(new, job_id, store.now)

    async def test_every_job_of_a_batch_is_as_it_was_given(self, store: Store) -> None:
        batch = [
            new_job("one", data='"1"', tags=("t",)),
            new_job("two", data="[2]", metadata='"m"', priority=3, max_attempts=1),
            new_job("three", delay=HOUR),
            new_job("four", scheduled_at=store.now - HOUR),
        ]

        ids = await store.enqueue(*batch)

        expected = [rules.inserted(new, job_id, store.now) for new, job_id in zip(batch, ids, strict=True)]
        assert await store.jobs() == expected

    async def test_jobs_that_differ_only_in_their_data_are_as_they_were_given(self, store: Store) -> None:
        texts = ['"a"', '""', "null", "[]", '{\n"b": 1\n}', '"c"', r'"a\\b\"c\n\td,{e}"', '"ü€😀"', "[1.50]"]
        kinds: list[Callable[[str], NewJob]] = [
            lambda data: new_job(data=data),
            lambda data: new_job(BETA, data=data, metadata='{"by":"me"}', max_attempts=7, priority=32_767),
            lambda data: new_job(data=data, tags=("b", 'a"{}\\', "ü,")),
            lambda data: new_job(data=data, delay=HOUR),
            lambda data: new_job(data=data, scheduled_at=store.now - HOUR, expires_at=store.now + HOUR),
            lambda data: new_job(data=data, expires_in=HOUR),
        ]
        for kind in kinds:
            for some in (texts, texts[:2], [text for text in texts if "\n" not in text]):
                batch = [kind(text) for text in some]

                ids = await store.enqueue(*batch)

                expected = [rules.inserted(new, job_id, store.now) for new, job_id in zip(batch, ids, strict=True)]
                assert [await store.job(job_id) for job_id in ids] == expected

    async def test_results_come_in_the_order_given(self, store: Store) -> None:
        data = [str(number) for number in range(100)]

        ids = await store.enqueue(*(new_job(data=text, priority=100 - int(text)) for text in data))

        assert [(await store.job(job_id)).data for job_id in ids] == data

    async def test_a_new_job_is_returned_as_inserted(self, store: Store) -> None:
        answers = await store.backend.enqueue([new_job(), new_job()])

        assert [answer.disposition for answer in answers] == ["inserted", "inserted"]

    async def test_ids_grow_within_a_batch(self, store: Store) -> None:
        ids = await store.enqueue(*[new_job()] * 50)

        assert ids == sorted(set(ids))

    async def test_ids_grow_with_the_enqueues(self, store: Store) -> None:
        ids = [(await store.enqueue(new_job()))[0] for _ in range(10)]

        assert ids == sorted(set(ids))

    async def test_an_empty_batch_stores_nothing(self, store: Store) -> None:
        answers = await store.backend.enqueue([])

        assert list(answers) == []
        assert await store.jobs() == []

    async def test_a_large_batch_is_stored_whole(self, store: Store) -> None:
        ids = await store.enqueue(*(new_job(data=str(number)) for number in range(12_000)))

        jobs = await store.jobs()
        assert [job.id for job in jobs] == ids
        assert [job.data for job in jobs] == [str(number) for number in range(12_000)]

    async def test_a_batch_of_many_megabytes_is_stored_whole(self, store: Store) -> None:
        sizes = [1_000_000, 10, 900_000, 500_000, 1_000_000, 1_000_000, 1_000_000, 1, 1_000_000, 1_000_000, 70_000]

        ids = await store.enqueue(*(new_job(data=f'"{"x" * size}"', metadata=f'"{size}"') for size in sizes))

        jobs = await store.jobs()
        assert [job.id for job in jobs] == ids
        assert [len(job.data) - 2 for job in jobs] == sizes
        assert [job.metadata for job in jobs] == [f'"{size}"' for size in sizes]

    async def test_enqueues_at_the_same_time_are_each_confirmed_by_themselves(self, store: Store) -> None:
        names = [str(number) for number in range(40)]

        answers = await asyncio.gather(*(store.enqueue(new_job(data=name), new_job(data=name)) for name in names))

        stored = {job.id: job.data for job in await store.jobs()}
        assert [[stored[job_id] for job_id in ids] for ids in answers] == [[name, name] for name in names]
        assert len(stored) == 80

    async def test_a_job_without_a_time_is_due_at_once(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job())

        assert (await store.job(job_id)).scheduled_at == store.now

    async def test_a_delay_counts_from_the_stores_time(self, store: Store) -> None:
        store.clock.advance(HOUR)

        [job_id] = await store.enqueue(new_job(delay=3 * SECOND))

        assert (await store.job(job_id)).scheduled_at == store.now + 3 * SECOND

    async def test_a_moment_is_kept_whether_past_or_future(self, store: Store) -> None:
        past, future = store.now - HOUR, store.now + HOUR

        first, second = await store.enqueue(new_job(scheduled_at=past), new_job(scheduled_at=future))

        assert (await store.job(first)).scheduled_at == past
        assert (await store.job(second)).scheduled_at == future

    async def test_moments_keep_their_microseconds(self, store: Store) -> None:
        store.clock.advance(timedelta(seconds=1_234, microseconds=567_891))
        moment = store.now + timedelta(days=4_000, microseconds=123_457)

        first, second = await store.enqueue(new_job(scheduled_at=moment), new_job(delay=MICROSECOND))

        assert (await store.job(first)).scheduled_at == moment
        assert (await store.job(first)).inserted_at == store.now
        assert (await store.job(second)).scheduled_at == store.now + MICROSECOND

    async def test_the_first_and_the_last_moment_are_kept(self, store: Store) -> None:
        first, second = await store.enqueue(new_job(scheduled_at=_FIRST), new_job(scheduled_at=_LAST))

        assert (await store.job(first)).scheduled_at == _FIRST
        assert (await store.job(second)).scheduled_at == _LAST

    async def test_the_longest_delay_is_kept(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(delay=timedelta(days=365_000)))

        assert (await store.job(job_id)).scheduled_at == store.now + timedelta(days=365_000)

    async def test_moments_are_returned_aware_and_in_utc(self, store: Store) -> None:
        [job_id] = await store.enqueue(new_job(scheduled_at=store.now - HOUR))

        job = await store.job(job_id)
        assert job.scheduled_at.utcoffset() == job.inserted_at.utcoffset() == timedelta(0)
