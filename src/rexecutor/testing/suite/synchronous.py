"""Use without an event loop: the methods whose names end in `_sync`. Skipped if the backend leaves them out."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.errors import JobNotFoundError, JobStateError, RexecutorError, StaleJobError
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord, NewJob
from rexecutor.model.outcomes import CancelAsked, Complete, Rerun
from rexecutor.model.status import ENDED, OPEN, JobStatus
from rexecutor.model.where import Everything, ExecutorIn, StatusIn, Where
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, SECOND, Store, expect, new_job

T = TypeVar("T")

_PATIENCE: Final = 20.0
"""Seconds of real time after which a thread counts as hanging."""
_NOWHERE: Final[tuple[JobId, ...]] = (1_000_000, 2**70, -1)
_MANY: Final = 8


async def in_threads(acts: list[Callable[[], T]]) -> list[T | BaseException]:
    """Call each in a thread of its own, without an event loop, all at the same moment; return results and errors.

    Fail if one hangs, or leaves a thread behind.
    """
    before = set(threading.enumerate())
    together = threading.Barrier(len(acts))

    def run(act: Callable[[], T], answer: Future[T]) -> None:
        together.wait(_PATIENCE)
        try:
            answer.set_result(act())
        except BaseException as error:  # noqa: BLE001 - the case looks at it
            answer.set_exception(error)

    answers: list[Future[T]] = [Future() for _ in acts]
    running = [threading.Thread(target=run, args=pair, daemon=True) for pair in zip(acts, answers, strict=True)]
    for thread in running:
        thread.start()
    waiting = asyncio.gather(*map(asyncio.wrap_future, answers), return_exceptions=True)
    done, _ = await asyncio.wait((waiting,), timeout=_PATIENCE)
    assert done, "a thread hangs"
    for thread in running:
        thread.join(_PATIENCE)
    left = set(threading.enumerate()) - before
    assert not left, f"it left threads: {left}"
    return waiting.result()


async def in_thread(act: Callable[[], T]) -> T:
    """Call it in a new thread without an event loop; return its result, or raise its error."""
    [answer] = await in_threads([act])
    if isinstance(answer, BaseException):
        raise answer
    return answer


def skip_without(backend: Backend, *names: str) -> None:
    """Skip the case if the backend leaves out one of these methods."""
    for name in names:
        if getattr(type(backend), name) is getattr(Backend, name):
            import pytest  # imported here, so that the suite can be imported without pytest

            pytest.skip(f"the backend has no {name}")


def _as_new(record: JobRecord, **fields: object) -> NewJob:
    new = new_job(record.executor, data=record.data, scheduled_at=record.scheduled_at, max_attempts=record.max_attempts)
    return msgspec.structs.replace(new, **fields)


class SynchronousCases(Cases):
    """Each method with `_sync` does what its asynchronous twin does, from any thread, without an event loop."""

    async def test_a_synchronous_query_returns_what_a_query_does(self, store: Store) -> None:
        skip_without(store.backend, "query_sync")
        await store.enqueue(*(new_job((ALPHA, BETA)[number % 2], data=f"[{number}]") for number in range(7)))
        await store.job_in(JobStatus.COMPLETE, new_job("done", metadata='"m"', tags=("t", "ž")))
        backend = store.backend

        for where in (Everything(), ExecutorIn(frozenset({BETA})), StatusIn(frozenset({JobStatus.COMPLETE}))):
            for limit, after in ((1_000, None), (2, None), (2, 2), (1_000, 5), (3, 2**70)):
                found = await in_thread(lambda: backend.query_sync(where, limit=limit, after=after))  # noqa: B023 - called at once

                assert list(found) == list(await backend.query(where, limit=limit, after=after)), (where, limit, after)

    async def test_a_synchronous_count_returns_what_a_count_does(self, store: Store) -> None:
        skip_without(store.backend, "count_sync")
        assert list(await in_thread(store.backend.count_sync)) == []
        await store.enqueue(new_job(), new_job(BETA), new_job(delay=HOUR))
        await store.job_in(JobStatus.COMPLETE, new_job("done"))

        assert list(await in_thread(store.backend.count_sync)) == list(await store.backend.count())
        for where in (Everything(), ExecutorIn(frozenset({BETA})), Where.scheduled_at_within_the_last(HOUR)):
            counts = await in_thread(lambda: store.backend.count_sync(where))  # noqa: B023 - called at once
            assert list(counts) == list(await store.backend.count(where)), where

    async def test_a_waiting_job_is_cancelled_synchronously(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        before = await store.job((await store.enqueue(new_job(delay=HOUR)))[0])
        store.clock.advance(SECOND)

        status = await in_thread(lambda: store.backend.cancel_sync(before.id, "enough", executor=ALPHA))

        after = await store.job(before.id)
        assert status is JobStatus.CANCELLED
        assert after == rules.transition(before, CancelAsked("enough"), store.now, store.backend.limits)

    async def test_a_running_job_is_asked_to_stop_synchronously_and_its_node_hears_of_it(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        [job] = await store.executing()
        cancels = store.backend.cancels

        status = await in_thread(lambda: store.backend.cancel_sync(job.id, "enough"))

        assert status is JobStatus.EXECUTING
        assert (await store.job(job.id)).cancel_reason == "enough"
        await store.backend.wait_cancel(store.now + HOUR, since=cancels)
        assert [request.job_id for request in store.heartbeat().cancels] == [job.id]

    async def test_a_synchronous_cancel_leaves_an_ended_job_as_it_is(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        for status in ENDED:
            before = await store.job_in(status, new_job(str(status)))

            assert await in_thread(lambda: store.backend.cancel_sync(before.id, "late")) is status  # noqa: B023 - called at once
            assert await store.job(before.id) == before

    async def test_an_ended_job_is_rerun_synchronously_and_who_waits_is_woken(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        before = await store.job_in(JobStatus.DISCARDED)
        store.clock.advance(HOUR)
        since = store.backend.change_count

        await in_thread(lambda: store.backend.rerun_sync(before.id, executor=ALPHA))
        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert await store.job(before.id) == rules.transition(before, Rerun(), store.now, store.backend.limits)
        store.heartbeat()
        assert [job.id for job in await store.claim()] == [before.id]

    async def test_a_job_that_has_not_ended_is_not_rerun_synchronously(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        for status in OPEN:
            before = await store.job_in(status, new_job(str(status)))

            with expect(JobStateError):
                await in_thread(lambda: store.backend.rerun_sync(before.id))  # noqa: B023 - called at once

            assert await store.job(before.id) == before

    async def test_a_synchronous_change_of_a_job_that_is_not_there_is_an_error(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync", "update_sync")
        backend = store.backend
        before = await store.job((await store.enqueue(new_job()))[0])

        for job_id, executor in ((before.id, BETA), *((job_id, ALPHA) for job_id in _NOWHERE)):
            new = _as_new(before, executor=executor)
            for act in (
                lambda: backend.cancel_sync(job_id, "why", executor=executor),  # noqa: B023 - called at once
                lambda: backend.rerun_sync(job_id, executor=executor),  # noqa: B023
                lambda: backend.update_sync(job_id, new, version=before.version),  # noqa: B023
            ):
                with expect(JobNotFoundError):
                    await in_thread(act)

        assert await store.jobs() == [before]

    async def test_a_job_is_updated_synchronously(self, store: Store) -> None:
        skip_without(store.backend, "update_sync")
        before = await store.job((await store.enqueue(new_job(delay=HOUR)))[0])
        new = _as_new(before, priority=7, data='{"ž": 1}', tags=("t",), scheduled_at=store.now)
        since = store.backend.change_count

        changed = await in_thread(lambda: store.backend.update_sync(before.id, new, version=before.version))
        await store.backend.wait_ready([ALPHA], store.now + HOUR, since=since)

        assert changed == rules.updated(before, new, before.version, store.now) == await store.job(before.id)
        store.heartbeat()
        assert [job.id for job in await store.claim()] == [before.id]

    async def test_a_stale_copy_or_an_ended_job_is_not_updated_synchronously(self, store: Store) -> None:
        skip_without(store.backend, "update_sync")
        job = await store.job_in(JobStatus.EXECUTING)
        ended = await store.job_in(JobStatus.COMPLETE, new_job(BETA))

        with expect(StaleJobError):
            await in_thread(lambda: store.backend.update_sync(job.id, _as_new(job), version=job.version - 1))
        with expect(JobStateError):
            await in_thread(lambda: store.backend.update_sync(ended.id, _as_new(ended), version=ended.version))

        assert await store.jobs() == [job, ended]

    async def test_of_threads_that_update_one_copy_one_succeeds(self, store: Store) -> None:
        skip_without(store.backend, "update_sync")
        before = await store.job((await store.enqueue(new_job()))[0])

        def update(priority: int) -> JobRecord | None:
            try:
                return store.backend.update_sync(before.id, _as_new(before, priority=priority), version=before.version)
            except StaleJobError:
                return None

        answers = await in_threads([lambda number=number: update(number) for number in range(1, _MANY + 1)])

        assert [answer for answer in answers if answer is not None] == [await store.job(before.id)]

    async def test_threads_and_the_loop_use_the_store_at_the_same_moment(self, store: Store) -> None:
        skip_without(store.backend, "enqueue_sync", "query_sync", "apply_sync")
        backend = store.backend

        def use() -> int:
            ids = [answer.id for _ in range(5) for answer in backend.enqueue_sync([new_job()])]
            for job_id in ids:
                assert backend.cancel_sync(job_id, "enough") is JobStatus.CANCELLED
            return sum(job.status is JobStatus.CANCELLED for job in backend.query_sync(Everything()) if job.id in ids)

        threads = asyncio.ensure_future(in_threads([use] * _MANY))
        own = [await store.enqueue(new_job(BETA)) for _ in range(20)]

        assert await threads == [5] * _MANY
        assert len(await store.jobs(ExecutorIn(frozenset({BETA})))) == len(own)

    async def test_a_backend_that_is_not_open_serves_synchronous_code(self, store: Store) -> None:
        skip_without(store.backend, "query_sync", "count_sync", "apply_sync", "update_sync", "enqueue_sync")
        other = store.another_backend()

        def use() -> list[JobRecord]:
            [first, second] = other.enqueue_sync([new_job(), new_job()])
            other.cancel_sync(first.id, "enough")
            other.rerun_sync(first.id)
            [job] = other.query_sync(Everything(), after=first.id)
            other.update_sync(second.id, _as_new(job, priority=3), version=job.version)
            assert [(count.status, count.jobs) for count in other.count_sync()] == [(JobStatus.SCHEDULED, 2)]
            return list(other.query_sync(Everything()))

        found = await in_thread(use)

        assert found == await store.jobs()
        await in_thread(other.close_sync)

    async def test_synchronous_code_in_the_thread_of_an_event_loop_is_served_too(self, store: Store) -> None:
        skip_without(store.backend, "query_sync", "apply_sync")
        job = (await store.executing())[0]

        assert list(store.backend.query_sync(Everything())) == [job]
        assert store.backend.cancel_sync(job.id, "enough") is JobStatus.EXECUTING
        await store.settle(job, Complete())
        store.backend.rerun_sync(job.id)

        assert (await store.job(job.id)).status is JobStatus.SCHEDULED

    async def test_a_failed_synchronous_change_disturbs_no_later_one(self, store: Store) -> None:
        skip_without(store.backend, "apply_sync")
        [job_id] = await store.enqueue(new_job())

        for _ in range(_MANY * 2):  # more than a store keeps connections
            with expect(RexecutorError):
                await in_thread(lambda: store.backend.rerun_sync(job_id))

        assert await in_thread(lambda: store.backend.cancel_sync(job_id, "enough")) is JobStatus.CANCELLED
