"""S2: the server crashes while workers drain and producers enqueue."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest

from demo.postgres_server import PostgresServer
from rexecutor import BackendError, JobStatus, enqueue_many
from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from tests.faults.history import Line
from tests.faults.outages import WAYS
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at, server_of
from tests.faults.workers import Workers, as_runs, started, worker_processes

WORKERS = 3
MOST_LINES = 10
"""That a node may log of one outage."""


@dataclass
class Load:
    """What is enqueued meanwhile."""

    backend: Backend
    a_second: int
    ids: list[JobId] = field(default_factory=list[JobId])
    """Of the jobs whose enqueue has returned."""
    unknown: int = 0
    """Jobs whose enqueue has raised."""
    begun: list[float] = field(default_factory=list[float])
    """When each enqueue began."""
    ended: list[float] = field(default_factory=list[float])
    """When each enqueue ended; the last may not have."""

    async def go_on(self) -> None:
        """Enqueue in batches, 20 a second."""
        batch = [Tasked.builder().with_data(Task("sleep", 0.005))] * (self.a_second // 20)
        while True:
            self.begun.append(time.monotonic())
            try:
                self.ids += [handle.id for handle in await enqueue_many(batch, backend=self.backend)]
            except BackendError:
                self.unknown += len(batch)
            self.ended.append(time.monotonic())
            await asyncio.sleep(0.05)

    def met(self, outage: "Outage") -> bool:
        """Whether an enqueue was under way during the outage: it failed, or it waited for the server."""
        calls = zip_longest(self.begun, self.ended, fillvalue=math.inf)
        return any(begun < outage.answered and ended > outage.begun for begun, ended in calls)


@dataclass(frozen=True, slots=True)
class Outage:
    """When the server was away."""

    way: str
    begun: float
    answered: float
    """When it took connections again."""


async def run(ground: Ground) -> Report:
    """Crash the server under load: by its first process, by that of one connection, and by a stop without farewell."""
    number, a_second = (20, 2_000) if ground.is_full else (3, 400)
    chance = random.Random(ground.seed)
    async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
        for _ in range(WORKERS):
            await workers.joined("--slots", "50")
        load = Load(backend, a_second)
        producing = asyncio.ensure_future(load.go_on())
        outages = [await crash(ground, workers, WAYS[place % len(WAYS)], chance) for place in range(number)]
        producing.cancel()
        await asyncio.wait((producing,))
        async with asyncio.timeout(120):
            while {count.status for count in await backend.count()} != {JobStatus.COMPLETE}:
                await asyncio.sleep(0.1)
        lines = as_runs(ground.lines())
        report = Report(enqueued=len(load.ids) + load.unknown, acknowledged=len(load.ids), unknown=load.unknown)
        count_runs(report, lines)
        await count_jobs(report, backend, load.ids, lines)
        logged = most_lines(workers, outages)
    waits = [wait_after(outage, lines) for outage in outages]
    report.recovery_s = round(max(waits), 2)
    report.figures = {
        "outages": dict(Counter(outage.way for outage in outages)),
        "away_max_s": round(max(outage.answered - outage.begun for outage in outages), 2),
        "recovery_p50_s": round(sorted(waits)[len(waits) // 2], 2),
        "log_lines_a_node_and_outage": logged,
    }
    report.expect("the first job started within 5 s", report.recovery_s <= 5)
    report.expect(f"{logged} lines a node and outage, {MOST_LINES} at most", logged <= MOST_LINES)
    report.expect("each outage was told", logged > 0)
    report.expect("enqueues met an outage", any(map(load.met, outages)))
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def crash(
    ground: Ground, workers: Workers, way: Callable[[PostgresServer], None], chance: random.Random
) -> Outage:
    """Crash the server when it has been used for a moment, and return when a job has started after that."""
    await asyncio.sleep(chance.random() * (2.0 if ground.is_full else 0.5))
    begun = time.monotonic()
    await asyncio.to_thread(way, server_of(ground.store))
    outage = Outage(way.__name__, begun, time.monotonic())
    await workers.until(lambda lines: wait_after(outage, lines) < math.inf, 60)
    return outage


def wait_after(outage: Outage, lines: list[Line]) -> float:
    """Return how long after the server was there again the first job started."""
    return min((line.at for line in started(lines) if line.at > outage.answered), default=math.inf) - outage.answered


def most_lines(workers: Workers, outages: list[Outage]) -> int:
    """Return the largest number of lines that a node has logged between two outages."""
    ends = [*(outage.begun for outage in outages[1:]), math.inf]
    return max(
        sum(outage.begun <= at < end for at, _ in member.words())
        for member in workers.members
        for outage, end in zip(outages, ends, strict=True)
    )


SCENARIO = Scenario(
    "S2",
    "PostgreSQL crashes under load",
    ("Accepted", "Delivery", "Start", "Database outage"),
    run,
    kinds=["postgres"],
    owns_server=True,
)
