"""rexecutor itself, on any of its stores."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from time import perf_counter
from typing import Any, ClassVar

import msgspec

from benchmarks.adapters.harness import OPTIONS, SLOTS, TO, URL, Adapter, body
from rexecutor import (
    Backend,
    Executor,
    InMemoryBackend,
    Job,
    JobBuilder,
    JobStatus,
    Pruner,
    PrunerConfig,
    Rexecutor,
    UniquenessCriteria,
    connect,
    enqueue_many,
)
from rexecutor.model.job import JobId, JobRecord

KIND = OPTIONS.get("kind", "plain")


class Letter(msgspec.Struct, frozen=True):
    to: str
    order: int


class Receipt(msgspec.Struct, frozen=True):
    """A result of 200 bytes as JSON."""

    order: int
    sent: bool
    text: str


RECEIPT = Receipt(order=12345, sent=True, text="x" * 163)


class Mail(Executor[Letter]):
    """A job that does nothing."""

    name = "mail"

    async def execute(self, job: Job[Letter]) -> None:
        await body(job.data.order)

    def backoff(self, job: Job[Letter]) -> timedelta:  # noqa: ARG002 - at once, whatever the attempt
        return timedelta(0)


class Unique(Mail):
    """A job that does nothing, unique by its order."""

    name = "unique"
    uniqueness_criteria: ClassVar[UniquenessCriteria | None] = UniquenessCriteria.by_data("order")


class Reporting(Executor[Letter, None, Receipt]):
    """A job that does nothing and returns a struct. It has Mail's name, and so takes Mail's jobs."""

    name = "mail"

    async def execute(self, job: Job[Letter]) -> Receipt:
        await body(job.data.order)
        return RECEIPT


def others(count: int) -> Iterator[type[Executor[Letter]]]:
    """Return executors whose queues stay empty."""
    for number in range(count):
        yield type(f"Other{number}", (Mail,), {"name": f"other-{number}"})


class RexecutorAdapter(Adapter):
    backend: Backend

    def __init__(self) -> None:
        self.executor = {"returning": Reporting, "unique": Unique}.get(KIND, Mail)

    def _backend(self) -> Backend:
        if URL == "memory":
            return InMemoryBackend()
        return connect(URL if "://" in URL else f"sqlite:///{URL}")

    async def prepare(self) -> None:
        if URL != "memory":
            async with self._backend() as backend:
                await backend.migrate()

    async def open(self) -> None:
        self.backend = self._backend()
        await self.backend.open()

    async def close(self) -> None:
        await self.backend.close()

    def _new(self, order: int) -> JobBuilder[Letter, None, Any]:
        return self.executor.builder().with_data(Letter(TO, order))

    async def enqueue(self, order: int) -> object:
        return await self._new(order).enqueue(backend=self.backend)

    async def enqueue_many(self, orders: range) -> object:
        jobs = [self._new(order) for order in orders]
        if KIND == "future":
            jobs = [job.schedule_in(timedelta(days=1)) for job in jobs]
        elif KIND == "less urgent":
            jobs = [job.with_priority(1) for job in jobs]
        return await enqueue_many(jobs, backend=self.backend)

    async def enqueue_unique(self, order: int) -> object:
        return await Unique.builder().with_data(Letter(TO, order)).enqueue(backend=self.backend)

    async def left(self) -> int:
        ended = (JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED)
        counts = await self.backend.count()
        return sum(count.jobs for count in counts if count.status not in ended)

    async def work(self) -> object:
        async with AsyncExitStack() as nodes:
            more = [await nodes.enter_async_context(self._backend()) for _ in range(OPTIONS.get("nodes", 1) - 1)]
            for backend in (*more, self.backend):
                await nodes.enter_async_context(self._node(backend))
            await asyncio.Event().wait()

    def _node(self, backend: Backend) -> Rexecutor:
        rexecutor = Rexecutor(backend, max_concurrency=SLOTS).with_executor(self.executor)
        for other in others(OPTIONS.get("others", 0)):
            rexecutor.with_executor(other)
        if OPTIONS.get("prune"):
            each_second = PrunerConfig("* * * * * *")
            rexecutor.with_job_pruner(each_second.with_pruner(Pruner.max_age(timedelta(0), JobStatus.COMPLETE)))
        return rexecutor

    async def special(self, what: str) -> object:
        match what.split():
            case ["count"]:
                return sum(count.jobs for count in await self.backend.count())
            case ["results", first, jobs]:
                return await self._results(range(int(first), int(first) + int(jobs)))
            case ["looks", waits, changes]:
                return await self._looks(int(waits), int(changes))
            case _:
                raise NotImplementedError(what)

    async def _results(self, orders: range) -> list[float]:
        """Return the seconds from the call of each enqueue until its result is here."""
        seconds: list[float] = []
        for order in orders:
            began = perf_counter()
            handle = await Reporting.builder().with_data(Letter(TO, order)).enqueue(backend=self.backend)
            assert await handle.result() == RECEIPT
            seconds.append(perf_counter() - began)
            await asyncio.sleep(0.02)  # until the worker is idle again
        return seconds

    async def _looks(self, waits: int, changes: int) -> float:
        """Await many results at once. Return how many queries one change causes, made by another backend."""
        looks = 0
        check_ended = self.backend.check_ended

        async def counted(ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
            nonlocal looks
            looks += 1
            return await check_ended(ids)

        vars(self.backend)["check_ended"] = counted
        async with self._backend() as other:
            later = [self._new(order).schedule_in(timedelta(days=1)) for order in range(waits)]
            handles = await enqueue_many(later, backend=self.backend)
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
        vars(self.backend)["check_ended"] = check_ended
        return caused / changes


ADAPTER = RexecutorAdapter
