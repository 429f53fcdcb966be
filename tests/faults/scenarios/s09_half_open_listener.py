"""S9: the connection that listens is half open: it stands, and nothing comes through."""

import asyncio
import random
from dataclasses import dataclass, field

from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.workers import Member, started, until, worker_processes

FAILS = "listening for notifications failed"
SUCCEEDS = "listening for notifications succeeds again"
CHECK = 15.0
"""Seconds within which the listener is to find out."""
DEAF = 1.1
"""Seconds until a job is found that nobody hears of: the poll interval, jittered by a tenth."""
MARGIN = 0.4
"""Seconds that a claim and a start may take on a busy machine."""


@dataclass
class Probes:
    """Jobs that are enqueued to see when they start."""

    backend: Backend
    ground: Ground
    chance: random.Random
    enqueued: dict[JobId, float] = field(default_factory=dict[JobId, float])
    """When each was."""

    async def send(self) -> JobId:
        """Enqueue one, and wait for a moment."""
        handle = await Tasked.builder().with_data(Task("sleep")).enqueue(backend=self.backend)
        self.enqueued[handle.id] = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1 + 0.4 * self.chance.random())
        return handle.id

    async def delays(self, ids: set[JobId]) -> list[float]:
        """Return how long it took until each of them started, the shortest first."""
        await until(lambda: ids <= {line.job_id for line in started(self.ground.lines())}, 10)
        return sorted(
            line.at - self.enqueued[line.job_id] for line in started(self.ground.lines()) if line.job_id in ids
        )


async def run(ground: Ground) -> Report:
    """Swallow what the listener and the server say, at random moments, while jobs come.

    In the short run the library's waits for its listener are ten times shorter, and so is what is promised of them.
    """
    rounds, pace = (8, 1.0) if ground.is_full else (1, 10.0)
    url, _, _ = ground.store.partition("#")
    heard: list[float] = []
    deaf: list[float] = []
    detected: list[float] = []
    again: list[float] = []
    with Proxy(url) as proxy:
        async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
            listens_at = f"{proxy.url} connect_timeout=2"
            worker = await workers.joined("--pace", str(pace), "--listens-at", listens_at)
            probes = Probes(backend, ground, random.Random(ground.seed))
            await asyncio.sleep(0.5)
            for _ in range(rounds):
                heard += await probes.delays({await probes.send() for _ in range(3)})
                await asyncio.sleep(CHECK / pace * probes.chance.random())
                found, delays, healed = await deafen(proxy, worker, probes)
                detected.append(found)
                deaf += delays
                again.append(healed)
            lines = ground.lines()
            report = Report(enqueued=len(probes.enqueued), acknowledged=len(probes.enqueued))
            count_runs(report, lines)
            await count_jobs(report, backend, probes.enqueued, lines)
    report.recovery_s = round(max(again), 2)
    report.figures = {
        "rounds": rounds,
        "pace": pace,
        "heard_p50_s": round(sorted(heard)[len(heard) // 2], 3),
        "deaf_p50_s": round(sorted(deaf)[len(deaf) // 2], 2),
        "deaf_max_s": round(max(deaf), 2),
        "detected_max_s": round(max(detected), 2),
    }
    report.expect("a job that is heard of starts at once", report.figures["heard_p50_s"] < 0.2)
    report.expect("while deaf a job starts within the poll interval", report.figures["deaf_max_s"] <= DEAF + MARGIN)
    report.expect("deafness makes a difference", report.figures["deaf_max_s"] > 0.1)
    report.expect("it is found out within 15 s", report.figures["detected_max_s"] <= CHECK / pace + MARGIN)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def deafen(proxy: Proxy, worker: Member, probes: Probes) -> tuple[float, list[float], float]:
    """Swallow all until the worker finds out, then heal it.

    Return how long it took to be found out, how long each job that came meanwhile waited, and when it was heard again.
    """
    now = asyncio.get_running_loop().time
    failures, recoveries = len(worker.said(FAILS)), len(worker.said(SUCCEEDS))
    proxy.is_silent, begun = True, now()
    ids: set[JobId] = set()
    while (len(worker.said(FAILS)) == failures or len(ids) < 5) and now() - begun < 2 * CHECK:
        ids.add(await probes.send())
    found = worker.said(FAILS)[-1][0] - begun
    delays = await probes.delays(ids)
    proxy.is_silent, healed = False, now()
    await until(lambda: len(worker.said(SUCCEEDS)) > recoveries, 40)
    return found, delays, worker.said(SUCCEEDS)[-1][0] - healed


SCENARIO = Scenario("S9", "the listening connection is half open", ("Latency",), run, kinds=["postgres"])
