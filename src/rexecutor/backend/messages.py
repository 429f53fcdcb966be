"""What passes through the port, beside jobs: questions to a store, and its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecutor.model.job import JobId, JobRecord, NodeId
from rexecutor.model.status import JobStatus

PAGE: Final = 1_000
"""How many jobs a query answers when no limit is given."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a node has free slots for."""

    slots: Mapping[str, int]
    """Executor name → how many of its jobs, each 1 or more."""
    most: int
    """How many jobs in all, 1 or more."""
    epoch: int = 0
    """How often the node had given up claims when it asked; see `Backend.give_back`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A store's answer to a demand."""

    jobs: Sequence[JobRecord]
    """Now executing on the node that asked, in claim order. A row that cannot be read has a `defect`."""
    next_due: datetime | None
    """When the next job of whatever executor falls due, by the handle's clock; None when none waits for its time.

    Looked up only when there were fewer jobs than `Demand.most`: else there is no reason to wait.
    """


@dataclass(frozen=True, slots=True)
class Node:
    """A `Rexecutor` that runs: the holder of a lease."""

    id: NodeId
    name: str
    """For people: host and process."""
    lease: timedelta
    epoch: int = 0
    """How often it has given up claims; see `Backend.give_back`."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asked for a cancel of a job that the node runs."""

    job_id: JobId
    claims: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A store's answer to a beat."""

    cancels: Sequence[CancelRequest]
    rescued: int
    """How many jobs of nodes without a lease were given on or discarded."""
    began: bool
    """Whether the lease began with this beat: at the node's first, or because it had run out and its jobs are lost."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A store's answer to a look at schedules."""

    now: datetime
    """The store's time."""
    taken: Sequence[tuple[str, datetime]]
    """The ticks that this look took: the schedule's id and the tick. Nobody else takes them."""
    next_tick: datetime | None
    """The earliest tick that is to come; None where there is none any more."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs of one executor are in one status."""

    executor: str
    status: JobStatus
    jobs: int
