"""All who wait for jobs to end share their looks at the store, and none of them disturbs another."""

import asyncio
import threading
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from rexecutor import BackendError, JobStatus
from rexecutor.backend.waits import Ends, SharedWaits, Unended, _Wait
from rexecutor.backend.wakeups import Wakeups
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord, NewJob
from rexecutor.testing import FakeClock
from tests.support import soon

SECOND = timedelta(seconds=1)
MANY = 1_000


def record(job_id: JobId, status: JobStatus = JobStatus.COMPLETE) -> JobRecord:
    inserted = rules.inserted(NewJob("e", "null", None, 1, 0, (), None, timedelta(0)), job_id, FakeClock().now())
    return replace(inserted, status=status)


class ScriptedStore:
    """Counts looks, and does to them what a test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.jobs: dict[JobId, JobRecord | JobStatus] = {}
        self.looks: list[list[JobId]] = []
        self.error: Exception | None = None
        self.nap_error: Exception | None = None
        self.held: asyncio.Event | None = None
        self.under_way = 0
        self.wakeups = Wakeups(self.clock)
        self.waits = SharedWaits(self)

    @property
    def change_count(self) -> int:
        return self.wakeups.count

    async def check_ended(self, ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        self.looks.append(sorted(ids))
        found, error = {job_id: self.jobs[job_id] for job_id in ids if job_id in self.jobs}, self.error
        self.under_way += 1
        try:
            if self.held is not None:
                await self.held.wait()
        finally:
            self.under_way -= 1
        if error is not None:
            raise error
        return found

    async def wait_ended(self, until: datetime, *, since: int) -> None:
        if self.nap_error is not None:
            raise self.nap_error
        await self.wakeups.wait(until, since=since)

    def run(self, ids: Iterable[JobId]) -> None:
        self.jobs |= dict.fromkeys(ids, JobStatus.EXECUTING)

    def end(self, *ids: JobId) -> None:
        self.jobs |= {job_id: record(job_id) for job_id in ids}
        self.wakeups.notify()

    async def wait(self, *ids: JobId, timeout: timedelta | None = None) -> tuple[dict[JobId, Any], Unended]:  # noqa: ASYNC109
        """Return what was found of the jobs, and what had not ended in time."""
        found: dict[JobId, JobRecord | None] = {}
        unended = await self.waits.wait(ids, found.update, timeout=timeout)
        return found, unended

    def start(self, *ids: JobId, timeout: timedelta | None = None) -> "asyncio.Task[tuple[dict[JobId, Any], Unended]]":
        return asyncio.ensure_future(self.wait(*ids, timeout=timeout))


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


async def turn(times: int = 30) -> None:
    """Let all tasks go on as far as they can."""
    for _ in range(times):
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


def others() -> set["asyncio.Task[Any]"]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


class TestLooks:
    async def test_a_thousand_waits_cost_one_look_a_change(self, store: ScriptedStore) -> None:
        store.run(range(MANY))
        waits = [store.start(job_id) for job_id in range(MANY)]
        await turn()
        store.looks.clear()

        for job_id in range(10):
            store.end(job_id)
            await turn()

        assert [len(look) for look in store.looks] == [MANY - ended for ended in range(10)]
        assert [wait.done() for wait in waits] == [True] * 10 + [False] * (MANY - 10)
        store.end(*range(MANY))
        await soon(asyncio.gather(*waits))

    async def test_a_thousand_waits_that_begin_together_cost_few_looks(self, store: ScriptedStore) -> None:
        store.end(*range(MANY))

        answers = await asyncio.gather(*(store.wait(job_id) for job_id in range(MANY)))

        assert [found[job_id].id for job_id, (found, _) in enumerate(answers)] == list(range(MANY))
        assert len(store.looks) <= 2

    async def test_without_a_hint_there_is_a_look_a_second(self, store: ScriptedStore) -> None:
        store.run([1, 2])
        waits = [store.start(1), store.start(2)]
        await turn()
        store.looks.clear()

        for _ in range(3):
            store.clock.advance(SECOND)
            await turn()

        assert store.looks == [[1, 2]] * 3
        store.end(1, 2)
        await soon(asyncio.gather(*waits))

    async def test_a_hint_that_is_lost_delays_a_wait_by_a_second(self, store: ScriptedStore) -> None:
        store.run([1])
        wait = store.start(1)
        await turn()
        store.jobs[1] = record(1)

        store.clock.advance(SECOND)

        assert (await soon(wait))[0][1].status is JobStatus.COMPLETE

    async def test_a_new_wait_looks_at_its_own_job_alone(self, store: ScriptedStore) -> None:
        store.run(range(10))
        waits = [store.start(*range(9))]
        await turn()
        store.looks.clear()

        waits.append(store.start(9))
        await turn()

        assert store.looks == [[9]]
        store.end(*range(10))
        await soon(asyncio.gather(*waits))

    async def test_an_end_between_the_look_and_the_wait_is_not_missed(self, store: ScriptedStore) -> None:
        store.run([1])
        store.held = asyncio.Event()
        wait = store.start(1)
        await turn()
        store.end(1)

        store.held.set()

        assert (await soon(wait))[0][1].status is JobStatus.COMPLETE

    async def test_a_job_that_is_not_stored_is_found_to_be_gone(self, store: ScriptedStore) -> None:
        store.run([1])
        wait = store.start(1)
        await turn()

        del store.jobs[1]
        store.clock.advance(SECOND)

        assert await soon(wait) == ({1: None}, {})
        assert await soon(store.wait(7)) == ({7: None}, {})

    async def test_one_query_asks_for_a_thousand_jobs_at_most(self, store: ScriptedStore) -> None:
        store.end(*range(2_500))

        found, _ = await soon(store.wait(*range(2_500)))

        assert len(found) == 2_500
        assert [len(look) for look in store.looks] == [1_000, 1_000, 500]

    async def test_jobs_are_given_as_they_end(self, store: ScriptedStore) -> None:
        given: list[list[JobId]] = []

        def take(ends: Ends) -> None:
            given.append(sorted(ends))

        store.run(range(4))
        wait = asyncio.ensure_future(store.waits.wait(range(4), take))
        for ended in ([2], [0, 3], [1]):
            await turn()
            store.end(*ended)

        assert await soon(wait) == {}
        assert given == [[2], [0, 3], [1]]

    async def test_looks_take_at_most_half_of_the_time(self, store: ScriptedStore) -> None:
        store.run([1])
        store.held = asyncio.Event()
        wait = store.start(1)
        await turn()
        store.clock.advance(SECOND / 2)
        store.held.set()
        await turn()
        store.wakeups.notify()
        await turn()
        assert len(store.looks) == 1

        store.clock.advance(SECOND / 2)
        await turn()

        assert len(store.looks) == 2
        store.end(1)
        await soon(wait)

    async def test_waits_for_nothing_end_without_a_look(self, store: ScriptedStore) -> None:
        assert await store.wait() == ({}, {})
        assert store.looks == []

    async def test_a_look_carries_the_context_of_none_of_those_it_is_for(self) -> None:
        trace: ContextVar[str] = ContextVar("trace", default="none")
        seen: list[str] = []

        class Tracing(ScriptedStore):
            async def check_ended(self, ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
                seen.append(trace.get())
                return await super().check_ended(ids)

        store = Tracing()
        store.end(1)
        trace.set("request")
        await soon(store.wait(1))

        assert seen == ["none"]


class TestTimeouts:
    async def test_the_timeout_of_one_wait_does_not_disturb_the_others(self, store: ScriptedStore) -> None:
        store.run(range(3))
        first, second, third = store.start(0, timeout=SECOND), store.start(1, timeout=5 * SECOND), store.start(2)
        await turn()

        store.clock.advance(SECOND)

        assert await soon(first) == ({}, {0: JobStatus.EXECUTING})
        await turn()
        assert not second.done()
        assert not third.done()
        store.end(1, 2)
        assert [(await soon(wait))[1] for wait in (second, third)] == [{}, {}]

    async def test_a_wait_of_no_time_looks_once(self, store: ScriptedStore) -> None:
        store.run([1, 2])
        store.end(3)
        patient = store.start(2)

        assert await soon(store.wait(1, 3, timeout=timedelta(0))) == ({3: store.jobs[3]}, {1: JobStatus.EXECUTING})

        store.end(2)
        await soon(patient)

    async def test_the_last_look_is_at_the_end_of_the_time(self, store: ScriptedStore) -> None:
        store.run([1])
        wait = store.start(1, timeout=SECOND / 2)
        await turn()
        store.jobs[1] = record(1)

        store.clock.advance(SECOND / 2)

        assert (await soon(wait))[1] == {}

    async def test_a_store_that_does_not_respond_holds_up_no_timeout(self, store: ScriptedStore) -> None:
        store.run([1, 2])
        store.held = asyncio.Event()
        hurried, patient = store.start(1, timeout=3 * SECOND), store.start(2)
        await turn()

        store.clock.advance(3 * SECOND)
        await turn()

        store.clock.advance(SECOND / 2)
        assert await soon(hurried) == ({}, {1: None})
        store.end(2)
        store.held.set()
        await turn()
        store.clock.advance(SECOND)
        assert (await soon(patient))[1] == {}

    async def test_a_look_has_half_a_second_even_if_the_time_is_up(self, store: ScriptedStore) -> None:
        store.run([1])
        store.held = asyncio.Event()
        wait = store.start(1, timeout=timedelta(0))
        await turn()
        store.clock.advance(SECOND / 2 - timedelta(microseconds=1))
        await turn()
        assert not wait.done()

        store.held.set()

        assert await soon(wait) == ({}, {1: JobStatus.EXECUTING})

    async def test_a_wait_whose_time_is_up_during_a_look_at_other_jobs_has_one_of_its_own(
        self, store: ScriptedStore
    ) -> None:
        store.run([1, 2])
        wait = store.start(1, timeout=SECOND / 2)
        await turn()
        store.held = asyncio.Event()
        other = store.start(2)
        await turn()
        store.clock.advance(SECOND / 2)
        await turn()

        store.held.set()

        assert await soon(wait) == ({}, {1: JobStatus.EXECUTING})
        store.end(2)
        await soon(other)

    async def test_a_leap_of_the_wall_clock_changes_no_timeout(self, store: ScriptedStore) -> None:
        store.run([1])
        wait = store.start(1, timeout=SECOND)
        await turn()

        store.clock.jump(timedelta(hours=1))
        await turn()
        assert not wait.done()

        store.clock.advance(SECOND)
        assert await soon(wait) == ({}, {1: JobStatus.EXECUTING})


class TestFailures:
    async def test_an_error_of_the_store_reaches_all_who_wait_and_none_who_comes_later(
        self, store: ScriptedStore
    ) -> None:
        store.run(range(3))
        waits = [store.start(job_id) for job_id in range(3)]
        await turn()
        cause = OSError("cut")
        store.error = BackendError("no connection")
        store.error.__cause__ = cause
        store.wakeups.notify()

        raised = await soon(asyncio.gather(*waits, return_exceptions=True))

        assert [(str(error), error.__cause__) for error in raised if isinstance(error, BackendError)] == [
            ("no connection", cause)
        ] * 3
        assert len({id(error) for error in raised}) == 3
        store.error = None
        store.end(1)
        assert (await soon(store.wait(1)))[1] == {}

    async def test_a_wait_that_begins_during_a_look_that_fails_has_one_of_its_own(self, store: ScriptedStore) -> None:
        store.run([1])
        store.held = asyncio.Event()
        store.error = BackendError("no connection")
        first = store.start(1)
        await turn()
        second = store.start(2)
        await turn()
        store.jobs[2], store.error = record(2), None

        store.held.set()

        with pytest.raises(BackendError):
            await soon(first)
        assert (await soon(second))[1] == {}

    async def test_any_error_ends_all_waits_and_none_hangs(self, store: ScriptedStore) -> None:
        store.run([1, 2])
        store.nap_error = RuntimeError("a backend with a mistake")

        raised = await soon(asyncio.gather(store.wait(1), store.wait(2), return_exceptions=True))

        assert raised == [store.nap_error] * 2

    async def test_what_one_wait_raises_does_not_disturb_the_others(self, store: ScriptedStore) -> None:
        def fail(_: Ends) -> None:
            raise LookupError("mine")

        store.run([1])
        failing = asyncio.ensure_future(store.waits.wait([1], fail))
        other = store.start(1)
        await turn()
        store.end(1)

        with pytest.raises(LookupError, match="mine"):
            await soon(failing)
        assert (await soon(other))[1] == {}


class TestEnds:
    async def test_a_cancelled_wait_leaves_the_others_alone(self, store: ScriptedStore) -> None:
        store.run(range(5))
        waits = [store.start(job_id) for job_id in range(5)]
        await turn()

        for wait in waits[:4]:
            wait.cancel()
            await turn()

        assert [wait.cancelled() for wait in waits] == [True] * 4 + [False]
        store.end(4)
        assert (await soon(waits[4]))[1] == {}

    async def test_a_wait_that_is_cancelled_during_its_look_leaves_it_to_the_others(self, store: ScriptedStore) -> None:
        store.end(1, 2)
        store.held = asyncio.Event()
        first = store.start(1)
        await turn()
        second = store.start(2)
        first.cancel()
        await turn()

        store.held.set()

        assert (await soon(second))[1] == {}

    @pytest.mark.parametrize("is_held", [True, False])
    async def test_nothing_is_left_over_when_the_last_wait_ends(self, store: ScriptedStore, *, is_held: bool) -> None:
        store.run([1, 2])
        store.held = asyncio.Event() if is_held else None
        waits = [store.start(1), store.start(2, timeout=SECOND)]
        await turn()

        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        assert others() == set()
        assert (store.under_way, store.clock.waiting, vars(store.waits)["_circles"]) == (0, 0, {})

    async def test_a_wait_goes_on_if_all_other_tasks_are_cancelled(self, store: ScriptedStore) -> None:
        store.run([1])
        wait = store.start(1)
        for _ in range(3):
            await turn()
            for task in others() - {wait}:
                task.cancel()
        await turn()

        store.end(1)

        assert (await soon(wait))[1] == {}
        assert others() == set()

    async def test_a_wait_that_begins_as_the_last_one_leaves_is_served(self, store: ScriptedStore) -> None:
        store.run([1])
        store.end(2)
        for _ in range(20):
            leaving = store.start(1)
            await turn()
            leaving.cancel()
            assert (await soon(store.wait(2)))[1] == {}


class TestLoops:
    def test_loops_one_after_the_other_each_have_their_waits(self, store: ScriptedStore) -> None:
        store.end(1)

        for _ in range(3):
            assert asyncio.run(store.wait(1))[1] == {}

    async def test_loops_at_the_same_moment_each_have_their_waits(self, store: ScriptedStore) -> None:
        store.run(range(4))
        threads = [threading.Thread(target=asyncio.run, args=(store.wait(number),)) for number in range(3)]
        for thread in threads:
            thread.start()
        own = store.start(3)
        while len({job_id for look in list(store.looks) for job_id in look}) < 4:
            await turn()

        store.end(*range(4))

        assert (await soon(own))[1] == {}
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()

    def test_a_loop_that_was_closed_during_a_wait_is_forgotten(self, store: ScriptedStore) -> None:
        store.end(1)
        circles = vars(store.waits)["_circles"]
        closed = asyncio.new_event_loop()
        closed.close()
        circles[closed] = None

        assert asyncio.run(store.wait(1))[1] == {}
        assert circles == {}

    def test_a_wait_that_a_closed_loop_has_left_behind_touches_nothing_of_it(self, store: ScriptedStore) -> None:
        class Circle:
            def join(self, ids: Iterable[JobId], _: timedelta | None) -> _Wait:
                return _Wait(ids)

        wait = store.wait(1)

        async def begin() -> None:
            vars(store.waits)["_circles"][asyncio.get_running_loop()] = Circle()  # it cannot be left
            wait.send(None)

        asyncio.run(begin())

        wait.close()
