"""How often a node asks its store. What each of these calls costs is counted in `test_costs.py`.

In virtual time, so that how long jobs and the store take is the same in each run.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor, enqueue_many
from rexecutor.backend.wakeups import Wakeups
from tests.costs.workloads import IDLE_MINUTE
from tests.fault_injector import FaultInjector
from tests.simulation.chance import chance_of
from tests.simulation.clock import NodeClock
from tests.simulation.green import ProcessDomain
from tests.simulation.loop import SimulationLoop
from tests.simulation.nodes import simulated_threads

TRIP = 0.002
"""Seconds until the store answers a claim or a settlement."""
JOBS = 1_000


class Timed(Executor[int]):
    """Takes a fixed time."""

    name = "timed"

    def __init__(self, loop: SimulationLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self.all_ended = loop.create_future()
        self._ended = 0

    async def execute(self, job: Job[int]) -> None:
        if self._seconds:
            await self._loop.sleep(self._seconds)
        self._ended += 1
        if self._ended == JOBS:
            self.all_ended.set_result(None)


class DistantStore(InMemoryBackend):
    """A store that is some way off, and wakes nobody: as on PostgreSQL, heartbeats are no reason to claim."""

    def __init__(self, loop: SimulationLoop) -> None:
        super().__init__(clock=NodeClock(loop))
        self._loop = loop
        self._wakeups = Unheard(self.clock)
        for verb in ("claim", "settle"):
            vars(self)[verb] = self._late(getattr(self, verb))

    def _late(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def late(*arguments: Any) -> Any:
            await self._loop.sleep(TRIP / 2)
            answer = await call(*arguments)
            await self._loop.sleep(TRIP / 2)
            return answer

        return late


class Unheard(Wakeups):
    def notify(self, *, is_end: bool = False) -> None:
        """Do nothing."""


def calls_of_node(slots: int, seconds: float, jobs: int) -> Counter[str]:
    """Return what a node asks its store while it runs the jobs, which take so long; or for a minute without jobs."""
    loop = SimulationLoop(chance_of(1, "order"), is_shuffled=False)
    backend, executor = DistantStore(loop), Timed(loop, seconds)
    calls = FaultInjector(backend).calls

    async def run() -> Counter[str]:
        await enqueue_many([Timed.new(number) for number in range(jobs)], backend=backend)
        rexecutor = Rexecutor(backend, max_concurrency=slots).with_executor(executor)
        await rexecutor.start()
        calls.clear()
        await (executor.all_ended if jobs else loop.sleep(60))
        asked = calls.copy()
        await rexecutor.graceful_shutdown(timedelta(seconds=10))
        return asked + Counter(settle=calls["settle"] - asked["settle"])

    try:
        with simulated_threads(chance_of(1, "engine")):
            return loop.run_until_complete(loop.create_task(run(), context=ProcessDomain("node").context))
    finally:
        loop.close()


def test_a_node_without_jobs_claims_once_a_second_and_sends_a_heartbeat_each_five() -> None:
    calls = calls_of_node(100, 0, 0)

    assert calls == {**IDLE_MINUTE, "wait_ready": calls["wait_ready"]}  # a wait in memory, which asks no store


# Bounds, and not exact numbers. How large a batch is depends on what has ended by then, so any change of the order in
# which the loop does things shifts these by one or two, and says nothing. The numbers now are four fifths of these.
@pytest.mark.parametrize(
    ("slots", "seconds", "claims", "settlements"),
    [(100, 0, 6, 6), (100, 0.001, 8, 9), (10, 0.001, 24, 66), (10, 0.05, 240, 360)],
)
def test_a_node_claims_and_settles_a_thousand_jobs_in_batches(
    slots: int, seconds: float, claims: int, settlements: int
) -> None:
    calls = calls_of_node(slots, seconds, JOBS)

    assert calls["claim"] <= claims
    assert calls["settle"] <= settlements
    assert set(calls) <= {"claim", "settle", "heartbeat", "wait_ready"}
