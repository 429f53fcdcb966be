"""A node's connection to the store: slow, and not to be relied upon."""

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

from rexecutor import BackendError
from rexecutor.backend.base import Backend
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import (
    PAGE,
    Claim,
    Count,
    Demand,
    Heartbeat,
    Load,
    NewPause,
    Node,
    Pause,
    StoredNode,
    Ticked,
)
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import CancelAsked, Rerun, Settlement
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where
from tests.simulation.chance import Chance
from tests.simulation.clock import NodeClock
from tests.simulation.green import block
from tests.simulation.loop import Domain, SimulationLoop
from tests.simulation.store import Store

T = TypeVar("T")

_QUICK: Final = 0.02
"""Seconds that a request, or an answer, usually takes at most."""

_HINT: Final = 0.2
"""Seconds that a hint of a change takes at most; those on their way at one time are one."""

Failure = Literal["before", "after", "late"]

_FAILURES: Final[tuple[Failure, ...]] = ("before", "after", "late")


class Trip(NamedTuple):
    """What becomes of one call."""

    there: float
    """Seconds until the store does it."""
    back: float
    """Seconds until the answer comes."""
    fails: Failure | None
    """Whether the call fails before the store has done it, or after; or before, and the store does it yet."""


class Line:
    """The quality of a connection; a simulation makes it worse and better."""

    def __init__(self, chance: Chance, patience: float, counts: Counter[str], late: Collection[str]) -> None:
        """Begin with a sound one.

        Args:
            chance: What decides.
            patience: After so many seconds a call that hangs fails.
            counts: Takes the numbers of what went wrong.
            late: Which verbs may reach the store after their caller has given up.
        """
        self.failing = 0.0
        """How many calls of one fail, one way or the other."""
        self.slow = 0.0
        """How many take long."""
        self.is_cut = False
        self.patience = patience
        self.counts = counts
        self.late = late
        self.chance = chance

    def trip(self, verb: str) -> Trip:
        """Return what becomes of the next call."""
        chance = self.chance
        there, back = chance.random() * _QUICK, chance.random() * _QUICK
        if self.is_cut:
            return Trip(chance.choice([there, self.patience * chance.random()]), back, "before")
        if self.slow and chance.random() < self.slow:
            self.counts["slow_calls"] += 1
            long = self.patience * chance.random()
            there, back = chance.choice([(long, back), (there, long), (long / 2, long / 2)])
        if self.failing and chance.random() < self.failing:
            fails = chance.choice(_FAILURES)
            return Trip(there, back, "before" if fails == "late" and verb not in self.late else fails)
        return Trip(there, back, None)

    def fail(self, trip: Trip) -> BackendError:
        """Count the failure and return its error."""
        self.counts["lost_answers" if trip.fails == "after" else "failed_calls"] += 1
        return BackendError("no connection" if trip.fails == "before" else "connection cut before the answer")

    def sound(self) -> None:
        """Make it a good one."""
        self.failing = self.slow = 0.0
        self.is_cut = False


