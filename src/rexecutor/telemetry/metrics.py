"""The metrics that are made of events, for any library that keeps them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from rexecutor.model.job import NodeId
from rexecutor.telemetry.events import (
    DutyFailed,
    Event,
    JobEnded,
    JobsEnqueued,
    JobsExpired,
    JobsPruned,
    JobsRescued,
    JobStarted,
    JobStuck,
    LeaseLost,
    LoopBlocked,
    NodeMeasured,
    NodeStarted,
    NodeStopped,
    OutcomeRefused,
    QueuesMeasured,
    TicksEnqueued,
)

Kind = Literal["counter", "histogram", "gauge"]

BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)
"""Upper bounds of the histograms' buckets, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. Its name has no prefix and no unit."""

    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()
    unit: Literal["", "seconds"] = ""
    across: Literal["sum", "max", "latest"] = "sum"
    """How a supervisor computes the gauge from those of its processes."""


ENQUEUED: Final = Metric("jobs_enqueued", "counter", "Jobs that were enqueued here.", ("executor", "disposition"))
STARTED: Final = Metric("jobs_started", "counter", "Attempts that began.", ("executor",))
ENDED: Final = Metric("jobs_ended", "counter", "Attempts that ended, by how they ended.", ("executor", "status"))
WAIT: Final = Metric(
    "job_wait", "histogram", "Time from when a job was due until its code began.", ("executor",), "seconds"
)
RUN: Final = Metric("job_run", "histogram", "Time that an attempt took.", ("executor",), "seconds")
RESCUED: Final = Metric("jobs_rescued", "counter", "Jobs of lost nodes that were rescued by this one.")
EXPIRED: Final = Metric("jobs_expired", "counter", "Waiting jobs that were cancelled because they had expired.")
PRUNED: Final = Metric("jobs_pruned", "counter", "Ended jobs that were deleted.", ("status",))
REFUSED: Final = Metric("outcomes_refused", "counter", "Outcomes that the store refused, because a job was taken away.")
STUCK: Final = Metric("jobs_stuck", "counter", "Jobs that did not stop when they were told to.", ("executor",))
FAILURES: Final = Metric("duty_failures", "counter", "Outages of a node's duties, such as claim or settle.", ("duty",))
LEASES_LOST: Final = Metric("leases_lost", "counter", "Leases that could not be renewed in time.")
BLOCKED: Final = Metric("loop_blocked", "counter", "Times that the event loop was blocked for a second or more.")
WAITING: Final = Metric(
    "jobs_waiting",
    "gauge",
    "Jobs in the store that wait, due or not, as far as they are counted.",
    ("executor",),
    across="latest",
)
DUE: Final = Metric(
    "jobs_due",
    "gauge",
    "Jobs in the store whose time has come, as far as they are counted.",
    ("executor",),
    across="latest",
)
OLDEST_DUE: Final = Metric(
    "oldest_due", "gauge", "Time that the first due job has been due.", ("executor",), "seconds", across="latest"
)
EXECUTING: Final = Metric(
    "jobs_executing", "gauge", "Jobs in the store that execute on any node.", ("executor",), across="latest"
)
SLOTS: Final = Metric("node_slots", "gauge", "Jobs that the nodes of this process may run at a time.")
RUNNING: Final = Metric("node_running", "gauge", "Jobs that the nodes of this process run.")
LEASE_AGE: Final = Metric("lease_age", "gauge", "Time since the lease was last renewed.", (), "seconds", across="max")
LOOP_LAG: Final = Metric("loop_lag", "gauge", "Time that the event loop took to respond.", (), "seconds", across="max")

METRICS: Final = (
    *(ENQUEUED, STARTED, ENDED, WAIT, RUN, RESCUED, EXPIRED, PRUNED, REFUSED, STUCK, FAILURES, LEASES_LOST, BLOCKED),
    *(WAITING, DUE, OLDEST_DUE, EXECUTING, SLOTS, RUNNING, LEASE_AGE, LOOP_LAG),
)
"""All metrics, in the order in which they are documented."""

