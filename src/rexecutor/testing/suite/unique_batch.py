"""Unique jobs in batches and in concurrent enqueues."""

import asyncio
from typing import Final

from rexecutor.model.job import NewJob
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, Store, new_job

_BY_EXECUTOR: Final = UniquenessCriteria.by_executor()
_BY_KEY: Final = UniquenessCriteria.by_key("order 7")


def _new(unique: UniquenessCriteria | None, executor: str = ALPHA) -> NewJob:
    return new_job(executor, unique=unique)


class UniqueBatchCases(Cases):
    """Criteria apply to jobs in the store and earlier in the batch, also when enqueues race."""

    async def test_within_a_batch_the_first_stands_in_the_way_of_the_next(self, store: Store) -> None:
        answers = await store.backend.enqueue([_new(_BY_KEY), _new(_BY_KEY), _new(_BY_KEY, BETA)])

        assert [answer.disposition for answer in answers] == ["inserted", "existing", "existing"]
        assert len({answer.id for answer in answers}) == len(await store.jobs()) == 1

    async def test_results_of_a_mixed_batch_come_in_the_order_given(self, store: Store) -> None:
        there = await store.add(_new(_BY_KEY))
        other = UniquenessCriteria.by_key("other")

        answers = await store.backend.enqueue(
            [_new(None), _new(_BY_KEY), _new(None), _new(None), _new(other), _new(other), _new(_BY_KEY), _new(None)]
        )

        assert [answer.disposition for answer in answers] == [
            *("inserted", "existing", "inserted", "inserted", "inserted", "existing", "existing", "inserted")
        ]
        added = [answer.id for answer in answers if answer.disposition == "inserted"]
        assert added == sorted(set(added))
        assert (answers[1].id, answers[6].id, answers[5].id) == (there.id, there.id, answers[4].id)
        assert [job.id for job in await store.jobs()] == [there.id, *added]

    async def test_a_plain_job_earlier_in_the_batch_stands_in_the_way(self, store: Store) -> None:
        plain, unique = await store.backend.enqueue([_new(None), _new(_BY_EXECUTOR)])

        assert (unique.id, unique.disposition) == (plain.id, "existing")

    async def test_a_large_batch_of_the_same_adds_one(self, store: Store) -> None:
        answers = await store.backend.enqueue([_new(_BY_KEY.and_executor())] * 300)

        assert len({answer.id for answer in answers}) == len(await store.jobs()) == 1

    async def test_racing_enqueues_add_exactly_one(self, store: Store) -> None:
        for number, unique in enumerate((_BY_EXECUTOR, _BY_KEY, UniquenessCriteria.by_key(8).and_within(HOUR))):
            executor = f"executor-{number}"

            answers = await asyncio.gather(*(store.add(_new(unique, executor)) for _ in range(50)))

            assert sorted(answer.disposition for answer in answers) == ["existing"] * 49 + ["inserted"]
            assert len({answer.id for answer in answers}) == 1

    async def test_racing_enqueues_of_two_backends_add_exactly_one(self, store: Store) -> None:
        async with store.another_backend() as other:
            stores = (store, store.beside(other))
            for number in range(10):
                unique = UniquenessCriteria.by_key(number)

                answers = await asyncio.gather(
                    *(each.add(_new(unique)) for _ in range(25) for each in stores),
                )

                assert sorted(answer.disposition for answer in answers) == ["existing"] * 49 + ["inserted"]
                assert len({answer.id for answer in answers}) == 1
            assert len(await store.jobs()) == 10

    async def test_racing_enqueues_with_different_keys_are_all_added(self, store: Store) -> None:
        keys = [UniquenessCriteria.by_key(number) for number in range(50)]

        answers = await asyncio.gather(*(store.add(_new(key)) for key in keys))

        assert {answer.disposition for answer in answers} == {"inserted"}
        assert len(await store.jobs()) == 50
