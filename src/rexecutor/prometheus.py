"""Metrics for Prometheus. Install the extra: `pip install 'rexecutor[prometheus]'`."""

import os
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType] - it has no annotations
)

from rexecutor.affinity import GUARD
from rexecutor.telemetry.events import JobEnded, JobStarted
from rexecutor.telemetry.metrics import BUCKETS, ENDED, METRICS, RUN, STARTED, WAIT, Measuring, Metric, encodable

__all__ = ["PrometheusMetrics", "exposition", "forget_process"]

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_MODES: Final[dict[str, Literal["livesum", "livemax", "livemostrecent"]]] = {
    "sum": "livesum",
    "max": "livemax",
    "latest": "livemostrecent",
}

_PAUSES: Final = (0.01, 0.1, 0.5)
"""Seconds before a folder is read again in which a process was about to make or remove a file."""
_HALF_WRITTEN: Final = (struct.error, FileNotFoundError)
"""What `MultiProcessCollector` raises then."""


class PrometheusMetrics(Measuring):
    """A subscriber that counts events for Prometheus: `Rexecutor(…, on_event=PrometheusMetrics())`.

    Instances for the same registry share its metrics and are equal, so if several are subscribed, each event still
    counts once.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, buckets: Sequence[float] = BUCKETS) -> None:
        """Make the metrics, or take those that the registry has.

        Args:
            registry: Where the metrics are kept; by default prometheus_client's own, which `exposition` returns.
            buckets: Upper bounds of the histograms' buckets, in seconds, ascending; by default 18, from 1 ms to 2
                hours. Ignored if the registry has the metrics already.
        """
        super().__init__()
        with GUARD:
            if registry not in _MADE:
                _MADE[registry] = _Made(registry, buckets)
            self._made = _MADE[registry]

    def _started(self, event: JobStarted) -> None:
        count, observe = self._made.starts_of(event.executor)
        count()
        observe(event.wait_seconds)

    def _ended(self, event: JobEnded) -> None:
        count, observe = self._made.ends_of(event.executor, event.status)
        count()
        if event.run_seconds is not None:
            observe(event.run_seconds)

    def add(self, metric: Metric, amount: int, *labels: str) -> None:
        """Add to a counter."""
        self._made.child(metric, labels).inc(amount)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Note a value in a histogram."""
        self._made.child(metric, labels).observe(value)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._made.child(metric, labels).set(value)

    def __eq__(self, other: object) -> bool:
        """Whether the other one counts into the same registry."""
        return isinstance(other, PrometheusMetrics) and other._made is self._made

    def __hash__(self) -> int:
        """Hash the registry's metrics."""
        return id(self._made)


class _Noting(NamedTuple):
    add: Callable[[], None]
    observe: Callable[[float], None]


class _Made:
    """The metrics of one registry, and the series of each that have been used."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._families = {metric: _family(metric, registry, buckets) for metric in METRICS}
        self._children: dict[tuple[Metric, tuple[str, ...]], Any] = {}
        self._starts: dict[str, _Noting] = {}
        self._ends: dict[tuple[str, str], _Noting] = {}

    def starts_of(self, executor: str) -> "_Noting":
        """Return what notes a start. These two are for each job, so they are found with one look."""
        found = self._starts.get(executor)
        if found is None:
            of = (executor,)
            found = self._starts[executor] = _Noting(self.child(STARTED, of).inc, self.child(WAIT, of).observe)
        return found

    def ends_of(self, executor: str, status: str) -> "_Noting":
        """Return what notes an end in this status."""
        found = self._ends.get((executor, status))
        if found is None:
            count, observe = self.child(ENDED, (executor, status)).inc, self.child(RUN, (executor,)).observe
            found = self._ends[executor, status] = _Noting(count, observe)
        return found

    def child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        """Return the series with these labels. prometheus_client takes longer to find it than to count."""
        key = metric, labels
        child = self._children.get(key)
        if child is None:
            family = self._families[metric]
            child = self._children[key] = family.labels(*map(encodable, labels)) if labels else family
        return child


_MADE: Final[WeakKeyDictionary[CollectorRegistry, _Made]] = WeakKeyDictionary()


def _family(metric: Metric, registry: CollectorRegistry, buckets: Sequence[float]) -> Counter | Gauge | Histogram:
    name = f"rexecutor_{metric.name}" + (metric.unit and f"_{metric.unit}")
    match metric.kind:
        case "counter":
            return Counter(name, metric.description, metric.labels, registry=registry)
        case "histogram":
            return Histogram(name, metric.description, metric.labels, registry=registry, buckets=buckets)
        case "gauge":
            mode = _MODES[metric.across]
            return Gauge(name, metric.description, metric.labels, registry=registry, multiprocess_mode=mode)


def exposition() -> tuple[str, bytes]:
    """Return the media type and the text of the default registry, for `/metrics`.

    If the variable `PROMETHEUS_MULTIPROC_DIR` names a folder, the metrics of all processes that write there are added
    up. It must be set before a process imports `prometheus_client`. Reading the folder blocks, for up to a second if a
    file is just being written, so call this in a thread.
    """
    if _FOLDER not in os.environ:
        return CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
    for pause in _PAUSES:
        with suppress(*_HALF_WRITTEN):
            return CONTENT_TYPE_LATEST, _added_up()
        time.sleep(pause)  # noqa: TID251 - in a thread of its own, waiting for a file of another process
    return CONTENT_TYPE_LATEST, _added_up()


def _added_up() -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """Leave the gauges of a process that has ended out of `exposition`. What it has counted stays.

    Without `PROMETHEUS_MULTIPROC_DIR`, this does nothing.
    """
    if _FOLDER in os.environ:
        mark_process_dead(pid)
