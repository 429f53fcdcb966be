"""Events that the library emits. `log.py` turns them into log lines, `subscribers.py` passes them on.

No event holds job data, but an exception or its text may. Two of them exist for each job, if anybody wants them; they
are made by `job_started` and `job_ended`, which is quicker than their classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, assert_never

from rexecutor.model.job import Disposition, JobId, NodeId
from rexecutor.model.outcomes import (
    Cancelled,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Outcome,
    Snooze,
)
from rexecutor.model.quick import quick_maker
from rexecutor.model.status import JobStatus


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node has started. Emitted before its first heartbeat and claim."""

    node: NodeId
    name: str
    executors: tuple[str, ...]
    max_concurrency: int
    threads: int = 0
    """How many of these jobs may run in threads; 0 if no executor uses threads."""


@dataclass(frozen=True, slots=True)
class NothingToRun:
    """A `Rexecutor` without executors, schedules and pruners has started. It has opened its backend, and is no node."""


@dataclass(frozen=True, slots=True)
class NodeStopping:
    """A node stops: it claims no more jobs and waits for those that run. Emitted when its shutdown begins."""

    node: NodeId
    running: int
    stuck: int = 0
    """Number of jobs that do not stop; the node does not wait for them."""


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """A node has stopped. Emitted last, after its jobs, its duties and its lease have ended."""

    node: NodeId
    unsettled: int
    """Number of outcomes that could not be delivered. Other nodes will rescue those jobs."""
    stuck: tuple[tuple[JobId, str], ...] = ()
    """Jobs whose code does not stop and still runs, each with its executor."""


@dataclass(frozen=True, slots=True)
class ProcessLeft:
    """Code that a job started still runs at the end: the worker process exits without it. Logged, not passed on."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A node could not renew its lease in time. Emitted once it claims nothing and has cancelled its running jobs."""

    node: NodeId
    cancelled: int


@dataclass(frozen=True, slots=True)
class LeaseRegained:
    """A node has renewed its lease again. Emitted at the first heartbeat that succeeds after a `LeaseLost`."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class JobsRescued:
    """Jobs of nodes whose lease ran out were made retryable, discarded or cancelled. Emitted after such a heartbeat."""

    jobs: int


@dataclass(frozen=True, slots=True)
class JobsExpired:
    """Waiting jobs were cancelled because they had not started in time. Emitted after such a heartbeat.

    A job that a node claims after that time is cancelled there instead, with a `JobEnded`.
    """

    jobs: int


@dataclass(frozen=True, slots=True)
class JobsPruned:
    """Ended jobs were deleted. Emitted once for each spec of a pruning that has deleted any."""

    jobs: int
    status: JobStatus


@dataclass(frozen=True, slots=True)
class DutyFailed:
    """A duty of the node failed and will be tried again. Emitted once, until the duty has recovered."""

    duty: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class DutyRecovered:
    """A duty that had failed has succeeded again. Emitted once, after its first success."""

    duty: str
    failures: int


@dataclass(frozen=True, slots=True)
class ListeningUseless:
    """PostgreSQL's notifications do not arrive, for example behind a pooler. Emitted once; polling finds the jobs."""


@dataclass(frozen=True, slots=True)
class LogUnbounded:
    """SQLite's write-ahead log grows, because a reader stays in its transaction. Emitted again at each doubling."""

    path: str
    size: int
    """Size of the write-ahead log, in bytes."""


@dataclass(frozen=True, slots=True)
class LogReset:
    """SQLite's write-ahead log is small again. Emitted once after a `LogUnbounded`."""

    path: str


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt began. Emitted only if somebody has subscribed, or the logger `rexecutor.jobs` would write it."""

    job_id: JobId
    executor: str
    attempt: int
    wait_seconds: float = 0.0
    """Seconds from the job's due time until its code began, on the store's clock."""


@dataclass(frozen=True, slots=True)
class JobEnded:
    """An attempt ended. Emitted when its outcome is handed over to be recorded.

    A success or a snooze is emitted only if somebody has subscribed, or the logger `rexecutor.jobs` would write it.
    """

    job_id: JobId
    executor: str
    attempt: int
    outcome: Outcome
    is_final: bool
    """Whether the job is discarded if this attempt failed."""
    exception: BaseException | None = None
    """The exception that a failed attempt raised; None if there is none in this process."""
    wait_seconds: float | None = None
    """Seconds from the job's due time until its code began, on the store's clock; None if its code never began."""
    run_seconds: float | None = None
    """Seconds from the begin of its code until its end; None if it never began."""

    @property
    def status(self) -> str:
        """How the attempt ended, in one word.

        It is the job's new status, `complete`, `retryable`, `discarded` or `cancelled`; or `expired`, `snoozed` or
        `interrupted`.
        """
        match self.outcome:
            case Complete():
                return "complete"
            case Failed():
                return "discarded" if self.is_final else "retryable"
            case Discarded():
                return "discarded"
            case Cancelled():
                return "cancelled"
            case Expired():
                return "expired"
            case Snooze():
                return "snoozed"
            case Interrupted():
                return "interrupted"
            case _:
                assert_never(self.outcome)


job_started: Final[Callable[..., JobStarted]] = quick_maker(JobStarted)
"""Returns a `JobStarted`, given the values of all its fields."""

job_ended: Final[Callable[..., JobEnded]] = quick_maker(JobEnded)
"""Returns a `JobEnded`, given the values of all its fields."""


@dataclass(frozen=True, slots=True)
class JobsEnqueued:
    """An enqueue has stored its jobs. Emitted once for each call, and only if somebody has subscribed or logs it."""

    jobs: tuple[tuple[JobId, str, Disposition], ...]
    """Each job's id, its executor and what the enqueue did: `inserted`, `existing` or `replaced`."""
    is_committed: bool = True
    """False if they were enqueued in the application's own transaction, and so are stored when that is committed."""


