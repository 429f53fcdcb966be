"""S19: the wall clocks of workers are an hour off, and step."""

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rexecutor import Backend, enqueue_many
from rexecutor.model.job import JobRecord
from rexecutor.model.status import OPEN
from rexecutor.model.where import Everything, StatusIn
from tests.faults.children import Child, Children, children
from tests.faults.history import Line
from tests.faults.programs.busy import Busy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.wrong_clocks import WrongClock, lacks

LEASE = 1.5
HOUR = timedelta(hours=1)
NONE = timedelta(0)
LATE = 1.5
"""Seconds after its time within which a job must start: the poll interval, and a little for a busy machine."""
STEPS = (HOUR, -HOUR, NONE, HOUR)
"""Where the stepping clock goes, one after the other. It ends ahead, where all that was enqueued is due."""


async def run(ground: Ground) -> Report:
    """Let the clocks step while jobs run for longer than a lease and others fall due."""
    is_postgres = "#" in ground.store
    jobs = ground.size(2_000, 60)
    pause = ground.size(100, 7) / 10
    async with children() as nursery, backend_at(ground.store) as backend:
        clocks, workers = await started(ground, nursery, in_fresh_context=is_postgres)
        offset = time.time() - time.monotonic()
        due, ids = await enqueue(ground, backend, jobs, pause * len(STEPS) / 2)
        for step in STEPS:
            await asyncio.sleep(pause)
            clocks[-1].set(step)
        await asyncio.gather(*(worker.ask("rest") for worker in workers))
        async with asyncio.timeout(60):
            while await backend.query(StatusIn(OPEN), limit=1):
                await asyncio.sleep(0.05)
        lines = ground.lines()
        records = await everything(backend)
        report = Report(enqueued=len(records))
        ids += [line.job_id for line in lines if line.what == "ack"]
        report.acknowledged = len(ids)
        count_runs(report, lines)
        await count_jobs(report, backend, ids, lines)
    early, rescued = judged(records)
    report.figures = {
        "workers": len(workers),
        "clocks": "each its own: +1 h, -1 h, stepping" if is_postgres else "one for all, stepping",
        "steps": len(STEPS),
        "lease_s": LEASE,
        "early_starts": early,
        "false_rescues": rescued,
    }
    report.expect(f"{early} jobs were started early, by the store's clock", early == 0)
    report.expect(f"{rescued} jobs of living nodes were rescued", rescued == 0)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping", "recovered")
    if is_postgres:
        add_delays(report, lines, {job_id: moment.timestamp() - offset for job_id, moment in due.items()})
    return report


async def started(ground: Ground, nursery: Children, *, in_fresh_context: bool) -> tuple[list[WrongClock], list[Child]]:
    """Start three workers that enqueue too: with a clock each, or with one, the last, for all."""
    offsets = (HOUR, -HOUR, NONE) if in_fresh_context else (NONE,)
    clocks = [WrongClock(ground.folder / f"clock-{place}", offset) for place, offset in enumerate(offsets)]
    workers = [
        await nursery.start("busy", ground.store, ground.history, LEASE, 1, env=clocks[place % len(clocks)].environment)
        for place in range(3)
    ]
    for worker in workers:
        assert await worker.answer() == "ready"
    return clocks, workers


async def enqueue(ground: Ground, backend: Backend, jobs: int, seconds: float) -> tuple[dict[int, datetime], list[int]]:
    """Enqueue jobs that fall due in the course of the run; some take longer than a lease. Answer when, and all ids."""
    chance = random.Random(ground.seed)
    now = datetime.now(UTC)
    moments = [now + timedelta(seconds=chance.uniform(0, seconds)) for _ in range(jobs)]
    builders = [
        Busy.builder().with_data(chance.choice((0.0, 0.0, 0.1, 1.5 * LEASE))).schedule_at(moment) for moment in moments
    ]
    ids = [handle.id for handle in await enqueue_many(builders, backend=backend)]
    return dict(zip(ids, moments, strict=True)), ids


async def everything(backend: Backend) -> list[JobRecord]:
    """Return all jobs there are."""
    found: list[JobRecord] = []
    while page := await backend.query(Everything(), limit=10_000, after=found[-1].id if found else None):
        found += page
    return found


def judged(records: Sequence[JobRecord]) -> tuple[int, int]:
    """Return how many jobs were started before their time, and how many were taken from a node that lived."""
    early = sum(one.attempted_at is not None and one.attempted_at < one.scheduled_at for one in records)
    return early, sum(one.losses > 0 for one in records)


def add_delays(report: Report, lines: Sequence[Line], due: dict[int, float]) -> None:
    """Compare with the database's clock, which is the machine's, when the jobs' code began."""
    delays = sorted(line.at - due[line.job_id] for line in lines if line.what == "start" and line.job_id in due)
    report.figures |= {"start_after_due_min_s": round(delays[0], 3), "start_after_due_max_s": round(delays[-1], 3)}
    report.expect(f"a job began {-delays[0]:.3f} s before it was due", delays[0] >= 0)
    report.expect(f"a job began {delays[-1]:.1f} s after it was due", delays[-1] <= LATE)


SCENARIO = Scenario("S19", "workers' clocks an hour off, and stepping", ("Time", "Lease"), run, lacks=lacks)
