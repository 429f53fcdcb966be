"""Jobs that are unique by their data, or by fields of them."""

import asyncio
from typing import Any, Final

from rexecutor.jobs.executor import Executor
from rexecutor.model.job import Enqueued, Job, Limits, NewJob
from rexecutor.model.outcomes import Complete
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, Store, new_job

_BY_DATA: Final = UniquenessCriteria.by_data()
_BY_USER: Final = UniquenessCriteria.by_data("user")


class _Alpha(Executor[dict[str, Any]]):
    name = ALPHA

    async def execute(self, job: Job[dict[str, Any]]) -> None: ...


class _Beta(Executor[dict[str, Any]]):
    name = BETA

    async def execute(self, job: Job[dict[str, Any]]) -> None: ...


def _new(executor: type[Executor[dict[str, Any]]], unique: UniquenessCriteria | None, **data: object) -> NewJob:
    return executor.builder().with_data(data).unique(unique).build(Limits())


async def _add(store: Store, unique: UniquenessCriteria, **data: object) -> Enqueued:
    return await store.add(_new(_Alpha, unique, **data))


class UniqueDataCases(Cases):
    """The key of a job that is unique by its data is taken from the data of each enqueue."""

    async def test_equal_data_stand_in_the_way_and_other_data_do_not(self, store: Store) -> None:
        first = await _add(store, _BY_DATA, user=1, kind="a")

        same = await _add(store, _BY_DATA, kind="a", user=1.0)
        other = await _add(store, _BY_DATA, user=1, kind="b")

        assert (same.id, same.disposition) == (first.id, "existing")
        assert other.disposition == "inserted"

    async def test_of_chosen_fields_only_these_are_compared(self, store: Store) -> None:
        first = await _add(store, _BY_USER, user=1, kind="a")

        same = await _add(store, _BY_USER, user=1, kind="b")
        other = await _add(store, _BY_USER, user=2, kind="a")

        assert (same.id, same.disposition) == (first.id, "existing")
        assert other.disposition == "inserted"
        assert (await store.job(first.id)).data == '{"kind":"a","user":1}'

    async def test_data_of_another_executor_do_not_stand_in_the_way(self, store: Store) -> None:
        await store.add(_new(_Beta, _BY_DATA, user=1))

        assert (await store.add(_new(_Alpha, _BY_DATA, user=1))).disposition == "inserted"

    async def test_other_fields_of_the_same_values_do_not_stand_in_the_way(self, store: Store) -> None:
        await _add(store, _BY_USER, user=1, kind=1)

        for unique in (UniquenessCriteria.by_data("kind"), UniquenessCriteria.by_data("kind", "user")):
            assert (await _add(store, unique, user=1, kind=1)).disposition == "inserted"

    async def test_a_key_beside_the_data_counts_too(self, store: Store) -> None:
        first = await _add(store, _BY_DATA.and_key("monday"), user=1)

        same = await _add(store, UniquenessCriteria.by_key("monday").and_data(), user=1)
        others = [
            await _add(store, _BY_DATA.and_key("tuesday"), user=1),
            await _add(store, _BY_DATA.and_key("monday"), user=2),
            await _add(store, _BY_DATA, user=1),
            await _add(store, UniquenessCriteria.by_key("monday"), user=1),
        ]

        assert (same.id, same.disposition) == (first.id, "existing")
        assert {other.disposition for other in others} == {"inserted"}

    async def test_jobs_that_are_not_unique_by_data_do_not_stand_in_the_way(self, store: Store) -> None:
        by_key = UniquenessCriteria.by_key({"user": 1}).and_executor()
        await store.enqueue(_new(_Alpha, None, user=1), _new(_Alpha, by_key, user=1))

        assert (await _add(store, _BY_DATA, user=1)).disposition == "inserted"

    async def test_once_it_has_ended_the_next_with_the_same_data_is_added(self, store: Store) -> None:
        [job] = await store.executing(_new(_Alpha, _BY_DATA, user=1))
        assert (await _add(store, _BY_DATA, user=1)).disposition == "existing"
        await store.settle(job, Complete())

        assert (await _add(store, _BY_DATA, user=1)).disposition == "inserted"

    async def test_within_a_batch_the_first_stands_in_the_way_of_the_next_with_the_same_data(
        self, store: Store
    ) -> None:
        users = [1, 2, 1, 2, 3]

        answers = await store.backend.enqueue(
            [_new(_Alpha, _BY_USER, user=user, kind=n) for n, user in enumerate(users)]
        )

        assert [answer.disposition for answer in answers] == [
            *("inserted", "inserted", "existing", "existing", "inserted")
        ]
        assert len(await store.jobs()) == 3

    async def test_data_that_are_not_compared_may_be_replaced(self, store: Store) -> None:
        unique = _BY_USER.on_conflict(Replace.data())
        first = await _add(store, unique, user=1, kind="a")

        second = await _add(store, unique, user=1, kind="b")
        third = await _add(store, unique, user=1, kind="c")

        assert (second.id, second.disposition) == (third.id, third.disposition) == (first.id, "replaced")
        assert (await store.job(first.id)).data == '{"kind":"c","user":1}'

    async def test_a_change_of_the_data_leaves_the_key_of_the_enqueue(self, store: Store) -> None:
        job_id = (await _add(store, _BY_DATA, user=1)).id
        job = await store.job(job_id)
        await store.backend.update(job_id, new_job(data='{"user":2}'), version=job.version)

        assert (await _add(store, _BY_DATA, user=1)).id == job_id
        assert (await _add(store, _BY_DATA, user=2)).disposition == "inserted"

    async def test_racing_enqueues_add_exactly_one_for_each_value(self, store: Store) -> None:
        answers = await asyncio.gather(*(_add(store, _BY_USER, user=n % 5, kind=n) for n in range(50)))

        assert sorted(answer.disposition for answer in answers) == ["existing"] * 45 + ["inserted"] * 5
        assert len({answer.id for answer in answers}) == len(await store.jobs()) == 5

    async def test_racing_enqueues_of_two_backends_add_exactly_one_for_each_value(self, store: Store) -> None:
        async with store.another_backend() as other:
            stores = (store, store.beside(other))

            answers = await asyncio.gather(
                *(_add(each, _BY_DATA, user=n % 5) for n in range(50) for each in stores),
            )

            assert sorted(answer.disposition for answer in answers) == ["existing"] * 95 + ["inserted"] * 5
            assert len({answer.id for answer in answers}) == len(await store.jobs()) == 5
