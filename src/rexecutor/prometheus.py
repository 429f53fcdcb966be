"""Metrics for Prometheus. Install the extra: `pip install 'rexecutor[prometheus]'`."""

import os
import struct
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from threading import Lock
from typing import Any, Final, Literal, TypeAlias, TypeVar
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
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Sample
from prometheus_client.core import Metric as Family
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType] - it has no annotations
)
from prometheus_client.registry import Collector
from prometheus_client.values import MutexValue, ValueClass

from rexecutor.affinity import GUARD
from rexecutor.model.outcomes import COMPLETE
from rexecutor.telemetry.events import Event, JobEnded, JobStarted
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
        self._starts = self._made.starts
        self._ends = self._made.ends

    def __call__(self, event: Event) -> None:
        """Count the event. Two are for each job, so they are found with one step."""
        if type(event) is JobStarted:
            self._starts[event.executor](event.wait_seconds)
        elif type(event) is JobEnded:
            status = "complete" if event.outcome is COMPLETE else event.status
            self._ends[event.executor, status](event.run_seconds)
        else:
            super().__call__(event)

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


Note: TypeAlias = Callable[[float | None], None]
"""Counts an attempt, and how many seconds it took; None if that is not known."""

K = TypeVar("K")


class _Notes(dict[K, Note]):
    """What counts the attempts, by their labels. Each is made when it is first needed."""

    def __init__(self, make: Callable[[K], Note]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, labels: K) -> Note:
        self[labels] = note = self._make(labels)
        return note


class _Made:
    """The metrics of one registry, and the series of each that have been used."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._families: dict[Metric, Any] = {}
        if ValueClass is MutexValue:  # the values stay in this process
            for counter, times in ((STARTED, WAIT), (ENDED, RUN)):
                self._families[counter] = self._families[times] = _Attempts(counter, times, registry, buckets)
        for metric in METRICS:
            if metric not in self._families:
                self._families[metric] = _family(metric, registry, buckets)
        self._children: dict[tuple[Metric, tuple[str, ...]], Any] = {}
        self.starts: Final = _Notes[str](lambda executor: self._note_of(STARTED, WAIT, executor))
        """Counts the starts of an executor's jobs."""
        self.ends: Final = _Notes[tuple[str, str]](lambda labels: self._note_of(ENDED, RUN, *labels))
        """Counts the ends of an executor's jobs in one status."""

    def _note_of(self, counter: Metric, times: Metric, *labels: str) -> Note:
        child = self.child(counter, labels)
        if isinstance(child, _Tally):
            return child.note
        count, observe = child.inc, self.child(times, labels[:1]).observe

        def note(seconds: float | None) -> None:
            count()
            if seconds is not None:
                observe(seconds)

        return note

    def child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        """Return the series with these labels. prometheus_client takes longer to find it than to count."""
        key = metric, labels
        child = self._children.get(key)
        if child is None:
            family = self._families[metric]
            child = self._children[key] = family.labels(*map(encodable, labels)) if labels else family
        return child


class _Tally:
    """How many attempts there were, and how many of them in each bucket of the seconds that they took."""

    __slots__ = ("_bounds", "_lock", "buckets", "created", "number", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._lock = Lock()
        self.buckets = [0] * len(bounds)
        self.created = time.time()  # noqa: TID251 - a moment for Prometheus, as prometheus_client takes it
        self.number = 0
        self.seconds = 0.0

    def inc(self, amount: int) -> None:
        """Count attempts whose time is not known."""
        with self._lock:
            self.number += amount

    def note(self, seconds: float | None) -> None:
        """Count an attempt."""
        with self._lock:
            self.number += 1
            if seconds is not None:
                self.buckets[bisect_left(self._bounds, seconds)] += 1
                self.seconds += seconds

    def add_to(self, other: "_Tally") -> None:
        """Add this to another tally, which nobody else uses."""
        with self._lock:
            other.number += self.number
            other.seconds += self.seconds
            other.buckets = [one + more for one, more in zip(other.buckets, self.buckets, strict=True)]
            other.created = min(other.created, self.created)


class _Attempts(Collector):
    """A counter of attempts, and the histogram of their times by executor.

    They are what prometheus_client's own would be, which take three times as long for a job: they find the bucket in
    Python, and keep each value under a lock of its own. It is for one process only.
    """

    def __init__(self, counter: Metric, times: Metric, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._counter = counter
        self._times = times
        self._model = Histogram("model", "", registry=None, buckets=buckets)  # checks the buckets
        self._bucket_names = [sample.labels["le"] for sample in self._samples_of_model() if "le" in sample.labels]
        self._bounds = [float(name) for name in self._bucket_names]
        self._lock = Lock()
        self._tallies: dict[tuple[str, ...], _Tally] = {}
        registry.register(self)

    def labels(self, *labels: str) -> _Tally:
        """Return what counts the attempts with these labels, those of the counter."""
        with self._lock:
            return self._tallies.setdefault(labels, _Tally(self._bounds))

    def describe(self) -> Iterable[Family]:
        """Return the two metrics without their values."""
        return self._families()

    def collect(self) -> Iterable[Family]:
        """Return the two metrics."""
        counter, times = self._families()
        has_created = any(sample.name.endswith("_created") for sample in self._samples_of_model())
        with self._lock:
            tallies = list(self._tallies.items())
        sums: dict[str, _Tally] = {}
        for labels, tally in tallies:
            one = _Tally(self._bounds)
            tally.add_to(one)
            counter.add_metric(labels, one.number, created=one.created if has_created else None)
            if one.number:
                one.add_to(sums.setdefault(labels[0], _Tally(self._bounds)))
        for executor, tally in sums.items():
            counts = accumulate(tally.buckets)
            times.add_metric([executor], list(zip(self._bucket_names, counts, strict=True)), tally.seconds)
            if has_created:
                times.add_sample(f"{times.name}_created", {"executor": executor}, tally.created)
        return counter, times

    def _families(self) -> tuple[CounterMetricFamily, HistogramMetricFamily]:
        counter, times = self._counter, self._times
        return (
            CounterMetricFamily(_name_of(counter), counter.description, labels=counter.labels),
            HistogramMetricFamily(_name_of(times), times.description, labels=times.labels),
        )

    def _samples_of_model(self) -> list[Sample]:
        return [sample for family in self._model.collect() for sample in family.samples]


_MADE: Final[WeakKeyDictionary[CollectorRegistry, _Made]] = WeakKeyDictionary()


def _family(metric: Metric, registry: CollectorRegistry, buckets: Sequence[float]) -> Counter | Gauge | Histogram:
    name = _name_of(metric)
    match metric.kind:
        case "counter":
            return Counter(name, metric.description, metric.labels, registry=registry)
        case "histogram":
            return Histogram(name, metric.description, metric.labels, registry=registry, buckets=buckets)
        case "gauge":
            mode = _MODES[metric.across]
            return Gauge(name, metric.description, metric.labels, registry=registry, multiprocess_mode=mode)


def _name_of(metric: Metric) -> str:
    return f"rexecutor_{metric.name}" + (metric.unit and f"_{metric.unit}")


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
