"""Catch-up of schedules: which missed ticks are taken later."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rexecutor.model.rules import MAX_TICKS
from rexecutor.model.schedules import CatchUp
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import HOUR, MICROSECOND, SECOND, Store
from rexecutor.testing.suite.ticks import EACH_SECOND, HOURLY, ages_taken, look, schedule_of


class CatchUpCases(Cases):
    """Ticks missed while no node was up are taken as the schedule's policy says; all other late ticks are taken."""

    async def test_skip_makes_up_for_nothing_that_fell_before(self, store: Store) -> None:
        assert await _missed(store, CatchUp.SKIP, 35 * SECOND) == []
        assert await _missed(store, CatchUp.SKIP, 30 * SECOND + MICROSECOND) == []

    async def test_a_tick_of_the_very_moment_was_not_missed(self, store: Store) -> None:
        assert await _missed(store, CatchUp.SKIP, 30 * SECOND) == [0]

    async def test_latest_makes_up_for_the_newest_only(self, store: Store) -> None:
        assert await _missed(store, CatchUp.LATEST, 35 * SECOND) == [5]
        assert await _missed(store, CatchUp.LATEST, 30 * SECOND) == [0]

    async def test_latest_makes_up_for_nothing_older_than_the_window(self, store: Store) -> None:
        assert await _missed(store, CatchUp.LATEST, 16 * SECOND, window=6 * SECOND) == [6]
        assert await _missed(store, CatchUp.LATEST, 16 * SECOND, window=6 * SECOND - MICROSECOND) == []

    async def test_all_makes_up_for_every_tick_within_the_window(self, store: Store) -> None:
        assert await _missed(store, CatchUp.ALL, 35 * SECOND) == [25, 15, 5]
        assert await _missed(store, CatchUp.ALL, 35 * SECOND, window=15 * SECOND) == [15, 5]
        assert await _missed(store, CatchUp.ALL, 35 * SECOND, window=15 * SECOND - MICROSECOND) == [5]
        assert await _missed(store, CatchUp.ALL, 35 * SECOND, window=SECOND) == []

    async def test_what_is_left_out_is_never_made_up_for(self, store: Store) -> None:
        for number, catch_up in enumerate(CatchUp):
            schedule = schedule_of(name=str(number), catch_up=catch_up, window=SECOND)
            await look(store, schedule)
            store.clock.advance(35 * SECOND)
            await look(store, schedule)

            wide = schedule_of(name=str(number), catch_up=CatchUp.ALL, window=HOUR)
            assert await ages_taken(store, wide, up_since=store.now - HOUR) == []

    async def test_ticks_since_the_node_is_up_are_all_taken(self, store: Store) -> None:
        for number, catch_up in enumerate(CatchUp):
            schedule = schedule_of(name=str(number), catch_up=catch_up)
            up_since = (await look(store, schedule)).now
            store.clock.advance(25 * SECOND)

            assert await ages_taken(store, schedule, up_since=up_since) == [15, 5]
            store.clock.advance(5 * SECOND)

    async def test_a_tick_since_the_node_is_up_is_taken_however_late(self, store: Store) -> None:
        for number, catch_up in enumerate(CatchUp):
            schedule = schedule_of(HOURLY, name=str(number), catch_up=catch_up, window=SECOND)
            up_since = (await look(store, schedule)).now
            store.clock.advance(2 * HOUR + 10 * SECOND)

            assert await ages_taken(store, schedule, up_since=up_since) == [10]
            store.clock.advance(HOUR - 10 * SECOND)

    async def test_of_the_ticks_before_the_node_was_up_only_the_policy_decides(self, store: Store) -> None:
        taken: dict[CatchUp, Sequence[int]] = {}
        for number, catch_up in enumerate(CatchUp):
            schedule = schedule_of(name=str(number), catch_up=catch_up)
            await look(store, schedule)
            store.clock.advance(35 * SECOND)
            up_since = store.now - 15 * SECOND + MICROSECOND
            taken[catch_up] = await ages_taken(store, schedule, up_since=up_since)
            store.clock.advance(5 * SECOND)

        assert taken == {CatchUp.SKIP: [5], CatchUp.LATEST: [5], CatchUp.ALL: [25, 15, 5]}

    async def test_more_ticks_than_one_look_takes_are_taken_by_the_next_looks(self, store: Store) -> None:
        schedule = schedule_of(EACH_SECOND, catch_up=CatchUp.ALL, window=HOUR)
        start = (await look(store, schedule)).now
        store.clock.advance(2_500 * SECOND)

        looks = [await look(store, schedule) for _ in range(4)]

        assert [len(look.taken) for look in looks] == [MAX_TICKS, MAX_TICKS, 500, 0]
        taken = [tick for look in looks for _, tick in look.taken]
        assert taken == [start + number * SECOND for number in range(1, 2_501)]
        assert [look.next_tick for look in looks] == [
            *(taken[1_000], taken[2_000], store.now + SECOND, store.now + SECOND)
        ]
        assert [job.scheduled_at for job in await store.jobs()] == taken


async def _missed(
    store: Store, catch_up: CatchUp, age: timedelta, *, window: timedelta = timedelta(seconds=60)
) -> list[int]:
    """Return the ages, in whole seconds, of the ticks that a node's first look takes, `age` after another's last."""
    name = f"{catch_up}-{age}-{window}"
    store.clock.jump(datetime.fromtimestamp(store.now.timestamp() // 60 * 60 + 60, UTC) - store.now)
    schedule = schedule_of(name=name, catch_up=catch_up, window=window)
    await look(store, schedule)
    store.clock.advance(age)
    return await ages_taken(store, schedule)
