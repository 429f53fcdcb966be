"""One seed: bursts of work and faults, quiet after each, and hours in which nothing runs."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tests.simulation.clients import Client
from tests.simulation.loop import SimulationError
from tests.simulation.nodes import SimulatedNode, simulated_engine
from tests.simulation.settings import Options, World
from tests.simulation.workload import Acting

QUIET: Final = 300.0
"""Seconds in which all jobs must have ended once all is well again."""

IDLE: Final = 5.0
"""Seconds in which nodes are watched while there is nothing to do."""

MOST_CLAIMS: Final = 60
"""How often a node may ask for jobs in that time: by its polling, and because of the ticks of schedules."""


@dataclass
class Result:
    """What a seed came to."""

    seed: int
    broken: str | None
    digest: str
    simulated_s: float
    busy_s: float
    steps: int
    jobs: int
    starts: int
    overlaps: int
    counts: Counter[str]
    trace: list[str] = field(repr=False)


def simulate(seed: int, options: Options | None = None) -> Result:
    """Run the seed to its end, or to the first invariant that does not hold."""
    world = World(seed, options or Options())
    checker, loop = world.checker, world.loop
    director = Director(world)
    try:
        with simulated_engine(world):
            try:
                loop.run_until_complete(director.direct())
            except SimulationError as error:
                checker.expect(False, "I11", str(error))
            except RuntimeError as error:
                if "stopped before Future completed" not in str(error):
                    raise
            checker.expect(not loop.unhandled, "I10", "; ".join(loop.unhandled[:3]))
            result = Result(
                seed,
                checker.broken,
                world.digest(),
                loop.time(),
                director.busy,
                loop.steps,
                world.store._last_id,
                checker.starts,
                checker.overlaps,
                world.counts,
                list(world.trace),
            )
            director.bury()
    finally:
        loop.close()
    return result


class Director:
    """Decides what goes wrong, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance("director", 0)
        self.nodes: dict[int, SimulatedNode] = {}
        self.busy = 0.0
        self._is_calm = True
        self._all: list[SimulatedNode] = []
        self._clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def direct(self) -> None:
        """Run bursts with hours between them."""
        loop = self.world.loop
        self._clients = [Client(self.world, number) for number in range(2)]
        for burst in range(self.chance.choice([1, 1, 2])):
            if burst:
                self.world.tell("idle")
                await loop.sleep(self.chance.uniform(3600, 24 * 3600))
            begun = loop.time()
            for place in range(self.world.nodes):
                await self._start(place)
            await self._burst()
            await self._calm()
            await self._check_quiet("calm")
            await self._check_idle()
            await self._stop_all()
            self.busy += loop.time() - begun

    def bury(self) -> None:
        """Clear away what never ended."""
        self.world.loop.bury()
        for node in self._all:
            node.domain.end_threads()

    async def _start(self, place: int) -> None:
        node = SimulatedNode(self.world, place)
        self._all.append(node)
        self.nodes[place] = node
        await node.start()

    async def _burst(self) -> None:
        loop, chance, lease = self.world.loop, self.chance, self.world.lease.total_seconds()
        self._is_calm = False
        until = loop.time() + chance.uniform(5, 10) * min(lease, 10)
        clients = [
            loop.create_task(client.work(until), context=client.domain.context.copy()) for client in self._clients
        ]
        while loop.time() < until:
            await loop.sleep(chance.expovariate(5 / min(lease, 10)))
            await self._fault(chance.choice(list(self.nodes)))
        await asyncio.wait(clients)
        for client in clients:
            client.result()

    async def _fault(self, place: int) -> None:
        node, chance, lease = self.nodes[place], self.chance, self.world.lease.total_seconds()
        if not node.is_up:
            return
        match chance.choices(
            ["crash", "step", "pause", "block", "cut", "outage", "skew", "stop"], [3, 3, 3, 2, 3, 1, 2, 2]
        )[0]:
            case "crash":
                node.crash()
                self._later(self._replace(place))
            case "step":
                self.world.loop.at_step(chance.randrange(1, 200), lambda: self._crash_if_up(node))
            case "pause":
                node.pause(lease * chance.choice([0.2, 0.9, 1.1, 2.0]))
            case "block":
                node.pause(lease * chance.choice([0.2, 1.5]), only_loop=True)
            case "cut":
                self._cut([node], lease * chance.choice([0.1, 0.5, 1.0, 2.0]))
            case "outage":
                self._cut(list(self.nodes.values()), lease * chance.choice([0.1, 0.5, 1.5]))
            case "skew":
                self.world.counts["skews"] += 1
                node.clock.skew = timedelta(seconds=chance.choice([-3600, -1, 0, 1, 3600]))
            case _ if not node.is_stopping:
                self._later(self._restart(place, node))
            case _:
                pass

    def _crash_if_up(self, node: SimulatedNode) -> None:
        if node.is_up and not self._is_calm:
            node.crash()
            self._later(self._replace(node.place))

    def _cut(self, nodes: list[SimulatedNode], seconds: float) -> None:
        self.world.tell(f"cut {[node.id for node in nodes]} for {seconds:.2f} s")
        self.world.counts["cuts"] += 1
        for node in nodes:
            node.line.is_cut = True
            self.world.loop.call_later(seconds, setattr, node.line, "is_cut", False, context=self.world.outside)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self.world.loop.create_task(work, context=self.world.outside.copy()))

    async def _replace(self, place: int) -> None:
        await self.world.loop.sleep(self.chance.uniform(0, 2) * self.world.lease.total_seconds())
        await self._start(place)

    async def _restart(self, place: int, node: SimulatedNode) -> None:
        await node.stop(timedelta(seconds=self.chance.choice([0, 1, 25])))
        if self.nodes[place] is node and not node.domain.is_dead:
            await self._start(place)

    async def _calm(self) -> None:
        """End all faults."""
        self.world.tell("calm")
        self._is_calm = True
        while self._tasks:
            await self._tasks.pop()
        for node in self._all:
            node.line.sound()

    async def _check_quiet(self, since: str) -> None:
        """See that every job ends."""
        checker, loop = self.world.checker, self.world.loop
        until = loop.time() + QUIET
        while loop.time() < until and any(not one.status.has_ended for one in checker.jobs.values()):
            await loop.sleep(1.0)
        for record in checker.jobs.values():
            checker.expect(
                record.status.has_ended, "I1", f"{QUIET} s since {since}, job {record.id} has not ended: {record}"
            )

    async def _check_idle(self) -> None:
        """See that nodes with nothing to do let the store be, though a job waits for its time."""
        waiting = (
            await Acting.builder()
            .with_data("ok 0")
            .schedule_in(timedelta(seconds=IDLE))
            .enqueue(backend=self.world.store)
        )
        nodes = [node for node in self.nodes.values() if node.is_up]
        before = [node.backend.calls["claim"] for node in nodes]
        await self.world.loop.sleep(IDLE)
        for node, calls in zip(nodes, before, strict=True):
            asked = node.backend.calls["claim"] - calls
            self.world.checker.expect(
                asked <= MOST_CLAIMS, "I12", f"{node.id} asks {asked} times in {IDLE} idle seconds"
            )
        await self._check_quiet(f"job {waiting.id} came due")

    async def _stop_all(self) -> None:
        nodes = [node for node in self.nodes.values() if node.is_up]
        if nodes:
            await asyncio.gather(*(node.stop(timedelta(seconds=25)) for node in nodes))