@dataclass(frozen=True, slots=True)
class TicksEnqueued:
    """Schedules have enqueued jobs. Emitted once for all ticks that a node has taken together."""

    ticks: tuple[tuple[str, str, datetime], ...]
    """Each job's executor, its schedule's id, and the tick."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The jobs of one executor that have not ended, in all of the store."""

    executor: str
    waiting: int
    """How many wait, due or not; above `counted_to` for any larger number."""
    due: int
    """How many of these have reached their time, counted in the same way."""
    oldest_due_seconds: float
    """For how long the first of them has been due; 0 if none is."""
    executing: int
    counted_to: int
    """The number at which the count of waiting jobs stopped: 100,000 are counted, of all executors together."""


@dataclass(frozen=True, slots=True)
class QueuesMeasured:
    """A node has counted the jobs in the store. Emitted every 15 s, while somebody has subscribed."""

    queues: tuple[Queue, ...]
    """One for each executor that has jobs which have not ended."""


@dataclass(frozen=True, slots=True)
class NodeMeasured:
    """How a node is doing. Emitted every 5 s, while somebody has subscribed, even if the event loop is blocked."""

    node: NodeId
    slots: int
    """How many jobs it may run at a time."""
    running: int
    """How many jobs it runs."""
    lease_age_seconds: float | None
    """Seconds since the heartbeat that last renewed its lease; None without a lease."""
    loop_lag_seconds: float
    """For how long the event loop has not responded, or did not when it was last asked."""


@dataclass(frozen=True, slots=True)
class JobUnreadable:
    """A stored job was left out of a result, because its data or its row cannot be read. Emitted for each result."""

    job_id: JobId
    executor: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class OutcomeRefused:
    """The store refused an outcome, because the job was rescued or has ended elsewhere. Emitted after the refusal."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class JobStuck:
    """Code that was told to stop still runs and holds its slot. Emitted when its outcome is handed over without it."""

    job_id: JobId
    executor: str
    attempt: int
    stuck: int
    """Number of the node's slots that are held in this way."""


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """Code that does not await blocks the event loop, and with it all jobs of the process. Emitted once per block."""

    seconds: float
    """How long the loop has been blocked."""
    job_id: JobId | None
    """The job whose code blocks the loop; None if it is not the code of a job's own task."""
    executor: str | None
    attempt: int | None
    stack: str
    """The stack of the blocking code, formatted like a traceback."""


@dataclass(frozen=True, slots=True)
class LoopFreed:
    """The event loop runs again. Emitted after each `LoopBlocked`, once the loop responds."""

    seconds: float
    """How long the loop was blocked."""


@dataclass(frozen=True, slots=True)
class ResultIgnored:
    """An executor returned a value that it may not return; its job is complete. Emitted once for each executor."""

    job_id: JobId
    executor: str
    attempt: int
    type_name: str
    """Name of the value's class. The value itself may be job data, so it is not kept."""


@dataclass(frozen=True, slots=True)
class ProviderNotClosed:
    """What a provider made for a worker could not be closed. Emitted after the worker's last job."""

    provider: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class BackoffFailed:
    """An executor's `backoff` raised, or did not return a timedelta; the default was used."""

    job_id: JobId
    executor: str
    attempt: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class EnqueueForgotten:
    """An enqueue was called but never awaited, so no job was stored. Emitted when its coroutine is deleted."""

    executor: str
    """Names of the executors, separated by commas."""
    call: str
    """What was called: `enqueue` or `enqueue_many`."""
    jobs: int
    """How many jobs it would have stored."""


@dataclass(frozen=True, slots=True)
class SubscriberFailed:
    """A subscriber raised. Emitted to the others, once for each of its kinds of events; nothing else stops."""

    subscriber: str
    """Name of the callback."""
    event: str
    """Name of the event's class."""
    error: BaseException


Event: TypeAlias = (
    NodeStarted
    | NothingToRun
    | NodeStopping
    | NodeStopped
    | LeaseLost
    | LeaseRegained
    | JobsRescued
    | JobsExpired
    | JobsPruned
    | DutyFailed
    | DutyRecovered
    | QueuesMeasured
    | NodeMeasured
    | ListeningUseless
    | LogUnbounded
    | LogReset
    | JobStarted
    | JobEnded
    | JobsEnqueued
    | TicksEnqueued
    | JobUnreadable
    | OutcomeRefused
    | ProcessLeft
    | JobStuck
    | LoopBlocked
    | LoopFreed
    | ResultIgnored
    | ProviderNotClosed
    | BackoffFailed
    | EnqueueForgotten
    | SubscriberFailed
)
"""Every event."""
