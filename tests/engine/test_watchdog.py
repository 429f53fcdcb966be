"""A loop that stands still is noticed, and the job that holds it is named."""

import asyncio
import threading
from datetime import timedelta

import pytest

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor
from rexecutor.engine.watchdog import Watchdog
from rexecutor.telemetry.events import Event, LoopBlocked, LoopFreed
from rexecutor.testing import FakeClock
from tests.support import Events, soon, until, until_no_threads_of_ours


def in_another_thread(watchdog: Watchdog) -> None:
    """Look, as the watchdog's own thread does, while the loop stands still."""
    thread = threading.Thread(target=watchdog.check)
    thread.start()
    thread.join()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_a_loop_that_answers_is_let_be(clock: FakeClock) -> None:
    told: list[Event] = []
    watchdog = Watchdog(clock, told.append, lambda _: None)
    watchdog.watch()
    for _ in range(10):
        in_another_thread(watchdog)
        await asyncio.to_thread(lambda: None)
        clock.advance(timedelta(seconds=0.9))

    assert told == []


async def test_a_loop_that_does_not_answer_is_told_of_once_and_again_when_it_does(clock: FakeClock) -> None:
    told: list[Event] = []
    watchdog = Watchdog(clock, told.append, lambda _: None)
    watchdog.watch()
    for _ in range(3):
        in_another_thread(watchdog)
        clock.advance(timedelta(seconds=1))

    (blocked,) = told
    assert isinstance(blocked, LoopBlocked)
    assert (blocked.seconds, blocked.job_id) == (1.0, None)
    assert blocked.stack.splitlines()[0].endswith(
        "in test_a_loop_that_does_not_answer_is_told_of_once_and_again_when_it_does"
    )

    await until(lambda: len(told) == 2)
    assert told[1] == LoopFreed(3.0)


async def test_the_longest_lag_is_taken_once_and_counts_the_check_under_way(clock: FakeClock) -> None:
    told: list[Event] = []
    watchdog = Watchdog(clock, told.append, lambda _: None)
    watchdog.watch()
    assert watchdog.take_lag() == 0.0

    in_another_thread(watchdog)
    clock.advance(timedelta(seconds=0.5))
    under_way = watchdog.take_lag()
    clock.advance(timedelta(seconds=0.25))
    await asyncio.to_thread(lambda: None)

    assert under_way == 0.5
    assert watchdog.take_lag() == 0.75
    assert watchdog.take_lag() == 0.0


class Heavy(Executor[None]):
    """Computes in the event loop for as long as it is not told to end."""

    name = "heavy"

    def __init__(self) -> None:
        self.may_end = threading.Event()

    async def execute(self, job: Job[None]) -> None:
        self.may_end.wait(20)


async def test_the_job_that_holds_the_loop_is_named_with_its_stack(events: Events) -> None:
    heavy = Heavy()

    def end_it() -> None:
        while not events.of(LoopBlocked):
            threading.Event().wait(0.01)
        heavy.may_end.set()

    async with Rexecutor(InMemoryBackend()).with_executor(heavy) as rexecutor:
        threading.Thread(target=end_it, daemon=True).start()
        handle = await Heavy.builder().enqueue(backend=rexecutor.backend)
        await soon(handle.wait())
        await until(lambda: len(events.of(LoopFreed)) == 1)

    (blocked,) = events.of(LoopBlocked)
    assert 1 <= blocked.seconds < 2
    assert (blocked.job_id, blocked.executor, blocked.attempt) == (handle.id, "heavy", 1)
    assert "self.may_end.wait(20)" in blocked.stack
    assert blocked.stack.splitlines()[0].endswith("in execute")  # the frames above it are not the job's
    await until_no_threads_of_ours()


async def test_the_threads_end_where_the_loop_is_gone(clock: FakeClock) -> None:
    def use() -> Watchdog:
        async def make() -> Watchdog:
            watchdog = Watchdog(clock, lambda _: None, lambda _: None)
            watchdog.watch()
            return watchdog

        return asyncio.run(make())

    watchdog = await asyncio.to_thread(use)
    with pytest.raises(RuntimeError, match="closed"):
        watchdog.check()
