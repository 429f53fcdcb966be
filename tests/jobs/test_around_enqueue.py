"""Middleware around enqueues, and the headers that it sends along with jobs."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    EncodeError,
    Enqueueing,
    ErrorKind,
    Executor,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobStatus,
    Limits,
    Rexecutor,
    SQLiteBackend,
    enqueue_many,
    enqueue_many_sync,
    override_global_backend,
)
from rexecutor.jobs.middleware import add_around_enqueue
from rexecutor.model.job import NewJob
from tests.engine.executors import Quick
from tests.engine.scripted import SECOND, Scripted, until_status
from tests.support import record_of, soon


class Seen:
    """Plain middleware that notes each enqueue, and sends a header along."""

    def __init__(self, name: str = "trace") -> None:
        self.calls: list[Enqueueing] = []
        self.notes: list[str] = []
        self._name = name

    @contextmanager
    def _around(self, enqueueing: Enqueueing) -> Generator[None]:
        self.calls.append(enqueueing)
        enqueueing.headers[self._name] = f"{len(self.calls)}"
        self.notes.append(f"{self._name} in {len(enqueueing.handles)}")
        try:
            yield
        except BaseException as error:
            self.notes.append(f"{self._name} {type(error).__name__}")
            raise
        self.notes.append(f"{self._name} out {len(enqueueing.handles)}")

    def __call__(self, enqueueing: Enqueueing) -> Any:
        return self._around(enqueueing)


@asynccontextmanager
async def asynchronous(enqueueing: Enqueueing) -> AsyncGenerator[None]:
    await asyncio.sleep(0)  # noqa: TID251 - it may await
    enqueueing.headers["async"] = "yes"
    yield


async def test_a_job_reads_the_headers_that_middleware_has_sent_along(backend: Backend) -> None:
    found: list[Any] = []

    async with Rexecutor(
        backend,
        executors=[Scripted(lambda job: found.append(job.headers))],
        around_enqueue=[Seen(), asynchronous],
    ):
        handle = await Scripted.builder().with_data("x").enqueue(backend=backend)
        job = await soon(handle.wait())

    assert found == [{"trace": "1", "async": "yes"}]
    assert job.headers == {"trace": "1", "async": "yes"}


async def test_headers_are_there_at_each_attempt(clock: Any) -> None:
    found: list[Any] = []
    backend = InMemoryBackend(clock=clock)

    def fails(job: Job[str]) -> None:
        found.append(job.headers)
        raise ValueError

    async with Rexecutor(backend, executors=[Scripted(fails)], around_enqueue=[Seen()]):
        handle = await Scripted.builder().with_data("x").with_max_attempts(2).enqueue(backend=backend)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        clock.advance(2 * SECOND)
        await soon(handle.wait())

    assert found == [{"trace": "1"}] * 2


async def test_a_job_without_headers_has_none_and_its_own_mapping() -> None:
    backend = InMemoryBackend()
    handles = await enqueue_many([Quick.builder(), Quick.builder()], backend=backend)

    one, other = [await handle.fetch() for handle in handles]

    assert one.headers == other.headers == {}
    assert one.headers is not other.headers


async def test_one_enqueue_of_many_jobs_is_one_call() -> None:
    seen, backend = Seen(), InMemoryBackend()
    builders = [Quick.builder(), Scripted.builder().with_data("x")]

    async with Rexecutor(backend, around_enqueue=[seen]):
        handles = await enqueue_many(builders, backend=backend)
        await enqueue_many([], backend=backend)

    (call,) = seen.calls
    assert call.jobs == tuple(builders)
    assert list(call.handles) == handles
    assert [(await record_of(backend, one.id)).headers for one in handles] == ['{"trace":"1"}'] * 2
    assert seen.notes == ["trace in 0", "trace out 2"]


async def test_the_first_is_outermost() -> None:
    first, second, backend = Seen("1"), Seen("2"), InMemoryBackend()
    second.notes = first.notes

    async with Rexecutor(backend, around_enqueue=[first, second]):
        await Quick.builder().enqueue(backend=backend)

    assert first.notes == ["1 in 0", "2 in 0", "2 out 1", "1 out 1"]


def test_plain_middleware_serves_synchronous_enqueues(tmp_path: Path) -> None:
    seen, backend = Seen(), SQLiteBackend(tmp_path / "jobs.db")
    remove = add_around_enqueue(seen, backend)

    one = Quick.builder().enqueue_sync(backend=backend)
    many = enqueue_many_sync([Quick.builder()] * 2, backend=backend)
    remove()
    without = Quick.builder().enqueue_sync(backend=backend)

    assert [dict(handle.fetch_sync().headers) for handle in (one, *many, without)] == [
        {"trace": "1"},
        {"trace": "2"},
        {"trace": "2"},
        {},
    ]


def test_asynchronous_middleware_cannot_serve_a_synchronous_enqueue(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    remove = add_around_enqueue(asynchronous, backend)

    with pytest.raises(ConfigurationError, match=r"^around_enqueue: asynchronous is asynchronous, .* write it with"):
        Quick.builder().enqueue_sync(backend=backend)
    remove()


def test_headers_are_stored_in_the_applications_transaction(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    Quick.builder().enqueue_sync(backend=backend)
    remove = add_around_enqueue(Seen(), backend)
    connection = sqlite3.connect(backend.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")

    handle = Quick.builder().enqueue_sync(backend=backend, connection=connection)
    connection.execute("COMMIT")
    connection.close()
    remove()

    assert handle.fetch_sync().headers == {"trace": "1"}


async def test_middleware_is_for_enqueues_into_its_own_backend_while_its_rexecutor_lasts() -> None:
    seen, backend, other = Seen(), InMemoryBackend(), InMemoryBackend()
    rexecutor = Rexecutor(backend, around_enqueue=[seen])

    await Quick.builder().enqueue(backend=backend)
    rexecutor.set_global_backend()
    await Quick.builder().enqueue()
    async with rexecutor:
        await Quick.builder().enqueue(backend=other)
        with override_global_backend(other):
            await Quick.builder().enqueue()
        await Quick.builder().enqueue()
    await Quick.builder().enqueue(backend=backend)

    assert len(seen.calls) == 2


async def test_middleware_of_two_rexecutors_on_one_backend_is_entered_once() -> None:
    seen, backend = Seen(), InMemoryBackend()

    async with Rexecutor(backend, around_enqueue=[seen]), Rexecutor(backend, around_enqueue=[seen]):
        await Quick.builder().enqueue(backend=backend)

    assert len(seen.calls) == 1


async def test_middleware_sees_the_error_of_an_enqueue() -> None:
    seen, backend = Seen(), InMemoryBackend(limits=Limits(data=1))

    async with Rexecutor(backend, around_enqueue=[seen]):
        with pytest.raises(EncodeError, match="scripted: data"):
            await Scripted.builder().with_data("xyz").enqueue(backend=backend)

    assert seen.notes == ["trace in 0", "trace EncodeError"]
    assert seen.calls[0].handles == ()


async def test_an_error_of_middleware_stores_nothing() -> None:
    @contextmanager
    def broken(_: Enqueueing) -> Generator[None]:
        raise ValueError("no luck")
        yield

    backend = InMemoryBackend()
    async with Rexecutor(backend, around_enqueue=[broken]):
        with pytest.raises(ValueError, match="no luck"):
            await Quick.builder().enqueue(backend=backend)

    assert await backend.count() == []


async def test_middleware_may_not_swallow_the_error_of_an_enqueue() -> None:
    @contextmanager
    def swallow(_: Enqueueing) -> Generator[None]:
        with suppress(InvalidJobError):
            yield

    backend = InMemoryBackend(limits=Limits(data=1))
    async with Rexecutor(backend, around_enqueue=[swallow]):
        with pytest.raises(ConfigurationError, match="has swallowed the error of an enqueue"):
            await Scripted.builder().with_data("xyz").enqueue(backend=backend)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"n": 7}, "headers: 'n' must be a str, not 7"),
        ({7: "n"}, "headers: each name must be a str, not 7"),
        ({"n": "a\0"}, "headers: 'n' contains a NUL or a lone surrogate, which no store accepts"),
        ({"\ud800": "a"}, "headers: each name contains a NUL or a lone surrogate"),
        ({"n": "x" * 9_000}, "headers: 9,008 bytes of JSON, at most 8,192 are allowed"),
    ],
)
async def test_headers_that_no_store_accepts_are_refused(headers: Any, words: str) -> None:
    @contextmanager
    def wrong(enqueueing: Enqueueing) -> Generator[None]:
        enqueueing.headers.update(headers)
        yield

    backend = InMemoryBackend()
    async with Rexecutor(backend, around_enqueue=[wrong]):
        with pytest.raises(InvalidJobError, match=words):
            await Quick.builder().enqueue(backend=backend)


@pytest.mark.parametrize("headers", ["[]", '{"a": 1}', "null"])
async def test_stored_headers_that_are_no_texts_are_a_failure_to_decode(headers: str) -> None:
    class Any_(Executor[None]):  # noqa: N801 - a name that says nothing
        name = "any"
        max_attempts = 1

        async def execute(self, job: Job[None]) -> None: ...

    backend = InMemoryBackend()
    new = NewJob("any", "null", None, 1, 0, (), None, 0 * SECOND, headers=headers)
    async with Rexecutor(backend, executors=[Any_]):
        (enqueued,) = await backend.enqueue([new])
        await until_status(backend, enqueued.id, JobStatus.DISCARDED)

    (error,) = (await record_of(backend, enqueued.id)).errors
    assert error.kind is ErrorKind.DECODE
    assert "any: headers: an object of texts expected" in error.details
