"""What passes through the port besides jobs: requests to a store and its replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecutor.model.job import JobId, JobRecord, NodeId
from rexecutor.model.status import JobStatus

PAGE: Final = 1_000
"""How many jobs a query returns at most if no limit is given."""
EXPIRED_PER_HEARTBEAT: Final = 500
"""Maximum number of expired jobs that one heartbeat cancels, so that it never takes long."""


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
class Node:
    """A running `Rexecutor`: the holder of a lease."""

    id: NodeId
    name: str
    """For people: host and process."""
    lease: timedelta
    epoch: int = 0
    """How often the node has given up claims; see `Backend.release_claims`."""


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
    """The result of a look at schedules."""

    now: datetime
    """The store's time at the look."""
    taken: Sequence[tuple[str, datetime]]
    """The ticks that this look took: schedule id and moment. No other look takes them."""
    next_tick: datetime | None
    """The earliest future tick; None if there is none."""


@dataclass(frozen=True, slots=True)
class Count:
    """The number of jobs of one executor in one status."""

    executor: str
    status: JobStatus
    jobs: int
