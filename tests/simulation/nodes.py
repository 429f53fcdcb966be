"""Nodes: real `Rexecutor`s, each in a simulated process that can be paused and killed."""

import asyncio
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from rexecutor import Rexecutor, clock
from rexecutor.engine import buffer, pace
from rexecutor.engine.lease import Lease
from rexecutor.telemetry.events import Event
from tests.simulation.chance import Chance
from tests.simulation.clock import NodeClock
from tests.simulation.green import GreenQueue, GreenThreading, ProcessDomain
from tests.simulation.invariants import SLACK, WATCH
from tests.simulation.link import LinkedBackend
from tests.simulation.loop import DOMAIN
from tests.simulation.settings import World
from tests.simulation.workload import crew


class SimulatedNode:
    """One process with one node. After a crash or a stop another takes its place."""

    def __init__(self, world: World, place: int) -> None:
        self.world = world
        self.place = place
        self.id = ""
        self.is_up = False
        self.clock = NodeClock(world.loop)
        self.line = world.line(f"line {len(world.store.bells)}", place)
        self.domain = ProcessDomain(f"place {place}")
        self.backend = LinkedBackend(world.store, world.loop, self.clock, self.line, self.domain)
        self.lease: Lease | None = None
        self.backend.knows_skew = world.options.knows_skew
        self.paused_until = 0.0
        self.is_stopping = False
        self._rexecutor: Rexecutor | None = None
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start it, in a process of its own."""
        await self.world.loop.create_task(self._start(), context=self.domain.context)

    async def _start(self) -> None:
        self._rexecutor = crew(Rexecutor(self.backend, max_concurrency=self.world.slots, lease=self.world.lease), self)
        await self._rexecutor.start()
        assert self._rexecutor._lifetime is not None
        node = self._rexecutor._lifetime.node
        assert node is not None
        self.id = node._node.id
        self.is_up = True
        self.world.tell(f"up {self.id} at place {self.place}")
        self.lease = node._lease
        self._guard(self.lease)

    def _guard(self, lease: Any) -> None:
        """Look, whenever the lease has been renewed, that the jobs end in time when that was the last renewal."""
        world, loop = self.world, self.world.loop
        trusted = lease._trust + min(lease.interval.total_seconds(), WATCH) + SLACK
        known: list[float | None] = [None]

        def look() -> None:
            if self.domain.is_dead or not self.is_up:
                return
            renewed: float | None = lease._renewed
            if renewed is not None and renewed != known[0]:
                known[0] = renewed
                loop.call_later(renewed + trusted - self.clock.monotonic(), check, renewed, context=world.outside)
            loop.call_later(lease.interval.total_seconds() / 3, look, context=world.outside)

        def check(renewed: float) -> None:
            if self.domain.is_dead or not self.is_up or lease._renewed != renewed:
                return
            if self.paused_until + WATCH + SLACK > loop.time():
                return
            untold = [run.job_id for run in world.checker.leases[self.id].running if run.obeys and not run.is_told]
            late = loop.time() - (renewed - self.clock.monotonic() + loop.time())
            world.checker.expect(not untold, "lease", f"{self.id} runs jobs {untold} {late:.1f} s after its renewal")
            if not lease.is_trusted:
                loop.call_later(WATCH, check, renewed, context=world.outside)

        look()

    @property
    def may_start(self) -> bool:
        """Whether a job may start on it: it trusts its lease, or it was paused so lately that it cannot know."""
        is_trusted = self.lease is not None and self.lease.is_trusted
        return is_trusted or self.world.loop.time() < self.paused_until + SLACK

    def crash(self) -> None:
        """Kill the process: nothing of it runs any more."""
        self.world.tell(f"crash {self.id}")
        self.world.counts["crashes"] += 1
        self._leave()
        self.world.loop.kill(self.domain)
        self.world.loop.kill(self.domain.thread)
        self.world.checker.crashed(self.id)
        self._ended.set()

    def pause(self, seconds: float, *, only_loop: bool = False) -> None:
        """Stop it as SIGSTOP does; or only its loop, as a job does that blocks."""
        what = "block" if only_loop else "pause"
        self.world.tell(f"{what} {self.id} for {seconds:.2f} s")
        self.world.counts[f"{what}s"] += 1
        loop = self.world.loop
        loop.pause(self.domain)
        if not only_loop:
            loop.pause(self.domain.thread)
        self.paused_until = loop.time() + seconds
        loop.call_later(seconds, self._resume, context=self.world.outside)

    def _resume(self) -> None:
        if self.world.loop.time() >= self.paused_until - SLACK and not self.domain.is_dead:
            self.world.tell(f"resume {self.id}")
            self.world.loop.resume(self.domain)
            self.world.loop.resume(self.domain.thread)

    async def stop(self, grace: timedelta) -> None:
        """Shut it down gracefully, and see that nothing is left of it."""
        assert self._rexecutor is not None
        if self.domain.is_dead:
            return
        self.is_stopping = True
        self.world.tell(f"stop {self.id}")
        self.world.counts["stops"] += 1
        shutdown = self._rexecutor.graceful_shutdown(grace)
        task: asyncio.Task[None] = self.world.loop.create_task(shutdown, context=self.domain.context)
        task.add_done_callback(lambda _: self._ended.set(), context=self.world.outside)
        await self._ended.wait()
        if self.domain.is_dead or not task.done():  # it was killed meanwhile, or as it ended
            return
        self._leave()
        error = None if task.cancelled() else task.exception()
        self.world.checker.expect(error is None, "I9", f"{self.id}: the shutdown raised {error!r}")
        self.world.tell(f"down {self.id}")
        await self._see_it_end()

    async def _see_it_end(self) -> None:
        await self.world.loop.sleep(self.world.patience)  # what hangs in a call is left to itself
        checker = self.world.checker
        swallowing = len(checker.leases[self.id].running)
        left = self.domain.pending
        checker.expect(len(left) <= swallowing, "I9", f"{self.id} has stopped, and left {left[:3]}")
        threads = self.domain.live_threads
        checker.expect(threads <= swallowing, "I9", f"{self.id} has stopped, and {threads} of its threads have not")

    def _leave(self) -> None:
        self.is_up = False
        self.backend.let_go()


@contextmanager
def simulated_engine(world: World) -> Generator[None]:
    """Have the engine's ids, chance, threads and log be those of the simulation."""

    def told(event: Event, **_: object) -> None:
        world.tell(f"event {type(event).__name__}")
        world.counts[type(event).__name__] += 1

    ids = iter(range(1, 1_000_000))
    with ExitStack() as patches:
        patches.enter_context(simulated_threads(world.chance("engine", 0)))
        patches.enter_context(patch("rexecutor.engine.node.unique_id", lambda: f"n{next(ids)}"))
        patches.enter_context(patch("rexecutor.telemetry.subscribers.log_event", told))
        if world.claims_far_ahead:
            patches.enter_context(patch.multiple(pace, WORK=50.0, SLOW_FOR=0.0))
            patches.enter_context(patch.object(buffer, "STAY", 2.0))
        yield


@contextmanager
def simulated_threads(chance: Chance) -> Generator[None]:
    """Have the engine's threads run in simulated processes, and its chance be this one."""
    with ExitStack() as patches:
        patches.enter_context(patch("rexecutor.engine.lease.threading", GreenThreading))
        patches.enter_context(patch("rexecutor.engine.threads.threading", GreenThreading))
        patches.enter_context(patch("rexecutor.engine.threads.SimpleQueue", GreenQueue))
        patches.enter_context(patch("rexecutor.background.Context", _context_of_the_process))
        patches.enter_context(patch.object(clock, "_RANDOM", chance))
        yield


def _context_of_the_process() -> Context:
    """Return a context that is empty, except for the process in which it is made."""
    context = Context()
    context.run(DOMAIN.set, DOMAIN.get())
    return context
