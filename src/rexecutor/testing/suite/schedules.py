"""Schedules: which ticks are taken, by whom, and what they enqueue."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rexecutor.backend.exchange import Ticked
from rexecutor.cron import Cron
from rexecutor.job import NewJob
from rexecutor.outcome import Complete
from rexecutor.prune_spec import BeyondNewest, PruneSpec
from rexecutor.schedule import CatchUp, Schedule, StoredSchedule
from rexecutor.status import JobStatus
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, HOUR, MICROSECOND, SECOND, Store, new_job
from rexecutor.uniqueness import UniquenessCriteria

_EACH_SECOND: Final = Cron("* * * * * *")
_EACH_TEN: Final = Cron("*/10 * * * * *")
_HOURLY: Final = Cron("0 0 * * * *")
_TEN: Final = timedelta(seconds=10)
_JOB: Final = new_job(data='"tick"', metadata='"m"', tags=("t",), priority=3, max_attempts=2)


def _schedule(
    cron: Cron = _EACH_TEN,
    *,
    name: str = "one",
    job: NewJob | None = _JOB,
    catch_up: CatchUp = CatchUp.LATEST,
    window: timedelta = timedelta(seconds=60),
) -> Schedule:
    return Schedule(name, cron, UTC, job, catch_up, window)


async def _tick(store: Store, *schedules: Schedule, up_since: datetime | None = None) -> Ticked:
    return await store.backend.tick(schedules or [_schedule()], up_since=up_since)


async def _ages(store: Store, *schedules: Schedule, up_since: datetime | None = None) -> list[int]:
    """Answer how many seconds before now the ticks were that a look takes."""
    ticked = await _tick(store, *schedules, up_since=up_since)
    return [(store.now - tick) // SECOND for _, tick in ticked.taken]


class ScheduleCases(Cases):
    """Each tick of a schedule is taken at most once in the life of the store, and enqueues one job."""

    async def test_a_schedule_that_is_new_begins_with_its_next_tick(self, store: Store) -> None:
        ticked = await _tick(store)

        assert (ticked.now, list(ticked.taken), ticked.next_tick) == (store.now, [], store.now + _TEN)
        assert await store.jobs() == []

    async def test_a_tick_is_not_taken_early(self, store: Store) -> None:
        first = await _tick(store)
        store.clock.advance(_TEN - MICROSECOND)

        ticked = await _tick(store)

        assert (list(ticked.taken), ticked.next_tick) == ([], first.next_tick)
        assert await store.jobs() == []

    async def test_a_tick_enqueues_one_job_that_is_due_at_the_tick(self, store: Store) -> None:
        await _tick(store)
        store.clock.advance(_TEN + 3 * MICROSECOND)

        ticked = await _tick(store)

        tick = store.now - 3 * MICROSECOND
        assert (list(ticked.taken), ticked.next_tick) == ([("one", tick)], tick + _TEN)
        [job] = await store.jobs()
        assert (job.executor, job.data, job.metadata, job.tags) == (ALPHA, '"tick"', '"m"', ("t",))
        assert (job.status, job.priority, job.max_attempts) == (JobStatus.SCHEDULED, 3, 2)
        assert (job.scheduled_at, job.inserted_at, job.unique_key) == (tick, store.now, None)

    async def test_a_tick_is_taken_at_its_very_moment_and_once(self, store: Store) -> None:
        up_since = (await _tick(store)).now
        taken: list[int] = []
        for _ in range(5):
            store.clock.advance(_TEN)
            taken.append(len((await _tick(store, up_since=up_since)).taken))
            taken.append(len((await _tick(store, up_since=up_since)).taken))

        assert taken == [1, 0] * 5
        assert len(await store.jobs()) == 5

    async def test_a_tick_wakes_who_waits_for_jobs(self, store: Store) -> None:
        await _tick(store)
        store.clock.advance(_TEN)
        store.beat()
        since = store.backend.version
        await _tick(store)

        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert len(await store.claim()) == 1

    async def test_r16_two_nodes_take_each_tick_once(self, store: Store) -> None:
        async with store.another_handle() as other:
            handles = (store, store.beside(other))
            up_since = [(await _tick(handle)).now for handle in handles]
            taken: list[tuple[str, datetime]] = []
            for _ in range(20):
                store.clock.advance(_TEN)
                answers = await asyncio.gather(
                    *(_tick(handle, up_since=since) for handle, since in zip(handles, up_since, strict=True))
                )
                taken += [tick for answer in answers for tick in answer.taken]

            assert len(taken) == len(set(taken)) == 20
            assert sorted(job.scheduled_at for job in await store.jobs()) == sorted(tick for _, tick in taken)

    async def test_r16_looks_at_the_same_moment_take_a_tick_once(self, store: Store) -> None:
        await _tick(store)
        store.clock.advance(_TEN)

        answers = await asyncio.gather(*(_tick(store) for _ in range(20)))

        assert sum(len(answer.taken) for answer in answers) == len(await store.jobs()) == 1

    async def test_r16_a_tick_is_not_held_up_by_the_job_of_the_one_before(self, store: Store) -> None:
        unique = UniquenessCriteria.by_executor()
        schedule = _schedule(job=new_job(unique=unique))
        await _tick(store, schedule)
        for _ in range(2):
            store.clock.advance(_TEN)
            await _tick(store, schedule)

        assert len(await store.jobs()) == 2

    async def test_r17_a_clock_that_is_set_back_repeats_no_tick(self, store: Store) -> None:
        up_since = (await _tick(store)).now
        store.clock.advance(_TEN)
        first = await _tick(store, up_since=up_since)
        store.clock.jump(-timedelta(seconds=25))

        for _ in range(3):
            store.clock.advance(_TEN)
            assert list((await _tick(store, up_since=up_since)).taken) == []
        store.clock.advance(5 * SECOND)
        again = await _tick(store, up_since=up_since)

        assert [tick for _, tick in again.taken] == [first.taken[0][1] + _TEN]
        assert len(await store.jobs()) == 2

    async def test_r17_a_clock_that_leaps_makes_up_for_the_newest_tick(self, store: Store) -> None:
        up_since = (await _tick(store, _schedule(_HOURLY))).now
        store.clock.jump(3 * HOUR + 20 * 60 * SECOND)

        assert await _ages(store, _schedule(_HOURLY), up_since=up_since) == [20 * 60]

    async def test_a_job_that_was_pruned_does_not_give_its_tick_back(self, store: Store) -> None:
        await _tick(store)
        store.clock.advance(_TEN)
        await _tick(store)
        store.beat()
        [job] = await store.claim()
        await store.settle(job, Complete())
        assert await store.backend.prune(PruneSpec(JobStatus.COMPLETE, BeyondNewest(0)), 10) == 1

        assert list((await _tick(store)).taken) == []
        assert await store.jobs() == []

    async def test_each_schedule_has_ticks_of_its_own(self, store: Store) -> None:
        schedules = [
            _schedule(name="b", job=new_job(data='"b"')),
            _schedule(_HOURLY, name="c", job=new_job(data='"c"')),
            _schedule(_EACH_SECOND, name="a", job=new_job(data='"a"')),
        ]
        await _tick(store, *schedules)
        store.clock.advance(_TEN)

        ticked = await _tick(store, *schedules)

        assert sorted(ticked.taken) == [("a", store.now), ("b", store.now)]
        assert ticked.next_tick == store.now + SECOND
        assert sorted(job.data for job in await store.jobs()) == ['"a"', '"b"']

    async def test_a_schedule_that_is_not_looked_at_keeps_its_ticks(self, store: Store) -> None:
        await _tick(store, _schedule(name="one"), _schedule(name="two"))
        store.clock.advance(_TEN)
        await _tick(store, _schedule(name="one"))

        assert [name for name, _ in (await _tick(store, _schedule(name="two"))).taken] == ["two"]

    async def test_no_schedules_have_no_ticks(self, store: Store) -> None:
        ticked = await store.backend.tick([], up_since=None)

        assert (ticked.now, list(ticked.taken), ticked.next_tick) == (store.now, [], None)

    async def test_a_schedule_without_a_job_only_tells(self, store: Store) -> None:
        schedule = _schedule(job=None)
        await _tick(store, schedule)
        store.clock.advance(_TEN)

        ticked = await _tick(store, schedule)

        assert list(ticked.taken) == [("one", store.now)]
        assert await store.jobs() == []
        assert [known.executor for known in await store.backend.schedules()] == [None]

    async def test_after_its_last_tick_a_schedule_rests(self, store: Store) -> None:
        store.clock.jump(datetime(9998, 12, 31, 23, 59, tzinfo=UTC) - store.now)
        yearly = _schedule(Cron("0 0 0 1 1 *"), job=None)
        await _tick(store, yearly)
        store.clock.jump(2 * 60 * SECOND)

        last = await _tick(store, yearly)
        after = await _tick(store, yearly)

        assert (len(last.taken), last.next_tick) == (1, None)
        assert (list(after.taken), after.next_tick) == ([], None)
        assert [known.next_tick for known in await store.backend.schedules()] == [None]

    async def test_a_schedule_that_has_changed_begins_with_its_next_tick(self, store: Store) -> None:
        await _tick(store, _schedule(Cron("0 0 0 1 1 *")))
        store.clock.advance(_TEN)
        changed = _schedule(_EACH_TEN)

        first = await _tick(store, changed)
        store.clock.advance(_TEN)
        second = await _tick(store, changed)

        assert (list(first.taken), first.next_tick) == ([], store.now)
        assert list(second.taken) == [("one", store.now)]
        assert [known.expression for known in await store.backend.schedules()] == ["*/10 * * * * *"]

    async def test_r17_a_schedule_that_has_changed_repeats_no_tick_though_the_clock_was_set_back(
        self, store: Store
    ) -> None:
        await _tick(store)
        store.clock.advance(_TEN)
        taken = (await _tick(store)).taken
        store.clock.jump(-5 * SECOND)
        changed = _schedule(Cron("*/5 * * * * *"))
        await _tick(store, changed)

        for _ in range(2):
            store.clock.advance(5 * SECOND)
            taken = [*taken, *(await _tick(store, changed)).taken]

        assert len(set(taken)) == len(taken) == len(await store.jobs()) == 2

    async def test_the_known_schedules_are_answered(self, store: Store) -> None:
        berlin = Schedule("b", Cron("30 2 * * *"), ZoneInfo("Europe/Berlin"), _JOB)
        ten = _schedule(name="a")
        assert list(await store.backend.schedules()) == []
        await _tick(store, berlin, ten)
        store.clock.advance(_TEN)
        await _tick(store, berlin, ten)

        assert list(await store.backend.schedules()) == [
            StoredSchedule("a", ALPHA, "*/10 * * * * *", "UTC", store.now, store.now + _TEN),
            StoredSchedule("b", ALPHA, "0 30 2 * * *", "Europe/Berlin", None, datetime(2026, 1, 1, 1, 30, tzinfo=UTC)),
        ]

    async def test_schedules_stay_when_the_store_is_opened_again(self, store: Store) -> None:
        again = store.another_handle()
        await _tick(store)
        store.clock.advance(_TEN)
        await _tick(store)
        before = list(await store.backend.schedules())
        await store.backend.close()

        async with again:
            assert list(await again.schedules()) == before
            assert list((await _tick(store.beside(again))).taken) == []
