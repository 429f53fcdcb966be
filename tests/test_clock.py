"""The two clocks."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from rexecutor.clock import SystemClock, random_between, unique_id
from rexecutor.errors import ConfigurationError
from rexecutor.testing import FakeClock

SECOND = timedelta(seconds=1)


async def turn() -> None:
    """Let the loop call what is due."""
    for _ in range(3):
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


class TestFakeClock:
    def test_it_stands_still(self) -> None:
        clock = FakeClock()

        assert clock.now() == clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
        assert clock.monotonic() == clock.monotonic() == 0

    def test_advancing_moves_both_clocks(self) -> None:
        clock = FakeClock()

        clock.advance(timedelta(seconds=90, microseconds=1))

        assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, 1, tzinfo=UTC)
        assert clock.monotonic() == 90.000001

    def test_jumping_moves_the_wall_clock_alone(self) -> None:
        clock = FakeClock()

        clock.jump(-SECOND)

        assert clock.now() == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
        assert clock.monotonic() == 0

    def test_it_begins_where_it_is_told_to_and_answers_in_utc(self) -> None:
        clock = FakeClock(datetime(2030, 5, 1, 2, tzinfo=timezone(timedelta(hours=2))))

        assert clock.now() == datetime(2030, 5, 1, tzinfo=UTC)
        assert clock.now().tzinfo is UTC

    def test_a_naive_beginning_is_an_error(self) -> None:
        with pytest.raises(ConfigurationError, match="must be an aware datetime"):
            FakeClock(datetime(2030, 5, 1))  # noqa: DTZ001 - that is the point

    def test_time_does_not_pass_backwards(self) -> None:
        with pytest.raises(ConfigurationError, match="jump"):
            FakeClock().advance(-SECOND)

    async def test_timers_come_due_in_the_order_of_their_times(self) -> None:
        clock = FakeClock()
        heard: list[str] = []
        for name, delay in (("c", 3), ("a", 1), ("b", 2), ("b2", 2), ("later", 4)):
            clock.call_later(delay, lambda name=name: heard.append(name))

        clock.advance(3 * SECOND)
        await turn()

        assert heard == ["a", "b", "b2", "c"]
        assert clock.waiting == 1

    async def test_a_timer_comes_due_once(self) -> None:
        clock = FakeClock()
        heard: list[int] = []
        clock.call_later(1, lambda: heard.append(1))

        clock.advance(SECOND)
        clock.advance(SECOND)
        await turn()

        assert heard == [1]

    async def test_a_timer_that_is_called_off_does_not_come(self) -> None:
        clock = FakeClock()
        heard: list[int] = []
        early = clock.call_later(1, lambda: heard.append(1))
        late = clock.call_later(1, lambda: heard.append(2))

        early.cancel()
        clock.advance(SECOND)
        late.cancel()  # it is due, and has not been called yet
        await turn()

        assert heard == []
        assert clock.waiting == 0

    async def test_a_timer_without_a_delay_is_due_at_once(self) -> None:
        heard: list[int] = []
        FakeClock().call_later(0, lambda: heard.append(1))

        await turn()

        assert heard == [1]

    async def test_steps_that_add_up_reach_a_timer_exactly(self) -> None:
        clock = FakeClock()
        clock.advance(timedelta(seconds=0.1))
        heard: list[int] = []
        clock.call_later(0.3, lambda: heard.append(1))

        for _ in range(3):
            clock.advance(timedelta(seconds=0.1))
        await turn()

        assert heard == [1]

    async def test_a_jump_makes_no_timer_due(self) -> None:
        clock = FakeClock()
        heard: list[int] = []
        clock.call_later(1, lambda: heard.append(1))

        clock.jump(timedelta(days=1))
        await turn()

        assert heard == []

    async def test_a_sleep_ends_when_its_time_has_passed(self) -> None:
        clock = FakeClock()
        sleeping = asyncio.ensure_future(clock.sleep(2 * SECOND))
        await turn()
        clock.advance(SECOND)
        await turn()
        too_early = sleeping.done()

        clock.advance(SECOND)
        await sleeping

        assert not too_early

    async def test_an_event_ends_a_wait_before_its_time(self) -> None:
        event = asyncio.Event()
        clock = FakeClock()
        waiting = asyncio.ensure_future(clock.wait(event, timedelta(days=1)))
        await turn()

        event.set()

        assert await waiting is True
        assert clock.waiting == 0

    async def test_a_wait_whose_time_has_passed_answers_that_the_event_is_not_set(self) -> None:
        clock = FakeClock()
        waiting = asyncio.ensure_future(clock.wait(asyncio.Event(), SECOND))
        await turn()

        clock.advance(SECOND)

        assert await waiting is False

    async def test_a_wait_of_no_time_ends_at_once(self) -> None:
        assert await FakeClock().wait(asyncio.Event(), timedelta(0)) is False

    async def test_the_longest_wait_there_is_may_be_asked_for(self) -> None:
        event = asyncio.Event()
        waiting = asyncio.ensure_future(FakeClock().wait(event, timedelta.max))
        await turn()

        event.set()

        assert await waiting is True

    async def test_another_thread_may_move_it(self) -> None:
        clock = FakeClock()
        sleeping = asyncio.ensure_future(clock.sleep(SECOND))
        await turn()

        thread = threading.Thread(target=clock.advance, args=(SECOND,))
        thread.start()
        await sleeping

        thread.join()
        assert clock.monotonic() == 1

    def test_timers_of_a_closed_loop_are_forgotten(self) -> None:
        clock = FakeClock()

        async def ask() -> None:
            clock.call_later(1, lambda: None)

        asyncio.run(ask())
        clock.advance(SECOND)

        assert clock.waiting == 0


class TestSystemClock:
    def test_it_answers_aware_moments_in_utc(self) -> None:
        assert SystemClock().now().tzinfo is UTC

    async def test_a_sleep_lasts_as_long_as_asked(self) -> None:
        clock = SystemClock()
        before = clock.monotonic()

        await clock.sleep(timedelta(milliseconds=20))

        assert clock.monotonic() - before >= 0.019

    async def test_a_cancelled_wait_leaves_nothing_behind(self) -> None:
        waiting = asyncio.ensure_future(SystemClock().sleep(timedelta(days=1)))
        await turn()

        waiting.cancel()
        await asyncio.wait((waiting,))
        await turn()

        assert waiting.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_ids_are_never_the_same() -> None:
    ids = {unique_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(len(text) == 32 for text in ids)


def test_random_numbers_stay_between_their_bounds() -> None:
    assert all(-1 <= random_between(-1, 1) <= 1 for _ in range(100))
