"""All that can happen to jobs, in one fixed order, by one who repeats what failed as the port says."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final, TypeVar

from rexecutor.backend.base import Backend
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import Demand, Node
from rexecutor.errors import BackendError, JobStateError, StaleJobError
from rexecutor.model.cron import Cron
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import Complete, Interrupted, Settlement, Snooze
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import CatchUp, Schedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.model.where import Everything, IdIn
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite.store import LEASE, SECOND, cancelled, failed, new_job

T = TypeVar("T")

MOST_TRIES: Final = 12
"""After so many failures of one operation the store does not recover."""
NODE, OTHER = "node-1", "node-2"
EXECUTORS: Final = ("plain", "sync", "unique", "ticked")
SCHEDULE: Final = Schedule("each ten", Cron("*/10 * * * * *"), UTC, new_job("ticked", data='"tick"'), CatchUp.ALL)


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a job must be the same whatever failed on the way."""

    data: str
    status: JobStatus
    attempt: int
    max_attempts: int
    priority: int
    snoozes: int
    losses: int
    errors: tuple[tuple[int, str, str], ...]
    times: tuple[Any, ...]


class Life:
    """A script and what was seen of it. What goes wrong is noted in `wrong`."""

    def __init__(self, backend: Backend, clock: FakeClock) -> None:
        """Begin on an empty store."""
        self._backend = backend
        self._clock = clock
        self._heartbeat_connections: dict[NodeId, HeartbeatConnection] = {
            node: backend.heartbeat_connection() for node in (NODE, OTHER)
        }
        self._held: dict[NodeId, dict[JobId, JobRecord]] = {NODE: {}, OTHER: {}}
        self._handed_out: set[ClaimId] = set()
        self.wrong: list[str] = []
        self.failures = 0
        """How many operations raised."""

    async def live(self) -> None:
        """Play all of it."""
        await self._enqueue()
        await self._work()
        await self._change()
        await self._lose_a_node()
        await self._finish()
        await self._forget()
        for heartbeats in self._heartbeat_connections.values():
            heartbeats.close()

    async def jobs(self) -> list[Kept]:
        """Return what is in the store, sorted."""
        records = await self._again(lambda: self._backend.query(Everything()))
        for record in records:
            self._expect_coherent(record)
        open_keys = Counter(one.unique_key for one in records if one.unique_key and not one.status.has_ended)
        self._expect("two open jobs have one unique key", max(open_keys.values(), default=1) == 1)
        return sorted(map(_kept, records), key=repr)

    async def _enqueue(self) -> None:
        """Enqueue a batch, one job without a loop, and one unique job twice."""
        await self._store([new_job("plain", data=f'"plain {number}"') for number in range(4)])
        await self._store([new_job("sync", data='"sync"')], is_sync=True)
        await self._store([new_job("plain", data='"later"', delay=timedelta(hours=1))])
        unique = UniquenessCriteria.by_key("key")
        [first] = await self._again(lambda: self._backend.enqueue([new_job("unique", data='"u"', unique=unique)]))
        twice = unique.on_conflict(Replace.priority())
        again = new_job("unique", data='"v"', priority=3, unique=twice)
        [second] = await self._again(lambda: self._backend.enqueue([again]))
        self._expect("a unique job was added twice", first.id == second.id)

    async def _work(self) -> None:
        """Claim, and end in each way."""
        await self._heartbeat(NODE)
        claimed = await self._claim(NODE, ("plain", "sync"), 5)
        outcomes = (Complete(), failed(delay=10 * SECOND), Snooze(20 * SECOND), Interrupted())
        await self._settle(NODE, {claimed[n].id: outcome for n, outcome in enumerate(outcomes)})
        asked = claimed[4].id
        await self._again(lambda: self._backend.cancel(asked, "no longer wanted"))
        heard = await self._heartbeat(NODE)
        self._expect("a cancel was not told", asked in heard)
        await self._settle(NODE, {asked: cancelled()})
        await self._again(lambda: self._backend.release_claims(NODE, ()))

    async def _change(self) -> None:
        """Rerun, update and cancel jobs, and let a schedule tick."""
        done, later, unique = [await self._find(data) for data in ('"plain 0"', '"later"', '"u"')]
        await self._rerun(done.id)
        await self._update(unique, new_job("unique", data='"w"', priority=1, max_attempts=2))
        await self._again(lambda: self._backend.cancel(later.id, "not needed"))
        await self._again(lambda: self._backend.tick([SCHEDULE], up_since=None))
        started = self._clock.now()
        for _ in range(2):
            self._clock.advance(10 * SECOND)
            await self._heartbeat(NODE)
            await self._again(lambda: self._backend.tick([SCHEDULE], up_since=started))

    async def _lose_a_node(self) -> None:
        """Let a node die with a job, and another rescue it."""
        await self._heartbeat(OTHER)
        await self._claim(OTHER, ("unique",), 1)
        for _ in range(2):
            self._clock.advance(LEASE / 2 + SECOND)
            await self._heartbeat(NODE)
        self._held[OTHER].clear()

    async def _finish(self) -> None:
        """Run what is left; the last of an executor's fails for good."""
        await self._heartbeat(NODE)
        claimed = await self._claim(NODE, EXECUTORS, 100)
        self._expect(f"{len(claimed)} jobs were left to run, 7 expected", len(claimed) == 7)
        await self._settle(NODE, {one.id: failed() if one.executor == "unique" else Complete() for one in claimed})

    async def _forget(self) -> None:
        """Prune, and let go of everything."""
        held = await self._again(lambda: self._backend.acquire_lock("prune", NODE))
        self._expect("the duty was not to be had", held)
        self._clock.advance(SECOND)
        await self._heartbeat(NODE)
        for spec in (
            PruneSpec(JobStatus.COMPLETE, BeyondNewest(1)),
            PruneSpec(JobStatus.CANCELLED, OlderThan(SECOND), frozenset({"sync"}), is_except=False),
        ):
            await self._again(lambda spec=spec: self._backend.prune(spec, 100))
        await self._again(lambda: self._backend.release_lock("prune", NODE))
        await self._again(self._backend.count)
        known = await self._again(self._backend.schedules)
        self._expect("the schedule has not ticked twice", [one.last_tick for one in known] == [_tick(2)])
        await self._again(lambda: _soon(self._heartbeat_connections[NODE].deregister, NODE))

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until it succeeds."""
        for _ in range(MOST_TRIES):
            try:
                return await work()
            except BackendError:
                self.failures += 1
        raise AssertionError(f"{MOST_TRIES} failures after one fault")

    async def _store(self, jobs: Sequence[NewJob], *, is_sync: bool = False) -> None:
        """Enqueue; after a failure look first whether all is there, for that is not known."""

        async def store() -> Sequence[Enqueued]:
            return self._backend.enqueue_sync(jobs) if is_sync else await self._backend.enqueue(jobs)

        async def store_unless_there() -> None:
            wanted = {job.data for job in jobs}
            found = [one for one in await self._backend.query(Everything()) if one.data in wanted]
            self._expect("a part of a batch was stored", len(found) in (0, len(jobs)))
            if not found:
                await store()

        try:
            await store()
        except BackendError:
            self.failures += 1
            await self._again(store_unless_there)

    async def _heartbeat(self, node_id: NodeId) -> Collection[JobId]:
        node = Node(node_id, f"host:{node_id}", LEASE)
        heartbeat = await self._again(lambda: _soon(self._heartbeat_connections[node_id].send, node))
        return {request.job_id for request in heartbeat.cancels}

    async def _claim(self, node: NodeId, executors: Sequence[str], most: int) -> list[JobRecord]:
        """Claim; after a failure give back what is not held."""
        demand = Demand(dict.fromkeys(executors, most), most)
        while True:
            try:
                claim = await self._backend.claim(demand, node)
                break
            except BackendError:
                self.failures += 1
                held = {one.claim_id for one in self._held[node].values()}
                await self._again(lambda held=held: self._backend.release_claims(node, held))
        for record in claim.jobs:
            self._expect(f"claim {record.claim_id} was answered twice", record.claim_id not in self._handed_out)
            self._expect("a held job was claimed", all(record.id not in held for held in self._held.values()))
            self._expect("a job was claimed early", record.scheduled_at <= self._clock.now())
            self._handed_out.add(record.claim_id)
            self._held[node][record.id] = record
        return sorted(claim.jobs, key=lambda record: record.id)

    async def _settle(self, node: NodeId, outcomes: dict[JobId, Any]) -> None:
        settlements = [Settlement(key, self._held[node].pop(key).claims, outcome) for key, outcome in outcomes.items()]
        before = self.failures
        refused = await self._again(lambda: self._backend.settle(settlements))
        self._expect("an outcome of ours was refused", not refused or self.failures > before)

    async def _rerun(self, job_id: JobId) -> None:
        before = self.failures
        try:
            await self._again(lambda: self._backend.rerun(job_id))
        except JobStateError:  # it was done, and the answer lost
            self._expect("a rerun was refused that had not been done", self.failures > before)

    async def _update(self, record: JobRecord, new: NewJob) -> None:
        before = self.failures
        try:
            await self._again(lambda: self._backend.update(record.id, new, version=record.version))
        except StaleJobError:  # as with a rerun
            self._expect("an update was refused that had not been done", self.failures > before)

    async def _find(self, data: str) -> JobRecord:
        [found] = [one for one in await self._again(lambda: self._backend.query(Everything())) if one.data == data]
        [record] = await self._again(lambda: self._backend.query(IdIn(frozenset({found.id}))))
        return record

    def _expect_coherent(self, record: JobRecord) -> None:
        ends = {
            JobStatus.COMPLETE: record.completed_at,
            JobStatus.CANCELLED: record.cancelled_at,
            JobStatus.DISCARDED: record.discarded_at,
        }
        self._expect(
            f"job {record.id} is not coherent",
            record.defect is None
            and (record.node is not None) == (record.status is JobStatus.EXECUTING)
            and all((moment is not None) == (record.status is status) for status, moment in ends.items())
            and record.attempt <= min(record.max_attempts, record.claims),
        )

    def _expect(self, what: str, holds: bool) -> None:
        if not holds:
            self.wrong.append(what)


async def _soon(work: Callable[..., T], *arguments: Any) -> T:
    return work(*arguments)


def _tick(number: int) -> Any:
    return FakeClock().now() + number * 10 * SECOND


def _kept(record: JobRecord) -> Kept:
    return Kept(
        f"{record.executor} {record.data}",
        record.status,
        record.attempt,
        record.max_attempts,
        record.priority,
        record.snoozes,
        record.losses,
        tuple((one.attempt, one.kind, one.details) for one in record.errors),
        (record.inserted_at, record.scheduled_at, record.attempted_at, record.ended_at),
    )
