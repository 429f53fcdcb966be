"""Schedules: which ticks are taken, by which node, and which jobs they enqueue."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from rexecutor.model.cron import Cron
from rexecutor.model.outcomes import Complete
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, HOUR, MICROSECOND, SECOND, Store, new_job
from rexecutor.testing.suite.ticks import (
    EACH_SECOND,
    EACH_TEN,
    HOURLY,
    TEN_SECONDS,
    TICK_JOB,
    ages_taken,
    look,
    schedule_of,
)


class ScheduleCases(Cases):
    """Each tick of a schedule is taken at most once in the store's lifetime, and enqueues one job."""

    async def test_a_schedule_that_is_new_begins_with_its_next_tick(self, store: Store) -> None:
        ticked = await look(store)

        assert (ticked.now, list(ticked.taken), ticked.next_tick) == (store.now, [], store.now + TEN_SECONDS)
        assert await store.jobs() == []

    async def test_a_tick_is_not_taken_early(self, store: Store) -> None:
        first = await look(store)
        store.clock.advance(TEN_SECONDS - MICROSECOND)

        ticked = await look(store)

        assert (list(ticked.taken), ticked.next_tick) == ([], first.next_tick)
        assert await store.jobs() == []

    async def test_a_tick_enqueues_one_job_that_is_due_at_the_tick(self, store: Store) -> None:
        await look(store)
        store.clock.advance(TEN_SECONDS + 3 * MICROSECOND)

        ticked = await look(store)

        tick = store.now - 3 * MICROSECOND
        assert (list(ticked.taken), ticked.next_tick) == ([("one", tick)], tick + TEN_SECONDS)
        [job] = await store.jobs()
        assert (job.executor, job.data, job.metadata, job.tags) == (ALPHA, '"tick"', '"m"', ("t",))
        assert (job.status, job.priority, job.max_attempts) == (JobStatus.SCHEDULED, 3, 2)
        assert (job.scheduled_at, job.inserted_at, job.unique_key) == (tick, store.now, None)

    async def test_a_tick_is_taken_at_its_very_moment_and_once(self, store: Store) -> None:
        up_since = (await look(store)).now
        taken: list[int] = []
        for _ in range(5):
            store.clock.advance(TEN_SECONDS)
            taken.append(len((await look(store, up_since=up_since)).taken))
            taken.append(len((await look(store, up_since=up_since)).taken))

        assert taken == [1, 0] * 5
        assert len(await store.jobs()) == 5

    async def test_a_tick_wakes_who_waits_for_jobs(self, store: Store) -> None:
        await look(store)
        store.clock.advance(TEN_SECONDS)
        store.heartbeat()
        since = store.backend.change_count
        await look(store)

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_two_nodes_take_each_tick_once(self, store: Store) -> None:
        async with store.another_backend() as other:
            stores = (store, store.beside(other))
            up_since = [(await look(each)).now for each in stores]
            taken: list[tuple[str, datetime]] = []
            for _ in range(20):
                store.clock.advance(TEN_SECONDS)
                answers = await asyncio.gather(
                    *(look(each, up_since=since) for each, since in zip(stores, up_since, strict=True))
                )
                taken += [tick for answer in answers for tick in answer.taken]

            assert len(taken) == len(set(taken)) == 20
            assert sorted(job.scheduled_at for job in await store.jobs()) == sorted(tick for _, tick in taken)

    async def test_looks_at_the_same_moment_take_a_tick_once(self, store: Store) -> None:
        await look(store)
        store.clock.advance(TEN_SECONDS)

        answers = await asyncio.gather(*(look(store) for _ in range(20)))

        assert sum(len(answer.taken) for answer in answers) == len(await store.jobs()) == 1

    async def test_a_tick_is_not_held_up_by_the_job_of_the_one_before(self, store: Store) -> None:
        unique = UniquenessCriteria.by_executor()
        schedule = schedule_of(job=new_job(unique=unique))
        await look(store, schedule)
        for _ in range(2):
            store.clock.advance(TEN_SECONDS)
            await look(store, schedule)

        assert len(await store.jobs()) == 2

    async def test_a_clock_that_is_set_back_repeats_no_tick(self, store: Store) -> None:
        up_since = (await look(store)).now
        store.clock.advance(TEN_SECONDS)
        first = await look(store, up_since=up_since)
        store.clock.jump(-timedelta(seconds=25))

        for _ in range(3):
            store.clock.advance(TEN_SECONDS)
            assert list((await look(store, up_since=up_since)).taken) == []
        store.clock.advance(5 * SECOND)
        again = await look(store, up_since=up_since)

        assert [tick for _, tick in again.taken] == [first.taken[0][1] + TEN_SECONDS]
        assert len(await store.jobs()) == 2

    async def test_a_clock_that_leaps_makes_up_for_the_newest_tick(self, store: Store) -> None:
        up_since = (await look(store, schedule_of(HOURLY))).now
        store.clock.jump(3 * HOUR + 20 * 60 * SECOND)

        assert await ages_taken(store, schedule_of(HOURLY), up_since=up_since) == [20 * 60]

    async def test_a_job_that_was_pruned_does_not_give_its_tick_back(self, store: Store) -> None:
        await look(store)
        store.clock.advance(TEN_SECONDS)
        await look(store)
        store.heartbeat()
        [job] = await store.claim()
        await store.settle(job, Complete())
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 10) == 1

        assert list((await look(store)).taken) == []
        assert await store.jobs() == []

    async def test_each_schedule_has_ticks_of_its_own(self, store: Store) -> None:
        schedules = [
            schedule_of(name="b", job=new_job(data='"b"')),
            schedule_of(HOURLY, name="c", job=new_job(data='"c"')),
            schedule_of(EACH_SECOND, name="a", job=new_job(data='"a"')),
        ]
        await look(store, *schedules)
        store.clock.advance(TEN_SECONDS)

        ticked = await look(store, *schedules)

        assert sorted(ticked.taken) == [("a", store.now), ("b", store.now)]
        assert ticked.next_tick == store.now + SECOND
        assert sorted(job.data for job in await store.jobs()) == ['"a"', '"b"']

    async def test_a_schedule_that_is_not_looked_at_keeps_its_ticks(self, store: Store) -> None:
        await look(store, schedule_of(name="one"), schedule_of(name="two"))
        store.clock.advance(TEN_SECONDS)
        await look(store, schedule_of(name="one"))

        assert [name for name, _ in (await look(store, schedule_of(name="two"))).taken] == ["two"]

    async def test_no_schedules_have_no_ticks(self, store: Store) -> None:
        ticked = await store.backend.tick([], up_since=None)

        assert (ticked.now, list(ticked.taken), ticked.next_tick) == (store.now, [], None)

    async def test_a_schedule_without_a_job_only_tells(self, store: Store) -> None:
        schedule = schedule_of(job=None)
        await look(store, schedule)
        store.clock.advance(TEN_SECONDS)

        ticked = await look(store, schedule)

        assert list(ticked.taken) == [("one", store.now)]
        assert await store.jobs() == []
        assert [known.executor for known in await store.backend.schedules()] == [None]

    async def test_after_its_last_tick_a_schedule_rests(self, store: Store) -> None:
        store.clock.jump(datetime(9998, 12, 31, 23, 59, tzinfo=UTC) - store.now)
        yearly = schedule_of(Cron("0 0 0 1 1 *"), job=None)
        await look(store, yearly)
        store.clock.jump(2 * 60 * SECOND)

        last = await look(store, yearly)
        after = await look(store, yearly)

        assert (len(last.taken), last.next_tick) == (1, None)
        assert (list(after.taken), after.next_tick) == ([], None)
        assert [known.next_tick for known in await store.backend.schedules()] == [None]

    async def test_a_schedule_that_has_changed_begins_with_its_next_tick(self, store: Store) -> None:
        await look(store, schedule_of(Cron("0 0 0 1 1 *")))
        store.clock.advance(TEN_SECONDS)
        changed = schedule_of(EACH_TEN)

        first = await look(store, changed)
        store.clock.advance(TEN_SECONDS)
        second = await look(store, changed)

        assert (list(first.taken), first.next_tick) == ([], store.now)
        assert list(second.taken) == [("one", store.now)]
        assert [known.expression for known in await store.backend.schedules()] == ["*/10 * * * * *"]

    async def test_a_schedule_that_has_changed_repeats_no_tick_though_the_clock_was_set_back(
        self, store: Store
    ) -> None:
        await look(store)
        store.clock.advance(TEN_SECONDS)
        taken = (await look(store)).taken
        store.clock.jump(-5 * SECOND)
        changed = schedule_of(Cron("*/5 * * * * *"))
        await look(store, changed)

        for _ in range(2):
            store.clock.advance(5 * SECOND)
            taken = [*taken, *(await look(store, changed)).taken]

        assert len(set(taken)) == len(taken) == len(await store.jobs()) == 2

    async def test_the_known_schedules_are_returned(self, store: Store) -> None:
        berlin = Schedule("b", Cron("30 2 * * *"), ZoneInfo("Europe/Berlin"), TICK_JOB)
        ten = schedule_of(name="a")
        assert list(await store.backend.schedules()) == []
        await look(store, berlin, ten)
        store.clock.advance(TEN_SECONDS)
        await look(store, berlin, ten)

        assert list(await store.backend.schedules()) == [
            StoredSchedule("a", ALPHA, "*/10 * * * * *", "UTC", store.now, store.now + TEN_SECONDS),
            StoredSchedule("b", ALPHA, "0 30 2 * * *", "Europe/Berlin", None, datetime(2026, 1, 1, 1, 30, tzinfo=UTC)),
        ]

    async def test_schedules_stay_when_the_store_is_opened_again(self, store: Store) -> None:
        again = store.another_backend()
        await look(store)
        store.clock.advance(TEN_SECONDS)
        await look(store)
        before = list(await store.backend.schedules())
        await store.backend.close()

        async with again:
            assert list(await again.schedules()) == before
            assert list((await look(store.beside(again))).taken) == []
