"""S10: one worker of three is cut off from the server for longer than its lease; nothing says so, nothing comes."""

import asyncio
import math
import random

from rexecutor import JobStatus, enqueue_many
from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId
from tests.faults.outcomes import doubled, seen, watch
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.workers import FENCED, Member, Workers, as_runs, has_ended, started, until, worker_processes

LONG = 10
"""Jobs that the worker runs when it is cut off."""
FEW = ("--slots", "2")
"""Of the other two: a little less than comes is what they do, so that there is work for the worker that is back."""


async def run(ground: Ground) -> Report:
    """Swallow all that one worker and the server say to each other while jobs come and go; then heal that."""
    lease, partition = (30.0, 60.0) if ground.is_full else (1.2, 3.0)
    url, _, schema = ground.store.partition("#")
    watch(ground.store)
    options = ("--lease", str(lease), "--pace", str(30 / lease))
    with Proxy(url) as proxy:
        store = f"{proxy.url}{'' if ground.is_full else ' connect_timeout=2'}#{schema}"
        async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
            lone = await workers.joined(*options, store=store)
            long = [Tasked.builder().with_data(Task("linger", partition * 2))] * LONG
            ids = [handle.id for handle in await enqueue_many(long, backend=backend)]
            await workers.until(lambda lines: len(started(lines)) == LONG, 20)
            for _ in range(2):
                await workers.joined(*options, *FEW)
            producing = asyncio.ensure_future(produce(backend, ids))
            await asyncio.sleep(lease / 6 * (1 + random.Random(ground.seed).random()))
            begun, healed = await cut_off(proxy, lone, ground, partition)
            producing.cancel()
            await asyncio.wait((producing,))
            report = await counted(ground, workers, backend, ids)
            await until(lambda: has_ended(ground.lines(), lone.pid), 10)
            judge(report, ground, lone, begun, healed)
    report.figures |= {"lease_s": lease, "partition_s": partition}
    report.expect("fenced itself within 25/30 of the lease and 1 s", report.figures["fenced_s"] <= lease * 25 / 30 + 1)
    return report


async def produce(backend: Backend, ids: list[JobId]) -> None:
    """Enqueue short jobs, one after the other."""
    while True:
        ids.append((await Tasked.builder().with_data(Task("sleep", 0.1)).enqueue(backend=backend)).id)
        await asyncio.sleep(0.02)


async def cut_off(proxy: Proxy, lone: Member, ground: Ground, seconds: float) -> tuple[float, float]:
    """Return when the worker was cut off and when it was connected again, as soon as it works again."""
    now = asyncio.get_running_loop().time
    proxy.is_silent, begun = True, now()
    await asyncio.sleep(seconds)
    proxy.is_silent, healed = False, now()
    await until(lambda: any(line.at > healed for line in started(ground.lines(), lone.pid)), 60)
    return begun, healed


async def counted(ground: Ground, workers: Workers, backend: Backend, ids: list[JobId]) -> Report:
    """Return the counts when all jobs are done."""
    async with asyncio.timeout(120):
        while {count.status for count in await backend.count()} != {JobStatus.COMPLETE}:
            await asyncio.sleep(0.05)
    lines = as_runs(ground.lines())
    report = Report(enqueued=len(ids), acknowledged=len(ids))
    count_runs(report, lines)
    await count_jobs(report, backend, ids, lines)
    report.figures["rescued"] = sum(member.rescued() for member in workers.members)
    return report


def judge(report: Report, ground: Ground, lone: Member, begun: float, healed: float) -> None:
    """Fill in what became of the worker that was cut off, and of what it did meanwhile."""
    found = seen(ground.store)
    runs = [line for line in ground.lines() if line.pid == lone.pid]
    rescued = {(one.job_id, one.claims) for one in found if one.is_rescue}
    report.late_outcomes = len(rescued & {(line.job_id, line.claims) for line in runs if line.what != "start"})
    fenced = [at - begun for at, _ in lone.said(FENCED) if begun < at < healed]
    resumed = [line.at - healed for line in runs if line.what == "start" and line.at > healed]
    report.recovery_s = round(min(resumed, default=math.inf), 2)
    report.figures |= {
        "fenced_s": round(min(fenced, default=math.inf), 2),
        "cancelled_by_the_fence": lone.cancelled_by_fence(),
        "late_outcomes_recorded": doubled(found),
    }
    fence = begun + min(fenced, default=math.inf)
    late = [line for line in runs if line.what == "start" and fence < line.at < healed]
    report.expect("it fenced itself once while it was cut off", len(fenced) == 1)
    report.expect("it began nothing between its fence and the healing", not late)
    report.expect("what it ran was cancelled", report.figures["cancelled_by_the_fence"] >= LONG)
    report.expect("no late outcome was recorded", report.figures["late_outcomes_recorded"] == 0)
    report.expect("its jobs came to others", (report.late_outcomes or 0) >= LONG)
    report.expect("it resumed within 5 s", report.recovery_s <= 5)
    report.expect_no("lost", "unexpected", "duplicate_starts")


SCENARIO = Scenario(
    "S10", "one worker of three is cut off, and back", ("Delivery", "Lease", "Database outage"), run, kinds=["postgres"]
)
