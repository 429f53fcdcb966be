"""How a change that was heard of reaches those who wait."""

import asyncio
import os
import signal
import threading
import warnings
from datetime import timedelta
from typing import cast

import pytest

from rexecutor import Backend, InMemoryBackend, Snooze
from rexecutor.backend.wakeups import Wakeups
from rexecutor.model.job import ErrorKind, JobError
from rexecutor.model.outcomes import (
    COMPLETE,
    Cancelled,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Settlement,
)
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import START, new_job
from tests.backend.test_changed_meanwhile import executing
from tests.engine.executors import SECOND, Quick
from tests.support import until

HOUR = timedelta(hours=1)
ERROR = JobError(1, ErrorKind.EXCEPTION, "ValueError", "no", START)


async def test_changes_heard_in_several_threads_are_all_counted() -> None:
    hints = Wakeups(FakeClock())
    begin = threading.Barrier(8)

    def hear() -> None:
        begin.wait()
        for _ in range(2_000):
            hints.notify()

    threads = [threading.Thread(target=hear) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert hints.count == 16_000


async def test_a_change_heard_in_another_thread_ends_a_wait() -> None:
    hints = Wakeups(FakeClock())
    waiting = asyncio.ensure_future(hints.wait_for(HOUR, since=hints.count))

    thread = threading.Thread(target=hints.notify)
    thread.start()

    assert await waiting is True
    thread.join()


async def test_a_change_is_heard_while_a_wait_begins_in_another_threads_loop() -> None:
    hints = Wakeups(FakeClock())
    elsewhere = asyncio.new_event_loop()
    thread = threading.Thread(target=elsewhere.run_forever, daemon=True)
    thread.start()
    begun: list[asyncio.Future[bool]] = []

    async def begin() -> None:
        begun.append(asyncio.ensure_future(hints.wait_for(HOUR, since=0)))
        await asyncio.wait((begun[-1],), timeout=0)

    async def end() -> None:
        for wait in begun:
            wait.cancel()
        await asyncio.wait(begun)
        elsewhere.stop()

    class AfterABeginning:
        """True, once another loop has begun a wait."""

        def __bool__(self) -> bool:
            asyncio.run_coroutine_threadsafe(begin(), elsewhere).result()
            return True

    for_end = cast("bool", AfterABeginning())
    waiting = [asyncio.ensure_future(hints.wait_for(HOUR, since=0, for_end=for_end)) for _ in range(2)]
    await until(lambda: len(begun) == 2)

    hints.notify(is_end=True)

    assert await asyncio.gather(*waiting) == [True, True]
    asyncio.run_coroutine_threadsafe(end(), elsewhere)
    thread.join()
    elsewhere.close()


async def test_a_child_that_is_forked_during_a_notification_hears_of_changes_too() -> None:
    hints = Wakeups(FakeClock())
    looked, notifying = [False], threading.Event()

    class ForAWhile:
        """True; from the second look on it takes a while to say so."""

        def __bool__(self) -> bool:
            if looked[0]:
                notifying.set()
                threading.Event().wait(0.2)
            looked[0] = True
            return True

    waiting = asyncio.ensure_future(hints.wait_for(HOUR, since=0, for_end=cast("bool", ForAWhile())))
    await until(lambda: looked[0])
    thread = threading.Thread(target=lambda: hints.notify(is_end=True))
    thread.start()
    notifying.wait()

    with warnings.catch_warnings(action="ignore"):  # of threads: a newer Python warns
        child = os.fork()
    if child == 0:
        signal.alarm(5)  # which ends a child that hangs
        failed = True
        try:
            hints.notify(is_end=True)
            failed = False
        finally:
            os._exit(int(failed))
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    assert await waiting is True
    thread.join()


async def test_a_wait_that_hears_nothing_says_so() -> None:
    clock = FakeClock()
    hints = Wakeups(clock)

    assert await hints.wait(clock.now(), since=hints.count) is False


async def test_a_change_before_the_wait_is_not_missed() -> None:
    hints = Wakeups(FakeClock())
    since = hints.count
    hints.notify()

    assert await hints.wait_for(HOUR, since=since) is True


def test_a_loop_that_was_closed_while_somebody_waited_is_forgotten() -> None:
    hints = Wakeups(FakeClock())
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(hints.wait_for(HOUR, since=hints.count))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(waiting.cancel)

    hints.notify()
    loop.run_until_complete(asyncio.wait((waiting,)))
    loop.close()
    hints.notify()

    assert hints.count == 2


async def test_an_end_wakes_those_who_wait_for_one_and_nobody_who_waits_for_work() -> None:
    clock = FakeClock()
    hints = Wakeups(clock)
    since = hints.count
    for_work = asyncio.ensure_future(hints.wait_for(HOUR, since=since))
    for_end = asyncio.ensure_future(hints.wait_for(HOUR, since=since, for_end=True))
    await until(lambda: clock.waiting == 2)

    hints.notify(is_end=True)

    assert await for_end is True
    assert not for_work.done()
    assert await hints.wait_for(HOUR, since=since, for_end=True) is True
    hints.notify()
    assert await for_work is True


async def test_who_waits_no_more_is_forgotten(backend: Backend) -> None:
    handle = await Quick.builder().schedule_in(SECOND).enqueue(backend=backend)

    waits = [asyncio.ensure_future(handle.wait()) for _ in range(50)]
    await until(lambda: len(vars(backend)["_wakeups"]._waiting) > 0)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)

    assert not vars(backend)["_wakeups"]._waiting


@pytest.mark.parametrize(
    ("outcome", "is_work"),
    [
        (COMPLETE, False),
        (Cancelled(ERROR), False),
        (Discarded(ERROR), False),
        (Expired(), False),
        (Failed(ERROR, HOUR), True),
        (Snooze(HOUR), True),
        (Interrupted(), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_end_of_a_job_wakes_no_one_who_waits_for_jobs(
    backend: Backend, outcome: Outcome, *, is_work: bool
) -> None:
    [job] = await executing(backend, new_job())
    since = backend.change_count

    await backend.settle([Settlement(job.id, job.claims, outcome)])

    wakeups = cast("InMemoryBackend", backend)._wakeups
    assert await wakeups.wait_for(timedelta(0), since=since, for_end=True) is True
    assert await wakeups.wait_for(timedelta(0), since=since) is is_work
