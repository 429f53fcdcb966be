"""S16: many workers on an empty queue, then one job."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from statistics import median
from typing import Any

from rexecutor import JobHandle
from rexecutor.backend.messages import HEARTBEATS_PER_LEASE
from rexecutor.model.where import Everything
from tests.faults.children import Child, children
from tests.faults.programs.idlers import Awaited
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at

POLLS = 1.2
"""The most claims a second of a node that polls each second, jittered by a tenth; heartbeats come on top."""
WAITED = timedelta(seconds=10)
"""How long the last job is waited for, at most: without notifications it is found by a poll."""
APART = 0.3
"""Seconds between two jobs, after which all are idle again."""


async def run(ground: Ground) -> Report:
    """Let them idle and count what they ask for; then enqueue single jobs and see who starts them."""
    processes, nodes = ground.size(5, 2), ground.size(10, 3)
    lease, seconds, jobs = ground.size(30, 6), ground.size(60, 2), ground.size(100, 5)
    async with children() as nursery, backend_at(ground.store) as backend:
        workers = [await nursery.start("idlers", ground.store, ground.history, nodes, lease) for _ in range(processes)]
        for worker in workers:
            assert await worker.answer() == "ready"
        await asyncio.sleep(1)  # all have claimed once
        before, cpu = await asked(workers), cpu_of(workers)
        begun = time.monotonic()
        await asyncio.sleep(seconds)
        idle = time.monotonic() - begun
        after, cpu = await asked(workers), cpu_of(workers) - cpu
        handles: list[JobHandle[None, Any]] = []
        enqueued: dict[int, float] = {}
        for _ in range(jobs):
            at = time.monotonic()
            handles.append(await Awaited.builder().enqueue(backend=backend))
            enqueued[handles[-1].id] = at
            await asyncio.sleep(APART)
        await handles[-1].wait(WAITED)
        woken = await asked(workers)
        took = time.monotonic() - begun - idle
        lines = ground.lines()
        records = await backend.query(Everything(), limit=jobs)
        report = Report(enqueued=jobs, acknowledged=len(enqueued))
        await count_jobs(report, backend, enqueued, lines)
    count_runs(report, lines)
    rates = {name: (after[name] - before[name]) / idle / (processes * nodes) for name in sorted(after)}
    pickups = sorted(line.at - enqueued[line.job_id] for line in lines)
    claims = max(record.claims for record in records)
    rate = rates["transactions"]
    more = (woken["transactions"] - after["transactions"] - rate * processes * nodes * took) / jobs
    most = POLLS + HEARTBEATS_PER_LEASE / lease + 1 / idle  # one more if the time begins and ends just so
    report.figures = {
        "nodes": processes * nodes,
        **{f"idle_{name}_per_s_and_node": round(value, 2) for name, value in rates.items()},
        "idle_cpu_percent_per_node": round(100 * cpu / idle / (processes * nodes), 2),
        "claims_per_job_max": claims,
        "transactions_more_per_job": round(more, 1),
        "pickup_p50_ms": round(1000 * median(pickups), 1),
        "pickup_max_ms": round(1000 * pickups[-1], 1),
    }
    report.expect(f"{rate:.2f} transactions a second and node, {most:.2f} at the most expected", rate <= most)
    report.expect(f"a job was claimed {claims} times, once expected", claims == 1)
    report.expect("every job has run", report.executed == jobs)
    report.expect("each job started within the poll interval", pickups[-1] <= POLLS)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def asked(workers: list[Child]) -> Counter[str]:
    """Return the number of their requests to the store."""
    total = Counter[str]()
    for worker in workers:
        total.update(await worker.ask("count"))
    return total


def cpu_of(workers: list[Child]) -> float:
    """Return how long all of them have used a processor."""
    return sum(worker.cpu_seconds for worker in workers)


SCENARIO = Scenario("S16", "many idle workers, then one job", ("Latency", "Start"), run)
