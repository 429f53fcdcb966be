"""Threads that wait for jobs to end share their looks at the store, and none of them disturbs another."""

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import BackendError, ConfigurationError, JobStatus
from rexecutor.backend.sync_waits import PollingWatch, SyncWaits, Watch
from rexecutor.backend.waits import Known, Unended
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import SystemClock
from rexecutor.model.job import JobId, JobRecord
from tests.support import record_made, until

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=0.05)


class ScriptedStore:
    """Counts looks, and does to them what a test says."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.wakeups = Wakeups(self.clock)
        self.jobs: dict[JobId, JobRecord | JobStatus] = {}
        self.looks: list[tuple[str, list[JobId], float | None]] = []
        self.error: Exception | None = None
        self.held: threading.Event | None = None
        self.waits = SyncWaits(self)

    @property
    def change_count(self) -> int:
        return self.wakeups.count

    def check_ended_sync(self, ids: Collection[JobId], *, seconds: float | None = None) -> Known:
        self.looks.append((threading.current_thread().name, sorted(ids), seconds))
        if self.held is not None and not self.held.wait(seconds):
            raise BackendError("no answer")
        if self.error is not None:
            raise self.error
        return {job_id: self.jobs[job_id] for job_id in ids if job_id in self.jobs}

    def watch_sync(self) -> AbstractContextManager[Watch]:
        return nullcontext(PollingWatch(self, self.wakeups))

    def run(self, *ids: JobId) -> None:
        self.jobs |= dict.fromkeys(ids, JobStatus.EXECUTING)

    def end(self, *ids: JobId) -> None:
        self.jobs |= {job_id: record_made(job_id) for job_id in ids}
        self.wakeups.notify()

    def wait(self, *ids: JobId, timeout: timedelta | None = HOUR) -> tuple[list[JobId], Unended]:
        """Return which of the jobs have ended, and those that had not ended in time."""
        found: dict[JobId, Any] = {}
        unended = self.waits.wait(ids, found.update, timeout=timeout)
        return sorted(found), unended


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


async def until_waiting(store: ScriptedStore, threads: int) -> None:
    await until(lambda: store.waits.threads == threads and store.waits._lead.locked())


async def ended(waits: list[Future[Any]]) -> list[Any]:
    return [await asyncio.wrap_future(wait) for wait in waits]


async def test_one_thread_looks_for_all(store: ScriptedStore) -> None:
    store.run(1, 2, 3)
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(store.wait, job_id) for job_id in (1, 2, 3)]
        await until_waiting(store, 3)
        await until(lambda: store.looks[-1][1] == [1, 2, 3])
        store.looks.clear()
        store.end(1, 2, 3)

        assert await ended(waits) == [([job_id], {}) for job_id in (1, 2, 3)]

    assert [ids for _, ids, _ in store.looks].count([1, 2, 3]) <= 2  # a look may have been under way
    assert len({thread for thread, _, _ in store.looks}) == 1


async def test_no_jobs_are_no_look(store: ScriptedStore) -> None:
    assert store.wait() == ([], {})
    assert store.looks == []


async def test_thousands_of_jobs_are_looked_at_a_thousand_at_a_time(store: ScriptedStore) -> None:
    store.end(*range(2_500))

    assert store.wait(*range(2_500)) == (list(range(2_500)), {})
    assert [len(ids) for _, ids, _ in store.looks] == [1_000, 1_000, 500]


async def test_when_the_leader_leaves_another_leads(store: ScriptedStore) -> None:
    store.run(1, 2, 3)
    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(store.wait, 1)
        await until_waiting(store, 1)
        others = [pool.submit(store.wait, job_id) for job_id in (2, 3)]
        await until_waiting(store, 3)
        store.end(1)
        await ended([leader])

        store.end(2, 3)

        assert await ended(others) == [([2], {}), ([3], {})]
    assert store.waits.threads == 0


async def test_when_the_leaders_time_is_up_another_leads(store: ScriptedStore) -> None:
    store.run(1, 2)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(store.wait, 1, timeout=SOON)
        await until_waiting(store, 1)
        other = pool.submit(store.wait, 2)

        assert await ended([leader]) == [([], {1: JobStatus.EXECUTING})]
        await until_waiting(store, 1)
        store.end(2)
        assert await ended([other]) == [([2], {})]


async def test_a_failed_look_is_an_error_of_all_who_wait(store: ScriptedStore) -> None:
    store.run(1, 2)
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(store.wait, job_id) for job_id in (1, 2)]
        await until_waiting(store, 2)
        store.error = BackendError("the store is gone")
        store.wakeups.notify()

        errors = [await asyncio.wrap_future(_error_of(wait, pool)) for wait in waits]

    assert [str(error) for error in errors] == ["the store is gone"] * 2
    assert errors[0] is not errors[1]
    assert store.waits.threads == 0


def _error_of(wait: Future[Any], pool: ThreadPoolExecutor) -> Future[BaseException | None]:
    del pool
    answer: Future[BaseException | None] = Future()
    wait.add_done_callback(lambda done: answer.set_result(done.exception()))
    return answer


async def test_a_store_that_does_not_respond_holds_nobody_longer_than_its_timeout(store: ScriptedStore) -> None:
    store.run(1, 2)
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(store.wait, 1)
        await until_waiting(store, 1)
        store.held = threading.Event()
        store.wakeups.notify()

        assert await ended([pool.submit(store.wait, 2, timeout=SOON)]) == [([], {2: None})]
        assert not patient.done()

        store.held.set()
        store.end(1)
        assert await ended([patient]) == [([1], {})]


async def test_a_leader_whose_last_look_gets_no_response_fails_no_other_wait(store: ScriptedStore) -> None:
    store.run(1, 2)
    with ThreadPoolExecutor(2) as pool:
        hasty = pool.submit(store.wait, 1, timeout=timedelta(seconds=0.3))
        await until_waiting(store, 1)
        patient = pool.submit(store.wait, 2)
        await until_waiting(store, 2)
        store.held = threading.Event()
        store.wakeups.notify()

        assert await ended([hasty]) == [([], {1: None})]
        store.held.set()
        store.end(2)
        assert await ended([patient]) == [([2], {})]


async def test_a_wait_without_a_limit_is_refused_where_it_would_block_an_event_loop(store: ScriptedStore) -> None:
    store.run(1)
    store.end(2)

    with pytest.raises(ConfigurationError, match="would block the event loop of this thread; await the method without"):
        store.wait(1, timeout=None)

    assert store.wait(2, timeout=None) == ([2], {})
    assert store.wait(1, timeout=SOON) == ([], {1: JobStatus.EXECUTING})
    assert await asyncio.to_thread(store.wait, 2, timeout=None) == ([2], {})


def test_an_interrupted_wait_ends_at_once_and_lets_another_lead(store: ScriptedStore) -> None:
    store.run(1, 2)
    with ThreadPoolExecutor(2) as pool:

        def interrupt() -> None:
            while store.waits.threads < 2:
                pass
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        pool.submit(interrupt)
        other = pool.submit(store.wait, 2)
        with pytest.raises(KeyboardInterrupt):
            store.wait(1)

        assert store.waits.threads == 1
        store.end(2)
        assert other.result(20) == ([2], {})


async def test_a_child_of_a_fork_waits_for_itself(store: ScriptedStore) -> None:
    store.run(1)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(store.wait, 1)
        await until_waiting(store, 1)

        with warnings.catch_warnings(action="ignore"):  # of threads: a newer Python warns
            child = os.fork()
        if child == 0:
            answer = None
            try:
                answer = store.wait(1, timeout=SOON)
            finally:
                os._exit(int(answer != ([], {1: JobStatus.EXECUTING})))
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0

        store.end(1)
        assert await ended([wait]) == [([1], {})]


def test_pauses_grow_with_the_age_of_the_wait(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    now = 0.0

    def wait_sync(seconds: float, *, since: int) -> bool:
        nonlocal now
        pauses.append(seconds)
        now += seconds
        if len(pauses) == 100:
            store.end(1)
        return False

    store.run(1)
    monkeypatch.setattr(store.clock, "monotonic", lambda: now)
    monkeypatch.setattr(store.wakeups, "wait_sync", wait_sync)

    assert store.wait(1) == ([1], {})

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.005, 1.0)
    assert sum(pauses[:20]) > 0.5