class LinkedBackend(Backend):
    """A backend's handle in one process, as that of PostgreSQL: the store and its clock are elsewhere."""

    def __init__(self, store: Store, loop: SimulationLoop, clock: NodeClock, line: Line, domain: Domain) -> None:
        super().__init__(clock=clock, limits=store.limits)
        self.line = line
        self.calls: Counter[str] = Counter()
        self.knows_skew = True
        """Whether it tells the next due moment in this machine's time, not in the store's."""
        self._store = store
        self._loop = loop
        self._domain = domain
        self._rung: set[bool] = set()
        store.bells.append(self._ring)

    @property
    def is_open(self) -> bool:
        return True

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def migrate(self) -> None:
        """Do nothing."""

    def let_go(self) -> None:
        """Hear of nothing any more."""
        if self._ring in self._store.bells:
            self._store.bells.remove(self._ring)

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        return await self._call("enqueue", lambda: self._store.enqueue(jobs))

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Claim; the next due moment is told by the clock of this machine, which may differ from the store's."""
        claim = await self._call("claim", lambda: self._store.claim(demand, node_id))
        if claim.next_due is None or not self.knows_skew:
            return claim
        return Claim(claim.jobs, claim.next_due + (self.clock.now() - self._store.clock.now()))

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        return await self._call("settle", lambda: self._store.settle(settlements))

    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        return await self._call("release_claims", lambda: self._store.release_claims(node_id, held, epoch=epoch))

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        return await self._call("query", lambda: self._store.query(where, limit=limit, after=after, newest=newest))

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        return await self._call("count", lambda: self._store.count(where))

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        return await self._call("change", lambda: self._store.apply(job_id, change, executor=executor))

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        return await self._call("update", lambda: self._store.update(job_id, new, version=version))

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        return await self._call("tick", lambda: self._store.tick(schedules, up_since=up_since))

    async def schedules(self) -> Sequence[StoredSchedule]:
        return await self._call("schedules", self._store.schedules)

    async def put_pause(self, pause: NewPause) -> Pause:
        return await self._call("put_pause", lambda: self._store.put_pause(pause))

    async def end_pause(self, executor: str) -> bool:
        return await self._call("end_pause", lambda: self._store.end_pause(executor))

    async def pauses(self) -> Sequence[Pause]:
        return await self._call("pauses", self._store.pauses)

    async def nodes(self) -> Sequence[StoredNode]:
        return await self._call("nodes", self._store.nodes)

    async def load(self, executor: str | None = None) -> Sequence[Load]:
        return await self._call("load", lambda: self._store.load(executor))

    async def prune(self, spec: PruneSpec, limit: int) -> int:
        return await self._call("prune", lambda: self._store.prune(spec, limit))

    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        await self._call("add_stats", lambda: self._store.add_stats(rows))

    async def stats(self, since: datetime) -> Sequence[StatRow]:
        return await self._call("stats", lambda: self._store.stats(since))

    async def fold_stats(self, limit: int) -> int:
        return await self._call("fold_stats", lambda: self._store.fold_stats(limit))

    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        return await self._call("acquire_lock", lambda: self._store.acquire_lock(name, node_id))

    async def release_lock(self, name: str, node_id: NodeId) -> None:
        return await self._call("release_lock", lambda: self._store.release_lock(name, node_id))

    def heartbeat_connection(self) -> HeartbeatConnection:
        return LinkedHeartbeats(self._store, self.line)

    async def _call(self, verb: str, effect: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.calls[verb] += 1
        trip, line = self.line.trip(verb), self.line
        await self._loop.sleep(trip.there)
        if trip.fails == "late":
            line.counts["late_statements"] += 1
            self._store.later(line.patience * line.chance.random(), effect)
        if trip.fails in {"before", "late"} or line.is_cut:
            raise line.fail(trip)
        answer = await effect()
        await self._loop.sleep(trip.back)
        if trip.fails == "after" or line.is_cut:
            raise line.fail(trip)
        return answer

    def _ring(self, is_cancel: bool) -> None:
        """Have this process hear of a change soon, unless the word is lost."""
        if is_cancel not in self._rung and not self.line.is_cut and self.line.chance.random() >= self.line.failing:
            self._rung.add(is_cancel)
            delay = self.line.chance.random() * _HINT
            self._loop.call_later(delay, self._hear, is_cancel, context=self._domain.context.copy())

    def _hear(self, is_cancel: bool) -> None:
        self._rung.discard(is_cancel)
        if is_cancel:
            self.notify_cancel()
        else:
            self._wakeups.notify()


class LinkedHeartbeats(HeartbeatConnection):
    """Beats over a line of the same quality, from the simulated thread."""

    def __init__(self, store: Store, line: Line) -> None:
        self._store = store
        self._line = line

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        return self._call("heartbeat", lambda: self._store.heartbeat(node, rescues=rescues))

    def deregister(self, node_id: NodeId) -> None:
        self._call("deregister", lambda: self._store.deregister(node_id))

    def close(self) -> None:
        """Do nothing."""

    def _call(self, verb: str, effect: Callable[[], T]) -> T:
        trip, line = self._line.trip(verb), self._line
        block(trip.there / 2)  # a call of the heart is given up after half the patience
        if trip.fails == "late":
            line.counts["late_statements"] += 1
            self._store.later(line.patience / 2 * line.chance.random(), effect)
        if trip.fails in {"before", "late"} or line.is_cut:
            raise line.fail(trip)
        answer = effect()
        block(trip.back / 2)
        if trip.fails == "after" or line.is_cut:
            raise line.fail(trip)
        return answer
