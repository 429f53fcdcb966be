"""The jobs of a simulation: what they are told to do, and what the world finds."""

import asyncio
from datetime import timedelta
from typing import Any, Final, Protocol

from rexecutor import (
    Cancel,
    ExecutionResult,
    Executor,
    Job,
    JobStatus,
    Pruner,
    PrunerConfig,
    Replace,
    Rexecutor,
    Snooze,
    UniquenessCriteria,
)
from tests.simulation.green import block_job
from tests.simulation.invariants import Run
from tests.simulation.settings import World

SECOND: Final = timedelta(seconds=1)


class Failure(Exception):  # noqa: N818 - what a job raises
    """What a job is told to raise."""


class Node(Protocol):
    """What the jobs ask of the node that runs them."""

    id: str
    world: World

    @property
    def may_start(self) -> bool:
        """Whether jobs may begin: the node's lease can be trusted."""
        ...


class Told(Executor[str]):
    """Does what its data say: `ok 1.5|fail 0` is to end after 1.5 s at its first run, and to fail at all others."""

    max_attempts = 4

    def __init__(self, node: Node) -> None:
        self._node = node

    def _begin(self, job: Job[str]) -> tuple[Run, str, float]:
        """Note that the run has begun. Return the run, what it is to do and for how long."""
        acts = job.data.split("|")
        checker = self._node.world.checker
        act, _, seconds = acts[min(checker.runs[job.id], len(acts) - 1)].partition(" ")
        checker.expect(self._node.may_start, "lease", f"job {job.id} starts on {self._node.id}, whose lease is lost")
        obeys = act != "swallow" and not self.blocking
        return checker.begin(self._node.id, job, obeys=obeys), act, float(seconds)

    def _end(self, run: Run, act: str, seconds: float) -> ExecutionResult:
        """Take note that the run ends; do what it is to do in the end."""
        self._node.world.checker.end(run, "ok" if act == "swallow" else act)
        match act:
            case "fail":
                raise Failure("as told")
            case "snooze":
                return Snooze(timedelta(seconds=seconds / 2))
            case "cancel":
                return Cancel("as told")
            case _:
                return None

    def backoff(self, job: Job[str]) -> timedelta:
        return SECOND * job.attempt

    def timeout(self, job: Job[str]) -> timedelta | None:
        return 4 * SECOND if "slow" in job.tags else None


class Blocking(Told):
    """Does so in a thread."""

    name = "blocking"
    blocking = True

    def execute(self, job: Job[str]) -> ExecutionResult:
        run, act, seconds = self._begin(job)
        if seconds:
            block_job(seconds)
        return self._end(run, act, seconds)


class Acting(Told):
    """Does so in the loop."""

    name = "acting"

    async def execute(self, job: Job[str]) -> ExecutionResult:
        run, act, seconds = self._begin(job)
        try:
            if act == "swallow":
                await self._swallow(seconds, run)
            elif seconds:
                await self._node.world.loop.sleep(seconds)
        except asyncio.CancelledError:
            run.is_told = True
            self._node.world.checker.end(run, "cancelled")
            raise
        return self._end(run, act, seconds)

    async def _swallow(self, seconds: float, run: Run) -> None:
        """Take so long, whoever cancels."""
        loop = self._node.world.loop
        until = loop.time() + seconds
        while loop.time() < until:
            try:
                await loop.sleep(until - loop.time())
            except asyncio.CancelledError:
                run.is_told = True


class Once(Acting):
    """Is never started again after a loss."""

    name = "once"
    max_attempts = 1


class Keyed(Acting):
    """At most one that has not ended for each key."""

    name = "keyed"
    max_concurrency = 2


class Windowed(Acting):
    """At most one within ten seconds."""

    name = "windowed"
    uniqueness_criteria = (
        UniquenessCriteria.by_executor().and_within(10 * SECOND).on_conflict(Replace.priority().and_data())
    )


class Ticking(Acting):
    """What schedules enqueue."""

    name = "ticking"
    max_attempts = 2


KINDS: Final[tuple[type[Told], ...]] = (Acting, Once, Keyed, Windowed, Blocking)


def crew(rexecutor: Rexecutor, node: Node) -> Rexecutor:
    """Give a node what all nodes run."""
    for kind in KINDS:
        rexecutor.with_executor(kind(node))
    ticking = Ticking(node)
    data: Any = "ok 0.5"
    rexecutor.with_cron_executor(ticking, "*/3 * * * * *", data, id="tick-3", tags=["tick-3"])
    rexecutor.with_cron_executor(ticking, "* * * * *", data, id="tick-60", tags=["tick-60"])
    return rexecutor.with_job_pruner(
        PrunerConfig("*/15 * * * * *")
        .with_pruner(Pruner.max_length(5, JobStatus.COMPLETE))
        .with_pruner(Pruner.max_age(20 * SECOND, JobStatus.DISCARDED))
        .with_pruner(Pruner.max_age(20 * SECOND, JobStatus.CANCELLED).except_(Once))
    )
