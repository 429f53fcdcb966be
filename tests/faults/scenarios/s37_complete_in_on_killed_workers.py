"""S37: jobs that count in the transaction that completes them, on workers that are killed and paused."""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any, LiteralString, cast

import psycopg

from rexecutor import Backend, Where, enqueue_many
from rexecutor.model.job import JobId
from tests.faults.children import Child, Children, children
from tests.faults.programs.counting import LEASE, Counting
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

WORKERS = 4
BATCH = 20


async def run(ground: Ground) -> Report:
    """Kill and pause workers at random for a while; then let all jobs end, and count."""
    chance = random.Random(ground.seed)
    tables(ground.store)
    figures = {"seconds_of_faults": ground.size(600, 4), "kills": 0, "pauses": 0}
    async with children() as family, backend_at(ground.store) as backend:
        working = [await family.start("counting", ground.store) for _ in range(WORKERS)]
        ids: list[JobId] = []
        ends = asyncio.get_running_loop().time() + figures["seconds_of_faults"]
        upsetting = asyncio.ensure_future(upset(family, working, chance, figures, ground))
        while asyncio.get_running_loop().time() < ends:
            if await waiting(backend) < 3 * BATCH:
                batch = [Counting.builder().with_data(ground.store)] * BATCH
                ids += [handle.id for handle in await enqueue_many(batch, backend=backend)]
            await asyncio.sleep(0.1)
        upsetting.cancel()
        await asyncio.gather(upsetting, return_exceptions=True)
        for child in working:
            child.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while await waiting(backend):
                await asyncio.sleep(0.1)
        statuses = {str(count.status): count.jobs for count in await backend.count()}
        claims = [record.claims for job_id in ids[::97] for record in await backend.query(Where.id_equals(job_id))]
    counter, notes = counted(ground.store)
    report = Report(enqueued=len(ids), acknowledged=len(ids), executed=len(set(notes)), lost=len(set(ids) - set(notes)))
    report.unexpected = len(set(notes) - set(ids))
    report.figures = {**figures, "counter": counter, "counted_twice": len(notes) - len(set(notes))}
    report.figures["claims_per_job_max_of_some"] = max(claims, default=0)
    report.expect(f"the counter is {counter}, and there were {len(ids)} jobs", counter == len(ids))
    report.expect(f"all are complete: {statuses}", set(statuses) == {"complete"})
    report.expect("no job was counted twice", len(notes) == len(set(notes)))
    report.expect("somebody was killed and somebody paused", bool(figures["kills"] and figures["pauses"]))
    report.expect_no("lost", "unexpected")
    return report


async def waiting(backend: Backend) -> int:
    """Return how many jobs have not ended."""
    return sum(count.jobs for count in await backend.count() if not count.status.has_ended)


async def upset(
    family: Children, working: list[Child], chance: random.Random, figures: dict[str, int], ground: Ground
) -> None:
    """Kill one and start another in its place, or pause one for up to twice its lease; again and again."""
    while True:
        await asyncio.sleep(chance.uniform(0.1, 1))
        place = chance.randrange(WORKERS)
        victim = working[place]
        if chance.random() < 0.5:
            figures["kills"] += 1
            victim.process.kill()
            await victim.process.wait()
            working[place] = await family.start("counting", ground.store)
        else:
            figures["pauses"] += 1
            victim.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0.2, 2) * LEASE.total_seconds())
            victim.process.send_signal(signal.SIGCONT)


def tables(store: str) -> None:
    """Make the counter, and the table of what has been counted: without a constraint, which would hide a fault."""
    make = ["CREATE TABLE counted (number bigint)", "INSERT INTO counted VALUES (0)", "CREATE TABLE done (job bigint)"]
    execute(store, [f"DROP TABLE IF EXISTS {name}" for name in ("counted", "done")] + make)


def counted(store: str) -> tuple[int, list[JobId]]:
    """Return the counter, and the jobs that were noted, each as often as it was noted."""
    ((number,),) = execute(store, ["SELECT number FROM counted"])
    return number, [row[0] for row in execute(store, ["SELECT job FROM done"])]


def execute(store: str, commands: Sequence[str]) -> list[tuple[Any, ...]]:
    """Execute the commands on a connection of their own, and return the rows of the last."""
    url, _, schema = store.partition("#")
    if not schema:
        with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
            return [connection.execute(command).fetchall() for command in commands][-1]
    with psycopg.connect(url) as connection:
        cursors = [connection.execute(cast("LiteralString", command)) for command in commands]
        return cursors[-1].fetchall() if cursors[-1].description else []


SCENARIO = Scenario(
    "S37", "complete_in on workers that are killed and paused", ("Exactly-once effect",), run, owns_server=True
)