STATUSES: Final = ("complete", "retryable", "discarded", "cancelled", "expired", "snoozed", "interrupted")
"""How attempts end: the values of `JobEnded.status`."""


def encodable(label: str) -> str:
    """Return the label with lone surrogates escaped. One in a name, as of a damaged row, would fail every export."""
    return label.encode(errors="backslashreplace").decode()


class Measuring(ABC):
    """A subscriber that turns events into metrics. A subclass keeps their values in a library."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, NodeMeasured] = {}
        self._queues: set[str] = set()
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            NodeStarted: self._began,
            JobStarted: self._started,
            JobEnded: self._ended,
            JobsEnqueued: self._enqueued,
            TicksEnqueued: self._ticked,
            JobsRescued: lambda event: self.add(RESCUED, event.jobs),
            JobsExpired: lambda event: self.add(EXPIRED, event.jobs),
            JobsPruned: lambda event: self.add(PRUNED, event.jobs, str(event.status)),
            OutcomeRefused: lambda _: self.add(REFUSED, 1),
            JobStuck: lambda event: self.add(STUCK, 1, event.executor),
            DutyFailed: lambda event: self.add(FAILURES, 1, event.duty),
            LeaseLost: lambda _: self.add(LEASES_LOST, 1),
            LoopBlocked: lambda _: self.add(BLOCKED, 1),
            QueuesMeasured: self._measured_queues,
            NodeMeasured: self._measured,
            NodeStopped: self._stopped,
        }

    @abstractmethod
    def add(self, metric: Metric, amount: int, *labels: str) -> None:
        """Add to a counter."""

    @abstractmethod
    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Note a value in a histogram."""

    @abstractmethod
    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""

    def __call__(self, event: Event) -> None:
        """Note the event in the metrics that it concerns."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _began(self, event: NodeStarted) -> None:
        """Start the counters of its executors at 0: Prometheus does not see the increase of one that starts at 1."""
        for executor in event.executors:
            self.add(STARTED, 0, executor)
            self.add(STUCK, 0, executor)
            for status in STATUSES:
                self.add(ENDED, 0, executor, status)

    def _started(self, event: JobStarted) -> None:
        self.add(STARTED, 1, event.executor)
        self.observe(WAIT, event.wait_seconds, event.executor)

    def _ended(self, event: JobEnded) -> None:
        self.add(ENDED, 1, event.executor, event.status)
        if event.run_seconds is not None:
            self.observe(RUN, event.run_seconds, event.executor)

    def _enqueued(self, event: JobsEnqueued) -> None:
        for _, executor, disposition in event.jobs:
            self.add(ENQUEUED, 1, executor, disposition)

    def _ticked(self, event: TicksEnqueued) -> None:
        for executor, _, _ in event.ticks:
            self.add(ENQUEUED, 1, executor, "inserted")

    def _measured_queues(self, event: QueuesMeasured) -> None:
        for queue in event.queues:
            self.set(WAITING, queue.waiting, queue.executor)
            self.set(DUE, queue.due, queue.executor)
            self.set(OLDEST_DUE, queue.oldest_due_seconds, queue.executor)
            self.set(EXECUTING, queue.executing, queue.executor)
        names = {queue.executor for queue in event.queues}
        for executor in self._queues - names:  # it has no jobs any more
            for metric in (WAITING, DUE, OLDEST_DUE, EXECUTING):
                self.set(metric, 0, executor)
        self._queues |= names

    def _measured(self, event: NodeMeasured) -> None:
        self._nodes[event.node] = event
        self._sum_up()

    def _stopped(self, event: NodeStopped) -> None:
        if self._nodes.pop(event.node, None) is not None:
            self._sum_up()

    def _sum_up(self) -> None:
        """Set the gauges of all nodes of the process."""
        nodes = list(self._nodes.values())
        self.set(SLOTS, sum(node.slots for node in nodes))
        self.set(RUNNING, sum(node.running for node in nodes))
        self.set(LEASE_AGE, max((node.lease_age_seconds or 0.0 for node in nodes), default=0.0))
        self.set(LOOP_LAG, max((node.loop_lag_seconds for node in nodes), default=0.0))
