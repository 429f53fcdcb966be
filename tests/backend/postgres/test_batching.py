"""Concurrent enqueues go together, and each is answered for itself."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rexecutor.backend.postgres.batching import EnqueueBatcher
from rexecutor.backend.postgres.rows import MOST_TEXT, Batch
from rexecutor.errors import BackendError
from rexecutor.model.job import Enqueued, NewJob
from rexecutor.model.where import Where
from tests.postgres import postgres_backend
from tests.support import soon, until


def job(name: str = "quick") -> NewJob:
    return NewJob(name, "null", None, 1, 0, (), None, timedelta(0), None)


def batch(count: int = 1, *, name: str = "quick") -> Batch:
    return Batch([job(name)] * count, count * len("null"))


class Store:
    """Stores nothing until it may; refuses batches with an executor "bad"."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may = asyncio.Event()
        self.last = 0
        self.cause: Exception = psycopg.DataError("bad")
        self.fault: Exception | None = None

    async def store(self, batch: Batch) -> Sequence[Enqueued]:
        jobs = batch.jobs
        self.batches.append(len(jobs))
        await self.may.wait()
        if self.fault is not None:
            raise self.fault
        if any(job.executor == "bad" for job in jobs):
            raise BackendError("cannot") from self.cause
        first = self.last + 1
        self.last += len(jobs)
        return [Enqueued(first + place, "inserted") for place in range(len(jobs))]


async def test_what_comes_meanwhile_goes_together() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)

    asked = [asyncio.ensure_future(batcher.enqueue(batch(count))) for count in (1, 2, 3, 1)]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    answers = await soon(asyncio.gather(*asked))

    assert store.batches == [1, 6]
    assert [[one.id for one in answer] for answer in answers] == [[1], [2, 3], [4, 5, 6], [7]]
    assert [one.id for one in await batcher.enqueue(batch())] == [8]


async def test_what_goes_together_carries_the_context_of_none_of_those_who_asked() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    store, seen = Store(), list[str]()

    async def stores(batch: Batch) -> Sequence[Enqueued]:
        seen.append(trace.get())
        return await store.store(batch)

    async def request(number: int) -> None:
        trace.set(f"request {number}")
        await batcher.enqueue(batch())

    batcher = EnqueueBatcher(stores)
    asked = [asyncio.ensure_future(request(number)) for number in range(20)]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    await soon(asyncio.gather(*asked))

    assert store.batches == [1, 19]
    assert seen == ["request 0", "none"]


async def test_one_that_cannot_be_stored_fails_alone() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)

    asked = [asyncio.ensure_future(batcher.enqueue(batch(name=name))) for name in ("a", "b", "bad", "c")]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    answers = await soon(asyncio.gather(*asked, return_exceptions=True))

    assert [isinstance(answer, BackendError) for answer in answers] == [False, False, True, False]
    assert store.batches == [1, 3, 1, 1, 1]


async def test_what_may_have_been_stored_is_never_stored_again() -> None:
    store = Store()
    store.cause = psycopg.OperationalError("the server closed the connection")
    batcher = EnqueueBatcher(store.store)

    asked = [asyncio.ensure_future(batcher.enqueue(batch(name=name))) for name in ("a", "b", "bad", "c")]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    answers = await soon(asyncio.gather(*asked, return_exceptions=True))

    assert [isinstance(answer, BackendError) for answer in answers] == [False, True, True, True]
    assert len({id(answer) for answer in answers}) == 4
    assert store.batches == [1, 3]


async def test_an_error_that_nobody_foresaw_reaches_all_whose_jobs_went_together() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)
    store.fault = KeyError("no column")

    asked = [asyncio.ensure_future(batcher.enqueue(batch())) for _ in range(3)]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    answers = await soon(asyncio.gather(*asked, return_exceptions=True))

    assert [type(answer) for answer in answers] == [KeyError] * 3
    store.fault = None
    assert [one.id for one in await soon(batcher.enqueue(batch()))] == [1]


async def test_who_is_cancelled_before_it_began_stores_nothing() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)
    asked = [asyncio.ensure_future(batcher.enqueue(batch(count))) for count in (1, 10, 100)]
    await until(lambda: len(store.batches) == 1)

    asked[1].cancel()
    await asyncio.gather(asked[1], return_exceptions=True)
    store.may.set()
    await soon(asyncio.gather(asked[0], asked[2]))

    assert store.batches == [1, 100]


async def test_a_cancelled_first_lets_the_others_through() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)
    asked = [asyncio.ensure_future(batcher.enqueue(batch())) for _ in range(3)]
    await until(lambda: len(store.batches) == 1)

    asked[0].cancel()
    store.may.set()
    answers = await soon(asyncio.gather(*asked, return_exceptions=True))

    assert isinstance(answers[0], asyncio.CancelledError)
    assert len(store.batches) == 2
    assert not any(isinstance(answer, BaseException) for answer in answers[1:])


async def test_a_statement_takes_a_thousand_jobs_and_never_half_an_enqueue() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)
    asked = [asyncio.ensure_future(batcher.enqueue(batch(count))) for count in (1, 600, 600, 400, 2_000)]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    await soon(asyncio.gather(*asked))

    assert store.batches == [1, 600, 1_000, 2_000]


async def test_a_statement_takes_no_more_text_than_a_large_batch_has() -> None:
    store = Store()
    batcher = EnqueueBatcher(store.store)
    asked = [asyncio.ensure_future(batcher.enqueue(Batch([job()], MOST_TEXT // 2))) for _ in range(4)]
    await until(lambda: len(store.batches) == 1)
    store.may.set()
    await soon(asyncio.gather(*asked))

    assert store.batches == [1, 2, 1]


async def test_five_hundred_enqueues_at_once_are_all_there(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as backend:
        answers = await soon(asyncio.gather(*[backend.enqueue([job(f"e{number}")]) for number in range(500)]))

        stored = {record.id: record.executor for record in await backend.query(Where.everything(), limit=1_000)}
        assert stored == {answer[0].id: f"e{number}" for number, answer in enumerate(answers)}


async def test_a_surrogate_among_others_fails_alone(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as backend:
        names = ["a", "b", "\ud800", "c"]
        answers = await soon(asyncio.gather(*[backend.enqueue([job(name)]) for name in names], return_exceptions=True))

        assert [isinstance(answer, BackendError) for answer in answers] == [False, False, True, False]
        assert len(await backend.query(Where.everything())) == 3


@pytest.mark.parametrize("count", [0, 1])
async def test_an_enqueue_of_little_is_answered(tmp_path: Path, count: int) -> None:
    async with postgres_backend(tmp_path) as backend:
        assert len(await backend.enqueue([job()] * count)) == count
