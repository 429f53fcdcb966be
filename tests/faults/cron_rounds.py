"""Cron on nodes that are killed and paused: `python -m tests.faults.cron_rounds --seconds 60`.

Processes share a store and a schedule that ticks each second. One after the other is killed and replaced, or stopped
and continued. Every tick of the time must have exactly one job. Prints one JSON line; exits 1 otherwise.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

from rexecutor import Executor, Job, Rexecutor
from rexecutor.where import Everything
from tests.faults.processes import ROOT
from tests.faults.stores import KINDS, backend_at, temporary_store

LEASE = timedelta(seconds=2)


class Ticking(Executor[None]):
    """What each tick enqueues."""

    name = "ticking"

    async def execute(self, job: Job[None]) -> None: ...


async def start(store: str) -> asyncio.subprocess.Process:
    """Start a node, and wait until it is up: else all might be starting when a tick falls, which nobody then owes."""
    command = (sys.executable, "-m", "tests.faults.cron_rounds", "--node", store)
    node = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert node.stdout is not None
    await node.stdout.readline()
    return node


async def be_node(store: str) -> None:
    """Be a node until a signal comes."""
    node = Rexecutor(backend_at(store), lease=LEASE).with_cron_executor(Ticking, "* * * * * *")
    running = asyncio.ensure_future(node.run_until_signal())
    async with backend_at(store) as backend:
        while not await backend.schedules():
            await asyncio.sleep(0.05)
    print("up", flush=True)
    await running


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


async def run(store: str, *, seconds: float, nodes: int, seed: int) -> dict[str, Any]:
    """Let them tick; answer what came of it."""
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
        "seed": seed,
    }


def main() -> int:
    """Run as the command line says; answer the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=KINDS, default=KINDS[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--node", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node is not None:
        asyncio.run(be_node(options.node))
        return 0
    with temporary_store(options.store) as (store, _):
        result = asyncio.run(run(store, seconds=options.seconds, nodes=options.nodes, seed=options.seed))
    print(json.dumps({"store": options.store, **result}))
    return 1 if result["missed"] or result["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
