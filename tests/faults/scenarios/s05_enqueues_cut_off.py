"""S5: jobs are enqueued, and the answer that says so never comes."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from rexecutor import BackendError, JobStatus, PostgresBackend, UniquenessCriteria
from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from rexecutor.model.where import Everything
from tests.faults.cut_connections import CutConnections, holding
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.workers import as_runs, worker_processes

ENQUEUE = rb"plain-\d|COMMIT"
"""What is in the last message of an enqueue, the one that commits it: a job's tag, or the end of a transaction."""


@dataclass
class Producer:
    """Enqueues one job after the other, each again and again until it is told that it is there."""

    backend: Backend
    has_keys: bool
    number: int
    acknowledged: dict[str, JobId] = field(default_factory=dict[str, JobId])
    """The tag of each job whose enqueue has returned."""
    unknown: int = 0
    """Enqueues that raised."""

    async def work(self, stop: asyncio.Event, chance: random.Random) -> None:
        while not stop.is_set():
            tag = f"{'keyed' if self.has_keys else 'plain'}-{self.number}-{len(self.acknowledged)}"
            builder = Tasked.builder().with_data(Task("sleep")).with_tags(tag)
            if self.has_keys:  # of any status: it may have been done before it is enqueued again
                builder = builder.unique(UniquenessCriteria.by_key(tag).and_statuses(*JobStatus))
            while tag not in self.acknowledged:
                try:
                    self.acknowledged[tag] = (await builder.enqueue(backend=self.backend)).id
                except BackendError:
                    self.unknown += 1
                    await asyncio.sleep(0.05 * chance.random())
            await asyncio.sleep(0.02 * chance.random())


async def run(ground: Ground) -> Report:
    """Cut the connection of every second enqueue for a while, before the answer to what commits it."""
    seconds, number = (10.0, 16) if ground.is_full else (1.5, 4)
    chance = random.Random(ground.seed)
    url, _, schema = ground.store.partition("#")
    is_enqueue = holding(ENQUEUE)
    with Proxy(url) as proxy:
        cuts = CutConnections(proxy, lambda message: is_enqueue(message) and chance.random() < 0.5)
        async with (
            worker_processes(ground) as workers,
            backend_at(ground.store) as backend,
            PostgresBackend(proxy.url, schema=schema, max_connections=2 * number) as far,
        ):
            await workers.joined()
            producers = [Producer(far, has_keys, place) for has_keys in (True, False) for place in range(number)]
            stop = asyncio.Event()
            producing = asyncio.gather(*(one.work(stop, chance) for one in producers))
            await asyncio.sleep(0.3)
            cuts.begin()
            await asyncio.sleep(seconds)
            cuts.end()
            await asyncio.sleep(0.3)
            stop.set()
            await producing
            async with asyncio.timeout(60):
                while {count.status for count in await backend.count()} != {JobStatus.COMPLETE}:
                    await asyncio.sleep(0.05)
            ids = [job_id for one in producers for job_id in one.acknowledged.values()]
            lines = as_runs(ground.lines())
            report = Report(enqueued=len(ids), acknowledged=len(ids), unknown=sum(one.unknown for one in producers))
            count_runs(report, lines)
            await count_jobs(report, backend, ids, lines)
            judge(report, producers, [tag async for tag in tags(backend)])
    report.figures |= {"cut_for_s": seconds, "enqueues_cut": cuts.number}
    report.expect("enqueues were cut", cuts.number > number)
    return report


async def tags(backend: Backend) -> AsyncIterator[str]:
    """Return the tag of each job in the store."""
    after: JobId | None = None
    while page := await backend.query(Everything(), after=after):
        for record in page:
            yield record.tags[0]
        after = page[-1].id


def judge(report: Report, producers: list[Producer], found: list[str]) -> None:
    """Fill in how many jobs were added twice, with a key and without."""
    copies = Counter(found)
    wanted = {tag for one in producers for tag in one.acknowledged}
    beyond = {kind: sum(copies[tag] - 1 for tag in wanted if tag.startswith(kind)) for kind in ("keyed", "plain")}
    plain_unknown = sum(one.unknown for one in producers if not one.has_keys)
    report.figures = {
        "unknown_with_key": (report.unknown or 0) - plain_unknown,
        "unknown_without_key": plain_unknown,
        "duplicates_with_key": beyond["keyed"],
        "duplicates_without_key": beyond["plain"],
    }
    report.expect("each job is there, and no other", set(copies) == wanted)
    report.expect("no job with a key was added twice", beyond["keyed"] == 0)
    report.expect("the same enqueues without a key were", beyond["plain"] > 0)
    report.expect("no more copies than unknown enqueues", beyond["plain"] <= plain_unknown)
    report.expect("enqueues with a key were unknown too", report.figures["unknown_with_key"] > 0)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")


SCENARIO = Scenario("S5", "enqueues cut off before their answer", ("Accepted", "Unique"), run, kinds=["postgres"])
