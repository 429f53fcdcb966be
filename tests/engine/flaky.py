"""A store that fails, before or after it did what was asked."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Literal

from rexecutor import BackendError, Executor, InMemoryBackend, Job
from rexecutor.backend.messages import Claim, Demand, Heartbeat, Node
from rexecutor.model.job import JobId, NodeId
from rexecutor.model.outcomes import Settlement
from rexecutor.testing import FakeClock

Moment = Literal["before", "after"]


class Flaky(InMemoryBackend):
    """Fails the next calls of a verb, before the work is done or after."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__(clock=clock)
        self.failing: dict[str, list[Moment]] = {"claim": [], "settle": [], "heartbeat": []}
        self.poison: set[JobId] = set()
        self.beaten = threading.Event()
        self.hung = threading.Event()
        self.hung.set()
        self.claiming = asyncio.Event()
        self.may_claim = asyncio.Event()
        self.may_claim.set()

    def _next(self, verb: str) -> Moment | None:
        return self.failing[verb].pop(0) if self.failing[verb] else None

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        moment = self._next("claim")
        if moment == "before":
            raise BackendError("no connection")
        claim = await super().claim(demand, node_id)
        if claim.jobs:
            self.claiming.set()
            await self.may_claim.wait()
        if moment == "after" and claim.jobs:
            raise BackendError("connection cut before the answer")
        if moment == "after":
            self.failing["claim"].insert(0, "after")
        return claim

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        moment = self._next("settle")
        if moment == "before" or self.poison & {settlement.job_id for settlement in settlements}:
            raise BackendError("no connection")
        refused = await super().settle(settlements)
        if moment == "after":
            raise BackendError("connection cut before the answer")
        return refused

    def heartbeat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        if self._next("heartbeat"):
            self.beaten.set()
            raise BackendError("no connection")
        self.hung.wait(20)
        return super().heartbeat(node, rescues=rescues)


class Recorder(Executor[int]):
    name = "recorder"
    max_attempts = 1

    def __init__(self) -> None:
        self.ran: list[int] = []

    async def execute(self, job: Job[int]) -> None:
        self.ran.append(job.data)
