"""The measured work, done by rexecutor."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from time import monotonic_ns, perf_counter
from typing import ClassVar, TypeAlias

import msgspec

from rexecutor import Backend, Executor, Job, Rexecutor, Where, connect, enqueue_many
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.status import JobStatus

DATA: dict[str, object] = {"to": "bob@example.com", "order": 12345}


class Receipt(msgspec.Struct, frozen=True):
    """A result of 200 bytes as JSON."""

    order: int
    sent: bool
    text: str


TEXT = "x" * 198
"""A result of 200 bytes as JSON, and a struct of as many."""
RECEIPT = Receipt(order=12345, sent=True, text="x" * 163)


class Noop(Executor[dict[str, object]]):
    """A job that does nothing. `all_ran` is set when the last one has run."""

    name = "noop"
    returns: ClassVar[object] = None

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.all_ran = asyncio.Event()

    async def execute(self, job: Job[dict[str, object]]) -> None:  # noqa: ARG002
        self._left -= 1
        if not self._left:
            self.all_ran.set()


class Reporting(Executor[dict[str, object], None, Receipt]):
    """A job that does nothing and returns a result of 200 bytes. It has Noop's name, and so takes Noop's jobs."""

    name = "noop"
    returns: ClassVar[object] = RECEIPT

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.all_ran = asyncio.Event()

    async def execute(self, job: Job[dict[str, object]]) -> Receipt:  # noqa: ARG002
        self._left -= 1
        if not self._left:
            self.all_ran.set()
        return RECEIPT


class Writing(Executor[dict[str, object], None, str]):
    """The same with a text."""

    name = "noop"
    returns: ClassVar[object] = TEXT

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.all_ran = asyncio.Event()

    async def execute(self, job: Job[dict[str, object]]) -> str:  # noqa: ARG002
        self._left -= 1
        if not self._left:
            self.all_ran.set()
        return TEXT


Kind: TypeAlias = type[Noop | Reporting | Writing]


class Stamp(Executor[int]):
    """A job that prints when it ran."""

    name = "stamp"

    async def execute(self, job: Job[int]) -> None:
        say([job.data, monotonic_ns()])


class Answer(Executor[int, None, int]):
    """A job that returns its number."""

    name = "answer"

    async def execute(self, job: Job[int]) -> int:
        return job.data


async def enqueue_one_by_one(backend: Backend, jobs: int) -> float:
    """Await each enqueue before the next. Return the seconds."""
    async with backend:
        began = perf_counter()
        for _ in range(jobs):
            await Noop.builder().with_data(DATA).enqueue(backend=backend)
        return perf_counter() - began


async def enqueue_at_once(backend: Backend, jobs: int) -> float:
    """Enqueue from as many coroutines as there are jobs. Return the seconds."""
    async with backend:
        began = perf_counter()
        await asyncio.gather(*(Noop.builder().with_data(DATA).enqueue(backend=backend) for _ in range(jobs)))
        return perf_counter() - began


async def enqueue_in_bulk(backend: Backend, jobs: int) -> float:
    """Enqueue all jobs by one `enqueue_many`. Return the seconds."""
    async with backend:
        began = perf_counter()
        await enqueue_many([Noop.builder().with_data(DATA) for _ in range(jobs)], backend=backend)
        return perf_counter() - began


async def fill_and_drain(backend: Backend, jobs: int, max_concurrency: int, kind: Kind = Noop) -> float:
    """Enqueue the jobs and run them. Return the seconds of the run."""
    async with backend:
        await enqueue_many([Noop.builder().with_data(DATA) for _ in range(jobs)], backend=backend)
        return await drain(backend, jobs, max_concurrency, kind)


async def drain(backend: Backend, jobs: int, max_concurrency: int, kind: Kind = Noop) -> float:
    """Run all jobs by one worker. Return the seconds from its start until all outcomes are recorded."""
    async with backend:
        await backend.check_schema()
        executor = kind(jobs)
        began = perf_counter()
        async with Rexecutor(backend, max_concurrency=max_concurrency).with_executor(executor):
            await executor.all_ran.wait()
        seconds = perf_counter() - began
        (count,) = await backend.count()
        assert (count.status, count.jobs) == (JobStatus.COMPLETE, jobs), count
        (job,) = await kind.query_jobs(Where.status_equals(JobStatus.COMPLETE), limit=1, backend=backend)
        assert job.result == kind.returns, job
        return seconds


async def run_some(backend: Backend, jobs: int, max_concurrency: int) -> float:
    """Run jobs by one worker. Return the seconds from its start until this many have run; there may be more."""
    async with backend:
        await backend.check_schema()
        noop = Noop(jobs)
        began = perf_counter()
        async with Rexecutor(backend, max_concurrency=max_concurrency).with_executor(noop):
            await noop.all_ran.wait()
            return perf_counter() - began


async def pickup(url: str, jobs: int) -> tuple[float, float]:
    """Enqueue one job at a time for an idle worker in another process. Return p50 and p99 in seconds."""
    async with connect(url) as backend:

        async def enqueue(number: int) -> None:
            await Stamp.builder().with_data(number).enqueue(backend=backend)

        return await pickup_by("benchmarks.worker", url, enqueue, jobs)


async def pickup_by(module: str, url: str, enqueue: Callable[[int], Awaitable[None]], jobs: int) -> tuple[float, float]:
    """Measure from the call of `enqueue` until the other process, the module, has the job.

    That process prints that it is ready, and then for each job its number and when it had it.
    """

    async def ran(number: int, lines: asyncio.StreamReader) -> int:
        await enqueue(number)
        data, moment = json.loads(await lines.readline())
        assert data == number
        return moment

    return await _latencies(module, url, ran, jobs)


async def result(url: str, jobs: int) -> tuple[float, float]:
    """Enqueue one job at a time for an idle worker in another process, and await its result. Return p50 and p99."""
    async with connect(url) as backend:

        async def returned(number: int, _: asyncio.StreamReader) -> int:
            handle = await Answer.builder().with_data(number).enqueue(backend=backend)
            assert await handle.result() == number
            return monotonic_ns()

        return await _latencies("benchmarks.worker", url, returned, jobs)


async def _latencies(
    module: str, url: str, end_of: Callable[[int, asyncio.StreamReader], Awaitable[int]], jobs: int
) -> tuple[float, float]:
    """Return p50 and p99, in seconds, from the call of `end_of` until the moment that it returns."""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", module, url, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    seconds: list[float] = []
    try:
        assert json.loads(await worker.stdout.readline()) == "ready"
        for number in range(jobs + 5):
            called = monotonic_ns()
            seconds.append((await end_of(number, worker.stdout) - called) / 1e9)
            await asyncio.sleep(0.02)  # until the worker is idle again
    finally:
        worker.terminate()
        await worker.wait()
    seconds = sorted(seconds[5:])
    return seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]


async def looks_a_change(backend: Backend, other: Backend, waits: int, changes: int) -> float:
    """Await many results at once. Return how many queries one change causes, made by another backend."""
    looks = 0
    check_ended = backend.check_ended

    async def counted(ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        nonlocal looks
        looks += 1
        return await check_ended(ids)

    vars(backend)["check_ended"] = counted
    async with backend, other:
        later = [Answer.builder().with_data(number).schedule_in(timedelta(days=1)) for number in range(waits)]
        handles = await enqueue_many(later, backend=backend)
        async with asyncio.TaskGroup() as tasks:
            for handle in handles:
                tasks.create_task(handle.wait())
            await asyncio.sleep(0.5)  # until the first looks are over
            before, began = looks, perf_counter()
            for handle in handles[:changes]:
                await other.cancel(handle.id, "measured")
                await asyncio.sleep(0.05)
            caused = looks - before - int(perf_counter() - began)  # without those of each second
            for handle in handles[changes:]:
                await other.cancel(handle.id, "no longer needed")
    return caused / changes


def say(what: object) -> None:
    """Print a line for the measuring process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
