"""What passes through the port besides jobs: requests to a store and its replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecutor.model.job import JobId, JobRecord, NodeId
from rexecutor.model.status import JobStatus

PAGE: Final = 1_000
"""How many jobs a query returns at most if no limit is given."""
MOST_CHANGED: Final = 1_000
"""Maximum number of jobs that one `apply_many` changes, so that they are never locked for long."""
EXPIRED_PER_HEARTBEAT: Final = 500
"""Maximum number of expired jobs that one heartbeat cancels, so that it never takes long."""
EVERY_EXECUTOR: Final = "*"
"""Stands for all executors, where a pause names one."""
MOST_COUNTED: Final = 100_000
"""How many waiting jobs `Backend.load` counts, of all executors together; see `Load.counted_to`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a node asks a claim for: jobs for its free slots, and short jobs to run after those."""

    slots: Mapping[str, int]
    """Executor name → maximum number of its jobs, each at least 1."""
    limit: int
    """Maximum number of jobs in all, at least 1."""
    epoch: int = 0
    """The node's epoch when it asked: how often it had given up claims; see `Backend.release_claims`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The jobs that a claim took."""

    jobs: Sequence[JobRecord]
    """The claimed jobs, in claim order, now executing on the node. A row that cannot be read has a `defect`."""
    next_due: datetime | None
    """When the next future job of any executor is due, on the backend's clock; None if there is none.

    Looked up only if fewer jobs than `Demand.limit` were claimed; otherwise there is no reason to wait.
    """


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node says of itself with each heartbeat. For people and commands; no store decides anything by it."""

    host: str
    pid: int
    version: str
    """The version of rexecutor that it runs."""
    executors: Sequence[str]
    """The names of the executors whose jobs it runs, sorted."""
    slots: int
    """How many jobs it runs at a time, of all executors together."""
    running: int
    """How many jobs it runs now."""
    loop_lag: float
    """The longest time, in seconds, for which its event loop has not responded since the last heartbeat."""
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Executor name → how many of its jobs it runs at a time, for those with fewer than `slots`."""
    stuck: int = 0
    """How many of the jobs that run have ended for the store: their code has not stopped, and holds its slots."""

    def slots_of(self, executor: str) -> int:
        """Return how many jobs of the executor the node runs at a time; 0 if it runs none."""
        return min(self.slots, self.limits.get(executor, self.slots)) if executor in self.executors else 0


@dataclass(frozen=True, slots=True)
class Node:
    """A running `Rexecutor`: the holder of a lease."""

    id: NodeId
    name: str
    """For people: host and process."""
    lease: timedelta
    epoch: int = 0
    """How often the node has given up claims; see `Backend.release_claims`."""
    state: NodeState | None = None
    """What it says of itself; None if it says nothing."""


HEARTBEATS_PER_LEASE: Final = 6
"""Heartbeats per lease: every 5 s for 30 s. Three in a row may be missed before the lease is in doubt."""
_MISSED: Final = 2
"""How many heartbeats in a row have not come when a node counts as late."""


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node as the store knows it: one that is live, or one that has died and is not forgotten yet."""

    id: NodeId
    name: str
    started_at: datetime
    """When its first heartbeat came."""
    renewed_at: datetime
    """When its last heartbeat came."""
    lease_until: datetime
    """When its lease runs out, unless another heartbeat renews it."""
    state: NodeState | None
    """What it said of itself in its last heartbeat; None if it said nothing, or nothing that can be read."""
    seen_at: datetime
    """The store's time when this was read. Compare the other moments with it, not with your own clock."""

    @property
    def is_live(self) -> bool:
        """Whether its lease had not run out."""
        return self.lease_until > self.seen_at

    @property
    def age(self) -> timedelta:
        """How long ago its last heartbeat came."""
        return self.seen_at - self.renewed_at

    @property
    def is_late(self) -> bool:
        """Whether it is live, but has missed two heartbeats: perhaps it has died."""
        return self.is_live and self.age > (self.lease_until - self.renewed_at) / HEARTBEATS_PER_LEASE * _MISSED


@dataclass(frozen=True, slots=True)
class NewPause:
    """A pause to be stored."""

    executor: str
    """Name of the executor whose jobs are not to start; `EVERY_EXECUTOR` for the jobs of all."""
    reason: str
    lasting: timedelta | None
    """How long, from when it is stored; None until it is ended by `Backend.resume`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that is in force: no job of the executor starts on any node."""

    executor: str
    """Name of the executor; `EVERY_EXECUTOR` for the jobs of all."""
    since: datetime
    """When it began, on the store's clock. A pause that replaces another one keeps that moment."""
    until: datetime | None
    """When it ends by itself, on the store's clock; None if it does not."""
    reason: str

    def holds_at(self, now: datetime) -> bool:
        """Return whether it is in force at this moment, as far as its end decides that."""
        return self.until is None or self.until > now


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that holds slots of an executor, or held them when its lease ran out."""

    node: NodeId
    executing: int
    """How many jobs of the executor it has claimed: those that run, and those that wait for a slot."""
    longest: datetime
    """When the first of these was claimed."""
    longest_id: JobId
    """Which job that is."""


@dataclass(frozen=True, slots=True)
class Load:
    """The jobs of an executor that have not ended."""

    executor: str
    waiting: int
    """How many wait, due or not; above `counted_to` for any larger number."""
    due: int
    """How many of these have reached their time, counted in the same way."""
    oldest_due: datetime | None
    """Since when the first due job has been due, on the store's clock; None if none is. It is always exact."""
    holders: Sequence[Holder]
    """The nodes that execute its jobs, the one with the most first."""
    counted_to: int = MOST_COUNTED
    """The number at which the count stopped: an equal share of `MOST_COUNTED`, and of what other executors left of
    theirs."""

    @property
    def executing(self) -> int:
        """How many of its jobs execute, on all nodes."""
        return sum(holder.executing for holder in self.holders)

    @property
    def longest(self) -> datetime | None:
        """When the job that has executed for the longest time was claimed; None if none executes."""
        return min((holder.longest for holder in self.holders), default=None)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A request to cancel a job that the node runs."""

    job_id: JobId
    claims: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The result of a heartbeat."""

    cancels: Sequence[CancelRequest]
    rescued: int
    """Number of jobs of dead nodes that were rescued: made due again or discarded."""
    began: bool
    """Whether this heartbeat began the lease: the node's first, or the lease had run out and its jobs are lost."""
    expired: int = 0
    """Number of waiting jobs that were cancelled because they had expired. If it is `EXPIRED_PER_HEARTBEAT`, there may
    be more, and the node sends the next heartbeat after 0.1 s."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """The result of `Backend.tick`."""

    now: datetime
    """The store's time at the call."""
    taken: Sequence[tuple[str, datetime]]
    """The ticks that this call took: schedule id and moment. No other call takes them."""
    next_tick: datetime | None
    """The earliest future tick; None if there is none."""


@dataclass(frozen=True, slots=True)
class Count:
    """The number of jobs of one executor in one status."""

    executor: str
    status: JobStatus
    jobs: int
