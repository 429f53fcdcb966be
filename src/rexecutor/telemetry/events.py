"""What the engine tells of itself. `log.py` turns these into log lines; nothing here ever holds job data."""

from dataclasses import dataclass
from typing import TypeAlias

from rexecutor.model.job import JobId, NodeId
from rexecutor.model.outcomes import Outcome
from rexecutor.model.status import JobStatus


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A `Rexecutor` began to run."""

    node: NodeId
    name: str
    executors: tuple[str, ...]
    max_concurrency: int
    threads: int = 0
    """How many of these jobs may run in threads; 0 if no executor's jobs do."""


@dataclass(frozen=True, slots=True)
class NodeStopping:
    """It claims no more jobs and waits for those that run."""

    node: NodeId
    running: int
    stuck: int = 0
    """Jobs that do not stop; it does not wait for these."""


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """It has ended."""

    node: NodeId
    unsettled: int
    """Outcomes that could not be delivered: other nodes will rescue those jobs."""
    stuck: tuple[tuple[JobId, str], ...] = ()
    """Jobs whose code still runs because it does not stop, with their executors."""


@dataclass(frozen=True, slots=True)
class ProcessLeft:
    """The worker's process ends although code that a job started does not."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """It could not renew its lease in time: it claims nothing, and what it ran was cancelled."""

    node: NodeId
    cancelled: int


@dataclass(frozen=True, slots=True)
class LeaseRegained:
    """It could renew its lease again."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class JobsRescued:
    """Jobs of nodes that let their lease run out were given on, or discarded."""

    jobs: int


@dataclass(frozen=True, slots=True)
class JobsPruned:
    """Ended jobs were deleted."""

    jobs: int
    status: JobStatus


@dataclass(frozen=True, slots=True)
class DutyFailed:
    """A duty of the node failed; it goes on trying. Told once, until it has recovered."""

    duty: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class DutyRecovered:
    """The duty succeeded again."""

    duty: str
    failures: int


@dataclass(frozen=True, slots=True)
class ListeningUseless:
    """Notifications do not come, through a pooler for instance: jobs are found by polling. Told once."""


@dataclass(frozen=True, slots=True)
class LogUnbounded:
    """SQLite's write-ahead log grows: a reader that stays in its transaction needs it. Told again at each doubling."""

    path: str
    size: int
    """Of the log, in bytes."""


@dataclass(frozen=True, slots=True)
class LogReset:
    """SQLite's write-ahead log is small again."""

    path: str


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt began. Told only when somebody listens for single jobs."""

    job_id: JobId
    executor: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """An attempt ended. A success is told only when somebody listens for single jobs."""

    job_id: JobId
    executor: str
    attempt: int
    outcome: Outcome
    is_final: bool
    """Whether a failure now discards the job."""
    exception: BaseException | None = None
    """What a failed attempt raised, where there is such a thing in this process."""


@dataclass(frozen=True, slots=True)
class JobUnreadable:
    """A stored job was left out of an answer: its data are not of the executor's type, or its row is spoilt."""

    job_id: JobId
    executor: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class OutcomeRefused:
    """The job was no longer ours when its outcome came: rescued, or cancelled by somebody else."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class JobStuck:
    """The attempt's outcome is recorded, but its code goes on and holds its slot."""

    job_id: JobId
    executor: str
    attempt: int
    stuck: int
    """How many slots of the node are held so."""


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """Code that does not await holds the event loop, and so all jobs of the process. Told once, until it is free."""

    seconds: float
    """For how long already."""
    job_id: JobId | None
    """Whose code it is; None where it is that of no job's own task."""
    executor: str | None
    attempt: int | None
    stack: str
    """Where the code stands, as in a traceback."""


@dataclass(frozen=True, slots=True)
class LoopFreed:
    """The event loop goes on."""

    seconds: float
    """For how long it stood still."""


@dataclass(frozen=True, slots=True)
class ResultIgnored:
    """An executor returned a value that it does not declare; its job is complete. Told once for each executor."""

    job_id: JobId
    executor: str
    attempt: int
    type_name: str
    """The class of the value, which may be data itself."""


@dataclass(frozen=True, slots=True)
class BackoffFailed:
    """An executor's `backoff` raised, or answered no timedelta; the default was used."""

    job_id: JobId
    executor: str
    attempt: int
    error: BaseException


Event: TypeAlias = (
    NodeStarted
    | NodeStopping
    | NodeStopped
    | LeaseLost
    | LeaseRegained
    | JobsRescued
    | JobsPruned
    | DutyFailed
    | DutyRecovered
    | ListeningUseless
    | LogUnbounded
    | LogReset
    | JobStarted
    | JobEnded
    | JobUnreadable
    | OutcomeRefused
    | ProcessLeft
    | JobStuck
    | LoopBlocked
    | LoopFreed
    | ResultIgnored
    | BackoffFailed
)
"""All that can be told."""
