"""S17: very many executors on one worker."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from rexecutor import enqueue_many
from tests.faults.children import Children, children
from tests.faults.programs.many_executors import numbered
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at

FEW = 10
WITH_JOBS = 100
SLOWEST_START = 5.0


@dataclass
class Seen:
    """What one worker did."""

    executors: int
    start_s: float = 0.0
    idle_s: float = 0.0
    idle: Counter[str] = field(default_factory=Counter[str])
    cpu_s: float = 0.0
    jobs_per_s: float = 0.0
    peak_mib: float = 0.0
    ids: list[int] = field(default_factory=list[int])

    def rate(self, what: str) -> float:
        """Return how often it asked for something in a second without jobs."""
        return self.idle[what] / self.idle_s


async def run(ground: Ground) -> Report:
    """Watch a worker with 10 executors, then one with 10,000: idle, and with jobs for up to 100 of them."""
    most_executors = ground.size(10_000, 3_000)
    async with children() as nursery:
        few, many = [await watched(ground, nursery, executors) for executors in (FEW, most_executors)]
    ids, lines = [*few.ids, *many.ids], ground.lines()
    report = Report(enqueued=len(ids), acknowledged=len(ids))
    count_runs(report, lines)
    async with backend_at(ground.store) as backend:
        await count_jobs(report, backend, ids, lines)
    for seen in (few, many):
        report.figures |= {
            f"start_s_{seen.executors}": round(seen.start_s, 2),
            f"idle_transactions_per_s_{seen.executors}": round(seen.rate("transactions"), 2),
            f"idle_statements_per_s_{seen.executors}": round(seen.rate("statements"), 2),
            f"idle_cpu_percent_{seen.executors}": round(100 * seen.cpu_s / seen.idle_s, 2),
            f"jobs_per_s_{seen.executors}": round(seen.jobs_per_s),
            f"peak_mib_{seen.executors}": seen.peak_mib,
        }
    # In a short time one poll, and one heartbeat, more or less.
    most = 1.1 * few.rate("transactions") + 2 / few.idle_s
    asks = many.rate("transactions")
    report.expect(
        f"{asks:.2f} transactions a second with {most_executors} executors, {most:.2f} at the most", asks <= most
    )
    report.expect(f"started in {many.start_s:.1f} s", many.start_s <= SLOWEST_START)
    report.expect("every job has run", report.executed == report.enqueued)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def watched(ground: Ground, nursery: Children, executors: int) -> Seen:
    """Start a worker; count what it asks for without jobs, then see it run some."""
    seen = Seen(executors)
    worker = await nursery.start("many_executors", ground.store, ground.history, executors)
    seen.start_s = await worker.answer()
    await asyncio.sleep(0.5)  # it has claimed once
    before, cpu = Counter[str](await worker.ask("count")), worker.cpu_seconds
    begun = time.monotonic()
    await asyncio.sleep(ground.size(30, 1))
    seen.idle = Counter[str](await worker.ask("count"))
    seen.idle.subtract(before)
    seen.idle_s, seen.cpu_s = time.monotonic() - begun, worker.cpu_seconds - cpu
    step = max(executors // WITH_JOBS, 1)
    builders = [numbered(number).builder() for number in range(0, executors, step)] * ground.size(100, 10)
    already = len(ground.lines())
    async with backend_at(ground.store) as backend:
        begun = time.monotonic()
        seen.ids = [handle.id for handle in await enqueue_many(builders, backend=backend)]
        async with asyncio.timeout(60):
            while len(ground.lines()) < already + len(builders):
                await asyncio.sleep(0.01)
        seen.jobs_per_s = len(builders) / (time.monotonic() - begun)
    seen.peak_mib = worker.peak_mib
    await worker.stop()
    return seen


SCENARIO = Scenario("S17", "10,000 executors on one worker", ("Latency", "Delivery"), run)
