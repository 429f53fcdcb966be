"""S4: outcomes are recorded, and the answer that says so never comes."""

import asyncio
import random
from collections import Counter

from rexecutor import JobStatus, enqueue_many
from tests.faults.cut_connections import CutConnections, holding
from tests.faults.outcomes import doubled, seen, watch
from tests.faults.programs.scripted_worker import Task, Tasked
from tests.faults.proxy import Proxy
from tests.faults.scenario import Ground, Report, Scenario, count_jobs, count_runs
from tests.faults.stores import backend_at
from tests.faults.workers import REFUSED, as_runs, worker_processes

WORKERS = 4
SETTLE = rb"\{(complete|failed)[,}]"
"""What a settle's parameters alone have in them: the kind of an outcome, in an array of texts."""


async def run(ground: Ground) -> Report:
    """Cut the connection of each settle for a while, after the statement and before its answer.

    A tenth of the jobs fails once, so that a failure which is counted twice would be seen.
    """
    jobs, seconds = (30_000, 10.0) if ground.is_full else (3_000, 1.5)
    chance = random.Random(ground.seed)
    url, _, schema = ground.store.partition("#")
    watch(ground.store)
    with Proxy(url) as proxy:
        cuts = CutConnections(proxy, holding(SETTLE))
        async with worker_processes(ground) as workers, backend_at(ground.store) as backend:
            tasks = [Task("fail") if number % 10 == 0 else Task("sleep", 0.05) for number in range(jobs)]
            chance.shuffle(tasks)
            for _ in range(WORKERS):
                await workers.joined("--slots", "25", store=f"{proxy.url}#{schema}")
            ids = [
                handle.id
                for first in range(0, jobs, 1_000)
                for handle in await enqueue_many(
                    [Tasked.builder().with_data(task) for task in tasks[first : first + 1_000]], backend=backend
                )
            ]
            await workers.until(lambda lines: len(lines) > jobs * chance.random() / 8, 60)
            cuts.begin()
            await asyncio.sleep(seconds)
            cuts.end()
            async with asyncio.timeout(300):
                while {count.status for count in await backend.count()} != {JobStatus.COMPLETE}:
                    await asyncio.sleep(0.1)
            lines = as_runs(ground.lines())
            report = Report(enqueued=jobs, acknowledged=len(ids), late_outcomes=len(workers.said(REFUSED)))
            count_runs(report, lines)
            report.recovered = None  # claims beyond the first are those of jobs that failed
            await count_jobs(report, backend, ids, lines)
    ended = Counter(one.status for one in seen(ground.store))
    del ended["scheduled"]  # jobs that were claimed ahead, and given back before they had begun
    report.figures = {
        "cut_for_s": seconds,
        "settles_cut": cuts.number,
        "double_outcomes": doubled(seen(ground.store)),
    }
    report.expect("no double outcome", report.figures["double_outcomes"] == 0)
    report.expect("an outcome each", ended == {"complete": jobs, "retryable": jobs // 10})
    report.expect("connections were cut", cuts.number >= WORKERS)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping", "late_outcomes")
    return report


SCENARIO = Scenario("S4", "settles cut off before their answer", ("Start", "Delivery"), run, kinds=["postgres"])
