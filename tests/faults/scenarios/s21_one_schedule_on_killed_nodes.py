"""S21: a schedule on nodes that are killed and paused.

Processes share a store and a schedule that ticks each second. One after the other is killed and replaced, or stopped
and continued. Every tick of the time must have exactly one job.
"""

import asyncio
import random
import signal
import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

from rexecutor.model.where import Everything
from tests.faults.processes import ROOT
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at

PROGRAM = "tests.faults.programs.ticking"


async def run(ground: Ground) -> Report:
    """Let several nodes tick each second; kill, replace, stop and continue them."""
    nodes = ground.size(5, 2)
    report = Report(figures=await tick(ground.store, seconds=ground.size(1_000, 6), nodes=nodes, seed=ground.seed))
    for name in ("missed", "doubled", "unexpected"):
        report.expect(f"{name} is {report.figures[name]}, 0 expected", report.figures[name] == 0)
    return report


async def tick(store: str, *, seconds: float, nodes: int, seed: int) -> dict[str, Any]:
    """Let nodes tick for a while and be upset, and return what came of it."""
    chance = random.Random(seed)
    counts = Counter[str]()
    processes = [await start(store) for _ in range(nodes)]
    try:
        async with backend_at(store) as backend:
            while not await backend.schedules():
                await asyncio.sleep(0.05)
            first = (await backend.schedules())[0].next_tick
            assert first is not None
            loop = asyncio.get_running_loop()
            ends = loop.time() + seconds
            while loop.time() < ends:
                await asyncio.sleep(chance.random())
                await upset(store, processes, chance, counts)
            last = first
            while (last - first).total_seconds() < seconds:  # the nodes that live make up for what is late
                await asyncio.sleep(0.1)
                last = (await backend.schedules())[0].last_tick or first
            moments = Counter(record.scheduled_at for record in await backend.query(Everything(), limit=10**6))
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes))
    expected = {first + timedelta(seconds=number) for number in range(int((last - first).total_seconds()) + 1)}
    return {
        "ticks": len(expected),
        "missed": len(expected - moments.keys()),
        "doubled": sum(number - 1 for number in moments.values()),
        "unexpected": len([moment for moment in moments if moment.microsecond]),
        "nodes": nodes,
        **counts,
    }


async def start(store: str) -> asyncio.subprocess.Process:
    """Start a node, and wait until it is up. Otherwise all might be starting at a tick, and no node would owe it."""
    command = (sys.executable, "-m", PROGRAM, store)
    node = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert node.stdout is not None
    await node.stdout.readline()
    return node


async def upset(
    store: str, nodes: list[asyncio.subprocess.Process], chance: random.Random, counts: Counter[str]
) -> None:
    """Do something to one of the nodes."""
    place = chance.randrange(len(nodes))
    victim = nodes[place]
    if chance.random() < 0.5:
        counts["kills"] += 1
        victim.kill()
        await victim.wait()
        nodes[place] = await start(store)
    else:
        counts["pauses"] += 1
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1 + 2 * chance.random())
        victim.send_signal(signal.SIGCONT)


SCENARIO = Scenario("S21", "one schedule on nodes that are killed and paused", ("Cron",), run)
