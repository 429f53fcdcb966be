"""S14: a drain of a large backlog."""

import asyncio
import time
from statistics import median

from rexecutor import Backend, JobStatus
from rexecutor.testing.suite.store import new_job
from tests.faults.children import children
from tests.faults.programs.drainer import WINDOW, Noop
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

BATCH = 10_000
WARM = 2
"""The windows at the beginning that do not count: connections are made, and statements prepared."""
MOST_MIB = 150
LEAST_RATIO = 0.85


async def run(ground: Ground) -> Report:
    """Drain 1,000 jobs again and again, then as many of a large backlog, by one worker; the rest by two."""
    backlog, windows = ground.size(1_000_000, 20_000), ground.size(30, 3)
    async with children() as nursery, backend_at(ground.store) as backend:
        workers = [await nursery.start("drainer", ground.store) for _ in range(2)]
        few: list[float] = []
        for _ in range(WARM + windows):
            await fill(backend, WINDOW)
            few.append(await workers[0].ask("window"))
        began = time.monotonic()
        await fill(backend, backlog)
        filled = time.monotonic()
        many = [await workers[0].ask("window") for _ in range(WARM + windows)]
        left = backlog - sum(count.jobs for count in await backend.count() if count.status is JobStatus.COMPLETE)
        begun = time.monotonic()
        for worker in workers:
            worker.tell("all")
        jobs = len(few) * WINDOW + backlog
        await drained(backend, jobs, 600)
        ended = time.monotonic()
        peak = max(worker.peak_mib for worker in workers)
        statuses = {count.status: count.jobs for count in await backend.count()}
    rates = [WINDOW / median(some[WARM:]) for some in (few, many)]
    ratio = rates[1] / rates[0]
    report = Report(enqueued=jobs, acknowledged=jobs, lost=jobs - statuses.get(JobStatus.COMPLETE, 0))
    report.figures = {
        "backlog": backlog,
        "jobs_per_s_at_1000": round(rates[0]),
        "jobs_per_s_at_backlog": round(rates[1]),
        "ratio": round(ratio, 2),
        "fill_jobs_per_s": round(backlog / (filled - began)),
        "drain_by_two_jobs_per_s": round((left + len(few) * WINDOW) / (ended - begun)),
        "worker_peak_mib": peak,
    }
    report.expect_no("lost")
    report.expect(f"{ratio:.2f} of the speed, {LEAST_RATIO} expected", ratio >= LEAST_RATIO or not ground.is_full)
    report.expect(f"a worker took {peak} MiB, {MOST_MIB} at the most expected", peak <= MOST_MIB)
    return report


async def fill(backend: Backend, jobs: int) -> None:
    """Enqueue so many."""
    for left in range(jobs, 0, -BATCH):
        await backend.enqueue([new_job(Noop.name, data="1")] * min(left, BATCH))


async def drained(backend: Backend, jobs: int, seconds: float) -> None:
    """Wait until so many jobs are complete and none waits."""
    async with asyncio.timeout(seconds):
        while {count.status: count.jobs for count in await backend.count()} != {JobStatus.COMPLETE: jobs}:
            await asyncio.sleep(jobs / 400_000)


SCENARIO = Scenario("S14", "a drain of a large backlog", ("Delivery",), run)
